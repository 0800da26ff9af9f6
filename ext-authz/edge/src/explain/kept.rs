//! What an audit event keeps of a caller, so that its access can be explained later: the attributes that some
//! policy asks about, the SPIFFE IDs of a caller that has two, and no other claim of its evidence.

use attache_core::{
    attestation::Attestation,
    attributes::{AttributeValue, Attributes, SPIFFE_ID},
};
use attache_policy::Compiled;

#[cfg(test)]
mod tests;

/// Most attributes of a caller that an event keeps.
const MAX_ATTRIBUTES: usize = 32;

/// Longest attribute that an event keeps, in bytes.
const MAX_BYTES: usize = 256;

/// What `policies` ask about of the caller, and its SPIFFE IDs if the evidence proves two workloads: that of one the
/// event tells by itself.
pub(crate) fn of(attestation: &Attestation, policies: &Compiled) -> Attributes {
    let mut kept = attributes(attestation.attributes(), policies);
    if !attestation.is_one_workload() {
        let ids = attestation.proofs();
        let ids = ids.map(|proof| proof.spiffe_id.as_str().into());
        kept.insert(SPIFFE_ID, AttributeValue::Many(ids.collect()));
    }
    kept
}

/// The attributes that `policies` ask about. One that is too long is left out whole: cut, it would look like
/// another value.
fn attributes(proven: &Attributes, policies: &Compiled) -> Attributes {
    let fits = |value: &AttributeValue| match value {
        AttributeValue::One(text) => text.len() <= MAX_BYTES,
        AttributeValue::Many(texts) => {
            // Each counts for more than its bytes, so that a list of nothing has an end, too.
            let bytes = texts.iter().map(|text| text.len().saturating_add(2));
            bytes.fold(0, usize::saturating_add) <= MAX_BYTES
        }
    };
    proven.some(MAX_ATTRIBUTES, |name, value| {
        policies.asks_about(name) && fits(value)
    })
}
