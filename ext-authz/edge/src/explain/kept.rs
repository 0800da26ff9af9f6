//! What an audit event keeps of a caller, so that its access can be explained later: the attributes that some
//! policy asks about, and no other claim of its evidence.

use attache_core::attributes::{AttributeValue, Attributes};
use attache_policy::Compiled;

#[cfg(test)]
mod tests;

/// Most attributes of a caller that an event keeps.
const MAX_ATTRIBUTES: usize = 32;

/// Longest attribute that an event keeps, in bytes.
const MAX_BYTES: usize = 256;

/// The attributes that `policies` ask about. One that is too long is left out whole: cut, it would look like
/// another value.
pub(crate) fn attributes(proven: &Attributes, policies: &Compiled) -> Attributes {
    let fits = |value: &AttributeValue| match value {
        AttributeValue::One(text) => text.len() <= MAX_BYTES,
        AttributeValue::Many(texts) => {
            // Each counts for more than its bytes, so that a list of nothing has an end, too.
            let bytes = texts.iter().map(|text| text.len().saturating_add(2));
            bytes.fold(0, usize::saturating_add) <= MAX_BYTES
        }
    };
    let asked = proven
        .iter()
        .filter(|(name, value)| policies.asks_about(name) && fits(value));
    let mut kept = Attributes::new();
    for (name, value) in asked.take(MAX_ATTRIBUTES) {
        kept.insert(name, value.clone());
    }
    kept
}
