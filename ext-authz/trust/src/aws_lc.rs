//! Signatures by aws-lc-rs, with keys that stay parsed.

use std::collections::HashMap;

use attache_core::{
    jwks::{Key, KeySet, Material},
    jwt::{Algorithm, VerifySignature},
};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};

#[cfg(test)]
mod tests;

/// Verifies with aws-lc-rs. A key that was not prepared is parsed for each signature.
#[derive(Default)]
pub struct AwsLc {
    prepared: HashMap<Material, Vec<(Algorithm, ParsedPublicKey)>>,
}

impl AwsLc {
    /// Parses the keys of a set once for each of `algorithms` that they fit.
    pub fn prepared(keys: &KeySet, algorithms: &[Algorithm]) -> Self {
        let mut prepared: HashMap<_, Vec<_>> = HashMap::new();
        for key in keys.keys() {
            let fitting = algorithms.iter().filter(|algorithm| key.fits(**algorithm));
            let parsed =
                fitting.filter_map(|algorithm| Some((*algorithm, parse(*algorithm, key)?)));
            prepared
                .entry(key.material().clone())
                .or_default()
                .extend(parsed);
        }
        Self { prepared }
    }

    /// Whether aws-lc-rs can use `key` at all: a point may lie off its curve, a modulus be even.
    pub fn accepts(key: &Key) -> bool {
        Algorithm::ALL
            .into_iter()
            .filter(|algorithm| key.fits(*algorithm))
            .any(|algorithm| parse(algorithm, key).is_some())
    }
}

impl VerifySignature for AwsLc {
    fn verify(&self, algorithm: Algorithm, key: &Key, input: &[u8], signature: &[u8]) -> bool {
        let known = self.prepared.get(key.material()).into_iter().flatten();
        match known
            .into_iter()
            .find(|(prepared_for, _)| *prepared_for == algorithm)
        {
            Some((_, key)) => key.verify_sig(input, signature).is_ok(),
            None => {
                parse(algorithm, key).is_some_and(|key| key.verify_sig(input, signature).is_ok())
            }
        }
    }
}

fn parse(algorithm: Algorithm, key: &Key) -> Option<ParsedPublicKey> {
    let rsa = |parameters: &'static RsaParameters| match key.material() {
        Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(parameters)
            .ok(),
        Material::Ec { .. } => None,
    };
    match algorithm {
        Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 => {
            ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point(key)?).ok()
        }
        Algorithm::Es384 => {
            ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point(key)?).ok()
        }
        Algorithm::Es512 => {
            ParsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, point(key)?).ok()
        }
    }
}

/// The uncompressed point of SEC 1 §2.3.3. Parsing refuses one that is not on the curve.
fn point(key: &Key) -> Option<Vec<u8>> {
    match key.material() {
        Material::Ec { x, y, .. } => Some([&[0x04], x.as_slice(), y.as_slice()].concat()),
        Material::Rsa { .. } => None,
    }
}
