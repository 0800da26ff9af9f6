//! `attache.token.v1.Tokens`: answers that a client in the proxy may keep, the leases under which it keeps them,
//! and the reports of what it did with them. docs/tokens.md tells both sides of it.
//!
//! The pipeline decides as it does for ext_authz. What is here beside it is bounded whatever callers do: leases are
//! not remembered but sealed, reporters and streams are counted.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use attache_core::{event::Record, time::Timestamp};
use aws_lc_rs::rand;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use self::{
    epochs::{EpochId, Epochs},
    lease::Seal,
};
use crate::{clock, journal, keeping::Revision, pipeline::Edge};

mod answered;
mod asked;
mod assertion;
mod epochs;
mod lease;
mod regions;
mod report;
mod revalidate;
mod service;
mod verify;
mod watching;

pub use self::{
    epochs::MAX_EPOCHS,
    lease::{MAX_LEASE_BYTES, SealUnusable},
    report::{LOST, MAX_BATCH},
    service::TokensService,
    verify::OwnBundle,
    watching::MAX_STREAMS,
};

#[cfg(test)]
mod tests;

/// What this edge speaks.
pub const PROTOCOL: u32 = 1;

/// How often what nobody tells of is looked at: revocations and keys.
const LOOK: Duration = Duration::from_millis(200);

/// What the services of all listeners of one edge share.
pub struct Tokens {
    seal: Seal,
    epochs: Epochs,
    streams: Arc<Semaphore>,
    /// Tells two lives of the edge apart.
    life: String,
    state: watch::Sender<State>,
    own_bundle: Option<OwnBundle>,
}

/// What streams tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    revision: Revision,
    policy_revision: String,
    bundles: String,
}

/// Why the edge cannot keep its word on kept answers.
#[derive(Debug, Error)]
pub enum TokensUnusable {
    /// Leases cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealUnusable),
    /// What was reported already cannot be told.
    #[error("the audit journal in {} cannot be read: {error}", dir.display())]
    Journal {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl Tokens {
    /// With the key of leases in the file `key`, and what the journal in `dir` tells of reports. Takes as long as the
    /// disk takes.
    pub fn open(
        key: &Path,
        dir: &Path,
        own_bundle: Option<OwnBundle>,
        now: Timestamp,
    ) -> Result<Self, TokensUnusable> {
        let tokens = Self {
            seal: Seal::open(key)?,
            epochs: Epochs::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            life: life(),
            state: watch::Sender::default(),
            own_bundle,
        };
        let recovered = journal::reported(dir, now, |event| {
            let (Some(reported), Record::Cached | Record::Lost) = (event.reported, event.record)
            else {
                return;
            };
            let id = EpochId {
                listener: event.listener.into(),
                epoch: reported.epoch.into(),
            };
            let first = reported.sequence;
            let last = reported.last_sequence.unwrap_or(first);
            let is_lost = event.record == Record::Lost;
            tokens.epochs.recover(id, first, last, is_lost);
        });
        recovered.map_err(|error| TokensUnusable::Journal {
            dir: dir.to_owned(),
            error,
        })?;
        Ok(tokens)
    }

    /// The state under which an answer was given, as clients compare it.
    fn revision(&self, revision: Revision) -> String {
        let Revision { step, generation } = revision;
        format!("{}-{step}-{generation}", self.life)
    }

    /// How many reporters are known.
    pub fn reporters(&self) -> usize {
        self.epochs.len()
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        MAX_STREAMS.saturating_sub(self.streams.available_permits())
    }
}

/// Has the streams tell every change, for as long as it is polled.
pub async fn follow(edge: Arc<Edge>) {
    let mut changes = edge.live.changes();
    loop {
        let state = edge.tokens.look(&edge);
        edge.tokens.state.send_if_modified(|told| {
            let is_new = *told != state;
            *told = state;
            is_new
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Tokens {
    fn look(&self, edge: &Edge) -> State {
        State {
            revision: edge.revision(),
            policy_revision: edge.live.compiled().revision().to_owned(),
            bundles: self.bundles(&edge.trust, clock::now()).version,
        }
    }
}

fn life() -> String {
    let mut random = [0; 6];
    // aws-lc aborts the process rather than return weak randomness, so the result says nothing more.
    let _ = rand::fill(&mut random);
    let digits = random.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}
