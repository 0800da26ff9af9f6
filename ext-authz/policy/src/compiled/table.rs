//! A hash table by text of which each entry is one line of a processor's cache, so that whoever looks one up reads
//! that line, and one of the table's own.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;

use super::short::Short;
use crate::hash::State;

/// INVARIANT: an entry stands where the hash of its text's bytes puts it, and each text has one.
#[derive(Debug)]
pub(super) struct Table<V> {
    entries: HashTable<Entry<V>>,
    state: State,
}

/// A text, and what it leads to.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<V> {
    text: Short,
    value: V,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self::with_room(0)
    }
}

impl<V> Table<V> {
    pub(super) fn with_room(count: usize) -> Self {
        const {
            assert!(size_of::<Entry<V>>() == 64, "an entry is one line");
        }
        Self {
            entries: HashTable::with_capacity(count),
            state: State::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, text: &[u8]) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let hash = self.state.hash_one(text);
        let found = self.entries.find(hash, |entry| entry.text.bytes() == text);
        found.map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, text: &[u8]) -> Option<&mut V> {
        let hash = self.state.hash_one(text);
        let is_it = |entry: &Entry<V>| entry.text.bytes() == text;
        let found = self.entries.find_mut(hash, is_it);
        found.map(|entry| &mut entry.value)
    }

    /// What it led to before is replaced.
    pub(super) fn insert(&mut self, text: &[u8], value: V) {
        if let Some(known) = self.get_mut(text) {
            *known = value;
            return;
        }
        let (hash, state) = (self.state.hash_one(text), &self.state);
        let text = Short::of(text);
        let hash_of = |entry: &Entry<V>| state.hash_one(entry.text.bytes());
        self.entries
            .insert_unique(hash, Entry { text, value }, hash_of);
    }

    /// Gives back the room that is left over.
    pub(super) fn shrink_to_fit(&mut self) {
        let state = &self.state;
        let hash_of = |entry: &Entry<V>| state.hash_one(entry.text.bytes());
        self.entries.shrink_to_fit(hash_of);
    }
}

#[cfg(test)]
mod tests;
