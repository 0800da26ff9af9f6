//! What a condition asks for and what it found, for people.

use attache_core::event::ConditionOutcome;
use jiff::tz::TimeZone;

use super::check::{Check, Standing, Subject};
use crate::condition::{Condition, Facts, Schedule, Test, Window};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// One condition, held against the call.
pub(super) fn check(condition: &Condition, facts: &Facts<'_>) -> Check {
    let standing = match condition.read(facts).outcome {
        ConditionOutcome::Met => Standing::Holds,
        ConditionOutcome::NotMet => Standing::Fails,
        ConditionOutcome::Unavailable => Standing::Unknown,
    };
    let source = facts.context.source.map(|source| source.to_canonical());
    let (expected, actual) = match &condition.test {
        Test::Time(schedule) => (hours(schedule), clock(&schedule.zone, facts)),
        Test::Source(ranges) => {
            let ranges = ranges.0.iter().map(ToString::to_string);
            (
                alternatives(ranges),
                source.map(|source| source.to_string()),
            )
        }
        Test::Geography(countries) => {
            let codes = countries
                .0
                .iter()
                .map(|country| country.as_str().to_owned());
            let located = source.and_then(|source| facts.context.geography.locate(source));
            let actual = located.map(|location| location.country.as_str().to_owned());
            (alternatives(codes), actual)
        }
        Test::Expression(expression) => (expression.source().to_owned(), None),
    };
    Check {
        subject: Subject::Condition,
        name: Some(condition.name.to_string()),
        standing,
        expected,
        actual,
    }
}

/// Whether the condition may stand otherwise at another time. An expression may: it names the time, or has
/// a text of that spelling.
pub(super) fn reads_clock(condition: &Condition) -> bool {
    match &condition.test {
        Test::Time(_) => true,
        Test::Source(_) | Test::Geography(_) => false,
        Test::Expression(expression) => expression.source().contains("now"),
    }
}

/// `mon, tue 08:00 to 18:00, from 2026-01-01, Europe/Berlin`.
fn hours(schedule: &Schedule) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !schedule.windows.is_empty() {
        parts.push(alternatives(schedule.windows.iter().map(window)));
    }
    parts.extend(
        schedule
            .first_day
            .map(|day| format!("not before {}", date(day))),
    );
    parts.extend(
        schedule
            .last_day
            .map(|day| format!("not after {}", date(day))),
    );
    let zone = schedule.zone.iana_name().unwrap_or("UTC");
    format!("{} {zone}", parts.join(", "))
}

fn window(window: &Window) -> String {
    let days = DAYS.iter().enumerate();
    let days = days.filter(|(day, _)| window.days & (1 << day) != 0);
    let days: Vec<&str> = days.map(|(_, name)| *name).collect();
    format!(
        "{} {} to {}",
        days.join(", "),
        time(window.from),
        time(window.to)
    )
}

fn time(seconds: i64) -> String {
    let minutes = seconds.div_euclid(60);
    format!(
        "{:02}:{:02}",
        minutes.div_euclid(60),
        minutes.rem_euclid(60)
    )
}

fn date(day: i64) -> String {
    let midnight = jiff::Timestamp::from_second(day.saturating_mul(86_400));
    midnight.map_or_else(
        |_out_of_range| format!("day {day}"),
        |midnight| TimeZone::UTC.to_datetime(midnight).date().to_string(),
    )
}

/// What the clock on the wall shows: `mon 2026-06-15 17:59`.
fn clock(zone: &TimeZone, facts: &Facts<'_>) -> Option<String> {
    let now = jiff::Timestamp::from_second(facts.context.now.as_seconds()).ok()?;
    let shown = zone.to_datetime(now);
    let weekday = usize::try_from(shown.weekday().to_monday_zero_offset()).ok()?;
    let day = DAYS.get(weekday)?;
    Some(format!(
        "{day} {} {:02}:{:02}",
        shown.date(),
        shown.hour(),
        shown.minute()
    ))
}

fn alternatives(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" or ")
}
