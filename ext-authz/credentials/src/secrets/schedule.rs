//! When a secret of the Vault is read again, and for how long it serves without that: a Vault that is away takes
//! nothing from anybody for a while, and one that says no takes it at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::cache::pause;

/// Of one secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// When it is asked for next.
    due: Instant,
    /// Until when what was read last serves; `None` if there is nothing.
    serves_until: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// It was read: it is read again before `lease` is over, and serves for `keep` if that fails.
    pub(super) fn read(now: Instant, lease: Duration, keep: Duration) -> Self {
        Self {
            due: now + pause::jittered_by_a_fifth(lease),
            serves_until: Some(now + keep.max(lease)),
            failures: 0,
        }
    }

    /// The Vault did not answer; what there was serves on until its end.
    pub(super) fn away(before: Option<Self>, now: Instant, asked: Option<Duration>) -> Self {
        let failures = before.map_or(0, |it| it.failures).saturating_add(1);
        Self {
            due: now + pause::after_failures(failures, asked),
            serves_until: before.and_then(|it| it.serves_until),
            failures,
        }
    }

    /// The Vault answered, and does not give it.
    pub(super) fn refused(before: Option<Self>, now: Instant, asked: Option<Duration>) -> Self {
        Self {
            serves_until: None,
            ..Self::away(before, now, asked)
        }
    }

    pub(super) fn serves(&self, now: Instant) -> bool {
        self.serves_until.is_some_and(|end| now < end)
    }

    /// For how long what there is serves on.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let end = self.serves_until.unwrap_or(now);
        end.saturating_duration_since(now)
    }

    /// What is left until it is asked for again, if something is.
    pub(super) fn pause_left(&self, now: Instant) -> Option<Duration> {
        let left = self.due.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}
