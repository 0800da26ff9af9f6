//! An event on its way to the file, and who waits for it.

use std::sync::{Arc, atomic::Ordering};

use attache_core::event::{Event, Mode, Outcome};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    counters::Counters,
    desk::{Bells, Filed, Waiting},
    flood::Target,
};

/// The code of an access that policy permitted and that was not answered.
const NOT_ANSWERED: &str = "not-answered";

/// An event on its way to the file.
pub(super) struct Queued {
    pub(super) event: Box<Event>,
    pub(super) target: Target,
    pub(super) receipt: Receipt,
    /// The event's place in the bounded queue, free again when it is written.
    pub(super) place: OwnedSemaphorePermit,
}

impl Queued {
    /// Whether the event says that the request went on, and nobody is there any more to let it.
    pub(super) fn is_unanswered(&self) -> bool {
        let gone = matches!(&self.receipt, Receipt::Awaited(caller) if caller.is_gone());
        // What is only observed went on whoever waited.
        let enforced = self.event.mode == Mode::Enforce;
        gone && enforced && self.event.outcome == Outcome::Permitted
    }

    /// SECURITY: an access whose caller no longer waits got no answer, and so no credential; the journal
    /// must not say that it did. It may have waited for long, on a disk that hung. A denial stays what it
    /// is, so that nobody gets out of the journal by hanging up.
    pub(super) fn or_not_answered(mut self) -> Self {
        if self.is_unanswered() {
            let event = &mut *self.event;
            event.outcome = Outcome::Error;
            event.code = Some(NOT_ANSWERED.to_owned());
            event.token_issued = false;
            (event.token_id, event.ttl_seconds, event.audience) = (None, None, None);
        }
        self
    }
}

impl Queued {
    /// The journal is closed, and does not take it: its caller learns that, and a promise was none.
    pub(super) fn unaccept(self) {
        if let Receipt::Promised(promise) = self.receipt {
            promise.settle();
        }
    }
}

/// Who learns what became of an event.
pub(super) enum Receipt {
    /// The caller, who waits.
    Awaited(Waiting),
    /// Nobody: the event was accepted with a promise.
    Promised(Promise),
}

impl Receipt {
    /// Says what became of the event; whoever waits hears of it when `bells` are rung.
    pub(super) fn settle(self, outcome: Filed, bells: &mut Bells) {
        match self {
            Self::Awaited(caller) => caller.answer(outcome, bells),
            Self::Promised(promise) => {
                if outcome.is_ok() {
                    promise.settle();
                }
            }
        }
    }
}

/// An accepted event that is not written yet. Dropped unfulfilled, it counts as lost.
pub(super) struct Promise(Option<Arc<Counters>>);

impl Promise {
    pub(super) const fn new(counters: Arc<Counters>) -> Self {
        Self(Some(counters))
    }

    /// The event is written, or was not accepted after all: nothing can be lost.
    pub(super) fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(counters) = self.0.take() {
            counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
