//! One cache for all credentials: each is fetched once for however many callers wait for it, reused
//! until its refresh is due, then served while its successor is fetched, near its end only if no
//! successor comes, and never after it expired.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
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

/// How long a failed refresh ahead is not repeated.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// A value is near its end when this part of its lifetime is left, as a divisor …
const NEAR_END_PART: u32 = 10;
/// … or this much of it, whatever its lifetime: its target may be slow, or its clock ahead of ours.
const NEAR_END: Duration = Duration::from_secs(5);

/// Something that is good for a while.
pub(crate) trait Perishable: Send + Sync + 'static {
    /// From when until when; `None` if for ever.
    fn lifetime(&self) -> Option<Lifetime>;
    /// About how many bytes it and its key take.
    fn weight(&self) -> u32;
    /// What may be done with it now.
    fn at(&self, now: Timestamp) -> Freshness {
        self.lifetime()
            .map_or(Freshness::Fresh, |lifetime| lifetime.at(now))
    }
}

/// Credentials by their whole key: all that would make two of them differ.
pub(crate) struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long one fetch may take.
    pub(crate) fetch: Duration,
    /// How long a caller waits for the successor of a value that is near its end.
    pub(crate) successor: Duration,
}

struct Shared<K, V> {
    kept: moka::sync::Cache<K, Arc<Kept<V>>>,
    flights: Mutex<HashMap<K, Flight<V>>>,
    patience: Patience,
}

struct Kept<V> {
    value: Arc<V>,
    /// Milliseconds since the Unix epoch before which no further refresh is begun.
    refresh_not_before: AtomicI64,
}

type Outcome<V> = Result<Arc<V>, NotObtained>;

/// A fetch under way: `None` until it has landed.
type Flight<V> = watch::Receiver<Option<Outcome<V>>>;

/// What is kept under a key.
enum Found<V> {
    /// A value to use.
    Good(Arc<V>),
    /// A value near its end, whose successor is being fetched.
    Ending(Arc<V>, Flight<V>, Seat),
    /// No value that is still good.
    Nothing,
}

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
    /// A cache of about `max_bytes`.
    pub(crate) fn new(max_bytes: u64, patience: Patience) -> Self {
        let kept = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, kept: &Arc<Kept<V>>| kept.value.weight())
            .eviction_policy(EvictionPolicy::lru())
            // Frees the memory of what nobody asks for again; whether a value is good is decided by
            // its own lifetime and the caller's `now`.
            .expire_after(AtEndOfLife)
            .build();
        Self {
            shared: Arc::new(Shared {
                kept,
                flights: Mutex::default(),
                patience,
            }),
        }
    }

    /// The value of `key` that is good at `now`; `fetch` makes one if there is none.
    ///
    /// The fetch runs in a task of its own: callers that go away do not take it from those that stay.
    /// A failure goes to all who wait for it and is not kept.
    pub(crate) async fn obtain<F>(
        &self,
        key: &K,
        now: Timestamp,
        fetch: impl Fn() -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let (flight, seat) = match self.find(key, now, &fetch) {
            Found::Good(value) => return Ok(value),
            Found::Ending(value, flight, seat) => {
                return self.succeed(value, (flight, seat), key, now, &fetch).await;
            }
            Found::Nothing => self.shared.board(key, now, &fetch),
        };
        let outcome = self.arrive((flight, seat), key, now, &fetch).await;
        outcome.and_then(|value| still_good(value, now))
    }

    /// What is kept; begins to fetch its successor when that is due.
    fn find<F>(&self, key: &K, now: Timestamp, fetch: &impl Fn() -> F) -> Found<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let fresh = |kept: &Kept<V>| kept.value.at(now) == Freshness::Fresh;
        if let Some(kept) = self.shared.kept.get(key).filter(|kept| fresh(kept)) {
            return Found::Good(Arc::clone(&kept.value));
        }
        let mut flights = self.shared.flights();
        // Looked at again under the lock: a flight that landed meanwhile kept its value before it was
        // struck off.
        let Some(kept) = self.shared.kept.get(key) else {
            return Found::Nothing;
        };
        let value = Arc::clone(&kept.value);
        match value.at(now) {
            Freshness::Fresh => return Found::Good(value),
            Freshness::Expired => return Found::Nothing,
            Freshness::RefreshDue => {}
        }
        let (flight, seat) = match flights.get(key) {
            Some(flight) => (flight.clone(), Seat::Joined),
            None if kept.claim_refresh(now) => {
                let flight = self.shared.begin(&mut flights, key, fetch);
                (flight, Seat::Began)
            }
            // A refresh has just failed.
            None => return Found::Good(value),
        };
        if is_near_end(value.lifetime(), now) {
            return Found::Ending(value, flight, seat);
        }
        // Nobody waits for it; its outcome is found in the cache.
        Found::Good(value)
    }

    /// The successor of `old`, if it comes in time; `old` while it is good if none comes.
    async fn succeed<F>(
        &self,
        old: Arc<V>,
        boarded: (Flight<V>, Seat),
        key: &K,
        now: Timestamp,
        fetch: &impl Fn() -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        let began = time::Instant::now();
        let arriving = self.arrive(boarded, key, now, fetch);
        let outcome = timeout(self.shared.patience.successor, arriving).await;
        let successor = outcome
            .ok()
            .and_then(Result::ok)
            .and_then(|value| still_good(value, now).ok());
        match successor {
            Some(value) => Ok(value),
            // The wait counts: what expired meanwhile does not leave.
            None => still_good(old, now.plus(began.elapsed())),
        }
    }

    /// Waits until the fetch has landed.
    async fn arrive<F>(
        &self,
        (flight, seat): (Flight<V>, Seat),
        key: &K,
        now: Timestamp,
        fetch: &impl Fn() -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        match landing(flight).await {
            // One caller's evidence is no verdict on another's: who only joined tries once with its own.
            Err(refused) if refused.cause == Cause::EvidenceRefused && seat == Seat::Joined => {
                landing(self.shared.board(key, now, fetch).0).await
            }
            outcome => outcome,
        }
    }
}

/// INVARIANT: nothing leaves that is expired for this caller, whoever fetched it.
fn still_good<V: Perishable>(value: Arc<V>, now: Timestamp) -> Outcome<V> {
    match value.at(now) {
        Freshness::Fresh | Freshness::RefreshDue => Ok(value),
        Freshness::Expired => Err(NotObtained::broken(Fault::CredentialUnavailable)),
    }
}

/// Whether so little is left that a request may meet its target after the end.
fn is_near_end(lifetime: Option<Lifetime>, now: Timestamp) -> bool {
    let Some(lifetime) = lifetime else {
        return false;
    };
    let whole = lifetime.expires_at.since(lifetime.issued_at);
    let part = whole.checked_div(NEAR_END_PART).unwrap_or_default();
    lifetime.expires_at.since(now) <= part.max(NEAR_END)
}

impl<V> Kept<V> {
    /// Whether this caller is the one to begin a refresh.
    fn claim_refresh(&self, now: Timestamp) -> bool {
        let until = now.plus(REFRESH_PAUSE).as_millis();
        self.refresh_not_before
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |not_before| {
                // A pause that ends later than a new one would was set before the clock was set back.
                let over = not_before <= now.as_millis() || not_before > until;
                over.then_some(until)
            })
            .is_ok()
    }
}

impl<K, V> Shared<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Perishable,
{
    /// The flight for `key`: the one under way, or a new one.
    fn board<F>(
        self: &Arc<Self>,
        key: &K,
        now: Timestamp,
        fetch: &impl Fn() -> F,
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
            && kept.value.at(now) == Freshness::Fresh
        {
            return (
                watch::channel(Some(Ok(Arc::clone(&kept.value)))).1,
                Seat::Joined,
            );
        }
        (self.begin(&mut flights, key, fetch), Seat::Began)
    }

    /// Begins a flight unless one is under way.
    fn begin<F>(
        self: &Arc<Self>,
        flights: &mut HashMap<K, Flight<V>>,
        key: &K,
        fetch: &impl Fn() -> F,
    ) -> Flight<V>
    where
        F: Future<Output = Result<V, NotObtained>> + Send + 'static,
    {
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        let (sender, flight) = watch::channel(None);
        flights.insert(key.clone(), flight.clone());
        let (fetch, patience) = (fetch(), self.patience.fetch);
        let landing = Landing {
            shared: Arc::clone(self),
            key: key.clone(),
            sender,
            outcome: None,
        };
        tokio::spawn(async move {
            match timeout(patience, fetch).await {
                Ok(fetched) => landing.land(fetched.map(Arc::new)),
                Err(_elapsed) => drop(landing),
            }
        });
        flight
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
        if let Ok(value) = &outcome {
            let (value, refresh_not_before) = (Arc::clone(value), AtomicI64::new(i64::MIN));
            self.shared.kept.insert(
                self.key.clone(),
                Arc::new(Kept {
                    value,
                    refresh_not_before,
                }),
            );
        }
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
