//! Who writes: the journal's thread, or a thread that answers and has events of its own. One at a time.

use std::{
    mem,
    sync::{
        Mutex,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use super::{
    queued::Queued,
    writer::{Closing, Message, TIDY_EVERY, Then, Writer},
};

/// How often the thread looks while a flood is open or a write has failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// How long promised events are gathered: to be woken for each one would cost more than to write it.
const GATHER: Duration = Duration::from_millis(5);

/// The one writer of a journal.
#[derive(Default)]
pub(super) struct Pen {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// `None` once the journal is at its end.
    writer: Option<Writer>,
    /// Whether the thread looks again soon, though nobody asks.
    looks_often: bool,
}

impl Pen {
    pub(super) const fn of(writer: Writer) -> Self {
        let held = Held {
            writer: Some(writer),
            looks_often: false,
        };
        Self {
            held: Mutex::new(held),
        }
    }

    /// Records `events`, and answers their callers. Gives them back if somebody else writes, or the journal is closed.
    pub(super) fn write(
        &self,
        events: Vec<Queued>,
        inbox: &Sender<Message>,
    ) -> Result<(), Vec<Queued>> {
        // A writer that panicked is not asked again.
        let Ok(mut held) = self.held.try_lock() else {
            return Err(events);
        };
        let Some(writer) = &mut held.writer else {
            return Err(events);
        };
        writer.record(events);
        if !writer.is_idle() && !mem::replace(&mut held.looks_often, true) {
            // The thread has something to look after now. If it is gone, nothing is looked after any more.
            let _ = inbox.send(Message::Record(Vec::new()));
        }
        Ok(())
    }

    /// Works until the journal is closed or dropped; then writes what is left.
    pub(super) fn work(&self, inbox: &Receiver<Message>) -> Option<Closing> {
        loop {
            let patience = {
                let mut held = self.held.lock().ok()?;
                held.looks_often = !held.writer.as_ref()?.is_idle();
                if held.looks_often {
                    RETRY_EVERY
                } else {
                    TIDY_EVERY
                }
            };
            let first = inbox.recv_timeout(patience);
            if let Ok(Message::Promised) = first {
                gather(GATHER);
            }
            let mut held = self.held.lock().ok()?;
            if let Then::End(closing) = held.writer.as_mut()?.turn(first, inbox) {
                // What it locks is free before anybody is told.
                held.writer = None;
                return closing;
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
