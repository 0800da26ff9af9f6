//! Readiness follows the journal: an edge that cannot record an access gives it no credential, so it is not
//! ready until it can. It stays alive meanwhile, for the journal recovers without a restart.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    journal::JournalStatus,
    pipeline::Edge,
    readiness::{Block, Readiness},
};

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long events may wait without one being written: a disk that hangs tells of no error.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows the journal of `edge` for as long as it is polled.
pub async fn follow(edge: Arc<Edge>, readiness: Readiness) {
    let mut followed = Followed::new(readiness, Instant::now());
    loop {
        followed.look(&edge.journal.status(), Instant::now());
        sleep(LOOK).await;
    }
}

/// What was seen so far.
struct Followed {
    readiness: Readiness,
    /// What became of events, as numbers that only grow.
    done: (u64, u64),
    /// When one of them grew last, or nothing waited.
    moved: Instant,
    blocked: Option<(String, Block)>,
}

impl Followed {
    const fn new(readiness: Readiness, now: Instant) -> Self {
        Self {
            readiness,
            done: (0, 0),
            moved: now,
            blocked: None,
        }
    }

    fn look(&mut self, journal: &JournalStatus, now: Instant) {
        let done = (journal.written, journal.coalesced);
        if journal.queued == 0 || done != self.done {
            (self.done, self.moved) = (done, now);
        }
        let problem = match &journal.failing {
            Some(problem) => Some(problem.clone()),
            None if now.saturating_duration_since(self.moved) < PATIENCE => None,
            None => Some("the disk of the journal does not answer".to_owned()),
        };
        let Some(problem) = problem else {
            if self.blocked.take().is_some() {
                info!("accesses can be recorded again");
            }
            return;
        };
        if self
            .blocked
            .as_ref()
            .is_none_or(|(known, _)| *known != problem)
        {
            warn!(problem, "not ready: accesses cannot be recorded");
            // The old block is dropped after the new one is held, so that nobody sees a ready edge between.
            let block = self.readiness.block(format!("audit: {problem}"));
            self.blocked = Some((problem, block));
        }
    }
}

#[cfg(test)]
mod tests;
