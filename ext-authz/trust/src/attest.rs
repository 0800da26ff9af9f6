//! Evidence becomes an attestation: the file to read first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use attache_core::{
    attestation::{Attestation, Proven, ProviderKind},
    attributes::Attributes,
    certificate::{CertificateChain, RejectedCertificate},
    decision::{DenyReason, Fault},
    evidence::EvidenceRef,
    jwt::{Claimed, MAX_TOKEN_BYTES, RejectedToken, Unverified, Verified},
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_outbound::Reach;
use foldhash::quality::RandomState;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::debug;

use crate::{
    cache::{Entry, Proof, Shown, VerifiedTokens},
    keyring::{Keyring, Keys, Newer},
    provider::{self, InvalidProviders, ProviderConfig},
    sequences::Sequences,
    workload::{svid, workload},
    x509::{self, VerifiedCertificate},
};

mod svids;

pub use svids::SvidBundle;

/// The process's clock, read by background tasks alone; requests bring their own `now`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all providers share.
#[derive(Clone)]
pub struct TrustSettings {
    /// When keys are said to have been fetched.
    pub clock: Clock,
    /// Memory for verified tokens, in bytes.
    pub cache_bytes: u64,
    /// Where keys may be fetched from. A URL whose host is an address of this machine may always.
    pub reach: Reach,
    /// What was seen of bundles before.
    pub sequences: Arc<Sequences>,
}

impl TrustSettings {
    /// 32 MiB for verified tokens; what is seen of bundles is forgotten with the process.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            cache_bytes: 32 * 1024 * 1024,
            reach: Reach::default(),
            sequences: Sequences::in_memory(),
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

impl From<RejectedCertificate> for NotAttested {
    fn from(rejected: RejectedCertificate) -> Self {
        Self::Denied(DenyReason::CertificateRejected(rejected))
    }
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

type ByName = HashMap<String, Arc<Provider>, RandomState>;

/// Providers by what they are found by.
#[derive(Default)]
struct Live {
    /// Tokens, by `iss`.
    issuers: ByName,
    /// JWT-SVIDs, by the trust domain that `sub` names.
    jwt_svids: ByName,
    /// X.509-SVIDs, by the trust domain that the URI name names.
    x509_svids: ByName,
}

impl Live {
    /// The provider in the place of `config` that is in force.
    fn like(&self, config: &ProviderConfig) -> Option<&Arc<Provider>> {
        let domain = config.trust_domain.as_str();
        if config.kind == ProviderKind::SpiffeJwt {
            self.jwt_svids.get(domain)
        } else if config.kind == ProviderKind::SpiffeX509 {
            self.x509_svids.get(domain)
        } else {
            self.issuers.get(&config.issuer)
        }
    }

    fn put(&mut self, provider: Arc<Provider>) {
        let config = &provider.config;
        let domain = config.trust_domain.as_str().to_owned();
        if config.kind == ProviderKind::SpiffeJwt {
            self.jwt_svids.insert(domain, provider);
        } else if config.kind == ProviderKind::SpiffeX509 {
            self.x509_svids.insert(domain, provider);
        } else {
            self.issuers.insert(config.issuer.clone(), provider);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Provider>> {
        let svids = self.jwt_svids.values().chain(self.x509_svids.values());
        self.issuers.values().chain(svids)
    }

    /// The one provider whose keys must prove a token: its issuer's, or else its subject's trust domain's.
    ///
    /// SECURITY: the token's word picks the keys, and nothing else.
    fn of_token(&self, token: &Claimed) -> Result<&Arc<Provider>, NotAttested> {
        let (issuer, id) = (token.issuer(), token.spiffe_id());
        let by_issuer = issuer.and_then(|issuer| self.issuers.get(issuer));
        // JWT-SVID §3: `iss` may be absent, and means nothing if it is there.
        let by_domain = || self.jwt_svids.get(id.ok()?.trust_domain());
        let found = by_issuer.or_else(by_domain);
        found.ok_or_else(|| match (issuer, id) {
            (Some(_), _) => NotAttested::Denied(DenyReason::IssuerUnknown),
            (None, Ok(_)) => NotAttested::Denied(DenyReason::TrustDomainUnknown),
            (None, Err(_)) => RejectedToken::ClaimMissing("iss").into(),
        })
    }
}

struct Provider {
    config: Arc<ProviderConfig>,
    revision: u64,
    keyring: Arc<Keyring>,
    /// What the last token said that it proved.
    claimed: ArcSwapOption<Claimed>,
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
    /// their keys and verified tokens; one that did keeps its keys if they come from where they came from, and
    /// is asked for them again at once. Must be called within a tokio runtime.
    pub fn replace(&self, configs: Vec<ProviderConfig>) -> Result<(), InvalidProviders> {
        provider::check(&configs)?;
        let mut last_revision = self
            .last_revision
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.live.load_full();
        let mut live = Live::default();
        for config in configs {
            let unchanged = before.like(&config).filter(|known| *known.config == config);
            let provider = unchanged.cloned().unwrap_or_else(|| {
                *last_revision = last_revision.saturating_add(1);
                let before = before.like(&config).map(|before| &*before.keyring);
                Arc::new(Provider::start(
                    config,
                    before,
                    *last_revision,
                    &self.settings,
                ))
            });
            live.put(provider);
        }
        let revisions: Vec<_> = live.all().map(|provider| provider.revision).collect();
        self.live.store(Arc::new(live));
        self.verified.retain(&revisions);
        Ok(())
    }

    /// Frees the memory of evidence that is not good any more at `now`, or that nobody showed for long.
    pub fn sweep(&self, now: Timestamp) {
        self.verified.sweep(now);
    }

    /// Judges evidence at `now`. Several pieces must each be accepted, and agree; the first that is refused
    /// refuses all. Waits for keys at most two seconds a piece, and only where there are none.
    pub async fn attest(
        &self,
        evidence: impl Into<EvidenceRef<'_>>,
        now: Timestamp,
    ) -> Result<Attestation, NotAttested> {
        let evidence = evidence.into();
        if let Some(known) = self.known(evidence, now) {
            return Ok(known);
        }
        // Its state is large, and nearly every call is over by now.
        Box::pin(self.prove(evidence, now)).await
    }

    /// What was proven before by a token, and is still proven.
    fn known(&self, evidence: EvidenceRef<'_>, now: Timestamp) -> Option<Attestation> {
        let EvidenceRef::Token(token) = evidence else {
            return None;
        };
        // What is longer was never verified.
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        self.verified.find(&Shown::token(token), now, |entry| {
            self.proof_today(entry.claimed.as_deref(), now)
        })
    }

    async fn prove(
        &self,
        evidence: EvidenceRef<'_>,
        now: Timestamp,
    ) -> Result<Attestation, NotAttested> {
        let EvidenceRef::Several(several) = evidence else {
            return self.prove_piece(evidence, now).await;
        };
        let mut attested = Vec::with_capacity(several.pieces().len());
        for piece in several.pieces() {
            let attestation = match self.known(piece.into(), now) {
                Some(known) => known,
                None => self.prove_piece(piece.into(), now).await?,
            };
            attested.push(attestation);
        }
        let Some((first, others)) = attested.split_first() else {
            return Err(NotAttested::Denied(DenyReason::EvidenceMissing));
        };
        match first.together(others, several.agreement()) {
            Ok(together) => Ok(together),
            Err(disagreement) => {
                debug!(%disagreement, "evidence of one call");
                Err(NotAttested::Denied(DenyReason::EvidenceConflict))
            }
        }
    }

    /// Judges one piece of evidence at `now`. Waits for keys at most two seconds, and only for the first ones of
    /// an issuer. A token of a key that is not there yet is `Unavailable` while it is looked for.
    async fn prove_piece(
        &self,
        evidence: EvidenceRef<'_>,
        now: Timestamp,
    ) -> Result<Attestation, NotAttested> {
        match evidence {
            EvidenceRef::Token(token) => self.prove_token(token, now).await,
            EvidenceRef::Certificate(chain) => self.attest_certificate(chain, now).await,
            // Pieces are flat.
            EvidenceRef::Several(_) => Err(NotAttested::Denied(DenyReason::EvidenceAmbiguous)),
        }
    }

    async fn attest_certificate(
        &self,
        chain: &CertificateChain,
        now: Timestamp,
    ) -> Result<Attestation, NotAttested> {
        // SECURITY: the certificate's word picks the authorities that must prove it, and nothing else.
        let named = x509::named(chain)?;
        let provider = self
            .live
            .load()
            .x509_svids
            .get(named.trust_domain())
            .cloned();
        let provider = provider.ok_or(NotAttested::Denied(DenyReason::TrustDomainUnknown))?;
        let keys = provider.keyring.ready(now).await;
        let keys = keys.ok_or(NotAttested::Unavailable(Fault::KeysUnavailable))?;
        let proof = Proof {
            revision: provider.revision,
            key: keys.authorities_since,
        };
        let presented = Shown::chain(chain);
        if let Some(attestation) = self.verified.find(&presented, now, |_| Some(proof)) {
            return Ok(attestation);
        }
        // Several signatures, some of RSA with 8192 bits: not on a thread that others wait for.
        let shown = chain.clone();
        let verdict = spawn_blocking(move || keys.verify_certificate(&shown, now)).await;
        let verified =
            verdict.map_err(|_panicked| NotAttested::Unavailable(Fault::EvidenceUnreadable))??;
        let attestation = provider
            .attested_svid(&verified)
            .map_err(NotAttested::Denied)?;
        let entry = Entry {
            proof,
            claimed: None,
            attestation: attestation.clone(),
            validity: verified.validity(),
        };
        self.verified.keep(presented, entry, now);
        Ok(attestation)
    }

    /// What would prove a token now that was read before; `None` if it must be looked at anew.
    fn proof_today(&self, claimed: Option<&Claimed>, now: Timestamp) -> Option<Proof> {
        let (claimed, live) = (claimed?, self.live.load());
        let provider = live.of_token(claimed).ok()?;
        let keys = &provider.keyring;
        keys.look(now, |keys| provider.proof(keys, claimed))?
    }

    async fn prove_token(&self, token: &str, now: Timestamp) -> Result<Attestation, NotAttested> {
        let unverified = Unverified::parse(token)?;
        let claimed = unverified.claimed();
        let provider = self.live.load().of_token(&claimed).cloned()?;
        let keys = provider.keyring.ready(now).await;
        let keys = keys.ok_or(NotAttested::Unavailable(Fault::KeysUnavailable))?;
        let (verified, keys) = match provider.verify(&unverified, &keys, now) {
            Err(RejectedToken::UnknownKey) => {
                let keys = match provider.keyring.newer(&keys, now) {
                    Newer::Keys(keys) => keys,
                    Newer::Awaited => return Err(NotAttested::Unavailable(Fault::KeysUnavailable)),
                    Newer::Nothing => return Err(RejectedToken::UnknownKey.into()),
                };
                (provider.verify(&unverified, &keys, now)?, keys)
            }
            outcome => (outcome?, keys),
        };
        let attestation = provider.attested(&verified).map_err(NotAttested::Denied)?;
        if let Some(proof) = provider.proof(&keys, &claimed) {
            let entry = Entry {
                proof,
                claimed: Some(provider.shared(claimed)),
                attestation: attestation.clone(),
                validity: verified.validity(),
            };
            self.verified.keep(Shown::token(token), entry, now);
        }
        Ok(attestation)
    }

    /// Every provider's keys as they stand at `now`, by name.
    pub fn status(&self, now: Timestamp) -> Vec<ProviderStatus> {
        let live = self.live.load();
        let mut all: Vec<_> = live.all().map(|provider| provider.status(now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl Provider {
    /// `before` is the keyring of the provider in whose place it is put.
    fn start(
        config: ProviderConfig,
        before: Option<&Keyring>,
        revision: u64,
        settings: &TrustSettings,
    ) -> Self {
        let config = Arc::new(config);
        let mut tasks = JoinSet::new();
        let keyring = Keyring::start(Arc::clone(&config), before, settings, &mut tasks);
        Self {
            config,
            revision,
            keyring,
            claimed: ArcSwapOption::empty(),
            _tasks: tasks,
        }
    }

    fn verify(
        &self,
        token: &Unverified<'_>,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Verified, RejectedToken> {
        if self.config.kind == ProviderKind::SpiffeJwt {
            let rules = self.config.svid_rules();
            let svid = token.verify_svid(&keys.set, &rules, &keys.verifier, now)?;
            return Ok(svid.into_token());
        }
        token.verify(&keys.set, &self.config.rules(), &keys.verifier, now)
    }

    /// What a token says of itself, in memory that it shares with the last one if that said the same.
    fn shared(&self, claimed: Claimed) -> Arc<Claimed> {
        let last = self.claimed.load_full();
        last.filter(|last| **last == claimed).unwrap_or_else(|| {
            let claimed = Arc::new(claimed);
            self.claimed.store(Some(Arc::clone(&claimed)));
            claimed
        })
    }

    /// What proves a token that is so found; `None` if no key of the set could have signed it.
    fn proof(&self, keys: &Keys, claimed: &Claimed) -> Option<Proof> {
        let key = claimed.key(&keys.set).ok()?;
        Some(Proof {
            revision: self.revision,
            key: keys.number(key)?,
        })
    }

    fn attested(&self, verified: &Verified) -> Result<Attestation, DenyReason> {
        let proven = workload(self.config.naming(), verified.claims())?;
        Ok(self.attestation(proven, verified.expires_at()))
    }

    fn attested_svid(&self, verified: &VerifiedCertificate) -> Result<Attestation, DenyReason> {
        let proven = svid(self.config.naming(), verified.spiffe_id())?;
        Ok(self.attestation(proven, verified.expires_at()))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where evidence becomes an attestation"
    )]
    fn attestation(&self, proven: (SpiffeId, Attributes), expires_at: Timestamp) -> Attestation {
        let (spiffe_id, attributes) = proven;
        Attestation::attested(Proven {
            provider: self.config.name.as_str().into(),
            kind: self.config.kind,
            spiffe_id,
            attributes,
            expires_at,
        })
    }

    fn status(&self, now: Timestamp) -> ProviderStatus {
        let keyring = self.keyring.status(now);
        let keys = keyring.keys.as_deref();
        ProviderStatus {
            name: self.config.name.clone(),
            issuer: self.config.issuer.clone(),
            usable: keyring.usable,
            keys: keys.map(|keys| keys.count(self.config.kind)),
            ignored_keys: keys.map(Keys::ignored).unwrap_or_default(),
            key_age: keyring.age,
            last_error: keyring.last_error.as_deref().map(str::to_owned),
        }
    }
}
