use attache_core::jwks::Curve;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use super::*;

fn set(jwk: &str) -> KeySet {
    KeySet::parse(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes()).expect("a set")
}

/// RFC 7515 §A.3: the published ES256 example.
const RFC_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const RFC_INPUT: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC_SIGNATURE: [u8; 64] = [
    14, 209, 33, 83, 121, 99, 108, 72, 60, 47, 127, 21, 88, 7, 212, 2, 163, 178, 40, 3, 58, 249,
    124, 126, 23, 129, 154, 195, 22, 158, 166, 101, 197, 10, 7, 211, 140, 60, 112, 229, 216, 241,
    45, 175, 8, 74, 84, 128, 166, 101, 144, 197, 242, 147, 80, 154, 143, 63, 127, 138, 131, 163,
    84, 213,
];

#[test]
fn the_example_of_rfc_7515_verifies_prepared_or_not() {
    let keys = set(RFC_KEY);
    for verifier in [
        AwsLc::default(),
        AwsLc::prepared(&keys, &[Algorithm::Es256]),
    ] {
        let verify = |input: &[u8], signature: &[u8]| {
            verifier.verify(Algorithm::Es256, &keys.keys()[0], input, signature)
        };
        assert!(verify(RFC_INPUT, &RFC_SIGNATURE));
        assert!(!verify(b"another input", &RFC_SIGNATURE));
        assert!(!verify(RFC_INPUT, &RFC_SIGNATURE[..63]));
        assert!(!verify(RFC_INPUT, &[]));
    }
}

#[test]
fn a_key_is_used_for_the_algorithm_asked_and_no_other() {
    let keys = set(RFC_KEY);
    let verifier = AwsLc::prepared(&keys, &Algorithm::ALL);
    for algorithm in Algorithm::ALL {
        let verified = verifier.verify(algorithm, &keys.keys()[0], RFC_INPUT, &RFC_SIGNATURE);
        assert_eq!(verified, algorithm == Algorithm::Es256, "{algorithm:?}");
    }
}

#[test]
fn the_prepared_key_is_that_of_the_set_and_not_of_its_place() {
    let rng = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let signature = pair.sign(&rng, b"input").expect("a signature");
    let rfc = set(RFC_KEY);
    // Prepared for another set: the key is parsed, and verifies by itself.
    let encode =
        |bytes: &[u8]| <base64ct::Base64UrlUnpadded as base64ct::Encoding>::encode_string(bytes);
    let point = pair.public_key().as_ref();
    let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
    let own = set(&format!(
        r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#
    ));
    let verifier = AwsLc::prepared(&rfc, &[Algorithm::Es256]);
    assert!(verifier.verify(
        Algorithm::Es256,
        &own.keys()[0],
        b"input",
        signature.as_ref()
    ));
    assert!(!verifier.verify(
        Algorithm::Es256,
        &rfc.keys()[0],
        b"input",
        signature.as_ref()
    ));
}

#[test]
fn a_point_off_its_curve_is_no_key() {
    let off = set(&RFC_KEY.replace("x_FEzRu9", "x_FEzRu8"));
    assert!(matches!(
        off.keys()[0].material(),
        Material::Ec {
            curve: Curve::P256,
            ..
        }
    ));
    assert!(!AwsLc::accepts(&off.keys()[0]));
    assert!(AwsLc::accepts(&set(RFC_KEY).keys()[0]));
    let verifier = AwsLc::prepared(&off, &[Algorithm::Es256]);
    assert!(!verifier.verify(Algorithm::Es256, &off.keys()[0], RFC_INPUT, &RFC_SIGNATURE));
}
