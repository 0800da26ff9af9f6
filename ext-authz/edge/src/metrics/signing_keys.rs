//! The keys that tokens are signed with, where this process has the issuer: how many stand in each state, since
//! when one signs, and when the next step is due.

use std::{collections::BTreeMap, fmt};

use attache_core::time::Timestamp;

use super::state::Told;

/// The issuer's keys, as the wiring tells them: the edge itself knows no issuer.
pub trait SigningKeys: Send + Sync {
    /// All keys that are kept.
    fn keys(&self) -> Vec<SigningKey>;

    /// Whether tokens are signed now.
    fn sign(&self) -> bool;
}

/// One key. INVARIANT: every text comes from a fixed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// What it signs with: `RS256`.
    pub algorithm: &'static str,
    /// Where it stands: `active`.
    pub state: &'static str,
    /// When it began to sign, if it signs.
    pub signs_since: Option<Timestamp>,
    /// Where it stands next, and when at the earliest.
    pub next: Option<(&'static str, Timestamp)>,
}

/// States of keys that are kept, so that one without a key is told as 0.
const STATES: [&str; 4] = ["prepared", "published", "active", "retired"];

pub(super) fn tell(told: &mut Told<'_>, signing: &dyn SigningKeys) -> fmt::Result {
    let keys = signing.keys();
    told.gauge(
        "signing_usable",
        "1 while tokens are signed, 0 while the store of the keys cannot be read",
        &u64::from(signing.sign()),
    )?;
    let mut counts: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for key in &keys {
        for state in STATES {
            let count = counts.entry([key.algorithm, state]).or_default();
            *count = count.saturating_add(u64::from(state == key.state));
        }
    }
    told.family(
        "signing_keys",
        "Signing keys, by where they stand",
        None,
        ["algorithm", "state"],
        counts,
    )?;
    let since = keys.iter().filter_map(|key| {
        let since = key.signs_since?;
        Some(([key.algorithm], seconds(since)))
    });
    told.family(
        "signing_key_active_timestamp",
        "When the key that signs began to",
        Some(()),
        ["algorithm"],
        since.collect(),
    )?;
    let mut steps: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for key in &keys {
        // The key that signs retires when its successor begins: one step, told once.
        let Some((state, at)) = key.next.filter(|(state, _)| *state != "retired") else {
            continue;
        };
        let at = seconds(at);
        let first = steps.entry([key.algorithm, state]).or_insert(at);
        *first = (*first).min(at);
    }
    told.family(
        "signing_key_step_timestamp",
        "When the next key is due to come into a state",
        Some(()),
        ["algorithm", "state"],
        steps,
    )
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_seconds()).unwrap_or(0)
}
