//! Allows of one rank for two clients, or under two conditions, with different credentials: an error where
//! some caller certainly is both clients, a warning where one may be. Such a caller is granted nothing.

use std::collections::{BTreeMap, HashMap};

use attache_core::{identity::Naming, request::PathPrefix};
use smallvec::SmallVec;

use crate::{
    compile::{Binding, Meaning},
    document::{Effect, MethodSet},
    hash::{Map, Set},
    problem::{Code, Report, quoted},
    rule::Rule,
    selector::{Entry, Selector},
};

/// How many policies of one rank each policy is compared with, so that the cost stays linear. What is left
/// out is found when it happens.
const MAX_COMPARED: usize = 64;

/// Reports each policy that overlaps with an earlier one.
pub(super) fn report_overlaps(meaning: &Meaning, report: &Report) {
    let namings: HashMap<&str, Naming<'_>> = meaning
        .trust_providers
        .iter()
        .map(|provider| (provider.name.as_str(), provider.naming()))
        .collect();
    let allows = meaning.bindings.iter();
    let mut allows: Vec<&Binding> = allows
        .filter(|binding| binding.rule.effect == Effect::Allow)
        .collect();
    allows.sort_by_key(|binding| binding.target);
    for on_target in allows.chunk_by(|one, other| one.target == other.target) {
        // Nearly every target has one credential.
        if !differ(on_target) {
            continue;
        }
        let mut told = Set::default();
        for (prefix, peers) in by_prefix(on_target) {
            if !differ(&peers) {
                continue;
            }
            let peers = Peers::of(peers, &meaning.selectors);
            for (later, binding) in peers.bindings.iter().enumerate() {
                if let Some((other, certainty)) = peers.other(later, binding, prefix, &namings)
                    && told.insert(binding.rule.policy())
                {
                    report_overlap(binding, other, prefix, certainty, report);
                }
            }
        }
    }
}

/// Calls of one rank.
fn by_prefix<'b>(bindings: &[&'b Binding]) -> BTreeMap<&'b PathPrefix, Vec<&'b Binding>> {
    let mut ranks: BTreeMap<&PathPrefix, Vec<&Binding>> = BTreeMap::new();
    for binding in bindings {
        let actions = binding.rule.actions.iter();
        let mut prefixes: Vec<_> = actions.flat_map(|action| &*action.prefixes).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        for prefix in prefixes {
            ranks.entry(prefix).or_default().push(binding);
        }
    }
    ranks
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
    // Of a dry-run policy it is told what would be.
    let (binding, other) = if other.rule.is_enforced() {
        (binding, other)
    } else {
        (other, binding)
    };
    let (policy, spot) = (other.rule.policy(), &other.spot);
    let prefix = quoted(prefix.as_str());
    let code = Code::CredentialConflict;
    let way_out = Some(
        "use one credential provider in both, select callers by an attribute that tells them apart, or give \
         one policy a longer path; whoever is both gets no answer but 503"
            .to_owned(),
    );
    let place = binding.place();
    match (certainty, binding.rule.is_enforced()) {
        (Certainty::Certain, true) => {
            let message = format!(
                "grants another credential than {policy} ({spot}) to callers of both on the same target \
                 and path {prefix}"
            );
            report.error_with(place, code, message, way_out);
        }
        (Certainty::Possible, true) => {
            let message = format!(
                "may grant another credential than {policy} ({spot}) to one caller on the same target and \
                 path {prefix}"
            );
            report.warning(place, code, message, way_out);
        }
        (Certainty::Certain, false) => {
            let message = format!(
                "would grant another credential than {policy} ({spot}) to callers of both on the same target \
                 and path {prefix}, if it were enforced"
            );
            report.warning(place, code, message, way_out);
        }
        (Certainty::Possible, false) => {
            let message = format!(
                "might grant another credential than {policy} ({spot}) to one caller on the same target and \
                 path {prefix}, if it were enforced"
            );
            report.warning(place, code, message, way_out);
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
    by_value: Map<(&'static str, &'b str), Places>,
    /// Attribute, then those with an entry that names no exact value of it.
    without: HashMap<&'static str, Places>,
}

/// In order. Nearly every value is one policy's.
type Places = SmallVec<[usize; 2]>;

/// What callers are told apart by in practice.
const INDEXED: [&str; 4] = [
    "spiffe.id",
    "k8s.serviceAccount",
    "k8s.namespace",
    "claims.sub",
];

impl<'b> Peers<'b> {
    fn of(bindings: Vec<&'b Binding>, selectors: &'b [Selector]) -> Self {
        let mut by_value: Map<_, Places> = Map::default();
        let mut without: HashMap<_, Places> = HashMap::new();
        for (place, binding) in bindings.iter().enumerate() {
            for entry in entries(selectors, binding) {
                for attribute in INDEXED {
                    let Some(values) = entry.exact(attribute) else {
                        without.entry(attribute).or_default().push(place);
                        continue;
                    };
                    for value in values {
                        by_value.entry((attribute, value)).or_default().push(place);
                    }
                }
            }
        }
        Self {
            bindings,
            selectors,
            by_value,
            without,
        }
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
        for entry in entries(self.selectors, binding) {
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
    fn candidates(&self, entry: &Entry, later: usize) -> SmallVec<[usize; 8]> {
        let with = |attribute: &'static str| {
            let values = entry.exact(attribute)?;
            let equal = values
                .into_iter()
                .filter_map(|value| self.by_value.get(&(attribute, value)));
            let lists: SmallVec<[&Places; 2]> = equal.chain(self.without.get(attribute)).collect();
            let count = lists.iter().map(|list| list.len()).sum::<usize>();
            Some((count, lists))
        };
        let fewest = INDEXED
            .into_iter()
            .filter_map(with)
            .min_by_key(|(count, _)| *count);
        let earlier = |place: &usize| *place < later;
        match fewest {
            Some((_, lists)) => {
                let lists = lists.into_iter();
                let earlier = lists.flat_map(|list| list.iter().copied().take_while(earlier));
                earlier.take(MAX_COMPARED).collect()
            }
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
        entries(self.selectors, other)
            .iter()
            .filter_map(certainty_with)
            .max()
    }
}

fn entries<'s>(selectors: &'s [Selector], binding: &Binding) -> &'s [Entry] {
    let selector = selectors.get(binding.client.index());
    selector.map_or(&[], |selector| &selector.entries)
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
