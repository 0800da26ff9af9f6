//! One cache for all credentials: each is fetched once for however many callers wait for it, reused
//! until its refresh is due, then served to its end while its successor is fetched, and never after it expired.
//!
//! INVARIANT: nobody waits for a fetch who can be given a value that is still good. What cannot be fetched is not
//! asked for with every call, but after pauses that grow, to a few seconds at most.

pub(crate) mod pause;

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use attache_core::{
    decision::Fault,
    freshness::{Freshness, Lifetime},
    time::Timestamp,
};
use moka::{Expiry, policy::EvictionPolicy};
use tokio::{
    sync::watch,
    time::{self, timeout},
};

use crate::provider::{Cause, NotObtained};

use pause::Failing;

/// For how long a value is kept that nobody asks for: it may be one that policy or a rotated secret made useless.
const UNUSED: Duration = Duration::from_mins(15);

/// Most keys whose fetches failed that are remembered.
const MAX_FAILING: u64 = 10_000;

/// Something that is good for a while.
pub(crate) trait Perishable: Send + Sync + 'static {
    /// From when until when; `None` if for ever.
    fn lifetime(&self) -> Option<Lifetime>;
    /// About how many bytes it and its key take.
    fn weight(&self) -> u32;
}

/// Credentials by their whole key: all that would make two of them differ.
pub(crate) struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
}

struct Shared<K, V> {
    kept: moka::sync::Cache<K, Arc<Kept<V>>>,
    flights: Mutex<HashMap<K, Flight<V>>>,
    /// Of which the last fetch failed.
    failing: moka::sync::Cache<K, Failing>,
    /// How long one fetch may take.
    patience: Duration,
}

struct Kept<V> {
    value: Arc<V>,
    /// When its successor is fetched: at 80 % of its life, or a little before, so that a fleet does not call in
    /// step.
    refresh_at: Option<Timestamp>,
}

type Outcome<V> = Result<Arc<V>, NotObtained>;

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

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Perishable,
{
    /// A cache of about `max_bytes`, whose fetches may take `patience` each.
    pub(crate) fn new(max_bytes: u64, patience: Duration) -> Self {
        let kept = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, kept: &Arc<Kept<V>>| kept.value.weight())
            .eviction_policy(EvictionPolicy::lru())
            // Frees the memory of what nobody asks for again; whether a value is good is decided by
            // its own lifetime and the caller's `now`.
            .expire_after(AtEndOfLife)
            .time_to_idle(UNUSED)
            .build();
        let failing = moka::sync::Cache::builder()
            .max_capacity(MAX_FAILING)
            .time_to_idle(UNUSED)
            .build();
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
        key: &K,
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

    /// What is kept, if it is good; begins to fetch its successor when that is due.
    pub(crate) fn kept<F>(
        &self,
        key: &K,
        now: Timestamp,
        late: Fault,
        fetch: &impl Fn(Occasion) -> F,
    ) -> Option<Arc<V>>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let kept = self.shared.kept.get(key)?;
        match kept.at(now) {
            Freshness::Fresh => {}
            Freshness::Expired => return None,
            Freshness::RefreshDue => self.shared.refresh(key, now, late, fetch),
        }
        Some(Arc::clone(&kept.value))
    }

    /// Waits until the fetch has landed.
    async fn arrive<F>(
        &self,
        (flight, seat): (Flight<V>, Seat),
        key: &K,
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
fn still_good<V: Perishable>(value: Arc<V>, now: Timestamp) -> Outcome<V> {
    match value.lifetime().map(|lifetime| lifetime.at(now)) {
        None | Some(Freshness::Fresh | Freshness::RefreshDue) => Ok(value),
        Some(Freshness::Expired) => Err(NotObtained::broken(Fault::CredentialUnavailable)),
    }
}

impl<V: Perishable> Kept<V> {
    fn new(value: Arc<V>) -> Self {
        let refresh_at = value.lifetime().map(pause::refresh_at);
        Self { value, refresh_at }
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

impl<K, V> Shared<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Perishable,
{
    /// Begins to fetch the successor of a value that is good, unless that failed a moment ago.
    fn refresh<F>(
        self: &Arc<Self>,
        key: &K,
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
        let is_due = |kept: Arc<Kept<V>>| kept.at(now) == Freshness::RefreshDue;
        if self.kept.get(key).is_some_and(is_due) {
            self.begin(&mut flights, key, late, || fetch(Occasion::Ahead));
        }
    }

    /// The flight for `key`: the one under way, or a new one.
    fn board<F>(
        self: &Arc<Self>,
        key: &K,
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
        if let Some(kept) = self.kept.get(key)
            && kept.at(now) != Freshness::Expired
        {
            let landed = Some(Ok(Arc::clone(&kept.value)));
            return (watch::channel(landed).1, Seat::Joined);
        }
        let flight = self.begin(&mut flights, key, late, || fetch(Occasion::Awaited));
        (flight, Seat::Began)
    }

    /// Begins a flight unless one is under way.
    fn begin<F>(
        self: &Arc<Self>,
        flights: &mut HashMap<K, Flight<V>>,
        key: &K,
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
        flights.insert(key.clone(), flight.clone());
        let (fetch, patience) = (fetch(), self.patience);
        let landing = Landing {
            shared: Arc::clone(self),
            key: key.clone(),
            sender,
            outcome: None,
        };
        tokio::spawn(async move {
            match timeout(patience, fetch).await {
                Ok(fetched) => landing.land(fetched.map(Arc::new)),
                Err(_elapsed) => landing.land(Err(NotObtained::broken(late))),
            }
        });
        flight
    }

    /// What is told of a fetch that is under way.
    fn under_way(&self, key: &K, late: Fault) -> NotObtained {
        let before = self.failing.get(key);
        before.map_or(NotObtained::broken(late), Failing::known)
    }

    /// Notes how a fetch ended, for those who come next; those who waited are told when to come again.
    fn note(&self, key: &K, outcome: Outcome<V>) -> Outcome<V> {
        match &outcome {
            Ok(value) => {
                let kept = Arc::new(Kept::new(Arc::clone(value)));
                self.kept.insert(key.clone(), kept);
                self.failing.invalidate(key);
                outcome
            }
            // It says nothing about the next caller's evidence.
            Err(why) if why.cause == Cause::EvidenceRefused => outcome,
            Err(why) => {
                let failing = Failing::after(self.failing.get(key), *why);
                self.failing.insert(key.clone(), failing);
                Err(failing.told())
            }
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        // The map is whole whenever the lock is released; nothing between can panic halfway.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight when it is dropped: when the fetch returned, took too long, or its task was ended.
struct Landing<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Perishable,
{
    shared: Arc<Shared<K, V>>,
    key: K,
    sender: watch::Sender<Option<Outcome<V>>>,
    outcome: Option<Outcome<V>>,
}

impl<K, V> Landing<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Perishable,
{
    fn land(mut self, outcome: Outcome<V>) {
        self.outcome = Some(outcome);
    }
}

impl<K, V> Drop for Landing<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Perishable,
{
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

struct AtEndOfLife;

impl<K, V: Perishable> Expiry<K, Arc<Kept<V>>> for AtEndOfLife {
    fn expire_after_create(&self, _key: &K, kept: &Arc<Kept<V>>, _at: Instant) -> Option<Duration> {
        let lifetime = kept.value.lifetime()?;
        Some(lifetime.expires_at.since(lifetime.issued_at))
    }

    fn expire_after_update(
        &self,
        key: &K,
        kept: &Arc<Kept<V>>,
        at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, kept, at)
    }
}

#[cfg(test)]
mod tests;
