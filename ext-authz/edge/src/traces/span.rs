//! An access as spans: one for the whole of it, below the caller's, and one for each stage below that.

use attache_core::event::Outcome;
use aws_lc_rs::rand;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};

use super::{Moments, Parent};
use crate::stages::Passed;

/// In `flags`, beside those of W3C: whether the parent is elsewhere is known, and it is.
const REMOTE_IS_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// What a span tells of an access: names and codes alone.
pub(crate) struct Told<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) outcome_name: &'static str,
    pub(crate) decision_id: &'a str,
    pub(crate) listener: &'a str,
    pub(crate) code: Option<&'a str>,
    pub(crate) policy: Option<&'a str>,
    pub(crate) policy_revision: &'a str,
    pub(crate) trust_provider: Option<&'a str>,
    pub(crate) credential_provider: Option<&'a str>,
}

/// The spans of a call that ends now, the whole one first.
pub(super) fn of_call(
    parent: &Parent,
    told: &Told<'_>,
    moments: &Moments,
    stages: &[Passed],
) -> Vec<Span> {
    let id = new_id();
    let span = |name: String, parent_id: &[u8], id: [u8; 8], flags| Span {
        trace_id: parent.trace_id.to_vec(),
        span_id: id.to_vec(),
        trace_state: parent.state.clone(),
        parent_span_id: parent_id.to_vec(),
        flags,
        name,
        ..Span::default()
    };
    let whole = Span {
        kind: i32::from(SpanKind::Server as u8),
        start_time_unix_nano: moments.began_nanos,
        end_time_unix_nano: moments.at(tokio::time::Instant::now()),
        attributes: attributes(told),
        status: (told.outcome == Outcome::Error).then(|| Status {
            message: told.code.unwrap_or_default().to_owned(),
            code: i32::from(StatusCode::Error as u8),
        }),
        ..span(
            "attache.decision".to_owned(),
            &parent.span_id,
            id,
            SAMPLED | REMOTE_IS_KNOWN | REMOTE,
        )
    };
    let parts = stages.iter().map(|passed| Span {
        kind: i32::from(SpanKind::Internal as u8),
        start_time_unix_nano: moments.at(passed.began),
        end_time_unix_nano: moments.at(passed.began + passed.took),
        ..span(
            format!("attache.{}", passed.stage.name()),
            &id,
            new_id(),
            SAMPLED | REMOTE_IS_KNOWN,
        )
    });
    std::iter::once(whole).chain(parts).collect()
}

fn attributes(told: &Told<'_>) -> Vec<KeyValue> {
    let named = [
        ("attache.decision_id", Some(told.decision_id)),
        ("attache.listener", Some(told.listener)),
        ("attache.outcome", Some(told.outcome_name)),
        ("attache.code", told.code),
        ("attache.policy", told.policy),
        ("attache.policy_revision", Some(told.policy_revision)),
        ("attache.trust_provider", told.trust_provider),
        ("attache.credential_provider", told.credential_provider),
    ];
    let known = named
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    known.map(|(key, value)| attribute(key, value)).collect()
}

pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn new_id() -> [u8; 8] {
    let mut id = [0; 8];
    // aws-lc aborts the process rather than return weak randomness; nothing rests on it here.
    let _ = rand::fill(&mut id);
    id
}
