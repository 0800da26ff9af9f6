use std::net::IpAddr;

use attache_core::event::ConditionOutcome::{Met, NotMet, Unavailable};
use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;
use crate::context::{Country, Geography, Location};

fn instant(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().expect("an instant");
    Timestamp::from_millis(instant.as_millisecond())
}

fn schedule(zone: &str, windows: &[(u8, &str, &str)]) -> Schedule {
    let seconds = |text: &str| {
        let (hours, minutes) = text.split_once(':').expect("HH:MM");
        hours.parse::<i64>().unwrap() * 3600 + minutes.parse::<i64>().unwrap() * 60
    };
    let windows = windows.iter().map(|(days, from, to)| Window {
        days: *days,
        from: seconds(from),
        to: seconds(to),
    });
    Schedule {
        zone: TimeZoneDatabase::bundled().get(zone).expect("a zone"),
        windows: windows.collect(),
        first_day: None,
        last_day: None,
    }
}

const WEEKDAYS: u8 = 0b001_1111;
const FRIDAY: u8 = 0b001_0000;
const SUNDAY: u8 = 0b100_0000;
const EVERY_DAY: u8 = 0b111_1111;

fn open(schedule: &Schedule, at: &str) -> bool {
    match schedule.read(instant(at)).0 {
        Met => true,
        NotMet => false,
        Unavailable => panic!("not known at {at}"),
    }
}

#[test]
fn a_window_is_open_by_the_clock_on_the_wall_of_its_zone() {
    let office = schedule("Europe/Berlin", &[(WEEKDAYS, "08:00", "18:00")]);
    for (at, is_open) in [
        // Winter: one hour ahead of UTC. Thursday.
        ("2026-01-15T06:59:59.999Z", false),
        ("2026-01-15T07:00:00Z", true),
        ("2026-01-15T16:59:59.999Z", true),
        ("2026-01-15T17:00:00Z", false),
        // Summer: two hours ahead.
        ("2026-07-16T05:59:59.999Z", false),
        ("2026-07-16T06:00:00Z", true),
        ("2026-07-16T15:59:59.999Z", true),
        ("2026-07-16T16:00:00Z", false),
        // A Saturday and a Sunday; Monday begins in Berlin while it is Sunday in UTC.
        ("2026-07-18T10:00:00Z", false),
        ("2026-07-19T10:00:00Z", false),
    ] {
        assert_eq!(open(&office, at), is_open, "{at}");
    }
    let monday = schedule("Asia/Tokyo", &[(1, "00:00", "24:00")]);
    assert!(!open(&monday, "2026-07-19T14:59:59Z"));
    assert!(open(&monday, "2026-07-19T15:00:00Z"));
    assert!(open(&monday, "2026-07-20T14:59:59Z"));
    assert!(!open(&monday, "2026-07-20T15:00:00Z"));
}

#[test]
fn a_window_that_ends_before_it_begins_is_the_night_after_its_day() {
    let night = schedule("America/New_York", &[(FRIDAY, "22:00", "06:00")]);
    for (at, is_open) in [
        ("2026-07-17T05:00:00Z", false), // Friday 01:00: that is Thursday's night
        ("2026-07-18T01:59:59Z", false), // Friday 21:59
        ("2026-07-18T02:00:00Z", true),  // Friday 22:00
        ("2026-07-18T09:59:59Z", true),  // Saturday 05:59
        ("2026-07-18T10:00:00Z", false), // Saturday 06:00
        ("2026-07-19T02:30:00Z", false), // Saturday 22:30
    ] {
        assert_eq!(open(&night, at), is_open, "{at}");
    }
    let sunday = schedule("UTC", &[(SUNDAY, "23:00", "01:00")]);
    assert!(open(&sunday, "2026-07-20T00:30:00Z"));
    assert!(!open(&sunday, "2026-07-19T00:30:00Z"));
}

#[test]
fn an_hour_that_is_skipped_is_in_no_window_and_one_that_comes_twice_is_in_it_both_times() {
    let early = schedule("Europe/Berlin", &[(SUNDAY, "02:15", "03:15")]);
    for (at, is_open) in [
        // 2026-03-29: after 01:59:59 comes 03:00.
        ("2026-03-29T00:59:59Z", false),
        ("2026-03-29T01:00:00Z", true),
        ("2026-03-29T01:14:59Z", true),
        ("2026-03-29T01:15:00Z", false),
        // 2026-10-25: after 02:59:59 comes 02:00 again.
        ("2026-10-25T00:14:59Z", false),
        ("2026-10-25T00:15:00Z", true),
        ("2026-10-25T00:59:59Z", true),
        ("2026-10-25T01:00:00Z", false),
        ("2026-10-25T01:14:59Z", false),
        ("2026-10-25T01:15:00Z", true),
        ("2026-10-25T02:14:59Z", true),
        ("2026-10-25T02:15:00Z", false),
    ] {
        assert_eq!(open(&early, at), is_open, "{at}");
    }
}

#[test]
fn days_count_from_midnight_to_midnight_in_the_zone() {
    let day = |text: &str| day_number(text.parse().expect("a date"));
    let year = Schedule {
        first_day: day("2026-03-29"),
        last_day: day("2026-12-31"),
        ..schedule("Pacific/Kiritimati", &[])
    };
    for (at, is_open) in [
        ("2026-03-28T09:59:59Z", false),
        ("2026-03-28T10:00:00Z", true),
        ("2026-12-31T09:59:59Z", true),
        ("2026-12-31T10:00:00Z", false),
    ] {
        assert_eq!(open(&year, at), is_open, "{at}");
    }
}

#[test]
fn a_schedule_says_until_when_it_stays_as_it_is() {
    let office = schedule("Europe/Berlin", &[(WEEKDAYS, "08:00", "18:00")]);
    let early = schedule("Europe/Berlin", &[(SUNDAY, "02:15", "03:15")]);
    for (schedule, at, until) in [
        // No longer than any answer is kept.
        (
            &office,
            "2026-01-15T12:00:00.250Z",
            "2026-01-15T12:05:00.250Z",
        ),
        // It closes, it opens, a day begins.
        (&office, "2026-01-15T16:58:00.250Z", "2026-01-15T17:00:00Z"),
        (&office, "2026-01-15T06:57:00Z", "2026-01-15T07:00:00Z"),
        (&office, "2026-01-15T22:59:59.999Z", "2026-01-15T23:00:00Z"),
        // The clock on the wall jumps, and the window is open at once or no longer.
        (&early, "2026-03-29T00:58:00Z", "2026-03-29T01:00:00Z"),
        (&early, "2026-10-25T00:58:00Z", "2026-10-25T01:00:00Z"),
    ] {
        let (_, horizon) = schedule.read(instant(at));
        assert_eq!(horizon.until, instant(until), "{at}");
        assert!(!horizon.once);
    }
}

#[test]
fn a_time_that_no_zone_knows_is_not_decided() {
    let always = schedule("UTC", &[(EVERY_DAY, "00:00", "24:00")]);
    for now in [i64::MIN, i64::MAX] {
        let (outcome, horizon) = always.read(Timestamp::from_millis(now));
        assert_eq!(outcome, Unavailable);
        assert!(horizon.once);
    }
}

#[test]
fn a_window_that_its_days_or_its_zone_leave_out_never_opens() {
    let days = |first: &str, last: &str, schedule| {
        let day = |text: &str| day_number(text.parse().expect("a date"));
        Schedule {
            first_day: day(first),
            last_day: day(last),
            ..schedule
        }
    };
    let sundays = || schedule("Europe/Berlin", &[(SUNDAY, "02:15", "02:45")]);
    for (schedule, opens) in [
        (sundays(), true),
        (days("2026-03-01", "2026-12-31", sundays()), true),
        // A Monday to a Saturday, and a Sunday on which 02:00 to 03:00 does not exist.
        (days("2026-03-23", "2026-03-28", sundays()), false),
        (days("2026-03-29", "2026-03-29", sundays()), false),
        (days("2026-03-22", "2026-03-29", sundays()), true),
        // The night of a day before the first one.
        (
            days(
                "2026-03-23",
                "2026-03-23",
                schedule("UTC", &[(SUNDAY, "23:00", "01:00")]),
            ),
            true,
        ),
        (
            days("2026-03-24", "2026-03-23", schedule("UTC", &[])),
            false,
        ),
        (days("2026-03-24", "2025-03-23", sundays()), false),
        (days("2026-03-23", "2026-03-23", schedule("UTC", &[])), true),
    ] {
        assert_eq!(schedule.ever_opens(), opens, "{schedule:?}");
    }
}

proptest! {
    #[test]
    fn nothing_changes_before_a_schedule_says_so(
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"]),
        windows in prop::collection::vec((any::<u8>(), 0..1440_i64, 1..=1440_i64), 1..4),
        year in 0..40_000_i64,
        second in 0..86_400_i64,
        steps in prop::collection::vec(0..1000_i64, 20),
    ) {
        let windows = windows.iter().map(|(days, from, to)| Window { days: *days, from: from * 60, to: to * 60 });
        let schedule = Schedule { windows: windows.collect(), ..schedule(zone, &[]) };
        let now = Timestamp::from_seconds(year * 86_400 + second);
        let (outcome, horizon) = schedule.read(now);
        prop_assert!(horizon.until > now);
        let kept = horizon.until.as_millis() - now.as_millis();
        for step in steps {
            let later = Timestamp::from_millis(now.as_millis() + step * kept / 1000);
            prop_assert_eq!(schedule.read(later).0, outcome, "{} {}", now, later);
        }
    }
}

#[test]
fn an_ipv4_address_is_in_its_range_however_it_is_written() {
    let ranges = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
    let ranges = Ranges(ranges.map(|range| range.parse().expect("a range")).into());
    for (source, outcome) in [
        (Some("10.255.0.1"), Met),
        (Some("::ffff:10.255.0.1"), Met),
        (Some("192.0.2.7"), Met),
        (Some("192.0.2.8"), NotMet),
        (Some("11.0.0.0"), NotMet),
        (Some("2001:db8:ffff::1"), Met),
        (Some("2001:db9::"), NotMet),
        // Not compatible addresses of the IPv6 past: this is no IPv4 address.
        (Some("::10.0.0.1"), NotMet),
        (None, Unavailable),
    ] {
        let address = source.map(|text| text.parse::<IpAddr>().expect("an address"));
        assert_eq!(ranges.read(address), outcome, "{source:?}");
    }
}

struct Germany {
    good_until: Timestamp,
}

impl Geography for Germany {
    fn locate(&self, address: IpAddr) -> Option<Location> {
        let country = Country::parse("DE")?;
        let good_until = self.good_until;
        (address == IpAddr::from([10, 0, 0, 1])).then_some(Location {
            country,
            good_until,
        })
    }
}

#[test]
fn an_unknown_country_and_one_known_for_too_long_are_not_decided() {
    let countries = |codes: &[&str]| {
        let codes = codes
            .iter()
            .map(|code| Country::parse(code).expect("a code"));
        Countries(codes.collect())
    };
    let now = instant("2026-01-15T12:00:00Z");
    let later = instant("2026-01-15T12:01:00Z");
    let read = |countries: &Countries, source: Option<&str>, good_until| {
        let context = Context {
            source: source.map(|text| text.parse().expect("an address")),
            geography: &Germany { good_until },
            ..Context::at(now)
        };
        let once = Horizon {
            once: true,
            ..Horizon::longest(now)
        };
        countries.read(&context, once)
    };
    let (here, there) = (countries(&["FR", "DE"]), countries(&["FR"]));
    assert_eq!(read(&here, Some("10.0.0.1"), later).0, Met);
    assert_eq!(read(&here, Some("::ffff:10.0.0.1"), later).0, Met);
    assert_eq!(read(&there, Some("10.0.0.1"), later).0, NotMet);
    for (source, good_until) in [
        (None, later),
        (Some("10.0.0.2"), later),
        (Some("10.0.0.1"), now),
    ] {
        assert_eq!(read(&here, source, good_until).0, Unavailable, "{source:?}");
        assert_eq!(
            read(&there, source, good_until).0,
            Unavailable,
            "{source:?}"
        );
    }
    assert_eq!(read(&here, Some("10.0.0.1"), later).1.until, later);
}

#[test]
fn there_are_the_249_countries_of_iso_3166_and_kosovo() {
    let codes: Vec<_> = Countries::known().collect();
    assert_eq!(codes.len(), 250);
    assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(codes.iter().all(|code| Country::parse(code).is_some()));
    for code in ["de", "D", "DEU", "", "D1", "ÄÖ"] {
        assert_eq!(Country::parse(code), None, "{code}");
    }
}
