//! Tokens that were verified, so that the next request with the same one costs no signature. Bounded
//! in bytes; tokens are compared whole and wiped when they are dropped.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use attache_core::{
    attestation::Attestation, attributes::AttributeValue, certificate::CertificateChain,
    jwt::Validity, secret::Secret, time::Timestamp,
};
use moka::sync::Cache;

#[cfg(test)]
mod tests;

/// What an entry weighs beside its texts, in bytes.
const ENTRY_BYTES: usize = 512;
/// What an attribute weighs beside its texts, in bytes.
const ATTRIBUTE_BYTES: usize = 128;
/// A token that nobody shows any more is not kept for its whole life.
const IDLE: Duration = Duration::from_hours(1);

/// What makes two questions the same.
// SECURITY: no `Debug`. The token is compared whole; its hash only finds it.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// The provider in one of its configurations; no two share a number in the life of a process.
    pub(crate) revision: u64,
    /// The number of the key that verified the token, or the epoch of the authorities.
    pub(crate) key: u64,
    pub(crate) shown: Shown,
}

/// One piece of evidence.
#[derive(PartialEq, Eq)]
pub(crate) enum Shown {
    Token(Secret),
    Chain(CertificateChain),
}

impl Hash for Shown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Token(token) => token.expose().hash(state),
            Self::Chain(chain) => chain.hash(state),
        }
    }
}

impl Shown {
    /// In bytes.
    fn length(&self) -> usize {
        match self {
            Self::Token(token) => token.expose().len(),
            Self::Chain(chain) => chain.certificates().map(<[u8]>::len).sum(),
        }
    }
}

#[derive(Clone)]
struct Entry {
    attestation: Arc<Attestation>,
    validity: Validity,
}

/// Attestations by the token that proved them.
pub(crate) struct VerifiedTokens(Cache<Seen, Entry>);

impl VerifiedTokens {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|seen: &Seen, entry: &Entry| weight(seen, &entry.attestation))
            .time_to_idle(IDLE)
            .support_invalidation_closures();
        Self(cache.build())
    }

    /// The attestation of a token that is still good at `now`.
    pub(crate) fn find(&self, seen: &Seen, now: Timestamp) -> Option<Arc<Attestation>> {
        let entry = self.0.get(seen)?;
        if entry.validity.holds_at(now).is_err() {
            self.0.invalidate(seen);
            return None;
        }
        Some(entry.attestation)
    }

    pub(crate) fn keep(&self, seen: Seen, attestation: Arc<Attestation>, validity: Validity) {
        self.0.insert(
            seen,
            Entry {
                attestation,
                validity,
            },
        );
    }

    /// Frees what providers without these revisions left. Nothing finds it any more in any case.
    pub(crate) fn retain(&self, revisions: Vec<u64>) {
        // The only error is a cache that was built without closures.
        let _ = self
            .0
            .invalidate_entries_if(move |seen, _| !revisions.contains(&seen.revision));
    }
}

fn weight(seen: &Seen, attestation: &Attestation) -> u32 {
    let attributes = attestation.attributes().iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::One(text) => text.len(),
            AttributeValue::Many(texts) => texts
                .iter()
                .map(|text| text.len().saturating_add(ATTRIBUTE_BYTES))
                .sum(),
        };
        ATTRIBUTE_BYTES
            .saturating_add(name.len())
            .saturating_add(value)
    });
    let bytes = attributes
        .fold(ENTRY_BYTES, usize::saturating_add)
        .saturating_add(seen.shown.length())
        .saturating_add(attestation.spiffe_id().as_str().len());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
