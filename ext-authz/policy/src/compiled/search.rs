//! One decision: what the rules that match so far come to, and what they would come to if dry-run
//! policies were enforced.

use attache_core::{
    decision::{DenyReason, Fault},
    event::{ConditionOutcome, Outcome},
    request::Transport,
};
use smallvec::SmallVec;

use crate::{
    compiled::{Compiled, targets::HostRank},
    condition::{Facts, Horizon},
    decision::{Checked, Decided, Decision, Denial, Grant, Ground, PolicyRef, WouldBe},
    document::{Effect, TlsRule},
    rule::Rule,
};

/// How many client workloads a denial is compared with to find the nearest: a flood of denials must not
/// cost more than the calls that are allowed.
const MAX_COMPARED: usize = 256;

pub(super) struct Search<'a> {
    facts: Facts<'a>,
    /// Policies that are enforced.
    enforced: Tally<'a>,
    /// All policies.
    rehearsed: Tally<'a>,
    /// Whether a dry-run policy covers the call.
    dry_run: bool,
    /// Whether the caller is a client that some enforced policy allows something on this target.
    client_known: bool,
    checked: Checked<'a>,
    /// How far each of `checked` reaches.
    horizons: SmallVec<[Horizon; 4]>,
    /// Of the enforced policies: how far the answer reaches.
    horizon: Horizon,
    /// Of all policies.
    rehearsed_horizon: Horizon,
}

/// What policies come to.
#[derive(Default)]
pub(super) struct Tally<'a> {
    denied: Option<PolicyRef<'a>>,
    allowed: Option<Allowed<'a>>,
    /// An allow whose conditions do not hold.
    not_met: Option<PolicyRef<'a>>,
    /// An allow that would apply if another provider had proven the caller.
    not_accepted: Option<PolicyRef<'a>>,
}

/// The allows of the highest rank.
struct Allowed<'a> {
    rank: Rank,
    permit: PolicyRef<'a>,
    /// One of them of which it cannot be told whether its conditions hold.
    unavailable: Option<PolicyRef<'a>>,
    /// Whether two of them grant different credentials.
    conflict: bool,
    /// Whether one of them demands TLS.
    tls_required: bool,
}

/// A policy that covers the call.
pub(super) struct Found<'a> {
    pub(super) policy: PolicyRef<'a>,
    pub(super) rank: Rank,
    /// How its conditions stand; `None` if it does not accept who proved the caller.
    pub(super) outcome: Option<ConditionOutcome>,
}

/// Host, then segments of the path prefix.
type Rank = (HostRank, usize);

/// What a tally comes to.
pub(super) enum Verdict<'a> {
    Allow(PolicyRef<'a>),
    Deny(DenyReason, PolicyRef<'a>),
    Conflict(PolicyRef<'a>),
    Nothing,
}

impl<'a> Search<'a> {
    pub(super) fn new(facts: Facts<'a>) -> Self {
        let mut horizon = Horizon::longest(facts.context.now);
        horizon.until = horizon.until.min(facts.attestation.expires_at());
        Self {
            facts,
            enforced: Tally::default(),
            rehearsed: Tally::default(),
            dry_run: false,
            client_known: false,
            checked: Checked::new(),
            horizons: SmallVec::new(),
            horizon,
            rehearsed_horizon: horizon,
        }
    }

    /// Takes a rule into account whose client and target match. The order of calls does not matter, nor
    /// does a rule that comes twice.
    pub(super) fn consider(&mut self, rule: &'a Rule, host: HostRank) {
        let enforced = rule.is_enforced();
        self.client_known |= enforced && rule.effect == Effect::Allow;
        let Some((segments, action)) = rule.covering(&self.facts.request) else {
            return;
        };
        let accepted = rule.accepts(self.facts.attestation);
        if rule.effect == Effect::Deny && !accepted {
            return;
        }
        self.dry_run |= !enforced;
        let found = Found {
            policy: PolicyRef { rule, action },
            rank: (host, segments),
            outcome: accepted.then(|| self.check(rule)),
        };
        if enforced {
            self.enforced.add(&found);
        }
        self.rehearsed.add(&found);
    }

    /// How the conditions of a policy stand together: one that does not hold settles it, and then one
    /// that cannot be told. Each is read, so that the event names it and the horizon knows it.
    fn check(&mut self, rule: &'a Rule) -> ConditionOutcome {
        if self.facts.attestation.is_by_several() {
            return self.check_apart(rule);
        }
        let mut all = ConditionOutcome::Met;
        for condition in &rule.conditions {
            let mut known = self.checked.iter().zip(&self.horizons);
            let known = known.find(|((it, _), _)| std::ptr::eq(*it, &**condition));
            let (outcome, horizon) = match known {
                Some(((_, outcome), horizon)) => (*outcome, *horizon),
                None => {
                    let reading = condition.read(&self.facts);
                    self.checked.push((condition, reading.outcome));
                    self.horizons.push(reading.horizon);
                    (reading.outcome, reading.horizon)
                }
            };
            self.narrow(rule, horizon);
            all = both(all, outcome);
        }
        all
    }

    /// As [`Self::check`], where each policy may count another part of what was proven. Of the outcomes of one
    /// condition the event tells the one that lets the least through.
    fn check_apart(&mut self, rule: &'a Rule) -> ConditionOutcome {
        let narrowed = rule.narrowed(self.facts.attestation);
        let facts = self.facts.narrowed(narrowed.as_ref());
        let mut all = ConditionOutcome::Met;
        for condition in &rule.conditions {
            let reading = condition.read(&facts);
            self.narrow(rule, reading.horizon);
            let mut told = self.checked.iter_mut();
            match told.find(|(it, _)| std::ptr::eq(*it, &**condition)) {
                Some((_, outcome)) => *outcome = both(*outcome, reading.outcome),
                None => self.checked.push((condition, reading.outcome)),
            }
            all = both(all, reading.outcome);
        }
        all
    }

    /// What a dry-run policy reads changes how long its rehearsal holds, and not how long the answer does.
    fn narrow(&mut self, rule: &Rule, horizon: Horizon) {
        self.rehearsed_horizon = self.rehearsed_horizon.narrowed(horizon);
        if rule.is_enforced() {
            self.horizon = self.horizon.narrowed(horizon);
        }
    }

    pub(super) fn decided(self, compiled: &'a Compiled) -> Decided<'a> {
        let Facts {
            attestation,
            request,
            context,
            ..
        } = self.facts;
        let ground = Ground {
            compiled,
            attestation,
            request,
            decided_at: context.now,
            horizon: self.horizon,
            rehearsed_horizon: self.rehearsed_horizon,
        };
        let deny = |reason, policy| Decision::Deny(Denial::new(reason, policy, ground));
        let decision = match self.enforced.verdict(request.transport) {
            Verdict::Allow(permit) => Decision::Allow(Grant::of(permit, ground)),
            Verdict::Deny(reason, policy) => deny(reason, Some(policy)),
            Verdict::Conflict(_) => Decision::Unavailable(Fault::CredentialConflict),
            Verdict::Nothing if self.client_known => deny(DenyReason::NoPolicy, None),
            Verdict::Nothing => deny(self.nearest(compiled), None),
        };
        let would_be = self
            .dry_run
            .then(|| self.rehearsed.verdict(request.transport).would_be());
        Decided::new(decision, would_be, self.checked)
    }

    /// What the caller would have to be to be known on this target.
    fn nearest(&self, compiled: &Compiled) -> DenyReason {
        let Facts {
            attestation,
            request,
            ..
        } = &self.facts;
        let targets = compiled
            .targets
            .entries_covering(request.host, request.port);
        let clients = targets
            .flat_map(|target| target.allowed.iter().copied())
            // One that the caller is, but by whom its policies do not ask, lacks nothing.
            .filter(|client| {
                let mut entries = compiled.clients.entries_of(*client).iter();
                !attestation.is_by_several() || !entries.any(|entry| entry.matches(attestation))
            })
            .take(MAX_COMPARED);
        let mismatch = compiled.clients.nearest_mismatch(clients, attestation);
        mismatch.map_or(DenyReason::NoPolicy, DenyReason::AttributeMismatch)
    }
}

impl<'a> Verdict<'a> {
    pub(super) const fn would_be(&self) -> WouldBe<'a> {
        let (outcome, policy) = match self {
            Self::Allow(policy) => (Outcome::Permitted, Some(*policy)),
            Self::Deny(_, policy) => (Outcome::Denied, Some(*policy)),
            Self::Conflict(policy) => (Outcome::Error, Some(*policy)),
            Self::Nothing => (Outcome::Denied, None),
        };
        WouldBe { outcome, policy }
    }
}

impl<'a> Tally<'a> {
    pub(super) fn add(&mut self, found: &Found<'a>) {
        let policy = found.policy;
        match (policy.rule.effect, found.outcome) {
            (Effect::Deny, None | Some(ConditionOutcome::NotMet)) => {}
            // SECURITY: a deny that cannot be told from none denies.
            (Effect::Deny, Some(ConditionOutcome::Met | ConditionOutcome::Unavailable)) => {
                keep_first(&mut self.denied, policy);
            }
            (Effect::Allow, None) => keep_first(&mut self.not_accepted, policy),
            (Effect::Allow, Some(ConditionOutcome::NotMet)) => {
                keep_first(&mut self.not_met, policy);
            }
            (Effect::Allow, Some(outcome)) => {
                self.allow(policy, found.rank, outcome == ConditionOutcome::Met);
            }
        }
    }

    /// SECURITY: an allow that cannot be told holds its rank, so that no wider one takes its place.
    fn allow(&mut self, policy: PolicyRef<'a>, rank: Rank, holds: bool) {
        let tls_required = policy.rule.tls == TlsRule::Required;
        match &mut self.allowed {
            Some(best) if best.rank > rank => {}
            Some(best) if best.rank == rank => {
                best.conflict |= !best.permit.rule.grants_same_as(policy.rule);
                best.tls_required |= tls_required;
                keep_lesser(&mut best.permit, policy);
                if !holds {
                    keep_first(&mut best.unavailable, policy);
                }
            }
            Some(_) | None => {
                self.allowed = Some(Allowed {
                    rank,
                    permit: policy,
                    unavailable: (!holds).then_some(policy),
                    conflict: false,
                    tls_required,
                });
            }
        }
    }

    pub(super) fn verdict(&self, transport: Transport) -> Verdict<'a> {
        if let Some(policy) = self.denied {
            return Verdict::Deny(DenyReason::DeniedByPolicy, policy);
        }
        match &self.allowed {
            Some(Allowed {
                unavailable: Some(policy),
                ..
            }) => Verdict::Deny(DenyReason::ConditionUnavailable, *policy),
            Some(allowed) if allowed.conflict => Verdict::Conflict(allowed.permit),
            Some(allowed) if allowed.tls_required && transport == Transport::Plaintext => {
                Verdict::Deny(DenyReason::DestinationPlaintext, allowed.permit)
            }
            Some(allowed) => Verdict::Allow(allowed.permit),
            None => match (self.not_met, self.not_accepted) {
                (Some(policy), _) => Verdict::Deny(DenyReason::ConditionNotMet, policy),
                (None, Some(policy)) => Verdict::Deny(DenyReason::ProviderNotAccepted, policy),
                (None, None) => Verdict::Nothing,
            },
        }
    }
}

/// How two conditions stand together: one that does not hold settles it, and then one that cannot be told.
pub(super) const fn both(one: ConditionOutcome, other: ConditionOutcome) -> ConditionOutcome {
    match (one, other) {
        (ConditionOutcome::NotMet, _) | (_, ConditionOutcome::NotMet) => ConditionOutcome::NotMet,
        (ConditionOutcome::Unavailable, _) | (_, ConditionOutcome::Unavailable) => {
            ConditionOutcome::Unavailable
        }
        (ConditionOutcome::Met, ConditionOutcome::Met) => ConditionOutcome::Met,
    }
}

/// Of several policies the first by name is told, in whatever order they were found.
fn keep_first<'a>(kept: &mut Option<PolicyRef<'a>>, policy: PolicyRef<'a>) {
    match kept {
        Some(kept) => keep_lesser(kept, policy),
        None => *kept = Some(policy),
    }
}

fn keep_lesser<'a>(kept: &mut PolicyRef<'a>, policy: PolicyRef<'a>) {
    if policy.name() < kept.name() {
        *kept = policy;
    }
}
