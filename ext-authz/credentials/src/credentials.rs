//! From a grant to its credential: which provider, under which key, with what checks.

use std::{future::Future, sync::Arc, time::Duration};

use attache_core::{
    claims::RenderedClaims, decision::Fault, evidence::Evidence, freshness::Lifetime,
    header::HeaderName, spiffe_id::SpiffeId, time::Timestamp, token::TokenPlan,
};
use attache_policy::{Grant, document::CredentialKind};

use crate::{
    cache::{Cache, NotFetched, Patience, Perishable},
    credential::{Credential, Injection},
    mint::{Mint, MintFailed, Minted, Order},
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
    /// How long a call waits for the successor of a credential that is near its end (its last tenth, or 5
    /// seconds) before it goes out with the old one. Less than the time in which a call must be answered.
    pub successor_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            fetch_timeout: Duration::from_secs(10),
            successor_timeout: Duration::from_millis(200),
        }
    }
}

/// Obtains credentials and keeps them while they are good.
pub struct Credentials {
    mint: Arc<dyn Mint>,
    cache: Cache<Key, Credential>,
}

/// All that would make two credentials differ, and who vouched for the caller.
///
/// SECURITY: compared whole. A caller is in it by the SPIFFE ID and the provider of its own
/// attestation, and by every attribute that the token's claims are made of, so that nobody is given what
/// was obtained for another: not even a pod what another pod of its ServiceAccount got.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    spiffe_id: SpiffeId,
    trust_provider: String,
    header: HeaderName,
    prefix: String,
    issuer: String,
    plan: TokenPlan,
    /// What the attributes come to in this token.
    claims: RenderedClaims,
    /// SECURITY: tokens of a revoked key are under a generation that nobody asks for any more.
    generation: u64,
}

impl Credentials {
    /// Obtains our own tokens from `mint`.
    pub fn new(mint: Arc<dyn Mint>, settings: Settings) -> Self {
        let patience = Patience {
            fetch: settings.fetch_timeout,
            successor: settings.successor_timeout,
        };
        Self {
            mint,
            cache: Cache::new(settings.max_bytes, patience),
        }
    }

    /// The credential that `grant` allows; `None` if it allows the call without one.
    ///
    /// `evidence` is what the caller's attestation was made from; what the grant does not count of it goes
    /// nowhere. The credential is good at `now`.
    pub async fn obtain(
        &self,
        grant: &Grant<'_>,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<Option<Arc<Credential>>, Fault> {
        let Some(provider) = grant.credential() else {
            return Ok(None);
        };
        let (attestation, placement) = (grant.attestation(), grant.placement());
        let evidence = grant.evidence(evidence);
        let evidence = evidence.ok_or(Fault::CredentialUnavailable)?;
        let CredentialKind::Token(plan) = &provider.kind;
        let claims = plan.claims.render(attestation).map_err(|unavailable| {
            let (workload, provider) = (attestation.spiffe_id(), &provider.name);
            tracing::warn!(%workload, %provider, "{unavailable}");
            Fault::ClaimUnavailable
        })?;
        let mut key = Key {
            spiffe_id: attestation.spiffe_id().clone(),
            trust_provider: attestation.provider().to_owned(),
            header: placement.header.clone(),
            prefix: placement.prefix.clone(),
            issuer: self.mint.issuer().to_owned(),
            plan: plan.clone(),
            claims,
            generation: self.mint.generation(),
        };
        for _ in 0..MAX_GENERATIONS {
            let fetch = || self.fetch(key.clone(), Evidence::clone(&evidence), now);
            let obtained = self.cache.obtain(&key, now, fetch).await;
            let generation = self.mint.generation();
            // SECURITY: a token of a key that was revoked while it was obtained does not leave.
            if obtained.is_err() || generation == key.generation {
                return obtained.map(Some).map_err(NotFetched::fault);
            }
            key.generation = generation;
        }
        Err(Fault::CredentialUnavailable)
    }

    fn fetch(
        &self,
        key: Key,
        evidence: Evidence,
        now: Timestamp,
    ) -> impl Future<Output = Result<Credential, NotFetched>> + Send + use<> {
        let mint = Arc::clone(&self.mint);
        async move {
            let order = Order {
                evidence,
                plan: key.plan.clone(),
                now,
            };
            let audience = order.plan.audience();
            let minted = mint.mint(&order).await.map_err(|failed| {
                tracing::warn!(workload = %key.spiffe_id, ?audience, "{failed}");
                not_minted(failed)
            })?;
            credential(&key, audience, minted)
        }
    }
}

fn credential(key: &Key, audience: String, minted: Minted) -> Result<Credential, NotFetched> {
    let Minted {
        token,
        token_id,
        spiffe_id,
        claims,
        lifetime,
    } = minted;
    // SECURITY: what is kept under this caller's key names this caller. Another subject means that
    // edge and issuer derive different identities from one piece of evidence.
    if spiffe_id != key.spiffe_id {
        tracing::error!(workload = %key.spiffe_id, minted_for = %spiffe_id, "the issuer minted for another workload");
        return Err(NotFetched::Broken(Fault::CredentialUnavailable));
    }
    // SECURITY: and says of it what the caller's own attestation says.
    if claims != key.claims {
        tracing::error!(workload = %key.spiffe_id, "the issuer minted with other claims than were ordered");
        return Err(NotFetched::Broken(Fault::CredentialUnavailable));
    }
    let injection = Injection::of_token(key.header.clone(), &key.prefix, &token);
    let injection = injection.map_err(NotFetched::Broken)?;
    Ok(Credential::new(injection, token_id, audience, lifetime))
}

const fn not_minted(failed: MintFailed) -> NotFetched {
    match failed {
        MintFailed::EvidenceRefused(_) => NotFetched::EvidenceRefused,
        MintFailed::Unavailable(fault) => NotFetched::Broken(fault),
    }
}

impl Perishable for Credential {
    fn lifetime(&self) -> Lifetime {
        Self::lifetime(self)
    }

    fn weight(&self) -> u32 {
        let value = self.injection().value().expose();
        let texts = [value.len(), self.token_id().len(), self.audience().len()];
        let bytes = texts
            .iter()
            .fold(ENTRY_BYTES, |sum, length| sum.saturating_add(*length));
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
