//! The signing keys in words that can be written down: what `attache keys` prints.

use attache_core::{jwt::Algorithm, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    rotation::{self, Schedule},
    signer::ALGORITHMS,
    store::{KeyState, StoredKey, StoredRing},
};

/// All keys, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysTold {
    /// The ring's sequence, which is the bundle's `spiffe_sequence`.
    pub sequence: u64,
    /// Oldest first.
    pub keys: Vec<KeyTold>,
}

/// One key. A moment that has not come is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTold {
    /// Its `kid`.
    pub key_id: String,
    /// What it signs with: `RS256`.
    pub algorithm: String,
    /// Where it stands.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was published.
    pub published_at: Option<Timestamp>,
    /// When it began to sign.
    pub active_at: Option<Timestamp>,
    /// When its successor began to sign.
    pub retired_at: Option<Timestamp>,
    /// When it left the documents.
    pub removed_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// What happens to it next; `null` if nothing does.
    pub next: Option<NextStep>,
}

/// What happens to a key next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep {
    /// Where it stands then.
    pub state: KeyState,
    /// When, at the earliest.
    pub at: Timestamp,
}

impl KeysTold {
    pub(crate) fn of(stored: &StoredRing, schedule: &Schedule) -> Self {
        let told = |key: &StoredKey| KeyTold {
            key_id: key.key_id.clone(),
            algorithm: key.algorithm.clone(),
            state: key.state(),
            created_at: key.created_at,
            published_at: key.published_at,
            active_at: key.active_at,
            retired_at: key.retired_at,
            removed_at: key.removed_at,
            revoked_at: key.revoked_at,
            next: next(key, &stored.keys, schedule),
        };
        Self {
            sequence: stored.sequence,
            keys: stored.keys.iter().map(told).collect(),
        }
    }
}

fn next(key: &StoredKey, keys: &[StoredKey], schedule: &Schedule) -> Option<NextStep> {
    let algorithm = ALGORITHMS
        .into_iter()
        .find(|known| known.name() == key.algorithm)?;
    let (state, at) = match key.state() {
        KeyState::Prepared => (KeyState::Published, rotation::publication(key)),
        KeyState::Published => (KeyState::Active, changeover(keys, algorithm, schedule)?),
        KeyState::Active => (KeyState::Retired, changeover(keys, algorithm, schedule)?),
        KeyState::Retired => (KeyState::Removed, rotation::removal(key)?),
        KeyState::Removed | KeyState::Revoked => return None,
    };
    Some(NextStep { state, at })
}

/// When the successor takes the active key's place; `None` while there is none.
fn changeover(keys: &[StoredKey], algorithm: Algorithm, schedule: &Schedule) -> Option<Timestamp> {
    let mut active = keys.iter().filter(|key| key.state() == KeyState::Active);
    let active = active.find(|key| key.algorithm == algorithm.name())?;
    let successor = rotation::successor(keys, algorithm)?;
    rotation::activation(active, successor, algorithm, schedule)
}
