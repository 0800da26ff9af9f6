//! May this workload hold a token itself? A token in its own hands is good for every call that the target
//! takes, so one is given only where policy allows every call, and not if any of them is denied.

mod audiences;

use std::collections::BTreeSet;

use attache_core::{
    attestation::Attestation,
    decision::{DenyReason, Fault},
    request::{Host, PathPrefix, Request, RequestPath, Transport},
    token::TokenTarget,
};

pub(crate) use audiences::ANY_LABEL;
pub(super) use audiences::{Audiences, any_below, audiences};

use super::Compiled;
use crate::{
    condition::Seen,
    context::Context,
    decision::{Decided, Decision},
    document::{CredentialProvider, HostPattern, MethodSet},
};
use audiences::{User, audiences_of};

/// Stands for every method that no policy names.
pub(crate) const ANY_METHOD: &str = "ATTACHE-ANY";
/// Most calls that are looked at for one target. More kinds of calls than that are not allowed all alike.
const MAX_CALLS: usize = 4096;

/// What is asked about every call of.
#[derive(Clone, Copy)]
struct Place<'a> {
    host: &'a Host,
    port: u16,
    transport: Transport,
    seen: Seen,
}

/// Why a workload gets no token into its own hands.
#[derive(Debug)]
pub struct NotHandedOut<'a> {
    /// Why.
    pub why: Withheld,
    /// What is decided of a call, for the event; `None` if no policy is about such a token.
    pub decided: Option<Box<Decided<'a>>>,
    /// The call that tells most about why.
    pub(crate) call: Option<Box<Example<'a>>>,
}

/// One of the calls that stand for all of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example<'a> {
    pub(crate) request: Request<'a>,
    /// What of it is a real call's.
    pub(crate) seen: Seen,
}

/// A decision that allows, with a credential.
pub(crate) struct Given<'a> {
    pub(crate) decided: Decided<'a>,
    pub(crate) call: Example<'a>,
}

/// A denial or a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It may not.
    Denied(DenyReason),
    /// It cannot be decided.
    Unavailable(Fault),
}

type HandedOut<'a> = Result<Given<'a>, NotHandedOut<'a>>;

impl Compiled {
    /// Decides whether the caller may hold a token itself: one for `target`, one for `audience` wherever it is
    /// used, or one for `audience` at `target`. What is `Ok` is an allow with a credential.
    ///
    /// SECURITY: the caller could use the token wherever one of its audiences is taken, whatever was asked. So
    /// a denial at any of these targets denies it, and one that is not wholly allowed makes it too much.
    pub fn hand_out<'a>(
        &'a self,
        attestation: &'a Attestation,
        audience: Option<&str>,
        target: Option<&'a TokenTarget>,
        context: &Context<'a>,
    ) -> Result<Decided<'a>, NotHandedOut<'a>> {
        let given = self.give(attestation, audience, target, context)?;
        Ok(given.decided)
    }

    /// The same, with the call that tells most about it.
    pub(crate) fn give<'a>(
        &'a self,
        attestation: &'a Attestation,
        audience: Option<&str>,
        target: Option<&'a TokenTarget>,
        context: &Context<'a>,
    ) -> HandedOut<'a> {
        let granted = match (target, audience) {
            (Some(target), _) => {
                let place = Place {
                    host: &target.host,
                    port: target.port,
                    transport: target.transport,
                    seen: Seen::Target,
                };
                self.every_call(attestation, place, audience, context)?
            }
            (None, Some(audience)) => self.anywhere(attestation, audience, context)?,
            (None, None) => return Err(no_policy()),
        };
        let mut narrow = None;
        for audience in credential(&granted.decided).map_or_else(Vec::new, audiences_of) {
            for user in self.audiences.users(&audience) {
                let below = self.denied_below(user);
                let below = below.map(|user| self.all_of(attestation, user, &audience, context));
                let below: Vec<_> = below.filter(is_denied).collect();
                let itself = self.all_of(attestation, user, &audience, context);
                for refused in below.into_iter().chain([itself]).filter_map(Result::err) {
                    match &refused.why {
                        Withheld::Denied(DenyReason::DeniedByPolicy) => return Err(refused),
                        Withheld::Denied(_) | Withheld::Unavailable(_) => {
                            narrow = narrow.or(Some(refused));
                        }
                    }
                }
            }
        }
        match narrow {
            None => Ok(granted),
            Some(refused) => Err(too_narrow(refused)),
        }
    }

    /// Decides about `audience` at the targets whose hosts are named; one that allows is enough here.
    fn anywhere<'a>(
        &'a self,
        attestation: &'a Attestation,
        audience: &str,
        context: &Context<'a>,
    ) -> HandedOut<'a> {
        let named = self.audiences.users(audience);
        let named = named.filter(|user| self.domain_of(*user).is_none());
        named
            .map(|user| self.all_of(attestation, user, audience, context))
            .reduce(together)
            .unwrap_or_else(|| Err(no_policy()))
    }

    fn all_of<'a>(
        &'a self,
        attestation: &'a Attestation,
        user: User,
        audience: &str,
        context: &Context<'a>,
    ) -> HandedOut<'a> {
        let Some(entry) = self.targets.entry(user.target) else {
            return Err(no_policy());
        };
        // What is known of a call that stands for all of them.
        let (host, seen) = match (&entry.host, &entry.any_below) {
            (HostPattern::Exact(host), _) => (host, Seen::Target),
            (HostPattern::Suffix(_), Some(any)) => (&**any, Seen::Port),
            (HostPattern::Suffix(domain), None) => (domain, Seen::Port),
        };
        let place = Place {
            host,
            port: entry.port,
            transport: user.transport,
            seen,
        };
        self.every_call(attestation, place, Some(audience), context)
    }

    /// The domain below which `user` is every host.
    fn domain_of(&self, user: User) -> Option<&str> {
        match &self.targets.entry(user.target)?.host {
            HostPattern::Exact(_) => None,
            HostPattern::Suffix(domain) => Some(domain.as_str()),
        }
    }

    /// The targets below `user`'s domain of which calls are denied.
    fn denied_below(&self, user: User) -> impl Iterator<Item = User> {
        let (own, domain) = (self.targets.entry(user.target), self.domain_of(user));
        let denied = domain.map(|domain| (domain, &self.audiences.denied));
        let denied = denied.into_iter().flat_map(|(domain, denied)| {
            let denied = denied.iter().copied();
            denied.map(move |denied| (domain, denied))
        });
        let is_below = move |(domain, denied): &(&str, User)| {
            let entry = self.targets.entry(denied.target);
            entry.zip(own).is_some_and(|(entry, own)| {
                let above = entry.host.as_str().strip_suffix(domain);
                let is_pattern = matches!(entry.host, HostPattern::Suffix(_));
                let is_below =
                    |above: &str| above.ends_with('.') || (above.is_empty() && is_pattern);
                entry.port == own.port && above.is_some_and(is_below)
            })
        };
        denied.filter(is_below).map(|(_, denied)| denied)
    }

    /// Decides about every call of `place` together.
    fn every_call<'a>(
        &'a self,
        attestation: &'a Attestation,
        place: Place<'a>,
        audience: Option<&str>,
        context: &Context<'a>,
    ) -> HandedOut<'a> {
        let calls = self.kinds_of_calls(attestation, place);
        let mut allowed: Option<Given<'a>> = None;
        let is_too_much = calls.len() > MAX_CALLS;
        let (mut other, mut refused) = (None, None);
        for request in calls.into_iter().take(MAX_CALLS) {
            let seen = place.seen;
            let call = Example { request, seen };
            let decided = self.decide_seeing(seen, attestation, &request, context);
            match refusal(&decided, audience) {
                None => match &allowed {
                    Some(before) if credential(&before.decided) == credential(&decided) => {}
                    Some(_) => other = other.or(Some(call)),
                    None => allowed = Some(Given { decided, call }),
                },
                Some(why) => {
                    let settles = matches!(
                        why,
                        Withheld::Denied(DenyReason::DeniedByPolicy) | Withheld::Unavailable(_)
                    );
                    let refusal = NotHandedOut {
                        why,
                        decided: Some(Box::new(decided)),
                        call: Some(Box::new(call)),
                    };
                    if settles {
                        return Err(refusal);
                    }
                    refused.get_or_insert(refusal);
                }
            }
        }
        match (allowed, refused) {
            (Some(given), None) if other.is_none() && !is_too_much => Ok(given),
            (Some(given), refused) => Err(NotHandedOut {
                why: Withheld::Denied(DenyReason::PolicyTooNarrow),
                decided: Some(Box::new(given.decided)),
                call: refused
                    .and_then(|it| it.call)
                    .or_else(|| Some(Box::new(other.unwrap_or(given.call)))),
            }),
            (None, refused) => Err(refused.unwrap_or_else(no_policy)),
        }
    }

    /// Calls that stand for all of a target: policies cover each call as they cover one of these.
    fn kinds_of_calls<'a>(
        &'a self,
        attestation: &Attestation,
        place: Place<'a>,
    ) -> Vec<Request<'a>> {
        let Ok(path) = RequestPath::parse("/") else {
            return Vec::new();
        };
        let any = Request {
            host: place.host,
            port: place.port,
            transport: place.transport,
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

const fn no_policy<'a>() -> NotHandedOut<'a> {
    NotHandedOut {
        why: Withheld::Denied(DenyReason::NoPolicy),
        decided: None,
        call: None,
    }
}

/// A target that takes the token does not give it: it is allowed elsewhere alone.
fn too_narrow(refused: NotHandedOut<'_>) -> NotHandedOut<'_> {
    let why = match refused.why {
        Withheld::Denied(_) => Withheld::Denied(DenyReason::PolicyTooNarrow),
        unavailable @ Withheld::Unavailable(_) => unavailable,
    };
    NotHandedOut { why, ..refused }
}

/// Of two targets one that allows is enough; they must not give different tokens.
fn together<'a>(one: HandedOut<'a>, other: HandedOut<'a>) -> HandedOut<'a> {
    match (one, other) {
        (Ok(one), Ok(other)) if credential(&one.decided) == credential(&other.decided) => Ok(one),
        (Ok(one), Ok(other)) => Err(NotHandedOut {
            why: Withheld::Unavailable(Fault::CredentialConflict),
            decided: Some(Box::new(one.decided)),
            call: Some(Box::new(other.call)),
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
