//! When a cached answer may still be used. Shared by the filter's decisions and the server's tokens.

use core::time::Duration;

use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// The part of a lifetime after which its successor is fetched, in percent.
pub const REFRESH_AFTER_PERCENT: u32 = 80;

/// From when until when something is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The first moment at which it is no longer good.
    pub expires_at: Timestamp,
}

/// What may be done with it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and fetch its successor.
    RefreshDue,
    /// Never use it.
    Expired,
}

impl Lifetime {
    /// A lifetime of `ttl` that begins at `issued_at`.
    pub fn starting(issued_at: Timestamp, ttl: Duration) -> Self {
        Self {
            issued_at,
            expires_at: issued_at.plus(ttl),
        }
    }

    /// Whether it is good at `now`. Before `issued_at` (a clock that was set back) it counts as due.
    pub fn at(self, now: Timestamp) -> Freshness {
        if now >= self.expires_at {
            return Freshness::Expired;
        }
        if now < self.issued_at || now >= self.refresh_at() {
            return Freshness::RefreshDue;
        }
        Freshness::Fresh
    }

    /// When 80 % of the lifetime are over.
    pub fn refresh_at(self) -> Timestamp {
        let whole = self.expires_at.since(self.issued_at);
        let part = whole
            .checked_mul(REFRESH_AFTER_PERCENT)
            .and_then(|part| part.checked_div(100));
        self.issued_at.plus(part.unwrap_or(Duration::ZERO))
    }
}
