//! How many calls may wait for their answers at once. A disk that hangs or a key server that is slow holds
//! each of them for as long as an answer may take; without a bound they would take all memory.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many calls that are turned away may wait for their audit event at once; more are only counted.
const MAX_TOLD: usize = 64;

/// The calls of one edge.
pub struct Calls {
    most: usize,
    slots: Semaphore,
    told: Semaphore,
    turned_away: AtomicU64,
    untold: AtomicU64,
}

impl Calls {
    /// At most `most` at once.
    pub fn at_most(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            most,
            slots: Semaphore::new(most),
            told: Semaphore::new(MAX_TOLD),
            turned_away: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// A slot for one call, until it is answered; `None` if all are taken.
    pub(crate) fn enter(&self) -> Option<SemaphorePermit<'_>> {
        let slot = self.slots.try_acquire().ok();
        if slot.is_none() {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        slot
    }

    /// Leave to record one call that is turned away; `None` if it is only counted.
    pub(crate) fn tell(&self) -> Option<SemaphorePermit<'_>> {
        let leave = self.told.try_acquire().ok();
        if leave.is_none() {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
        leave
    }

    /// How many there may be at once.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// How many wait for their answers now.
    pub fn in_flight(&self) -> usize {
        self.most.saturating_sub(self.slots.available_permits())
    }

    /// How many were turned away since the start.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// How many of those have no audit event.
    pub fn untold(&self) -> u64 {
        self.untold.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
