//! Leases: the edge's own word that it gave an answer, handed to whoever keeps the answer and sealed, so that the
//! edge need not remember it. Who reports an access shows it; what it says nobody else can make up.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use attache_core::event::Event;
use attache_proto::token::v1 as proto;
use attache_trust::regular_file;
use aws_lc_rs::{hmac, rand};
use prost::Message as _;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Longest lease, in bytes.
pub const MAX_LEASE_BYTES: usize = 8192;

/// Bytes of a seal (HMAC with SHA-256).
const SEAL_BYTES: usize = 32;
/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// What of a seal's uses must not serve for another.
const OF_LEASES: &[u8] = b"attache lease 1\0";
const OF_EVIDENCE: &[u8] = b"attache evidence 1\0";
const OF_INJECTIONS: &[u8] = b"attache injections 1\0";

/// A given answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lease {
    /// For which calls. Its caller is that of the listener.
    pub(super) scope: proto::Scope,
    /// What the answer was for.
    pub(super) purpose: i32,
    /// The request that was asked about, without its evidence.
    pub(super) call: proto::Call,
    /// The seal of the evidence; empty where there was none.
    pub(super) evidence: Vec<u8>,
    /// The seal of what was attached.
    pub(super) injections: Vec<u8>,
    /// What was recorded of it.
    pub(super) event: Event,
}

/// A lease as it is sealed. Fields are only ever added: a lease outlives an upgrade of the edge.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Written {
    #[prost(message, optional, tag = "1")]
    scope: Option<proto::Scope>,
    #[prost(int32, tag = "2")]
    purpose: i32,
    #[prost(message, optional, tag = "3")]
    call: Option<proto::Call>,
    #[prost(bytes = "vec", tag = "4")]
    evidence: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    injections: Vec<u8>,
    /// As the journal writes it.
    #[prost(bytes = "vec", tag = "6")]
    event: Vec<u8>,
}

/// Why there is no key to seal with.
#[derive(Debug, Error)]
pub enum SealUnusable {
    /// The file cannot be read or made.
    #[error("the key of leases in {} cannot be used: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not what we wrote.
    #[error("{} does not hold a key of {KEY_BYTES} bytes; remove it, and what proxies have not reported yet is refused", .0.display())]
    Damaged(PathBuf),
}

/// Seals and opens leases, with a key that only this edge has.
pub(super) struct Seal(hmac::Key);

impl Seal {
    /// The key in `path`, made there with mode 0600 if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, SealUnusable> {
        let unusable = |error| SealUnusable::File {
            path: path.to_owned(),
            error,
        };
        match regular_file::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = fresh().map_err(unusable)?;
                write(path, &key).map_err(unusable)?;
                Ok(Self::of(&key))
            }
            Err(error) => Err(unusable(error)),
        }
    }

    fn read(file: File, path: &Path) -> Result<Self, SealUnusable> {
        let mut key = Vec::new();
        let most = u64::try_from(KEY_BYTES)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        file.take(most)
            .read_to_end(&mut key)
            .map_err(|error| SealUnusable::File {
                path: path.to_owned(),
                error,
            })?;
        if key.len() != KEY_BYTES {
            return Err(SealUnusable::Damaged(path.to_owned()));
        }
        Ok(Self::of(&key))
    }

    fn of(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Seals a lease; `None` if it is too long to be kept.
    pub(super) fn seal(&self, lease: &Lease) -> Option<Vec<u8>> {
        let whole = self.seal_with(lease, lease.event.clone());
        // Attributes serve explanations alone, and stand in the event of the answer too.
        whole.or_else(|| {
            let attributes = None;
            let event = Event {
                attributes,
                ..lease.event.clone()
            };
            self.seal_with(lease, event)
        })
    }

    fn seal_with(&self, lease: &Lease, mut event: Event) -> Option<Vec<u8>> {
        event.conditions.clear();
        let written = Written {
            scope: Some(lease.scope.clone()),
            purpose: lease.purpose,
            call: Some(lease.call.clone()),
            evidence: lease.evidence.clone(),
            injections: lease.injections.clone(),
            event: serde_json::to_vec(&event).ok()?,
        };
        let mut sealed = self.sign(OF_LEASES, &written.encode_to_vec());
        sealed.extend(written.encode_to_vec());
        (sealed.len() <= MAX_LEASE_BYTES).then_some(sealed)
    }

    /// Opens what [`Self::seal`] made; `None` for anything else.
    pub(super) fn opened(&self, sealed: &[u8]) -> Option<Lease> {
        if sealed.len() > MAX_LEASE_BYTES {
            return None;
        }
        let (seal, written) = sealed.split_at_checked(SEAL_BYTES)?;
        // SECURITY: nothing of it is read before it is known to be ours.
        let mut input = OF_LEASES.to_vec();
        input.extend_from_slice(written);
        hmac::verify(&self.0, &input, seal).ok()?;
        let written = Written::decode(written).ok()?;
        Some(Lease {
            scope: written.scope?,
            purpose: written.purpose,
            call: written.call?,
            evidence: written.evidence,
            injections: written.injections,
            event: serde_json::from_slice(&written.event).ok()?,
        })
    }

    /// By what the same evidence is known again.
    pub(super) fn of_evidence(&self, evidence: Option<&proto::Evidence>) -> Vec<u8> {
        evidence.map_or_else(Vec::new, |it| self.sign(OF_EVIDENCE, &it.encode_to_vec()))
    }

    /// By what the same injections are known again.
    pub(super) fn of_injections(&self, injections: &[proto::Injection]) -> Vec<u8> {
        let mut input = Vec::new();
        for injection in injections {
            input.extend(injection.encode_length_delimited_to_vec());
        }
        self.sign(OF_INJECTIONS, &input)
    }

    fn sign(&self, purpose: &[u8], what: &[u8]) -> Vec<u8> {
        let mut input = purpose.to_vec();
        input.extend_from_slice(what);
        hmac::sign(&self.0, &input).as_ref().to_vec()
    }
}

fn fresh() -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_no_cause| io::Error::other("the system gives no randomness"))?;
    Ok(key)
}

/// Written beside its place and moved there, so that a kill leaves no half of it.
fn write(path: &Path, key: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
