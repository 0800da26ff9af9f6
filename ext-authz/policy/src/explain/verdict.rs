//! A decision in words that can be written down.

use attache_core::{
    decision::{DenyReason, Fault},
    event::Outcome,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    compiled::Admitted,
    decision::{Decided, Decision, Denial, Grant, WouldBe},
};

/// How a call ends, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it ends.
    pub outcome: Outcome,
    /// The stable code of the denial or fault; `null` if it is permitted.
    pub code: Option<String>,
    /// The code as a sentence.
    pub message: Option<String>,
    /// The policy that it rests on, or that would allow it if one thing were otherwise.
    pub policy: Option<String>,
    /// `<effect>:<client>:<server>:<action>` of it.
    pub policy_matched: Option<String>,
    /// The attribute that failed to match, where `code` is `attribute-mismatch`.
    pub mismatch: Option<MismatchTold>,
    /// The credential that would be attached; `null` if none would.
    pub credential: Option<CredentialTold>,
    /// The first moment at which it may be decided otherwise; `null` on a fault, and where the answer is about
    /// this call alone.
    pub valid_until: Option<Timestamp>,
}

/// An attribute that was not the one that policy asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchTold {
    /// Its name.
    pub attribute: String,
    /// What policy asks for.
    pub expected: String,
    /// What was proven; `null` if nothing was.
    pub actual: Option<String>,
}

/// Which credential would be obtained, and where it would go. Never the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialTold {
    /// The qualified name of the CredentialProvider.
    pub provider: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `aud` of the token.
    pub audience: Option<String>,
    /// The token's lifetime.
    pub ttl_seconds: Option<u64>,
    /// The header that it goes into; `null` if its first place is none.
    pub header: Option<String>,
    /// What stands before it in its first place.
    pub prefix: String,
    /// Every place that it goes into; empty from a server that told the first one alone.
    #[serde(default)]
    pub places: Vec<PlaceTold>,
}

/// A place in a request that a credential goes into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceTold {
    /// The header; `null` if it is none.
    pub header: Option<String>,
    /// The parameter of the query; `null` if it is none.
    pub parameter: Option<String>,
    /// What stands before the credential.
    pub prefix: String,
}

/// How a call would end if dry-run policies were enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldBeTold {
    /// How it would end.
    pub outcome: Outcome,
    /// The policy that would decide.
    pub policy: Option<String>,
    /// `<effect>:<client>:<server>:<action>` of it.
    pub policy_matched: Option<String>,
}

impl Verdict {
    pub(super) fn of(decided: &Decided<'_>) -> Self {
        match decided.decision() {
            Decision::Allow(grant) => Self::permitted(grant),
            Decision::Deny(denial) => Self::denied(denial),
            Decision::Unavailable(fault) => Self::fault(*fault),
        }
    }

    pub(super) fn of_unproven(admitted: &Admitted<'_>) -> Self {
        let (refused, policy) = match admitted.answer() {
            Ok(policy) => (None, Some(*policy)),
            Err(turned) => (Some(&turned.reason), turned.policy),
        };
        let verdict = refused.map_or_else(Self::passed_unmatched, Self::refused);
        Self {
            code: refused.and(verdict.code),
            message: refused.and(verdict.message),
            policy: policy.map(|policy| policy.name().to_owned()),
            policy_matched: policy.map(|policy| policy.matched().to_owned()),
            ..verdict
        }
    }

    fn permitted(grant: &Grant<'_>) -> Self {
        Self {
            outcome: Outcome::Permitted,
            code: None,
            message: None,
            policy: Some(grant.policy().to_owned()),
            policy_matched: Some(grant.policy_matched().to_owned()),
            mismatch: None,
            credential: CredentialTold::of(grant),
            valid_until: grant.kept_until(),
        }
    }

    fn denied(denial: &Denial<'_>) -> Self {
        Self {
            policy: denial.policy().map(|policy| policy.name().to_owned()),
            policy_matched: denial.policy().map(|policy| policy.matched().to_owned()),
            valid_until: denial.kept_until(),
            ..Self::refused(denial.reason())
        }
    }

    /// No policy matches, and the edge lets that pass.
    pub fn passed_unmatched() -> Self {
        Self {
            outcome: Outcome::Permitted,
            code: Some("unmatched-passed".to_owned()),
            message: Some("no policy matches, and this edge lets such calls pass".to_owned()),
            policy: None,
            policy_matched: None,
            mismatch: None,
            credential: None,
            valid_until: None,
        }
    }

    /// A refusal that no policy has to do with.
    pub fn refused(reason: &DenyReason) -> Self {
        let mismatch = if let DenyReason::AttributeMismatch(mismatch) = reason {
            Some(MismatchTold {
                attribute: mismatch.attribute.clone(),
                expected: mismatch.expected.clone(),
                actual: mismatch.actual.clone(),
            })
        } else {
            None
        };
        Self {
            outcome: Outcome::Denied,
            code: Some(reason.code().to_owned()),
            message: Some(reason.sentence().to_owned()),
            policy: None,
            policy_matched: None,
            mismatch,
            credential: None,
            valid_until: None,
        }
    }

    /// Something is broken.
    pub fn fault(fault: Fault) -> Self {
        Self {
            outcome: Outcome::Error,
            code: Some(fault.code().to_owned()),
            message: Some(fault.sentence().to_owned()),
            policy: None,
            policy_matched: None,
            mismatch: None,
            credential: None,
            valid_until: None,
        }
    }
}

impl CredentialTold {
    fn of(grant: &Grant<'_>) -> Option<Self> {
        let provider = grant.credential()?;
        let kind = &provider.kind;
        let places = grant.placements().iter().map(|placement| PlaceTold {
            header: placement.header().map(|name| name.as_str().to_owned()),
            parameter: placement.parameter().map(|name| name.as_str().to_owned()),
            prefix: placement.prefix().to_owned(),
        });
        let places: Vec<_> = places.collect();
        let first = places.first();
        Some(Self {
            provider: provider.name.clone(),
            header: first.and_then(|place| place.header.clone()),
            prefix: first.map(|place| place.prefix.clone()).unwrap_or_default(),
            kind: kind.provider_type().name().to_owned(),
            audience: kind.audience(),
            ttl_seconds: kind.ttl().map(|ttl| ttl.as_secs()),
            places,
        })
    }
}

impl WouldBeTold {
    pub(super) fn of(would_be: WouldBe<'_>) -> Self {
        Self {
            outcome: would_be.outcome,
            policy: would_be.policy.map(|policy| policy.name().to_owned()),
            policy_matched: would_be.policy.map(|policy| policy.matched().to_owned()),
        }
    }
}
