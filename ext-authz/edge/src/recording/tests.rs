use std::time::Duration;

use tokio::time::Instant;

use super::{Followed, PATIENCE};
use crate::{journal::JournalStatus, readiness::Readiness};

fn status(written: u64, queued: usize, failing: Option<&str>) -> JournalStatus {
    JournalStatus {
        written,
        coalesced: 0,
        refused: 0,
        queued,
        lost: 0,
        repaired: 0,
        failing: failing.map(str::to_owned),
        last_error: None,
        segments: 1,
        bytes: 0,
    }
}

#[test]
fn a_journal_that_fails_blocks_readiness_by_its_reason_and_frees_it_when_it_works() {
    let (readiness, now) = (Readiness::new(), Instant::now());
    let mut followed = Followed::new(readiness.clone(), now);
    followed.look(&status(1, 0, None), now);
    assert!(readiness.blocked_by().is_empty());
    for reason in ["disk full", "disk full", "read-only"] {
        followed.look(&status(1, 0, Some(reason)), now);
        assert_eq!(readiness.blocked_by(), [format!("audit: {reason}")]);
    }
    followed.look(&status(1, 0, None), now);
    assert!(readiness.blocked_by().is_empty());
}

#[test]
fn a_reason_that_changes_never_lets_a_ready_edge_be_seen() {
    let (readiness, now) = (Readiness::new(), Instant::now());
    let mut ready = readiness.watch();
    let mut followed = Followed::new(readiness, now);
    followed.look(&status(1, 0, Some("one")), now);
    assert!(!*ready.borrow_and_update());
    followed.look(&status(1, 0, Some("other")), now);
    assert!(!*ready.borrow_and_update());
}

#[test]
fn events_that_wait_while_none_is_written_are_a_disk_that_hangs() {
    let (readiness, start) = (Readiness::new(), Instant::now());
    let mut followed = Followed::new(readiness.clone(), start);
    let at = |after: Duration| start + after;
    followed.look(&status(1, 5, None), at(Duration::ZERO));
    // Slow is not hung.
    followed.look(&status(2, 5, None), at(PATIENCE));
    followed.look(&status(2, 5, None), at(PATIENCE + PATIENCE / 2));
    assert!(readiness.blocked_by().is_empty());
    followed.look(&status(2, 5, None), at(PATIENCE * 2));
    assert_eq!(readiness.blocked_by().len(), 1);
    assert!(readiness.blocked_by()[0].starts_with("audit: "));
    followed.look(&status(3, 4, None), at(PATIENCE * 3));
    assert!(readiness.blocked_by().is_empty());
    // Nothing waits, so nothing need be written.
    followed.look(&status(3, 0, None), at(PATIENCE * 9));
    followed.look(&status(3, 1, None), at(PATIENCE * 9));
    assert!(readiness.blocked_by().is_empty());
}
