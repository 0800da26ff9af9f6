//! The answers: a [`Grant`], which nothing else can make, a [`Denial`], or a fault; and what an audit
//! event tells beside them.

use std::{fmt, sync::Arc};

use attache_core::{
    attestation::Attestation,
    decision::{DenyReason, Fault},
    event::{ConditionOutcome, Outcome},
    evidence::{Evidence, EvidenceRef},
    request::Request,
    scope::{Caller, Scope},
    time::Timestamp,
};
use smallvec::SmallVec;

use crate::{
    compiled::Compiled,
    condition::{Condition, Horizon},
    document::{CredentialProvider, Placement},
    rule::Rule,
};

/// What policy says about one call, and what the audit event tells of how it came to that.
#[derive(Debug)]
pub struct Decided<'a> {
    decision: Decision<'a>,
    would_be: Option<WouldBe<'a>>,
    conditions: Checked<'a>,
}

/// What policy says about one call.
#[derive(Debug)]
pub enum Decision<'a> {
    /// It may be made.
    Allow(Grant<'a>),
    /// It may not.
    Deny(Denial<'a>),
    /// It cannot be decided.
    Unavailable(Fault),
}

/// The permission to make one call, and to obtain its credential. SECURITY: only
/// [`Compiled::decide`] makes one.
#[derive(Debug)]
pub struct Grant<'a> {
    permit: PolicyRef<'a>,
    ground: Ground<'a>,
    /// The caller as the policy counts it; `None` if all that was proven counts.
    counted: Option<Attestation>,
}

/// A refusal.
#[derive(Debug)]
pub struct Denial<'a> {
    reason: DenyReason,
    policy: Option<PolicyRef<'a>>,
    ground: Ground<'a>,
}

/// How a call would end if dry-run policies were enforced. SECURITY: it is told and never acted upon;
/// there is no grant in it.
#[derive(Clone, Copy, Debug)]
pub struct WouldBe<'a> {
    /// How it would end.
    pub outcome: Outcome,
    /// The policy that would decide; `None` if none would match.
    pub policy: Option<PolicyRef<'a>>,
}

/// The policy that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRef<'a> {
    pub(crate) rule: &'a Rule,
    /// The place of the action among the rule's.
    pub(crate) action: usize,
}

/// The conditions that were looked at, each once.
pub(crate) type Checked<'a> = SmallVec<[(&'a Condition, ConditionOutcome); 4]>;

/// What was decided about, from which the decision's scope follows.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) compiled: &'a Compiled,
    pub(crate) attestation: &'a Attestation,
    pub(crate) request: Request<'a>,
    pub(crate) decided_at: Timestamp,
    /// How far the answer reaches.
    pub(crate) horizon: Horizon,
    /// How far it reaches together with what dry-run policies would make of it.
    pub(crate) rehearsed_horizon: Horizon,
}

impl<'a> Decided<'a> {
    pub(crate) const fn new(
        decision: Decision<'a>,
        would_be: Option<WouldBe<'a>>,
        conditions: Checked<'a>,
    ) -> Self {
        Self {
            decision,
            would_be,
            conditions,
        }
    }

    /// The answer.
    pub const fn decision(&self) -> &Decision<'a> {
        &self.decision
    }

    /// The answer, to act upon.
    pub fn into_decision(self) -> Decision<'a> {
        self.decision
    }

    /// How the call would end if dry-run policies were enforced; `None` if none covers it.
    pub const fn would_be(&self) -> Option<WouldBe<'a>> {
        self.would_be
    }

    /// The conditions of the policies that cover the call and accept who proved the caller, by
    /// qualified name.
    pub fn conditions(&self) -> impl Iterator<Item = (&'a str, ConditionOutcome)> {
        self.conditions
            .iter()
            .map(|(condition, outcome)| (&*condition.name, *outcome))
    }
}

impl<'a> PolicyRef<'a> {
    /// The policy document's qualified name: `payment-to-stripe`.
    pub fn name(self) -> &'a str {
        self.rule.policy()
    }

    /// `policy_matched` of the audit event: `allow:payment-service:stripe-api:read`.
    pub fn matched(self) -> &'a str {
        self.rule.matched(self.action)
    }
}

impl<'a> Grant<'a> {
    /// SECURITY: called once, at the end of a decision.
    pub(crate) fn of(permit: PolicyRef<'a>, ground: Ground<'a>) -> Self {
        let counted = permit.rule.narrowed(ground.attestation);
        Self {
            permit,
            ground,
            counted,
        }
    }

    /// `policy_matched` of the audit event: `allow:payment-service:stripe-api:read`.
    pub fn policy_matched(&self) -> &'a str {
        self.permit.matched()
    }

    /// The policy document's qualified name.
    pub fn policy(&self) -> &'a str {
        self.permit.name()
    }

    /// Who calls. SECURITY: only what the providers proved that the policy names.
    pub fn attestation(&self) -> &Attestation {
        self.counted.as_ref().unwrap_or(self.ground.attestation)
    }

    /// Of `shown`, the evidence that the caller's attestation was made from, what [`Self::attestation`] rests
    /// on. `None` if `shown` is other evidence.
    ///
    /// SECURITY: the issuer believes all that it is handed, so nothing else is handed to it.
    pub fn evidence<'e>(&self, shown: impl Into<EvidenceRef<'e>>) -> Option<Evidence> {
        let shown = shown.into();
        if self.counted.is_none() {
            return Some(shown.to_evidence());
        }
        let EvidenceRef::Several(several) = shown else {
            return None;
        };
        let proofs = self.ground.attestation.proofs();
        if proofs.count() != several.pieces().len() {
            return None;
        }
        let proofs = self.ground.attestation.proofs();
        let counting = several.pieces().iter().zip(proofs);
        let counting =
            counting.filter(|(_, proof)| self.permit.rule.accepts.includes(&proof.provider));
        let counting = counting.map(|(piece, _)| piece.clone()).collect();
        Evidence::together(counting, several.agreement())
    }

    /// Whether `shown` can be the evidence that [`Self::attestation`] rests on.
    pub fn rests_on(&self, shown: EvidenceRef<'_>) -> bool {
        self.counted.is_none() || self.evidence(shown).is_some()
    }

    /// With which credential; `None` lets the call pass without one.
    pub fn credential(&self) -> Option<&'a CredentialProvider> {
        self.permit.rule.credential.as_deref()
    }

    /// Where the credential goes.
    pub fn placements(&self) -> &'a Arc<[Placement]> {
        &self.permit.rule.placements
    }

    /// The first moment at which it no longer holds: the evidence expires, a condition may change, or
    /// five minutes are over. The credential may expire earlier.
    pub const fn valid_until(&self) -> Timestamp {
        self.ground.horizon.until
    }

    /// As [`Self::valid_until`]; `None` if the answer is about this call alone. What dry-run policies read
    /// does not matter to it.
    pub fn kept_until(&self) -> Option<Timestamp> {
        self.ground.kept_until()
    }

    /// The revision of the policy set that granted it.
    pub fn revision(&self) -> &'a str {
        self.ground.compiled.revision()
    }

    /// Which calls of `caller`, whose attestation this is, get the same answer, and the same one if dry-run
    /// policies were enforced, so that whoever keeps it can tell both. It is worked out anew.
    pub fn scope(&self, caller: Caller) -> Scope {
        self.ground.scope(caller)
    }
}

impl<'a> Denial<'a> {
    pub(crate) const fn new(
        reason: DenyReason,
        policy: Option<PolicyRef<'a>>,
        ground: Ground<'a>,
    ) -> Self {
        Self {
            reason,
            policy,
            ground,
        }
    }

    /// Why.
    pub const fn reason(&self) -> &DenyReason {
        &self.reason
    }

    /// Why, for keeping.
    pub fn into_reason(self) -> DenyReason {
        self.reason
    }

    /// The policy that denies, or that would allow if the caller were proven by another provider, the
    /// target reached over TLS, or its conditions held. `None`: no policy is about this call.
    pub const fn policy(&self) -> Option<PolicyRef<'a>> {
        self.policy
    }

    /// The first moment at which it no longer holds, as with a grant.
    pub const fn valid_until(&self) -> Timestamp {
        self.ground.horizon.until
    }

    /// As [`Self::valid_until`]; `None` if the answer is about this call alone. What dry-run policies read
    /// does not matter to it.
    pub fn kept_until(&self) -> Option<Timestamp> {
        self.ground.kept_until()
    }

    /// Which calls of `caller`, whose attestation this is, get the same answer, and the same one if dry-run
    /// policies were enforced, so that whoever keeps it can tell both. It is worked out anew.
    pub fn scope(&self, caller: Caller) -> Scope {
        self.ground.scope(caller)
    }
}

impl Ground<'_> {
    fn kept_until(&self) -> Option<Timestamp> {
        let is_kept = !self.horizon.once && self.horizon.until > self.decided_at;
        is_kept.then_some(self.horizon.until)
    }
}

impl fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("revision", &self.compiled.revision())
            .field("caller", &self.attestation.spiffe_id())
            .field("request", &self.request)
            .field("horizon", &self.horizon)
            .finish_non_exhaustive()
    }
}
