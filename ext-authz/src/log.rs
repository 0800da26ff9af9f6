//! Logs on standard error: lines for people, in the form of the quick start
//! (`2026-06-15T14:22:01Z INFO  workload attested via …`), or JSON for machines.

use std::fmt;

use attache_edge::clock;
use jiff::Timestamp;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts logging. `level` is an `EnvFilter` directive list such as `info` or `attache_edge=debug,info`.
pub(crate) fn start(format: Format, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    let started = match format {
        Format::Text => subscriber.event_format(Line).try_init(),
        Format::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))
}

/// `<RFC 3339 in seconds> <level, five wide> <message and fields>`.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let seconds = clock::now().as_seconds();
        let now = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        write!(writer, "{now} {:<5} ", event.metadata().level().as_str())?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Whether `level` is a list of directives.
pub(crate) fn check_level(level: &str) -> Result<(), String> {
    EnvFilter::try_new(level)
        .map(|_filter| ())
        .map_err(|error| {
            format!("{level:?} is no level ({error}); write error, warn, info, debug or trace")
        })
}
