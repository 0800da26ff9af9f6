//! The keys of one provider: fetched off the request path, refreshed in the background, kept while
//! the issuer is away, and dropped from use when they are too old.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
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
    attest::TrustSettings,
    aws_lc::AwsLc,
    bundle_source::BundleSource,
    pace,
    provider::{KeySource, ProviderConfig},
    sequences::Sequences,
    source::{self, FetchFailed, Fetched},
    workload_api,
    x509::Authorities,
};

mod keys;

pub(crate) use keys::Keys;

#[cfg(test)]
mod tests;

/// How long the first requests wait for the first fetch. No other request waits for any.
const COLD_WAIT: Duration = Duration::from_secs(2);
/// The number of the fetch at start.
const FIRST: u64 = 1;
/// Requests together cause at most one fetch in this time.
const DEMAND_INTERVAL: Duration = Duration::from_secs(10);

/// What an unknown `kid` led to.
pub(crate) enum Newer {
    /// Other keys than those that were looked at.
    Keys(Arc<Keys>),
    /// A fetch is under way.
    Awaited,
    /// The last fetch was a moment ago, and there will be no other.
    Nothing,
}

#[derive(Clone)]
struct Loaded {
    keys: Arc<Keys>,
    /// `None` for keys that stand in the configuration: those do not age.
    fetched_at: Option<Timestamp>,
}

impl Loaded {
    /// The same keys for a provider with other rules; what they proved under the old ones does not count.
    fn prepared_for(&self, config: &ProviderConfig) -> Self {
        let Keys {
            set, authorities, ..
        } = &*self.keys;
        let keys = Keys::after(None, set.clone(), authorities.clone(), &config.algorithms);
        Self {
            keys: Arc::new(keys),
            fetched_at: self.fetched_at,
        }
    }
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
    /// What was seen of bundles, and under which name this one's stands there.
    sequences: Arc<Sequences>,
    bundle: String,
    /// Until when requests wait for the first fetch; the first of them says it for all.
    cold_until: OnceLock<Instant>,
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
    /// Starts to fetch, in the place of `before`; the fetching ends when `tasks` is dropped.
    pub(crate) fn start(
        config: Arc<ProviderConfig>,
        before: Option<&Self>,
        settings: &TrustSettings,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Self> {
        let loaded = before.and_then(|before| before.left_to(&config));
        let ring = Arc::new(Self {
            bundle: bundle_name(&config),
            config,
            loaded: ArcSwapOption::from(loaded),
            sequences: Arc::clone(&settings.sequences),
            cold_until: OnceLock::new(),
            progress: watch::Sender::new(Progress::default()),
            demand: Mutex::new(Demand {
                number: FIRST,
                at: None,
            }),
            wake: Notify::new(),
        });
        match &ring.config.keys {
            KeySource::Inline(text) => {
                let parsed = KeySet::parse(text.as_bytes()).map_err(FetchFailed::KeySet);
                let fixed = parsed.map(|keys| Fetched::of(keys, Duration::MAX));
                let fixed = fixed.and_then(|fixed| ring.install(fixed, None));
                ring.answer(FIRST, fixed.err());
            }
            KeySource::Discovery
            | KeySource::DiscoveryUrl(_)
            | KeySource::JwksUrl(_)
            | KeySource::File(_)
            | KeySource::ApiServer { .. }
            | KeySource::Bundle(
                BundleSource::File(_)
                | BundleSource::HttpsWeb(_)
                | BundleSource::HttpsSpiffe { .. },
            ) => {
                tasks.spawn(Arc::clone(&ring).refresh(settings.clone()));
            }
            KeySource::Bundle(BundleSource::WorkloadApi(socket)) => {
                let socket = Arc::from(socket.as_path());
                let clock = Arc::clone(&settings.clock);
                tasks.spawn(workload_api::follow(Arc::clone(&ring), socket, clock));
            }
        }
        ring
    }

    /// The keys that a keyring of `config` may take over. Both are of one issuer, or of one trust domain.
    fn left_to(&self, config: &ProviderConfig) -> Option<Arc<Loaded>> {
        let own = &self.config;
        // SECURITY: keys that came by another root or from outside of the folders must be fetched anew.
        let same_way = own.keys == config.keys
            && own.ca_file == config.ca_file
            && own.file_roots == config.file_roots;
        let loaded = self.loaded.load_full().filter(|_| same_way)?;
        Some(Arc::new(loaded.prepared_for(config)))
    }

    /// Keys that may verify at `now`. Where none were ever looked for, the first requests wait for the fetch
    /// under way, all until one moment; else the request causes one, if there was none for a while, and waits
    /// for nothing.
    pub(crate) async fn ready(&self, now: Timestamp) -> Option<Arc<Keys>> {
        if let Some(keys) = self.usable(now) {
            return Some(keys);
        }
        if self.is_answered(FIRST) {
            self.ask();
        } else {
            let until = self.cold_until.get_or_init(|| Instant::now() + COLD_WAIT);
            let left = until.saturating_duration_since(Instant::now());
            self.wait(FIRST, left).await;
        }
        self.usable(now)
    }

    /// Keys newer than `seen`, which lacks the key of a token. All callers share one fetch, and none waits.
    pub(crate) fn newer(&self, seen: &Keys, now: Timestamp) -> Newer {
        if let Some(keys) = self.usable(now).filter(|keys| keys.epoch != seen.epoch) {
            return Newer::Keys(keys);
        }
        let fixed = matches!(
            self.config.keys,
            KeySource::Inline(_) | KeySource::Bundle(BundleSource::WorkloadApi(_))
        );
        if fixed || self.is_answered(self.ask()) {
            Newer::Nothing
        } else {
            Newer::Awaited
        }
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

    /// The keys, unless they are too old.
    pub(crate) fn usable(&self, now: Timestamp) -> Option<Arc<Keys>> {
        self.look(now, Arc::clone)
    }

    /// What `look` makes of them, without a copy that every thread would count in one place.
    pub(crate) fn look<T>(&self, now: Timestamp, look: impl FnOnce(&Arc<Keys>) -> T) -> Option<T> {
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref()?;
        let age = loaded
            .fetched_at
            .map_or(Duration::ZERO, |fetched_at| now.since(fetched_at));
        (age <= self.config.max_key_age).then(|| look(&loaded.keys))
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

    fn is_answered(&self, number: u64) -> bool {
        self.progress.borrow().answered >= number
    }

    async fn wait(&self, number: u64, bound: Duration) {
        let mut progress = self.progress.subscribe();
        let answered = progress.wait_for(|progress| progress.answered >= number);
        // Whatever ends the wait, the caller looks at the keys again.
        let _ = timeout(bound, answered).await;
    }

    async fn refresh(self: Arc<Self>, settings: TrustSettings) {
        let TrustSettings { clock, reach, .. } = settings;
        let mut failures = 0_u32;
        let mut refresh = pace::refresh_after(None);
        loop {
            let number = self
                .demand
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .number;
            // SECURITY: what is too old to vouch for a caller does not vouch for an endpoint.
            let held = self.usable(clock());
            let held = held.as_ref().and_then(|held| held.authorities.as_ref());
            let fetched = source::fetch(&self.config, held, &reach, clock()).await;
            let installed = fetched.and_then(|fetched| self.install(fetched, Some(clock())));
            let (pause, failed) = match installed {
                Ok(refresh_after) => {
                    failures = 0;
                    refresh = refresh_after;
                    (refresh, None)
                }
                // SPIFFE Federation §5: a bundle endpoint that fails is asked again at the next poll.
                Err(failed) if self.polls_endpoint() && self.usable(clock()).is_some() => {
                    (refresh, Some(failed))
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

    fn polls_endpoint(&self) -> bool {
        matches!(
            self.config.keys,
            KeySource::Bundle(BundleSource::HttpsWeb(_) | BundleSource::HttpsSpiffe { .. })
        )
    }

    /// What was pushed, not asked for, and counts at once. Whether it was taken.
    pub(crate) fn pushed(&self, fetched: Fetched, at: Timestamp) -> bool {
        let refused = self.install(fetched, Some(at)).err();
        let taken = refused.is_none();
        self.answer(FIRST, refused);
        taken
    }

    /// What was pushed last still holds.
    pub(crate) fn confirm(&self, at: Timestamp) {
        if let Some(loaded) = self.loaded.load_full() {
            let fetched_at = Some(at);
            let confirmed = Loaded {
                fetched_at,
                ..Loaded::clone(&loaded)
            };
            self.loaded.store(Some(Arc::new(confirmed)));
        }
    }

    /// Nothing could be pushed, or not this.
    pub(crate) fn failed(&self, failed: FetchFailed) {
        self.answer(FIRST, Some(failed));
    }

    /// Whose keys these are.
    pub(crate) fn config(&self) -> &ProviderConfig {
        &self.config
    }

    /// A set that did not change keeps its epoch: what it proved stays proven. The answer is when to look again.
    fn install(
        &self,
        fetched: Fetched,
        fetched_at: Option<Timestamp>,
    ) -> Result<Duration, FetchFailed> {
        let Fetched {
            keys: set,
            authorities,
            sequence: found,
            refresh_after,
        } = fetched;
        let entries = keys::entries(&set, authorities.as_ref());
        self.sequences.admit(&self.bundle, found, entries)?;
        let loaded = self.loaded.load_full();
        let before = loaded.map(|loaded| Arc::clone(&loaded.keys));
        let is_same = |before: &&Arc<Keys>| before.set == set && before.authorities == authorities;
        let unchanged = before.as_ref().filter(is_same).cloned();
        let keys = unchanged.unwrap_or_else(|| {
            self.report(&set, authorities.as_ref());
            let algorithms = &self.config.algorithms;
            Arc::new(Keys::after(before.as_deref(), set, authorities, algorithms))
        });
        self.loaded
            .store(Some(Arc::new(Loaded { keys, fetched_at })));
        Ok(refresh_after)
    }

    /// SECURITY: whoever reads a private key that is published can sign with it, so the keys of before are as
    /// good as strangers' now, and what they proved is dropped with them.
    fn withdraw(&self) {
        let Some(loaded) = self.loaded.load_full() else {
            return;
        };
        let withdrawn = Loaded {
            keys: Arc::new(loaded.keys.withdrawn(&self.config.algorithms)),
            fetched_at: loaded.fetched_at,
        };
        self.loaded.store(Some(Arc::new(withdrawn)));
        self.sequences.withdraw(&self.bundle);
        let provider = &self.config.name;
        tracing::error!(
            provider,
            "a private key is published: no key of the trust provider is trusted until it publishes none"
        );
    }

    fn answer(&self, number: u64, failed: Option<FetchFailed>) {
        let provider = &self.config.name;
        if failed
            .as_ref()
            .is_some_and(FetchFailed::publishes_private_key)
        {
            self.withdraw();
        }
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

    fn report(&self, set: &KeySet, authorities: Option<&Authorities>) {
        let provider = &self.config.name;
        tracing::info!(
            provider,
            keys = set.keys().len(),
            "new keys of a trust provider"
        );
        for ignored in authorities.into_iter().flat_map(Authorities::ignored) {
            tracing::warn!(provider, %ignored, "an authority of a trust provider is not used");
        }
        for ignored in set.ignored() {
            tracing::warn!(provider, %ignored, "a key of a trust provider is not used");
        }
        for key in set.keys().iter().filter(|key| !AwsLc::accepts(key)) {
            tracing::warn!(provider, kid = ?key.key_id(), "a key of a trust provider is no valid key");
        }
    }
}

/// Two providers of one kind, trust domain and source read the same bundle, whatever they are called.
fn bundle_name(config: &ProviderConfig) -> String {
    let KeySource::Bundle(source) = &config.keys else {
        return String::new();
    };
    let (kind, domain) = (config.kind.name(), config.trust_domain.as_str());
    format!("{kind} {domain} {source}")
}

/// Spreads a fleet's fetches; without randomness they are merely in step.
pub(crate) fn random_byte() -> u8 {
    let mut byte = [0];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    byte
}
