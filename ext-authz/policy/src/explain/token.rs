//! Why a workload gets a token into its own hands, or not: told of one of the calls that the token would serve
//! for, the one that the answer rests on.

use attache_core::{
    attestation::Attestation,
    request::{Request, Transport},
    token::TokenTarget,
};
use serde::{Deserialize, Serialize};

use super::{Explanation, Supposed, Verdict, WouldBeTold};
use crate::{
    compiled::{ANY_LABEL, ANY_METHOD, Compiled, Example, NotHandedOut, Withheld},
    condition::Seen,
    context::Context,
    decision::{Decided, Decision},
};

/// A call that a token would serve for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedCall {
    /// `null` for one that no policy names.
    pub method: Option<String>,
    /// `*.example.com` for a host below it that no policy names.
    pub host: String,
    /// On which port.
    pub port: u16,
    /// `tls` or `plaintext`.
    pub transport: String,
    /// It stands for what lies below it, too.
    pub path: String,
}

/// Why a workload gets a token, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenExplanation {
    /// The answer, and what the policies say of `rests_on`.
    pub explanation: Explanation,
    /// `None` if no policy gives such a token.
    pub rests_on: Option<ServedCall>,
}

/// What is asked for: as [`Compiled::hand_out`].
#[derive(Clone, Copy, Debug)]
pub struct TokenAsked<'a> {
    /// Whom it is for.
    pub audience: Option<&'a str>,
    /// Where it is used.
    pub target: Option<&'a TokenTarget>,
}

impl Compiled {
    /// Explains whether the caller may hold a token itself, and at most `limit` policies.
    pub fn explain_hand_out(
        &self,
        attestation: &Attestation,
        asked: TokenAsked<'_>,
        context: &Context<'_>,
        limit: usize,
    ) -> TokenExplanation {
        let given = self.give(attestation, asked.audience, asked.target, context);
        let (verdict, decided, call) = match given {
            Ok(given) => (
                Verdict::of(&given.decided),
                Some(given.decided),
                Some(given.call),
            ),
            Err(refused) => (
                withheld(&refused),
                refused.decided.map(|decided| *decided),
                refused.call.map(|call| *call),
            ),
        };
        let mut explanation = match call {
            Some(Example { request, seen }) => {
                let mut told = self.explain_seeing(seen, attestation, &request, context, limit);
                let checks = told.policies.iter_mut().flat_map(|it| &mut it.checks);
                let actual = checks.filter_map(|check| check.actual.as_mut());
                actual.for_each(|actual| say_any(actual, seen));
                told
            }
            None => self.explain_nothing(&verdict),
        };
        let would_be = decided.as_ref().and_then(Decided::would_be);
        explanation.would_be = would_be.map(WouldBeTold::of);
        // A token is good until it expires, whatever becomes of the answer.
        explanation.verdict = Verdict {
            valid_until: None,
            ..verdict
        };
        TokenExplanation {
            explanation,
            rests_on: call.map(|call| ServedCall::of(&call)),
        }
    }

    fn explain_nothing(&self, verdict: &Verdict) -> Explanation {
        Explanation {
            revision: self.revision().to_owned(),
            verdict: verdict.clone(),
            would_be: None,
            policies: Vec::new(),
            policy_count: self.policy_count(),
            depends_on_time: false,
        }
    }
}

impl Supposed {
    /// Explains whether this caller may hold a token itself, and at most `limit` policies.
    pub fn explain_hand_out(
        &self,
        policies: &Compiled,
        asked: TokenAsked<'_>,
        context: &Context<'_>,
        limit: usize,
    ) -> TokenExplanation {
        policies.explain_hand_out(self.attestation(), asked, context, limit)
    }
}

/// What stands for many is told as such.
fn say_any(actual: &mut String, seen: Seen) {
    if actual == ANY_METHOD {
        "any other".clone_into(actual);
    } else if let Some(below) = any_below(actual, seen) {
        *actual = below;
    }
}

/// `*.example.com`, if `host` stands for all below it that no policy names.
fn any_below(host: &str, seen: Seen) -> Option<String> {
    let below = host
        .strip_prefix(ANY_LABEL)
        .filter(|_| seen == Seen::Port)?;
    below.starts_with('.').then(|| format!("*{below}"))
}

/// As the audit event tells it: the reason, and what is decided of a call.
fn withheld(refused: &NotHandedOut<'_>) -> Verdict {
    let verdict = match &refused.why {
        Withheld::Denied(reason) => Verdict::refused(reason),
        Withheld::Unavailable(fault) => Verdict::fault(*fault),
    };
    let policy = match refused.decided.as_ref().map(|decided| decided.decision()) {
        Some(Decision::Allow(grant)) => Some((grant.policy(), grant.policy_matched())),
        Some(Decision::Deny(denial)) => {
            let policy = denial.policy();
            policy.map(|policy| (policy.name(), policy.matched()))
        }
        Some(Decision::Unavailable(_)) | None => None,
    };
    Verdict {
        policy: policy.map(|(name, _)| name.to_owned()),
        policy_matched: policy.map(|(_, matched)| matched.to_owned()),
        ..verdict
    }
}

impl ServedCall {
    fn of(call: &Example<'_>) -> Self {
        let Request {
            host,
            port,
            transport,
            method,
            path,
        } = call.request;
        let host = host.as_str();
        Self {
            method: (method != ANY_METHOD).then(|| method.to_owned()),
            host: any_below(host, call.seen).unwrap_or_else(|| host.to_owned()),
            port,
            transport: match transport {
                Transport::Tls => "tls".to_owned(),
                Transport::Plaintext => "plaintext".to_owned(),
            },
            path: path.as_str().to_owned(),
        }
    }
}
