//! A key set as others read it: the `jwt-svid` keys of a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use super::{Curve, Key, KeySet, Material};

impl KeySet {
    /// The usable keys as a SPIFFE bundle without certificates, which
    /// [`Bundle::parse`](crate::bundle::Bundle::parse) reads back. Keys without `kid`, which no JWT-SVID can
    /// name, are left out.
    pub fn to_svid_bundle(&self) -> Vec<u8> {
        let keys: Vec<Value> = self.keys().iter().filter_map(jwk).collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }
}

fn jwk(key: &Key) -> Option<Value> {
    let mut jwk = Map::new();
    let mut set = |name: &str, value: &str| {
        jwk.insert(name.to_string(), Value::String(value.to_string()));
    };
    set("kid", key.key_id()?);
    set("use", "jwt-svid");
    if let Some(algorithm) = key.algorithm() {
        set("alg", algorithm.name());
    }
    match key.material() {
        Material::Rsa { n, e } => {
            set("kty", "RSA");
            set("n", &encoded(n));
            set("e", &encoded(e));
        }
        Material::Ec { curve, x, y } => {
            set("kty", "EC");
            set(
                "crv",
                match curve {
                    Curve::P256 => "P-256",
                    Curve::P384 => "P-384",
                    Curve::P521 => "P-521",
                },
            );
            set("x", &encoded(x));
            set("y", &encoded(y));
        }
    }
    Some(Value::Object(jwk))
}

fn encoded(number: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(number)
}
