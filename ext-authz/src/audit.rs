//! `attache audit`: shows the journal, or follows it. It reads the files, so it needs no running
//! server; what it prints is safe on a terminal whatever a request contained.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::anyhow;
use attache_core::{
    event::{Event, Outcome, Record, Reported},
    time::Timestamp,
};
use attache_edge::{
    clock,
    journal::{Events, Query},
};
use clap::{Args, ValueEnum};

use crate::config::Config;

/// How many events `--follow` begins with, unless it is told where to begin.
const FOLLOW_BEGINS_WITH: usize = 10;
/// How long a follower waits where the kernel does not tell it of changes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Show the audit log, or follow it.
///
/// Exit codes: 0 the journal was read, whether or not an event matched; 1 it cannot be read; 2 wrong
/// usage. Lines that are no events are left out and counted on standard error.
#[derive(Debug, Args)]
pub(crate) struct AuditCommand {
    /// The configuration of the server; its audit directory is read.
    #[arg(long, env = "ATTACHE_CONFIG", required_unless_present = "dir")]
    config: Option<PathBuf>,
    /// The audit directory itself.
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    args: AuditArgs,
}

/// Which events are shown, and how.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Not before: an age (`30s`, `15m`, `1h`, `7d`, `2w`) or a time (`2026-06-14T03:47:22Z`).
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    since: Option<When>,
    /// Not after: an age or a time.
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    until: Option<When>,
    /// The caller: its SPIFFE ID, the end of it (`payment-svc`), or its name in the policy that matched.
    #[arg(long)]
    workload: Option<String>,
    /// The target: its host, or its name in the policy that matched (`stripe-api`).
    #[arg(long)]
    target: Option<String>,
    /// How the access ended.
    #[arg(long)]
    outcome: Option<Ended>,
    /// The code of the denial or fault (`attribute-mismatch`).
    #[arg(long)]
    code: Option<String>,
    /// One event, by the id that a caller was told (`x-attache-decision`).
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only the newest ones of what matches.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Go on with what is recorded from now on; begins with the newest 10 unless --since or --limit is given.
    #[arg(long, short)]
    follow: bool,
    /// A line for a person, or the event as it is stored, one JSON object a line.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// A point in time as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

/// The outcomes, as words of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ended {
    Permitted,
    Denied,
    Error,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Finds the directory and shows it on standard output.
pub(crate) fn run_command(command: &AuditCommand) -> anyhow::Result<ExitCode> {
    let dir = match (&command.dir, &command.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(config)) => Config::load(config)?.audit.dir,
        (None, None) => anyhow::bail!("name the configuration (--config) or the directory (--dir)"),
    };
    run(&command.args, &dir, clock::now(), &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the events in `dir` that `args` ask for. A reader that went away ends it without an error.
pub(crate) fn run(
    args: &AuditArgs,
    dir: &Path,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match show(args, dir, now, out) {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        shown => shown,
    }
}

fn show(args: &AuditArgs, dir: &Path, now: Timestamp, out: &mut impl Write) -> anyhow::Result<()> {
    let mut events = args.query(now).events(dir)?;
    let mut reported = 0;
    loop {
        print_all(&mut events, args.output, out)?;
        reported = report_skipped(events.skipped(), reported);
        if !args.follow {
            return Ok(());
        }
        events.wait(PATIENCE);
        events.resume()?;
    }
}

impl AuditArgs {
    fn query(&self, now: Timestamp) -> Query {
        let at = |when: When| match when {
            When::At(time) => time,
            When::Ago(age) => {
                let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(now.as_millis().saturating_sub(millis))
            }
        };
        let begin = (self.follow && self.since.is_none()).then_some(FOLLOW_BEGINS_WITH);
        Query {
            since: self.since.map(at),
            until: self.until.map(at),
            workload: self.workload.clone(),
            target: self.target.clone(),
            outcome: self.outcome.map(|ended| match ended {
                Ended::Permitted => Outcome::Permitted,
                Ended::Denied => Outcome::Denied,
                Ended::Error => Outcome::Error,
            }),
            code: self.code.clone(),
            event_id: self.event.clone(),
            limit: self.limit.or(begin),
        }
    }
}

fn print_all(events: &mut Events, output: Output, out: &mut impl Write) -> anyhow::Result<()> {
    for event in events {
        let event = event?;
        match output {
            Output::Text => writeln!(out, "{}", line(&event))?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(&event)?)?,
        }
    }
    Ok(out.flush()?)
}

/// Says once for each time it grows how many lines were left out.
fn report_skipped(skipped: u64, reported: u64) -> u64 {
    if skipped > reported {
        // Without a standard error nobody can be told.
        let _ = writeln!(
            io::stderr(),
            "attache: lines that are no events, left out: {skipped}"
        );
    }
    skipped
}

/// The event for a person: when, how it ended, its id, who, what, and why.
fn line(event: &Event) -> String {
    let about_reports = matches!(event.record, Record::Lost | Record::Unbelieved);
    let reporter = event.reported.as_ref().filter(|_| about_reports);
    if let Some(reported) = reporter {
        return report_line(event, reported);
    }
    let caller = match (&event.workload_svid, &event.source_address) {
        (Some(svid), _) => svid.to_string(),
        (None, Some(address)) => format!("unproven caller at {address}"),
        (None, None) => "unproven caller".to_owned(),
    };
    let request = format!(
        "{} {}{}",
        event.request_method, event.target_service, event.request_path
    );
    let outcome = outcome(event.outcome);
    format!(
        "{}  {outcome:<9}  {}  {caller:<48}  {request:<44}  {}",
        event.timestamp,
        event.event_id,
        reasons(event).join(", ")
    )
}

/// The same for an event about reports: when, what, of which reporter.
fn report_line(event: &Event, reported: &Reported) -> String {
    let (first, last) = (reported.sequence, reported.last_sequence);
    let last = last.unwrap_or(first);
    let what = if event.record == Record::Lost {
        "accesses were answered from memory and never reported"
    } else {
        "reported accesses are not believed"
    };
    let code = event.code.as_deref().unwrap_or_default();
    format!(
        "{}  {:<9}  {}  {} {what}: numbers {first} to {last} of the proxy's life {} on listener {}, {code}",
        event.timestamp,
        outcome(event.outcome),
        event.event_id,
        event.count,
        reported.epoch,
        event.listener,
    )
}

/// How it was answered, if not by itself.
fn memory(event: &Event) -> Option<String> {
    match (event.record, &event.lease) {
        (Record::Lease, _) => Some("an answer that the proxy keeps".to_owned()),
        (Record::Cached, Some(lease)) => {
            let status = event.reported.as_ref().and_then(|it| it.status);
            let status =
                status.map_or_else(|| "no response".to_owned(), |it| format!("status {it}"));
            Some(format!("from the proxy's memory under {lease}, {status}"))
        }
        _decided => None,
    }
}

/// What led to the outcome, and what was attached.
fn reasons(event: &Event) -> Vec<String> {
    let mut reasons = Vec::new();
    match (&event.code, &event.attribute) {
        (Some(code), Some(attribute)) => {
            let quoted = |text: Option<&str>| match text {
                Some(text) => format!("\"{text}\""),
                None => "nothing".to_owned(),
            };
            let expected = quoted(event.expected.as_deref());
            let actual = quoted(event.actual.as_deref());
            reasons.push(format!(
                "{code}: {attribute} expected {expected}, actual {actual}"
            ));
        }
        (Some(code), None) => reasons.push(code.to_string()),
        (None, _) => {}
    }
    reasons.extend(event.policy_matched.as_deref().map(str::to_owned));
    if let Some(token) = &event.token_id {
        let lifetime = event.ttl_seconds.unwrap_or_default();
        let audience = event.audience.as_deref().unwrap_or("no audience");
        reasons.push(format!("{token} {lifetime}s for {audience}"));
    }
    reasons.extend(memory(event));
    if let Some(would_be) = event.would_be_outcome {
        reasons.push(format!("observed only, would be {}", outcome(would_be)));
    }
    match &event.repeats {
        Some(first) => reasons.push(format!("{} more like {first}", event.count)),
        None if event.count > 1 => reasons.push(format!("{} times", event.count)),
        None => {}
    }
    reasons.push(format!("{} ms", event.latency_ms));
    reasons
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Permitted => "permitted",
        Outcome::Denied => "denied",
        Outcome::Error => "error",
    }
}

/// Reads an age or a time (RFC 3339).
fn parse_when(text: &str) -> anyhow::Result<When> {
    let understood = parse_age(text).or_else(|| {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(When::At(Timestamp::from_millis(time.as_millisecond())))
    });
    understood.ok_or_else(|| {
        anyhow!("neither an age such as 15m, 1h or 7d nor a time such as 2026-06-14T03:47:22Z")
    })
}

fn parse_age(text: &str) -> Option<When> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _not_a_unit => return None,
    };
    let whole = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| whole)?;
    Some(When::Ago(Duration::from_secs(number.checked_mul(seconds)?)))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
