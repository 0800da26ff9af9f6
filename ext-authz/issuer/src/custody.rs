//! The keys in custody: the ring in use, the store behind it, and the steps between them. Each step is in
//! the store before it shows, and every process on one store takes the same.

mod changes;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use attache_core::{jwt::Algorithm, time::Timestamp};
use thiserror::Error;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use self::changes::{activated, algorithm_of, named, removal, revocation, succession};
use crate::{
    config::IssuerConfig,
    keys::{KeyRing, UnusableKeys, bound_to},
    rotation::{self, STALE_AFTER, Schedule, Step},
    sealing::SealingKey,
    signer::{self, ALGORITHMS},
    store::{Change, Changed, KeyState, KeyStore, StoredKey, StoredRing},
};

/// How often others may be first before something is wrong.
const MAX_OVERTAKEN: usize = 32;

/// The signing keys, and how they change.
pub(crate) struct Custody {
    store: Arc<dyn KeyStore>,
    sealing_key: Arc<SealingKey>,
    schedule: Schedule,
    max_ttl: Duration,
    ring: ArcSwap<KeyRing>,
    /// When the store was last asked for what is in use.
    read_at: ArcSwap<Instant>,
    /// Whether the store's files may still hold the private part of a key that is gone.
    unerased: AtomicBool,
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
        let read_at = Instant::now();
        let ring = KeyRing::of(store.load().await?, &sealing_key, None)?;
        // A process that was killed may have left something.
        let is_gone = |key: &StoredKey| !key.state().is_kept();
        let unerased = ring.stored.keys.iter().any(is_gone);
        let custody = Self {
            store,
            sealing_key: Arc::new(sealing_key),
            schedule: config.schedule.clone(),
            max_ttl: config.max_ttl,
            ring: ArcSwap::from_pointee(ring),
            read_at: ArcSwap::from_pointee(read_at),
            unerased: AtomicBool::new(unerased),
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

    /// The ring to sign with; `None` while the store has not been read for [`STALE_AFTER`].
    ///
    /// SECURITY: another process may have revoked a key of it since, and only the store says so.
    pub(crate) fn fresh(&self) -> Option<Arc<KeyRing>> {
        (self.read_at.load().elapsed() < STALE_AFTER).then(|| self.ring())
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
        let taken = self.steps(&changing, now, urgency).await?;
        drop(changing);
        if urgency == Urgency::All {
            self.erase().await?;
        }
        Ok(taken)
    }

    async fn steps(
        &self,
        _changing: &MutexGuard<'_, ()>,
        now: Timestamp,
        urgency: Urgency,
    ) -> Result<Vec<Step>, UnusableKeys> {
        let read_at = Instant::now();
        let mut stored = self.store.load().await?;
        // SECURITY: before any step, which may fail: a store that cannot be written still tells what others
        // revoked.
        self.adopt(stored.clone())?;
        self.read_at.store(Arc::new(read_at));
        let (mut taken, mut overtaken) = (Vec::new(), 0);
        while overtaken < MAX_OVERTAKEN {
            let step = rotation::due(&stored.keys, &self.schedule, self.max_ttl, now);
            let Some(step) = step.filter(|step| urgency.allows(step)) else {
                self.adopt(stored)?;
                return Ok(taken);
            };
            let change = self.change_of(&step, &stored, now).await?;
            stored = match self.store.change(stored.sequence, &change).await? {
                Changed::Overtaken(newer) => {
                    overtaken += 1;
                    newer
                }
                Changed::Done(stored) => {
                    report(&change);
                    taken.push(step);
                    // INVARIANT: what the store says shows before the next step is taken.
                    self.made(&change, stored.clone())?;
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
                at: now,
                keys: keys.collect(),
                revokes: false,
            })
        })
        .await?;
        self.steps(&changing, now, Urgency::All).await
    }

    /// Takes a key out of the documents at once, with a successor in its place if it signed.
    pub(crate) async fn revoke(&self, key_id: &str, now: Timestamp) -> Result<(), NotRevoked> {
        let changing = self.changing.lock().await;
        // Made before it is known to be needed: the store's answer must not wait for it.
        let spare = self.spare(key_id, now).await?;
        self.change(|stored| revocation(stored, key_id, spare.as_ref(), self.max_ttl, now))
            .await?;
        tracing::warn!(kid = key_id, "signing key revoked");
        drop(changing);
        if let Err(error) = self.erase().await {
            tracing::warn!(kid = key_id, %error, "its private part is not erased yet; tried again soon");
        }
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
        for _ in 0..MAX_OVERTAKEN {
            let change = plan(&stored)?;
            if change.keys.is_empty() {
                return Ok(());
            }
            let changed = self.store.change(stored.sequence, &change).await;
            match changed.map_err(failed)? {
                Changed::Done(stored) => return Ok(self.made(&change, stored)?),
                Changed::Overtaken(newer) => stored = newer,
            }
        }
        Err(E::from(UnusableKeys::Restless))
    }

    /// Puts what `change` made of the ring into use.
    fn made(&self, change: &Change, stored: StoredRing) -> Result<(), UnusableKeys> {
        if change.keys.iter().any(|key| !key.state().is_kept()) {
            self.unerased.store(true, Ordering::Release);
        }
        self.adopt(stored)
    }

    /// Has the store erase the private parts of keys that are gone. What fails is tried again next time.
    async fn erase(&self) -> Result<(), UnusableKeys> {
        if self.unerased.swap(false, Ordering::AcqRel)
            && let Err(error) = self.store.erase().await
        {
            self.unerased.store(true, Ordering::Release);
            return Err(error.into());
        }
        Ok(())
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
            Step::Remove(key_ids) => removal(stored, key_ids, now),
        };
        Ok(Change {
            at: now,
            keys,
            revokes: false,
        })
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
