//! May this workload hold a token itself? A token in its own hands is good for every call that the target
//! takes, so one is given only where policy allows every call, and not if any of them is denied.

use std::collections::{BTreeSet, HashMap, HashSet};

use attache_core::{
    attestation::Attestation,
    decision::{DenyReason, Fault},
    request::{PathPrefix, Request, RequestPath, Transport},
    token::TokenTarget,
};

use super::Compiled;
use crate::{
    compile::Binding,
    context::Context,
    decision::{Decided, Decision},
    document::{CredentialKind, CredentialProvider, HostPattern, MethodSet, TlsRule},
};

/// Stands for every method that no policy names.
const ANY_METHOD: &str = "ATTACHE-ANY";
/// Most calls that are looked at for one target. More kinds of calls than that are not allowed all alike.
const MAX_CALLS: usize = 4096;

/// The targets for which policies give tokens, by audience. Only those that name a host: what is called
/// below a domain must be named by whoever asks.
pub(super) type Audiences = HashMap<Box<str>, Vec<TokenTarget>>;

/// The index of `bindings`.
pub(super) fn audiences(bindings: &[Binding]) -> Audiences {
    let mut index = Audiences::new();
    // Many targets may share one audience.
    let mut known = HashSet::new();
    for binding in bindings {
        let (Some(credential), HostPattern::Exact(host)) =
            (&binding.rule.credential, &binding.server.host)
        else {
            continue;
        };
        let target = TokenTarget {
            host: host.clone(),
            port: binding.server.port,
            transport: match binding.server.tls {
                TlsRule::Required => Transport::Tls,
                TlsRule::PlaintextAllowed => Transport::Plaintext,
            },
        };
        for audience in audiences_of(credential) {
            if known.insert((audience.clone(), target.clone())) {
                let targets = index.entry(audience.into_boxed_str()).or_default();
                targets.push(target.clone());
            }
        }
    }
    index
}

fn audiences_of(credential: &CredentialProvider) -> Vec<String> {
    let CredentialKind::Token(plan) = &credential.kind;
    plan.audiences.clone()
}

/// Why a workload gets no token into its own hands.
#[derive(Debug)]
pub struct NotHandedOut<'a> {
    /// Why.
    pub why: Withheld,
    /// The call that it rests on, for the event; `None` if no policy is about such a token.
    pub decided: Option<Box<Decided<'a>>>,
}

/// A denial or a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It may not.
    Denied(DenyReason),
    /// It cannot be decided.
    Unavailable(Fault),
}

/// A decision that allows, with a credential; or none.
type HandedOut<'a> = Result<Decided<'a>, NotHandedOut<'a>>;

impl Compiled {
    /// Decides whether the caller may hold a token itself: one for `target`, one for `audience` wherever it is
    /// used, or one for `audience` at `target`. What is `Ok` is an allow with a credential.
    ///
    /// SECURITY: a denial at any target that takes the token denies it: the caller could use it there.
    pub fn hand_out<'a>(
        &'a self,
        attestation: &'a Attestation,
        audience: Option<&str>,
        target: Option<&'a TokenTarget>,
        context: &Context<'a>,
    ) -> Result<Decided<'a>, NotHandedOut<'a>> {
        let at_target = |target| self.every_call(attestation, target, audience, context);
        let mut answer = target.map(at_target);
        let audiences = match (audience, &answer) {
            (Some(audience), _) => vec![audience.to_owned()],
            (None, Some(Ok(decided))) => credential(decided).map_or_else(Vec::new, audiences_of),
            (None, _) => Vec::new(),
        };
        for audience in &audiences {
            let users = self.audiences.get(audience.as_str()).into_iter().flatten();
            for user in users.filter(|user| Some(*user) != target) {
                let other = self.every_call(attestation, user, Some(audience), context);
                answer = Some(match answer {
                    None => other,
                    Some(answer) if is_denied(&other) || is_denied(&answer) => {
                        if is_denied(&answer) { answer } else { other }
                    }
                    // Where the target is named, it alone allows.
                    Some(answer) if target.is_some() => answer,
                    Some(answer) => together(answer, other),
                });
            }
        }
        answer.unwrap_or(Err(NotHandedOut {
            why: Withheld::Denied(DenyReason::NoPolicy),
            decided: None,
        }))
    }

    /// Decides about every call of `target` together.
    fn every_call<'a>(
        &'a self,
        attestation: &'a Attestation,
        target: &'a TokenTarget,
        audience: Option<&str>,
        context: &Context<'a>,
    ) -> HandedOut<'a> {
        let calls = self.kinds_of_calls(attestation, target);
        let mut allowed: Option<Decided<'a>> = None;
        let mut narrow = calls.len() > MAX_CALLS;
        let mut refused = None;
        for request in calls.into_iter().take(MAX_CALLS) {
            let decided = self.decide(attestation, &request, context);
            match refusal(&decided, audience) {
                None => match &allowed {
                    Some(before) => narrow |= credential(before) != credential(&decided),
                    None => allowed = Some(decided),
                },
                Some(
                    why @ (Withheld::Denied(DenyReason::DeniedByPolicy) | Withheld::Unavailable(_)),
                ) => {
                    return Err(NotHandedOut {
                        why,
                        decided: Some(Box::new(decided)),
                    });
                }
                Some(why) => {
                    let decided = Some(Box::new(decided));
                    refused.get_or_insert(NotHandedOut { why, decided });
                }
            }
        }
        match (allowed, refused) {
            (Some(decided), None) if !narrow => Ok(decided),
            (Some(decided), _) => Err(NotHandedOut {
                why: Withheld::Denied(DenyReason::PolicyTooNarrow),
                decided: Some(Box::new(decided)),
            }),
            (None, refused) => Err(refused.unwrap_or(NotHandedOut {
                why: Withheld::Denied(DenyReason::NoPolicy),
                decided: None,
            })),
        }
    }

    /// Calls that stand for all of a target: policies cover each call as they cover one of these.
    fn kinds_of_calls<'a>(
        &'a self,
        attestation: &Attestation,
        target: &'a TokenTarget,
    ) -> Vec<Request<'a>> {
        let Ok(path) = RequestPath::parse("/") else {
            return Vec::new();
        };
        let any = Request {
            host: &target.host,
            port: target.port,
            transport: target.transport,
            method: ANY_METHOD,
            path,
        };
        let (mut methods, mut paths) = (BTreeSet::from([ANY_METHOD]), BTreeSet::from(["/"]));
        self.for_each_rule(attestation, &any, &mut |rule, _rank| {
            for action in &rule.actions {
                if let MethodSet::These(these) = &action.methods {
                    methods.extend(these.iter().map(String::as_str));
                }
                paths.extend(action.prefixes.iter().map(PathPrefix::as_str));
            }
        });
        let paths: Vec<_> = paths
            .into_iter()
            .filter_map(|path| RequestPath::parse(path).ok())
            .collect();
        let calls = methods
            .iter()
            .flat_map(|method| paths.iter().map(move |path| (*method, *path)));
        calls
            .map(|(method, path)| Request {
                method,
                path,
                ..any
            })
            .collect()
    }
}

/// Why a call gives no token for `audience`; nothing if it does.
fn refusal(decided: &Decided<'_>, audience: Option<&str>) -> Option<Withheld> {
    match decided.decision() {
        Decision::Deny(denial) => Some(Withheld::Denied(denial.reason().clone())),
        Decision::Unavailable(fault) => Some(Withheld::Unavailable(*fault)),
        Decision::Allow(grant) => {
            let own = grant.credential().map_or_else(Vec::new, audiences_of);
            let fits = |own: &String| audience.is_none_or(|audience| own == audience);
            // A call that passes without a token, or with one for somebody else, is none of this.
            (!own.iter().any(fits)).then_some(Withheld::Denied(DenyReason::NoPolicy))
        }
    }
}

/// Of two targets one that allows is enough; they must not give different tokens.
fn together<'a>(one: HandedOut<'a>, other: HandedOut<'a>) -> HandedOut<'a> {
    match (one, other) {
        (Ok(one), Ok(other)) if credential(&one) == credential(&other) => Ok(one),
        (Ok(one), Ok(_)) => Err(NotHandedOut {
            why: Withheld::Unavailable(Fault::CredentialConflict),
            decided: Some(Box::new(one)),
        }),
        (Ok(allowed), Err(refused)) | (Err(refused), Ok(allowed)) => match refused.why {
            Withheld::Unavailable(_) => Err(refused),
            Withheld::Denied(_) => Ok(allowed),
        },
        // What is nearest to a token tells most.
        (Err(one), Err(other)) => match &one.why {
            Withheld::Denied(DenyReason::NoPolicy | DenyReason::AttributeMismatch(_)) => Err(other),
            Withheld::Denied(_) | Withheld::Unavailable(_) => Err(one),
        },
    }
}

fn credential<'a>(decided: &Decided<'a>) -> Option<&'a CredentialProvider> {
    match decided.decision() {
        Decision::Allow(grant) => grant.credential(),
        Decision::Deny(_) | Decision::Unavailable(_) => None,
    }
}

fn is_denied(answer: &HandedOut<'_>) -> bool {
    let denied = Withheld::Denied(DenyReason::DeniedByPolicy);
    matches!(answer, Err(refused) if refused.why == denied)
}

#[cfg(test)]
mod tests;
