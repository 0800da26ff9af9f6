//! An event as a line of the journal. It is what serde writes of it, byte by byte: this is done for every call, and
//! names and texts that are put down whole take less time than those that are put down piece by piece.

use std::io;

use attache_core::event::{Event, Mode, Outcome, Record};
use compact_str::CompactString;
use serde::Serialize;

use super::text::every;

/// Appends `event` and the end of its line.
#[expect(clippy::too_many_lines, reason = "a list of fields, one a line")]
pub(super) fn write(line: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    // Every field is named, so that a new one cannot be forgotten here.
    let Event {
        event_id,
        timestamp,
        workload_svid,
        workload_type,
        target_service,
        policy_matched,
        token_issued,
        token_id,
        ttl_seconds,
        request_method,
        request_path,
        outcome,
        latency_ms,
        code,
        policy,
        trust_provider,
        credential_provider,
        audience,
        attribute,
        expected,
        actual,
        mode,
        would_be_outcome,
        would_be_policy,
        conditions,
        policy_revision,
        edge,
        listener,
        source_address,
        count,
        repeats,
        target_origin,
        attributes,
        attested_by,
        record,
        lease,
        reported,
        token_request,
    } = event;
    let mut line = Line(line);
    line.text("{\"event_id\":", event_id)?;
    line.value(",\"timestamp\":", timestamp)?;
    line.maybe(",\"workload_svid\":", workload_svid)?;
    line.maybe(",\"workload_type\":", workload_type)?;
    line.text(",\"target_service\":", target_service)?;
    line.maybe(",\"policy_matched\":", policy_matched)?;
    line.value(",\"token_issued\":", token_issued)?;
    line.maybe(",\"token_id\":", token_id)?;
    line.value(",\"ttl_seconds\":", ttl_seconds)?;
    line.text(",\"request_method\":", request_method)?;
    line.text(",\"request_path\":", request_path)?;
    line.put(",\"outcome\":", name_of_outcome(*outcome));
    line.value(",\"latency_ms\":", latency_ms)?;
    line.maybe(",\"code\":", code)?;
    line.maybe(",\"policy\":", policy)?;
    line.maybe(",\"trust_provider\":", trust_provider)?;
    line.maybe(",\"credential_provider\":", credential_provider)?;
    line.maybe(",\"audience\":", audience)?;
    line.maybe(",\"attribute\":", attribute)?;
    line.maybe(",\"expected\":", expected)?;
    line.maybe(",\"actual\":", actual)?;
    let mode = match mode {
        Mode::Enforce => "\"enforce\"",
        Mode::Observe => "\"observe\"",
    };
    line.put(",\"mode\":", mode);
    let would_be_outcome = would_be_outcome.map_or("null", name_of_outcome);
    line.put(",\"would_be_outcome\":", would_be_outcome);
    line.maybe(",\"would_be_policy\":", would_be_policy)?;
    line.value(",\"conditions\":", conditions)?;
    line.text(",\"policy_revision\":", policy_revision)?;
    line.text(",\"edge\":", edge)?;
    line.text(",\"listener\":", listener)?;
    line.maybe(",\"source_address\":", source_address)?;
    line.value(",\"count\":", count)?;
    line.maybe(",\"repeats\":", repeats)?;
    line.maybe(",\"target_origin\":", target_origin)?;
    line.value(",\"attributes\":", attributes)?;
    line.value(",\"attested_by\":", attested_by)?;
    if *record != Record::Access {
        line.value(",\"record\":", record)?;
    }
    if lease.is_some() {
        line.maybe(",\"lease\":", lease)?;
    }
    if reported.is_some() {
        line.value(",\"reported\":", reported)?;
    }
    if token_request.is_some() {
        line.value(",\"token_request\":", token_request)?;
    }
    line.put("}", "\n");
    Ok(())
}

const fn name_of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Permitted => "\"permitted\"",
        Outcome::Denied => "\"denied\"",
        Outcome::Error => "\"error\"",
    }
}

struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn put(&mut self, before: &str, text: &str) {
        self.0.reserve(before.len() + text.len());
        self.0.extend_from_slice(before.as_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, before: &str, text: &str) -> io::Result<()> {
        if !stands_as_itself(text.as_bytes()) {
            return self.value(before, text);
        }
        self.0.reserve(before.len() + text.len() + 2);
        self.0.extend_from_slice(before.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    fn maybe(&mut self, before: &str, text: &Option<CompactString>) -> io::Result<()> {
        match text {
            Some(text) => self.text(before, text),
            None => {
                self.put(before, "null");
                Ok(())
            }
        }
    }

    fn value(&mut self, before: &str, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        self.0.extend_from_slice(before.as_bytes());
        Ok(serde_json::to_writer(&mut *self.0, value)?)
    }
}

/// Whether nothing of a text has to be escaped in JSON.
fn stands_as_itself(text: &[u8]) -> bool {
    every(text, |byte| {
        matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
    })
}

#[cfg(test)]
mod tests;
