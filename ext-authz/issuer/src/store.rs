//! Where signing keys rest between two starts: what a store must promise, not how it does it.

use std::{error::Error, fmt, future::Future, pin::Pin};

use attache_core::time::Timestamp;

/// A signing key at rest. Its private part is sealed; nothing here needs to be kept from a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key's `kid`: its thumbprint (RFC 7638).
    pub key_id: String,
    /// The name of its algorithm: `RS256`.
    pub algorithm: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its public part as a JWK (RFC 7517).
    pub public_jwk: String,
    /// Its private part, sealed by [`crate::SealingKey::seal`].
    pub sealed_private: Vec<u8>,
}

/// What a store answers, some time later.
pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFailed>> + Send + 'a>>;

/// Keeps signing keys. What an answered call wrote survives a killed process and a lost supply.
pub trait KeyStore: Send + Sync {
    /// All keys, oldest first.
    fn load(&self) -> Stored<'_, Vec<StoredKey>>;

    /// Adds those of `keys` for whose algorithm there is no key yet, all or none, and gives what the
    /// store holds then. Of two processes that call it at once, one wins and both get its keys.
    fn insert_missing<'a>(&'a self, keys: &'a [StoredKey]) -> Stored<'a, Vec<StoredKey>>;
}

/// The store could not answer; its own error says why.
#[derive(Debug)]
pub struct StoreFailed(Box<dyn Error + Send + Sync>);

impl StoreFailed {
    /// Wraps the store's own error.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for StoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for StoreFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
