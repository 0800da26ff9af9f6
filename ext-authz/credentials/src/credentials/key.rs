//! What a credential is kept under.

use std::hash::{Hash, Hasher};

use attache_core::{attestation::Attestation, spiffe_id::SpiffeId};
use attache_policy::{
    Grant,
    document::{CredentialKind, CredentialProvider, Placement, SecretReference},
};
use smallvec::SmallVec;

#[cfg(test)]
mod tests;

/// As many bytes as nearly every key has.
const USUAL: usize = 512;

/// All that would make two credentials differ, and who vouched for the caller, written one after the other, so that
/// a call compares one piece of memory.
///
/// SECURITY: compared whole. A caller is in it by the SPIFFE ID and the provider of its own attestation, and by every
/// attribute that the document reads, so that nobody is given what was obtained for another: not even a pod what
/// another pod of its ServiceAccount got. What is written is what [`Hash`] writes: for values that differ it differs,
/// and none begins another's, which the standard library asks of it and gives for its own types but paths, which are
/// written once more; ours derive it.
pub(super) struct Key(SmallVec<[u8; USUAL]>);

#[derive(Hash)]
struct Parts<'a> {
    spiffe_id: &'a SpiffeId,
    trust_provider: &'a str,
    provider: &'a str,
    /// Its parameters as the document says them: with the attributes that they read, that is what they come to.
    kind: &'a CredentialKind,
    placements: &'a [Placement],
    issuer: &'a str,
    /// SECURITY: what was made of an older secret is under a version that nobody asks for any more,
    versions: &'a [u64],
    /// and tokens of a revoked key under such a generation.
    generation: u64,
}

impl Key {
    /// Of what `provider` gives for `grant`, made by `issuer` if it is a token of ours.
    pub(super) fn new(
        grant: &Grant<'_>,
        provider: &CredentialProvider,
        issuer: &str,
        versions: &[u64],
        generation: u64,
    ) -> Self {
        let attestation = grant.attestation();
        let parts = Parts {
            spiffe_id: attestation.spiffe_id(),
            trust_provider: attestation.provider(),
            provider: &provider.name,
            kind: &provider.kind,
            placements: grant.placements(),
            issuer,
            versions,
            generation,
        };
        Self::of(&parts, attestation)
    }

    fn of(parts: &Parts<'_>, attestation: &Attestation) -> Self {
        let mut key = Self(SmallVec::new());
        parts.hash(&mut key);
        // Of a path the standard library writes the parts, which others could have as well.
        for secret in parts.kind.secrets() {
            if let SecretReference::File(path) = secret {
                path.as_os_str().hash(&mut key);
            }
        }
        // How many of either, the document says, which is written already.
        for name in parts.kind.attributes() {
            (name, attestation.attributes().value(name)).hash(&mut key);
        }
        key
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Nobody asks: the bytes are what is wanted.
    fn finish(&self) -> u64 {
        0
    }
}
