//! The keys in custody: the ring in use, the store behind it, and the steps between them. Each step is in
//! the store before it shows, and every process on one store takes the same.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use attache_core::{jwt::Algorithm, time::Timestamp};
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    config::IssuerConfig,
    keys::{KeyRing, UnusableKeys, bound_to},
    rotation::{self, Schedule, Step},
    sealing::SealingKey,
    signer::{self, ALGORITHMS},
    store::{Change, Changed, KeyState, KeyStore, StoredKey, StoredRing},
};

/// Most attempts at one change while other processes make theirs.
const MAX_ATTEMPTS: usize = 32;

/// The signing keys, and how they change.
pub(crate) struct Custody {
    store: Arc<dyn KeyStore>,
    sealing_key: Arc<SealingKey>,
    schedule: Schedule,
    max_ttl: Duration,
    ring: ArcSwap<KeyRing>,
    /// One change of ours at a time.
    changing: Mutex<()>,
}

/// Why no key was revoked.
#[derive(Debug, Error)]
pub enum NotRevoked {
    /// There is no such key.
    #[error("there is no key {0}; `attache keys list` names them")]
    Unknown(String),
    /// It is in no document any more.
    #[error("key {0} is {state} already", state = .1.name())]
    Gone(String, KeyState),
    /// The keys cannot be used.
    #[error(transparent)]
    Unusable(#[from] UnusableKeys),
}

impl Custody {
    /// Takes the keys from the store, and makes those that are missing there.
    pub(crate) async fn open(
        store: Arc<dyn KeyStore>,
        sealing_key: SealingKey,
        config: &IssuerConfig,
        now: Timestamp,
    ) -> Result<Self, UnusableKeys> {
        // INVARIANT: what is there opens before anything is added, so that a wrong sealing key never
        // leads to a second set of keys.
        let ring = KeyRing::of(store.load().await?, &sealing_key, None)?;
        let custody = Self {
            store,
            sealing_key: Arc::new(sealing_key),
            schedule: config.schedule.clone(),
            max_ttl: config.max_ttl,
            ring: ArcSwap::from_pointee(ring),
            changing: Mutex::default(),
        };
        custody.turn(now, Urgency::ToStart).await?;
        for algorithm in ALGORITHMS {
            if custody.ring().signing(algorithm).is_none() {
                return Err(UnusableKeys::NotKept(algorithm.name()));
            }
        }
        Ok(custody)
    }

    /// The ring in use.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// The ring in use, for a look on the way.
    pub(crate) fn glance(&self) -> arc_swap::Guard<Arc<KeyRing>> {
        self.ring.load()
    }

    /// The schedule of the keys.
    pub(crate) const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Learns what other processes did, and takes every step that is due at `now`.
    pub(crate) async fn turn(
        &self,
        now: Timestamp,
        urgency: Urgency,
    ) -> Result<Vec<Step>, UnusableKeys> {
        let changing = self.changing.lock().await;
        self.steps(&changing, now, urgency).await
    }

    async fn steps(
        &self,
        _changing: &MutexGuard<'_, ()>,
        now: Timestamp,
        urgency: Urgency,
    ) -> Result<Vec<Step>, UnusableKeys> {
        let mut stored = self.store.load().await?;
        let mut taken = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let step = rotation::due(&stored.keys, &self.schedule, self.max_ttl, now);
            let Some(step) = step.filter(|step| urgency.allows(step)) else {
                self.adopt(stored)?;
                return Ok(taken);
            };
            let change = self.change_of(&step, &stored, now).await?;
            stored = match self.store.change(stored.sequence, &change).await? {
                Changed::Overtaken(stored) => stored,
                Changed::Done(stored) => {
                    report(&change);
                    taken.push(step);
                    // INVARIANT: what the store says shows before the next step is taken.
                    self.adopt(stored.clone())?;
                    stored
                }
            };
        }
        Err(UnusableKeys::Restless)
    }

    /// Has successors sign as soon as everyone can know them, of one algorithm or of all.
    pub(crate) async fn rotate(
        &self,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<Step>, UnusableKeys> {
        let changing = self.changing.lock().await;
        let wanted = |key: &StoredKey| {
            let named = algorithm.is_none_or(|algorithm| key.algorithm == algorithm.name());
            key.state() == KeyState::Active && named && key.due_at.is_none()
        };
        self.change::<UnusableKeys>(|stored| {
            let due = stored.keys.iter().filter(|key| wanted(key));
            let keys = due.map(|key| StoredKey {
                due_at: Some(now),
                ..key.clone()
            });
            Ok(Change {
                keys: keys.collect(),
                revokes: false,
            })
        })
        .await?;
        self.steps(&changing, now, Urgency::All).await
    }

    /// Takes a key out of the documents at once, with a successor in its place if it signed.
    pub(crate) async fn revoke(&self, key_id: &str, now: Timestamp) -> Result<(), NotRevoked> {
        let _changing = self.changing.lock().await;
        // Made before it is known to be needed: the store's answer must not wait for it.
        let spare = self.spare(key_id, now).await?;
        self.change(|stored| revocation(stored, key_id, spare.as_ref(), self.max_ttl, now))
            .await?;
        tracing::warn!(kid = key_id, "signing key revoked");
        Ok(())
    }

    /// A key for the case that the one to be revoked signs and has no successor.
    async fn spare(&self, key_id: &str, now: Timestamp) -> Result<Option<StoredKey>, UnusableKeys> {
        let stored = self.store.load().await?;
        let signs = |key: &&StoredKey| key.state() == KeyState::Active;
        let algorithm = named(&stored, key_id).find(signs).and_then(algorithm_of);
        let without =
            |algorithm: &Algorithm| rotation::successor(&stored.keys, *algorithm).is_none();
        let Some(algorithm) = algorithm.filter(without) else {
            return Ok(None);
        };
        Ok(self.make(vec![algorithm], now).await?.pop())
    }

    /// Makes the change that `plan` finds in what is stored, and shows it. One without keys is none.
    async fn change<E: From<UnusableKeys>>(
        &self,
        plan: impl Fn(&StoredRing) -> Result<Change, E>,
    ) -> Result<(), E> {
        let failed = |error| E::from(UnusableKeys::Store(error));
        let mut stored = self.store.load().await.map_err(failed)?;
        for _ in 0..MAX_ATTEMPTS {
            let change = plan(&stored)?;
            if change.keys.is_empty() {
                return Ok(());
            }
            let changed = self.store.change(stored.sequence, &change).await;
            match changed.map_err(failed)? {
                Changed::Done(stored) => return Ok(self.adopt(stored)?),
                Changed::Overtaken(newer) => stored = newer,
            }
        }
        Err(E::from(UnusableKeys::Restless))
    }

    /// Puts what is stored into use.
    fn adopt(&self, stored: StoredRing) -> Result<(), UnusableKeys> {
        let before = self.ring.load();
        if before.stored != stored {
            let ring = KeyRing::of(stored, &self.sealing_key, Some(&before))?;
            self.ring.store(Arc::new(ring));
        }
        Ok(())
    }

    async fn change_of(
        &self,
        step: &Step,
        stored: &StoredRing,
        now: Timestamp,
    ) -> Result<Change, UnusableKeys> {
        let keys = match step {
            Step::Begin(algorithms) => {
                let made = self.make(algorithms.clone(), now).await?;
                let first = made.into_iter();
                first
                    .map(|key| activated(&key, self.max_ttl, now))
                    .collect()
            }
            Step::Prepare(algorithm) => self.make(vec![*algorithm], now).await?,
            Step::Lengthen => {
                let shorter = |key: &&StoredKey| {
                    key.state() == KeyState::Active && key.longest_ttl < self.max_ttl
                };
                let keys = stored.keys.iter().filter(shorter);
                keys.map(|key| StoredKey {
                    longest_ttl: self.max_ttl,
                    ..key.clone()
                })
                .collect()
            }
            Step::Publish(key_id) => named(stored, key_id)
                .map(|key| StoredKey {
                    published_at: Some(now),
                    ..key.clone()
                })
                .collect(),
            Step::Activate(key_id) => succession(stored, key_id, self.max_ttl, now),
            Step::Remove(key_id) => named(stored, key_id)
                .map(|key| StoredKey {
                    removed_at: Some(now),
                    sealed_private: Vec::new(),
                    ..key.clone()
                })
                .collect(),
        };
        let revokes = false;
        Ok(Change { keys, revokes })
    }

    /// Makes keys, off the asynchronous threads: a key for RS256 takes up to a second.
    async fn make(
        &self,
        algorithms: Vec<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<StoredKey>, UnusableKeys> {
        let sealing_key = Arc::clone(&self.sealing_key);
        let making = tokio::task::spawn_blocking(move || {
            let algorithms = algorithms.into_iter();
            let made = algorithms.map(|algorithm| make_one(algorithm, &sealing_key, now));
            made.collect()
        });
        making
            .await
            .map_err(|_ended_early| UnusableKeys::Interrupted)?
    }
}

/// Which steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// What must be before the first token is minted.
    ToStart,
    /// All that are due.
    All,
}

impl Urgency {
    /// A start does not wait for the next key to be made.
    const fn allows(self, step: &Step) -> bool {
        matches!(self, Self::All) || !matches!(step, Step::Prepare(_))
    }
}

fn named<'k>(stored: &'k StoredRing, key_id: &'k str) -> impl Iterator<Item = &'k StoredKey> {
    stored.keys.iter().filter(move |key| key.key_id == key_id)
}

fn algorithm_of(key: &StoredKey) -> Option<Algorithm> {
    let mut known = ALGORITHMS.into_iter();
    known.find(|algorithm| algorithm.name() == key.algorithm)
}

fn activated(key: &StoredKey, max_ttl: Duration, now: Timestamp) -> StoredKey {
    StoredKey {
        published_at: key.published_at.or(Some(now)),
        active_at: Some(now),
        longest_ttl: max_ttl,
        ..key.clone()
    }
}

/// `key_id` begins to sign, and whoever signed retires.
fn succession(
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
fn revocation(
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
        keys,
        revokes: true,
    })
}

fn make_one(
    algorithm: Algorithm,
    sealing_key: &SealingKey,
    now: Timestamp,
) -> Result<StoredKey, UnusableKeys> {
    let private = signer::generate(algorithm)?;
    let public = signer::parse(algorithm, &private)?.public_key().clone();
    let key_id = public.thumbprint();
    Ok(StoredKey {
        sealed_private: sealing_key.seal(&private, &bound_to(&key_id, algorithm))?,
        key_id,
        algorithm: algorithm.name().to_owned(),
        public_jwk: public.jwk(algorithm).to_string(),
        created_at: now,
        published_at: None,
        active_at: None,
        due_at: None,
        retired_at: None,
        removed_at: None,
        revoked_at: None,
        longest_ttl: Duration::ZERO,
    })
}

fn report(change: &Change) {
    for key in &change.keys {
        let (kid, algorithm, state) = (&key.key_id, &key.algorithm, key.state().name());
        tracing::info!(%kid, %algorithm, "signing key {state}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
