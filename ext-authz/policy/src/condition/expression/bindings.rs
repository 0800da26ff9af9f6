//! What an expression reads of a call, made when it is read.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use attache_core::{
    attestation::Attestation,
    attributes::{AttributeValue, SPIFFE_ID},
};
use cel_core::{Activation, EvalError, MapKey, Timestamp, Value};

use super::{super::Seen, Facts, MAX_TEXT_BYTES};

/// One reading of one call.
pub(super) struct Bindings<'a> {
    facts: &'a Facts<'a>,
    // An expression may name them many times.
    attributes: OnceLock<Value>,
    headers: OnceLock<Option<Value>>,
}

impl<'a> Bindings<'a> {
    pub(super) const fn new(facts: &'a Facts<'a>) -> Self {
        Self {
            facts,
            attributes: OnceLock::new(),
            headers: OnceLock::new(),
        }
    }

    fn attributes(&self) -> Value {
        let attestation = self.facts.attestation;
        // SECURITY: the SPIFFE ID is the attestation's own, whatever attributes it carries.
        let own = (SPIFFE_ID, spiffe_id(attestation));
        let others = attestation.attributes().iter();
        let others = others.map(|(name, value)| (name, attribute(value)));
        text_map(others.chain([own]))
    }
}

impl Activation for Bindings<'_> {
    fn resolve(&self, name: &str) -> Option<Value> {
        let Facts {
            request,
            context,
            seen,
            ..
        } = self.facts;
        // SECURITY: what stands for every call is unknown, and never compared as if somebody had sent it.
        let unknown = match name {
            "request.host" => *seen == Seen::Port,
            "request.method" | "request.path" | "request.query" => *seen != Seen::Whole,
            _ => false,
        };
        if unknown {
            return None;
        }
        Some(match name {
            "attributes" => self.attributes.get_or_init(|| self.attributes()).clone(),
            "request.host" => text(request.host.as_str()),
            "request.port" => Value::Int(i64::from(request.port)),
            "request.method" => text(request.method),
            "request.path" => text(&request.path.spelled()),
            "request.query" => text(context.query),
            "request.headers" => {
                let headers = || context.headers.map(headers);
                self.headers.get_or_init(headers).clone()?
            }
            "source" => Value::from(context.source?.to_canonical().to_string()),
            "now" => now(context.now),
            _ => return None,
        })
    }
}

/// SECURITY: of several workloads all IDs, so that the order of the evidence decides nothing: an expression
/// that compares the list with a text cannot be evaluated, and then a deny applies and an allow does not.
fn spiffe_id(attestation: &Attestation) -> Value {
    if attestation.is_one_workload() {
        return text(attestation.spiffe_id().as_str());
    }
    let ids = attestation.proofs();
    let ids: Vec<Value> = ids.map(|proof| text(proof.spiffe_id.as_str())).collect();
    Value::from(ids)
}

/// SECURITY: a longer text is an error, so that no client decides what an expression costs.
fn text(text: &str) -> Value {
    if text.len() > MAX_TEXT_BYTES {
        return Value::error(EvalError::range_error("the text is too long"));
    }
    Value::from(text)
}

fn text_map<'t>(entries: impl Iterator<Item = (&'t str, Value)>) -> Value {
    let entries = entries.map(|(name, value)| (MapKey::String(Arc::from(name)), value));
    Value::map(entries)
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::One(value) => text(value),
        AttributeValue::Many(values) => {
            if values.iter().map(|value| value.len()).sum::<usize>() > MAX_TEXT_BYTES {
                return Value::error(EvalError::range_error("the list is too long"));
            }
            let values: Vec<Value> = values.iter().map(|value| text(value)).collect();
            Value::from(values)
        }
    }
}

/// Several values of one name stand in their order with `, ` between (RFC 9110 §5.3). Bytes that are
/// not UTF-8 become U+FFFD, so that such a header is still there.
fn headers(headers: &[(&str, &[u8])]) -> Value {
    let mut joined: HashMap<&str, String> = HashMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value);
        joined
            .entry(name)
            .and_modify(|earlier| {
                earlier.push_str(", ");
                earlier.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    text_map(joined.iter().map(|(name, value)| (*name, text(value))))
}

fn now(now: attache_core::time::Timestamp) -> Value {
    let millis = now.as_millis().rem_euclid(1000);
    let nanos = i32::try_from(millis.saturating_mul(1_000_000)).unwrap_or(0);
    Value::Timestamp(Timestamp::new(now.as_seconds(), nanos))
}
