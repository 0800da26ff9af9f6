//! From a grant to its credential: which provider, under which key, with what checks.

use std::{future::Future, sync::Arc, time::Duration};

use attache_core::{
    attributes::AttributeValue,
    claims::{RenderedClaims, UnavailableClaim},
    decision::Fault,
    evidence::Evidence,
    freshness::Lifetime,
    spiffe_id::SpiffeId,
    time::Timestamp,
    token::TokenForm,
};
use attache_outbound::Reach;
use attache_policy::{
    Grant,
    document::{CredentialKind, CredentialProvider, Placement},
};

use tokio::time::{Instant, timeout_at};

use crate::{
    cache::{Cache, Occasion, Patience, Perishable},
    counts::{Counts, ProviderCounts},
    credential::Credential,
    mint::Mint,
    provider::{NotObtained, Wanted},
    providers::Providers,
    secrets::{SecretCounts, SecretStore, Secrets},
};

/// How often a token is obtained again because a signing key was revoked meanwhile.
const MAX_GENERATIONS: usize = 3;

/// Bytes that an entry takes beside the texts of its value: its key with texts of their usual greatest length.
const ENTRY_BYTES: usize = 4096;

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
    cache: Cache<Key, Credential>,
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

/// All that would make two credentials differ, and who vouched for the caller.
///
/// SECURITY: compared whole. A caller is in it by the SPIFFE ID and the provider of its own
/// attestation, by what the parameters of the credential provider come to for it, and by every attribute that they
/// read, so that nobody is given what was obtained for another: not even a pod what another pod of its
/// ServiceAccount got.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    spiffe_id: SpiffeId,
    trust_provider: String,
    provider: String,
    placements: Arc<[Placement]>,
    issuer: String,
    parameters: CredentialKind<String>,
    /// What the attributes come to in the claims of a token of ours.
    claims: RenderedClaims,
    /// The attributes that parameters and claims read.
    read: Vec<(String, Option<AttributeValue>)>,
    /// SECURITY: what was made of an older secret is under a version that nobody asks for any more,
    versions: Vec<u64>,
    /// and tokens of a revoked key under such a generation.
    generation: u64,
}

/// What a provider's document comes to for one caller.
struct Parts {
    parameters: CredentialKind<String>,
    claims: RenderedClaims,
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
        evidence: &Evidence,
        now: Timestamp,
        until: Instant,
    ) -> Result<Option<Arc<Credential>>, Unobtained> {
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

    /// What is in memory and good. Everything that it is kept under is looked at; whatever is not as it must be is
    /// found again, and told, where it is obtained.
    fn at_hand(
        &self,
        provider: &CredentialProvider,
        grant: &Grant<'_>,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Option<Arc<Credential>> {
        let evidence = grant.evidence(evidence)?;
        let parts = self.parts(grant, provider).ok()?;
        let secrets = self.secrets.at_hand(&parts.parameters.secrets())?;
        let key = self.key_of(grant, provider, parts, &secrets);
        let late = Providers::late(&key.parameters);
        let fetch = |occasion| {
            let evidence = Evidence::clone(&evidence);
            self.fetch(key.clone(), secrets.clone(), evidence, now, occasion)
        };
        let kept = self.cache.kept(&key, now, late, &fetch)?;
        // SECURITY: a token of a key that was revoked meanwhile does not leave.
        let generation = self.providers.of(&key.parameters).generation();
        (generation == key.generation).then_some(kept)
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
        evidence: &Evidence,
        now: Timestamp,
        until: Instant,
    ) -> Result<Option<Arc<Credential>>, Unobtained> {
        let evidence = grant.evidence(evidence);
        let evidence = evidence.ok_or(Fault::CredentialUnavailable)?;
        let keyed = timeout_at(until, self.key(grant, provider)).await;
        let (mut key, secrets) = keyed.map_err(|_elapsed| Fault::SecretUnavailable)??;
        let late = Providers::late(&key.parameters);
        let patience = Patience { until, late };
        let source = self.providers.of(&key.parameters);
        for _ in 0..MAX_GENERATIONS {
            let fetch = |occasion| {
                let evidence = Evidence::clone(&evidence);
                self.fetch(key.clone(), secrets.clone(), evidence, now, occasion)
            };
            let obtained = self.cache.obtain(&key, now, patience, fetch).await;
            let generation = source.generation();
            // SECURITY: a token of a key that was revoked while it was obtained does not leave.
            if obtained.is_err() || generation == key.generation {
                return obtained.map(Some).map_err(Into::into);
            }
            key.generation = generation;
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
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<Option<Arc<Credential>>, Unobtained> {
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
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<Option<Arc<Credential>>, Unobtained> {
        let evidence = grant.evidence(evidence);
        let evidence = evidence.ok_or(Fault::CredentialUnavailable)?;
        let (mut key, secrets) = self.key(grant, provider).await?;
        // It stands in the request's body, where whoever sends the request puts it.
        key.placements = Arc::from([]);
        let (source, generation) = (self.providers.of(&key.parameters), key.generation);
        let (evidence, occasion) = (evidence.into_owned(), Occasion::Awaited);
        let fetched = self.fetch(key, secrets, evidence, now, occasion).await?;
        // SECURITY: as above. The client asks for another.
        if source.generation() != generation {
            return Err(Fault::CredentialUnavailable.into());
        }
        Ok(Some(Arc::new(fetched)))
    }

    /// What the credential is kept under, and the secrets that it is made of.
    async fn key(
        &self,
        grant: &Grant<'_>,
        provider: &CredentialProvider,
    ) -> Result<(Key, Secrets), Unobtained> {
        let parts = self.parts(grant, provider).map_err(|unavailable| {
            let (workload, provider) = (grant.attestation().spiffe_id(), &provider.name);
            tracing::warn!(%workload, %provider, "{unavailable}");
            Fault::ClaimUnavailable
        })?;
        let secrets = self.secrets.current(&parts.parameters.secrets()).await?;
        Ok((self.key_of(grant, provider, parts, &secrets), secrets))
    }

    /// What the provider's parameters and claims come to for the caller.
    fn parts(
        &self,
        grant: &Grant<'_>,
        provider: &CredentialProvider,
    ) -> Result<Parts, UnavailableClaim> {
        let attestation = grant.attestation();
        let plan = provider.kind.token_plan();
        let claims = plan.map(|plan| plan.claims.render(attestation)).transpose();
        Ok(Parts {
            parameters: provider.kind.expand(attestation)?,
            claims: claims?.unwrap_or_default(),
        })
    }

    fn key_of(
        &self,
        grant: &Grant<'_>,
        provider: &CredentialProvider,
        parts: Parts,
        secrets: &Secrets,
    ) -> Key {
        let attestation = grant.attestation();
        let read = provider.kind.attributes();
        let read = read.map(|name| {
            (
                name.to_owned(),
                attestation.attributes().value(name).cloned(),
            )
        });
        let Parts { parameters, claims } = parts;
        Key {
            spiffe_id: attestation.spiffe_id().clone(),
            trust_provider: attestation.provider().to_owned(),
            provider: provider.name.clone(),
            placements: Arc::clone(grant.placements()),
            issuer: self.providers.issuer().to_owned(),
            read: read.collect(),
            generation: self.providers.of(&parameters).generation(),
            parameters,
            claims,
            versions: secrets.versions(),
        }
    }

    fn fetch(
        &self,
        key: Key,
        secrets: Secrets,
        evidence: Evidence,
        now: Timestamp,
        occasion: Occasion,
    ) -> impl Future<Output = Result<Credential, NotObtained>> + Send + use<> {
        let (providers, counts) = (Arc::clone(&self.providers), Arc::clone(&self.counts));
        let name = key.provider.clone();
        let fetching = async move {
            let source = providers.of(&key.parameters);
            let wanted = Wanted {
                provider: key.provider,
                caller: key.spiffe_id,
                evidence,
                parameters: key.parameters,
                claims: key.claims,
                secrets,
                now,
            };
            let obtained = source.obtain(&wanted).await?;
            let audience = wanted.parameters.audience();
            Ok(Credential::new(obtained, audience, &key.placements)?)
        };
        async move {
            // One that takes too long is dropped, and counted all the same.
            let mut counted = Counted {
                counts,
                name,
                occasion,
                now,
                came: false,
            };
            let fetched = fetching.await;
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

    fn weight(&self) -> u32 {
        u32::try_from(self.bytes().saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
