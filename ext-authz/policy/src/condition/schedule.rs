//! Time windows: open while the clock on the wall of a time zone shows a time inside. An hour that a
//! zone skips is in no window; an hour that it repeats is in a window both times.

use attache_core::{event::ConditionOutcome, scope::MAX_VALIDITY, time::Timestamp};
use jiff::{
    civil::{Date, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use super::{Horizon, met};

const DAY: i64 = 86_400;

/// Windows in a time zone. No window at all: any time of its days.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) zone: TimeZone,
    pub(crate) windows: Box<[Window]>,
    /// First and last day in the zone, counted from 1970-01-01.
    pub(crate) first_day: Option<i64>,
    pub(crate) last_day: Option<i64>,
}

/// A time of day on some weekdays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bit 0 is Monday.
    pub(crate) days: u8,
    /// Seconds since midnight, 0 to 86,399.
    pub(crate) from: i64,
    /// The first second that is outside, 1 to 86,400. If it is not after `from`, it is the next day's.
    pub(crate) to: i64,
}

impl Schedule {
    pub(super) fn read(&self, now: Timestamp) -> (ConditionOutcome, Horizon) {
        let longest = Horizon::longest(now);
        let Some(local) = self.local(now) else {
            // Outside of the years that a time zone knows.
            let once = Horizon {
                once: true,
                ..longest
            };
            return (ConditionOutcome::Unavailable, once);
        };
        let until = self.unchanged_until(now, local).min(longest.until);
        (met(self.open_at(local)), Horizon { until, ..longest })
    }

    /// What the clock on the wall shows, in seconds since its 1970-01-01 00:00.
    fn local(&self, now: Timestamp) -> Option<i64> {
        let instant = jiff::Timestamp::from_second(now.as_seconds()).ok()?;
        let offset = i64::from(self.zone.to_offset(instant).seconds());
        now.as_seconds().checked_add(offset)
    }

    fn open_at(&self, local: i64) -> bool {
        let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let within = self.first_day.is_none_or(|first| first <= day)
            && self.last_day.is_none_or(|last| day <= last);
        within
            && (self.windows.is_empty()
                || self
                    .windows
                    .iter()
                    .any(|window| window.open_at(day, second)))
    }

    /// No later than the first change after `now`. Looks no further than answers are kept.
    fn unchanged_until(&self, now: Timestamp, local: i64) -> Timestamp {
        let second = local.rem_euclid(DAY);
        let edges = self
            .windows
            .iter()
            .flat_map(|window| [window.from, window.to]);
        let next = edges
            .filter(|edge| *edge > second)
            .min()
            .unwrap_or(DAY)
            .min(DAY);
        let whole = now.as_seconds();
        let edge = Timestamp::from_seconds(whole.saturating_add(next.saturating_sub(second)));
        let seen = edge.min(now.plus(MAX_VALIDITY));
        // Only while the zone keeps its offset, the clock on the wall runs evenly.
        let (Ok(here), Ok(there)) = (
            jiff::Timestamp::from_second(whole),
            jiff::Timestamp::from_second(seen.as_seconds()),
        ) else {
            return now;
        };
        if self.zone.to_offset(here) == self.zone.to_offset(there) {
            return seen;
        }
        let change = self.zone.following(here).next();
        change.map_or(now, |change| {
            Timestamp::from_millis(change.timestamp().as_millisecond()).min(seen)
        })
    }

    /// Whether there is a moment at which it is open. A zone may skip a whole window.
    pub(crate) fn ever_opens(&self) -> bool {
        let (Some(first), Some(last)) = (self.first_day, self.last_day) else {
            return true;
        };
        if self.windows.is_empty() || last.saturating_sub(first) > 14 {
            return first <= last;
        }
        (first..=last).any(|day| {
            let minutes = (0..DAY).step_by(60);
            minutes
                .map(|second| day.saturating_mul(DAY).saturating_add(second))
                .any(|local| self.open_at(local) && self.exists(local))
        })
    }

    /// Whether the clock on the wall ever shows `local`.
    fn exists(&self, local: i64) -> bool {
        let Ok(as_utc) = jiff::Timestamp::from_second(local) else {
            return false;
        };
        let civil = TimeZone::UTC.to_datetime(as_utc);
        let offset = self.zone.to_ambiguous_timestamp(civil).offset();
        !matches!(offset, AmbiguousOffset::Gap { .. })
    }
}

impl Window {
    fn open_at(self, day: i64, second: i64) -> bool {
        if self.from < self.to {
            return self.is_on(day) && (self.from..self.to).contains(&second);
        }
        // It begins on a day of its own and ends on the next, whichever that is.
        (self.is_on(day) && second >= self.from)
            || (self.is_on(day.saturating_sub(1)) && second < self.to)
    }

    fn is_on(self, day: i64) -> bool {
        // 1970-01-01 was a Thursday, three days after a Monday.
        let weekday = day.saturating_add(3).rem_euclid(7);
        self.days & (1 << weekday) != 0
    }

    /// The bit of a weekday in `days`.
    pub(crate) const fn bit(weekday: Weekday) -> u8 {
        1 << weekday.to_monday_zero_offset()
    }
}

/// Days since 1970-01-01.
pub(crate) fn day_number(date: Date) -> Option<i64> {
    let midnight = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(midnight.as_second().div_euclid(DAY))
}
