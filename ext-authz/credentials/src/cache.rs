//! One cache for all credentials: each is fetched once for however many callers wait for it, reused
//! until its refresh is due, then served to its end while its successor is fetched, and never after it expired.
//!
//! INVARIANT: nobody waits for a fetch who can be given a value that is still good. What cannot be fetched is not
//! asked for with every call, but after pauses that grow, to a few seconds at most.

pub(crate) mod pause;

use std::{
    collections::HashMap,
    future::Future,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use attache_core::{
    decision::Fault,
    freshness::{Freshness, Lifetime},
    time::Timestamp,
};
use foldhash::quality::RandomState;
use quick_cache::{
    UnitWeighter, Weighter,
    sync::{Cache as Bounded, DefaultLifecycle},
};
use tokio::{
    sync::watch,
    time::{self, timeout},
};

use crate::provider::{Cause, NotObtained};

use pause::Failing;

/// What something is kept under, compared whole: bytes that differ for all that must not be mixed up.
pub(crate) type Key = Arc<[u8]>;

/// For how long a value is kept that nobody asks for: it may be one that policy or a rotated secret made useless.
const UNUSED: Duration = Duration::from_mins(15);

/// As how large entries are counted when the cache is divided into parts with a lock each: of at least 32 entries, so
/// that the largest credential fits into each, sixteen headers of 64 KiB.
const ENTRIES_OF: u64 = 128 * 1024;

/// Most keys whose fetches failed that are remembered.
const MAX_FAILING: usize = 10_000;

/// Something that is good for a while.
pub(crate) trait Perishable: Send + Sync + 'static {
    /// From when until when; `None` if for ever.
    fn lifetime(&self) -> Option<Lifetime>;
    /// About how many bytes it takes, without its key.
    fn weight(&self) -> usize;
}

/// Credentials by their whole key: all that would make two of them differ.
pub(crate) struct Cache<V> {
    shared: Arc<Shared<V>>,
}

struct Shared<V> {
    kept: Bounded<Key, Held<V>, InBytes, RandomState>,
    flights: Mutex<HashMap<Key, Flight<V>>>,
    /// Of which the last fetch failed.
    failing: Bounded<Key, Failing, UnitWeighter, RandomState>,
    /// How long one fetch may take.
    patience: Duration,
}

#[derive(Clone)]
struct InBytes;

impl<V> Weighter<Key, Held<V>> for InBytes {
    fn weight(&self, _key: &Key, held: &Held<V>) -> u64 {
        held.0.weight
    }
}

/// A value that several may hold, in one piece of memory with what its cache knows of it.
pub struct Held<V>(Arc<Kept<V>>);

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Deref for Held<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0.value
    }
}

struct Kept<V> {
    weight: u64,
    /// When it was last asked for, in seconds.
    used_at: AtomicI64,
    /// When its successor is fetched: at 80 % of its life, or a little before, so that a fleet does not call in
    /// step.
    refresh_at: Option<Timestamp>,
    value: V,
}

type Outcome<V> = Result<Held<V>, NotObtained>;

/// Why something is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Somebody waits for it.
    Awaited,
    /// It is the successor of what still serves.
    Ahead,
}

/// How long a caller waits, and what it is told then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) until: time::Instant,
    /// What is told where nothing is known of how the last fetch ended.
    pub(crate) late: Fault,
}

/// A fetch under way: `None` until it has landed.
type Flight<V> = watch::Receiver<Option<Outcome<V>>>;

/// Whether a caller began the fetch it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seat {
    Began,
    Joined,
}

impl<V: Perishable> Cache<V> {
    /// A cache of about `max_bytes`, whose fetches may take `patience` each.
    pub(crate) fn new(max_bytes: u64, patience: Duration) -> Self {
        let entries = usize::try_from(max_bytes / ENTRIES_OF).unwrap_or(usize::MAX);
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        let kept = Bounded::with(entries, max_bytes, InBytes, hasher, lifecycle);
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        let most = MAX_FAILING as u64;
        let failing = Bounded::with(MAX_FAILING, most, UnitWeighter, hasher, lifecycle);
        Self {
            shared: Arc::new(Shared {
                kept,
                flights: Mutex::default(),
                failing,
                patience,
            }),
        }
    }

    /// The value of `key` that is good at `now`; `fetch` makes one if there is none.
    ///
    /// The fetch runs in a task of its own: callers that go away do not take it from those that stay.
    /// A failure goes to all who wait for it, and to those who come while it is not asked again. Whoever loses
    /// patience is told what the last fetch failed of, if it did.
    pub(crate) async fn obtain<F>(
        &self,
        key: &[u8],
        now: Timestamp,
        patience: Patience,
        fetch: impl Fn(Occasion) -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        if let Some(value) = self.kept(key, now, patience.late, &fetch) {
            return Ok(value);
        }
        if let Some(failing) = self.shared.failing.get(key)
            && let Some(left) = failing.pause_left()
        {
            return Err(failing.why(left));
        }
        let began = time::Instant::now();
        let boarded = self.shared.board(key, now, patience.late, &fetch);
        let arriving = self.arrive(boarded, key, now, patience.late, &fetch);
        let outcome = match time::timeout_at(patience.until, arriving).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(self.shared.under_way(key, patience.late)),
        };
        // The wait counts: what expired meanwhile does not leave.
        outcome.and_then(|value| still_good(value, now.plus(began.elapsed())))
    }

    /// What is kept, if it is good and its successor is not due yet.
    pub(crate) fn fresh(&self, key: &[u8], now: Timestamp) -> Option<Held<V>> {
        let held = self.shared.kept.get(key)?;
        (held.0.at(now) == Freshness::Fresh).then(|| held.used(now))
    }

    /// What is kept, if it is good; begins to fetch its successor when that is due.
    fn kept<F>(
        &self,
        key: &[u8],
        now: Timestamp,
        late: Fault,
        fetch: &impl Fn(Occasion) -> F,
    ) -> Option<Held<V>>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let held = self.shared.kept.get(key)?;
        match held.0.at(now) {
            Freshness::Fresh => {}
            Freshness::Expired => return None,
            Freshness::RefreshDue => self.shared.refresh(key, now, late, fetch),
        }
        Some(held.used(now))
    }

    /// Frees what expired, and what nobody asked for in a long time.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.shared.kept.retain(|_, held| held.0.serves(now));
        self.shared.failing.retain(|_, failing| failing.is_recent());
    }

    /// Waits until the fetch has landed.
    async fn arrive<F>(
        &self,
        (flight, seat): (Flight<V>, Seat),
        key: &[u8],
        now: Timestamp,
        late: Fault,
        fetch: &impl Fn(Occasion) -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        match landing(flight).await {
            // One caller's evidence is no verdict on another's: who only joined tries once with its own.
            Err(refused) if refused.cause == Cause::EvidenceRefused && seat == Seat::Joined => {
                landing(self.shared.board(key, now, late, fetch).0).await
            }
            outcome => outcome,
        }
    }
}

/// INVARIANT: nothing leaves that is expired for this caller, whoever fetched it.
fn still_good<V: Perishable>(value: Held<V>, now: Timestamp) -> Outcome<V> {
    match value.lifetime().map(|lifetime| lifetime.at(now)) {
        None | Some(Freshness::Fresh | Freshness::RefreshDue) => Ok(value),
        Some(Freshness::Expired) => Err(NotObtained::broken(Fault::CredentialUnavailable)),
    }
}

/// `value`, which is put into a cache under `key`, or into none.
pub(crate) fn held<V: Perishable>(key: &[u8], value: V, now: Timestamp) -> Held<V> {
    let bytes = key.len().saturating_add(value.weight());
    Held(Arc::new(Kept {
        weight: u64::try_from(bytes).unwrap_or(u64::MAX),
        used_at: AtomicI64::new(now.as_seconds()),
        refresh_at: value.lifetime().map(pause::refresh_at),
        value,
    }))
}

impl<V> Held<V> {
    /// For whoever asks for it.
    fn used(self, now: Timestamp) -> Self {
        self.0.used_at.store(now.as_seconds(), Ordering::Relaxed);
        self
    }
}

impl<V: Perishable> Kept<V> {
    /// Whether it is worth its memory.
    fn serves(&self, now: Timestamp) -> bool {
        // A clock that was ahead must not keep it.
        let used = self.used_at.fetch_min(now.as_seconds(), Ordering::Relaxed);
        let used = Timestamp::from_seconds(used);
        self.at(now) != Freshness::Expired && now.since(used) < UNUSED
    }

    /// What may be done with it now.
    fn at(&self, now: Timestamp) -> Freshness {
        let Some(lifetime) = self.value.lifetime() else {
            return Freshness::Fresh;
        };
        let freshness = lifetime.at(now);
        let is_due = self.refresh_at.is_some_and(|due| now >= due);
        if freshness == Freshness::Fresh && is_due {
            return Freshness::RefreshDue;
        }
        freshness
    }
}

impl<V: Perishable> Shared<V> {
    /// Begins to fetch the successor of a value that is good, unless that failed a moment ago.
    fn refresh<F>(
        self: &Arc<Self>,
        key: &[u8],
        now: Timestamp,
        late: Fault,
        fetch: &impl Fn(Occasion) -> F,
    ) where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let pauses = |failing: Failing| failing.pause_left().is_some();
        if self.failing.get(key).is_some_and(pauses) {
            return;
        }
        let mut flights = self.flights();
        // Looked at again under the lock: a flight that landed meanwhile kept its value before it was
        // struck off.
        let is_due = |held: Held<V>| held.0.at(now) == Freshness::RefreshDue;
        if self.kept.get(key).is_some_and(is_due) {
            self.begin(&mut flights, key, now, late, || fetch(Occasion::Ahead));
        }
    }

    /// The flight for `key`: the one under way, or a new one.
    fn board<F>(
        self: &Arc<Self>,
        key: &[u8],
        now: Timestamp,
        late: Fault,
        fetch: &impl Fn(Occasion) -> F,
    ) -> (Flight<V>, Seat)
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(key) {
            return (flight.clone(), Seat::Joined);
        }
        // INVARIANT: a flight keeps its value before it is struck off, so that whoever finds neither
        // flight nor good value under this lock is the only one to begin.
        if let Some(held) = self.kept.get(key)
            && held.0.at(now) != Freshness::Expired
        {
            let landed = Some(Ok(held));
            return (watch::channel(landed).1, Seat::Joined);
        }
        let flight = self.begin(&mut flights, key, now, late, || fetch(Occasion::Awaited));
        (flight, Seat::Began)
    }

    /// Begins a flight unless one is under way.
    fn begin<F>(
        self: &Arc<Self>,
        flights: &mut HashMap<Key, Flight<V>>,
        key: &[u8],
        now: Timestamp,
        late: Fault,
        fetch: impl FnOnce() -> F,
    ) -> Flight<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        let (sender, flight) = watch::channel(None);
        let key = Key::from(key);
        flights.insert(Arc::clone(&key), flight.clone());
        let (fetch, patience) = (fetch(), self.patience);
        let landing = Landing {
            shared: Arc::clone(self),
            key,
            asked_at: now,
            sender,
            outcome: None,
        };
        tokio::spawn(async move {
            match timeout(patience, fetch).await {
                Ok(fetched) => landing.land(fetched),
                Err(_elapsed) => landing.land(Err(NotObtained::broken(late))),
            }
        });
        flight
    }

    /// What is told of a fetch that is under way.
    fn under_way(&self, key: &[u8], late: Fault) -> NotObtained {
        let before = self.failing.get(key);
        before.map_or(NotObtained::broken(late), Failing::known)
    }

    /// Notes how a fetch ended, for those who come next; those who waited are told when to come again.
    fn note(&self, key: &Key, outcome: Outcome<V>) -> Outcome<V> {
        match &outcome {
            Ok(held) => {
                self.kept.insert(Arc::clone(key), held.clone());
                self.failing.remove(key);
                outcome
            }
            // It says nothing about the next caller's evidence.
            Err(why) if why.cause == Cause::EvidenceRefused => outcome,
            Err(why) => {
                let failing = Failing::after(self.failing.get(key), *why);
                self.failing.insert(Arc::clone(key), failing);
                Err(failing.told())
            }
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Flight<V>>> {
        // The map is whole whenever the lock is released; nothing between can panic halfway.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight when it is dropped: when the fetch returned, took too long, or its task was ended.
struct Landing<V: Perishable> {
    shared: Arc<Shared<V>>,
    key: Key,
    asked_at: Timestamp,
    sender: watch::Sender<Option<Outcome<V>>>,
    outcome: Option<Outcome<V>>,
}

impl<V: Perishable> Landing<V> {
    fn land(mut self, fetched: Result<V, NotObtained>) {
        let held = |value| held(&self.key, value, self.asked_at);
        self.outcome = Some(fetched.map(held));
    }
}

impl<V: Perishable> Drop for Landing<V> {
    fn drop(&mut self) {
        let broken = NotObtained::broken(Fault::CredentialUnavailable);
        let outcome = self.outcome.take().unwrap_or(Err(broken));
        let outcome = self.shared.note(&self.key, outcome);
        self.shared.flights().remove(&self.key);
        self.sender.send_replace(Some(outcome));
    }
}

async fn landing<V>(mut flight: Flight<V>) -> Outcome<V> {
    let landed = flight
        .wait_for(Option::is_some)
        .await
        .map(|outcome| outcome.clone());
    let outcome = landed.ok().flatten();
    outcome.unwrap_or(Err(NotObtained::broken(Fault::CredentialUnavailable)))
}

#[cfg(test)]
mod tests;
