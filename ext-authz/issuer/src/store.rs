//! Where signing keys rest between two starts: what a store must promise, not how it does it.

use std::{error::Error, fmt, future::Future, pin::Pin, time::Duration};

use attache_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A signing key at rest. Its private part is sealed; nothing here needs to be kept from a reader.
///
/// INVARIANT: the moments alone say in which state it is, so that no two fields can contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key's `kid`: its thumbprint (RFC 7638).
    pub key_id: String,
    /// The name of its algorithm: `RS256`.
    pub algorithm: String,
    /// Its public part as a JWK (RFC 7517).
    pub public_jwk: String,
    /// Its private part, sealed by [`crate::SealingKey::seal`]; empty once the key was removed or revoked.
    pub sealed_private: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was put into the documents.
    pub published_at: Option<Timestamp>,
    /// When it began to sign.
    pub active_at: Option<Timestamp>,
    /// When its successor was asked for by hand, ahead of the schedule.
    pub due_at: Option<Timestamp>,
    /// When its successor began to sign.
    pub retired_at: Option<Timestamp>,
    /// When it was taken out of the documents, the last token that it signed being over.
    pub removed_at: Option<Timestamp>,
    /// When it was taken out of the documents because it must not be trusted any more.
    pub revoked_at: Option<Timestamp>,
    /// The longest lifetime of a token that it may have signed.
    pub longest_ttl: Duration,
}

/// Where a key stands in its life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Made and kept, in no document.
    Prepared,
    /// In the documents; signs nothing yet.
    Published,
    /// In the documents; signs.
    Active,
    /// In the documents for the tokens that it signed; signs nothing any more.
    Retired,
    /// In no document; its private part is gone.
    Removed,
    /// Taken out at once; its private part is gone, and its tokens are not used again.
    Revoked,
}

impl StoredKey {
    /// Where it stands.
    pub const fn state(&self) -> KeyState {
        match self {
            Self {
                revoked_at: Some(_),
                ..
            } => KeyState::Revoked,
            Self {
                removed_at: Some(_),
                ..
            } => KeyState::Removed,
            Self {
                retired_at: Some(_),
                ..
            } => KeyState::Retired,
            Self {
                active_at: Some(_), ..
            } => KeyState::Active,
            Self {
                published_at: Some(_),
                ..
            } => KeyState::Published,
            _ => KeyState::Prepared,
        }
    }
}

impl KeyState {
    /// The state's name, as `attache keys list` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
            Self::Revoked => "revoked",
        }
    }

    /// Whether verifiers find it in the documents.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Published | Self::Active | Self::Retired)
    }

    /// Whether its private part is kept.
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::Removed | Self::Revoked)
    }
}

/// All keys of an issuer, as they stand after one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRing {
    /// Grows with every change ([`Self::next_sequence`]); never less, also after a restart.
    pub sequence: u64,
    /// One more with every change that revoked a key.
    pub revocations: u64,
    /// Oldest first.
    pub keys: Vec<StoredKey>,
}

impl StoredRing {
    /// The sequence after a change at `at`: one more, and no less than that moment in seconds since the
    /// Unix epoch.
    ///
    /// INVARIANT: a store that was made anew, or brought back from a copy, goes on above all that the lost
    /// one said: consumers refuse a bundle whose sequence went back (SPIFFE Trust Domain and Bundle §4.1.1).
    pub fn next_sequence(&self, at: Timestamp) -> u64 {
        let seconds = u64::try_from(at.as_seconds()).unwrap_or(0);
        self.sequence.saturating_add(1).max(seconds)
    }
}

/// One step, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it is made.
    pub at: Timestamp,
    /// Keys that are new, or that replace the one of the same name.
    pub keys: Vec<StoredKey>,
    /// Whether one of them is revoked by it.
    pub revokes: bool,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Done(StoredRing),
    /// It was not: somebody else changed the ring first, and this is what stands there now.
    Overtaken(StoredRing),
}

/// What a store answers, some time later.
pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFailed>> + Send + 'a>>;

/// Keeps signing keys. What an answered call wrote survives a killed process and a lost supply.
pub trait KeyStore: Send + Sync {
    /// The whole ring.
    fn load(&self) -> Stored<'_, StoredRing>;

    /// Makes `change` if the ring's sequence is still `expected`. Of two processes that do so at once, one
    /// wins and the other learns of it.
    fn change<'a>(&'a self, expected: u64, change: &'a Change) -> Stored<'a, Changed>;

    /// Leaves nothing in its files of what earlier changes replaced, such as the private part of a key that
    /// was revoked.
    fn erase(&self) -> Stored<'_, ()>;
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
