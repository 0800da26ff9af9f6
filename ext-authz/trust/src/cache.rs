//! Tokens that were verified, so that the next request with the same one costs no signature. Bounded
//! in bytes; tokens are compared whole and wiped when they are dropped.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use attache_core::{
    attestation::Attestation,
    attributes::AttributeValue,
    certificate::CertificateChain,
    jwt::{Claimed, Validity},
    secret::Secret,
    time::Timestamp,
};
use moka::{Equivalent, sync::Cache};

#[cfg(test)]
mod tests;

/// What an entry weighs beside its texts, in bytes.
const ENTRY_BYTES: usize = 512;
/// What an attribute weighs beside its texts, in bytes.
const ATTRIBUTE_BYTES: usize = 128;
/// A token that nobody shows any more is not kept for its whole life.
const IDLE: Duration = Duration::from_hours(1);

/// By what a piece of evidence was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The provider in one of its configurations; no two share a number in the life of a process.
    pub(crate) revision: u64,
    /// The number of the key that verified the token, or the epoch of the authorities.
    pub(crate) key: u64,
}

/// One piece of evidence.
// SECURITY: no `Debug`. It is compared whole; its hash only finds it.
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

/// A token that is looked for, where it stands.
pub(crate) struct Looked<'a>(pub(crate) &'a Secret);

impl Hash for Looked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `Shown` does, by which it is found.
        self.0.expose().hash(state);
    }
}

impl Equivalent<Shown> for Looked<'_> {
    fn equivalent(&self, shown: &Shown) -> bool {
        matches!(shown, Shown::Token(token) if token == self.0)
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

/// What a piece of evidence proved, and how.
pub(crate) struct Entry {
    pub(crate) proof: Proof,
    /// What a token says of itself, so that it need not be read again; `None` of a chain.
    pub(crate) claimed: Option<Claimed>,
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) validity: Validity,
}

/// Attestations by the evidence that proved them.
pub(crate) struct VerifiedTokens(Cache<Shown, Arc<Entry>>);

impl VerifiedTokens {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|shown: &Shown, entry: &Arc<Entry>| weight(shown, entry))
            .time_to_idle(IDLE)
            .support_invalidation_closures();
        Self(cache.build())
    }

    /// The attestation of evidence that is still good at `now`, if what proved it is what would prove it today,
    /// which `today` says.
    pub(crate) fn find(
        &self,
        shown: &(impl Equivalent<Shown> + Hash),
        now: Timestamp,
        today: impl FnOnce(&Entry) -> Option<Proof>,
    ) -> Option<Arc<Attestation>> {
        let entry = self.0.get(shown)?;
        if entry.validity.holds_at(now).is_err() {
            self.0.invalidate(shown);
            return None;
        }
        // SECURITY: a provider that changed, or a key that was withdrawn, takes along what it proved.
        let holds = today(&entry) == Some(entry.proof);
        holds.then(|| Arc::clone(&entry.attestation))
    }

    pub(crate) fn keep(&self, shown: Shown, entry: Entry) {
        self.0.insert(shown, Arc::new(entry));
    }

    /// Frees what providers without these revisions left. Nothing finds it any more in any case.
    pub(crate) fn retain(&self, revisions: Vec<u64>) {
        // The only error is a cache that was built without closures.
        let _ = self
            .0
            .invalidate_entries_if(move |_, entry| !revisions.contains(&entry.proof.revision));
    }
}

fn weight(shown: &Shown, entry: &Entry) -> u32 {
    let attestation = &entry.attestation;
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
        .saturating_add(shown.length())
        .saturating_add(entry.claimed.as_ref().map_or(0, Claimed::length))
        .saturating_add(attestation.spiffe_id().as_str().len());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
