//! What each policy did to a decision, and in which order they are told.

use attache_core::{
    attestation::Attestation,
    decision::{DenyReason, Fault},
    event::ConditionOutcome,
};
use serde::{Deserialize, Serialize};

use super::{Considered, Verdict, check, check::Check, circumstance};
use crate::{
    compiled::Bound,
    condition::Facts,
    decision::{Decided, Decision},
    document::Effect,
    rule::{Rule, RuleAction},
    selector::Entry,
};

/// What a policy did to the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The decision rests on it.
    Decides,
    /// An allow whose credential is another than that of an equal allow.
    Conflicts,
    /// It applies and says the same.
    Agrees,
    /// An allow that applies, and the decision goes against it: a deny wins.
    Overruled,
    /// An allow that applies, and a more specific one wins over it.
    Outranked,
    /// A dry-run policy that applies: it would count if it were enforced.
    Rehearses,
    /// It does not apply, and of those that do not it is the nearest.
    Nearest,
    /// It does not apply.
    DoesNotApply,
}

/// A policy as it stands to the call.
pub(super) struct Judged<'a> {
    bound: Bound<'a>,
    /// The selector entry that matches, or else the one that fails by the fewest attributes.
    entry: Option<&'a Entry>,
    /// The action that covers the call, or else the nearest.
    /// By its place in the rule.
    action: Option<usize>,
    /// Whether it is about this host and port.
    on_target: bool,
    /// Whether it counts, or would if it were enforced.
    applies: bool,
    /// For an allow: how specific its target is.
    segments: usize,
    /// How far it is from applying.
    distance: usize,
    part: Part,
}

/// How many conditions of a policy are not met.
#[derive(Default)]
struct Unmet {
    not_met: usize,
    unavailable: usize,
}

/// What a wrong host or port counts beside an attribute, a method or a path.
const WRONG_PORT: usize = 10;
const SIMILAR_HOST: usize = 20;
const WRONG_HOST: usize = 100;

impl<'a> Judged<'a> {
    pub(super) fn of(bound: Bound<'a>, facts: &Facts<'_>) -> Self {
        let rule = bound.rule;
        let counted = counted(&bound, facts);
        let seen = &facts.narrowed(counted.as_ref());
        let failing = |entry: &&Entry| entry.mismatches(seen.attestation).0;
        let entry = bound.entries.iter().min_by_key(failing);
        let covering = rule.covering(&facts.request);
        let action = covering.map(|(_, action)| action);
        let action = action.or_else(|| {
            let actions = rule.actions.iter().enumerate();
            let nearest = actions.min_by_key(|(_, it)| unlike(it, facts));
            nearest.map(|(place, _)| place)
        });
        let unlike_it = action.and_then(|place| rule.actions.get(place));
        let on_target = bound.covers_host && bound.port == facts.request.port;
        let covers = bound.is_client && on_target && covering.is_some();
        let accepted = rule.accepts(facts.attestation);
        // Of a policy that is not about this call they are read only if it is told.
        let unmet = if covers && accepted {
            unmet(rule, seen)
        } else {
            Unmet::default()
        };
        let distance = [
            host_distance(&bound, facts.request.host.as_str()),
            if bound.port == facts.request.port {
                0
            } else {
                WRONG_PORT
            },
            if bound.is_client {
                0
            } else {
                entry.as_ref().map_or(1, failing)
            },
            usize::from(!accepted),
            unlike_it.map_or(2, |action| unlike(action, facts)),
            unmet.not_met,
            unmet.unavailable,
        ];
        Self {
            entry,
            action,
            on_target,
            applies: covers && accepted && unmet.not_met == 0,
            segments: covering.map_or(0, |(segments, _)| segments),
            distance: distance.into_iter().fold(0, usize::saturating_add),
            part: Part::DoesNotApply,
            bound,
        }
    }

    /// The attribute that keeps the caller from being the client.
    fn first_mismatch(&self, facts: &Facts<'_>) -> Option<String> {
        let entry = self.entry.filter(|_| !self.bound.is_client)?;
        let (_, condition) = entry.mismatches(facts.attestation);
        condition.map(|condition| condition.attribute.to_string())
    }

    /// Whether it is about this caller and target, and asks what time it is.
    pub(super) fn reads_clock(&self) -> bool {
        let mut conditions = self.bound.rule.conditions.iter();
        self.on_target
            && self.bound.is_client
            && conditions.any(|condition| circumstance::reads_clock(condition))
    }

    /// The order in which policies are told.
    pub(super) fn order(&self) -> impl Ord + use<'a> {
        (self.part, self.distance, self.bound.rule.policy())
    }

    pub(super) fn told(&self, facts: &Facts<'_>) -> Considered {
        let rule = self.bound.rule;
        let counted = counted(&self.bound, facts);
        let seen = &facts.narrowed(counted.as_ref());
        let mut checks: Vec<Check> = check::target(&self.bound, facts).into();
        checks.extend(
            self.entry
                .into_iter()
                .flat_map(|entry| check::attributes(entry, seen)),
        );
        checks.extend(
            self.action
                .and_then(|place| rule.actions.get(place))
                .into_iter()
                .flat_map(|action| check::action(action, facts)),
        );
        checks.push(check::provider(rule, facts));
        checks.extend(check::transport(rule, facts));
        let conditions = rule.conditions.iter();
        checks.extend(conditions.map(|condition| circumstance::check(condition, seen)));
        Considered {
            policy: rule.policy().to_owned(),
            matched: self
                .action
                .map(|place| rule.matched(place).to_owned())
                .unwrap_or_default(),
            dry_run: !rule.is_enforced(),
            part: self.part,
            checks,
        }
    }

    fn is_named(&self, name: Option<&str>) -> bool {
        name == Some(self.bound.rule.policy())
    }

    /// Of an allow: host, then path.
    fn rank(&self) -> impl Ord + PartialEq + use<'a> {
        (self.bound.rank, self.segments)
    }
}

/// Says of each policy what it did.
pub(super) fn assign(
    judged: &mut [Judged<'_>],
    decided: &Decided<'_>,
    verdict: &Verdict,
    facts: &Facts<'_>,
) {
    let decision = decided.decision();
    let decisive = verdict
        .policy
        .as_deref()
        .filter(|_| rests_on_policy(decision));
    let highest = judged
        .iter()
        .filter(|it| {
            it.applies && it.bound.rule.is_enforced() && it.bound.rule.effect == Effect::Allow
        })
        .map(Judged::rank)
        .max();
    for one in judged.iter_mut().filter(|one| one.applies) {
        let of_highest = highest
            .as_ref()
            .is_some_and(|highest| one.rank() == *highest);
        one.part = match (one.bound.rule.effect, decision) {
            _ if !one.bound.rule.is_enforced() => Part::Rehearses,
            _ if one.is_named(decisive) => Part::Decides,
            (Effect::Deny, _) => Part::Agrees,
            (Effect::Allow, _) if !of_highest => Part::Outranked,
            (Effect::Allow, Decision::Unavailable(Fault::CredentialConflict)) => Part::Conflicts,
            (Effect::Allow, Decision::Allow(_)) => Part::Agrees,
            (Effect::Allow, Decision::Deny(_) | Decision::Unavailable(_)) => Part::Overruled,
        };
    }
    // Where the evidence has expired, no policy comes near.
    let by_policy = matches!(decision, Decision::Deny(denial)
        if !matches!(denial.reason(), DenyReason::EvidenceRejected(_)));
    if by_policy && decisive.is_none() {
        name_nearest(judged, verdict, facts);
    }
}

/// Whether the named policy settles the call, and does not merely come near.
fn rests_on_policy(decision: &Decision<'_>) -> bool {
    match decision {
        Decision::Allow(_) => true,
        Decision::Deny(denial) => matches!(
            denial.reason(),
            DenyReason::DeniedByPolicy
                | DenyReason::ConditionUnavailable
                | DenyReason::DestinationPlaintext
        ),
        Decision::Unavailable(_) => false,
    }
}

/// The policy that the denial speaks of, or else the enforced allow that comes nearest.
fn name_nearest(judged: &mut [Judged<'_>], verdict: &Verdict, facts: &Facts<'_>) {
    let spoken_of = |it: &Judged<'_>| {
        let mismatch = verdict.mismatch.as_ref().filter(|_| it.on_target);
        let same_mismatch = mismatch
            .is_some_and(|mismatch| it.first_mismatch(facts).as_ref() == Some(&mismatch.attribute));
        it.is_named(verdict.policy.as_deref()) || same_mismatch
    };
    let nearest = judged
        .iter_mut()
        .filter(|it| it.bound.rule.effect == Effect::Allow && it.bound.rule.is_enforced())
        .min_by_key(|it| (!spoken_of(it), it.distance, it.bound.rule.policy()));
    if let Some(nearest) = nearest {
        nearest.part = Part::Nearest;
    }
}

/// What the policy counts of the caller's proofs, if that decides whether it is about the caller.
fn counted(bound: &Bound<'_>, facts: &Facts<'_>) -> Option<Attestation> {
    let mut entries = bound.entries.iter();
    let is_client = entries.any(|entry| entry.matches(facts.attestation));
    let narrowed = is_client.then(|| bound.rule.narrowed(facts.attestation));
    narrowed.flatten()
}

fn unmet(rule: &Rule, facts: &Facts<'_>) -> Unmet {
    let mut unmet = Unmet::default();
    for condition in &rule.conditions {
        match condition.read(facts).outcome {
            ConditionOutcome::Met => {}
            ConditionOutcome::NotMet => unmet.not_met = unmet.not_met.saturating_add(1),
            ConditionOutcome::Unavailable => {
                unmet.unavailable = unmet.unavailable.saturating_add(1)
            }
        }
    }
    unmet
}

/// Whether method and path are others than the action's, each counted.
fn unlike(action: &RuleAction, facts: &Facts<'_>) -> usize {
    let request = &facts.request;
    let listed = action.methods.contains(request.method);
    let under = action
        .prefixes
        .iter()
        .any(|prefix| action.reaches(prefix, request.path));
    usize::from(!listed).saturating_add(usize::from(!under))
}

fn host_distance(bound: &Bound<'_>, host: &str) -> usize {
    if bound.covers_host {
        return 0;
    }
    if is_similar(bound.host, host) {
        SIMILAR_HOST
    } else {
        WRONG_HOST
    }
}

/// Whether one may be a misspelling of the other.
fn is_similar(one: &str, other: &str) -> bool {
    one.len().abs_diff(other.len()) <= 3 && strsim::osa_distance(one, other) <= 3
}
