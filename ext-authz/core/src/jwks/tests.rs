use alloc::{format, vec};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn encoded(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

fn rsa(bits: usize) -> Value {
    let mut n = vec![0x80 | 1; bits / 8];
    n[0] = 0xff;
    json!({"kty": "RSA", "kid": "r", "n": encoded(&n), "e": "AQAB"})
}

fn ec(curve: &str, length: usize) -> Value {
    let coordinate = encoded(&vec![7; length]);
    json!({"kty": "EC", "kid": "e", "crv": curve, "x": coordinate, "y": coordinate})
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().expect("a JWK").remove(name);
    jwk
}

fn parse(keys: &[Value]) -> Result<KeySet, InvalidKeySet> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

/// Why the only key of a set is ignored; `None` if it is used.
fn ignored(jwk: Value) -> Option<UnusableKey> {
    let set = parse(&[jwk]).expect("a set");
    assert_eq!(set.keys().len() + set.ignored().len(), 1);
    set.ignored().first().map(|ignored| ignored.reason)
}

#[test]
fn keys_for_signatures_are_used() {
    for jwk in [
        rsa(2048),
        rsa(8192),
        ec("P-256", 32),
        ec("P-384", 48),
        ec("P-521", 66),
        with(rsa(2048), "use", json!("sig")),
        with(rsa(2048), "key_ops", json!(["sign", "verify"])),
        with(rsa(2048), "alg", json!("PS512")),
        with(ec("P-256", 32), "alg", json!("ES256")),
        with(rsa(2048), "x5c", json!(["MIIB"])),
        without(rsa(2048), "kid"),
    ] {
        assert_eq!(ignored(jwk.clone()), None, "{jwk}");
    }
}

#[test]
fn keys_that_cannot_verify_here_are_ignored_and_reported() {
    for (jwk, reason) in [
        (with(rsa(2048), "use", json!("enc")), UnusableKey::Use),
        (with(rsa(2048), "use", json!("SIG")), UnusableKey::Use),
        (with(rsa(2048), "use", json!(null)), UnusableKey::Use),
        (
            with(rsa(2048), "key_ops", json!(["encrypt"])),
            UnusableKey::KeyOps,
        ),
        (with(rsa(2048), "key_ops", json!([])), UnusableKey::KeyOps),
        (
            with(rsa(2048), "key_ops", json!("verify")),
            UnusableKey::KeyOps,
        ),
        (
            with(rsa(2048), "alg", json!("RSA-OAEP")),
            UnusableKey::Algorithm,
        ),
        (
            with(rsa(2048), "alg", json!("HS256")),
            UnusableKey::Algorithm,
        ),
        (
            with(rsa(2048), "alg", json!("none")),
            UnusableKey::Algorithm,
        ),
        (
            with(rsa(2048), "alg", json!("ES256")),
            UnusableKey::Algorithm,
        ),
        (
            with(ec("P-256", 32), "alg", json!("ES384")),
            UnusableKey::Algorithm,
        ),
        (with(rsa(2048), "alg", json!(7)), UnusableKey::Algorithm),
        (with(rsa(2048), "kty", json!("OKP")), UnusableKey::KeyType),
        (with(rsa(2048), "kty", json!("oct")), UnusableKey::KeyType),
        (with(rsa(2048), "kty", json!("rsa")), UnusableKey::KeyType),
        (without(rsa(2048), "kty"), UnusableKey::KeyType),
        (
            with(rsa(2048), "kid", json!(1)),
            UnusableKey::Malformed("kid"),
        ),
        (without(rsa(2048), "n"), UnusableKey::Malformed("n")),
        (
            with(rsa(2048), "n", json!("AQ==")),
            UnusableKey::Malformed("n"),
        ),
        (
            with(rsa(2048), "e", json!(65537)),
            UnusableKey::Malformed("e"),
        ),
        (ec("secp256k1", 32), UnusableKey::Curve),
        (ec("secp256k1", 32), UnusableKey::Curve),
        (ec("P-256", 31), UnusableKey::Malformed("x")),
        (ec("P-256", 33), UnusableKey::Malformed("x")),
        (ec("P-384", 32), UnusableKey::Malformed("x")),
        (without(ec("P-256", 32), "y"), UnusableKey::Malformed("y")),
    ] {
        assert_eq!(ignored(jwk.clone()), Some(reason), "{jwk}");
    }
}

#[test]
fn rsa_keys_are_neither_short_nor_endless() {
    for bits in [0, 512, 1024, 2040, 8200, 16384] {
        let n = if bits == 0 {
            String::new()
        } else {
            rsa(bits)["n"].as_str().expect("n").to_owned()
        };
        assert_eq!(
            ignored(with(rsa(2048), "n", json!(n))),
            Some(UnusableKey::ModulusSize(bits))
        );
    }
    // Leading zeros do not lengthen a number.
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    assert_eq!(
        ignored(with(rsa(2048), "n", json!(encoded(&padded)))),
        Some(UnusableKey::ModulusSize(1024))
    );
    // 2047 bits in 256 bytes.
    let almost = [vec![0x7f], vec![0xff; 255]].concat();
    assert_eq!(
        ignored(with(rsa(2048), "n", json!(encoded(&almost)))),
        Some(UnusableKey::ModulusSize(2047))
    );
    let one_zero = [vec![0], vec![0xff; 256]].concat();
    let set = parse(&[with(rsa(2048), "n", json!(encoded(&one_zero)))]).expect("a set");
    assert!(matches!(set.keys()[0].material(), Material::Rsa { n, .. } if n.len() == 256));
}

#[test]
fn weak_exponents_are_ignored() {
    for e in [
        &[][..],
        &[0],
        &[1],
        &[3],
        &[1, 0, 0],
        &[1, 0, 2],
        &[1, 0, 0, 0, 1],
    ] {
        let jwk = with(rsa(2048), "e", json!(encoded(e)));
        assert_eq!(ignored(jwk), Some(UnusableKey::Exponent), "{e:?}");
    }
    assert_eq!(
        ignored(with(
            rsa(2048),
            "e",
            json!(encoded(&[0xff, 0xff, 0xff, 0xff]))
        )),
        None
    );
}

#[test]
fn private_or_symmetric_material_anywhere_refuses_the_set() {
    for member in PRIVATE_MEMBERS {
        let set = parse(&[
            rsa(2048),
            with(with(rsa(2048), "use", json!("enc")), member, json!("AQAB")),
        ]);
        assert_eq!(set, Err(InvalidKeySet::PrivateKey { index: 1, member }));
    }
    let mut many = vec![rsa(2048); MAX_KEYS];
    many.push(with(rsa(2048), "d", json!("AQAB")));
    let refused = parse(&many).expect_err("refused");
    assert!(
        refused.publishes_private_key(),
        "whatever else is wrong with it: {refused}"
    );
    let symmetric = json!({"kty": "oct", "k": "c2VjcmV0"});
    assert_eq!(
        parse(&[symmetric]),
        Err(InvalidKeySet::PrivateKey {
            index: 0,
            member: "k"
        })
    );
}

#[test]
fn no_error_repeats_key_material() {
    let error = parse(&[with(rsa(2048), "d", json!("c2VjcmV0"))])
        .expect_err("refused")
        .to_string();
    assert!(!error.contains("c2VjcmV0"), "{error}");
}

#[test]
fn of_two_keys_with_one_kid_the_first_counts_unless_they_serve_different_algorithms() {
    let twins = parse(&[rsa(2048), rsa(4096)]).expect("a set");
    assert_eq!(
        (twins.keys().len(), twins.ignored()[0].reason),
        (1, UnusableKey::DuplicateKeyId)
    );
    let siblings = parse(&[
        with(rsa(2048), "alg", json!("RS256")),
        with(rsa(2048), "alg", json!("PS256")),
    ]);
    assert_eq!(siblings.expect("a set").keys().len(), 2);
    let types = parse(&[rsa(2048), with(ec("P-256", 32), "kid", json!("r"))]).expect("a set");
    assert_eq!(types.keys().len(), 2);
    let nameless = parse(&[without(rsa(2048), "kid"), without(rsa(4096), "kid")]).expect("a set");
    assert_eq!(nameless.keys().len(), 2);
}

#[test]
fn a_key_fits_the_algorithms_of_its_type_and_its_alg() {
    let fitting = |jwk: Value| {
        let set = parse(&[jwk]).expect("a set");
        let fits = |algorithm: &Algorithm| set.keys()[0].fits(*algorithm);
        Algorithm::ALL
            .into_iter()
            .filter(fits)
            .map(Algorithm::name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fitting(rsa(2048)),
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    );
    assert_eq!(fitting(with(rsa(2048), "alg", json!("PS384"))), ["PS384"]);
    assert_eq!(fitting(ec("P-256", 32)), ["ES256"]);
    assert_eq!(fitting(ec("P-384", 48)), ["ES384"]);
}

#[test]
fn an_empty_set_is_valid_and_trusts_nothing() {
    assert_eq!(parse(&[]).expect("a set").keys(), []);
}

#[test]
fn what_is_no_set_is_refused() {
    for text in [
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[1]}"#,
        r#"{"Keys":[]}"#,
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes()),
            Err(InvalidKeySet::NoKeys),
            "{text}"
        );
    }
    for (text, why) in [
        ("", InvalidJson::Syntax),
        ("<html>", InvalidJson::Syntax),
        ("[]", InvalidJson::NotAnObject),
        (r#"{"keys":[],"keys":[]}"#, InvalidJson::DuplicateMember),
        (
            r#"{"keys":[{"kid":"a","kid":"b"}]}"#,
            InvalidJson::DuplicateMember,
        ),
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes()),
            Err(InvalidKeySet::NotJson(why)),
            "{text}"
        );
    }
}

#[test]
fn sizes_are_capped() {
    assert!(parse(&vec![json!({}); 256]).is_ok());
    assert_eq!(
        parse(&vec![json!({}); 257]),
        Err(InvalidKeySet::TooMany(257))
    );
    let long = format!(r#"{{"keys":[]{}}}"#, " ".repeat(MAX_SET_BYTES));
    assert_eq!(
        KeySet::parse(long.as_bytes()),
        Err(InvalidKeySet::TooLarge(long.len()))
    );
}

#[test]
fn a_report_escapes_the_kid_and_says_the_reason() {
    let set = parse(&[with(
        with(rsa(2048), "use", json!("enc")),
        "kid",
        json!("a\nb"),
    )])
    .expect("a set");
    assert_eq!(
        set.ignored()[0].to_string(),
        r#"key 0 (kid Some("a\nb")): its `use` is not `sig`"#
    );
}

proptest! {
    #[test]
    fn members_of_any_kind_never_panic(name in "kty|use|alg|kid|n|e|crv|x|y|key_ops", text in "\\PC{0,12}", which in 0..4) {
        let value = match which { 0 => json!(text), 1 => json!([text]), 2 => json!(1.5), _ => json!({ "a": null }) };
        for jwk in [rsa(2048), ec("P-256", 32)] {
            let _ = parse(&[with(jwk, &name, value.clone())]);
        }
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = KeySet::parse(&bytes);
    }
}

#[test]
fn keys_of_a_workload_api_need_no_use_and_have_a_kid() {
    let read = |jwk: Value| {
        let set = KeySet::parse_workload_api(json!({ "keys": [jwk] }).to_string().as_bytes());
        set.unwrap().ignored().first().map(|ignored| ignored.reason)
    };
    assert_eq!(read(rsa(2048)), None);
    assert_eq!(read(with(rsa(2048), "use", json!("jwt-svid"))), None);
    assert_eq!(read(with(rsa(2048), "use", json!("sig"))), None);
    for usage in ["x509-svid", "enc", "JWT-SVID"] {
        assert_eq!(
            read(with(rsa(2048), "use", json!(usage))),
            Some(UnusableKey::Use)
        );
    }
    assert_eq!(
        read(without(rsa(2048), "kid")),
        Some(UnusableKey::KeyIdMissing)
    );
}

#[test]
fn keys_for_svids_do_not_verify_tokens_of_an_oidc_issuer() {
    for usage in ["jwt-svid", "x509-svid", "wit-svid"] {
        assert_eq!(
            ignored(with(rsa(2048), "use", json!(usage))),
            Some(UnusableKey::Use)
        );
    }
}
