//! What evidence proved that was verified, so that the next request with the same one costs no signature. Bounded
//! in bytes; nothing of the evidence itself is kept, but its digest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use attache_core::{
    attestation::Attestation,
    attributes::AttributeValue,
    certificate::CertificateChain,
    jwt::{Claimed, Validity},
    time::Timestamp,
};
use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use foldhash::quality::RandomState;
use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

#[cfg(test)]
mod tests;

/// What an entry weighs beside its texts, in bytes.
const ENTRY_BYTES: usize = 512;
/// What an attribute weighs beside its texts, in bytes.
const ATTRIBUTE_BYTES: usize = 128;
/// As how large entries are counted when the cache is divided into parts with a lock each: of at least 32 entries, so
/// that what the largest evidence proves fits into each.
const ENTRIES_OF: u64 = 32 * 1024;
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

/// One piece of evidence, by its digest.
///
/// SECURITY: two pieces of one digest would be taken for one another, and nobody can find two of SHA-256 (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shown([u8; SHA256_OUTPUT_LEN]);

impl Shown {
    pub(crate) fn token(token: &str) -> Self {
        let mut digest = Context::new(&SHA256);
        digest.update(b"token");
        digest.update(token.as_bytes());
        Self::of(digest)
    }

    pub(crate) fn chain(chain: &CertificateChain) -> Self {
        let mut digest = Context::new(&SHA256);
        digest.update(b"chain");
        for certificate in chain.certificates() {
            // So that it cannot be told otherwise where one ends.
            digest.update(&certificate.len().to_be_bytes());
            digest.update(certificate);
        }
        Self::of(digest)
    }

    fn of(digest: Context) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        let digest = digest.finish();
        bytes
            .iter_mut()
            .zip(digest.as_ref())
            .for_each(|(byte, of_digest)| *byte = *of_digest);
        Self(bytes)
    }
}

/// What a piece of evidence proved, and how.
pub(crate) struct Entry {
    pub(crate) proof: Proof,
    /// What a token says of itself, so that it need not be read again; `None` of a chain. Those of one issuer
    /// say the same, in one piece of memory, unless they are JWT-SVIDs.
    pub(crate) claimed: Option<Arc<Claimed>>,
    pub(crate) attestation: Attestation,
    pub(crate) validity: Validity,
}

/// Attestations by the evidence that proved them.
pub(crate) struct VerifiedTokens(Cache<Shown, Arc<Kept>, InBytes, RandomState>);

struct Kept {
    entry: Entry,
    weight: u64,
    /// When it was last found, in seconds.
    used: AtomicI64,
}

#[derive(Clone)]
struct InBytes;

impl Weighter<Shown, Arc<Kept>> for InBytes {
    fn weight(&self, _shown: &Shown, kept: &Arc<Kept>) -> u64 {
        kept.weight
    }
}

impl VerifiedTokens {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let entries = usize::try_from(max_bytes / ENTRIES_OF).unwrap_or(usize::MAX);
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        Self(Cache::with(entries, max_bytes, InBytes, hasher, lifecycle))
    }

    /// The attestation of evidence that is still good at `now`, if what proved it is what would prove it today,
    /// which `today` says.
    pub(crate) fn find(
        &self,
        shown: &Shown,
        now: Timestamp,
        today: impl FnOnce(&Entry) -> Option<Proof>,
    ) -> Option<Attestation> {
        let kept = self.0.get(shown)?;
        let entry = &kept.entry;
        if entry.validity.holds_at(now).is_err() {
            self.0.remove(shown);
            return None;
        }
        kept.used.store(now.as_seconds(), Ordering::Relaxed);
        // SECURITY: a provider that changed, or a key that was withdrawn, takes along what it proved.
        let holds = today(entry) == Some(entry.proof);
        holds.then(|| entry.attestation.clone())
    }

    pub(crate) fn keep(&self, shown: Shown, entry: Entry, now: Timestamp) {
        let kept = Kept {
            weight: weight(&entry),
            entry,
            used: AtomicI64::new(now.as_seconds()),
        };
        self.0.insert(shown, Arc::new(kept));
    }

    /// Frees what providers without these revisions left. Nothing finds it any more in any case.
    pub(crate) fn retain(&self, revisions: &[u64]) {
        self.0
            .retain(|_, kept| revisions.contains(&kept.entry.proof.revision));
    }

    /// Frees what is not good any more at `now`, and what nobody showed for an hour.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, kept| {
            // A clock that was ahead must not keep it.
            let used = kept.used.fetch_min(now.as_seconds(), Ordering::Relaxed);
            let used = Timestamp::from_seconds(used);
            kept.entry.validity.holds_at(now).is_ok() && now.since(used) < IDLE
        });
    }
}

fn weight(entry: &Entry) -> u64 {
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
        .saturating_add(entry.claimed.as_ref().map_or(0, |claimed| claimed.length()))
        .saturating_add(attestation.spiffe_id().as_str().len());
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
