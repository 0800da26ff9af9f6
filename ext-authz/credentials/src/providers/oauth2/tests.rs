use std::sync::{Arc, atomic::Ordering::SeqCst};

use attache_core::{decision::OauthError, evidence::Evidence, jwt::Algorithm, token::TokenForm};
use attache_outbound::Reach;
use attache_policy::document::{
    AssertionProfile, ClientAuthentication, Consistence, OwnToken, SecretReference,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use std::time::Duration;

use super::*;
use crate::providers::{
    contract::{Fixture, NOW, holds},
    peer::{Asked, CALLER, Files, GIVEN, ISSUED, Issuer, Peer, Reply, callers, shown},
};

const SVID_AUDIENCE: &str = "https://login.example.com";

fn token(asked: &Asked) -> Reply {
    if !asked.line.starts_with("POST /token ") {
        return Reply::of("404 Not Found", "", "");
    }
    let answer = json!({"access_token": ISSUED, "token_type": "bearer", "expires_in": 600});
    Reply::json("200 OK", &answer)
}

pub(in crate::providers) async fn server() -> Peer {
    Peer::start(token).await
}

pub(in crate::providers) fn provider(issuer: &Arc<Issuer>) -> OauthProvider {
    OauthProvider::new(callers(), issuer.prover())
}

/// One that may not call loopback.
pub(in crate::providers) fn careful(issuer: &Arc<Issuer>) -> OauthProvider {
    OauthProvider::new(Arc::new(Callers::new(Reach::default())), issuer.prover())
}

fn fixed(url: String) -> TokenEndpoint {
    TokenEndpoint::Fixed { url, ca_file: None }
}

fn client(endpoint: TokenEndpoint, how: ClientAuthentication) -> ClientCredentials<String> {
    let by_name = !matches!(how, ClientAuthentication::JwtSvid { .. });
    ClientCredentials {
        endpoint,
        client_id: by_name.then(|| "shop client".to_owned()),
        authentication: how,
        request: OauthRequest::default(),
    }
}

fn secret(files: &Files) -> SecretReference {
    files.write("client", &format!("{GIVEN}:+%\n"))
}

pub(in crate::providers) fn at(files: &Files, url: &str) -> CredentialKind<String> {
    let how = ClientAuthentication::SecretPost(secret(files));
    CredentialKind::ClientCredentials(client(fixed(url.to_owned()), how))
}

pub(in crate::providers) fn by_secret(files: &Files, peer: &Peer) -> CredentialKind<String> {
    at(files, &format!("{}/token", peer.url()))
}

pub(in crate::providers) fn exchange(peer: &Peer) -> CredentialKind<String> {
    CredentialKind::TokenExchange(TokenExchange {
        endpoint: fixed(format!("{}/token", peer.url())),
        client_id: None,
        authentication: None,
        subject: Subject::Own(own(TokenForm::JwtSvid)),
        actor: None,
        requested_type: None,
        request: OauthRequest::default(),
    })
}

fn own(form: TokenForm) -> OwnToken {
    let audience = SVID_AUDIENCE.to_owned();
    OwnToken { form, audience }
}

fn by_svid(endpoint: TokenEndpoint, profile: AssertionProfile) -> ClientCredentials<String> {
    let audience = None;
    client(
        endpoint,
        ClientAuthentication::JwtSvid { audience, profile },
    )
}

#[tokio::test]
async fn both_grants_keep_the_contract() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    let provider = provider(&issuer);
    for parameters in [by_secret(&files, &peer), exchange(&peer)] {
        let wanting = files.wanted(&parameters).await;
        holds(&Fixture {
            provider: &provider,
            wanted: &|now| wanting.at(now),
            consistence: Consistence::Token,
            canaries: &[GIVEN, ISSUED],
            away: Some(&|is_away| peer.away(is_away)),
        })
        .await;
    }
}

/// What the server was asked for a token with these parameters.
async fn asked(files: &Files, peer: &Peer, parameters: CredentialKind<String>) -> Asked {
    let issuer = Arc::new(Issuer::default());
    let wanting = files.wanted(&parameters).await;
    let given = provider(&issuer).obtain(&wanting.at(NOW)).await;
    let given = given.unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(shown(&given), ISSUED);
    peer.last()
}

#[tokio::test]
async fn a_secret_goes_by_basic_or_in_the_form_and_what_is_asked_for_beside_it() {
    let (files, peer) = (Files::new(), server().await);
    let endpoint = fixed(format!("{}/token", peer.url()));
    let mut of = client(endpoint, ClientAuthentication::SecretBasic(secret(&files)));
    of.request = OauthRequest {
        scopes: vec!["read".to_owned(), "books:write".to_owned()],
        audience: Some("books".to_owned()),
        resources: vec![
            "https://a.example".to_owned(),
            "https://b.example".to_owned(),
        ],
    };
    let basic = asked(&files, &peer, CredentialKind::ClientCredentials(of)).await;
    let pair = basic
        .header("authorization")
        .unwrap()
        .strip_prefix("Basic ");
    let pair = Base64::decode_vec(pair.unwrap()).unwrap();
    // RFC 6749 §2.3.1: encoded as in a form before they are joined.
    let expected = format!("shop+client:{GIVEN}%3A%2B%25");
    assert_eq!(String::from_utf8(pair).unwrap(), expected);
    assert_eq!(basic.fields("grant_type"), ["client_credentials"]);
    assert_eq!(basic.fields("scope"), ["read books:write"]);
    assert_eq!(basic.fields("audience"), ["books"]);
    assert_eq!(
        basic.fields("resource"),
        ["https://a.example", "https://b.example"]
    );
    assert!(basic.fields("client_id").is_empty());
    assert!(basic.fields("client_secret").is_empty());

    let post = asked(&files, &peer, by_secret(&files, &peer)).await;
    assert_eq!(post.header("authorization"), None);
    assert_eq!(post.fields("client_id"), ["shop client"]);
    assert_eq!(post.fields("client_secret"), [format!("{GIVEN}:+%")]);
    assert!(post.fields("scope").is_empty());
}

/// The parts of a JWT: header, claims, what is signed, signature.
fn parts(jwt: &str) -> (Value, Value, String, Vec<u8>) {
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let json = |part| {
        let text = Base64UrlUnpadded::decode_vec(part).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    (json(header), json(claims), input.to_owned(), signature)
}

#[tokio::test]
async fn a_clients_own_key_signs_a_new_assertion_each_time() {
    let (files, peer) = (Files::new(), server().await);
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let pem = Base64::encode_string(pair.to_pkcs8v1().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    let how = ClientAuthentication::PrivateKeyJwt {
        key: files.write("key.pem", &pem),
        key_id: Some("one".to_owned()),
        algorithm: Algorithm::Es256,
    };
    let url = format!("{}/token", peer.url());
    let parameters = CredentialKind::ClientCredentials(client(fixed(url.clone()), how));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let asked = asked(&files, &peer, parameters.clone()).await;
        assert_eq!(
            asked.fields("client_assertion_type"),
            ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        );
        assert_eq!(asked.fields("client_id"), ["shop client"]);
        let [assertion] = &asked.fields("client_assertion")[..] else {
            panic!("one assertion");
        };
        let (header, claims, input, signature) = parts(assertion);
        assert_eq!(header, json!({"alg": "ES256", "kid": "one", "typ": "JWT"}));
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        public.verify(input.as_bytes(), &signature).unwrap();
        for (claim, value) in [
            ("iss", json!("shop client")),
            ("sub", json!("shop client")),
            ("aud", json!(url)),
            ("iat", json!(NOW.as_seconds())),
            ("exp", json!(NOW.as_seconds() + 60)),
        ] {
            assert_eq!(claims[claim], value, "{claim}");
        }
        ids.push(claims["jti"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_key_that_is_none_is_a_secret_that_cannot_be_used_and_is_not_told() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    for (text, algorithm) in [
        (format!("{GIVEN}\n"), Algorithm::Es256),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{GIVEN}\n-----END PRIVATE KEY-----\n"),
            Algorithm::Rs256,
        ),
    ] {
        let how = ClientAuthentication::PrivateKeyJwt {
            key: files.write(&format!("{}.pem", algorithm.name()), &text),
            key_id: None,
            algorithm,
        };
        let of = client(fixed(format!("{}/token", peer.url())), how);
        let wanting = files.wanted(&CredentialKind::ClientCredentials(of)).await;
        let refused = provider(&issuer).credentials(&wanting.at(NOW)).await;
        let failure = refused.err().expect("no credential");
        assert_eq!(failure.why.fault(), Fault::SecretUnavailable);
        assert!(!failure.to_string().contains("canary"), "{failure}");
    }
    assert!(peer.asked().is_empty());
}

#[tokio::test]
async fn our_own_token_is_the_assertion_in_the_form_that_the_server_knows() {
    let (files, peer) = (Files::new(), server().await);
    let url = format!("{}/token", peer.url());
    let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let spiffe = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
    for (profile, form, kind, client_id) in [
        (
            AssertionProfile::SelfIssued,
            "client-assertion",
            bearer,
            Some(CALLER),
        ),
        (AssertionProfile::Federated, "jwt-svid", bearer, None),
        (AssertionProfile::Spiffe, "jwt-svid", spiffe, None),
    ] {
        let of = by_svid(fixed(url.clone()), profile);
        let asked = asked(&files, &peer, CredentialKind::ClientCredentials(of)).await;
        let expected = format!("{GIVEN}.{form}.{url}.0");
        assert_eq!(asked.fields("client_assertion"), [expected], "{profile:?}");
        assert_eq!(asked.fields("client_assertion_type"), [kind], "{profile:?}");
        let sent = asked.fields("client_id");
        assert_eq!(sent.first().map(String::as_str), client_id, "{profile:?}");
    }
}

/// A server that publishes its endpoint at `at`.
async fn publishing(at: &'static str) -> Peer {
    let peer = server().await;
    let issuer = format!("{}/tenant", peer.url());
    let endpoint = format!("{}/token", peer.url());
    peer.says(move |asked| {
        if asked.line == format!("GET {at} HTTP/1.1") {
            let metadata = json!({"issuer": issuer, "token_endpoint": endpoint});
            return Reply::json("200 OK", &metadata);
        }
        token(asked)
    });
    peer
}

#[tokio::test]
async fn the_endpoint_is_found_where_either_standard_has_it_and_asked_for_once() {
    for at in [
        "/.well-known/oauth-authorization-server/tenant",
        "/tenant/.well-known/openid-configuration",
    ] {
        let (files, issuer, peer) = (
            Files::new(),
            Arc::new(Issuer::default()),
            publishing(at).await,
        );
        let of = by_svid(
            TokenEndpoint::Discovered {
                issuer: format!("{}/tenant", peer.url()),
                ca_file: None,
            },
            AssertionProfile::SelfIssued,
        );
        let provider = provider(&issuer);
        let wanting = files.wanted(&CredentialKind::ClientCredentials(of)).await;
        for _ in 0..2 {
            let given = provider.obtain(&wanting.at(NOW)).await;
            assert!(given.is_ok(), "{at}: {:?}", given.err());
        }
        assert_eq!(peer.count(&format!("GET {at} ")), 1);
        assert_eq!(peer.count("POST /token "), 2);
        // The server is called by its issuer.
        let assertion = &peer.last().fields("client_assertion")[0];
        assert!(assertion.contains(&format!("{}/tenant.", peer.url())));
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_or_with_a_foreign_scheme_is_not_used() {
    let (files, issuer, peer) = (Files::new(), Arc::new(Issuer::default()), server().await);
    let own = peer.url();
    for metadata in [
        json!({"issuer": "https://evil.example", "token_endpoint": format!("{own}/token")}),
        json!({"issuer": format!("{own}/"), "token_endpoint": format!("{own}/token")}),
        json!({"issuer": own, "token_endpoint": "http://evil.example/token"}),
        json!({"issuer": own, "token_endpoint": "file:///etc/passwd"}),
        json!({"issuer": own}),
    ] {
        let published = metadata.clone();
        peer.says(move |_| Reply::json("200 OK", &published));
        let of = by_svid(
            TokenEndpoint::Discovered {
                issuer: own.clone(),
                ca_file: None,
            },
            AssertionProfile::SelfIssued,
        );
        let wanting = files.wanted(&CredentialKind::ClientCredentials(of)).await;
        let refused = provider(&issuer).obtain(&wanting.at(NOW)).await;
        let fault = refused.err().map(crate::provider::NotObtained::fault);
        assert_eq!(fault, Some(Fault::ProviderAnswerInvalid), "{metadata}");
    }
    assert_eq!(peer.count("POST"), 0);
}

/// What a token endpoint's answer comes to.
async fn answered(parameters: &CredentialKind<String>, files: &Files) -> Result<Obtained, Failure> {
    let issuer = Arc::new(Issuer::default());
    let wanting = files.wanted(parameters).await;
    provider(&issuer).credentials(&wanting.at(NOW)).await
}

#[tokio::test]
async fn a_token_is_used_for_as_long_as_the_server_says_and_for_minutes_if_it_does_not() {
    let (files, peer) = (Files::new(), server().await);
    let parameters = by_secret(&files, &peer);
    for (expires_in, seconds) in [
        (json!(600), 600),
        (json!("600"), 600),
        (json!(59.9), 59),
        (json!(1), 1),
        (Value::Null, 300),
        (json!(86_401), 86_400),
        (json!(1e300), 86_400),
    ] {
        let answer = json!({"access_token": "t", "token_type": "Bearer", "expires_in": expires_in});
        peer.says(move |_| Reply::json("200 OK", &answer));
        let given = answered(&parameters, &files).await;
        let lifetime = given.unwrap_or_else(|failure| panic!("{failure}")).lifetime;
        let lifetime = lifetime.expect("a lifetime");
        assert_eq!(lifetime.issued_at, NOW);
        let expected = NOW.plus(Duration::from_secs(seconds));
        assert_eq!(lifetime.expires_at, expected, "{expires_in}");
    }
}

#[tokio::test]
async fn answers_that_are_no_bearer_token_are_refused() {
    let (files, peer) = (Files::new(), server().await);
    let parameters = by_secret(&files, &peer);
    let invalid = Fault::ProviderAnswerInvalid;
    let expired = Fault::ProviderCredentialExpired;
    for (answer, fault) in [
        (
            json!({"access_token": ISSUED, "token_type": "DPoP"}),
            invalid,
        ),
        (
            json!({"access_token": ISSUED, "token_type": "N_A"}),
            invalid,
        ),
        (json!({"access_token": ISSUED}), invalid),
        (json!({"access_token": "", "token_type": "Bearer"}), invalid),
        (json!({"access_token": 7, "token_type": "Bearer"}), invalid),
        (
            json!({"access_token": ISSUED, "token_type": "Bearer", "expires_in": "soon"}),
            invalid,
        ),
        (
            json!({"access_token": ISSUED, "token_type": "Bearer", "expires_in": [1]}),
            invalid,
        ),
        (
            json!({"access_token": ISSUED, "token_type": "Bearer", "expires_in": 0}),
            expired,
        ),
        (
            json!({"access_token": ISSUED, "token_type": "Bearer", "expires_in": -5}),
            expired,
        ),
    ] {
        let told = answer.to_string();
        peer.says(move |_| Reply::json("200 OK", &answer));
        let failure = answered(&parameters, &files).await.err().expect("no token");
        assert_eq!(failure.why.fault(), fault, "{told}");
        assert!(!failure.to_string().contains("canary"), "{failure}");
    }
    // What RFC 8693 gives that is no access token has this type.
    let answer = json!({"access_token": ISSUED, "token_type": "N_A", "issued_token_type": "x:y"});
    peer.says(move |_| Reply::json("200 OK", &answer));
    assert!(answered(&exchange(&peer), &files).await.is_ok());
}

#[tokio::test]
async fn what_the_server_says_of_a_refusal_is_a_code_if_it_is_on_the_list_and_nothing_else_of_it_is_told()
 {
    let (files, peer) = (Files::new(), server().await);
    let parameters = by_secret(&files, &peer);
    let listed = OauthError::ALL.map(|error| (error.name(), Fault::OauthRefused(error)));
    let others = [
        (ISSUED, Fault::ProviderRefused),
        ("", Fault::ProviderRefused),
    ];
    for (name, fault) in listed.into_iter().chain(others) {
        for status in ["400 Bad Request", "401 Unauthorized"] {
            let answer = json!({"error": name, "error_description": format!("{GIVEN} {ISSUED}")});
            peer.says(move |_| Reply::json(status, &answer));
            let failure = answered(&parameters, &files).await.err().expect("no token");
            assert_eq!(failure.why.fault(), fault, "{name}");
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
    }
}

#[tokio::test]
async fn an_attribute_with_a_space_does_not_make_two_scopes_of_one() {
    let (files, peer) = (Files::new(), server().await);
    for scope in ["team a admin", "", "a\"b", "a\\b", "ä"] {
        let CredentialKind::ClientCredentials(mut of) = by_secret(&files, &peer) else {
            panic!("client credentials");
        };
        of.request.scopes = vec!["read".to_owned(), scope.to_owned()];
        let refused = answered(&CredentialKind::ClientCredentials(of), &files).await;
        let fault = refused.err().map(|failure| failure.why.fault());
        assert_eq!(fault, Some(Fault::ClaimUnavailable), "{scope}");
    }
    assert!(peer.asked().is_empty());
}

#[tokio::test]
async fn an_exchange_shows_our_token_and_the_callers_own_only_where_the_document_says_so() {
    let (files, peer) = (Files::new(), server().await);
    let CredentialKind::TokenExchange(mut of) = exchange(&peer) else {
        panic!("an exchange");
    };
    of.client_id = Some("shop".to_owned());
    of.requested_type = Some("urn:ietf:params:oauth:token-type:access_token".to_owned());
    of.request.audience = Some("books".to_owned());
    of.request.scopes = vec!["read".to_owned()];
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    let first = asked(&files, &peer, CredentialKind::TokenExchange(of.clone())).await;
    let own = format!("{GIVEN}.jwt-svid.{SVID_AUDIENCE}.0");
    for (field, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", own.as_str()),
        ("subject_token_type", jwt),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("audience", "books"),
        ("scope", "read"),
        ("client_id", "shop"),
    ] {
        assert_eq!(first.fields(field), [value], "{field}");
    }
    assert!(first.fields("actor_token").is_empty());
    assert!(!first.body.contains("evidence"));

    of.subject = Subject::Evidence;
    of.actor = Some(self::own(TokenForm::OidcToken));
    of.authentication = Some(Box::new(ClientAuthentication::SecretPost(secret(&files))));
    let second = asked(&files, &peer, CredentialKind::TokenExchange(of)).await;
    assert_eq!(
        second.fields("subject_token"),
        [format!("{GIVEN}.evidence")]
    );
    let actor = format!("{GIVEN}.oidc-token.{SVID_AUDIENCE}.0");
    assert_eq!(second.fields("actor_token"), [actor]);
    assert_eq!(second.fields("actor_token_type"), [jwt]);
    assert_eq!(second.fields("client_id"), ["shop"]);
    assert_eq!(second.fields("client_secret"), [format!("{GIVEN}:+%")]);
}

#[tokio::test]
async fn evidence_that_is_no_token_is_not_exchanged() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    let CredentialKind::TokenExchange(mut of) = exchange(&peer) else {
        panic!("an exchange");
    };
    of.subject = Subject::Evidence;
    let wanting = files.wanted(&CredentialKind::TokenExchange(of)).await;
    let mut wanted = wanting.at(NOW);
    let two = vec![wanted.evidence.clone(), wanted.evidence.clone()];
    let agreement = attache_core::attestation::Agreement::OneWorkload;
    wanted.evidence = Evidence::together(two, agreement).expect("two pieces");
    let refused = provider(&issuer).credentials(&wanted).await;
    let fault = refused.err().map(|failure| failure.why.fault());
    assert_eq!(fault, Some(Fault::CredentialUnavailable));
    assert!(peer.asked().is_empty());
}

#[tokio::test]
async fn an_issuer_that_refuses_the_evidence_is_told_apart_from_one_that_is_broken() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    let wanting = files.wanted(&exchange(&peer)).await;
    for (failed, expected) in [
        (
            crate::mint::MintFailed::EvidenceRefused("token-expired"),
            crate::provider::NotObtained::evidence_refused(),
        ),
        (
            crate::mint::MintFailed::Unavailable(Fault::KeysUnavailable),
            crate::provider::NotObtained::broken(Fault::KeysUnavailable),
        ),
    ] {
        *issuer.failure.lock().unwrap() = Some(failed);
        let refused = provider(&issuer).obtain(&wanting.at(NOW)).await;
        assert_eq!(refused.err(), Some(expected));
    }
    assert!(peer.asked().is_empty());
    assert_eq!(issuer.minted.load(SeqCst), 2);
}
