//! Evidence becomes an attestation: the file to read first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use attache_core::{
    attestation::{Attestation, Proven, ProviderKind},
    attributes::Attributes,
    decision::{DenyReason, Fault},
    evidence::Evidence,
    jwt::{RejectedToken, Unverified, Verified},
    secret::Secret,
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::{
    cache::{Seen, VerifiedTokens},
    keyring::{Keyring, Keys},
    kubernetes, oidc,
    provider::{self, InvalidProviders, ProviderConfig},
};

/// The process's clock, read by background tasks alone; requests bring their own `now`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all providers share.
#[derive(Clone)]
pub struct TrustSettings {
    /// When keys are said to have been fetched.
    pub clock: Clock,
    /// Memory for verified tokens, in bytes.
    pub cache_bytes: u64,
}

impl TrustSettings {
    /// 32 MiB for verified tokens.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Why evidence gave no attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAttested {
    /// The evidence proves nothing.
    Denied(DenyReason),
    /// It cannot be judged now.
    Unavailable(Fault),
}

impl From<RejectedToken> for NotAttested {
    fn from(rejected: RejectedToken) -> Self {
        Self::Denied(DenyReason::EvidenceRejected(rejected))
    }
}

/// What readiness says about one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Its issuer.
    pub issuer: String,
    /// Whether evidence of its issuer can be judged now.
    pub usable: bool,
    /// How many keys may verify; `None` before the first fetch.
    pub keys: Option<usize>,
    /// The keys of the set that are not used, and why.
    pub ignored_keys: Vec<String>,
    /// Time since the keys were last fetched; `None` before, and for keys in the configuration.
    pub key_age: Option<Duration>,
    /// Why the last fetch failed; `None` if it did not.
    pub last_error: Option<String>,
}

/// All trust providers in force.
pub struct Trust {
    settings: TrustSettings,
    live: ArcSwap<Live>,
    verified: VerifiedTokens,
    /// The last revision given to a provider; also lets one replacement at a time through.
    last_revision: Mutex<u64>,
}

/// Providers by issuer.
type Live = HashMap<String, Arc<Provider>>;

struct Provider {
    config: Arc<ProviderConfig>,
    revision: u64,
    keyring: Arc<Keyring>,
    /// Fetching ends when the provider is dropped.
    _tasks: JoinSet<()>,
}

impl Trust {
    /// No providers yet: every issuer is unknown.
    pub fn new(settings: TrustSettings) -> Self {
        let verified = VerifiedTokens::new(settings.cache_bytes);
        let last_revision = Mutex::new(0);
        Self {
            settings,
            live: ArcSwap::default(),
            verified,
            last_revision,
        }
    }

    /// Puts `configs` in force as a whole, or refuses them as a whole. Providers that did not change keep
    /// their keys and verified tokens. Must be called within a tokio runtime.
    pub fn replace(&self, configs: Vec<ProviderConfig>) -> Result<(), InvalidProviders> {
        provider::check(&configs)?;
        let mut last_revision = self
            .last_revision
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.live.load_full();
        let mut live = Live::new();
        for config in configs {
            let unchanged = before
                .get(&config.issuer)
                .filter(|known| *known.config == config);
            let provider = unchanged.cloned().unwrap_or_else(|| {
                *last_revision = last_revision.saturating_add(1);
                Arc::new(Provider::start(
                    config,
                    *last_revision,
                    &self.settings.clock,
                ))
            });
            live.insert(provider.config.issuer.clone(), provider);
        }
        let revisions = live.values().map(|provider| provider.revision).collect();
        self.live.store(Arc::new(live));
        self.verified.retain(revisions);
        Ok(())
    }

    /// Judges evidence at `now`. Waits for keys at most two seconds, and only where there are none or
    /// none of the token's `kid`.
    pub async fn attest(
        &self,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<Arc<Attestation>, NotAttested> {
        let Evidence::Token(token) = evidence;
        let unverified = Unverified::parse(token.expose())?;
        let issuer = unverified
            .issuer()
            .ok_or(RejectedToken::ClaimMissing("iss"))?;
        // SECURITY: the issuer's word picks the keys that must prove it, and nothing else.
        let provider = self.live.load().get(issuer).cloned();
        let provider = provider.ok_or(NotAttested::Denied(DenyReason::IssuerUnknown))?;
        let keys = provider.keyring.ready(now).await;
        let keys = keys.ok_or(NotAttested::Unavailable(Fault::KeysUnavailable))?;
        let seen = provider.seen(&keys, token);
        if let Some(attestation) = self.verified.find(&seen, now) {
            return Ok(attestation);
        }
        let (verified, seen) = match provider.verify(&unverified, &keys, now) {
            Err(RejectedToken::UnknownKey) => {
                let newer = provider.keyring.newer(&keys, now).await;
                let keys = newer.ok_or(RejectedToken::UnknownKey)?;
                (
                    provider.verify(&unverified, &keys, now)?,
                    provider.seen(&keys, token),
                )
            }
            outcome => (outcome?, seen),
        };
        let attestation = Arc::new(provider.attested(&verified)?);
        self.verified
            .keep(seen, Arc::clone(&attestation), verified.validity());
        Ok(attestation)
    }

    /// Every provider's keys as they stand at `now`, by name.
    pub fn status(&self, now: Timestamp) -> Vec<ProviderStatus> {
        let live = self.live.load();
        let mut all: Vec<_> = live.values().map(|provider| provider.status(now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// The workload that `claims` speak of, in the words of the provider `name`.
pub(crate) fn workload(
    kind: ProviderKind,
    name: &str,
    trust_domain: &TrustDomain,
    claims: &Map<String, Value>,
) -> Result<(SpiffeId, Attributes), RejectedToken> {
    match kind {
        ProviderKind::KubernetesServiceAccount => kubernetes::workload(claims, trust_domain),
        ProviderKind::Oidc => oidc::workload(claims, trust_domain, name),
    }
}

impl Provider {
    fn start(config: ProviderConfig, revision: u64, clock: &Clock) -> Self {
        let config = Arc::new(config);
        let mut tasks = JoinSet::new();
        let keyring = Keyring::start(Arc::clone(&config), Arc::clone(clock), &mut tasks);
        Self {
            config,
            revision,
            keyring,
            _tasks: tasks,
        }
    }

    fn verify(
        &self,
        token: &Unverified<'_>,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Verified, RejectedToken> {
        token.verify(&keys.set, &self.config.rules(), &keys.verifier, now)
    }

    fn seen(&self, keys: &Keys, token: &Secret) -> Seen {
        Seen {
            revision: self.revision,
            epoch: keys.epoch,
            token: token.clone(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where evidence becomes an attestation"
    )]
    fn attested(&self, verified: &Verified) -> Result<Attestation, RejectedToken> {
        let ProviderConfig {
            name,
            kind,
            trust_domain,
            ..
        } = &*self.config;
        let (spiffe_id, attributes) = workload(*kind, name, trust_domain, verified.claims())?;
        Ok(Attestation::attested(Proven {
            provider: name.clone(),
            kind: *kind,
            spiffe_id,
            attributes,
            expires_at: verified.expires_at(),
        }))
    }

    fn status(&self, now: Timestamp) -> ProviderStatus {
        let keyring = self.keyring.status(now);
        let set = keyring.keys.as_ref().map(|keys| &keys.set);
        ProviderStatus {
            name: self.config.name.clone(),
            issuer: self.config.issuer.clone(),
            usable: keyring.usable,
            keys: set.map(|set| set.keys().len()),
            ignored_keys: set
                .map(|set| set.ignored().iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            key_age: keyring.age,
            last_error: keyring.last_error.as_deref().map(str::to_owned),
        }
    }
}
