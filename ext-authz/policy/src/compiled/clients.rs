//! Which clients a caller is, by hash over one attribute of each selector entry.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use attache_core::{
    attestation::Attestation,
    attributes::{AttributeValue, SPIFFE_ID},
    decision::Mismatch,
};
use smallvec::SmallVec;

use crate::selector::{Condition, Entry, Selector};

/// A client's place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) usize);

#[derive(Debug)]
pub(super) struct ClientIndex {
    /// Attribute, of which there are few, then value.
    by_value: BTreeMap<Box<str>, HashMap<Box<str>, Candidates>>,
    /// Entries of globs alone, which every caller is held against.
    by_pattern: Vec<Candidate>,
    entries: Box<[Box<[Entry]>]>,
}

/// Nearly every value that is looked up is one client's.
type Candidates = SmallVec<[Candidate; 1]>;

/// A client that the caller is if the rest of an entry holds.
#[derive(Clone, Debug)]
struct Candidate {
    client: ClientId,
    /// Without the condition by which it was found. Many entries share theirs.
    rest: Arc<[Condition]>,
}

impl ClientIndex {
    /// The place of a selector is its client's.
    pub(super) fn build(selectors: Vec<Selector>) -> Self {
        let mut keys = rarest_conditions(&selectors).into_iter();
        let mut index = Self {
            by_value: BTreeMap::new(),
            by_pattern: Vec::new(),
            entries: Box::default(),
        };
        let mut shared = HashSet::new();
        let mut entries = Vec::with_capacity(selectors.len());
        for (position, selector) in selectors.into_iter().enumerate() {
            let mut own = selector.entries;
            for entry in &mut own {
                entry.shrink();
                index.add(
                    ClientId(position),
                    entry,
                    keys.next().flatten(),
                    &mut shared,
                );
            }
            entries.push(own.into_boxed_slice());
        }
        index.by_value.values_mut().for_each(HashMap::shrink_to_fit);
        index.entries = entries.into();
        index
    }

    /// `key` is the place of the condition by which the entry is found.
    fn add(
        &mut self,
        client: ClientId,
        entry: &Entry,
        key: Option<usize>,
        shared: &mut HashSet<Arc<[Condition]>>,
    ) {
        let conditions = entry.conditions.iter().enumerate();
        let rest = conditions.filter(|(place, _)| Some(*place) != key);
        let rest: Vec<Condition> = rest.map(|(_, condition)| condition.clone()).collect();
        let rest = shared.get(rest.as_slice()).cloned().unwrap_or_else(|| {
            let rest: Arc<[Condition]> = rest.into();
            shared.insert(Arc::clone(&rest));
            rest
        });
        let candidate = Candidate { client, rest };
        let Some(key) = key.and_then(|place| entry.conditions.get(place)) else {
            self.by_pattern.push(candidate);
            return;
        };
        let attribute = key.attribute.as_str();
        if !self.by_value.contains_key(attribute) {
            self.by_value.insert(attribute.into(), HashMap::new());
        }
        let Some(values) = self.by_value.get_mut(attribute) else {
            return;
        };
        for value in key.exact_values().into_iter().flatten() {
            let known = values.entry(value.into()).or_default();
            known.push(candidate.clone());
        }
    }

    /// What selects a client.
    pub(super) fn entries_of(&self, client: ClientId) -> &[Entry] {
        self.entries.get(client.0).map_or(&[], |entries| entries)
    }

    /// Calls `found` for every client that the caller is, at least once each.
    pub(super) fn for_each_match(
        &self,
        attestation: &Attestation,
        found: &mut impl FnMut(ClientId),
    ) {
        let mut check = |candidates: &[Candidate]| {
            for candidate in candidates {
                let mut rest = candidate.rest.iter();
                if rest.all(|condition| condition.matches(attestation)) {
                    found(candidate.client);
                }
            }
        };
        let mut look_up = |attribute: &str, value: &str| {
            let by_value = self.by_value.get(attribute);
            if let Some(candidates) = by_value.and_then(|by_value| by_value.get(value)) {
                check(candidates);
            }
        };
        for proof in attestation.proofs() {
            look_up(SPIFFE_ID, proof.spiffe_id.as_str());
        }
        // SECURITY: the SPIFFE ID is the attestation's own, whatever attributes it carries.
        let attributes = attestation.attributes().iter();
        for (attribute, value) in attributes.filter(|(attribute, _)| *attribute != SPIFFE_ID) {
            match value {
                AttributeValue::One(value) => look_up(attribute, value),
                AttributeValue::Many(values) => {
                    values.iter().for_each(|value| look_up(attribute, value));
                }
            }
        }
        check(&self.by_pattern);
    }

    /// The failing attribute of the entry that fails by the fewest, among `clients`; the first of
    /// equals.
    pub(super) fn nearest_mismatch(
        &self,
        clients: impl Iterator<Item = ClientId>,
        attestation: &Attestation,
    ) -> Option<Mismatch> {
        let mut nearest: Option<(usize, &Condition)> = None;
        for entry in clients
            .filter_map(|client| self.entries.get(client.0))
            .flatten()
        {
            let (count, Some(condition)) = entry.mismatches(attestation) else {
                continue;
            };
            if nearest.is_none_or(|(fewest, _)| count < fewest) {
                nearest = Some((count, condition));
            }
        }
        nearest.map(|(_, condition)| condition.mismatch(attestation))
    }
}

/// For each entry in order, the place of the condition that the fewest entries share; `None` if all are
/// globs.
fn rarest_conditions(selectors: &[Selector]) -> Vec<Option<usize>> {
    let entries = || selectors.iter().flat_map(|selector| &selector.entries);
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    for condition in entries().flat_map(|entry| &entry.conditions) {
        for value in condition.exact_values().into_iter().flatten() {
            let count = counts.entry((&condition.attribute, value)).or_default();
            *count = count.saturating_add(1);
        }
    }
    let commonness = |condition: &Condition| {
        let count = |value| counts.get(&(condition.attribute.as_str(), value)).copied();
        condition
            .exact_values()?
            .into_iter()
            .filter_map(count)
            .max()
    };
    let rarest = |entry: &Entry| {
        let counted = entry.conditions.iter().enumerate();
        let counted = counted.filter_map(|(place, it)| Some((commonness(it)?, place)));
        counted.min().map(|(_, place)| place)
    };
    entries().map(rarest).collect()
}
