//! What the tick looks after: questions that other VMs ask, and the successors of answers that grow old.

use core::time::Duration;
use std::rc::Rc;

use attache_core::time::Timestamp;

use super::{
    Outbound,
    flights::{Elsewhere, Kind, Question, Waiter},
    kept::{Does, Kept},
    seen::Seen,
    shared::Turn,
};
use crate::{
    host::{ContextId, Host},
    inbound::broken,
    metrics::Count,
    refusal::Refusal,
};

/// How long another VM's question is waited for at most.
const MOST_ELSEWHERE: Duration = Duration::from_millis(1500);
/// Most successors that are asked for in one tick.
const MOST_AHEAD: usize = 16;

impl Outbound {
    /// Looks after what other VMs ask: their answers, and their questions when they did not get one.
    #[inline(never)]
    pub(super) fn tick_elsewhere<H: Host>(&mut self, host: &H, now: Timestamp) {
        for elsewhere in core::mem::take(&mut self.flights.elsewhere) {
            let Elsewhere {
                question,
                waiting,
                since,
            } = elsewhere;
            let mut left = Vec::new();
            for waiter in waiting {
                if host.act_as(waiter.stream).is_err() {
                    continue;
                }
                self.running.set(waiter.stream);
                match self.answered_elsewhere(host, waiter, now) {
                    Ok(None) => {}
                    Ok(Some(waiter)) => left.push(waiter),
                    Err((stream, refusal)) => self.end(host, stream, Err(refusal)),
                }
            }
            if left.is_empty() {
                continue;
            }
            match self.answers.shared.turn(host, &question.key, now) {
                Turn::Theirs if now.since(since) < MOST_ELSEWHERE => {
                    self.flights.elsewhere.push(Elsewhere {
                        question,
                        waiting: left,
                        since,
                    });
                }
                Turn::Theirs => self.take_over(host, &question, left, None),
                Turn::Ours(lease) => self.take_over(host, &question, left, lease),
            }
        }
    }

    fn answered_elsewhere<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
        now: Timestamp,
    ) -> Result<Option<Waiter>, (ContextId, Refusal)> {
        let stream = waiter.stream;
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, &waiter).ok_or_else(|| (stream, broken()))?;
        let revision = self.watch.revision();
        let Some(kept) = self.answers.find(host, &plan, &seen, revision, now) else {
            drop(seen);
            return Ok(Some(waiter));
        };
        if matches!(kept.does, Does::NeedsDetails | Does::NeedsAssertion) {
            drop(seen);
            let asked = match kept.does {
                Does::NeedsAssertion => self.expect_form(host, waiter),
                Does::NeedsDetails | Does::Pass(_) | Does::Refuse(_) => {
                    self.ask_alone(host, waiter)
                }
            };
            return asked
                .map(|_waits| None)
                .map_err(|refusal| (stream, refusal));
        }
        self.give(host, &waiter, &seen, &kept)
            .map_err(|refusal| (stream, refusal))?;
        self.end(host, stream, Ok(()));
        Ok(None)
    }

    fn take_over<H: Host>(
        &mut self,
        host: &H,
        question: &Rc<Question>,
        waiting: Vec<Waiter>,
        lease: Option<usize>,
    ) {
        let streams: Vec<ContextId> = waiting.iter().map(|waiter| waiter.stream).collect();
        // The question is the first one's, who may be gone; the answer is then looked for by each.
        if let Err(refusal) = self.start(host, Kind::Shared, question, waiting, lease) {
            for stream in streams {
                self.end(host, stream, Err(refusal.clone()));
            }
        }
    }

    /// Asks for the successors of answers that are old and used.
    #[inline(never)]
    pub(super) fn tick_ahead<H: Host>(&mut self, host: &H, now: Timestamp) {
        let due: Vec<Rc<Kept>> = self
            .answers
            .all()
            .filter(|kept| kept.wants_successor(now) && !self.flights.ahead(&kept.question))
            .take(MOST_AHEAD)
            .cloned()
            .collect();
        for kept in due {
            kept.tried(now);
            let plan = Rc::clone(&self.plan);
            let revision = self.watch.revision();
            if self.answers.successor(host, &plan, &kept, revision, now) {
                continue;
            }
            if let Turn::Ours(lease) = self.answers.shared.turn(host, &kept.question.key, now) {
                self.metrics.count(Count::Refresh);
                // If it fails, the old one serves on and is tried again.
                let _ = self.start(host, Kind::Ahead, &kept.question, Vec::new(), lease);
            }
        }
    }

    /// How often the tick is wanted now.
    pub(super) const fn pace(&self) -> Duration {
        if self.flights.elsewhere.is_empty() {
            Self::TICK
        } else {
            Self::QUICK_TICK
        }
    }
}
