//! What the journal counts and what it says of its health.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize},
    },
};

use tracing::{error, info};

/// What the journal counts.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) written: AtomicU64,
    pub(super) coalesced: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) repaired: AtomicU64,
    pub(super) segments: AtomicUsize,
    pub(super) bytes: AtomicU64,
    /// Why the last write failed; `None` while the journal works.
    failing: Mutex<Option<Arc<str>>>,
    /// Why a write failed last, since the start.
    last_error: Mutex<Option<Arc<str>>>,
}

impl Counters {
    pub(super) fn failing(&self) -> Option<String> {
        lock(&self.failing).as_deref().map(str::to_owned)
    }

    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).as_deref().map(str::to_owned)
    }

    pub(super) fn failed(&self, error: &io::Error) -> Arc<str> {
        let text: Arc<str> = error.to_string().into();
        // Said once, not once for each call that is refused for it.
        if lock(&self.failing).replace(Arc::clone(&text)).as_ref() != Some(&text) {
            error!(cause = %text, "the audit journal cannot be written; no access is given a credential");
        }
        *lock(&self.last_error) = Some(Arc::clone(&text));
        text
    }

    pub(super) fn worked(&self) {
        if lock(&self.failing).take().is_some() {
            info!("the audit journal can be written again");
        }
    }
}

/// Takes a lock whose holder may have panicked: what it guards is whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
