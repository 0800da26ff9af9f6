//! Allows of one rank that certainly overlap with different credentials. What only may overlap is
//! found when it happens, and then nothing is granted. Dry-run policies grant nothing, and contradict
//! nothing.

use std::{collections::HashMap, sync::Arc};

use attache_core::request::PathPrefix;

use crate::{
    compile::resolve::Binding,
    condition::Condition,
    document::{Effect, HostPattern, MethodSet},
    problem::{Code, Report, quoted},
};

/// Calls of one rank: the same client, target and prefix.
type Rank<'b> = (usize, &'b HostPattern, u16, &'b PathPrefix);

/// A set of conditions, by their places in memory and in their order.
type Conditions = Vec<usize>;

/// Who may be allowed what by two bindings, by provider. A rank's bindings that agree are kept as their
/// first.
#[derive(Default)]
struct Claims<'b>(HashMap<&'b str, Claimed<'b>>);

/// By whom one provider's callers are allowed which methods.
#[derive(Default)]
struct Claimed<'b> {
    by_method: HashMap<&'b str, &'b Binding>,
    any_method: Option<&'b Binding>,
    /// Of those in `by_method`, one, and one with another credential than that. Whatever differs from
    /// any of them differs from one of these, so that none has to be compared with all.
    samples: [Option<&'b Binding>; 2],
}

/// Reports each policy that contradicts an earlier one. Under conditions of its own it may never meet
/// another; it certainly meets those without any, and those under the same.
pub(super) fn report_conflicts(bindings: &[Binding], report: &Report) {
    let mut counts: HashMap<(usize, &HostPattern, u16), usize> = HashMap::new();
    for binding in bindings {
        let count = counts.entry(place(binding)).or_default();
        *count = count.saturating_add(1);
    }
    // Nearly every policy of a large set is alone with its client on its target.
    let counting = |binding: &&Binding| {
        binding.rule.effect == Effect::Allow
            && binding.rule.is_enforced()
            && counts.get(&place(binding)).is_some_and(|count| *count > 1)
    };
    let mut ranks: HashMap<(Rank<'_>, Conditions), Claims<'_>> = HashMap::new();
    // Those without conditions first: the others are compared with them.
    for conditional in [false, true] {
        let bindings = bindings.iter().filter(counting);
        for binding in bindings.filter(|it| it.rule.conditions.is_empty() != conditional) {
            if let Some((prefix, other)) = contradicted(binding, &mut ranks) {
                report_conflict(binding, prefix, other, report);
            }
        }
    }
}

/// The client and the target.
fn place(binding: &Binding) -> (usize, &HostPattern, u16) {
    (binding.client, &binding.server.host, binding.server.port)
}

fn contradicted<'b>(
    binding: &'b Binding,
    ranks: &mut HashMap<(Rank<'b>, Conditions), Claims<'b>>,
) -> Option<(&'b PathPrefix, &'b Binding)> {
    let Binding {
        client,
        server,
        rule,
        ..
    } = binding;
    let address = |condition: &Arc<Condition>| Arc::as_ptr(condition).addr();
    let mut conditions: Conditions = rule.conditions.iter().map(address).collect();
    conditions.sort_unstable();
    let calls = rule.actions.iter().flat_map(|action| {
        let prefixes = action.prefixes.iter();
        prefixes.map(move |prefix| (prefix, &action.methods))
    });
    for (prefix, methods) in calls {
        let rank = (*client, &server.host, server.port, prefix);
        let always = ranks.get(&(rank, Conditions::new()));
        let other = always.and_then(|claims| claims.other(binding, methods));
        let other = other.or_else(|| {
            let claims = ranks.entry((rank, conditions.clone())).or_default();
            let other = claims.other(binding, methods);
            if other.is_none() {
                claims.claim(binding, methods);
            }
            other
        });
        if let Some(other) = other {
            return Some((prefix, other));
        }
    }
    None
}

fn report_conflict(binding: &Binding, prefix: &PathPrefix, other: &Binding, report: &Report) {
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

impl<'b> Claims<'b> {
    /// A binding that covers a call of `binding` with another credential.
    fn other(&self, binding: &Binding, methods: &MethodSet) -> Option<&'b Binding> {
        let differs = |other: &&&'b Binding| !other.rule.grants_same_as(&binding.rule);
        let claims = binding
            .providers()
            .filter_map(|provider| self.0.get(provider));
        claims
            .flat_map(|claims| {
                let (samples, methods) = match methods {
                    MethodSet::Any => (claims.samples.as_slice(), [].as_slice()),
                    MethodSet::These(methods) => ([].as_slice(), &**methods),
                };
                let by_method = methods
                    .iter()
                    .filter_map(|method| claims.by_method.get(method.as_str()));
                let samples = samples.iter().flatten();
                claims.any_method.iter().chain(samples).chain(by_method)
            })
            .find(differs)
            .copied()
    }

    fn claim(&mut self, binding: &'b Binding, methods: &'b MethodSet) {
        for provider in binding.providers() {
            let claims = self.0.entry(provider).or_default();
            match methods {
                MethodSet::Any => {
                    claims.any_method.get_or_insert(binding);
                }
                MethodSet::These(methods) => {
                    for method in methods.iter() {
                        claims.by_method.entry(method).or_insert(binding);
                    }
                    claims.sample(binding);
                }
            }
        }
    }
}

impl<'b> Claimed<'b> {
    fn sample(&mut self, binding: &'b Binding) {
        match self.samples {
            [None, _] => self.samples = [Some(binding), None],
            [Some(first), None] if !first.rule.grants_same_as(&binding.rule) => {
                self.samples = [Some(first), Some(binding)];
            }
            [Some(_), _] => {}
        }
    }
}

impl Binding {
    /// Whose callers an allow is about.
    fn providers(&self) -> impl Iterator<Item = &str> {
        let named = self.rule.accepts.named();
        named.iter().map(|provider| &**provider)
    }
}
