//! One decision: what the rules that match so far come to.

use attache_core::{
    attestation::Attestation,
    decision::{DenyReason, Fault},
    request::{Request, Transport},
};

use crate::{
    compiled::{Compiled, targets::HostRank},
    decision::{Decision, Denial, Grant, PolicyRef},
    document::{Effect, TlsRule},
    rule::Rule,
};

/// How many client workloads a denial is compared with to find the nearest: a flood of denials must not
/// cost more than the calls that are allowed.
const MAX_COMPARED: usize = 256;

pub(super) struct Search<'a, 'r> {
    attestation: &'a Attestation,
    request: &'r Request<'r>,
    denied: Option<PolicyRef<'a>>,
    allowed: Option<Allowed<'a>>,
    /// An allow that would apply if another provider had proven the caller.
    not_accepted: Option<PolicyRef<'a>>,
    /// Whether the caller is a client that some policy allows something on this target.
    client_known: bool,
}

/// The allows of the highest rank.
struct Allowed<'a> {
    rank: (HostRank, usize),
    permit: PolicyRef<'a>,
    /// Whether two of them grant different credentials.
    conflict: bool,
    /// Whether one of them demands TLS.
    tls_required: bool,
}

impl<'a, 'r> Search<'a, 'r> {
    pub(super) const fn new(attestation: &'a Attestation, request: &'r Request<'r>) -> Self {
        let (denied, allowed, not_accepted) = (None, None, None);
        Self {
            attestation,
            request,
            denied,
            allowed,
            not_accepted,
            client_known: false,
        }
    }

    /// Takes a rule into account whose client and target match. The order of calls does not matter, nor
    /// does a rule that comes twice.
    pub(super) fn consider(&mut self, rule: &'a Rule, host: HostRank) {
        self.client_known |= rule.effect == Effect::Allow;
        let Some((segments, action)) = rule.covering(self.request) else {
            return;
        };
        let policy = PolicyRef { rule, action };
        let accepted = rule.accepts.includes(self.attestation.provider());
        match (rule.effect, accepted) {
            (Effect::Deny, true) => keep_first(&mut self.denied, policy),
            (Effect::Deny, false) => {}
            (Effect::Allow, false) => keep_first(&mut self.not_accepted, policy),
            (Effect::Allow, true) => self.allow(policy, (host, segments)),
        }
    }

    fn allow(&mut self, policy: PolicyRef<'a>, rank: (HostRank, usize)) {
        let tls_required = policy.rule.tls == TlsRule::Required;
        match &mut self.allowed {
            Some(best) if best.rank > rank => {}
            Some(best) if best.rank == rank => {
                best.conflict |= !best.permit.rule.grants_same_as(policy.rule);
                best.tls_required |= tls_required;
                if policy.name() < best.permit.name() {
                    best.permit = policy;
                }
            }
            Some(_) | None => {
                self.allowed = Some(Allowed {
                    rank,
                    permit: policy,
                    conflict: false,
                    tls_required,
                });
            }
        }
    }

    pub(super) fn decision(self, compiled: &'a Compiled) -> Decision<'a> {
        if let Some(policy) = self.denied {
            return deny(DenyReason::DeniedByPolicy, Some(policy));
        }
        let plaintext = self.request.transport == Transport::Plaintext;
        match self.allowed {
            Some(Allowed { conflict: true, .. }) => {
                Decision::Unavailable(Fault::CredentialConflict)
            }
            Some(Allowed {
                permit,
                tls_required: true,
                ..
            }) if plaintext => deny(DenyReason::DestinationPlaintext, Some(permit)),
            Some(Allowed { permit, .. }) => {
                Decision::Allow(Grant::of(self.attestation, permit, &compiled.revision))
            }
            None if self.not_accepted.is_some() => {
                deny(DenyReason::ProviderNotAccepted, self.not_accepted)
            }
            None if self.client_known => deny(DenyReason::NoPolicy, None),
            None => deny(self.nearest(compiled), None),
        }
    }

    /// What the caller would have to be to be known on this target.
    fn nearest(&self, compiled: &Compiled) -> DenyReason {
        let targets = compiled
            .targets
            .covering(self.request.host, self.request.port);
        let clients = targets
            .flat_map(|target| target.allowed.iter().copied())
            .take(MAX_COMPARED);
        let mismatch = compiled.clients.nearest_mismatch(clients, self.attestation);
        mismatch.map_or(DenyReason::NoPolicy, DenyReason::AttributeMismatch)
    }
}

const fn deny(reason: DenyReason, policy: Option<PolicyRef<'_>>) -> Decision<'_> {
    Decision::Deny(Denial::new(reason, policy))
}

/// Of several policies the first by name is told, in whatever order they were found.
fn keep_first<'a>(kept: &mut Option<PolicyRef<'a>>, policy: PolicyRef<'a>) {
    if kept.is_none_or(|kept| policy.name() < kept.name()) {
        *kept = Some(policy);
    }
}
