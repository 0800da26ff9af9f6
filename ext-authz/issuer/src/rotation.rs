//! When a key takes its next step: prepared → published → active → retired → removed. Pure: keys, schedule
//! and time in, one step out, so that the whole life of a key can be tested without waiting.
//!
//! INVARIANT: no verifier meets an unknown `kid`. A key signs only after every copy of the documents that
//! was fetched before it stood there has run out, and stands there until the last token that it signed has.

use std::time::Duration;

use attache_core::{jwt::Algorithm, time::Timestamp};
use thiserror::Error;

use crate::{
    signer::ALGORITHMS,
    store::{KeyState, StoredKey},
};

/// How long verifiers may keep the documents: `max-age` of their `Cache-Control`, and the bundle's
/// `spiffe_refresh_hint`.
pub const DOCUMENTS_MAX_AGE: Duration = Duration::from_secs(300);
/// How often the ring is looked at. Other processes on the same store learn of a step as late as this.
pub const PACE: Duration = Duration::from_secs(1);
/// How long keys sign on while the store cannot be read: one that another process revoked signs no longer.
pub const STALE_AFTER: Duration = Duration::from_secs(60);
/// How long a key rests in the store before it is published: backups and the other processes have it then.
pub const PREPARED_FOR: Duration = Duration::from_secs(60);
/// How long a key stays after the last token that it signed: the leeway that verifiers give, and ours.
pub const LEEWAY: Duration = Duration::from_secs(120);
/// Least time between publication and first signature: the documents' age, and as much again for clocks
/// and slow disks.
pub const MIN_PUBLISH_AHEAD: Duration = Duration::from_secs(600);
/// A key lives longer than its publication ahead of use by at least this, or its successor is never ready.
pub const MIN_SPARE: Duration = Duration::from_secs(600);

/// How long keys sign, and how long they are known before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    rs256: Duration,
    es256: Duration,
    publish_ahead: Duration,
}

/// Why a schedule leaves a verifier without a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSchedule {
    /// Verifiers would still hold documents without the key.
    #[error("keys published {} s before they sign: verifiers keep the documents for {} s; take at least {} s", .0.as_secs(), DOCUMENTS_MAX_AGE.as_secs(), MIN_PUBLISH_AHEAD.as_secs())]
    Unannounced(Duration),
    /// The next key would not be ready in time.
    #[error("a period of {} s for {algorithm}: the next key is known {} s before it signs; take at least {} s", .period.as_secs(), .ahead.as_secs(), .ahead.saturating_add(MIN_SPARE).as_secs())]
    TooShort {
        /// Of these keys.
        algorithm: &'static str,
        /// How long they would sign.
        period: Duration,
        /// How long they are known before.
        ahead: Duration,
    },
}

impl Schedule {
    /// How long a key signs unless the configuration says otherwise.
    pub const DEFAULT_PERIOD: Duration = Duration::from_secs(30 * 86_400);
    /// How long a key is known before it signs unless the configuration says otherwise: longer than the
    /// verifiers keep keys that pay no heed to `Cache-Control`.
    pub const DEFAULT_PUBLISH_AHEAD: Duration = Duration::from_secs(3600);

    /// A schedule: how long keys for RS256 and for ES256 sign, and how long each is published before.
    pub fn new(
        rs256: Duration,
        es256: Duration,
        publish_ahead: Duration,
    ) -> Result<Self, InvalidSchedule> {
        if publish_ahead < MIN_PUBLISH_AHEAD {
            return Err(InvalidSchedule::Unannounced(publish_ahead));
        }
        let schedule = Self {
            rs256,
            es256,
            publish_ahead,
        };
        for algorithm in ALGORITHMS {
            let period = schedule.period(algorithm);
            if period < publish_ahead.saturating_add(MIN_SPARE) {
                return Err(InvalidSchedule::TooShort {
                    algorithm: algorithm.name(),
                    period,
                    ahead: publish_ahead,
                });
            }
        }
        Ok(schedule)
    }

    /// How long a key for `algorithm` signs.
    pub fn period(&self, algorithm: Algorithm) -> Duration {
        if algorithm == Algorithm::Es256 {
            self.es256
        } else {
            self.rs256
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            rs256: Self::DEFAULT_PERIOD,
            es256: Self::DEFAULT_PERIOD,
            publish_ahead: Self::DEFAULT_PUBLISH_AHEAD,
        }
    }
}

/// What happens to the ring next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Algorithms have no key at all: the first ones are made, and sign at once.
    Begin(Vec<Algorithm>),
    /// Keys sign while longer lifetimes are allowed than when they began.
    Lengthen,
    /// Nothing signs for an algorithm, or its successor is due and known: this key signs from now on.
    Activate(String),
    /// The last tokens of these keys are over: they leave the documents.
    Remove(Vec<String>),
    /// This key has rested long enough: it enters the documents.
    Publish(String),
    /// There is no successor: one is made.
    Prepare(Algorithm),
}

/// The next step of `keys` at `now`, if one is due. `max_ttl` is the longest lifetime that tokens get now.
pub(crate) fn due(
    keys: &[StoredKey],
    schedule: &Schedule,
    max_ttl: Duration,
    now: Timestamp,
) -> Option<Step> {
    let begin: Vec<_> = ALGORITHMS
        .into_iter()
        .filter(|algorithm| !kept(keys, *algorithm).any(|key| key.state() != KeyState::Retired))
        .collect();
    if !begin.is_empty() {
        return Some(Step::Begin(begin));
    }
    let active = keys.iter().filter(|key| key.state() == KeyState::Active);
    // SECURITY: noted before the key signs a longer token, so that it is never removed before that is over.
    if active.clone().any(|key| key.longest_ttl < max_ttl) {
        return Some(Step::Lengthen);
    }
    let over = keys
        .iter()
        .filter(|key| removal(key).is_some_and(|end| end <= now));
    let over: Vec<_> = over.map(|key| key.key_id.clone()).collect();
    if !over.is_empty() {
        return Some(Step::Remove(over));
    }
    let mut steps = ALGORITHMS
        .into_iter()
        .filter_map(|algorithm| due_of(keys, algorithm, schedule, now));
    steps.next()
}

fn due_of(
    keys: &[StoredKey],
    algorithm: Algorithm,
    schedule: &Schedule,
    now: Timestamp,
) -> Option<Step> {
    let active = kept(keys, algorithm).find(|key| key.state() == KeyState::Active);
    let successor = successor(keys, algorithm);
    let Some(successor) = successor else {
        return Some(Step::Prepare(algorithm));
    };
    let step_at = match (active, successor.state()) {
        (None, _) => now,
        (Some(active), KeyState::Published) => activation(active, successor, algorithm, schedule)?,
        (Some(_), _) => publication(successor),
    };
    let key_id = successor.key_id.clone();
    (step_at <= now).then(|| match (active, successor.state()) {
        (Some(_), KeyState::Prepared) => Step::Publish(key_id),
        _ => Step::Activate(key_id),
    })
}

/// The key that is to sign next: of several, one that is published, and of those the oldest.
pub(crate) fn successor(keys: &[StoredKey], algorithm: Algorithm) -> Option<&StoredKey> {
    let waiting = |state| kept(keys, algorithm).find(move |key| key.state() == state);
    waiting(KeyState::Published).or_else(|| waiting(KeyState::Prepared))
}

/// When a prepared key is published.
pub(crate) fn publication(key: &StoredKey) -> Timestamp {
    key.created_at.plus(PREPARED_FOR)
}

/// When `successor` takes the place of `active`: when that was asked for or its period is over, and not
/// before everyone can know the successor.
pub(crate) fn activation(
    active: &StoredKey,
    successor: &StoredKey,
    algorithm: Algorithm,
    schedule: &Schedule,
) -> Option<Timestamp> {
    let scheduled = active.active_at?.plus(schedule.period(algorithm));
    let wanted = active.due_at.map_or(scheduled, |due| due.min(scheduled));
    let published = successor.published_at;
    let published = published.unwrap_or_else(|| publication(successor));
    Some(wanted.max(published.plus(schedule.publish_ahead)))
}

/// When a retired key leaves the documents.
pub(crate) fn removal(key: &StoredKey) -> Option<Timestamp> {
    let retired_at = key
        .retired_at
        .filter(|_| key.state() == KeyState::Retired)?;
    Some(retired_at.plus(key.longest_ttl).plus(LEEWAY))
}

/// The keys for `algorithm` that are neither removed nor revoked.
fn kept(keys: &[StoredKey], algorithm: Algorithm) -> impl Iterator<Item = &StoredKey> {
    keys.iter()
        .filter(move |key| key.algorithm == algorithm.name() && key.state().is_kept())
}

#[cfg(test)]
mod tests;
