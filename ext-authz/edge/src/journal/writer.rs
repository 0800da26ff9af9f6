//! What writes: it takes everything that waits, writes it at once (group commit) and then answers each waiter. A failed
//! write is undone and answered as such; the next one tries again. Who has the `pen` makes it write.

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use attache_core::{event::Event, time::Timestamp};
use tokio::sync::oneshot;
use tracing::error;

use super::{
    AuditUnavailable, Clock, Recorded,
    counters::Counters,
    desk::Bells,
    family::{Family, PerFamily},
    flood::{Admission, Floodgates},
    line,
    promised::{Lines, Promises},
    queued::Queued,
    store::Store,
};

/// Most bytes of one write, unless one line is longer.
pub(super) const MAX_COMMIT_BYTES: usize = 256 * 1024;
/// Most events of one commit.
const MAX_COMMIT_EVENTS: usize = 1024;
/// How often it looks for segments that are too old.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(30);

/// What the journal's thread is asked.
pub(super) enum Message {
    /// Record events.
    Record(Vec<Queued>),
    /// Write what is promised.
    Promised,
    /// Look after what is left to do, and what lies beside the pen.
    Look,
    /// Write everything that was asked before, summaries of open floods included.
    Flush(oneshot::Sender<Result<(), AuditUnavailable>>),
    /// Flush, and end.
    Close(oneshot::Sender<Result<(), AuditUnavailable>>),
}

/// The state of the journal's files, and of the events on their way there.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// Shared, because in the background mode callers ask it themselves.
    pub(super) floods: Arc<Floodgates>,
    pub(super) counters: Arc<Counters>,
    pub(super) pending: PerFamily<Pending>,
    /// Shared, because in the background mode callers give them themselves.
    pub(super) promises: Arc<Promises>,
    pub(super) bells: Bells,
    pub(super) tidied_at: Timestamp,
    /// Calls wait for the thread that writes: what can be done later is left to the journal's own.
    pub(super) hurries: bool,
}

/// Events of one family that wait for the next write.
#[derive(Default)]
pub(super) struct Pending {
    lines: Vec<u8>,
    queued: Vec<Queued>,
    /// Summaries of floods that are over.
    summaries: Vec<Event>,
}

/// Whether it goes on.
pub(super) enum Then {
    Continue,
    End(Option<Closing>),
}

/// Who waits for the end, and what it learns. Told after the writer is dropped, so that the lock is
/// free by then.
pub(super) struct Closing {
    caller: oneshot::Sender<Result<(), AuditUnavailable>>,
    flushed: Result<(), AuditUnavailable>,
}

impl Closing {
    pub(super) fn tell(self) {
        // A caller that no longer waits needs no answer.
        let _ = self.caller.send(self.flushed);
    }
}

impl Writer {
    /// Whether nothing is left to do, whatever time it gets.
    pub(super) fn is_idle(&self) -> bool {
        self.has_written_all()
            && !self.store.has_more()
            && self.floods.iter().all(|floods| floods.is_quiet())
            && self.counters.failing().is_none()
    }

    /// Records what is asked, first and foremost `first`; or looks after what is left to do, where nothing is.
    pub(super) fn turn(
        &mut self,
        first: Result<Message, RecvTimeoutError>,
        inbox: &Receiver<Message>,
    ) -> Then {
        let now = (self.clock)();
        let then = match first {
            Ok(first) => self.take_all(first, inbox, now),
            Err(RecvTimeoutError::Timeout) => {
                self.probe(now);
                Then::Continue
            }
            Err(RecvTimeoutError::Disconnected) => Then::End(None),
        };
        self.floods
            .iter()
            .for_each(|mut floods| floods.end_windows(now));
        self.keep_promises(now);
        self.commit_all(now);
        match then {
            Then::Continue => self.tidy(now),
            Then::End(_) => self.end(now),
        }
        then
    }

    /// Records `events`, whose callers wait.
    pub(super) fn record(&mut self, events: Vec<Queued>) {
        let now = (self.clock)();
        self.hurries = true;
        events
            .into_iter()
            .for_each(|queued| self.admit(queued, now));
        self.commit_all(now);
        self.hurries = false;
    }

    /// Takes the first message and all that wait behind it, as far as one commit reaches.
    fn take_all(&mut self, first: Message, inbox: &Receiver<Message>, now: Timestamp) -> Then {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(message) = next.take() {
            match message {
                Message::Record(events) => {
                    taken += events.len();
                    events
                        .into_iter()
                        .for_each(|queued| self.admit(queued, now));
                }
                // After everything else, in any case.
                Message::Promised | Message::Look => {}
                Message::Flush(done) => {
                    // A caller that no longer waits needs no answer.
                    let _ = done.send(self.flush(now));
                }
                Message::Close(caller) => {
                    self.floods.iter().for_each(|mut floods| floods.close());
                    let flushed = self.flush(now);
                    let synced = self.store.sync().map_err(|error| self.unavailable(&error));
                    return Then::End(Some(Closing {
                        caller,
                        flushed: flushed.and(synced),
                    }));
                }
            }
            if taken < MAX_COMMIT_EVENTS {
                next = inbox.try_recv().ok();
            }
        }
        Then::Continue
    }

    pub(super) fn admit(&mut self, queued: Queued, now: Timestamp) {
        let Queued {
            event,
            target,
            caller,
            place,
        } = queued.or_not_answered();
        let family = Family::of(&event);
        let admission = match self.floods.of(family) {
            Some(mut floods) => floods.admit(event, target, now),
            None => Admission::Individually(event),
        };
        match admission {
            Admission::Individually(event) => {
                let queued = Queued {
                    event,
                    target,
                    caller,
                    place,
                };
                self.enqueue(queued, family, now);
            }
            Admission::Coalesced(event_id) => {
                self.counters.coalesced.fetch_add(1, Ordering::Relaxed);
                let recorded = Recorded {
                    event_id,
                    coalesced: true,
                };
                caller.answer(Ok(recorded), &mut self.bells);
            }
            Admission::AwaitCommit(event) => {
                self.commit(family, now);
                // INVARIANT: after a commit no window waits for one, so this goes one level deep.
                let queued = Queued {
                    event,
                    target,
                    caller,
                    place,
                };
                self.admit(queued, now);
            }
        }
    }

    fn enqueue(&mut self, queued: Queued, family: Family, now: Timestamp) {
        let pending = self.pending.of(family);
        let before = pending.lines.len();
        if let Err(error) = line::write(&mut pending.lines, &queued.event) {
            pending.lines.truncate(before);
            let refused = Err(self.unavailable(&error));
            return queued.caller.answer(refused, &mut self.bells);
        }
        pending.queued.push(queued);
        if pending.lines.len() >= MAX_COMMIT_BYTES {
            self.commit(family, now);
        }
    }

    /// Writes what was promised, as far as that succeeds.
    fn keep_promises(&mut self, now: Timestamp) {
        let promises = Arc::clone(&self.promises);
        for family in Family::ALL {
            let mut waiting = promises.take(family);
            while let Some(lines) = waiting.front() {
                if let Err(error) = self.store.append(family, lines.bytes(), now) {
                    self.counters.failed(&error);
                    break;
                }
                self.counters.worked();
                let written = waiting.pop_front().map_or(0, Lines::kept);
                self.counters.written.fetch_add(written, Ordering::Relaxed);
            }
            promises.put_back(family, waiting);
        }
        self.store.keep_to_budgets(now);
        self.publish();
    }

    pub(super) fn commit_all(&mut self, now: Timestamp) {
        Family::ALL
            .into_iter()
            .for_each(|family| self.commit(family, now));
    }

    /// Writes what waits in one family, and answers everybody who waits for it.
    fn commit(&mut self, family: Family, now: Timestamp) {
        self.part_with_unanswered(family, now);
        let pending = self.pending.of(family);
        let (mut lines, queued) = (
            mem::take(&mut pending.lines),
            mem::take(&mut pending.queued),
        );
        if let Some(mut floods) = self.floods.of(family) {
            pending.summaries.extend(floods.take_summaries());
        }
        for summary in &pending.summaries {
            // An event that could be read from JSON or built by us can be written as JSON.
            let _ = line::write(&mut lines, summary);
        }
        let written = if lines.is_empty() {
            Ok(())
        } else {
            self.store.append(family, &lines, now)
        };
        if let Some(mut floods) = self.floods.of(family) {
            if written.is_ok() {
                floods.committed()
            } else {
                floods.not_committed()
            }
        }
        match written {
            Ok(()) if lines.is_empty() => {}
            Ok(()) => self.settle_written(family, queued),
            Err(error) => self.settle_failed(queued, &error),
        }
        self.bells.ring();
        if !self.hurries {
            self.store.keep_to_budgets(now);
        }
        self.publish();
    }

    /// Takes out events whose callers went away while another family was written.
    fn part_with_unanswered(&mut self, family: Family, now: Timestamp) {
        let pending = self.pending.of(family);
        if !pending.queued.iter().any(Queued::is_unanswered) {
            return;
        }
        pending.lines.clear();
        for queued in mem::take(&mut pending.queued) {
            if queued.is_unanswered() {
                self.admit(queued, now);
            } else {
                self.enqueue(queued, family, now);
            }
        }
    }

    fn settle_written(&mut self, family: Family, queued: Vec<Queued>) {
        self.counters.worked();
        let summaries = mem::take(&mut self.pending.of(family).summaries).len();
        let written = queued.len().saturating_add(summaries);
        let written = u64::try_from(written).unwrap_or(u64::MAX);
        self.counters.written.fetch_add(written, Ordering::Relaxed);
        for Queued {
            event,
            caller,
            place,
            ..
        } in queued
        {
            drop(place);
            let recorded = Recorded {
                event_id: event.event_id,
                coalesced: false,
            };
            caller.answer(Ok(recorded), &mut self.bells);
        }
    }

    fn settle_failed(&mut self, queued: Vec<Queued>, error: &io::Error) {
        let unavailable = self.unavailable(error);
        for queued in queued {
            let refused = Err(unavailable.clone());
            queued.caller.answer(refused, &mut self.bells);
        }
    }

    /// Writes everything that is known, floods that are still open included.
    fn flush(&mut self, now: Timestamp) -> Result<(), AuditUnavailable> {
        self.floods.iter().for_each(|mut floods| floods.end_all());
        self.keep_promises(now);
        self.commit_all(now);
        if self.has_written_all() {
            return Ok(());
        }
        let cause = self.counters.last_error().unwrap_or_default();
        Err(AuditUnavailable::NotWritten(cause.into()))
    }

    fn end(&mut self, now: Timestamp) {
        let _ = self.flush(now);
        let lost = self.promises.close();
        let summaries = self.pending.iter().flat_map(|pending| &pending.summaries);
        let uncounted: u64 = summaries.map(|summary| summary.count).sum();
        if lost > 0 || uncounted > 0 {
            error!(
                lost,
                uncounted, "audit events could not be written before the journal was closed"
            );
        }
    }

    /// Finds out whether a journal that failed works again although no event comes: an edge that is not
    /// ready is sent none.
    fn probe(&mut self, now: Timestamp) {
        if self.counters.failing().is_none() || !self.has_written_all() {
            return;
        }
        match self.store.probe(now) {
            Ok(()) => self.counters.worked(),
            Err(error) => drop(self.counters.failed(&error)),
        }
    }

    fn tidy(&mut self, now: Timestamp) {
        if now.since(self.tidied_at) < TIDY_EVERY && now >= self.tidied_at {
            return;
        }
        self.tidied_at = now;
        if let Err(error) = self.store.tidy(now) {
            self.counters.failed(&error);
        }
        self.publish();
    }

    fn unavailable(&self, error: &io::Error) -> AuditUnavailable {
        AuditUnavailable::NotWritten(self.counters.failed(error))
    }

    pub(super) fn publish(&self) {
        let (segments, bytes) = self.store.size();
        self.counters.segments.store(segments, Ordering::Relaxed);
        self.counters.bytes.store(bytes, Ordering::Relaxed);
        self.counters
            .repaired
            .store(self.store.repaired, Ordering::Relaxed);
    }

    /// Whether nothing waits for another attempt.
    fn has_written_all(&self) -> bool {
        self.promises.count() == 0
            && self
                .pending
                .iter()
                .all(|pending| pending.summaries.is_empty())
    }
}
