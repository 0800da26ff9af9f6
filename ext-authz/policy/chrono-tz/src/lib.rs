//! One database of time zones in one program.
//!
//! `cel-core` asks the crate `chrono-tz` for the zone of `now.getHours("America/Vancouver")`. Conditions of the kind
//! `time` ask jiff. The two bring the IANA database in editions of their own, and between 2025b and 2026f the clocks of
//! Vancouver, Winnipeg and Casablanca differ by an hour. So this crate takes the place of `chrono-tz` (`[patch.crates-io]`
//! in the workspace's `Cargo.toml`): the part of it that `cel-core` uses, on jiff's database.

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use chrono::{
    Datelike as _, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset as _,
    TimeZone, Timelike as _, Utc,
};
use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{self, AmbiguousOffset, TimeZoneDatabase},
};

/// A time zone of the IANA database.
#[derive(Clone, Debug)]
pub struct Tz(tz::TimeZone);

/// Zones by name, at most as many as the database has.
static READ: RwLock<BTreeMap<String, tz::TimeZone>> = RwLock::new(BTreeMap::new());

/// The text is no name of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError;

impl FromStr for Tz {
    type Err = ParseError;

    /// A zone by its name, in the database's own case. It is read once, for an expression asks at each call.
    fn from_str(name: &str) -> Result<Self, ParseError> {
        if let Some(known) = READ
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
        {
            return Ok(Self(known.clone()));
        }
        let zone = TimeZoneDatabase::bundled()
            .get(name)
            .ok()
            .filter(|zone| !zone.is_unknown() && zone.iana_name() == Some(name))
            .ok_or(ParseError)?;
        let mut read = READ.write().unwrap_or_else(PoisonError::into_inner);
        read.insert(name.to_owned(), zone.clone());
        Ok(Self(zone))
    }
}

impl TimeZone for Tz {
    type Offset = FixedOffset;

    /// A zone that is always at `offset`.
    fn from_offset(offset: &FixedOffset) -> Self {
        let offset = tz::Offset::from_seconds(offset.local_minus_utc());
        Self(offset.map_or(tz::TimeZone::UTC, tz::Offset::to_time_zone))
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    /// None for a time that a clock which is put forward leaves out, and for years that jiff does not know.
    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        let Some(local) = civil(local) else {
            return MappedLocalTime::None;
        };
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => MappedLocalTime::Single(fixed(offset)),
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
            AmbiguousOffset::Fold { before, after } => {
                MappedLocalTime::Ambiguous(fixed(before), fixed(after))
            }
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    /// Beyond jiff's times (the years -9999 to 9999, two days less) as at the nearest of them.
    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        let second = utc.and_utc().timestamp();
        let nearest = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        fixed(
            self.0
                .to_offset(Timestamp::from_second(nearest).unwrap_or_default()),
        )
    }
}

/// UTC instead of an offset of a day and more, which no zone has.
fn fixed(offset: tz::Offset) -> FixedOffset {
    FixedOffset::east_opt(offset.seconds()).unwrap_or_else(|| Utc.fix())
}

fn civil(local: &NaiveDateTime) -> Option<DateTime> {
    let small = |number: u32| i8::try_from(number).ok();
    DateTime::new(
        i16::try_from(local.year()).ok()?,
        small(local.month())?,
        small(local.day())?,
        small(local.hour())?,
        small(local.minute())?,
        small(local.second())?,
        0,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, MappedLocalTime, TimeZone as _};

    use super::Tz;

    fn local(zone: &str, utc: &str) -> String {
        let zone: Tz = zone.parse().expect("a zone");
        let utc = DateTime::parse_from_rfc3339(utc).expect("a time");
        utc.with_timezone(&zone).to_rfc3339()
    }

    #[test]
    fn a_zone_is_as_the_edition_of_jiff_has_it() {
        // Not put back in November 2026, nor ever after (2026b and later).
        assert_eq!(
            local("America/Vancouver", "2026-12-01T12:00:00Z"),
            "2026-12-01T05:00:00-07:00"
        );
        assert_eq!(
            local("Europe/Berlin", "2026-12-01T12:00:00Z"),
            "2026-12-01T13:00:00+01:00"
        );
        assert_eq!(
            local("Europe/Berlin", "2026-07-01T12:00:00Z"),
            "2026-07-01T14:00:00+02:00"
        );
    }

    #[test]
    fn the_ends_of_time_have_an_offset() {
        assert_eq!(
            local("Asia/Tokyo", "9999-12-31T12:00:00Z"),
            "9999-12-31T21:00:00+09:00"
        );
        assert_eq!(
            local("Asia/Tokyo", "0001-01-01T00:00:00Z").get(..4),
            Some("0001")
        );
        let tokyo: Tz = "Asia/Tokyo".parse().expect("a zone");
        let farthest = chrono::NaiveDateTime::MAX;
        assert_eq!(
            tokyo.offset_from_utc_datetime(&farthest).local_minus_utc(),
            9 * 3600
        );
        assert_eq!(
            tokyo.offset_from_local_datetime(&farthest),
            MappedLocalTime::None
        );
    }

    #[test]
    fn a_time_may_be_there_once_twice_or_never() {
        let berlin: Tz = "Europe/Berlin".parse().expect("a zone");
        let at = |text: &str| {
            let local = text.parse().expect("a time");
            berlin
                .offset_from_local_datetime(&local)
                .map(|offset| offset.local_minus_utc() / 3600)
        };
        assert_eq!(at("2026-03-29T01:30:00"), MappedLocalTime::Single(1));
        assert_eq!(at("2026-03-29T02:30:00"), MappedLocalTime::None);
        assert_eq!(at("2026-10-25T02:30:00"), MappedLocalTime::Ambiguous(2, 1));
        let back = Tz::from_offset(&chrono::FixedOffset::east_opt(5400).expect("an offset"));
        assert_eq!(
            back.offset_from_utc_date(&chrono::NaiveDate::MIN)
                .local_minus_utc(),
            5400
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "Nowhere/X",
            "europe/berlin",
            "Etc/Unknown",
            "+01:00",
            "CEST",
            "../UTC",
        ] {
            assert!(text.parse::<Tz>().is_err(), "{text}");
        }
        assert!("UTC".parse::<Tz>().is_ok());
    }
}
