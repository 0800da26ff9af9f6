//! How the policies in force stand to what the directory holds.

use std::{io, sync::Arc};

use attache_core::time::Timestamp;
use attache_policy::Source;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use tracing::{info, warn};

use super::{Refused, stamps::Stamps};

/// What the directory's files hold, by hash.
#[derive(Clone)]
pub(super) struct Contents {
    hash: Digest,
    /// How the files stood before they were read, if they could be looked at.
    stamps: Option<Arc<Stamps>>,
}

impl Contents {
    /// The contents of `sources`, which are sorted, and were read after `stamps`.
    pub(super) fn of(sources: &[Source], stamps: Option<Stamps>) -> Self {
        let mut hash = Context::new(&SHA256);
        for source in sources {
            for part in [source.name.as_bytes(), &source.text] {
                // With its length, so that no two lists of files are the same bytes.
                let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
                hash.update(&length.to_be_bytes());
                hash.update(part);
            }
        }
        Self {
            hash: hash.finish(),
            stamps: stamps.map(Arc::new),
        }
    }
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        self.hash.as_ref() == other.hash.as_ref()
    }
}

/// How the policies in force stand to what the directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyState {
    /// The revision in force.
    pub revision: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Whether it is the last good set of an earlier run, because the directory was refused at the start.
    pub is_last_good: bool,
    /// Why what the directory holds is refused, if it is.
    pub refused: Option<Refusal>,
    /// Why the set in force could not be kept for the next start, if it could not.
    pub not_kept: Option<String>,
    /// Since when files do not answer; `None` while they do.
    pub stalled_since: Option<Timestamp>,
    /// How often the directory was judged, the first time included.
    pub judged: Judged,
}

/// How often what the directory holds was judged, by result. What was judged before and did not change is not
/// judged again, unless something else could have made it good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// A new set came in force.
    pub accepted: u64,
    /// It was the set in force.
    pub unchanged: u64,
    /// It was refused.
    pub refused: u64,
}

/// A refusal of what the directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// All of its problems.
    pub problems: String,
    /// Since when it is refused for these.
    pub since: Timestamp,
}

/// The state, and what the directory held when it was judged.
pub(super) struct Standing {
    pub(super) state: PolicyState,
    judged: Option<Contents>,
}

impl Standing {
    pub(super) const fn new(state: PolicyState) -> Self {
        Self {
            state,
            judged: None,
        }
    }

    /// Whether judging these contents again would tell nothing new.
    pub(super) fn is_judged(&mut self, contents: &Contents) -> bool {
        let known = self.judged.as_mut().filter(|judged| *judged == contents);
        if let Some(known) = known {
            known.stamps.clone_from(&contents.stamps);
            return true;
        }
        false
    }

    /// How the files stood when they were read for the last time, if reading them again as they are would tell
    /// nothing new.
    pub(super) fn judged_at(&self) -> Option<Arc<Stamps>> {
        let judged = self.judged.as_ref().filter(|_| !self.is_unkept());
        judged.and_then(|judged| judged.stamps.clone())
    }

    /// Whether the set in force is the directory's, and could not be kept.
    pub(super) const fn is_unkept(&self) -> bool {
        self.state.refused.is_none() && self.state.not_kept.is_some()
    }

    /// The set in force was kept, or not.
    pub(super) fn kept(&mut self, kept: io::Result<()>) {
        let problem = kept.err().map(|error| error.to_string());
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.state.not_kept) {
            warn!(
                problem,
                "the policies in force cannot be kept for the next start"
            );
        }
        self.state.not_kept = problem;
    }

    /// What the directory held was judged, and is in force or refused. A refusal is logged once for each text.
    pub(super) fn conclude(
        &mut self,
        contents: Option<Contents>,
        put: &Result<String, Refused>,
        now: Timestamp,
    ) {
        self.judged = contents.filter(|_| put.as_ref().err().is_none_or(Refused::is_final));
        self.count(put);
        match put {
            Ok(revision) => {
                let state = &mut self.state;
                if *revision != state.revision || state.is_last_good {
                    state.accepted_at = now;
                    info!(revision, "policies in force");
                } else if state.refused.is_some() {
                    info!(revision, "the directory holds the policies in force again");
                }
                revision.clone_into(&mut state.revision);
                (state.is_last_good, state.refused) = (false, None);
            }
            Err(refused) => {
                let problems = refused.to_string();
                let old = self.state.refused.as_ref();
                if old.is_some_and(|old| old.problems == problems) {
                    return;
                }
                warn!(%refused, "policies refused; the last good ones stay in force");
                self.state.refused = Some(Refusal {
                    problems,
                    since: now,
                });
            }
        }
    }

    fn count(&mut self, put: &Result<String, Refused>) {
        let is_first = self.state.judged == Judged::default();
        let judged = &mut self.state.judged;
        let count = match put {
            Ok(revision) if is_first || *revision != self.state.revision => &mut judged.accepted,
            Ok(_) => &mut judged.unchanged,
            Err(_) => &mut judged.refused,
        };
        *count = count.saturating_add(1);
    }
}
