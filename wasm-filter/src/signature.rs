//! The primitive under the token rules, done by Envoy: its `verify_signature` takes a SubjectPublicKeyInfo
//! and, for ECDSA, a signature in DER.

use attache_core::{
    jwks::Key,
    jwt::{Algorithm, VerifySignature},
};
use prost::Message as _;

use crate::{der, host::Host};

#[cfg(test)]
mod tests;

/// `envoy.source.extensions.common.wasm.VerifySignatureArguments`, by its field numbers.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Arguments {
    #[prost(string, tag = "1")]
    pub(crate) hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) text: Vec<u8>,
}

/// `VerifySignatureResult { result: true }`: the call itself answers Ok for a wrong signature, too.
const VERIFIED: [u8; 2] = [0x08, 0x01];

/// Verifies by Envoy.
pub(crate) struct ByEnvoy<'h, H>(pub(crate) &'h H);

impl<H: Host> VerifySignature for ByEnvoy<'_, H> {
    fn verify(&self, algorithm: Algorithm, key: &Key, input: &[u8], signature: &[u8]) -> bool {
        let Some(primitive) = Primitive::of(algorithm) else {
            return false;
        };
        let signature = match primitive.coordinate {
            None => Some(signature.to_vec()),
            Some(bytes) => der::signature(signature, bytes),
        };
        let Some(signature) = signature else {
            return false;
        };
        let arguments = Arguments {
            hash_function: primitive.hash.to_owned(),
            public_key: der::public_key(key.material()),
            signature,
            text: input.to_vec(),
        };
        let verdict = self
            .0
            .foreign("verify_signature", &arguments.encode_to_vec());
        verdict.is_ok_and(|verdict| verdict == VERIFIED)
    }
}

/// Whether Envoy verifies signatures of `algorithm`: not RSASSA-PSS, whose padding it cannot be told.
pub(crate) const fn is_known_to_envoy(algorithm: Algorithm) -> bool {
    Primitive::of(algorithm).is_some()
}

struct Primitive {
    hash: &'static str,
    /// Length of r and of s, where the signature is made of two.
    coordinate: Option<usize>,
}

impl Primitive {
    const fn of(algorithm: Algorithm) -> Option<Self> {
        let (hash, coordinate) = match algorithm {
            Algorithm::Rs256 => ("sha256", None),
            Algorithm::Rs384 => ("sha384", None),
            Algorithm::Rs512 => ("sha512", None),
            Algorithm::Es256 => ("sha256", Some(32)),
            Algorithm::Es384 => ("sha384", Some(48)),
            Algorithm::Es512 => ("sha512", Some(66)),
            Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => return None,
        };
        Some(Self { hash, coordinate })
    }
}
