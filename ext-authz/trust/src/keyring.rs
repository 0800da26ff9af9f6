//! The keys of one provider: fetched off the request path, refreshed in the background, kept while
//! the issuer is away, and dropped from use when they are too old.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use attache_core::{jwks::KeySet, time::Timestamp};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    attest::Clock,
    aws_lc::AwsLc,
    pace,
    provider::{KeySource, ProviderConfig},
    source::{self, FetchFailed, Fetched},
};

#[cfg(test)]
mod tests;

/// How long a request waits for a refetch that an unknown `kid` caused.
const UNKNOWN_KEY_WAIT: Duration = Duration::from_secs(1);
/// How long a request waits for keys where there are none.
const COLD_WAIT: Duration = Duration::from_secs(2);
/// Requests together cause at most one fetch in this time.
const DEMAND_INTERVAL: Duration = Duration::from_secs(10);

/// One set of keys, ready to verify.
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    pub(crate) verifier: AwsLc,
    /// Grows with every change of the set, so that what an older one proved is not found again.
    pub(crate) epoch: u64,
}

#[derive(Clone)]
struct Loaded {
    keys: Arc<Keys>,
    /// `None` for keys that stand in the configuration: those do not age.
    fetched_at: Option<Timestamp>,
}

/// What the background task has done; requests wait for it to change.
#[derive(Default)]
struct Progress {
    /// The last demand that a fetch has answered, with keys or without.
    answered: u64,
    last_error: Option<Arc<str>>,
}

struct Demand {
    /// Counts the fetches asked for; the first is the one at start.
    number: u64,
    /// When a request last caused one.
    at: Option<Instant>,
}

/// The keys of one provider as they change.
pub(crate) struct Keyring {
    config: Arc<ProviderConfig>,
    loaded: ArcSwapOption<Loaded>,
    progress: watch::Sender<Progress>,
    demand: Mutex<Demand>,
    wake: Notify,
}

/// What readiness says about a provider's keys.
pub(crate) struct KeyringStatus {
    pub(crate) keys: Option<Arc<Keys>>,
    pub(crate) age: Option<Duration>,
    pub(crate) usable: bool,
    pub(crate) last_error: Option<Arc<str>>,
}

impl Keyring {
    /// Starts to fetch; the fetching ends when `tasks` is dropped.
    pub(crate) fn start(
        config: Arc<ProviderConfig>,
        clock: Clock,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Self> {
        let ring = Arc::new(Self {
            config,
            loaded: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            demand: Mutex::new(Demand {
                number: 1,
                at: None,
            }),
            wake: Notify::new(),
        });
        match &ring.config.keys {
            KeySource::Inline(text) => {
                let parsed = KeySet::parse(text.as_bytes()).map_err(FetchFailed::KeySet);
                let fixed = parsed.map(|keys| ring.install(keys, None));
                ring.answer(1, fixed.err());
            }
            KeySource::Discovery
            | KeySource::DiscoveryUrl(_)
            | KeySource::JwksUrl(_)
            | KeySource::File(_) => {
                tasks.spawn(Arc::clone(&ring).refresh(clock));
            }
        }
        ring
    }

    /// Keys that may verify at `now`. Where there are none, the request waits for the fetch under way,
    /// or causes one; it waits for no retry.
    pub(crate) async fn ready(&self, now: Timestamp) -> Option<Arc<Keys>> {
        if let Some(keys) = self.usable(now) {
            return Some(keys);
        }
        self.wait(self.ask(), COLD_WAIT).await;
        self.usable(now)
    }

    /// Keys newer than `seen`, which lacks the key of a token. All callers share one fetch.
    pub(crate) async fn newer(&self, seen: &Keys, now: Timestamp) -> Option<Arc<Keys>> {
        let newer = || self.usable(now).filter(|keys| keys.epoch != seen.epoch);
        if matches!(self.config.keys, KeySource::Inline(_)) {
            return None;
        }
        if let Some(keys) = newer() {
            return Some(keys);
        }
        self.wait(self.ask(), UNKNOWN_KEY_WAIT).await;
        newer()
    }

    pub(crate) fn status(&self, now: Timestamp) -> KeyringStatus {
        let loaded = self.loaded.load_full();
        KeyringStatus {
            age: loaded
                .as_ref()
                .and_then(|loaded| Some(now.since(loaded.fetched_at?))),
            keys: loaded.map(|loaded| Arc::clone(&loaded.keys)),
            usable: self.usable(now).is_some(),
            last_error: self.progress.borrow().last_error.clone(),
        }
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<Keys>> {
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref()?;
        let age = loaded
            .fetched_at
            .map_or(Duration::ZERO, |fetched_at| now.since(fetched_at));
        (age <= self.config.max_key_age).then(|| Arc::clone(&loaded.keys))
    }

    /// The number of the fetch that answers a request: the one not yet answered, or a new one if the
    /// last was long enough ago, or the last.
    fn ask(&self) -> u64 {
        let mut demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = self.progress.borrow().answered < demand.number;
        let recent = demand.at.is_some_and(|at| at.elapsed() < DEMAND_INTERVAL);
        if !pending && !recent {
            demand.number = demand.number.saturating_add(1);
            demand.at = Some(Instant::now());
            self.wake.notify_one();
        }
        demand.number
    }

    async fn wait(&self, number: u64, bound: Duration) {
        let mut progress = self.progress.subscribe();
        let answered = progress.wait_for(|progress| progress.answered >= number);
        // Whatever ends the wait, the caller looks at the keys again.
        let _ = timeout(bound, answered).await;
    }

    async fn refresh(self: Arc<Self>, clock: Clock) {
        let mut failures = 0_u32;
        loop {
            let number = self
                .demand
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .number;
            let (pause, failed) = match source::fetch(&self.config).await {
                Ok(Fetched {
                    keys,
                    refresh_after,
                }) => {
                    failures = 0;
                    self.install(keys, Some(clock()));
                    (refresh_after, None)
                }
                Err(failed) => {
                    failures = failures.saturating_add(1);
                    (pace::retry_after(failures), Some(failed))
                }
            };
            self.answer(number, failed);
            let pause = pace::jittered(pause, random_byte());
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// A set that did not change keeps its epoch: what it proved stays proven.
    fn install(&self, set: KeySet, fetched_at: Option<Timestamp>) {
        let before = self
            .loaded
            .load_full()
            .map(|loaded| Arc::clone(&loaded.keys));
        let unchanged = before.as_ref().filter(|before| before.set == set).cloned();
        let keys = unchanged.unwrap_or_else(|| {
            self.report(&set);
            let verifier = AwsLc::prepared(&set, &self.config.algorithms);
            let epoch = before.map_or(1, |before| before.epoch.saturating_add(1));
            Arc::new(Keys {
                set,
                verifier,
                epoch,
            })
        });
        self.loaded
            .store(Some(Arc::new(Loaded { keys, fetched_at })));
    }

    fn answer(&self, number: u64, failed: Option<FetchFailed>) {
        let provider = &self.config.name;
        let last_error = failed.map(|failed| {
            tracing::warn!(provider, error = %failed, "keys of a trust provider cannot be fetched");
            Arc::from(failed.to_string())
        });
        self.progress.send_modify(|progress| {
            if progress.last_error.is_some() && last_error.is_none() {
                tracing::info!(provider, "keys of a trust provider can be fetched again");
            }
            *progress = Progress {
                answered: number,
                last_error,
            };
        });
    }

    fn report(&self, set: &KeySet) {
        let provider = &self.config.name;
        tracing::info!(
            provider,
            keys = set.keys().len(),
            "new keys of a trust provider"
        );
        for ignored in set.ignored() {
            tracing::warn!(provider, %ignored, "a key of a trust provider is not used");
        }
        for key in set.keys().iter().filter(|key| !AwsLc::accepts(key)) {
            tracing::warn!(provider, kid = ?key.key_id(), "a key of a trust provider is no valid key");
        }
    }
}

/// Spreads a fleet's fetches; without randomness they are merely in step.
fn random_byte() -> u8 {
    let mut byte = [0];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    byte
}
