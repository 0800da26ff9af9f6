//! Allows of one rank for two clients, or under two conditions, with different credentials: an error where
//! some caller certainly is both clients, a warning where one may be. Such a caller is granted nothing.

use std::collections::{HashMap, HashSet};

use attache_core::{identity::Naming, request::PathPrefix};

use crate::{
    compile::{Binding, Meaning},
    document::{Effect, HostPattern, MethodSet},
    problem::{Code, Report, quoted},
    rule::Rule,
    selector::{Entry, Selector},
};

/// How many policies of one rank each policy is compared with, so that the cost stays linear. What is left
/// out is found when it happens.
const MAX_COMPARED: usize = 64;

/// Calls of one rank: the same target and prefix.
type Rank<'b> = (&'b HostPattern, u16, &'b PathPrefix);

/// Reports each policy that overlaps with an earlier one.
pub(super) fn report_overlaps(meaning: &Meaning, report: &Report) {
    let namings: HashMap<&str, Naming<'_>> = meaning
        .trust_providers
        .iter()
        .map(|provider| (provider.name.as_str(), provider.naming()))
        .collect();
    let mut ranks: HashMap<Rank<'_>, Vec<&Binding>> = HashMap::new();
    for binding in &meaning.bindings {
        if binding.rule.effect == Effect::Deny || !binding.rule.is_enforced() {
            continue;
        }
        let prefixes: HashSet<_> = binding
            .rule
            .actions
            .iter()
            .flat_map(|it| &*it.prefixes)
            .collect();
        for prefix in prefixes {
            let rank = (&binding.server.host, binding.server.port, prefix);
            ranks.entry(rank).or_default().push(binding);
        }
    }
    let mut told = HashSet::new();
    let mut ranks: Vec<_> = ranks
        .into_iter()
        .filter(|(_, peers)| differ(peers))
        .collect();
    ranks.sort_unstable_by_key(|(rank, _)| *rank);
    for ((_, _, prefix), peers) in ranks {
        let peers = Peers::of(&peers, &meaning.selectors);
        for (later, binding) in peers.bindings.iter().enumerate() {
            if let Some((other, certainty)) = peers.other(later, binding, prefix, &namings)
                && told.insert(&*binding.rule.policy)
            {
                report_overlap(binding, other, prefix, certainty, report);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    Possible,
    Certain,
}

fn report_overlap(
    binding: &Binding,
    other: &Binding,
    prefix: &PathPrefix,
    certainty: Certainty,
    report: &Report,
) {
    let (policy, place) = (&other.rule.policy, &other.place);
    let prefix = quoted(prefix.as_str());
    let code = Code::CredentialConflict;
    let way_out = Some(
        "use one credential provider in both, select callers by an attribute that tells them apart, or give \
         one policy a longer path; whoever is both gets no answer but 503"
            .to_owned(),
    );
    match certainty {
        Certainty::Certain => {
            let message = format!(
                "grants another credential than {policy} ({place}) to callers of both on the same target \
                 and path {prefix}"
            );
            report.error_with(binding.place.clone(), code, message, way_out);
        }
        Certainty::Possible => {
            let message = format!(
                "may grant another credential than {policy} ({place}) to one caller on the same target and \
                 path {prefix}"
            );
            report.warning(binding.place.clone(), code, message, way_out);
        }
    }
}

/// Whether two of them grant different credentials.
fn differ(peers: &[&Binding]) -> bool {
    let Some((first, rest)) = peers.split_first() else {
        return false;
    };
    rest.iter()
        .any(|other| !other.rule.grants_same_as(&first.rule))
}

/// The policies of one rank, found by what their clients' entries ask for exactly.
struct Peers<'b> {
    bindings: Vec<&'b Binding>,
    selectors: &'b [Selector],
    /// Attribute and value, then places in `bindings`.
    by_value: HashMap<(&'static str, &'b str), Vec<usize>>,
    /// Attribute, then those with an entry that names no exact value of it.
    without: HashMap<&'static str, Vec<usize>>,
}

/// What callers are told apart by in practice.
const INDEXED: [&str; 4] = [
    "spiffe.id",
    "k8s.serviceAccount",
    "k8s.namespace",
    "claims.sub",
];

impl<'b> Peers<'b> {
    fn of(bindings: &[&'b Binding], selectors: &'b [Selector]) -> Self {
        let mut peers = Self {
            bindings: bindings.to_vec(),
            selectors,
            by_value: HashMap::new(),
            without: HashMap::new(),
        };
        for (place, binding) in bindings.iter().enumerate() {
            for entry in peers.entries(binding) {
                for attribute in INDEXED {
                    match entry.exact(attribute) {
                        None => peers.without.entry(attribute).or_default().push(place),
                        Some(values) => {
                            for value in values {
                                peers
                                    .by_value
                                    .entry((attribute, value))
                                    .or_default()
                                    .push(place);
                            }
                        }
                    }
                }
            }
        }
        peers
    }

    fn entries(&self, binding: &Binding) -> &'b [Entry] {
        let selector = self.selectors.get(binding.client);
        selector
            .map(|selector| selector.entries.as_slice())
            .unwrap_or_default()
    }

    /// A policy before the place `later` that overlaps with `binding`, which stands there; a certain overlap before a possible one.
    fn other(
        &self,
        later: usize,
        binding: &Binding,
        prefix: &PathPrefix,
        namings: &HashMap<&str, Naming<'_>>,
    ) -> Option<(&'b Binding, Certainty)> {
        let mut found = None;
        for entry in self.entries(binding) {
            for earlier in self.candidates(entry, later) {
                let Some(other) = self.bindings.get(earlier).copied() else {
                    continue;
                };
                let certainty = self.certainty(binding, entry, other, prefix, namings);
                if certainty > found.map(|(_, certainty)| certainty) {
                    found = certainty.map(|certainty| (other, certainty));
                }
            }
        }
        found
    }

    /// Those that a caller of `entry` could be too, by the attribute that leaves the fewest.
    fn candidates(&self, entry: &Entry, later: usize) -> Vec<usize> {
        let with = |attribute: &'static str| {
            let values = entry.exact(attribute)?;
            let equal = values
                .into_iter()
                .filter_map(|value| self.by_value.get(&(attribute, value)));
            let lists: Vec<&Vec<usize>> = equal.chain(self.without.get(attribute)).collect();
            let count = lists.iter().map(|list| list.len()).sum::<usize>();
            Some((count, lists))
        };
        let fewest = INDEXED
            .into_iter()
            .filter_map(with)
            .min_by_key(|(count, _)| *count);
        let earlier = |place: &usize| *place < later;
        match fewest {
            Some((_, lists)) => lists
                .into_iter()
                .flatten()
                .copied()
                .filter(earlier)
                .take(MAX_COMPARED)
                .collect(),
            None => (0..later).take(MAX_COMPARED).collect(),
        }
    }

    fn certainty(
        &self,
        binding: &Binding,
        entry: &Entry,
        other: &Binding,
        prefix: &PathPrefix,
        namings: &HashMap<&str, Naming<'_>>,
    ) -> Option<Certainty> {
        let (rule, with) = (&binding.rule, &other.rule);
        let same_conditions = rule.has_conditions_of(with) && with.has_conditions_of(rule);
        // Told as a conflict of one client.
        let is_conflict = binding.client == other.client
            && (same_conditions || rule.conditions.is_empty() || with.conditions.is_empty());
        if is_conflict || rule.grants_same_as(with) || !rule.shares_method(with, prefix) {
            return None;
        }
        let certainty_with = |own: &Entry| {
            if entry.excludes(own) || !shares_provider(rule, with, entry, own, namings) {
                return None;
            }
            let contained = entry.implies(own) || own.implies(entry);
            Some(if contained && same_conditions {
                Certainty::Certain
            } else {
                Certainty::Possible
            })
        };
        self.entries(other).iter().filter_map(certainty_with).max()
    }
}

fn shares_provider(
    one: &Rule,
    other: &Rule,
    entry: &Entry,
    with: &Entry,
    namings: &HashMap<&str, Naming<'_>>,
) -> bool {
    one.accepts.named().iter().any(|name| {
        let provable =
            |provider: &Naming<'_>| entry.is_provable_by(provider) && with.is_provable_by(provider);
        other.accepts.includes(name) && namings.get(&**name).is_some_and(provable)
    })
}

impl Rule {
    fn has_conditions_of(&self, other: &Self) -> bool {
        let has = |name: &str| self.conditions.iter().any(|own| &*own.name == name);
        other
            .conditions
            .iter()
            .all(|condition| has(&condition.name))
    }

    /// Whether both cover a method on `prefix` itself.
    fn shares_method(&self, other: &Self, prefix: &PathPrefix) -> bool {
        let theirs = other.methods_on(prefix);
        self.methods_on(prefix).iter().any(|own| {
            theirs.iter().any(|other| match (own, other) {
                (MethodSet::Any, _) | (_, MethodSet::Any) => true,
                (MethodSet::These(own), MethodSet::These(_)) => {
                    own.iter().any(|method| other.contains(method))
                }
            })
        })
    }

    fn methods_on(&self, prefix: &PathPrefix) -> Vec<&MethodSet> {
        let actions = self.actions.iter();
        actions
            .filter(|action| action.prefixes.contains(prefix))
            .map(|action| &action.methods)
            .collect()
    }
}
