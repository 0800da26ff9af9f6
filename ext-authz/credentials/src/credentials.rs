//! From a grant to its credential: which provider, under which key, with what checks.

use std::{future::Future, sync::Arc, time::Duration};

use attache_core::{
    claims::UnavailableClaim,
    decision::Fault,
    evidence::{Evidence, EvidenceRef},
    freshness::Lifetime,
    time::Timestamp,
    token::TokenForm,
};
use attache_outbound::Reach;
use attache_policy::{
    Grant,
    document::{CredentialProvider, Placement},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    cache::{Cache, Held, Occasion, Patience, Perishable, held},
    counts::{Counts, ProviderCounts},
    credential::Credential,
    mint::Mint,
    provider::{NotObtained, Wanted},
    providers::Providers,
    secrets::{SecretCounts, SecretStore, Secrets},
};

use key::Key;

mod key;

/// How often a token is obtained again because a signing key was revoked meanwhile.
const MAX_GENERATIONS: usize = 3;

/// Bytes that an entry takes beside its key and the texts of its value.
const ENTRY_BYTES: usize = 1024;

/// How credentials are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// About how many bytes of memory the kept credentials may take.
    pub max_bytes: u64,
    /// How long one fetch may take before it is given up.
    pub fetch_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            fetch_timeout: Duration::from_secs(10),
        }
    }
}

/// Obtains credentials and keeps them while they are good.
pub struct Credentials {
    providers: Arc<Providers>,
    secrets: Arc<SecretStore>,
    cache: Cache<Credential>,
    counts: Arc<Counts>,
}

/// Why a granted call gets no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unobtained {
    /// What is wrong.
    pub fault: Fault,
    /// How long to wait before asking again, if that is known.
    pub retry_after: Option<Duration>,
}

impl From<Fault> for Unobtained {
    fn from(fault: Fault) -> Self {
        let retry_after = None;
        Self { fault, retry_after }
    }
}

impl From<NotObtained> for Unobtained {
    fn from(why: NotObtained) -> Self {
        Self {
            fault: why.fault(),
            retry_after: why.retry_after,
        }
    }
}

impl Credentials {
    /// Obtains our own tokens from `mint`, what is made of stored secrets from `secrets`, and all else from where
    /// `reach` lets calls go.
    pub fn new(
        mint: Arc<dyn Mint>,
        secrets: Arc<SecretStore>,
        reach: Reach,
        settings: Settings,
    ) -> Self {
        Self {
            providers: Arc::new(Providers::new(mint, reach)),
            secrets,
            cache: Cache::new(settings.max_bytes, settings.fetch_timeout),
            counts: Arc::default(),
        }
    }

    /// Changes when a signing key is revoked.
    pub fn generation(&self) -> u64 {
        self.providers.generation()
    }

    /// The credential that `grant` allows; `None` if it allows the call without one.
    ///
    /// `evidence` is what the caller's attestation was made from; what the grant does not count of it goes
    /// nowhere. The credential is good at `now`. Nobody waits longer than `until`; what is fetched by then goes on
    /// being fetched, for the next call.
    pub async fn obtain(
        &self,
        grant: &Grant<'_>,
        evidence: impl Into<EvidenceRef<'_>>,
        now: Timestamp,
        until: Instant,
    ) -> Result<Option<Held<Credential>>, Unobtained> {
        let evidence = evidence.into();
        let Some(provider) = grant.credential() else {
            return Ok(None);
        };
        // SECURITY: an assertion is for one token request's body, and never kept.
        if Self::is_assertion(grant) {
            return Err(Fault::CredentialNotEncodable.into());
        }
        if let Some(credential) = self.at_hand(provider, grant, evidence, now) {
            self.counts.at_hand(&provider.name);
            return Ok(Some(credential));
        }
        // Its state is large, and nearly every call is over by now.
        let obtaining = Box::pin(self.obtain_of(provider, grant, evidence, now, until));
        self.counts.of_call(&provider.name, obtaining).await
    }

    /// What is in memory and good, and need not be obtained again yet.
    fn at_hand(
        &self,
        provider: &CredentialProvider,
        grant: &Grant<'_>,
        evidence: EvidenceRef<'_>,
        now: Timestamp,
    ) -> Option<Held<Credential>> {
        if !grant.rests_on(evidence) {
            return None;
        }
        let secrets = self.secrets.at_hand(&provider.kind.secrets())?;
        let source = self.providers.of(&provider.kind);
        let generation = source.generation();
        let key = self.key(grant, provider, &secrets, generation);
        let kept = self.cache.fresh(key.bytes(), now)?;
        // SECURITY: a token of a key that was revoked meanwhile does not leave.
        (source.generation() == generation).then_some(kept)
    }

    /// Frees the memory of what is not good any more at `now`, or was not asked for in a long time.
    pub fn sweep(&self, now: Timestamp) {
        self.cache.sweep(now);
    }

    /// What became of the credentials of each provider since the start, by its name.
    pub fn counts(&self) -> Vec<(String, ProviderCounts)> {
        self.counts.all()
    }

    /// How the secrets stand that credentials are made of.
    pub fn secrets(&self) -> SecretCounts {
        self.secrets.counts()
    }

    async fn obtain_of(
        &self,
        provider: &CredentialProvider,
        grant: &Grant<'_>,
        evidence: EvidenceRef<'_>,
        now: Timestamp,
        until: Instant,
    ) -> Result<Option<Held<Credential>>, Unobtained> {
        let evidence = grant.evidence(evidence);
        let evidence = evidence.ok_or(Fault::CredentialUnavailable)?;
        let wanting = self.wanted(provider, grant, evidence, now);
        let wanting = timeout_at(until, wanting).await;
        let wanted = wanting.map_err(|_elapsed| Fault::SecretUnavailable)??;
        let late = Providers::late(&provider.kind);
        let patience = Patience { until, late };
        let source = self.providers.of(&provider.kind);
        let mut generation = source.generation();
        for _ in 0..MAX_GENERATIONS {
            let fetch = |occasion| {
                let placements = Arc::clone(grant.placements());
                self.fetch(wanted.clone(), placements, occasion)
            };
            let key = self.key(grant, provider, &wanted.secrets, generation);
            let obtained = self.cache.obtain(key.bytes(), now, patience, fetch).await;
            let newest = source.generation();
            // SECURITY: a token of a key that was revoked while it was obtained does not leave.
            if obtained.is_err() || newest == generation {
                return obtained.map(Some).map_err(Into::into);
            }
            generation = newest;
        }
        Err(Fault::CredentialUnavailable.into())
    }

    /// Whether what `grant` allows is made for the body of each token request, and for nothing else.
    pub fn is_assertion(grant: &Grant<'_>) -> bool {
        let plan = grant.credential().and_then(|it| it.kind.token_plan());
        plan.is_some_and(|plan| plan.form == TokenForm::ClientAssertion)
    }

    /// The client assertion that `grant` allows, made for this one call; `None` if it allows none.
    pub async fn assertion(
        &self,
        grant: &Grant<'_>,
        evidence: EvidenceRef<'_>,
        now: Timestamp,
    ) -> Result<Option<Held<Credential>>, Unobtained> {
        let provider = grant.credential().filter(|_| Self::is_assertion(grant));
        let Some(provider) = provider else {
            return Ok(None);
        };
        let making = self.assertion_of(provider, grant, evidence, now);
        self.counts.of_call(&provider.name, making).await
    }

    async fn assertion_of(
        &self,
        provider: &CredentialProvider,
        grant: &Grant<'_>,
        evidence: EvidenceRef<'_>,
        now: Timestamp,
    ) -> Result<Option<Held<Credential>>, Unobtained> {
        let evidence = grant.evidence(evidence);
        let evidence = evidence.ok_or(Fault::CredentialUnavailable)?;
        let wanted = self.wanted(provider, grant, evidence, now);
        let wanted = wanted.await?;
        let source = self.providers.of(&provider.kind);
        let generation = source.generation();
        // It stands in the request's body, where whoever sends the request puts it.
        let placements = Arc::from([]);
        let fetched = self.fetch(wanted, placements, Occasion::Awaited).await?;
        // SECURITY: as above. The client asks for another.
        if source.generation() != generation {
            return Err(Fault::CredentialUnavailable.into());
        }
        Ok(Some(held(&[], fetched, now)))
    }

    fn key(
        &self,
        grant: &Grant<'_>,
        provider: &CredentialProvider,
        secrets: &Secrets,
        generation: u64,
    ) -> Key {
        let issuer = self.providers.issuer();
        Key::new(grant, provider, issuer, &secrets.versions(), generation)
    }

    /// What is asked of the provider: its parameters and claims for this caller, and the secrets as they are now.
    async fn wanted(
        &self,
        provider: &CredentialProvider,
        grant: &Grant<'_>,
        evidence: Evidence,
        now: Timestamp,
    ) -> Result<Wanted, Unobtained> {
        let attestation = grant.attestation();
        let caller = attestation.spiffe_id();
        let unavailable = |claim: UnavailableClaim| {
            tracing::warn!(workload = %caller, provider = %provider.name, "{claim}");
            Fault::ClaimUnavailable
        };
        let plan = provider.kind.token_plan();
        let claims = plan.map(|plan| plan.claims.render(attestation)).transpose();
        Ok(Wanted {
            provider: provider.name.clone(),
            caller: caller.clone(),
            evidence,
            parameters: provider.kind.expand(attestation).map_err(unavailable)?,
            claims: claims.map_err(unavailable)?.unwrap_or_default(),
            secrets: self.secrets.current(&provider.kind.secrets()).await?,
            now,
        })
    }

    fn fetch(
        &self,
        wanted: Wanted,
        placements: Arc<[Placement]>,
        occasion: Occasion,
    ) -> impl Future<Output = Result<Credential, NotObtained>> + Send + use<> {
        let (providers, counts) = (Arc::clone(&self.providers), Arc::clone(&self.counts));
        async move {
            // One that takes too long is dropped, and counted all the same.
            let mut counted = Counted {
                counts,
                name: wanted.provider.clone(),
                occasion,
                now: wanted.now,
                came: false,
            };
            let source = providers.of(&wanted.parameters);
            let fetched = async {
                let obtained = source.obtain(&wanted).await?;
                let audience = wanted.parameters.audience();
                Ok(Credential::new(obtained, audience, &placements)?)
            };
            let fetched = fetched.await;
            counted.came = fetched.is_ok();
            fetched
        }
    }
}

/// Counts a fetch when it ends, also when it is given up.
struct Counted {
    counts: Arc<Counts>,
    name: String,
    occasion: Occasion,
    now: Timestamp,
    came: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts
            .fetched(&self.name, self.occasion, self.came, self.now);
    }
}

impl Perishable for Credential {
    fn lifetime(&self) -> Option<Lifetime> {
        Self::lifetime(self)
    }

    fn weight(&self) -> usize {
        self.bytes().saturating_add(ENTRY_BYTES)
    }
}

#[cfg(test)]
mod tests;
