//! Allows of one rank that certainly overlap with different credentials. What only may overlap is
//! found when it happens, and then nothing is granted. A dry-run policy grants nothing: that it would contradict
//! another is a warning.

use std::{collections::HashMap, sync::Arc};

use attache_core::request::PathPrefix;

use crate::{
    compile::resolve::Binding,
    condition::Condition,
    document::{Effect, MethodSet},
    problem::{Code, Report, quoted},
};

/// A set of conditions, by their places in memory and in their order.
type Conditions = Vec<usize>;

/// What policies of one client and target claim, by path prefix and conditions.
type Ranks<'b> = HashMap<(&'b PathPrefix, Conditions), Claims<'b>>;

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
    let allows = bindings.iter().filter(|it| it.rule.effect == Effect::Allow);
    let mut allows: Vec<&Binding> = allows.collect();
    let place = |binding: &&Binding| (binding.client, binding.target);
    allows.sort_by_key(place);
    // Nearly every policy of a large set is alone with its client on its target.
    let meeting = allows.chunk_by(|one, other| place(one) == place(other));
    for peers in meeting.filter(|peers| peers.len() > 1) {
        let (enforced, rehearsed): (Vec<&Binding>, Vec<&Binding>) =
            peers.iter().partition(|binding| binding.rule.is_enforced());
        for (binding, prefix, other) in contradictions(&enforced) {
            report_conflict(binding, prefix, other, report);
        }
        if rehearsed.is_empty() {
            continue;
        }
        let all: Vec<&Binding> = enforced.into_iter().chain(rehearsed).collect();
        for (binding, prefix, other) in contradictions(&all) {
            report_rehearsed(binding, prefix, other, report);
        }
    }
}

/// Each of `peers`, policies of one client and target, that contradicts another, with the path and the other.
fn contradictions<'b>(peers: &[&'b Binding]) -> Vec<(&'b Binding, &'b PathPrefix, &'b Binding)> {
    let mut ranks = Ranks::new();
    let mut found = Vec::new();
    // Those without conditions first: the others are compared with them.
    for conditional in [false, true] {
        let peers = peers.iter().copied();
        for binding in peers.filter(|it| it.rule.conditions.is_empty() != conditional) {
            if let Some((prefix, other)) = contradicted(binding, &mut ranks) {
                found.push((binding, prefix, other));
            }
        }
    }
    found
}

fn contradicted<'b>(
    binding: &'b Binding,
    ranks: &mut Ranks<'b>,
) -> Option<(&'b PathPrefix, &'b Binding)> {
    let rule = &binding.rule;
    let address = |condition: &Arc<Condition>| Arc::as_ptr(condition).addr();
    let mut conditions: Conditions = rule.conditions.iter().map(address).collect();
    conditions.sort_unstable();
    let calls = rule.actions.iter().flat_map(|action| {
        let prefixes = action.prefixes.iter();
        prefixes.map(move |prefix| (prefix, &action.methods))
    });
    for (prefix, methods) in calls {
        let always = ranks.get(&(prefix, Conditions::new()));
        let other = always.and_then(|claims| claims.other(binding, methods));
        let other = other.or_else(|| {
            let claims = ranks.entry((prefix, conditions.clone())).or_default();
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
        other.rule.policy(),
        other.spot,
        quoted(prefix.as_str())
    );
    let way_out = Some(WAY_OUT.to_owned());
    report.error_with(binding.place(), Code::CredentialConflict, message, way_out);
}

/// Reports a contradiction if one of the two is a dry-run policy, of which it is told.
fn report_rehearsed(one: &Binding, prefix: &PathPrefix, two: &Binding, report: &Report) {
    let (binding, other) = match (one.rule.is_enforced(), two.rule.is_enforced()) {
        (true, true) => return,
        (false, _) => (one, two),
        (true, false) => (two, one),
    };
    let message = format!(
        "would grant another credential than {} ({}) to the same client on the same target and path {}, \
         if it were enforced",
        other.rule.policy(),
        other.spot,
        quoted(prefix.as_str())
    );
    let way_out = Some(WAY_OUT.to_owned());
    report.warning(binding.place(), Code::CredentialConflict, message, way_out);
}

const WAY_OUT: &str = "use one credential provider in both, or give one of them a longer path";

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
