//! Key sets: what is taken is strong, unambiguous and public, and reads the same when it is printed.

use attache_core::{
    jwks::{Curve, Key, KeySet, MAX_KEYS, Material},
    jwt::Algorithm,
};
use attache_trust::AwsLc;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

/// The input as a JWK Set.
pub fn holds(input: &[u8]) {
    let Ok(set) = KeySet::parse(input) else {
        return;
    };
    // A lenient reader agrees on how many there are: none is lost, none is invented.
    let lenient: Value =
        serde_json::from_slice(input).expect("what the strict reader takes is JSON");
    let entries = lenient["keys"].as_array().expect("keys");
    assert_eq!(set.keys().len() + set.ignored().len(), entries.len());
    assert!(entries.len() <= MAX_KEYS);
    for (position, key) in set.keys().iter().enumerate() {
        strong(key);
        let twin = |other: &&Key| {
            let shared = |alg: &Algorithm| other.fits(*alg) && key.fits(*alg);
            key.key_id().is_some()
                && other.key_id() == key.key_id()
                && Algorithm::ALL.iter().any(shared)
        };
        assert!(
            !set.keys()[..position].iter().any(|other| twin(&other)),
            "two keys for one kid"
        );
        // Whatever its numbers are: the library answers, and does not stop.
        let _ = AwsLc::accepts(key);
    }
    let printed: Vec<_> = set.keys().iter().map(print).collect();
    let again = KeySet::parse(json!({ "keys": printed }).to_string().as_bytes());
    assert_eq!(again.expect("a printed set is a set").keys(), set.keys());
}

/// Whether the numbers of a key are of an accepted size.
pub fn strong(key: &Key) {
    match key.material() {
        Material::Rsa { n, e } => {
            assert!(
                (256..=1024).contains(&n.len()),
                "{} bytes of modulus",
                n.len()
            );
            assert!(n.len() > 256 || n[0] >= 0x80, "fewer than 2048 bits");
            assert!(
                e.last().is_some_and(|last| last % 2 == 1),
                "an even exponent"
            );
            assert!(
                e.len() == 4 || e.len() == 3,
                "{} bytes of exponent",
                e.len()
            );
        }
        Material::Ec { curve, x, y } => {
            let bytes = match curve {
                Curve::P256 => 32,
                Curve::P384 => 48,
                Curve::P521 => 66,
            };
            assert_eq!((x.len(), y.len()), (bytes, bytes));
        }
    }
    for algorithm in Algorithm::ALL {
        let of_rsa = matches!(key.material(), Material::Rsa { .. });
        let by_rsa = !algorithm.name().starts_with("ES");
        assert!(!key.fits(algorithm) || of_rsa == by_rsa, "{algorithm:?}");
    }
}

fn print(key: &Key) -> Value {
    let encode = Base64UrlUnpadded::encode_string;
    let mut jwk = match key.material() {
        Material::Rsa { n, e } => json!({"kty": "RSA", "n": encode(n), "e": encode(e)}),
        Material::Ec { curve, x, y } => {
            let curve = match curve {
                Curve::P256 => "P-256",
                Curve::P384 => "P-384",
                Curve::P521 => "P-521",
            };
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
        }
    };
    if let Some(kid) = key.key_id() {
        jwk["kid"] = kid.into();
    }
    if let Some(algorithm) = key.algorithm() {
        jwk["alg"] = algorithm.name().into();
    }
    jwk
}
