//! The way to a decision: which policies were looked at, what of each holds, what does not and why. Each
//! single answer comes from the very functions that [`Compiled::decide`] asks, and the verdict from `decide`
//! itself, so that an explanation cannot tell of another decision than the real one.

mod check;
mod circumstance;
mod part;
mod supposed;
mod token;
mod verdict;

#[cfg(test)]
mod tests;

pub use check::{Check, Standing, Subject};
pub use part::Part;
pub use supposed::Supposed;
pub use token::{ServedCall, TokenAsked, TokenExplanation};
pub use verdict::{CredentialTold, MismatchTold, PlaceTold, Verdict, WouldBeTold};

use attache_core::{
    attestation::Attestation, attributes::Attributes, decision::DenyReason, request::Request,
};
use serde::{Deserialize, Serialize};

use crate::{
    compiled::Compiled,
    condition::{Facts, Seen},
    context::Context,
};
use part::Judged;

/// Why one call is decided as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The revision of the policy set.
    pub revision: String,
    /// The decision.
    pub verdict: Verdict,
    /// How the call would end if dry-run policies were enforced; `null` if none covers it.
    pub would_be: Option<WouldBeTold>,
    /// The policies, the most telling first.
    pub policies: Vec<Considered>,
    /// How many policies the set has.
    pub policy_count: usize,
    /// Whether the same call may be decided otherwise at another time: a policy for this caller and target
    /// has a condition that reads the clock.
    pub depends_on_time: bool,
}

impl Explanation {
    /// Whether no policy is about a caller without evidence, so that evidence is what is missing.
    pub fn is_of_nobody(&self) -> bool {
        let missing = DenyReason::EvidenceMissing;
        self.verdict.policy.is_none() && self.verdict.code.as_deref() == Some(missing.code())
    }
}

/// One policy, held against the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// The qualified name of the document.
    pub policy: String,
    /// `<effect>:<client>:<server>:<action>` with the action that covers the call, or else the nearest.
    pub matched: String,
    /// Whether the policy only rehearses.
    pub dry_run: bool,
    /// What it did to the decision.
    pub part: Part,
    /// What it asks, in the order in which it is looked at.
    pub checks: Vec<Check>,
}

impl Compiled {
    /// Explains one call: the decision, and at most `limit` policies.
    pub fn explain(
        &self,
        attestation: &Attestation,
        request: &Request<'_>,
        context: &Context<'_>,
        limit: usize,
    ) -> Explanation {
        self.explain_seeing(Seen::Whole, attestation, request, context, limit)
    }

    /// The same of a call that stands for several.
    fn explain_seeing(
        &self,
        seen: Seen,
        attestation: &Attestation,
        request: &Request<'_>,
        context: &Context<'_>,
        limit: usize,
    ) -> Explanation {
        let facts = Facts {
            attestation,
            request: *request,
            context: *context,
            seen,
        };
        let decided = self.decide_seeing(seen, attestation, request, context);
        let mut judged: Vec<Judged<'_>> = Vec::new();
        self.for_every_rule(attestation, request.host, &mut |bound| {
            judged.push(Judged::of(bound, &facts));
        });
        let verdict = Verdict::of(&decided);
        part::assign(&mut judged, &decided, &verdict, &facts);
        judged.sort_by(|one, other| one.order().cmp(&other.order()));
        Explanation {
            revision: self.revision().to_owned(),
            would_be: decided.would_be().map(WouldBeTold::of),
            verdict,
            policy_count: self.policy_count(),
            depends_on_time: judged.iter().any(Judged::reads_clock),
            policies: judged
                .into_iter()
                .take(limit)
                .map(|judged| judged.told(&facts))
                .collect(),
        }
    }

    /// Explains a call whose caller shows no evidence, and of whom `said` is said: the answer of the policies with
    /// `attestation: none`. The verdict names the policy; the others are not told of, for they ask for evidence.
    pub fn explain_unproven(
        &self,
        said: &Attributes,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Explanation {
        let admitted = self.admit(said, request, context);
        Explanation {
            revision: self.revision().to_owned(),
            verdict: Verdict::of_unproven(&admitted),
            would_be: admitted.would_be().map(WouldBeTold::of),
            policies: Vec::new(),
            policy_count: self.policy_count(),
            // Such an answer is never kept, and a condition of time is told by its name alone.
            depends_on_time: admitted.conditions().next().is_some(),
        }
    }
}
