//! The rules of JWT-SVID, each named in a test; what all tokens share is tried in `jwt::tests`, and real keys
//! and signatures in `attache-trust`.

use alloc::{
    string::{String, ToString},
    vec,
};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::*;
use crate::{bundle::Bundle, jwks::Key};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ID: &str = "spiffe://example.org/ns/shop/sa/payment";

/// Takes `good` for a signature.
struct Good;

impl VerifySignature for Good {
    fn verify(&self, _: Algorithm, _: &Key, _: &[u8], signature: &[u8]) -> bool {
        signature == b"good"
    }
}

/// Fails the test that asks it.
struct Never;

impl VerifySignature for Never {
    fn verify(&self, _: Algorithm, _: &Key, _: &[u8], _: &[u8]) -> bool {
        panic!("no key is asked")
    }
}

fn encoded(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// `rsa`, `p256`, `p384` and `p521` for JWT-SVIDs, and `other` that is for nothing here.
fn bundle() -> Bundle {
    let ec = |kid: &str, curve: &str, length: usize, usage: &str| {
        let coordinate = encoded(&vec![7; length]);
        json!({"kty": "EC", "use": usage, "kid": kid, "crv": curve, "x": coordinate, "y": coordinate})
    };
    let rsa = json!({"kty": "RSA", "use": "jwt-svid", "kid": "rsa", "n": encoded(&[0xff; 256]), "e": "AQAB"});
    let keys = json!({"keys": [
        rsa,
        ec("p256", "P-256", 32, "jwt-svid"),
        ec("p384", "P-384", 48, "jwt-svid"),
        ec("p521", "P-521", 66, "jwt-svid"),
        ec("other", "P-256", 32, "sig"),
    ]});
    Bundle::parse(&domain(), keys.to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({"sub": ID, "aud": ["attache"], "exp": NOW.as_seconds() + 300})
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn judge(
    header: &Value,
    claims: &Value,
    verifier: &impl VerifySignature,
) -> Result<VerifiedSvid, RejectedToken> {
    let parts = [header.to_string(), claims.to_string(), "good".to_string()];
    let token = parts.map(|part| encoded(part.as_bytes())).join(".");
    let rules = SvidRules {
        trust_domain: &domain(),
        audience: "attache",
        max_lifetime: Duration::from_hours(1),
        leeway: Duration::from_secs(30),
    };
    Unverified::parse(&token)?.verify_svid(bundle().jwt_keys(), &rules, verifier, NOW)
}

fn refused(header: &Value, claims: &Value) -> Option<RejectedToken> {
    judge(header, claims, &Good).err()
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "p256"})
}

fn refused_claims(claims: &Value) -> Option<RejectedToken> {
    refused(&header(), claims)
}

#[test]
fn a_jwt_svid_is_its_subject_audience_and_expiry_without_issuer() {
    let verified = judge(&header(), &claims(), &Good).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verified.spiffe_id().as_str(), ID);
    assert_eq!(
        verified.token().expires_at(),
        NOW.plus(Duration::from_mins(5))
    );
}

#[test]
fn an_issuer_may_be_there_and_is_not_compared() {
    let claims = with(claims(), "iss", json!("https://spire.example"));
    assert_eq!(refused_claims(&claims), None);
}

#[test]
fn the_algorithms_are_rs_es_and_ps_with_256_384_and_512() {
    for (kid, algorithms) in [
        (
            "rsa",
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ),
        ("p256", &["ES256"]),
        ("p384", &["ES384"]),
        ("p521", &["ES512"]),
    ] {
        for algorithm in algorithms {
            let header = json!({"alg": algorithm, "kid": kid});
            assert_eq!(refused(&header, &claims()), None, "{header}");
        }
    }
}

#[test]
fn other_algorithms_are_refused_before_any_key_work() {
    for algorithm in [
        "none", "HS256", "HS384", "HS512", "EdDSA", "Ed25519", "ES256K", "es256", "",
    ] {
        let header = json!({"alg": algorithm, "kid": "p256"});
        let refused = judge(&header, &claims(), &Never).err();
        assert_eq!(
            refused,
            Some(RejectedToken::AlgorithmNotAllowed),
            "{algorithm}"
        );
    }
}

#[test]
fn an_algorithm_must_fit_its_key() {
    for (kid, algorithm) in [
        ("rsa", "ES256"),
        ("p256", "RS256"),
        ("p256", "ES384"),
        ("p521", "ES256"),
    ] {
        let refused = judge(&json!({"alg": algorithm, "kid": kid}), &claims(), &Never).err();
        assert_eq!(
            refused,
            Some(RejectedToken::KeyMismatch),
            "{kid} {algorithm}"
        );
    }
}

#[test]
fn typ_is_absent_or_jwt_or_jose() {
    for typ in ["JWT", "JOSE"] {
        assert_eq!(
            refused(&with(header(), "typ", json!(typ)), &claims()),
            None,
            "{typ}"
        );
    }
    for typ in ["wit+jwt", "at+jwt", "jwt", "JWS", "", "application/jwt"] {
        let refused = refused(&with(header(), "typ", json!(typ)), &claims());
        assert_eq!(
            refused,
            Some(RejectedToken::HeaderNotAllowed("typ")),
            "{typ}"
        );
    }
}

#[test]
fn a_header_that_brings_or_locates_a_key_is_refused() {
    for name in ["jwk", "jku", "x5u", "x5c", "crit", "b64"] {
        let refused = refused(&with(header(), name, json!("x")), &claims());
        assert_eq!(
            refused,
            Some(RejectedToken::HeaderNotAllowed(name)),
            "{name}"
        );
    }
}

#[test]
fn a_jwt_svid_without_kid_is_refused() {
    let refused = judge(&json!({"alg": "RS256"}), &claims(), &Never).err();
    assert_eq!(refused, Some(RejectedToken::KeyIdMissing));
}

#[test]
fn a_key_counts_only_from_the_bundle_and_with_use_jwt_svid() {
    for kid in ["other", "unknown", "", "../p256", "P256", "p256\0"] {
        let refused = judge(&json!({"alg": "ES256", "kid": kid}), &claims(), &Never).err();
        assert_eq!(refused, Some(RejectedToken::UnknownKey), "{kid}");
    }
}

#[test]
fn the_subject_must_be_of_the_trust_domain_of_the_bundle() {
    for subject in [
        "spiffe://other.example/ns/shop/sa/payment",
        "spiffe://example.org.evil/a",
        "spiffe://example.or/g",
        "spiffe://sub.example.org/a",
    ] {
        let refused = judge(&header(), &with(claims(), "sub", json!(subject)), &Never).err();
        assert_eq!(
            refused,
            Some(RejectedToken::TrustDomainMismatch),
            "{subject}"
        );
    }
}

#[test]
fn the_subject_must_be_the_spiffe_id_of_a_workload() {
    for subject in [
        "spiffe://example.org",
        "spiffe://example.org/",
        "Spiffe://example.org/a",
        "spiffe://Example.org/a",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a#b",
        "spiffe://user@example.org/a",
        "spiffe://example.org:443/a",
        "spiffe://example.org/%61",
        "https://example.org/a",
        "payment",
        "",
    ] {
        let refused = judge(&header(), &with(claims(), "sub", json!(subject)), &Never).err();
        assert_eq!(
            refused,
            Some(RejectedToken::ClaimMalformed("sub")),
            "{subject}"
        );
    }
    let refused = |claims: &Value| judge(&header(), claims, &Never).err();
    let missing = Some(RejectedToken::ClaimMissing("sub"));
    assert_eq!(refused(&without(claims(), "sub")), missing);
    let malformed = Some(RejectedToken::ClaimMalformed("sub"));
    assert_eq!(refused(&with(claims(), "sub", json!([ID]))), malformed);
}

#[test]
fn the_audience_is_required_and_one_value_must_be_ours() {
    for audience in [
        json!("attache"),
        json!(["attache"]),
        json!(["other", "attache"]),
    ] {
        assert_eq!(refused_claims(&with(claims(), "aud", audience)), None);
    }
    let missing = Some(RejectedToken::ClaimMissing("aud"));
    assert_eq!(refused_claims(&without(claims(), "aud")), missing);
    for audience in [
        json!("other"),
        json!(["ATTACHE"]),
        json!("attache "),
        json!(""),
    ] {
        let refused = refused_claims(&with(claims(), "aud", audience));
        assert_eq!(refused, Some(RejectedToken::AudienceMismatch));
    }
    for audience in [
        json!([]),
        json!([1]),
        json!({}),
        json!(null),
        json!(["attache", 1]),
    ] {
        let refused = refused_claims(&with(claims(), "aud", audience));
        assert_eq!(refused, Some(RejectedToken::ClaimMalformed("aud")));
    }
}

#[test]
fn the_expiry_is_required_and_must_lie_ahead() {
    let now = NOW.as_seconds();
    let missing = Some(RejectedToken::ClaimMissing("exp"));
    assert_eq!(refused_claims(&without(claims(), "exp")), missing);
    let expired = Some(RejectedToken::Expired);
    for exp in [json!(now), json!(now - 1), json!(0)] {
        assert_eq!(refused_claims(&with(claims(), "exp", exp)), expired);
    }
    for exp in [
        json!("1900000000"),
        json!(-1),
        json!(1e300),
        json!(null),
        json!(true),
    ] {
        let refused = refused_claims(&with(claims(), "exp", exp));
        assert_eq!(refused, Some(RejectedToken::ClaimMalformed("exp")));
    }
}

#[test]
fn not_before_and_issued_at_count_if_they_are_there() {
    let now = NOW.as_seconds();
    for name in ["nbf", "iat"] {
        assert_eq!(refused_claims(&with(claims(), name, json!(now + 30))), None);
        let ahead = refused_claims(&with(claims(), name, json!(now + 31)));
        assert_eq!(ahead, Some(RejectedToken::NotYetValid), "{name}");
    }
}

#[test]
fn a_life_longer_than_the_provider_accepts_is_refused_with_and_without_a_beginning() {
    let now = NOW.as_seconds();
    let long = Some(RejectedToken::LivesTooLong);
    assert_eq!(
        refused_claims(&with(claims(), "exp", json!(now + 3600))),
        None
    );
    assert_eq!(
        refused_claims(&with(claims(), "exp", json!(now + 3601))),
        long
    );
    let begun = with(claims(), "iat", json!(now - 3600));
    assert_eq!(
        refused_claims(&begun),
        long,
        "its whole life counts, not what is left"
    );
}

#[test]
fn a_signature_that_does_not_verify_is_refused_before_its_times_are_told() {
    let parts = [
        header().to_string(),
        with(claims(), "exp", json!(1)).to_string(),
        "bad".to_string(),
    ];
    let token = parts.map(|part| encoded(part.as_bytes())).join(".");
    let rules = SvidRules {
        trust_domain: &domain(),
        audience: "attache",
        max_lifetime: Duration::from_hours(1),
        leeway: Duration::ZERO,
    };
    let unverified = Unverified::parse(&token).unwrap_or_else(|error| panic!("{error}"));
    let verdict = unverified.verify_svid(bundle().jwt_keys(), &rules, &Good, NOW);
    assert_eq!(verdict.err(), Some(RejectedToken::SignatureInvalid));
}

#[test]
fn json_serialisation_and_encryption_are_no_jwt_svid() {
    for token in [
        r#"{"payload":"e30","signatures":[]}"#,
        "e30.e30.e30.e30.e30",
        "e30",
        "",
    ] {
        let refused = Unverified::parse(token).err();
        assert_eq!(
            refused,
            Some(RejectedToken::Malformed("not three parts")),
            "{token}"
        );
    }
}
