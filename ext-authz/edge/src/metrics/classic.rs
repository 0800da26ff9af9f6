//! The metrics in the text format of Prometheus, version 0.0.4, for readers that do not ask for OpenMetrics: the
//! names of counters and infos stand whole in their `TYPE` lines, infos are gauges, and there are no units.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// What the answer is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same metrics; `text` is OpenMetrics as our encoder writes it: `HELP`, then `TYPE`, for each family.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    // Which name it tells of is known from the line after it.
    let mut help = None;
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some((name, kind)) = type_of(line) {
            let (name, kind) = match kind {
                "counter" => (Cow::from(format!("{name}_total")), kind),
                "info" => (Cow::from(format!("{name}_info")), "gauge"),
                kind => (Cow::from(name), kind),
            };
            if let Some((_, told)) = help.take() {
                push(&mut written, &["# HELP ", &name, " ", told]);
            }
            push(&mut written, &["# TYPE ", &name, " ", kind]);
        } else if !line.starts_with('#') {
            push(&mut written, &[line]);
        }
    }
    written
}

fn type_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

fn push(written: &mut String, parts: &[&str]) {
    for part in parts {
        written.push_str(part);
    }
    written.push('\n');
}
