//! Which accesses of which reporter are in the journal already. Each is there once, however often it is
//! reported; numbers that were jumped over are told as lost, once, and are still taken if they come later.
//!
//! Bounded: of each listener at most [`MAX_EPOCHS`] reporters, and of each of them [`MAX_GAPS`] gaps.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use attache_core::time::Timestamp;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

#[cfg(test)]
mod tests;

/// Reporters of one listener that are known at once; beyond it, the one that was silent for longest is forgotten.
pub const MAX_EPOCHS: usize = 1024;
/// Gaps of one reporter that may still be filled; the oldest is closed for a new one.
const MAX_GAPS: usize = 32;

/// Bytes of an epoch.
pub(super) const EPOCH_BYTES: usize = 16;
/// The last number of an epoch.
pub(super) const MAX_SEQUENCE: u64 = i64::MAX as u64;

/// One life of one reporter, on one listener: what another listener says of it is another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EpochId {
    pub(super) listener: String,
    /// In hexadecimal digits, as in events.
    pub(super) epoch: String,
}

/// What is known of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    /// When it began, by its own word; `None` if it is known from the journal alone.
    pub(super) started_at: Option<Timestamp>,
    /// The highest number that was seen or told as lost.
    highest: u64,
    /// Numbers below it that never came, oldest first.
    gaps: VecDeque<Gap>,
}

/// Numbers that were jumped over: both are of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What to do with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is in the journal.
    Before,
    /// It is new.
    New,
}

impl Epoch {
    /// Whether `sequence` is in the journal.
    pub(super) fn saw(&self, sequence: u64) -> Seen {
        let missing = |gap: &Gap| (gap.first..=gap.last).contains(&sequence);
        if sequence > self.highest || self.gaps.iter().any(missing) {
            Seen::New
        } else {
            Seen::Before
        }
    }

    /// The numbers that `sequence` jumps over, if it does.
    pub(super) const fn jumped(&self, sequence: u64) -> Option<Gap> {
        let first = self.highest.saturating_add(1);
        if sequence > first {
            Some(Gap {
                first,
                last: sequence.saturating_sub(1),
            })
        } else {
            None
        }
    }

    /// `sequence` is in the journal now.
    pub(super) fn record(&mut self, sequence: u64) {
        if let Some(gap) = self.jumped(sequence) {
            self.lose(gap);
        }
        if sequence > self.highest {
            self.highest = sequence;
            return;
        }
        let place = self
            .gaps
            .iter()
            .position(|gap| (gap.first..=gap.last).contains(&sequence));
        let Some(gap) = place.and_then(|place| self.gaps.remove(place)) else {
            return;
        };
        if gap.first < sequence {
            self.open(Gap {
                first: gap.first,
                last: sequence.saturating_sub(1),
            });
        }
        if sequence < gap.last {
            self.open(Gap {
                first: sequence.saturating_add(1),
                last: gap.last,
            });
        }
    }

    /// The numbers of `gap`, which follow the highest one, are told as lost.
    pub(super) fn lose(&mut self, gap: Gap) {
        if gap.last > self.highest {
            self.highest = gap.last;
            self.open(gap);
        }
    }

    fn open(&mut self, gap: Gap) {
        if self.gaps.len() >= MAX_GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// An epoch of which the journal holds `sequence`, read in the order of the journal. What came before the
    /// first that is found was dealt with before what can be found.
    pub(super) fn recover(&mut self, first: u64, last: u64, is_lost: bool) {
        if self.highest == 0 {
            self.highest = first.saturating_sub(1);
        }
        if is_lost {
            self.lose(Gap { first, last });
        } else {
            self.record(first);
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Epochs(Mutex<Known>);

#[derive(Default)]
struct Known {
    epochs: HashMap<EpochId, Entry>,
    /// Counts looks, to find the one that was silent for longest.
    looks: u64,
}

struct Entry {
    epoch: Arc<Turn<Epoch>>,
    looked_at: u64,
}

impl Epochs {
    /// What is known of `id`, for one report at a time.
    pub(super) async fn turn(&self, id: EpochId) -> OwnedMutexGuard<Epoch> {
        let epoch = self.entry(id);
        epoch.lock_owned().await
    }

    /// Before anything is reported: what the journal holds.
    pub(super) fn recover(&self, id: EpochId, first: u64, last: u64, is_lost: bool) {
        let epoch = self.entry(id);
        // Nobody else has it yet.
        if let Ok(mut epoch) = epoch.try_lock() {
            epoch.recover(first, last, is_lost);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known().epochs.len()
    }

    fn entry(&self, id: EpochId) -> Arc<Turn<Epoch>> {
        let mut known = self.known();
        known.looks = known.looks.saturating_add(1);
        let looks = known.looks;
        if !known.epochs.contains_key(&id) {
            known.make_room(&id.listener);
        }
        let entry = known.epochs.entry(id).or_insert_with(|| Entry {
            epoch: Arc::default(),
            looked_at: looks,
        });
        entry.looked_at = looks;
        Arc::clone(&entry.epoch)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// SECURITY: for each listener by itself, so that no proxy pushes out what is known of another's.
    fn make_room(&mut self, listener: &str) {
        let own = self.epochs.iter().filter(|(id, _)| id.listener == listener);
        if own.clone().count() < MAX_EPOCHS {
            return;
        }
        // Nobody is at work on it.
        let idle = own.filter(|(_, entry)| Arc::strong_count(&entry.epoch) == 1);
        let oldest = idle.min_by_key(|(_, entry)| entry.looked_at);
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.epochs.remove(&id);
        }
    }
}
