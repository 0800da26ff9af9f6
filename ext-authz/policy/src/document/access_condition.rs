//! `AccessCondition`: when, from where, or under what else a policy applies.

use ipnet::IpNet;
use jiff::{
    civil::{Date, Weekday},
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::{
    condition::{
        Condition, Countries, Expression, Ranges, RefusedExpression, Schedule, Test, Window,
        day_number,
    },
    context::Country,
    document::Specification,
    problem::{Code, Place, did_you_mean, quoted},
    yaml::{At, Fields},
};

/// What a condition may ask, one of these.
const KINDS: [&str; 4] = ["time", "source", "geography", "cel"];

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Reads a condition, ready to be decided by; `name` is the document's qualified one.
pub(super) fn lower(fields: Specification<'_, '_>, name: &str) -> Option<Condition> {
    let time = fields.optional("time", |at| time(&mut at.fields()?).map(Test::Time));
    let source = fields.optional("source", |at| ranges(&mut at.fields()?));
    let geography = fields.optional("geography", |at| countries(&mut at.fields()?));
    let cel = fields.optional("cel", expression);
    let written: Vec<Test> = [time?, source?, geography?, cel?]
        .into_iter()
        .flatten()
        .collect();
    let count = written.len();
    let (Some(test), 1) = (written.into_iter().next(), count) else {
        let message = format!("{count} of {} are written", KINDS.join(", "));
        let way_out = "write one; a policy may list several conditions, and all of them must hold";
        let code = if count == 0 {
            Code::MissingField
        } else {
            Code::ConflictingFields
        };
        return fields.at().refuse_with(code, message, way_out);
    };
    Some(Condition {
        name: name.into(),
        test,
    })
}

fn time(fields: &mut Fields<'_>) -> Option<Schedule> {
    let at = fields.at().clone();
    let zone = fields.required("timeZone", time_zone);
    let windows = fields.optional("windows", |at| at.some_list(window));
    let first_day = fields.optional("notBefore", date);
    let last_day = fields.optional("notAfter", date);
    let (windows, first_day, last_day) = (windows?, first_day?, last_day?);
    if windows.is_none() && first_day.is_none() && last_day.is_none() {
        let message = "neither windows nor days are written, and it would always hold";
        let way_out = "write `windows`, `notBefore` or `notAfter`";
        return at.refuse_with(Code::Empty, message, way_out);
    }
    let schedule = Schedule {
        zone: zone?,
        windows: windows.unwrap_or_default().into(),
        first_day,
        last_day,
    };
    if !schedule.ever_opens() {
        let message = "no window opens from `notBefore` to `notAfter`";
        let way_out = "name a later `notAfter`, or a weekday that lies between them";
        return at.refuse_with(Code::NeverOpens, message, way_out);
    }
    Some(schedule)
}

/// SECURITY: the database that was built in. The system's could be another on each edge.
fn time_zone(at: &At<'_>) -> Option<TimeZone> {
    let text = at.text()?;
    let database = TimeZoneDatabase::bundled();
    database.get(text).ok().or_else(|| {
        let names: Vec<_> = database.available().collect();
        let names = names.iter().map(|name| name.as_str());
        let way_out = did_you_mean(text, names)
            .unwrap_or_else(|| "write a name of the IANA database: Europe/Berlin, UTC".to_owned());
        let message = format!("there is no time zone {}", quoted(text));
        at.refuse_with(Code::UnknownTimeZone, message, way_out)
    })
}

fn window(at: &At<'_>) -> Option<Window> {
    let mut fields = at.fields()?;
    let days = fields.required("days", |at| {
        let days = at.some_list(|at| at.one_of(&WEEKDAYS))?;
        Some(
            days.into_iter()
                .fold(0, |bits, day| bits | Window::bit(day)),
        )
    });
    let from = fields.required("from", |at| time_of_day(at, "23:59"));
    let to = fields.required("to", |at| time_of_day(at, "24:00"));
    let (days, from, to) = (days?, from?, to?);
    if from == to || to == 0 {
        let message = "the window ends when it begins and never opens";
        let way_out = "write 00:00 and 24:00 for a whole day; 24:00 for midnight at its end";
        return at.refuse_with(Code::NeverOpens, message, way_out);
    }
    Some(Window { days, from, to })
}

/// `HH:MM` up to `latest`, in seconds since midnight.
fn time_of_day(at: &At<'_>, latest: &str) -> Option<i64> {
    let text = at.text()?;
    let digits = |part: &str| {
        let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i64>().ok().filter(|_| two)
    };
    let seconds = text.split_once(':').and_then(|(hours, minutes)| {
        let minutes = digits(minutes).filter(|minutes| *minutes < 60)?;
        digits(hours)?
            .checked_mul(60)?
            .checked_add(minutes)?
            .checked_mul(60)
    });
    // Two digits each compare as the numbers do.
    seconds.filter(|_| text <= latest).or_else(|| {
        let message = format!("{} is not a time of day", quoted(text));
        let way_out = format!("write hours and minutes, \"00:00\" to \"{latest}\"");
        at.refuse_with(Code::InvalidValue, message, way_out)
    })
}

/// `YYYY-MM-DD`, as days since 1970-01-01.
fn date(at: &At<'_>) -> Option<i64> {
    let text = at.text()?;
    let plain = text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = text.parse::<Date>().ok().filter(|_| plain);
    day.and_then(day_number).or_else(|| {
        let message = format!("{} is not a date", quoted(text));
        at.refuse_with(Code::InvalidValue, message, "write it as 2026-12-31")
    })
}

fn ranges(fields: &mut Fields<'_>) -> Option<Test> {
    let ranges = fields.required("ranges", |at| {
        let ranges = at.some_list(range)?;
        if Ranges::hold_every_address(&ranges) {
            let message = "together the ranges match every address";
            let way_out = "name the ranges, or leave the condition out";
            return at.refuse_with(Code::MatchesEverything, message, way_out);
        }
        Some(ranges)
    })?;
    Some(Test::Source(Ranges(ranges.into())))
}

fn range(at: &At<'_>) -> Option<IpNet> {
    let text = at.text()?;
    let refuse = |way_out: &str| {
        let message = format!("{} is not a range of addresses", quoted(text));
        at.refuse_with(Code::InvalidValue, message, way_out)
    };
    let Ok(range) = text.parse::<IpNet>() else {
        return match text.parse::<std::net::IpAddr>() {
            Ok(address) => refuse(&format!("for one address write {}", IpNet::from(address))),
            Err(_not_an_address) => refuse("write 10.0.0.0/8 or \"2001:db8::/32\""),
        };
    };
    if range.prefix_len() == 0 {
        let message = format!("{} matches every address", quoted(text));
        let way_out = "name the ranges, or leave the condition out";
        return at.refuse_with(Code::MatchesEverything, message, way_out);
    }
    let whole = range.trunc();
    if whole != range {
        return refuse(&format!("it begins with {whole}"));
    }
    // SECURITY: to some readers 010 is 8.
    if range.addr().is_ipv4() && text != range.to_string() {
        return refuse(&format!(
            "a number that begins with 0 has two readings; write {range} if that is meant"
        ));
    }
    // INVARIANT: an address is compared as IPv4 where it is one, so that no mapped range ever matches.
    if range.addr().to_canonical() != range.addr() {
        return refuse("write it as a range of IPv4 addresses");
    }
    Some(range)
}

fn countries(fields: &mut Fields<'_>) -> Option<Test> {
    let countries = fields.required("countries", |at| at.some_list(country))?;
    Some(Test::Geography(Countries(countries.into())))
}

fn country(at: &At<'_>) -> Option<Country> {
    let text = at.text()?;
    if Countries::known().any(|code| code == text) {
        return Country::parse(text);
    }
    let upper = text.to_ascii_uppercase();
    let way_out = match upper.as_str() {
        "UK" => "did you mean \"GB\"?".to_owned(),
        _ if Countries::known().any(|code| code == upper) => format!("did you mean \"{upper}\"?"),
        _ => "write a code of ISO 3166-1 with two letters: DE, FR, US".to_owned(),
    };
    let message = format!("there is no country {}", quoted(text));
    at.refuse_with(Code::UnknownChoice, message, way_out)
}

fn expression(at: &At<'_>) -> Option<Test> {
    let text = at.text()?;
    match Expression::compile(text) {
        Ok(expression) => {
            if let Some(holds) = expression.constant() {
                warn_of_constant(at, holds);
            }
            Some(Test::Expression(Box::new(expression)))
        }
        Err(refused) => {
            for refused in refused {
                report_refused(at, text, refused);
            }
            None
        }
    }
}

fn report_refused(at: &At<'_>, text: &str, refused: RefusedExpression) {
    let mut message = refused.reason.to_string();
    let mut place = at.place();
    let part = refused.part.filter(|part| part.len() < text.len());
    let split = part.and_then(|part| Some((text.get(..part.start)?, text.get(part)?)));
    if let Some((before, part)) = split {
        let column = before.chars().count().saturating_add(1);
        message = if part.is_empty() {
            format!("{message}, at character {column}")
        } else {
            format!("{message}, at character {column}: {}", quoted(part))
        };
        narrow(&mut place, text, column, part.chars().count());
    }
    let way_out = Some(refused.reason.way_out().to_owned());
    at.report()
        .error_with(place, Code::InvalidExpression, message, way_out);
}

/// Something is being tried out, or another thing was meant.
fn warn_of_constant(at: &At<'_>, holds: bool) {
    let (code, message, way_out) = if holds {
        let way_out = "compare something of the call, or leave the condition out";
        (
            Code::MatchesEverything,
            "the expression is always true",
            way_out,
        )
    } else {
        let way_out =
            "compare something of the call; a policy that is to rest may have `mode: dry-run`";
        (Code::NeverOpens, "the expression is never true", way_out)
    };
    let way_out = Some(way_out.to_owned());
    at.report().warning(at.place(), code, message, way_out);
}

/// Points to a part of a text that stands in one line as it is, in quotes or without.
fn narrow(place: &mut Place, text: &str, column: usize, width: usize) {
    let written = place.end_column.saturating_sub(place.column);
    let quotes = written.saturating_sub(text.chars().count());
    if place.line != place.end_line || written == 0 || !(quotes == 0 || quotes == 2) {
        return;
    }
    let quote = quotes.div_euclid(2);
    let begins = place.column.saturating_add(quote);
    place.column = begins.saturating_add(column.saturating_sub(1));
    place.end_column = place.column.saturating_add(width.max(1));
}
