//! Which clients a caller is, by hash over one attribute of each selector entry.

use std::{collections::HashMap, sync::Arc};

use attache_core::{
    attestation::Attestation,
    attributes::{AttributeValue, SPIFFE_ID},
    decision::Mismatch,
};

use crate::selector::{Condition, Entry, Selector};

/// A client's place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) usize);

#[derive(Debug)]
pub(super) struct ClientIndex {
    /// Attribute, then value.
    by_value: HashMap<Box<str>, HashMap<Box<str>, Vec<Candidate>>>,
    /// Entries of globs alone, which every caller is held against.
    by_pattern: Vec<Candidate>,
    entries: Vec<Vec<Arc<Entry>>>,
}

#[derive(Clone, Debug)]
struct Candidate {
    client: ClientId,
    entry: Arc<Entry>,
}

impl ClientIndex {
    /// The place of a selector is its client's.
    pub(super) fn build(selectors: Vec<Selector>) -> Self {
        let frequency = Frequency::of(&selectors);
        let mut keys = Vec::new();
        let mut index = Self {
            by_value: HashMap::new(),
            by_pattern: Vec::new(),
            entries: Vec::new(),
        };
        for (position, selector) in selectors.into_iter().enumerate() {
            let client = ClientId(position);
            let entries: Vec<Arc<Entry>> = selector.entries.into_iter().map(Arc::new).collect();
            for entry in &entries {
                let candidate = Candidate {
                    client,
                    entry: entry.clone(),
                };
                match frequency.rarest(entry) {
                    None => index.by_pattern.push(candidate),
                    Some(key) => keys.push((key.attribute.clone(), key.clone(), candidate)),
                }
            }
            index.entries.push(entries);
        }
        for (attribute, condition, candidate) in keys {
            let by_value = index.by_value.entry(attribute.into()).or_default();
            for value in condition.exact_values().into_iter().flatten() {
                by_value
                    .entry(value.into())
                    .or_default()
                    .push(candidate.clone());
            }
        }
        index
    }

    /// Calls `found` for every client that the caller is, at least once each.
    pub(super) fn for_each_match(
        &self,
        attestation: &Attestation,
        found: &mut impl FnMut(ClientId),
    ) {
        let mut check = |candidates: &[Candidate]| {
            for candidate in candidates {
                if candidate.entry.matches(attestation) {
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
        look_up(SPIFFE_ID, attestation.spiffe_id().as_str());
        for (attribute, value) in attestation.attributes().iter() {
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

/// How many entries name each exact value, so that each is found by its rarest.
struct Frequency(HashMap<(String, String), usize>);

impl Frequency {
    fn of(selectors: &[Selector]) -> Self {
        let mut counts = HashMap::new();
        let entries = selectors.iter().flat_map(|selector| &selector.entries);
        for condition in entries.flat_map(|entry| &entry.conditions) {
            for value in condition.exact_values().into_iter().flatten() {
                let key = (condition.attribute.clone(), value.to_owned());
                let count: &mut usize = counts.entry(key).or_default();
                *count = count.saturating_add(1);
            }
        }
        Self(counts)
    }

    fn rarest<'e>(&self, entry: &'e Entry) -> Option<&'e Condition> {
        let commonness = |condition: &Condition| {
            let count = |value: &str| {
                self.0
                    .get(&(condition.attribute.clone(), value.to_owned()))
                    .copied()
                    .unwrap_or(0)
            };
            condition.exact_values()?.into_iter().map(count).max()
        };
        let indexable = entry.conditions.iter();
        let counted = indexable.filter_map(|condition| Some((commonness(condition)?, condition)));
        counted
            .min_by_key(|(count, _)| *count)
            .map(|(_, condition)| condition)
    }
}
