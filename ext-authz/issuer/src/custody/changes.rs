//! What a step does to the keys that it concerns. Pure: keys and time in, keys out.

use std::time::Duration;

use attache_core::{jwt::Algorithm, time::Timestamp};

use super::NotRevoked;
use crate::{
    rotation,
    signer::ALGORITHMS,
    store::{Change, KeyState, StoredKey, StoredRing},
};

pub(super) fn named<'k>(
    stored: &'k StoredRing,
    key_id: &'k str,
) -> impl Iterator<Item = &'k StoredKey> {
    stored.keys.iter().filter(move |key| key.key_id == key_id)
}

pub(super) fn algorithm_of(key: &StoredKey) -> Option<Algorithm> {
    let mut known = ALGORITHMS.into_iter();
    known.find(|algorithm| algorithm.name() == key.algorithm)
}

pub(super) fn activated(key: &StoredKey, max_ttl: Duration, now: Timestamp) -> StoredKey {
    StoredKey {
        published_at: key.published_at.or(Some(now)),
        active_at: Some(now),
        longest_ttl: max_ttl,
        ..key.clone()
    }
}

/// `key_id` begins to sign, and whoever signed retires.
pub(super) fn succession(
    stored: &StoredRing,
    key_id: &str,
    max_ttl: Duration,
    now: Timestamp,
) -> Vec<StoredKey> {
    let successor = named(stored, key_id).next();
    let algorithm = successor.map(|key| key.algorithm.as_str());
    let retiring = stored
        .keys
        .iter()
        .filter(|key| key.state() == KeyState::Active && Some(key.algorithm.as_str()) == algorithm);
    let retiring = retiring.map(|key| StoredKey {
        retired_at: Some(now),
        ..key.clone()
    });
    let successor = successor.map(|key| activated(key, max_ttl, now));
    retiring.chain(successor).collect()
}

/// `key_id` is revoked, and whoever is next signs if it did.
pub(super) fn revocation(
    stored: &StoredRing,
    key_id: &str,
    spare: Option<&StoredKey>,
    max_ttl: Duration,
    now: Timestamp,
) -> Result<Change, NotRevoked> {
    let unknown = || NotRevoked::Unknown(key_id.to_owned());
    let key = named(stored, key_id).next().ok_or_else(unknown)?;
    if !key.state().is_kept() {
        return Err(NotRevoked::Gone(key_id.to_owned(), key.state()));
    }
    let mut keys = vec![StoredKey {
        revoked_at: Some(now),
        sealed_private: Vec::new(),
        ..key.clone()
    }];
    if key.state() == KeyState::Active {
        let next = algorithm_of(key)
            .and_then(|algorithm| rotation::successor(&stored.keys, algorithm))
            .or(spare);
        // Without one nothing signs until the next turn makes a key.
        keys.extend(next.map(|next| activated(next, max_ttl, now)));
    }
    Ok(Change {
        at: now,
        keys,
        revokes: true,
    })
}

/// The keys `key_ids` leave the documents, the last token of each being over.
pub(super) fn removal(stored: &StoredRing, key_ids: &[String], now: Timestamp) -> Vec<StoredKey> {
    let over = stored
        .keys
        .iter()
        .filter(|key| key_ids.contains(&key.key_id));
    let removed = over.map(|key| StoredKey {
        removed_at: Some(now),
        sealed_private: Vec::new(),
        ..key.clone()
    });
    removed.collect()
}
