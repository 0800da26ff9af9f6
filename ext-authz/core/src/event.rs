//! The audit event: one for each access. No field can hold a secret.

use alloc::vec::Vec;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::{attributes::Attributes, time::Timestamp};

#[cfg(test)]
mod tests;

/// How the access ended for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The request went on to its target.
    Permitted,
    /// Policy refused it; the caller saw 403.
    Denied,
    /// Something was broken; the caller saw 503.
    Error,
}

/// Whether the edge acted on its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The decision was carried out.
    Enforce,
    /// The edge decides and records, and changes nothing.
    Observe,
}

/// How an access condition stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionOutcome {
    /// It holds.
    Met,
    /// It does not.
    NotMet,
    /// It cannot be told: what it asks about is not known.
    Unavailable,
}

/// An access condition that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckedCondition {
    /// The qualified name of the AccessCondition document.
    pub name: CompactString,
    /// How it stood.
    pub outcome: ConditionOutcome,
}

/// Of what an event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// One access, decided when it was asked.
    #[default]
    Access,
    /// An answer that may be kept and given again; each access that gets it has an event of its own.
    Lease,
    /// An access that got a kept answer, as the proxy reported it.
    Cached,
    /// Accesses that got kept answers, and whose reports never came.
    Lost,
    /// A report of an access that the edge does not believe.
    Unbelieved,
}

impl Record {
    /// Whether the event is about nothing else than one access, as it was decided then.
    pub fn is_access(&self) -> bool {
        *self == Self::Access
    }
}

/// What a proxy reported of an access that it answered from memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// The life of the reporter, in hexadecimal digits.
    pub epoch: CompactString,
    /// The access's number in that life.
    pub sequence: u64,
    /// Of lost accesses, the last one's number; `null` otherwise.
    #[serde(default)]
    pub last_sequence: Option<u64>,
    /// When the access was asked. `timestamp` is the same, unless the report was long under way.
    pub asked_at: Timestamp,
    /// The status of the response; `null` if there was none.
    #[serde(default)]
    pub status: Option<u16>,
}

/// What a workload asked for that takes a token into its own hands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whom the token was to be for; `null` if that was not said.
    pub audience: Option<CompactString>,
    /// Where it was to be used, `https://api.example.com:443`; `null` if that was not said.
    pub resource: Option<CompactString>,
    /// The workload's address, as far as conditions could read it; `null` if it was not known.
    pub address: Option<CompactString>,
}

/// One access. The first thirteen fields keep the names, types and order of the published format;
/// what a denial cannot know is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// `evt_` and a lower-case ULID; also the decision's id.
    pub event_id: CompactString,
    /// When the request was asked, RFC 3339 in UTC with milliseconds.
    pub timestamp: Timestamp,
    /// The caller's SPIFFE ID; `null` if it was not proven.
    pub workload_svid: Option<CompactString>,
    /// `kubernetes-pod` or `oidc-workload`; `null` if the caller was not proven.
    pub workload_type: Option<CompactString>,
    /// The host asked for, without port; what the client sent if it is no host.
    pub target_service: CompactString,
    /// `<effect>:<client>:<server>:<action>`; `null` if no policy matched.
    pub policy_matched: Option<CompactString>,
    /// Whether a token of ours left with the request.
    pub token_issued: bool,
    /// The token's `jti`; `null` if none was issued.
    pub token_id: Option<CompactString>,
    /// The token's whole lifetime in seconds; `null` if none was issued.
    pub ttl_seconds: Option<u64>,
    /// As the client sent it.
    pub request_method: CompactString,
    /// Without its query.
    pub request_path: CompactString,
    /// What the caller saw.
    pub outcome: Outcome,
    /// From the question's arrival to the decision, in milliseconds.
    pub latency_ms: f64,

    /// The stable code of the denial or fault; `null` on a plain permit.
    pub code: Option<CompactString>,
    /// The SPIFFE-independent name of the policy document; `null` if none matched.
    pub policy: Option<CompactString>,
    /// The trust provider that verified the evidence; `null` if none did.
    pub trust_provider: Option<CompactString>,
    /// The credential provider; `null` if the policy attaches nothing.
    pub credential_provider: Option<CompactString>,
    /// The audience of the token; `null` if none was issued.
    pub audience: Option<CompactString>,
    /// The attribute that failed to match; `null` unless `code` is `attribute-mismatch`.
    pub attribute: Option<CompactString>,
    /// What policy asked of it.
    pub expected: Option<CompactString>,
    /// What was proven of it.
    pub actual: Option<CompactString>,
    /// `enforce` or `observe`.
    pub mode: Mode,
    /// How the access would have ended if everything were enforced. `null` unless the edge observes or
    /// a dry-run policy covers the call.
    pub would_be_outcome: Option<Outcome>,
    /// `policy_matched` as it would be if dry-run policies were enforced; `null` if none covers the
    /// call, or if no policy would match.
    #[serde(default)]
    pub would_be_policy: Option<CompactString>,
    /// The access conditions of the policies that cover the call.
    #[serde(default)]
    pub conditions: Vec<CheckedCondition>,
    /// The revision of the policy set that decided.
    pub policy_revision: CompactString,
    /// The edge that decided.
    pub edge: CompactString,
    /// The listener that was asked.
    pub listener: CompactString,
    /// Where the connection to Envoy came from, `address:port`; `null` if Envoy did not say.
    pub source_address: Option<CompactString>,
    /// How many equal accesses this event stands for; more than 1 only for repeated denials.
    pub count: u64,
    /// On the summary of a flood: the event whose like came `count` times more; `null` otherwise.
    #[serde(default)]
    pub repeats: Option<CompactString>,
    /// Where the request would go, `https://api.example.com:443`; `null` if that was not understood.
    #[serde(default)]
    pub target_origin: Option<CompactString>,
    /// What was proven of the caller, as far as any policy asks about it; `null` if it was not proven.
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// The trust providers that proved the caller, in the order of its evidence. Empty: nobody did, and if
    /// the access was permitted by a policy, that policy asks for no attestation.
    #[serde(default)]
    pub attested_by: Vec<CompactString>,
    /// Of what the event tells; left out if it is one access.
    #[serde(default, skip_serializing_if = "Record::is_access")]
    pub record: Record,
    /// The event of the answer that was kept; left out if the access was decided by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<CompactString>,
    /// What the proxy reported of it; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
    /// What was asked for at the token endpoint; left out of every other access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_request: Option<TokenRequest>,
}

impl Event {
    /// An event of which nothing is known yet but its id, its time and how it ends.
    pub const fn blank(event_id: CompactString, timestamp: Timestamp, outcome: Outcome) -> Self {
        Self {
            event_id,
            timestamp,
            workload_svid: None,
            workload_type: None,
            target_service: CompactString::const_new(""),
            policy_matched: None,
            token_issued: false,
            token_id: None,
            ttl_seconds: None,
            request_method: CompactString::const_new(""),
            request_path: CompactString::const_new(""),
            outcome,
            latency_ms: 0.0,
            code: None,
            policy: None,
            trust_provider: None,
            credential_provider: None,
            audience: None,
            attribute: None,
            expected: None,
            actual: None,
            mode: Mode::Enforce,
            would_be_outcome: None,
            would_be_policy: None,
            conditions: Vec::new(),
            policy_revision: CompactString::const_new(""),
            edge: CompactString::const_new(""),
            listener: CompactString::const_new(""),
            source_address: None,
            count: 1,
            repeats: None,
            target_origin: None,
            attributes: None,
            attested_by: Vec::new(),
            record: Record::Access,
            lease: None,
            reported: None,
            token_request: None,
        }
    }
}
