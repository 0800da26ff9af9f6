//! Events that were accepted with a promise, so that nobody waits for them: lines, as they will stand in the file. Whoever
//! accepts one makes its line, while it is at hand; what is carried from thread to thread is bytes.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    counters::{Counters, lock},
    family::{Family, PerFamily},
    writer::MAX_COMMIT_BYTES,
};

/// Lines that wait to be written, in the order in which they were promised.
pub(super) struct Promises {
    waiting: Mutex<Waiting>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Waiting {
    lines: PerFamily<VecDeque<Lines>>,
    /// Whether the writer knows that some wait.
    told: bool,
    /// Nobody will write any more.
    closed: bool,
}

/// Lines that are written at once.
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// How many events they are; 0 once they are written.
    count: u64,
    /// Their places in the bounded queue.
    places: OwnedSemaphorePermit,
    counters: Arc<Counters>,
}

/// What is to be done about a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The writer knows already that something waits.
    Nothing,
    /// The writer has to be told.
    Tell,
}

impl Promises {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            waiting: Mutex::default(),
            counters,
        }
    }

    /// Promises one line; `None` if nobody will write it.
    pub(super) fn give(
        &self,
        family: Family,
        line: Vec<u8>,
        place: OwnedSemaphorePermit,
    ) -> Option<Given> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return None;
        }
        let lines = waiting.lines.of(family);
        match lines.back_mut() {
            Some(last) if last.bytes.len().saturating_add(line.len()) <= MAX_COMMIT_BYTES => {
                last.add(&line, place);
            }
            Some(_) | None => lines.push_back(Lines {
                bytes: line,
                count: 1,
                places: place,
                counters: Arc::clone(&self.counters),
            }),
        }
        let told = mem::replace(&mut waiting.told, true);
        Some(if told { Given::Nothing } else { Given::Tell })
    }

    /// All that waits of a family. From now on the writer must be told of more.
    pub(super) fn take(&self, family: Family) -> VecDeque<Lines> {
        let mut waiting = self.waiting();
        waiting.told = false;
        mem::take(waiting.lines.of(family))
    }

    /// They could not be written, and are the first ones again.
    pub(super) fn put_back(&self, family: Family, mut lines: VecDeque<Lines>) {
        let mut waiting = self.waiting();
        let since = waiting.lines.of(family);
        lines.append(since);
        *since = lines;
    }

    /// How many events wait.
    pub(super) fn count(&self) -> u64 {
        let waiting = self.waiting();
        let lines = waiting.lines.iter().flatten();
        lines.map(|lines| lines.count).sum()
    }

    /// Nobody will write any more: what waits is lost, that is how many events.
    pub(super) fn close(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let lost = mem::take(&mut waiting.lines);
        lost.iter().flatten().map(|lines| lines.count).sum()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

impl Lines {
    fn add(&mut self, line: &[u8], place: OwnedSemaphorePermit) {
        self.bytes.extend_from_slice(line);
        self.count = self.count.saturating_add(1);
        self.places.merge(place);
    }

    /// Whole lines.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// They are written: how many events that are.
    pub(super) fn kept(mut self) -> u64 {
        mem::replace(&mut self.count, 0)
    }
}

/// Promises that are not kept are told of.
impl Drop for Lines {
    fn drop(&mut self) {
        self.counters.lost.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
