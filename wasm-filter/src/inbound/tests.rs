//! The way in, from header to answer, with real signatures.

use std::collections::BTreeMap;

use attache_core::time::Timestamp;
use attache_proto::token::v1::{Decision, VerifyRequest, VerifyResponse};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    fake::{Answered, Fake},
    host::{Buffer, ContextId},
    vm::{Action, Vm},
};

mod judging;

const NOW: i64 = 1_800_000_000;
const PLUGIN: ContextId = 1;
const ID: &str = "spiffe://cluster.local/ns/a/sa/b";

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    fn bundle(&self, kid: &str) -> Value {
        let point = self.0.public_key().as_ref();
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "jwt-svid", "kid": kid,
                         "x": encoded(&point[1..33]), "y": encoded(&point[33..])}]})
    }

    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": "ES256", "kid": "k"});
        let mut claims =
            json!({"sub": ID, "aud": ["https://b.example"], "iat": NOW, "exp": NOW + 300});
        change(&mut header, &mut claims);
        let input = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let signature = self
            .0
            .sign(&SystemRandom::new(), input.as_bytes())
            .expect("a signature");
        format!("{input}.{}", encoded(signature))
    }

    fn good(&self) -> String {
        self.token(|_, _| {})
    }
}

struct Stage {
    vm: Vm<Fake>,
    next: ContextId,
}

impl Stage {
    fn open(settings: &Value) -> Self {
        let fake = Fake::default();
        fake.now.set(NOW * 1000);
        fake.fill(Buffer::Configuration, settings.to_string().into_bytes());
        let mut vm = Vm::new(fake);
        vm.on_create(PLUGIN, 0);
        assert!(vm.on_configure(PLUGIN), "{:?}", vm.host().logged);
        Self { vm, next: 10 }
    }

    fn inline(bundle: &Value) -> Self {
        Self::open(&settings(
            &json!({"name": "cluster.local", "inline": bundle}),
        ))
    }

    fn start(&mut self, headers: &[(&str, &[u8])]) -> (ContextId, Action) {
        self.next += 1;
        let stream = self.next;
        let all: Vec<(&str, &[u8])> = [(":method", b"GET".as_slice()), (":path", b"/v1/x?q")]
            .into_iter()
            .filter(|(name, _)| headers.iter().all(|(other, _)| other != name))
            .chain(headers.iter().copied())
            .collect();
        self.vm.on_create(stream, PLUGIN);
        self.vm.host().request(stream, &all);
        let action = self.vm.on_request(stream, true);
        (stream, action)
    }

    fn ask(&mut self, headers: &[(&str, &[u8])]) -> Result<ContextId, Answered> {
        let (stream, action) = self.start(headers);
        match action {
            Action::Continue => Ok(stream),
            Action::Hold | Action::Wait => Err(self.answer(stream)),
        }
    }

    fn answer(&self, stream: ContextId) -> Answered {
        self.vm.host().answered.borrow()[&stream].clone()
    }

    fn bearer(&mut self, token: &str) -> Result<ContextId, Answered> {
        self.ask(&[("authorization", format!("Bearer {token}").as_bytes())])
    }

    fn refused(&mut self, token: &str) -> (u32, String) {
        let answered = self.bearer(token).expect_err("it is refused");
        (answered.status, answered.code().to_owned())
    }

    fn later(&self, seconds: i64) {
        let now = &self.vm.host().now;
        now.set(now.get() + seconds * 1000);
    }
}

fn settings(domain: &Value) -> Value {
    json!({"inbound": {
        "audience": "https://b.example",
        "edge": {"cluster": "attache"},
        "trust_domains": [domain],
        "allow": [{"spiffe_ids": ["spiffe://cluster.local/ns/a/*"], "methods": ["GET"], "paths": ["/v1"]}],
    }})
}

#[test]
fn a_good_token_passes_and_the_application_sees_who_calls() {
    let signer = Signer::new();
    let mut stage = Stage::inline(&signer.bundle("k"));
    let token = format!("bearer  {}", signer.good());
    let stream = stage
        .ask(&[
            ("authorization", token.as_bytes()),
            ("x-attache-spiffe-id", b"spiffe://cluster.local/forged"),
            ("x_attache_spiffe_id", b"spiffe://cluster.local/forged"),
            ("x-attache_other", b"\xff"),
            ("x-other", b"\xff"),
        ])
        .expect("it passes");
    let host = stage.vm.host();
    assert_eq!(host.header(stream, "x-attache-spiffe-id"), [ID]);
    for gone in ["authorization", "x_attache_spiffe_id", "x-attache_other"] {
        assert!(host.header(stream, gone).is_empty(), "{gone}");
    }
    assert_eq!(host.header(stream, "x-other").len(), 1);
    let state = host.states.borrow()[&(stream, "attache.spiffe_id".to_owned())].clone();
    assert_eq!(state, ID.as_bytes());
}

#[test]
fn a_token_can_be_passed_on_and_stand_in_another_header() {
    let signer = Signer::new();
    let mut settings = settings(&json!({"name": "cluster.local", "inline": signer.bundle("k")}));
    settings["inbound"]["header"] = json!("x-svid");
    settings["inbound"]["token"] = json!("pass");
    let mut stage = Stage::open(&settings);
    let token = signer.good();
    let stream = stage
        .ask(&[
            ("x-svid", token.as_bytes()),
            ("x_svid", b"y"),
            ("authorization", b"Basic eA=="),
        ])
        .expect("it passes");
    let host = stage.vm.host();
    assert_eq!(host.header(stream, "x-svid"), [token]);
    assert!(host.header(stream, "x_svid").is_empty());
    assert_eq!(host.header(stream, "authorization").len(), 1);
}

#[test]
fn refusals_are_those_of_rfc_6750() {
    let signer = Signer::new();
    let mut stage = Stage::inline(&signer.bundle("k"));
    let challenge = |answered: &Answered| answered.headers["www-authenticate"].clone();
    let bare = stage.ask(&[]).expect_err("no token");
    assert_eq!(
        (bare.status, bare.code(), &*challenge(&bare)),
        (401, "evidence-missing", "Bearer")
    );
    let basic = stage
        .ask(&[("authorization", b"Basic eA==")])
        .expect_err("no token");
    assert_eq!(challenge(&basic), "Bearer");
    let expired = stage
        .bearer(&signer.token(|_, claims| claims["exp"] = json!(NOW)))
        .expect_err("expired");
    assert_eq!((expired.status, expired.code()), (401, "token-expired"));
    assert!(
        challenge(&expired)
            .starts_with("Bearer error=\"invalid_token\", error_description=\"token-expired: ")
    );
    let good = format!("Bearer {}", signer.good());
    let other = stage
        .ask(&[("authorization", good.as_bytes()), (":path", b"/v2")])
        .expect_err("not allowed");
    assert_eq!((other.status, other.code()), (403, "no-policy"));
    assert!(challenge(&other).contains("error=\"insufficient_scope\""));
    assert!(!other.body.contains("cluster.local"));
}

#[test]
fn each_broken_rule_has_its_code() {
    let signer = Signer::new();
    let mut stage = Stage::inline(&signer.bundle("k"));
    let cases: [(&str, String); 7] = [
        (
            "token-audience-mismatch",
            signer.token(|_, claims| claims["aud"] = json!("other")),
        ),
        (
            "token-key-unknown",
            signer.token(|header, _| header["kid"] = json!("other")),
        ),
        ("token-signature-invalid", Signer::new().good()),
        (
            "trust-domain-unknown",
            signer.token(|_, claims| claims["sub"] = json!("spiffe://other.example/a")),
        ),
        ("token-malformed", "a.b".to_owned()),
        ("token-too-large", "a".repeat(16 * 1024 + 1)),
        (
            "token-algorithm-not-allowed",
            signer.token(|header, _| header["alg"] = json!("none")),
        ),
    ];
    for (code, token) in cases {
        assert_eq!(stage.refused(&token), (401, code.to_owned()));
    }
}

#[test]
fn a_header_that_can_be_read_in_two_ways_is_refused() {
    let signer = Signer::new();
    let mut stage = Stage::inline(&signer.bundle("k"));
    let good = format!("Bearer {}", signer.good());
    let two = stage
        .ask(&[
            ("authorization", good.as_bytes()),
            ("authorization", good.as_bytes()),
        ])
        .expect_err("two headers");
    assert_eq!((two.status, two.code()), (400, "evidence-ambiguous"));
    let joined = stage
        .ask(&[("authorization", format!("{good},{good}").as_bytes())])
        .expect_err("joined");
    assert_eq!((joined.status, joined.code()), (400, "evidence-ambiguous"));
    for (name, value, code) in [
        (":path", b"/v1/../x".as_slice(), "path-ambiguous"),
        (":path", b"/v1/\xff", "path-ambiguous"),
        (":method", b"get", "method-malformed"),
        (":method", b"TRACE", "method-refused"),
        ("x-http-method-override", b"DELETE", "request-overridden"),
        ("X_Original_URL", b"/", "request-overridden"),
    ] {
        let refused = stage.ask(&[("authorization", good.as_bytes()), (name, value)]);
        let refused = refused.expect_err(name);
        assert_eq!((refused.status, refused.code()), (403, code));
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_harm_nobody() {
    let signer = Signer::new();
    let mut stage = Stage::inline(&signer.bundle("k"));
    for byte in 0x80..=0xff_u8 {
        let value = [b"Bearer ".as_slice(), &[byte], b".a.b"].concat();
        let refused = stage
            .ask(&[("authorization", &value)])
            .expect_err("no text");
        assert_eq!((refused.status, refused.code()), (401, "token-malformed"));
    }
    assert!(stage.bearer(&signer.good()).is_ok());
}

#[test]
fn a_token_is_verified_once_until_it_expires() {
    let signer = Signer::new();
    let mut stage = Stage::inline(&signer.bundle("k"));
    let token = signer.good();
    for _ in 0..10 {
        assert!(stage.bearer(&token).is_ok());
    }
    assert_eq!(stage.vm.host().verifications.get(), 1);
    // The whole token is the key: another signature is another token.
    let (input, _) = token.rsplit_once('.').expect("a token");
    assert_eq!(
        stage.refused(&format!("{input}.{}", encoded([7; 64]))).1,
        "token-signature-invalid"
    );
    stage.later(300);
    assert_eq!(stage.refused(&token), (401, "token-expired".to_owned()));
}

#[test]
fn ten_thousand_tokens_take_no_more_memory_than_is_set() {
    let signer = Signer::new();
    let mut settings = settings(&json!({"name": "cluster.local", "inline": signer.bundle("k")}));
    settings["inbound"]["memory_bytes"] = json!(65_536);
    let mut stage = Stage::open(&settings);
    let tokens: Vec<_> = (0..300)
        .map(|n| signer.token(|_, claims| claims["jti"] = json!(n)))
        .collect();
    for token in tokens.iter().chain(&tokens) {
        assert!(stage.bearer(token).is_ok());
    }
    // All were verified twice, for the first were forgotten.
    assert_eq!(stage.vm.host().verifications.get(), 600);
}

#[test]
fn without_a_bundle_nobody_passes_and_with_it_everybody_does() {
    let signer = Signer::new();
    let endpoint = json!({"cluster": "c", "authority": "bundles.example", "path": "/b"});
    let mut stage = Stage::open(&settings(
        &json!({"name": "cluster.local", "endpoint": endpoint}),
    ));
    let token = signer.good();
    assert_eq!(stage.refused(&token), (503, "keys-unavailable".to_owned()));
    stage.vm.on_tick(PLUGIN);
    let calls = stage.vm.host().calls();
    assert_eq!(calls[0].what, "GET bundles.example/b by c");
    stage.vm.host().callout_status.set(200);
    stage.vm.host().fill(
        Buffer::HttpCallout,
        signer.bundle("k").to_string().into_bytes(),
    );
    stage.vm.on_http(PLUGIN, calls[0].token);
    assert!(stage.bearer(&token).is_ok());
    // A key that is gone no longer vouches for what it signed.
    stage.later(301);
    let token = signer.token(|_, claims| claims["exp"] = json!(NOW + 900));
    assert!(stage.bearer(&token).is_ok());
    stage.vm.on_tick(PLUGIN);
    let calls = stage.vm.host().calls();
    stage.vm.host().fill(
        Buffer::HttpCallout,
        Signer::new().bundle("other").to_string().into_bytes(),
    );
    stage.vm.on_http(PLUGIN, calls[0].token);
    assert_eq!(stage.refused(&token).1, "token-key-unknown");
    stage.later(86_400);
    let token = signer.token(|_, claims| {
        claims["iat"] = json!(NOW + 86_700);
        claims["exp"] = json!(NOW + 90_000);
    });
    assert_eq!(stage.refused(&token), (503, "keys-unavailable".to_owned()));
}

#[test]
fn a_source_that_fails_is_asked_again_after_a_pause() {
    let endpoint = json!({"cluster": "c", "authority": "bundles.example", "path": "/b"});
    let mut stage = Stage::open(&settings(
        &json!({"name": "cluster.local", "endpoint": endpoint}),
    ));
    let mut asked = 0;
    for _ in 0..600 {
        stage.vm.on_tick(PLUGIN);
        for call in stage.vm.host().calls() {
            asked += 1;
            stage.vm.host().callout_status.set(302);
            stage.vm.on_http(PLUGIN, call.token);
        }
        stage.later(1);
    }
    assert!((20..40).contains(&asked), "{asked}");
}

#[test]
fn the_edge_verifies_once_what_envoy_cannot() {
    let signer = Signer::new();
    let mut bundle = signer.bundle("k");
    let rsa = json!({"kty": "RSA", "use": "jwt-svid", "kid": "r", "n": encoded([0xff; 256]), "e": "AQAB"});
    bundle["keys"].as_array_mut().expect("keys").push(rsa);
    let mut stage = Stage::inline(&bundle);
    let token = signer.token(|header, _| {
        header["alg"] = json!("PS256");
        header["kid"] = json!("r");
    });
    let value = format!("Bearer {token}");
    let ask = |stage: &mut Stage, path: &[u8]| {
        let (stream, action) = stage.start(&[("authorization", value.as_bytes()), (":path", path)]);
        assert_eq!(action, Action::Wait);
        stream
    };
    let streams = [
        ask(&mut stage, b"/v1"),
        ask(&mut stage, b"/v2"),
        ask(&mut stage, b"/v1/z"),
    ];
    // One of them goes away.
    stage.vm.host().headers.borrow_mut().remove(&streams[2]);
    assert!(stage.vm.on_done(streams[2]));
    let calls = stage.vm.host().calls();
    assert_eq!((calls.len(), &*calls[0].what), (1, "Verify by attache"));
    let request = VerifyRequest::decode(calls[0].message.as_slice()).expect("a request");
    assert_eq!(
        (request.token.as_str(), request.audiences),
        (token.as_str(), vec!["https://b.example".to_owned()])
    );
    let response = VerifyResponse {
        protocol: 1,
        decision: Decision::Allowed.into(),
        spiffe_id: ID.to_owned(),
        until: Timestamp::from_seconds(NOW + 300).as_millis(),
        ..VerifyResponse::default()
    };
    stage
        .vm
        .host()
        .fill(Buffer::GrpcMessage, response.encode_to_vec());
    stage.vm.on_grpc(PLUGIN, calls[0].token);
    assert_eq!(*stage.vm.host().resumed.borrow(), [streams[0]]);
    assert_eq!(
        stage.vm.host().header(streams[0], "x-attache-spiffe-id"),
        [ID]
    );
    assert_eq!(stage.answer(streams[1]).code(), "no-policy");
    assert!(stage.bearer(&token).is_ok(), "from memory");
    stage.later(61);
    assert_eq!(
        stage.start(&[("authorization", value.as_bytes())]).1,
        Action::Wait
    );
}

#[test]
fn an_edge_that_does_not_answer_lets_nobody_pass() {
    let signer = Signer::new();
    let mut bundle = signer.bundle("k");
    let rsa = json!({"kty": "RSA", "use": "jwt-svid", "kid": "r", "n": encoded([0xff; 256]), "e": "AQAB"});
    bundle["keys"].as_array_mut().expect("keys").push(rsa);
    let mut stage = Stage::inline(&bundle);
    let token = signer.token(|header, _| {
        header["alg"] = json!("PS256");
        header["kid"] = json!("r");
    });
    let value = format!("Bearer {token}");
    let wrong_subject = VerifyResponse {
        decision: Decision::Allowed.into(),
        spiffe_id: "spiffe://cluster.local/ns/a/sa/other".to_owned(),
        until: i64::MAX,
        ..VerifyResponse::default()
    };
    for answer in [
        Some(b"\xff\xff\xff".to_vec()),
        Some(Vec::new()),
        Some(wrong_subject.encode_to_vec()),
        None,
    ] {
        let (stream, action) = stage.start(&[("authorization", value.as_bytes())]);
        assert_eq!(action, Action::Wait);
        let call = stage.vm.host().calls()[0].token;
        match answer {
            Some(answer) => {
                stage.vm.host().fill(Buffer::GrpcMessage, answer);
                stage.vm.on_grpc(PLUGIN, call);
            }
            None => stage.vm.on_grpc_close(PLUGIN, call, 14),
        }
        assert_eq!(stage.answer(stream).status, 503);
    }
    assert!(stage.vm.host().resumed.borrow().is_empty());
    stage.vm.host().refuse_calls.set(true);
    assert_eq!(stage.refused(&token), (503, "edge-unavailable".to_owned()));
}

/// The table for every implementation, as a proxy would see it: what the token claims finds the bundle.
#[test]
fn every_jwt_svid_of_the_table_gets_its_verdict() {
    let table = include_str!("../../../tests/vectors/jwt-svid.json");
    let table: Value = serde_json::from_str(table).expect("a table");
    let mut judged = BTreeMap::new();
    for case in table["cases"].as_array().expect("cases") {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let keys = &table["keys"][case["keys"].as_str().expect("keys")];
        let document = text(keys).unwrap_or_else(|| keys.to_string());
        let domain = &table["rules"][case["rules"].as_str().expect("rules")]["trust_domain"];
        let mut settings = settings(
            &json!({"name": domain, "endpoint": {"cluster": "c", "authority": "b", "path": "/b"}}),
        );
        settings["inbound"]["audience"] = json!("attache");
        let anyone = format!("spiffe://{}/*", domain.as_str().expect("a domain"));
        settings["inbound"]["allow"][0]["spiffe_ids"] = json!([anyone]);
        let mut stage = Stage::open(&settings);
        stage.vm.on_tick(PLUGIN);
        let call = stage.vm.host().calls()[0].token;
        stage.vm.host().callout_status.set(200);
        stage
            .vm
            .host()
            .fill(Buffer::HttpCallout, document.into_bytes());
        stage.vm.on_http(PLUGIN, call);
        let bearer = format!("Bearer {}", case["token"].as_str().expect("a token"));
        let (stream, action) = stage.start(&[("authorization", bearer.as_bytes())]);
        let answered = stage.vm.host().answered.borrow().get(&stream).cloned();
        let expected = text(&case["expect"]["code"]).unwrap_or_else(|| "accepted".to_owned());
        let expected = as_a_proxy_says(&expected);
        let found = match (action, answered) {
            (Action::Continue, _) => "accepted".to_owned(),
            (Action::Hold | Action::Wait, Some(answered)) => answered.code().to_owned(),
            // The edge is asked; which is right for RSASSA-PSS alone.
            (Action::Hold | Action::Wait, None) => {
                assert!(
                    case["id"].as_str().is_some_and(|id| id.contains("-ps")),
                    "{case}"
                );
                continue;
            }
        };
        assert_eq!(found, expected, "{case}");
        *judged.entry(found).or_insert(0) += 1;
    }
    assert!(judged["accepted"] >= 20, "{judged:?}");
}

fn as_a_proxy_says(code: &str) -> &str {
    match code {
        // The bundle is found by what the token claims.
        "token-trust-domain-mismatch" => "trust-domain-unknown",
        "key-set-refused" => "keys-unavailable",
        other => other,
    }
}
