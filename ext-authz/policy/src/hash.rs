//! How tables are hashed that are built from documents.
//!
//! SECURITY: keyed anew in each process. Whoever writes documents could otherwise choose names that all fall into one
//! place of a table, and make each insert as slow as all before it together. foldhash is keyed and costs a fraction of
//! SipHash on short texts. It is no cryptographic hash: its key must not be guessed from answers, and none is given
//! that depends on a hash. Whoever calls adds nothing to a table.

use std::collections;

pub(crate) type State = foldhash::fast::RandomState;
pub(crate) type Map<K, V> = collections::HashMap<K, V, State>;
pub(crate) type Set<K> = collections::HashSet<K, State>;

/// An empty map with room for `count` entries.
pub(crate) fn map_of<K, V>(count: usize) -> Map<K, V> {
    Map::with_capacity_and_hasher(count, State::default())
}
