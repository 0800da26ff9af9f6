//! Which clients a caller is, by hash over one attribute of each selector entry: over its value, or over what a
//! glob begins or ends with.

use std::{borrow::Cow, collections::BTreeMap};

use attache_core::{
    attestation::Attestation,
    attributes::{AttributeValue, SPIFFE_ID},
    decision::Mismatch,
};

use super::{
    rules::{Begin, Begins},
    short::Short,
    table::Table,
};
use crate::{
    hash::{Map, map_of},
    selector::{Condition, Entry, Pattern, Selector},
};

/// A client's place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u32);

impl ClientId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(super) struct ClientIndex {
    /// By attribute, of which there are few.
    attributes: BTreeMap<Box<str>, Values>,
    /// Entries of which every caller is held against the whole: their globs begin and end with `*`.
    by_nothing: Box<[Candidate]>,
    /// What remains of entries without that by which they are found, each such remainder once.
    rests: Box<[Rest]>,
    entries: Box<[Box<[Entry]>]>,
}

/// Whom the values of one attribute lead to.
#[derive(Debug, Default)]
struct Values {
    exact: Table<Candidates>,
    beginnings: Affixes,
    ends: Affixes,
}

/// What values begin or end with.
#[derive(Debug, Default)]
struct Affixes {
    /// How long they are: each length once, in order.
    lengths: Vec<usize>,
    candidates: Table<Candidates>,
}

/// What else a caller must be.
#[derive(Debug)]
enum Rest {
    /// One value of one attribute, which is not the SPIFFE ID: read in one place of memory.
    One(Cow<'static, str>, Short),
    All(Box<[Condition]>),
}

/// Nearly every value that is looked up is one client's.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "with a list in place, an entry of a table would be two lines of the cache"
)]
enum Candidates {
    One([Candidate; 1]),
    Many(Box<Vec<Candidate>>),
}

/// A client that the caller is if the rest of an entry holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) client: ClientId,
    /// In [`ClientIndex::rests`].
    rest: u32,
    /// Where the rules of the client begin.
    pub(super) rules: Begin,
}

/// By what an entry is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'s> {
    Exact(&'s str),
    Beginning(&'s str),
    End(&'s str),
}

/// How often a condition's keys stand in a set. The order is that in which one is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Commonness {
    Exact(usize),
    Glob(usize),
}

impl ClientIndex {
    /// The place of a selector is its client's.
    pub(super) fn build(selectors: Vec<Selector>, begins: &Begins) -> Self {
        let keys = rarest_conditions(&selectors);
        let mut building = Building::default();
        let mut keys = keys.into_iter();
        for (selector, client) in selectors.iter().zip((0..u32::MAX).map(ClientId)) {
            for entry in &selector.entries {
                let rules = begins.of(client);
                building.add((client, rules), entry, keys.next().flatten());
            }
        }
        let Building {
            mut attributes,
            by_nothing,
            rests,
            ..
        } = building;
        for values in attributes.values_mut() {
            values.exact.shrink_to_fit();
            values.beginnings.finish();
            values.ends.finish();
        }
        let attributes = attributes
            .into_iter()
            .map(|(name, values)| (name.into(), values));
        let (attributes, by_nothing) = (attributes.collect(), by_nothing.into());
        let rests = rests.into_iter().map(Rest::of).collect();
        let entries = selectors
            .into_iter()
            .map(|selector| selector.entries.into());
        Self {
            attributes,
            by_nothing,
            rests,
            entries: entries.collect(),
        }
    }

    /// What selects a client.
    pub(super) fn entries_of(&self, client: ClientId) -> &[Entry] {
        let entries = self.entries.get(client.index());
        entries.map_or(&[], |entries| entries)
    }

    /// Calls `found` for every client that the caller is, at least once each.
    pub(super) fn for_each_match(
        &self,
        attestation: &Attestation,
        found: &mut impl FnMut(Candidate),
    ) {
        let mut check = |candidates: &[Candidate]| {
            for candidate in candidates {
                let rest = self.rests.get(candidate.rest as usize);
                if rest.is_some_and(|rest| rest.holds(attestation)) {
                    found(*candidate);
                }
            }
        };
        let mut look_up = |attribute: &str, value: &str| {
            if let Some(values) = self.attributes.get(attribute) {
                values.look_up(value, &mut check);
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
        check(&self.by_nothing);
    }

    /// The failing attribute of the entry that fails by the fewest, among `clients`; the first of
    /// equals.
    pub(super) fn nearest_mismatch(
        &self,
        clients: impl Iterator<Item = ClientId>,
        attestation: &Attestation,
    ) -> Option<Mismatch> {
        let mut nearest: Option<(usize, &Condition)> = None;
        for entry in clients.flat_map(|client| self.entries_of(client)) {
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

impl Rest {
    fn of(conditions: Vec<&Condition>) -> Self {
        if let [one] = conditions.as_slice()
            && let [pattern] = one.patterns.as_slice()
            && let Some(value) = pattern.exact().filter(|_| one.attribute != SPIFFE_ID)
        {
            return Self::One(one.attribute.clone(), Short::of(value.as_bytes()));
        }
        Self::All(conditions.into_iter().cloned().collect())
    }

    fn holds(&self, attestation: &Attestation) -> bool {
        match self {
            Self::One(attribute, expected) => {
                let value = attestation.attributes().value(attribute);
                let is_it = |value: &str| value.as_bytes() == expected.bytes();
                value.is_some_and(|value| value.any(is_it))
            }
            Self::All(conditions) => {
                let mut conditions = conditions.iter();
                conditions.all(|condition| condition.matches(attestation))
            }
        }
    }
}

impl Values {
    fn look_up(&self, value: &str, check: &mut impl FnMut(&[Candidate])) {
        let value = value.as_bytes();
        if let Some(candidates) = self.exact.get(value) {
            check(candidates.all());
        }
        let beginning = |length| value.get(..length);
        self.beginnings.look_up(beginning, check);
        let end = |length| value.get(value.len().checked_sub(length)?..);
        self.ends.look_up(end, check);
    }

    fn add(&mut self, key: Key<'_>, candidate: Candidate) {
        let (table, text) = match key {
            Key::Exact(value) => (&mut self.exact, value),
            Key::Beginning(text) => (self.beginnings.of_length(text.len()), text),
            Key::End(text) => (self.ends.of_length(text.len()), text),
        };
        match table.get_mut(text.as_bytes()) {
            Some(known) => known.push(candidate),
            None => table.insert(text.as_bytes(), Candidates::One([candidate])),
        }
    }
}

impl Affixes {
    /// `part` gives so many bytes of a value, if it has them.
    fn look_up<'v>(
        &self,
        part: impl Fn(usize) -> Option<&'v [u8]>,
        check: &mut impl FnMut(&[Candidate]),
    ) {
        // The shorter ones first: once a value is too short, it is so for all that follow.
        for part in self.lengths.iter().map_while(|length| part(*length)) {
            if let Some(candidates) = self.candidates.get(part) {
                check(candidates.all());
            }
        }
    }

    /// Where what is so long stands.
    fn of_length(&mut self, length: usize) -> &mut Table<Candidates> {
        self.lengths.push(length);
        &mut self.candidates
    }

    fn finish(&mut self) {
        self.lengths.sort_unstable();
        self.lengths.dedup();
        self.lengths.shrink_to_fit();
        self.candidates.shrink_to_fit();
    }
}

impl Candidates {
    fn all(&self) -> &[Candidate] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    fn push(&mut self, candidate: Candidate) {
        match self {
            Self::One([first]) => *self = Self::Many(Box::new(vec![*first, candidate])),
            Self::Many(many) => many.push(candidate),
        }
    }
}

#[derive(Default)]
struct Building<'s> {
    attributes: BTreeMap<&'s str, Values>,
    by_nothing: Vec<Candidate>,
    rests: Vec<Vec<&'s Condition>>,
    places: Map<Vec<&'s Condition>, u32>,
}

impl<'s> Building<'s> {
    /// `key` is the place of the condition by which the entry is found.
    fn add(&mut self, (client, rules): (ClientId, Begin), entry: &'s Entry, key: Option<usize>) {
        let by = key.and_then(|place| entry.conditions.get(place));
        // An exact value that was looked up matches. Of a glob the lookup knows a part alone.
        let known = key.filter(|_| by.is_some_and(Condition::is_exact));
        let conditions = entry.conditions.iter().enumerate();
        let rest = conditions.filter(|(place, _)| Some(*place) != known);
        let rest = self.rest(rest.map(|(_, condition)| condition).collect());
        let candidate = Candidate {
            client,
            rest,
            rules,
        };
        let Some(by) = by else {
            self.by_nothing.push(candidate);
            return;
        };
        let values = self.attributes.entry(&by.attribute).or_default();
        let keys = by.patterns.iter().filter_map(key_of);
        keys.for_each(|key| values.add(key, candidate));
    }

    fn rest(&mut self, rest: Vec<&'s Condition>) -> u32 {
        if let Some(place) = self.places.get(&rest) {
            return *place;
        }
        let place = u32::try_from(self.rests.len()).unwrap_or(u32::MAX);
        self.places.insert(rest.clone(), place);
        self.rests.push(rest);
        place
    }
}

/// For each entry in order, the place of the condition by which it is found: the one whose values the fewest
/// entries share. `None` if all have a glob without beginning and end.
fn rarest_conditions(selectors: &[Selector]) -> Vec<Option<usize>> {
    let entries = || selectors.iter().flat_map(|selector| &selector.entries);
    let mut counts: Map<(&str, Key<'_>), usize> = map_of(selectors.len().saturating_mul(2));
    for condition in entries().flat_map(|entry| &entry.conditions) {
        for key in condition.patterns.iter().filter_map(key_of) {
            let count = counts.entry((&condition.attribute, key)).or_default();
            *count = count.saturating_add(1);
        }
    }
    let commonness = |condition: &Condition| {
        let mut most = Commonness::Exact(0);
        for pattern in &condition.patterns {
            let key = key_of(pattern)?;
            let count = counts.get(&(&*condition.attribute, key)).copied();
            let count = count.unwrap_or_default();
            most = most.max(match key {
                Key::Exact(_) => Commonness::Exact(count),
                Key::Beginning(_) | Key::End(_) => Commonness::Glob(count),
            });
        }
        Some(most)
    };
    let rarest = |entry: &Entry| {
        let counted = entry.conditions.iter().enumerate();
        let counted = counted.filter_map(|(place, it)| Some((commonness(it)?, place)));
        counted.min().map(|(_, place)| place)
    };
    entries().map(rarest).collect()
}

/// By what values that match are found; `None` if every value may match.
fn key_of(pattern: &Pattern) -> Option<Key<'_>> {
    if let Some(value) = pattern.exact() {
        return Some(Key::Exact(value));
    }
    let glob = pattern.as_str();
    let beginning = glob.split('*').next().unwrap_or_default();
    let end = glob.rsplit('*').next().unwrap_or_default();
    if beginning.is_empty() && end.is_empty() {
        None
    } else if beginning.len() >= end.len() {
        Some(Key::Beginning(beginning))
    } else {
        Some(Key::End(end))
    }
}
