//! Who writes: the journal's thread, or a thread that answers and has events of its own. One at a time; what another
//! one has meanwhile is written by the one that is at it, so that no call waits for the pen.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, TryLockError,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use super::{
    counters::lock,
    queued::Queued,
    writer::{Closing, Message, TIDY_EVERY, Then, Writer},
};

/// How often the thread looks while a flood is open or a write has failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// How long promised events are gathered: to be woken for each one would cost more than to write it.
const GATHER: Duration = Duration::from_millis(5);

/// How often one thread in turn writes what others have.
const MOST_ROUNDS: usize = 4;

/// The one writer of a journal.
#[derive(Default)]
pub(super) struct Pen {
    held: Mutex<Held>,
    /// Events of threads that do not wait for the pen. INVARIANT: whoever lets go of it looks here once more, or tells the
    /// thread to; and whoever puts something here tries to take it. So nothing is left lying.
    beside: Mutex<Vec<Queued>>,
}

#[derive(Default)]
struct Held {
    /// `None` once the journal is at its end.
    writer: Option<Writer>,
    /// Whether the thread looks again soon, though nobody asks.
    looks_often: bool,
}

/// What is left to the journal's thread.
#[derive(Clone, Copy, Default)]
struct Left {
    /// Something to look after, which it does not know yet.
    news: bool,
    /// Events that lie beside.
    more: bool,
}

impl Pen {
    pub(super) const fn of(writer: Writer) -> Self {
        let held = Held {
            writer: Some(writer),
            looks_often: false,
        };
        Self {
            held: Mutex::new(held),
            beside: Mutex::new(Vec::new()),
        }
    }

    /// Records `events` and answers their callers, or has that done by whoever writes. At the journal's end the callers
    /// learn that.
    pub(super) fn write(&self, events: Vec<Queued>, inbox: &Sender<Message>) {
        lock(&self.beside).extend(events);
        let left = self.write_beside();
        if left.news || left.more {
            // If the thread is gone, nothing is looked after any more.
            let _ = inbox.send(Message::Look);
        }
    }

    /// Works until the journal is closed or dropped; then writes what is left.
    pub(super) fn work(&self, inbox: &Receiver<Message>) -> Option<Closing> {
        let mut patience = RETRY_EVERY;
        loop {
            let first = inbox.recv_timeout(patience);
            if let Ok(Message::Promised) = first {
                gather(GATHER);
            }
            let mut held = self.held.lock().ok()?;
            let writer = held.writer.as_mut()?;
            let then = writer.turn(first, inbox);
            held.looks_often = !writer.is_idle();
            let looks_often = held.looks_often;
            if let Then::End(_) = then {
                // What it locks is free before anybody is told.
                held.writer = None;
            }
            drop(held);
            let left = self.write_beside();
            if let Then::End(closing) = then {
                return closing;
            }
            patience = match left {
                Left { more: true, .. } => Duration::ZERO,
                Left { news, .. } if news || looks_often => RETRY_EVERY,
                Left { .. } => TIDY_EVERY,
            };
        }
    }

    /// Records what lies beside, unless somebody else writes. No longer than a few times: there may always be more, and
    /// whoever writes has calls of its own.
    fn write_beside(&self) -> Left {
        let mut left = Left::default();
        for _ in 0..MOST_ROUNDS {
            let Some(mut held) = self.take() else {
                return left;
            };
            let events = mem::take(&mut *lock(&self.beside));
            if let Some(writer) = held.writer.as_mut().filter(|_| !events.is_empty()) {
                writer.record(events);
                left.news |= !writer.is_idle() && !mem::replace(&mut held.looks_often, true);
            }
            drop(held);
            if lock(&self.beside).is_empty() {
                return left;
            }
        }
        left.more = true;
        left
    }

    /// The pen; `None` while somebody else has it.
    fn take(&self) -> Option<MutexGuard<'_, Held>> {
        match self.held.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => {
                // A writer that panicked is not asked again.
                lock(&self.beside).clear();
                None
            }
        }
    }
}

/// Lets events come for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, on which nothing else waits"
)]
fn gather(time: Duration) {
    thread::sleep(time);
}
