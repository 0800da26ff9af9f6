//! The rules themselves; real keys and signatures are tried in `attache-trust`.

use alloc::{format, string::ToString, vec};

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const RULES: Rules<'static> = Rules {
    issuer: "https://issuer.example",
    audience: "attache",
    algorithms: &[Algorithm::Rs256, Algorithm::Es256],
    max_lifetime: Duration::from_hours(24),
    leeway: Duration::from_secs(30),
};

/// Takes `good` for a signature.
struct Good;

impl VerifySignature for Good {
    fn verify(&self, algorithm: Algorithm, key: &Key, _: &[u8], signature: &[u8]) -> bool {
        assert!(
            key.fits(algorithm),
            "no key is asked for an algorithm that it is not for"
        );
        signature == b"good"
    }
}

fn encoded(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

fn assemble(header: &str, payload: &str, signature: &[u8]) -> String {
    let parts = [header.as_bytes(), payload.as_bytes(), signature].map(encoded);
    parts.join(".")
}

fn claims() -> Value {
    let now = NOW.as_seconds();
    json!({"iss": RULES.issuer, "sub": "s", "aud": "attache", "exp": now + 600, "iat": now - 10})
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn left_out(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

fn key(kid: Option<&str>, kty: &str) -> Value {
    let mut jwk = match kty {
        "RSA" => json!({"kty": "RSA", "n": encoded(&vec![0xff; 256]), "e": "AQAB"}),
        curve => json!({"kty": "EC", "crv": curve, "x": encoded(&[7; 32]), "y": encoded(&[7; 32])}),
    };
    if let Some(kid) = kid {
        jwk["kid"] = json!(kid);
    }
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
}

fn verify(token: &str, keys: &KeySet) -> Result<Verified, RejectedToken> {
    Unverified::parse(token)?.verify(keys, &RULES, &Good, NOW)
}

fn judge(header: &Value, claims: &Value) -> Result<(), RejectedToken> {
    let token = assemble(&header.to_string(), &claims.to_string(), b"good");
    verify(
        &token,
        &set(&[key(Some("r"), "RSA"), key(Some("e"), "P-256")]),
    )
    .map(|_verified| ())
}

fn judge_claims(claims: &Value) -> Result<(), RejectedToken> {
    judge(&json!({"alg": "RS256", "kid": "r"}), claims)
}

fn judge_header(header: &Value) -> Result<(), RejectedToken> {
    judge(header, &claims())
}

#[test]
fn a_token_that_keeps_every_rule_is_verified() {
    let token = assemble(
        r#"{"alg":"RS256","kid":"r","typ":"JWT"}"#,
        &claims().to_string(),
        b"good",
    );
    let verified =
        verify(&token, &set(&[key(Some("r"), "RSA")])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verified.subject(), Some("s"));
    assert_eq!(verified.expires_at(), NOW.plus(Duration::from_mins(10)));
    assert_eq!(
        verified.issued_at().map(Timestamp::as_seconds),
        Some(NOW.as_seconds() - 10)
    );
    assert_eq!(Value::Object(verified.claims().clone()), claims());
}

#[test]
fn a_token_is_read_without_being_believed() {
    let token = assemble(r#"{"alg":"ES256","kid":"e"}"#, r#"{"iss":"anyone"}"#, b"");
    let unverified = Unverified::parse(&token).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(unverified.issuer(), Some("anyone"));
    assert_eq!(unverified.algorithm(), Algorithm::Es256);
    assert_eq!(unverified.key_id(), Some("e"));
}

#[test]
fn algorithms_have_the_names_of_rfc_7518() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
    for name in [
        "none", "None", "HS256", "rs256", "ES256K", "EdDSA", "", "RS256 ",
    ] {
        assert_eq!(Algorithm::from_name(name), None, "{name:?}");
    }
}

#[test]
fn only_three_canonical_parts_are_a_token() {
    let malformed = |token: &str| match Unverified::parse(token) {
        Err(RejectedToken::Malformed(what)) => what,
        Err(other) => panic!("{token}: {other}"),
        Ok(_) => panic!("{token} is read"),
    };
    let good = assemble(r#"{"alg":"RS256"}"#, "{}", b"good");
    for token in [
        "",
        ".",
        "a",
        "a.b",
        "..",
        "...",
        "a.b.c.d",
        "a.b.c.d.e",
        r#"{"payload":"e30"}"#,
    ] {
        malformed(token);
    }
    for token in [
        format!("{good}="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{good}."),
        good.replace('.', "=."),
    ] {
        malformed(&token);
    }
    // `Z29vZA` decodes to `good`; `Z29vZB` differs in bits that carry nothing.
    assert_eq!(malformed(&good.replace("Z29vZA", "Z29vZB")), "signature");
    assert_eq!(malformed(&good.replace("Z29vZA", "Z29v+A")), "signature");
}

#[test]
fn header_and_payload_are_objects_of_unique_members() {
    for (header, payload) in [
        ("[]", "{}"),
        ("", "{}"),
        (r#"{"alg":"RS256"}"#, "[]"),
        (r#"{"alg":"RS256"}"#, "\"text\""),
        (r#"{"alg":"RS256","alg":"RS256"}"#, "{}"),
        (r#"{"alg":"RS256"}"#, r#"{"sub":"a","sub":"b"}"#),
        (r#"{"alg":"RS256"}"#, "{} "),
        ("{}", "{}"),
        (r#"{"alg":256}"#, "{}"),
        (r#"{"alg":"RS256","kid":7}"#, "{}"),
    ] {
        let outcome = Unverified::parse(&assemble(header, payload, b"x")).map(|_| ());
        let spaced = payload.ends_with(' ');
        assert_eq!(
            matches!(outcome, Err(RejectedToken::Malformed(_))),
            !spaced,
            "{header} {payload}"
        );
    }
}

#[test]
fn sixteen_kibibytes_are_read_and_no_more() {
    let of_length = |length: usize| {
        let token = assemble(r#"{"alg":"RS256"}"#, "{}", b"");
        format!("{token}{}", "A".repeat(length - token.len()))
    };
    assert!(Unverified::parse(&of_length(MAX_TOKEN_BYTES)).is_ok());
    assert_eq!(
        Unverified::parse(&of_length(MAX_TOKEN_BYTES + 1)).err(),
        Some(RejectedToken::TooLarge)
    );
}

#[test]
fn headers_that_bring_keys_or_rules_are_refused() {
    for name in REFUSED_HEADERS {
        let mut header = json!({"alg": "RS256", "kid": "r"});
        header[name] = json!(["x"]);
        assert_eq!(
            judge_header(&header),
            Err(RejectedToken::HeaderNotAllowed(name))
        );
    }
    for typ in [
        json!("at+jwt"),
        json!("wit+jwt"),
        json!("jwt"),
        json!(""),
        json!(1),
        json!(null),
    ] {
        let header = json!({"alg": "RS256", "kid": "r", "typ": typ});
        assert_eq!(
            judge_header(&header),
            Err(RejectedToken::HeaderNotAllowed("typ")),
            "{header}"
        );
    }
    for typ in ["JWT", "JOSE"] {
        assert_eq!(
            judge_header(&json!({"alg": "RS256", "kid": "r", "typ": typ})),
            Ok(())
        );
    }
    assert_eq!(
        judge_header(&json!({"alg": "RS256", "kid": "r", "x5t": "abc"})),
        Ok(())
    );
}

#[test]
fn the_algorithm_is_judged_before_any_key() {
    for name in ["none", "HS256", "PS256", "RS384", "EdDSA"] {
        let header = json!({"alg": name, "kid": "no such key"});
        assert_eq!(
            judge_header(&header),
            Err(RejectedToken::AlgorithmNotAllowed),
            "{name}"
        );
    }
}

#[test]
fn a_key_is_found_by_its_kid_and_must_be_for_the_algorithm() {
    let judge = |alg: &str, kid: &str| judge_header(&json!({"alg": alg, "kid": kid}));
    assert_eq!(judge("RS256", "r"), Ok(()));
    assert_eq!(judge("ES256", "e"), Ok(()));
    assert_eq!(judge("ES256", "r"), Err(RejectedToken::KeyMismatch));
    assert_eq!(judge("RS256", "e"), Err(RejectedToken::KeyMismatch));
    for kid in ["x", "", "R", "r ", "../r", "r\0"] {
        assert_eq!(
            judge("RS256", kid),
            Err(RejectedToken::UnknownKey),
            "{kid:?}"
        );
    }
}

#[test]
fn without_a_kid_exactly_one_key_must_fit() {
    let token = assemble(r#"{"alg":"RS256"}"#, &claims().to_string(), b"good");
    let judge = |keys: &[Value]| verify(&token, &set(keys)).map(|_verified| ());
    assert_eq!(
        judge(&[key(Some("r"), "RSA"), key(Some("e"), "P-256")]),
        Ok(())
    );
    assert_eq!(judge(&[key(None, "RSA")]), Ok(()));
    assert_eq!(
        judge(&[key(Some("a"), "RSA"), key(Some("b"), "RSA")]),
        Err(RejectedToken::UnknownKey)
    );
    assert_eq!(
        judge(&[key(Some("e"), "P-256")]),
        Err(RejectedToken::UnknownKey)
    );
    assert_eq!(judge(&[]), Err(RejectedToken::UnknownKey));
    // A key without `kid` is not the key of any `kid`.
    let named = assemble(
        r#"{"alg":"RS256","kid":"r"}"#,
        &claims().to_string(),
        b"good",
    );
    assert_eq!(
        verify(&named, &set(&[key(None, "RSA")])).err(),
        Some(RejectedToken::UnknownKey)
    );
}

#[test]
fn the_issuer_is_compared_before_the_key_and_the_signature_before_the_claims() {
    let header = json!({"alg": "RS256", "kid": "no such key"});
    for issuer in [
        "https://issuer.example/",
        "https://ISSUER.example",
        "",
        "https://other.example",
    ] {
        assert_eq!(
            judge(&header, &changed("iss", json!(issuer))),
            Err(RejectedToken::IssuerMismatch)
        );
    }
    assert_eq!(
        judge(&header, &left_out("iss")),
        Err(RejectedToken::ClaimMissing("iss"))
    );
    let expired = changed("exp", json!(1));
    let forged = assemble(r#"{"alg":"RS256","kid":"r"}"#, &expired.to_string(), b"bad");
    let forged = verify(&forged, &set(&[key(Some("r"), "RSA")]));
    assert_eq!(forged.err(), Some(RejectedToken::SignatureInvalid));
}

#[test]
fn expiry_is_mandatory_and_has_no_leeway() {
    let now = NOW.as_seconds();
    assert_eq!(
        judge_claims(&left_out("exp")),
        Err(RejectedToken::ClaimMissing("exp"))
    );
    assert_eq!(judge_claims(&changed("exp", json!(now + 1))), Ok(()));
    assert_eq!(
        judge_claims(&changed("exp", json!(now))),
        Err(RejectedToken::Expired)
    );
    assert_eq!(
        judge_claims(&changed("exp", json!(0))),
        Err(RejectedToken::Expired)
    );
    assert_eq!(
        judge_claims(&changed("exp", json!(1_800_000_000.5))),
        Ok(())
    );
    assert_eq!(
        judge_claims(&changed("exp", json!(1_799_999_999.999))),
        Err(RejectedToken::Expired)
    );
}

#[test]
fn a_date_is_a_number_between_1970_and_9999() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("1800000600"),
            json!(-1),
            json!(-1.5),
            json!(1e300),
            json!(1e18),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(253_402_300_800_u64),
            json!(null),
            json!(true),
            json!([1_800_000_600]),
            json!({}),
        ] {
            let claims = changed(name, value);
            assert_eq!(
                judge_claims(&claims),
                Err(RejectedToken::ClaimMalformed(name)),
                "{claims}"
            );
        }
    }
}

#[test]
fn nbf_and_iat_have_a_leeway() {
    let now = NOW.as_seconds();
    for name in ["nbf", "iat"] {
        assert_eq!(judge_claims(&changed(name, json!(now + 30))), Ok(()));
        assert_eq!(
            judge_claims(&changed(name, json!(now + 31))),
            Err(RejectedToken::NotYetValid)
        );
    }
}

#[test]
fn a_lifetime_is_counted_from_iat_or_nbf_and_one_of_them_must_be_there() {
    let now = NOW.as_seconds();
    let day = 24 * 3600;
    let judge = |start: Value, exp: i64| {
        let mut claims = left_out("iat");
        claims["exp"] = json!(exp);
        for (name, value) in start.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        judge_claims(&claims)
    };
    let too_long = Err(RejectedToken::LivesTooLong);
    assert_eq!(judge(json!({"iat": now}), now + day), Ok(()));
    assert_eq!(judge(json!({"iat": now}), now + day + 1), too_long);
    assert_eq!(judge(json!({"iat": now - day}), now + 1), too_long);
    assert_eq!(judge(json!({"nbf": now - day}), now + 1), too_long);
    assert_eq!(
        judge(json!({"iat": now - 5, "nbf": now - day}), now + 60),
        Ok(())
    );
    assert_eq!(judge(json!({"nbf": now}), now + day), Ok(()));
    assert_eq!(
        judge(json!({}), now + 60),
        Err(RejectedToken::ClaimMissing("iat"))
    );
    assert_eq!(judge(json!({"iat": 0}), 253_402_300_799), too_long);
}

#[test]
fn our_audience_must_be_named_exactly() {
    for audience in [
        json!("attache"),
        json!(["attache"]),
        json!(["other", "attache"]),
    ] {
        assert_eq!(judge_claims(&changed("aud", audience)), Ok(()));
    }
    for audience in [
        json!("Attache"),
        json!(""),
        json!("attache,other"),
        json!(["other"]),
        json!("attache "),
    ] {
        assert_eq!(
            judge_claims(&changed("aud", audience)),
            Err(RejectedToken::AudienceMismatch)
        );
    }
    for audience in [
        json!([]),
        json!(null),
        json!(1),
        json!({"attache": 1}),
        json!(["attache", 1]),
        json!([["attache"]]),
    ] {
        assert_eq!(
            judge_claims(&changed("aud", audience)),
            Err(RejectedToken::ClaimMalformed("aud"))
        );
    }
    assert_eq!(
        judge_claims(&left_out("aud")),
        Err(RejectedToken::ClaimMissing("aud"))
    );
}

#[test]
fn iss_and_sub_are_strings() {
    for name in ["iss", "sub"] {
        for value in [json!(1), json!(null), json!(["https://issuer.example"])] {
            assert_eq!(
                judge_claims(&changed(name, value)),
                Err(RejectedToken::ClaimMalformed(name))
            );
        }
    }
    assert_eq!(judge_claims(&left_out("sub")), Ok(()));
}

#[test]
fn a_verified_token_holds_between_its_dates() {
    let token = assemble(
        r#"{"alg":"RS256","kid":"r"}"#,
        &claims().to_string(),
        b"good",
    );
    let verified =
        verify(&token, &set(&[key(Some("r"), "RSA")])).unwrap_or_else(|error| panic!("{error}"));
    let holds_at = |seconds| {
        verified
            .validity()
            .holds_at(Timestamp::from_seconds(seconds))
    };
    let now = NOW.as_seconds();
    assert_eq!(holds_at(now), Ok(()));
    assert_eq!(holds_at(now + 600), Err(RejectedToken::Expired));
    assert_eq!(holds_at(now - 40), Ok(()));
    assert_eq!(holds_at(now - 41), Err(RejectedToken::NotYetValid));
}

#[test]
fn every_reason_has_its_own_code() {
    let reasons = [
        RejectedToken::Malformed("x"),
        RejectedToken::TooLarge,
        RejectedToken::AlgorithmNotAllowed,
        RejectedToken::HeaderNotAllowed("x"),
        RejectedToken::UnknownKey,
        RejectedToken::KeyMismatch,
        RejectedToken::SignatureInvalid,
        RejectedToken::Expired,
        RejectedToken::NotYetValid,
        RejectedToken::ClaimMissing("x"),
        RejectedToken::ClaimMalformed("x"),
        RejectedToken::IssuerMismatch,
        RejectedToken::AudienceMismatch,
        RejectedToken::LivesTooLong,
    ];
    let mut codes = reasons.map(|reason| reason.code());
    codes.sort_unstable();
    assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(codes.iter().all(|code| code.starts_with("token-")));
}

proptest! {
    #[test]
    fn text_never_panics(token in "\\PC*") {
        let _ = Unverified::parse(&token);
    }

    #[test]
    fn no_claims_panic(name in "exp|nbf|iat|aud|iss|sub", number: f64, text in "\\PC{0,8}", which in 0..5) {
        let value = match which {
            0 => json!(number), 1 => json!(text), 2 => json!([text, number]), 3 => json!(number.to_bits()), _ => json!({}),
        };
        let _ = judge_claims(&changed(&name, value));
    }

    #[test]
    fn no_other_signature_is_accepted(at in 0..6_usize, byte in "[A-Za-z0-9_.-]") {
        let good = assemble(r#"{"alg":"RS256","kid":"r"}"#, &claims().to_string(), b"good");
        let at = good.len() - 6 + at;
        let mut changed = good.clone();
        changed.replace_range(at..=at, &byte);
        let outcome = verify(&changed, &set(&[key(Some("r"), "RSA")]));
        prop_assert_eq!(outcome.is_ok(), changed == good);
    }
}
