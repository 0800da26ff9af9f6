//! The answers: a [`Grant`], which nothing else can make, a [`Denial`], or a fault.

use attache_core::{
    attestation::Attestation,
    decision::{DenyReason, Fault},
    time::Timestamp,
};

use crate::{
    document::{CredentialProvider, Placement},
    rule::{Rule, RuleAction},
};

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
/// [`Compiled::decide`](crate::Compiled::decide) makes one.
#[derive(Debug)]
pub struct Grant<'a> {
    attestation: &'a Attestation,
    permit: PolicyRef<'a>,
    revision: &'a str,
}

/// A refusal.
#[derive(Debug)]
pub struct Denial<'a> {
    reason: DenyReason,
    policy: Option<PolicyRef<'a>>,
}

/// The policy that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRef<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) action: &'a RuleAction,
}

impl<'a> PolicyRef<'a> {
    /// The policy document's qualified name: `payment-to-stripe`.
    pub fn name(self) -> &'a str {
        &self.rule.policy
    }

    /// `policy_matched` of the audit event: `allow:payment-service:stripe-api:read`.
    pub fn matched(self) -> &'a str {
        &self.action.matched
    }
}

impl<'a> Grant<'a> {
    /// SECURITY: called once, at the end of a decision.
    pub(crate) const fn of(
        attestation: &'a Attestation,
        permit: PolicyRef<'a>,
        revision: &'a str,
    ) -> Self {
        Self {
            attestation,
            permit,
            revision,
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

    /// Who calls.
    pub const fn attestation(&self) -> &'a Attestation {
        self.attestation
    }

    /// With which credential; `None` lets the call pass without one.
    pub fn credential(&self) -> Option<&'a CredentialProvider> {
        self.permit.rule.credential.as_deref()
    }

    /// Where the credential goes.
    pub fn placement(&self) -> &'a Placement {
        &self.permit.rule.placement
    }

    /// Until when the grant holds: the evidence's expiry.
    pub const fn valid_until(&self) -> Timestamp {
        self.attestation.expires_at()
    }

    /// The revision of the policy set that granted it.
    pub const fn revision(&self) -> &'a str {
        self.revision
    }
}

impl<'a> Denial<'a> {
    pub(crate) const fn new(reason: DenyReason, policy: Option<PolicyRef<'a>>) -> Self {
        Self { reason, policy }
    }

    /// Why.
    pub const fn reason(&self) -> &DenyReason {
        &self.reason
    }

    /// Why, for keeping.
    pub fn into_reason(self) -> DenyReason {
        self.reason
    }

    /// The policy that denies, or that would allow if the caller were proven by another provider or the
    /// target reached over TLS. `None`: no policy is about this call.
    pub const fn policy(&self) -> Option<PolicyRef<'a>> {
        self.policy
    }
}
