//! The one place that reads the wall clock and the system's randomness; everything below `edge` and
//! `control` takes them as arguments.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use attache_core::time::Timestamp;
use aws_lc_rs::rand;
use compact_str::CompactString;

/// The wall clock, in milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the process's one reading of the clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The wall clock, in nanoseconds since 1970, for the spans of traces: those of a call are shorter than a
/// millisecond.
#[expect(
    clippy::disallowed_methods,
    reason = "the same clock, read finer; nothing is decided by it"
)]
pub(crate) fn unix_nanos() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// A fresh event id. Without randomness the id still tells the time, and events stay apart by their
/// other fields; no secret depends on it.
pub(crate) fn event_id(now: Timestamp) -> CompactString {
    attache_core::id::event_id(now, RANDOM.with_borrow_mut(Random::next)).into()
}

/// What makes an id its own, in bytes.
const ID: usize = 10;

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [0; 32 * ID], left: 0 }) };
}

/// Random bytes, asked for in pieces: to ask for a few costs as much as to ask for many.
struct Random {
    bytes: [u8; 32 * ID],
    /// Those at the front that nobody has.
    left: usize,
}

impl Random {
    fn next(&mut self) -> [u8; ID] {
        if self.left < ID {
            // aws-lc aborts the process rather than return weak randomness, so the result says nothing more.
            let _ = rand::fill(&mut self.bytes);
            self.left = self.bytes.len();
        }
        let unused = self.bytes.get(..self.left).unwrap_or_default();
        let last = unused.last_chunk().copied().unwrap_or_default();
        self.left = self.left.saturating_sub(ID);
        last
    }
}

#[cfg(test)]
mod tests;
