//! A memory of bounded size: what was used least lately is forgotten first, by halves. Keys are kept and
//! compared whole.

use core::{borrow::Borrow, hash::Hash};
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

#[cfg(test)]
mod tests;

/// What the table itself takes for an entry, about, in bytes.
const OVERHEAD: usize = 64;

/// Keys and values in at most so many bytes.
pub(crate) struct Memory<K, V> {
    // What is looked for in `old` moves to `young`; when `young` is half of the whole, it becomes `old`, and
    // what was old is forgotten. No list to keep in order, and nobody can make it larger than it may be.
    young: Half<K, V>,
    old: Half<K, V>,
    most: usize,
}

struct Half<K, V> {
    entries: HashMap<K, (V, usize), Tails>,
    bytes: usize,
}

impl<K: Eq + Hash, V> Memory<K, V> {
    pub(crate) fn of_bytes(most: usize) -> Self {
        let hashes = Tails::default();
        Self {
            young: Half::empty(hashes.clone()),
            old: Half::empty(hashes),
            most,
        }
    }

    /// What `look` makes of what is remembered of `key`.
    pub(crate) fn look<Q, T>(&mut self, key: &Q, look: impl FnOnce(&V) -> T) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some((value, _)) = self.young.entries.get(key) {
            return Some(look(value));
        }
        let (key, (value, cost)) = self.old.entries.remove_entry(key)?;
        self.old.bytes = self.old.bytes.saturating_sub(cost);
        let seen = look(&value);
        self.put(key, value, cost);
        Some(seen)
    }

    /// What is remembered of `key`, which is forgotten.
    pub(crate) fn take<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut found = None;
        for half in [&mut self.young, &mut self.old] {
            if let Some((value, cost)) = half.entries.remove(key) {
                half.bytes = half.bytes.saturating_sub(cost);
                found = found.or(Some(value));
            }
        }
        found
    }

    /// Remembers; `size` is what key and value take, in bytes. What takes more than an eighth of the whole
    /// is not remembered.
    pub(crate) fn insert(&mut self, key: K, value: V, size: usize) {
        let cost = size.saturating_add(OVERHEAD);
        if cost <= self.most / 8 {
            self.remove(&key);
            self.put(key, value, cost);
        }
    }

    fn put(&mut self, key: K, value: V, cost: usize) {
        if self.young.bytes.saturating_add(cost) > self.most / 2 {
            let empty = Half::empty(self.young.entries.hasher().clone());
            self.old = core::mem::replace(&mut self.young, empty);
        }
        self.young.bytes = self.young.bytes.saturating_add(cost);
        self.young.entries.insert(key, (value, cost));
    }

    /// Forgets one.
    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let _ = self.take(key);
    }

    /// Everything that is remembered.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        let halves = [&self.young, &self.old].into_iter();
        halves.flat_map(|half| half.entries.values().map(|(value, _)| value))
    }

    /// How many bytes are remembered.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.young.bytes.saturating_add(self.old.bytes)
    }
}

impl<K, V> Half<K, V> {
    fn empty(hashes: Tails) -> Self {
        Self {
            entries: HashMap::with_hasher(hashes),
            bytes: 0,
        }
    }
}

/// Hashes the last bytes of each part of a key alone: a token differs from others in its signature, and keys
/// are compared whole. Keyed at random, like the standard's.
#[derive(Clone, Default)]
pub(crate) struct Tails(RandomState);

pub(crate) struct Tail(<RandomState as BuildHasher>::Hasher);

impl BuildHasher for Tails {
    type Hasher = Tail;

    fn build_hasher(&self) -> Tail {
        Tail(self.0.build_hasher())
    }
}

impl Hasher for Tail {
    // A key's length tells keys apart no better than its end.
    fn write_usize(&mut self, _length: usize) {}

    fn write(&mut self, bytes: &[u8]) {
        let tail = bytes.last_chunk::<32>().map_or(bytes, <[u8; 32]>::as_slice);
        self.0.write(tail);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
