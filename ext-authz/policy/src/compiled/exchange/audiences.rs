//! Where tokens are used, by audience: what a policy set says of it, whoever calls.

use std::{collections::HashMap, mem, sync::Arc};

use attache_core::request::{Host, Transport};

use crate::{
    compile::Binding,
    compiled::TargetId,
    document::{CredentialProvider, Effect, TlsRule},
    hash::{Map, Set},
};

/// Stands for every host below a domain that no policy names.
pub(crate) const ANY_LABEL: &str = "attache-any";

/// Where tokens are used, of the policies in force.
#[derive(Debug, Default)]
pub(in crate::compiled) struct Audiences {
    /// The targets that take tokens, by audience.
    users: HashMap<Box<str>, Vec<User>>,
    /// The targets of which calls are denied.
    pub(super) denied: Vec<User>,
}

/// A target of policies. Below a domain it is a host that no policy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) target: TargetId,
    pub(super) transport: Transport,
}

/// The index of `bindings`.
pub(in crate::compiled) fn audiences(bindings: &[Binding]) -> Audiences {
    let mut index = Audiences::default();
    // Many targets may share one audience, and many policies one credential.
    let (mut known, mut denied) = (Set::default(), Set::default());
    let mut numbers: Map<String, usize> = Map::default();
    let mut of_credential: Map<usize, Vec<usize>> = Map::default();
    let mut users: Vec<Vec<User>> = Vec::new();
    for binding in bindings.iter().filter(|it| it.rule.is_enforced()) {
        let user = User::of(binding);
        if binding.rule.effect == Effect::Deny && denied.insert(user) {
            index.denied.push(user);
        }
        let Some(credential) = &binding.rule.credential else {
            continue;
        };
        let address = Arc::as_ptr(credential).addr();
        let audiences = of_credential.entry(address).or_insert_with(|| {
            let audiences = audiences_of(credential).into_iter().map(|audience| {
                let next = numbers.len();
                *numbers.entry(audience).or_insert(next)
            });
            audiences.collect()
        });
        users.resize_with(numbers.len(), Vec::new);
        for audience in audiences {
            if known.insert((*audience, user))
                && let Some(users) = users.get_mut(*audience)
            {
                users.push(user);
            }
        }
    }
    let users = |(audience, number): (String, usize)| {
        let users = users.get_mut(number).map(mem::take);
        (audience.into_boxed_str(), users.unwrap_or_default())
    };
    index.users = numbers.into_iter().map(users).collect();
    index
}

impl Audiences {
    /// The targets that take tokens for `audience`.
    pub(super) fn users(&self, audience: &str) -> impl Iterator<Item = User> {
        self.users.get(audience).into_iter().flatten().copied()
    }
}

impl User {
    fn of(binding: &Binding) -> Self {
        Self {
            target: binding.target,
            transport: match binding.server.tls {
                TlsRule::Required => Transport::Tls,
                TlsRule::PlaintextAllowed => Transport::Plaintext,
            },
        }
    }
}

/// A host below `domain` that no policy names. Where no label fits before it, the domain itself, which no policy
/// below it allows.
pub(in crate::compiled) fn any_below(domain: &Host) -> Host {
    let any = Host::parse(&format!("{ANY_LABEL}.{}", domain.as_str()));
    any.unwrap_or_else(|_too_long| domain.clone())
}

pub(super) fn audiences_of(credential: &CredentialProvider) -> Vec<String> {
    // SECURITY: other people's credentials are attached, and never handed out.
    let plan = credential.kind.token_plan();
    plan.map_or_else(Vec::new, |plan| plan.audiences.clone())
}
