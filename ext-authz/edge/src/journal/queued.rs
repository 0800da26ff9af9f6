//! An event whose caller waits until it is in the file.

use attache_core::event::{Event, Mode, Outcome};
use tokio::sync::OwnedSemaphorePermit;

use super::{desk::Waiting, flood::Target};

/// The code of an access that policy permitted and that was not answered.
const NOT_ANSWERED: &str = "not-answered";

/// An event on its way to the file.
pub(super) struct Queued {
    pub(super) event: Box<Event>,
    pub(super) target: Target,
    /// Who learns what became of it.
    pub(super) caller: Waiting,
    /// The event's place in the bounded queue, free again when it is written.
    pub(super) place: OwnedSemaphorePermit,
}

impl Queued {
    /// Whether the event says that the request went on, and nobody is there any more to let it.
    pub(super) fn is_unanswered(&self) -> bool {
        let gone = self.caller.is_gone();
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
            event.code = Some(NOT_ANSWERED.into());
            event.token_issued = false;
            (event.token_id, event.ttl_seconds, event.audience) = (None, None, None);
        }
        self
    }
}
