//! Key sets of issuers (RFC 7517): the public keys that may verify a signature, and why the others
//! may not. Whether a point lies on its curve is the verifier's to say.

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    json::{self, InvalidJson},
    jwt::Algorithm,
};

mod document;
#[cfg(test)]
mod tests;
mod unusable;

pub use unusable::{Ignored, UnusableKey};

/// Longest set read, in bytes.
pub const MAX_SET_BYTES: usize = 512 * 1024;
/// Most keys read from one set.
pub const MAX_KEYS: usize = 256;
/// Smallest RSA modulus, in bits (RFC 7518 §3.3).
pub const MIN_RSA_BITS: usize = 2048;
/// Largest RSA modulus, in bits: beyond it, verifying is a way to keep us busy.
pub const MAX_RSA_BITS: usize = 8192;
/// Smallest RSA exponent (NIST SP 800-56B); the largest has 32 bits.
pub const MIN_RSA_EXPONENT: u32 = 65_537;

/// Members that only a private or symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// Why a whole set is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidKeySet {
    /// Longer than [`MAX_SET_BYTES`].
    #[error("the key set has {0} bytes, at most {MAX_SET_BYTES} are read")]
    TooLarge(usize),
    /// Not a JSON object of unique members.
    #[error("the key set is {0}")]
    NotJson(#[from] InvalidJson),
    /// RFC 7517 §5: `keys` is required and an array of objects.
    #[error("the key set has no `keys`, or it is not an array of objects")]
    NoKeys,
    /// More than [`MAX_KEYS`].
    #[error("the key set has {0} keys, at most {MAX_KEYS} are read")]
    TooMany(usize),
    /// SECURITY: whoever reads the set can sign in the issuer's name, so that nothing it signs is proof.
    #[error(
        "key {index} of the set publishes private or symmetric key material in `{member}`; replace that key"
    )]
    PrivateKey {
        /// The key's place in `keys`, from 0.
        index: usize,
        /// The member that gives it away.
        member: &'static str,
    },
}

impl InvalidKeySet {
    /// Whether a key of the set is nobody's secret any more, so that what was held of it must go, too.
    pub const fn publishes_private_key(&self) -> bool {
        matches!(self, Self::PrivateKey { .. })
    }
}

/// What the keys of a set are for, and so what their `use` may be (RFC 7517 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyUse {
    /// Tokens of an OpenID Connect issuer: `sig`, or none.
    Signature,
    /// JWT-SVIDs, in a SPIFFE bundle: `jwt-svid` (JWT-SVID §6.1).
    JwtSvid,
    /// JWT-SVIDs, from a Workload API, whose sets hold nothing else: `jwt-svid`, `sig`, or none.
    WorkloadApi,
}

impl KeyUse {
    fn accepts(self, written: Option<&Value>) -> bool {
        match (self, written) {
            (Self::Signature | Self::WorkloadApi, None) => true,
            (Self::JwtSvid, None) => false,
            (Self::Signature, Some(written)) => written == "sig",
            (Self::JwtSvid, Some(written)) => written == "jwt-svid",
            (Self::WorkloadApi, Some(written)) => written == "sig" || written == "jwt-svid",
        }
    }

    /// JWT-SVID §6.1: every key has a `kid`.
    const fn demands_key_id(self) -> bool {
        match self {
            Self::Signature => false,
            Self::JwtSvid | Self::WorkloadApi => true,
        }
    }
}

/// Curves of RFC 7518 §6.2.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// Length of a coordinate, in bytes.
    pub const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// The public numbers, big-endian.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Material {
    /// RFC 7518 §6.3.1, without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// RFC 7518 §6.2.1; each coordinate has [`Curve::coordinate_bytes`].
    Ec {
        /// The curve.
        curve: Curve,
        /// The point's x.
        x: Vec<u8>,
        /// The point's y.
        y: Vec<u8>,
    },
}

/// One public key that may verify signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    key_id: Option<String>,
    material: Material,
    algorithm: Option<Algorithm>,
}

impl Key {
    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The public numbers.
    pub const fn material(&self) -> &Material {
        &self.material
    }

    /// `alg`: the only algorithm the key is for; `None` for all of its type.
    pub const fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Whether the key may verify a signature of `algorithm` (RFC 8725 §3.1: a key is for one use).
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.material.fits(algorithm)
    }
}

impl Material {
    const fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self, Self::Rsa { .. }),
            Algorithm::Es256 => matches!(
                self,
                Self::Ec {
                    curve: Curve::P256,
                    ..
                }
            ),
            Algorithm::Es384 => matches!(
                self,
                Self::Ec {
                    curve: Curve::P384,
                    ..
                }
            ),
            Algorithm::Es512 => matches!(
                self,
                Self::Ec {
                    curve: Curve::P521,
                    ..
                }
            ),
        }
    }
}

/// The keys of one issuer. By default there are none: nothing is trusted then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
    ignored: Vec<Ignored>,
}

impl KeySet {
    /// Reads a JWK Set. An empty set is valid: nothing is trusted then.
    ///
    /// Keys that are of no use here are ignored one by one, as RFC 7517 §5 asks; a set that is malformed
    /// as a whole or publishes private keys is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        Self::parse_for(KeyUse::Signature, bytes)
    }

    /// Reads the JWK Set of a trust domain as a SPIFFE Workload API sends it: keys for JWT-SVIDs alone, each
    /// with its `kid` (SPIFFE Workload API §6.2.2).
    pub fn parse_workload_api(bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        Self::parse_for(KeyUse::WorkloadApi, bytes)
    }

    fn parse_for(usage: KeyUse, bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        let mut parsed = Self::default();
        for (index, jwk) in entries(&document(bytes)?)?.into_iter().enumerate() {
            parsed.add(usage, index, jwk);
        }
        Ok(parsed)
    }

    /// Takes the key, or its reason among the ignored ones.
    pub(crate) fn add(&mut self, usage: KeyUse, index: usize, jwk: &Map<String, Value>) {
        match self.accept(usage, jwk) {
            Ok(key) => self.keys.push(key),
            Err(reason) => self.ignore(index, jwk, reason),
        }
    }

    pub(crate) fn ignore(&mut self, index: usize, jwk: &Map<String, Value>, reason: UnusableKey) {
        let key_id = text(jwk, "kid").map(ToOwned::to_owned);
        self.ignored.push(Ignored {
            index,
            key_id,
            reason,
        });
    }

    /// The usable keys, in the order of the set. No two with one `kid` fit the same algorithm.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The others.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    fn accept(&self, usage: KeyUse, jwk: &Map<String, Value>) -> Result<Key, UnusableKey> {
        // RFC 7517 §4.2: a key for encryption must not verify.
        if !usage.accepts(jwk.get("use")) {
            return Err(UnusableKey::Use);
        }
        let key = read_key(jwk)?;
        if usage.demands_key_id() && key.key_id.is_none() {
            return Err(UnusableKey::KeyIdMissing);
        }
        let twin = |other: &Key| {
            key.key_id.is_some()
                && other.key_id == key.key_id
                && Algorithm::ALL
                    .into_iter()
                    .any(|alg| other.fits(alg) && key.fits(alg))
        };
        if self.keys.iter().any(twin) {
            Err(UnusableKey::DuplicateKeyId)
        } else {
            Ok(key)
        }
    }
}

/// The set as a JSON object, bounded.
pub(crate) fn document(bytes: &[u8]) -> Result<Map<String, Value>, InvalidKeySet> {
    if bytes.len() > MAX_SET_BYTES {
        return Err(InvalidKeySet::TooLarge(bytes.len()));
    }
    Ok(json::object(bytes)?)
}

/// The keys of a set, none of which is private.
pub(crate) fn entries(set: &Map<String, Value>) -> Result<Vec<&Map<String, Value>>, InvalidKeySet> {
    let entries = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(InvalidKeySet::NoKeys)?;
    // SECURITY: before the set is refused for anything else, which would leave the keys of before in force.
    if let Some(published) = published(entries) {
        return Err(published);
    }
    if entries.len() > MAX_KEYS {
        return Err(InvalidKeySet::TooMany(entries.len()));
    }
    let objects = entries.iter().map(Value::as_object);
    objects
        .map(|jwk| jwk.ok_or(InvalidKeySet::NoKeys))
        .collect()
}

/// The first private key among `entries`.
fn published(entries: &[Value]) -> Option<InvalidKeySet> {
    entries.iter().enumerate().find_map(|(index, entry)| {
        let jwk = entry.as_object()?;
        let mut private = PRIVATE_MEMBERS.into_iter();
        let member = private.find(|name| jwk.contains_key(*name))?;
        Some(InvalidKeySet::PrivateKey { index, member })
    })
}

fn read_key(jwk: &Map<String, Value>) -> Result<Key, UnusableKey> {
    let verifies = |operations: &Value| {
        operations
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "verify"))
    };
    if jwk
        .get("key_ops")
        .is_some_and(|operations| !verifies(operations))
    {
        return Err(UnusableKey::KeyOps);
    }
    let material = match text(jwk, "kty") {
        Some("RSA") => read_rsa(jwk)?,
        Some("EC") => read_ec(jwk)?,
        Some(_) | None => return Err(UnusableKey::KeyType),
    };
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(name) => {
            let known = name.as_str().and_then(Algorithm::from_name);
            let fitting = known.filter(|algorithm| material.fits(*algorithm));
            Some(fitting.ok_or(UnusableKey::Algorithm)?)
        }
    };
    let key_id = match jwk.get("kid") {
        None => None,
        Some(kid) => Some(
            kid.as_str()
                .ok_or(UnusableKey::Malformed("kid"))?
                .to_string(),
        ),
    };
    Ok(Key {
        key_id,
        material,
        algorithm,
    })
}

fn read_rsa(jwk: &Map<String, Value>) -> Result<Material, UnusableKey> {
    let n = without_leading_zeros(octets(jwk, "n")?);
    let bits = match n.first() {
        None => 0,
        Some(first) => {
            let leading = usize::try_from(first.leading_zeros()).unwrap_or(0);
            n.len().saturating_mul(8).saturating_sub(leading)
        }
    };
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(UnusableKey::ModulusSize(bits));
    }
    let e = without_leading_zeros(octets(jwk, "e")?);
    let value = e
        .iter()
        .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    let sound = e.len() <= 4 && value >= u64::from(MIN_RSA_EXPONENT) && value & 1 == 1;
    if sound {
        Ok(Material::Rsa { n, e })
    } else {
        Err(UnusableKey::Exponent)
    }
}

fn read_ec(jwk: &Map<String, Value>) -> Result<Material, UnusableKey> {
    let curve = match text(jwk, "crv") {
        Some("P-256") => Curve::P256,
        Some("P-384") => Curve::P384,
        Some("P-521") => Curve::P521,
        Some(_) | None => return Err(UnusableKey::Curve),
    };
    let coordinate = |name| {
        let bytes = octets(jwk, name)?;
        let full = bytes.len() == curve.coordinate_bytes();
        if full {
            Ok(bytes)
        } else {
            Err(UnusableKey::Malformed(name))
        }
    };
    Ok(Material::Ec {
        curve,
        x: coordinate("x")?,
        y: coordinate("y")?,
    })
}

fn octets(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, UnusableKey> {
    let encoded = text(jwk, name).ok_or(UnusableKey::Malformed(name))?;
    Base64UrlUnpadded::decode_vec(encoded).map_err(|_position| UnusableKey::Malformed(name))
}

/// RFC 7518 §6.3.1.1 forbids leading zeros and knows that some issuers send one; the number is the same.
fn without_leading_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}
