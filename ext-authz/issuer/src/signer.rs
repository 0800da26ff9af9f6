//! Signing keys as they are used: parsed once, then only asked for signatures.

use attache_core::jwt::Algorithm;
use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use thiserror::Error;
use zeroize::Zeroizing;

/// The algorithms that we sign with; the first is what targets get unless a policy asks otherwise.
pub const ALGORITHMS: [Algorithm; 2] = [Algorithm::Rs256, Algorithm::Es256];

/// Bytes in one coordinate of a point on P-256.
const P256_BYTES: usize = 32;

/// A private key that signs and never leaves.
pub trait Signer: Send + Sync {
    /// Its algorithm.
    fn algorithm(&self) -> Algorithm;

    /// Its public part.
    fn public_key(&self) -> &PublicKey;

    /// Whether a signature takes less of the processor than handing it to another thread and back does. Only those
    /// are made on asynchronous threads.
    fn is_brief(&self) -> bool {
        false
    }

    /// The signature over `input` in the form of RFC 7518 §3. Unless it is brief, it may take a millisecond of the
    /// processor, or a round trip to where the key lives, so it runs off the asynchronous threads.
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningFailed>;
}

/// The key gave no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signing key gave no signature")]
pub struct SigningFailed;

/// Why there is no signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoSigner {
    /// We do not sign with this algorithm.
    #[error("tokens are signed with RS256 or ES256, not with {}", .0.name())]
    Algorithm(Algorithm),
    /// The bytes are no private key of the algorithm.
    #[error("the bytes are no private key for {}", .0.name())]
    Malformed(Algorithm),
    /// No key could be made.
    #[error("no key could be made for {}", .0.name())]
    NotGenerated(Algorithm),
}

/// Makes a private key, as PKCS #8 (RFC 5208). Takes up to a second for RSA.
pub fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, NoSigner> {
    let failed = |_no_cause| NoSigner::NotGenerated(algorithm);
    if algorithm == Algorithm::Rs256 {
        // 2048 bits: what every verifier takes, and a third of the time of 3072 for a key that
        // signs tokens of minutes.
        let pair = RsaKeyPair::generate(rsa::KeySize::Rsa2048).map_err(failed)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        return Ok(Zeroizing::new(der.as_ref().to_vec()));
    }
    if algorithm == Algorithm::Es256 {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        let der = pair.and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?;
        return Ok(Zeroizing::new(der.as_ref().to_vec()));
    }
    Err(NoSigner::Algorithm(algorithm))
}

/// Parses a private key in PKCS #8.
pub fn parse(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Box<dyn Signer>, NoSigner> {
    let malformed = NoSigner::Malformed(algorithm);
    if algorithm == Algorithm::Rs256 {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_no_cause| malformed)?;
        let public = PublicKey::of_rsa(pair.public_key());
        return Ok(Box::new(Rs256 { pair, public }));
    }
    if algorithm == Algorithm::Es256 {
        let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8).map_err(|_no_cause| malformed)?;
        let public = PublicKey::of_p256(pair.public_key().as_ref()).ok_or(malformed)?;
        return Ok(Box::new(Es256 { pair, public }));
    }
    Err(NoSigner::Algorithm(algorithm))
}

struct Rs256 {
    pair: RsaKeyPair,
    public: PublicKey,
}

impl Signer for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Rs256
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &signature::RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                input,
                &mut signature,
            )
            .map_err(|_no_cause| SigningFailed)?;
        Ok(signature)
    }
}

struct Es256 {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Signer for Es256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    // Some 15 µs: a fiftieth of RSA's.
    fn is_brief(&self) -> bool {
        true
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        let signature = self.pair.sign(&SystemRandom::new(), input);
        Ok(signature
            .map_err(|_no_cause| SigningFailed)?
            .as_ref()
            .to_vec())
    }
}

/// A public key as its JWK names its parts (RFC 7518 §6), in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point on P-256.
    P256 {
        /// Its first coordinate.
        x: String,
        /// Its second coordinate.
        y: String,
    },
}

impl PublicKey {
    fn of_rsa(public: &signature::RsaSubjectPublicKey) -> Self {
        let encode = |part: aws_lc_rs::io::Positive<'_>| {
            Base64UrlUnpadded::encode_string(part.big_endian_without_leading_zero())
        };
        Self::Rsa {
            n: encode(public.modulus()),
            e: encode(public.exponent()),
        }
    }

    /// Reads an uncompressed point (SEC 1 §2.3.3).
    fn of_p256(point: &[u8]) -> Option<Self> {
        let coordinates = point.strip_prefix(&[4])?;
        let (x, y) = coordinates.split_at_checked(P256_BYTES)?;
        let encode = Base64UrlUnpadded::encode_string;
        (y.len() == P256_BYTES).then(|| Self::P256 {
            x: encode(x),
            y: encode(y),
        })
    }

    /// SHA-256 over the required members in the order of their names (RFC 7638 §3), in base64url.
    pub fn thumbprint(&self) -> String {
        // The members are base64url, so nothing in them needs escaping.
        let members = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
        };
        let digest = digest::digest(&digest::SHA256, members.as_bytes());
        Base64UrlUnpadded::encode_string(digest.as_ref())
    }

    /// The JWK that verifiers look up by `kid` (RFC 7517 §4).
    pub fn jwk(&self, algorithm: Algorithm) -> Value {
        let (alg, kid) = (algorithm.name(), self.thumbprint());
        match self {
            Self::Rsa { n, e } => {
                json!({ "kty": "RSA", "use": "sig", "alg": alg, "kid": kid, "n": n, "e": e })
            }
            Self::P256 { x, y } => json!({
                "kty": "EC", "use": "sig", "alg": alg, "kid": kid, "crv": "P-256", "x": x, "y": y
            }),
        }
    }
}

#[cfg(test)]
mod tests;
