//! Callers that show no evidence. What is said of them proves nothing, so that a policy for them attaches
//! nothing: there is no [`crate::Grant`] in an [`Admitted`].

use attache_core::{
    attributes::Attributes, decision::DenyReason, event::ConditionOutcome, request::Request,
};

use super::{
    Compiled, rules,
    search::{Found, Tally, Verdict, both},
};
use crate::{
    condition::Condition,
    context::Context,
    decision::{Checked, PolicyRef, WouldBe},
    document::Effect,
    rule::{Accepts, Rule},
};

/// What policy says about a call whose caller shows no evidence.
#[derive(Debug)]
pub struct Admitted<'a> {
    answer: Result<PolicyRef<'a>, Turned<'a>>,
    would_be: Option<WouldBe<'a>>,
    conditions: Checked<'a>,
}

/// Why it may not be made, and the policy that says so.
#[derive(Clone, Debug)]
pub struct Turned<'a> {
    /// Why. Where no policy is about such callers, evidence is missing.
    pub reason: DenyReason,
    /// The policy that denies, or that would allow the call if its conditions held.
    pub policy: Option<PolicyRef<'a>>,
}

impl<'a> Admitted<'a> {
    /// The policy by which it may be made, without a credential, or why it may not.
    pub const fn answer(&self) -> &Result<PolicyRef<'a>, Turned<'a>> {
        &self.answer
    }

    /// How the call would end if dry-run policies were enforced; `None` if none covers it.
    pub const fn would_be(&self) -> Option<WouldBe<'a>> {
        self.would_be
    }

    /// The conditions of the policies that cover the call, by qualified name.
    pub fn conditions(&self) -> impl Iterator<Item = (&'a str, ConditionOutcome)> {
        let conditions = self.conditions.iter();
        conditions.map(|(condition, outcome)| (&*condition.name, *outcome))
    }
}

impl Compiled {
    /// Decides about a caller that shows no evidence, of whom `said` is said. The answer holds for this call
    /// alone.
    pub fn admit<'a>(
        &'a self,
        said: &Attributes,
        request: &Request<'a>,
        context: &Context<'_>,
    ) -> Admitted<'a> {
        let (mut enforced, mut rehearsed) = (Tally::default(), Tally::default());
        let (mut dry_run, mut checked) = (false, Checked::new());
        let clients = self.unproven_clients.iter().filter(|client| {
            let mut entries = self.clients.entries_of(**client).iter();
            entries.any(|entry| entry.is_said_of(said))
        });
        for client in clients {
            for target in self.targets.covering(request.host, request.port) {
                for rules::Bound { rule, .. } in self.rules.of(*client, target.gate.id) {
                    let Some((segments, action)) = rule.covering(request) else {
                        continue;
                    };
                    let outcome = rule
                        .is_about_unproven()
                        .then(|| check(rule, context, &mut checked));
                    let found = Found {
                        policy: PolicyRef { rule, action },
                        rank: (target.rank, segments),
                        outcome,
                    };
                    dry_run |= !rule.is_enforced();
                    if rule.is_enforced() {
                        enforced.add(&found);
                    }
                    rehearsed.add(&found);
                }
            }
        }
        let turned = |reason, policy| Err(Turned { reason, policy });
        let answer = match enforced.verdict(request.transport) {
            Verdict::Allow(policy) => Ok(policy),
            Verdict::Deny(reason, policy) => turned(reason, Some(policy)),
            // Such policies attach nothing, and so none contradicts another.
            Verdict::Conflict(_) | Verdict::Nothing => turned(DenyReason::EvidenceMissing, None),
        };
        Admitted {
            answer,
            would_be: dry_run.then(|| rehearsed.verdict(request.transport).would_be()),
            conditions: checked,
        }
    }
}

impl Rule {
    /// SECURITY: a rule that could attach a credential is never about a caller whom nobody proved.
    fn is_about_unproven(&self) -> bool {
        match self.effect {
            Effect::Allow => matches!(self.accepts, Accepts::Nobody) && self.credential.is_none(),
            Effect::Deny => matches!(self.accepts, Accepts::Nobody | Accepts::Anyone),
        }
    }
}

fn check<'a>(rule: &'a Rule, context: &Context<'_>, checked: &mut Checked<'a>) -> ConditionOutcome {
    let outcomes = rule.conditions.iter().map(|condition| {
        let outcome = condition.read_unproven(context);
        let condition: &Condition = condition;
        if !checked.iter().any(|(it, _)| std::ptr::eq(*it, condition)) {
            checked.push((condition, outcome));
        }
        outcome
    });
    outcomes.fold(ConditionOutcome::Met, both)
}
