//! Why one key of a set is not used.

use alloc::string::String;
use core::fmt;

use thiserror::Error;

use super::{MAX_RSA_BITS, MIN_RSA_BITS, MIN_RSA_EXPONENT};

/// Why one key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnusableKey {
    /// Neither RSA nor EC.
    #[error("its `kty` is neither `RSA` nor `EC`")]
    KeyType,
    /// Not for signatures.
    #[error("its `use` is not `sig`")]
    Use,
    /// In a SPIFFE bundle: for no kind of SVID that is read here, or for none at all.
    #[error("its `use` is neither `x509-svid` nor `jwt-svid`")]
    SvidUse,
    /// In a SPIFFE bundle: a `jwt-svid` key that no JWT-SVID could name.
    #[error("it has no `kid`, which a `jwt-svid` key needs")]
    KeyIdMissing,
    /// Not for verifying.
    #[error("its `key_ops` do not include `verify`")]
    KeyOps,
    /// Not one of [`crate::jwt::Algorithm`], or not one of its key type.
    #[error("its `alg` is not supported or not for its type")]
    Algorithm,
    /// Not one of [`crate::jwks::Curve`].
    #[error("its curve is neither `P-256`, `P-384` nor `P-521`")]
    Curve,
    /// A member is missing or has another form than RFC 7518 §6 says.
    #[error("its `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// Fewer than [`MIN_RSA_BITS`] or more than [`MAX_RSA_BITS`].
    #[error("its modulus has {0} bits, {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")]
    ModulusSize(usize),
    /// Even, below [`MIN_RSA_EXPONENT`] or longer than 32 bits.
    #[error("its exponent is even, below {MIN_RSA_EXPONENT} or longer than 32 bits")]
    Exponent,
    /// An earlier key has the same `kid` and fits the same algorithm.
    #[error("an earlier key has its `kid`")]
    DuplicateKeyId,
}

/// A key of a set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its place in `keys`, from 0.
    pub index: usize,
    /// Its `kid`.
    pub key_id: Option<String>,
    /// Why.
    pub reason: UnusableKey,
}

/// As logs print it; the `kid` is the issuer's word, so it is escaped.
impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key {} (kid {:?}): {}",
            self.index, self.key_id, self.reason
        )
    }
}
