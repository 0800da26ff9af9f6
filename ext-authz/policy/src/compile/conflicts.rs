//! Allows of one rank that certainly overlap with different credentials. What only may overlap is
//! found when it happens, and then nothing is granted.

use std::collections::HashMap;

use attache_core::request::PathPrefix;

use crate::{
    compile::resolve::Binding,
    document::{Effect, HostPattern, MethodSet},
    problem::{Code, Report, quoted},
    rule::Accepts,
};

/// Calls of one rank: the same client, target and prefix.
type Rank<'b> = (usize, &'b HostPattern, u16, &'b PathPrefix);

/// Who may be allowed what by two bindings: one provider's callers with one method. A rank's bindings
/// that agree are kept as their first.
#[derive(Default)]
struct Claims<'b> {
    by_method: HashMap<(&'b str, &'b str), &'b Binding>,
    any_method: HashMap<&'b str, &'b Binding>,
}

/// Reports each policy that contradicts an earlier one.
pub(super) fn report_conflicts(bindings: &[Binding], report: &Report) {
    let mut ranks: HashMap<Rank<'_>, Claims<'_>> = HashMap::new();
    for binding in bindings
        .iter()
        .filter(|binding| binding.rule.effect == Effect::Allow)
    {
        let claimed = binding.rule.actions.iter().find_map(|action| {
            action.prefixes.iter().find_map(|prefix| {
                let server = &binding.server;
                let claims = ranks
                    .entry((binding.client, &server.host, server.port, prefix))
                    .or_default();
                let other = claims.contradicted(binding, &action.methods);
                other.map(|other| (prefix, other))
            })
        });
        let Some((prefix, other)) = claimed else {
            continue;
        };
        let message = format!(
            "grants another credential than {} ({}) to the same client on the same target and path {}",
            other.rule.policy,
            other.place,
            quoted(prefix.as_str())
        );
        let way_out = "use one credential provider in both, or give one of them a longer path";
        let place = binding.place.clone();
        report.error_with(
            place,
            Code::CredentialConflict,
            message,
            Some(way_out.to_owned()),
        );
    }
}

impl<'b> Claims<'b> {
    /// An earlier binding that covers a call of this one with another credential; if there is none,
    /// this one is claimed too.
    fn contradicted(
        &mut self,
        binding: &'b Binding,
        methods: &'b MethodSet,
    ) -> Option<&'b Binding> {
        let Accepts::These(providers) = &binding.rule.accepts else {
            return None;
        };
        let differs = |other: &&Binding| !other.rule.grants_same_as(&binding.rule);
        for provider in providers {
            let provider: &str = provider;
            if let Some(other) = self.any_method.get(provider).copied().filter(differs) {
                return Some(other);
            }
            match methods {
                MethodSet::Any => {
                    let same_provider = self
                        .by_method
                        .iter()
                        .filter(|((claimed, _), _)| *claimed == provider);
                    let mut others = same_provider.map(|(_, other)| *other);
                    if let Some(other) = others.find(differs) {
                        return Some(other);
                    }
                    self.any_method.entry(provider).or_insert(binding);
                }
                MethodSet::These(methods) => {
                    for method in methods {
                        let claimed = *self.by_method.entry((provider, method)).or_insert(binding);
                        if differs(&claimed) {
                            return Some(claimed);
                        }
                    }
                }
            }
        }
        None
    }
}
