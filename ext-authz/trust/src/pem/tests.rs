use attache_core::jwks::Material;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

use super::*;

fn pair() -> KeyPair {
    KeyPair::generate().expect("a key")
}

#[test]
fn a_public_key_and_that_of_a_certificate_are_the_same_key() {
    let pair = pair();
    let params = CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters");
    let certificate = params.self_signed(&pair).expect("a certificate");
    let of = |pem: &str, kid| key_set(pem.as_bytes(), kid).expect("a key set");
    let bare = of(&pair.public_key_pem(), None);
    let named = of(&certificate.pem(), Some("one"));
    let [bare] = bare.keys() else {
        panic!("one key")
    };
    let [named] = named.keys() else {
        panic!("one key")
    };
    assert_eq!(bare.material(), named.material());
    assert_eq!((bare.key_id(), named.key_id()), (None, Some("one")));
    let Material::Ec { x, y, .. } = bare.material() else {
        panic!("an elliptic curve")
    };
    assert_eq!([&[4], x.as_slice(), y].concat(), pair.der_bytes());
}

#[test]
fn several_keys_have_no_name() {
    let text = pair().public_key_pem() + "a comment\n" + &pair().public_key_pem();
    let keys = key_set(text.as_bytes(), Some("one")).expect("a key set");
    let names: Vec<_> = keys.keys().iter().map(|key| key.key_id()).collect();
    assert_eq!(names, [None, None]);
}

#[test]
fn a_private_key_and_what_is_no_key_are_refused() {
    let pair = pair();
    let refused = |text: &str| key_set(text.as_bytes(), None).expect_err(text);
    assert_eq!(refused(&pair.serialize_pem()), InvalidPem::PrivateKey);
    let both = pair.public_key_pem() + &pair.serialize_pem();
    assert_eq!(refused(&both), InvalidPem::PrivateKey);
    assert_eq!(refused(""), InvalidPem::Missing("public key"));
    assert_eq!(refused("{\"keys\":[]}"), InvalidPem::Missing("public key"));
    let broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert_eq!(refused(broken), InvalidPem::Key(0));
    let cut = "-----BEGIN PUBLIC KEY-----\nAAAA\n";
    assert_eq!(refused(cut), InvalidPem::Malformed);
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    assert_eq!(refused(&ed25519.public_key_pem()), InvalidPem::Key(0));
    let none = certificates(pair.public_key_pem().as_bytes());
    assert_eq!(none, Err(InvalidPem::Missing("certificate")));
}
