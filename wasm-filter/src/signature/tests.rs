//! Signatures through the fake Envoy, which verifies them by another library.

use attache_core::{
    jwks::KeySet,
    jwt::{Algorithm, VerifySignature as _},
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::ByEnvoy;
use crate::fake::Fake;

#[test]
fn a_signature_of_jws_is_verified_as_der() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let point = pair.public_key().as_ref();
    let encoded = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let set = serde_json::json!({"keys": [{"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])}]});
    let set = KeySet::parse(set.to_string().as_bytes()).expect("a set");
    let key = &set.keys()[0];
    let signature = pair
        .sign(&SystemRandom::new(), b"text")
        .expect("a signature");
    let fake = Fake::default();
    let verify = |algorithm, text: &[u8], signature: &[u8]| {
        ByEnvoy(&fake).verify(algorithm, key, text, signature)
    };
    assert!(verify(Algorithm::Es256, b"text", signature.as_ref()));
    assert!(!verify(Algorithm::Es256, b"other", signature.as_ref()));
    assert!(!verify(
        Algorithm::Es256,
        b"text",
        &signature.as_ref()[..63]
    ));
    assert!(!verify(Algorithm::Es256, b"text", b""));
    assert!(!verify(Algorithm::Es384, b"text", signature.as_ref()));
    // Envoy is never asked for what it would verify by another padding.
    let before = fake.verifications.get();
    assert!(!verify(Algorithm::Ps256, b"text", signature.as_ref()));
    assert_eq!(fake.verifications.get(), before);
}
