//! When a credential is fetched again: ahead of its end, or after a failure; always with jitter, so that a fleet does
//! not call in step.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use attache_core::{freshness::Lifetime, time::Timestamp};
use tokio::time::Instant;

use crate::provider::NotObtained;

/// After the first failure.
const SHORTEST: Duration = Duration::from_millis(500);
/// However often it failed, so that a provider that is back is used within seconds.
const LONGEST: Duration = Duration::from_secs(5);
/// Longest pause that a provider can ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);
/// For how long after the pause it is remembered that there was one.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// A refresh is due this part of a lifetime before 80 % of it at the earliest, as a divisor.
const EARLIEST: u32 = 20;

/// Fetches of one key that failed, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    count: u32,
    until: Instant,
    why: NotObtained,
}

impl Failing {
    /// One failure more.
    pub(super) fn after(before: Option<Self>, why: NotObtained) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        Self {
            count,
            until: Instant::now() + after_failures(count, why.retry_after),
            why,
        }
    }

    /// What is left of the pause, if something is.
    pub(super) fn pause_left(self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Whether it is still worth its memory.
    pub(super) fn is_recent(&self) -> bool {
        Instant::now().saturating_duration_since(self.until) < FORGOTTEN
    }

    /// What those are told who waited for it.
    pub(super) fn told(self) -> NotObtained {
        let retry_after = self.pause_left();
        NotObtained {
            cause: self.why.cause,
            retry_after,
        }
    }

    /// How the newest one failed, where another is under way.
    pub(super) const fn known(self) -> NotObtained {
        NotObtained {
            cause: self.why.cause,
            retry_after: None,
        }
    }

    /// What a caller is told for whom nothing is asked.
    pub(super) const fn why(self, left: Duration) -> NotObtained {
        NotObtained {
            cause: self.why.cause,
            retry_after: Some(left),
        }
    }
}

/// The pause after so many failures in a row; a longer one if somebody asked for it.
pub(crate) fn after_failures(count: u32, asked: Option<Duration>) -> Duration {
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    jittered(growing(count), random()).max(asked)
}

/// Shortens `pause` by up to a fifth, another part each time.
pub(crate) fn jittered_by_a_fifth(pause: Duration) -> Duration {
    jittered(pause, random())
}

/// 0.5 s, 1 s, 2 s, 4 s, 5 s.
fn growing(count: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(count.saturating_sub(1))
        .unwrap_or(u32::MAX);
    SHORTEST.saturating_mul(doubled).min(LONGEST)
}

/// Shortens `pause` by up to a fifth.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause.saturating_sub(share(pause / 5, random))
}

/// When the successor of what has this lifetime is fetched.
pub(super) fn refresh_at(lifetime: Lifetime) -> Timestamp {
    refresh_with(lifetime, random())
}

fn refresh_with(lifetime: Lifetime, random: u8) -> Timestamp {
    let latest = lifetime.refresh_at().since(lifetime.issued_at);
    let whole = lifetime.expires_at.since(lifetime.issued_at);
    lifetime
        .issued_at
        .plus(latest.saturating_sub(share(whole / EARLIEST, random)))
}

/// The part of `duration` that `random` of 255 is.
fn share(duration: Duration, random: u8) -> Duration {
    duration / 255 * u32::from(random)
}

/// Not for secrets: the standard library seeds the hashes of its maps with it.
fn random() -> u8 {
    let [byte, ..] = RandomState::new().hash_one(()).to_le_bytes();
    byte
}

#[cfg(test)]
mod tests;
