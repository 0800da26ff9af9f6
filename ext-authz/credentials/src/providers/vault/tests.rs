use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use attache_core::time::Timestamp;
use attache_policy::document::Consistence;
use attache_policy::document::{Engine, Part};
use serde_json::{Value, json};

use super::*;
use crate::providers::{
    contract::{Fixture, NOW, holds},
    peer::{Asked, Files, GIVEN, ISSUED, Issuer, Peer, Reply, callers, shown},
};

/// A login whose token lives this many seconds.
fn login(lease: u64) -> Value {
    json!({"auth": {"client_token": format!("hvs.{ISSUED}"), "lease_duration": lease, "renewable": true}})
}

fn answer(asked: &Asked) -> Reply {
    let path = asked.line.split(' ').nth(1).unwrap_or_default();
    let data =
        json!({"key": ISSUED, "user": "shop", "password": format!("{ISSUED}.2"), "number": 7});
    let is_logged_in = asked.header("x-vault-token") == Some("hvs.canary-issued");
    match path {
        "/v1/auth/approle/login" | "/v1/auth/jwt/login" => Reply::json("200 OK", &login(600)),
        "/v1/auth/token/renew-self" if is_logged_in => Reply::json("200 OK", &login(600)),
        "/v1/kv/data/shop/web" if is_logged_in => {
            let found =
                json!({"lease_duration": 0, "data": {"data": data, "metadata": {"version": 3}}});
            Reply::json("200 OK", &found)
        }
        "/v1/old/shop" if is_logged_in => {
            Reply::json("200 OK", &json!({"lease_duration": 120, "data": data}))
        }
        _ => Reply::json(
            "403 Forbidden",
            &json!({"errors": [format!("{GIVEN} {ISSUED}")]}),
        ),
    }
}

pub(in crate::providers) async fn server() -> Peer {
    Peer::start(answer).await
}

pub(in crate::providers) fn provider(issuer: &Arc<Issuer>) -> VaultProvider {
    VaultProvider::new(callers(), issuer.prover())
}

fn vault(peer: &Peer, login: VaultLogin<String>) -> Vault<String> {
    Vault {
        address: peer.url(),
        ca_file: None,
        namespace: None,
        login,
        secret: Some(Box::new(VaultSecret {
            engine: Engine::KvV2,
            mount: "kv".to_owned(),
            path: "shop/web".to_owned(),
            fields: SecretFields::One("key".to_owned()),
        })),
    }
}

fn by_jwt(peer: &Peer) -> Vault<String> {
    let login = VaultLogin::Jwt {
        mount: "jwt".to_owned(),
        role: "shop".to_owned(),
        audience: "https://vault.example".to_owned(),
    };
    vault(peer, login)
}

pub(in crate::providers) fn by_role(files: &Files, peer: &Peer) -> CredentialKind<String> {
    let login = VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id: "shop".to_owned(),
        secret_id: files.write("secret-id", GIVEN),
    };
    CredentialKind::Vault(vault(peer, login))
}

#[tokio::test]
async fn every_kind_of_secret_keeps_the_contract() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    let mut pair = by_jwt(&peer);
    if let Some(secret) = &mut pair.secret {
        secret.fields = SecretFields::Pair {
            username: "user".to_owned(),
            password: "password".to_owned(),
        };
    }
    let mut token = by_jwt(&peer);
    token.secret = None;
    for (parameters, consistence) in [
        (by_role(&files, &peer), Consistence::Token),
        (CredentialKind::Vault(by_jwt(&peer)), Consistence::Token),
        (CredentialKind::Vault(pair), Consistence::Pair),
        (CredentialKind::Vault(token), Consistence::Token),
    ] {
        let provider = provider(&issuer);
        let wanting = files.wanted(&parameters).await;
        holds(&Fixture {
            provider: &provider,
            wanted: &|now| wanting.at(now),
            consistence,
            canaries: &[GIVEN, ISSUED],
            // A login and its token are kept; what was not kept is asked for.
            away: Some(&|is_away| {
                issuer.generation.fetch_add(1, SeqCst);
                peer.away(is_away);
            }),
        })
        .await;
    }
}

/// What `vault` gives at `now`.
async fn given(
    provider: &VaultProvider,
    vault: &Vault<String>,
    now: Timestamp,
) -> Result<Obtained, Failure> {
    let files = Files::new();
    let wanting = files.wanted(&CredentialKind::Vault(vault.clone())).await;
    provider.credential(&wanting.at(now)).await
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

#[tokio::test]
async fn a_login_shows_our_token_for_the_vault_and_its_namespace() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let mut vault = by_jwt(&peer);
    vault.namespace = Some("teams/shop".to_owned());
    let obtained = given(&provider(&issuer), &vault, NOW).await;
    assert_eq!(
        shown(&obtained.unwrap_or_else(|failure| panic!("{failure}"))),
        ISSUED
    );
    let [login, read] = &peer.asked()[..] else {
        panic!("two calls");
    };
    assert_eq!(login.line, "POST /v1/auth/jwt/login HTTP/1.1");
    let jwt = format!("{GIVEN}.jwt-svid.https://vault.example.0");
    assert_eq!(login.json(), json!({"role": "shop", "jwt": jwt}));
    assert_eq!(login.header("x-vault-token"), None);
    assert_eq!(read.line, "GET /v1/kv/data/shop/web HTTP/1.1");
    for asked in [login, read] {
        assert_eq!(asked.header("x-vault-namespace"), Some("teams/shop"));
        assert_eq!(asked.header("x-vault-request"), Some("true"));
    }
}

#[tokio::test]
async fn a_role_logs_in_with_its_secret() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    let wanting = files.wanted(&by_role(&files, &peer)).await;
    let provider = provider(&issuer);
    assert!(provider.obtain(&wanting.at(NOW)).await.is_ok());
    let login = peer.asked().remove(0);
    assert_eq!(login.json(), json!({"role_id": "shop", "secret_id": GIVEN}));
    assert_eq!(issuer.minted.load(SeqCst), 0);
}

#[tokio::test]
async fn the_first_version_of_kv_has_no_data_in_its_path_and_tells_how_often_to_read() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let mut vault = by_jwt(&peer);
    let second = given(&provider(&issuer), &vault, NOW).await;
    let ends = |given: &Result<Obtained, Failure>| {
        let lifetime = given.as_ref().ok()?.lifetime?;
        Some(lifetime.expires_at)
    };
    assert_eq!(ends(&second), Some(later(300)));
    vault.secret = Some(Box::new(VaultSecret {
        engine: Engine::KvV1,
        mount: "old".to_owned(),
        path: "shop".to_owned(),
        fields: SecretFields::Pair {
            username: "user".to_owned(),
            password: "password".to_owned(),
        },
    }));
    let first = given(&provider(&issuer), &vault, NOW).await;
    assert_eq!(ends(&first), Some(later(120)));
    let material = first.expect("a pair").material;
    let part = |part| material.part(&part).map(|part| part.expose().to_owned());
    assert_eq!(part(Part::Username).as_deref(), Some("shop"));
    let password = format!("{ISSUED}.2");
    assert_eq!(part(Part::Password), Some(password));
}

#[tokio::test]
async fn one_login_serves_until_its_token_is_due_then_it_is_renewed_and_at_its_end_made_again() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let (provider, vault) = (provider(&issuer), by_jwt(&peer));
    let calls = || {
        (
            peer.count("POST /v1/auth/jwt"),
            peer.count("POST /v1/auth/token"),
        )
    };
    for (seconds, expected) in [
        (0, (1, 0)),
        (479, (1, 0)),
        // 80 % of 600 seconds are over.
        (480, (1, 1)),
        (959, (1, 1)),
        // Nobody asked until the token was over.
        (1081, (2, 1)),
    ] {
        assert!(given(&provider, &vault, later(seconds)).await.is_ok());
        assert_eq!(calls(), expected, "after {seconds} s");
    }
    // At the greatest lifetime a renewal gives little more.
    peer.says(|asked| match asked.line.contains("renew-self") {
        true => Reply::json("200 OK", &login(20)),
        false => answer(asked),
    });
    assert!(given(&provider, &vault, later(1600)).await.is_ok());
    assert_eq!(calls(), (3, 2));
    // A renewal that is refused ends in a login.
    peer.says(|asked| match asked.line.contains("renew-self") {
        true => Reply::json("403 Forbidden", &json!({"errors": []})),
        false => answer(asked),
    });
    assert!(given(&provider, &vault, later(2100)).await.is_ok());
    assert_eq!(calls(), (4, 3));
}

#[tokio::test]
async fn a_token_that_was_revoked_in_the_vault_is_replaced_at_once() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let (provider, vault) = (provider(&issuer), by_jwt(&peer));
    assert!(given(&provider, &vault, NOW).await.is_ok());
    let fresh = std::sync::atomic::AtomicBool::new(false);
    peer.says(move |asked| {
        if asked.line.contains("/login") {
            fresh.store(true, SeqCst);
        }
        match fresh.load(SeqCst) {
            true => answer(asked),
            false => Reply::json("403 Forbidden", &json!({"errors": ["permission denied"]})),
        }
    });
    assert!(given(&provider, &vault, later(10)).await.is_ok());
    assert_eq!(peer.count("POST /v1/auth/jwt"), 2);
    // One that is refused with a new token is refused.
    peer.says(|asked| match asked.line.contains("/login") {
        true => answer(asked),
        false => Reply::json("403 Forbidden", &json!({"errors": [ISSUED]})),
    });
    let refused = given(&provider, &vault, later(20))
        .await
        .err()
        .expect("a refusal");
    assert_eq!(refused.why.fault(), Fault::ProviderRefused);
    assert!(!refused.to_string().contains("canary"), "{refused}");
    assert_eq!(peer.count("POST /v1/auth/jwt"), 3);
}

#[tokio::test]
async fn no_login_is_shared_with_another_caller_secret_or_generation_of_keys() {
    let (files, peer, issuer) = (Files::new(), server().await, Arc::new(Issuer::default()));
    let provider = provider(&issuer);
    let wanting = files.wanted(&by_role(&files, &peer)).await;
    let logins = || peer.count("POST /v1/auth/approle");
    for _ in 0..2 {
        assert!(provider.obtain(&wanting.at(NOW)).await.is_ok());
    }
    assert_eq!(logins(), 1);
    let mut other = wanting.at(NOW);
    other.caller =
        attache_core::spiffe_id::SpiffeId::parse("spiffe://cluster.local/ns/a/sa/b").unwrap();
    assert!(provider.obtain(&other).await.is_ok());
    assert_eq!(logins(), 2);
    issuer.generation.fetch_add(1, SeqCst);
    assert!(provider.obtain(&wanting.at(NOW)).await.is_ok());
    assert_eq!(logins(), 3);
    let again = Files::new();
    let rotated = again.wanted(&by_role(&again, &peer)).await;
    assert!(provider.obtain(&rotated.at(NOW)).await.is_ok());
    assert_eq!(logins(), 4);
}

#[tokio::test]
async fn the_token_of_the_login_is_a_credential_itself() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let mut vault = by_jwt(&peer);
    vault.secret = None;
    let provider = provider(&issuer);
    let token = given(&provider, &vault, NOW).await.expect("a token");
    assert_eq!(shown(&token), format!("hvs.{ISSUED}"));
    let lifetime = token.lifetime.expect("a lifetime");
    assert_eq!(lifetime.expires_at, later(600));
    // Its successor is the same login, renewed.
    let renewed = given(&provider, &vault, later(500)).await.expect("a token");
    assert_eq!(
        renewed.lifetime.expect("a lifetime").expires_at,
        later(1100)
    );
    assert_eq!(peer.count("POST /v1/auth/jwt"), 1);
    let call = peer.last();
    assert_eq!(call.line, "POST /v1/auth/token/renew-self HTTP/1.1");
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_not_asked_for() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    for path in ["../../sys/seal", "shop/../admin", "shop//web", "", "shop/."] {
        let mut vault = by_jwt(&peer);
        if let Some(secret) = &mut vault.secret {
            secret.path = path.to_owned();
        }
        let refused = given(&provider(&issuer), &vault, NOW).await.err();
        let fault = refused.map(|failure| failure.why.fault());
        assert_eq!(fault, Some(Fault::ClaimUnavailable), "{path}");
    }
    assert_eq!(peer.count("GET"), 0);
    // What is special in a URL is a part of a segment.
    let mut vault = by_jwt(&peer);
    if let Some(secret) = &mut vault.secret {
        secret.path = "a?b=c#d%2e".to_owned();
    }
    assert!(given(&provider(&issuer), &vault, NOW).await.is_err());
    assert_eq!(
        peer.last().line,
        "GET /v1/kv/data/a%3Fb=c%23d%252e HTTP/1.1"
    );
}

#[tokio::test]
async fn answers_that_hold_no_secret_are_refused() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let reading = |body: Value| {
        peer.says(move |asked| match asked.line.contains("/login") {
            true => answer(asked),
            false => Reply::json("200 OK", &body),
        });
    };
    let (invalid, refused) = (Fault::ProviderAnswerInvalid, Fault::ProviderRefused);
    for (body, fault) in [
        (json!({"data": {"data": {"key": 7}}}), invalid),
        (json!({"data": {"data": {"key": ""}}}), invalid),
        (json!({"data": {"data": {"key": {"a": ISSUED}}}}), invalid),
        // Deleted, or of the first version.
        (json!({"data": {"data": null}}), invalid),
        (json!({"data": {"key": ISSUED}}), invalid),
        (json!({"data": {"data": {"other": ISSUED}}}), refused),
    ] {
        let told = body.to_string();
        reading(body);
        let failure = given(&provider(&issuer), &by_jwt(&peer), NOW).await.err();
        let failure = failure.expect("no secret");
        assert_eq!(failure.why.fault(), fault, "{told}");
        assert!(!failure.to_string().contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn logins_without_a_token_that_lives_are_refused() {
    let (peer, issuer) = (server().await, Arc::new(Issuer::default()));
    let (invalid, expired) = (
        Fault::ProviderAnswerInvalid,
        Fault::ProviderCredentialExpired,
    );
    for (body, fault) in [
        (json!({}), invalid),
        (json!({"auth": null}), invalid),
        (
            json!({"auth": {"client_token": "", "lease_duration": 60}}),
            invalid,
        ),
        (json!({"auth": {"client_token": ISSUED}}), invalid),
        (
            json!({"auth": {"client_token": ISSUED, "lease_duration": -1}}),
            invalid,
        ),
        (
            json!({"auth": {"client_token": ISSUED, "lease_duration": 0}}),
            expired,
        ),
    ] {
        let told = body.to_string();
        peer.says(move |_| Reply::json("200 OK", &body));
        let failure = given(&provider(&issuer), &by_jwt(&peer), NOW).await.err();
        assert_eq!(failure.expect("no login").why.fault(), fault, "{told}");
    }
}
