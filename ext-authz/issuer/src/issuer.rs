//! The issuer: evidence in, token out.

use std::{num::NonZero, sync::Arc, thread, time::Duration};

use arc_swap::ArcSwap;
use attache_core::{
    audience::{MAX_AUDIENCE_BYTES, is_audience},
    decision::{DenyReason, Fault},
    evidence::Evidence,
    freshness::Lifetime,
    id,
    jwt::Algorithm,
    secret::Secret,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_trust::{NotAttested, Trust};
use aws_lc_rs::rand;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::{
    config::{IssuerConfig, MIN_TTL},
    keys::{KeyRing, SigningKey, UnusableKeys},
    sealing::SealingKey,
    store::KeyStore,
    token::{self, Claims},
};

/// Mints tokens against evidence and publishes the keys that verify them.
pub struct Issuer {
    config: IssuerConfig,
    trust: Arc<Trust>,
    keys: ArcSwap<KeyRing>,
    /// One signature at a time on each processor: more would only take time from the calls in flight.
    signing: Arc<Semaphore>,
}

/// What to mint.
#[derive(Clone, Copy)]
pub struct MintOrder<'a> {
    /// What the caller shows of itself; verified here again.
    pub evidence: &'a Evidence,
    /// Whom the token is for: `aud`.
    pub audience: &'a str,
    /// How long it lives, in whole seconds.
    pub ttl: Duration,
    /// How it is signed.
    pub algorithm: Algorithm,
}

/// A token that was minted.
pub struct MintedToken {
    /// The JWT in compact form.
    pub token: Secret,
    /// Its `jti`, which the audit event repeats.
    pub token_id: String,
    /// Its `sub`: whom the issuer found proven.
    pub spiffe_id: SpiffeId,
    /// From `iat` to `exp`.
    pub lifetime: Lifetime,
}

/// Why nothing was minted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotMinted {
    /// The evidence is not accepted.
    #[error("the evidence is not accepted: {}", .0.sentence())]
    Denied(DenyReason),
    /// The evidence cannot be verified now.
    #[error("the evidence cannot be verified now: {}", .0.sentence())]
    Unavailable(Fault),
    /// Empty, longer than [`MAX_AUDIENCE_BYTES`], or with control characters or outer white space.
    #[error(
        "{0:?} is no audience: 1 to {MAX_AUDIENCE_BYTES} bytes without control characters and without white space at its ends"
    )]
    Audience(String),
    /// Outside what the configuration allows.
    #[error("a token of {asked} s cannot be minted: the issuer's limits are {min} s to {max} s", asked = .asked.as_secs_f64(), min = MIN_TTL.as_secs(), max = .max.as_secs())]
    Ttl {
        /// What was asked for.
        asked: Duration,
        /// The longest that the configuration allows.
        max: Duration,
    },
    /// There is no key for it.
    #[error("there is no signing key for {}; ask for RS256 or ES256", .0.name())]
    Algorithm(Algorithm),
    /// The key or the operating system's randomness failed.
    #[error("the token could not be signed")]
    Signing,
}

impl NotMinted {
    /// Why the caller is refused, if it is the caller's evidence.
    pub const fn denial(&self) -> Option<&DenyReason> {
        match self {
            Self::Denied(reason) => Some(reason),
            Self::Unavailable(_)
            | Self::Audience(_)
            | Self::Ttl { .. }
            | Self::Algorithm(_)
            | Self::Signing => None,
        }
    }

    /// What is broken, seen by a caller that was granted this token.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(fault) => *fault,
            Self::Denied(_)
            | Self::Audience(_)
            | Self::Ttl { .. }
            | Self::Algorithm(_)
            | Self::Signing => Fault::CredentialUnavailable,
        }
    }
}

impl Issuer {
    /// Opens the keys in `store`, and makes the first ones if it holds none.
    pub async fn open(
        store: &dyn KeyStore,
        sealing_key: SealingKey,
        config: IssuerConfig,
        trust: Arc<Trust>,
        now: Timestamp,
    ) -> Result<Self, UnusableKeys> {
        let keys = KeyRing::open(store, sealing_key, &config.url, now).await?;
        let slots = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self {
            config,
            trust,
            keys: ArcSwap::from_pointee(keys),
            signing: Arc::new(Semaphore::new(slots)),
        })
    }

    /// `iss` of our tokens.
    pub fn url(&self) -> &crate::config::IssuerUrl {
        &self.config.url
    }

    /// The discovery document (OpenID Connect Discovery 1.0 §3), as JSON.
    pub fn discovery_document(&self) -> Arc<[u8]> {
        Arc::clone(&self.keys.load().discovery_document)
    }

    /// The public keys (RFC 7517 §5), as JSON.
    pub fn jwks(&self) -> Arc<[u8]> {
        Arc::clone(&self.keys.load().jwks)
    }

    /// Verifies the evidence and mints a token for whom it proves.
    ///
    /// SECURITY: nothing but the evidence says who the caller is: `sub` is the SPIFFE ID of the
    /// attestation that is made here. The token may outlive the evidence, by `ttl` at most.
    pub async fn mint(
        &self,
        order: MintOrder<'_>,
        now: Timestamp,
    ) -> Result<MintedToken, NotMinted> {
        let minted = self.carry_out(order, now).await;
        minted.inspect_err(|error| {
            // Refused evidence is the caller's matter and is audited; all else is ours to mend.
            if error.denial().is_none() {
                tracing::warn!(audience = ?order.audience, "no token was minted: {error}");
            }
        })
    }

    async fn carry_out(
        &self,
        order: MintOrder<'_>,
        now: Timestamp,
    ) -> Result<MintedToken, NotMinted> {
        let ttl = self.check(&order)?;
        let key = self.keys.load().signing(order.algorithm).map(Arc::clone);
        let key = key.ok_or(NotMinted::Algorithm(order.algorithm))?;
        let attestation = self
            .trust
            .attest(order.evidence, now)
            .await
            .map_err(not_attested)?;
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_no_cause| NotMinted::Signing)?;
        let iat = now.as_seconds();
        let claims = Claims {
            iss: self.config.url.as_str().to_owned(),
            sub: attestation.spiffe_id().as_str().to_owned(),
            aud: order.audience.to_owned(),
            iat,
            nbf: iat,
            exp: iat.saturating_add(ttl),
            jti: id::token_id(self.config.environment.as_str(), random),
        };
        let lifetime = Lifetime {
            issued_at: Timestamp::from_seconds(claims.iat),
            expires_at: Timestamp::from_seconds(claims.exp),
        };
        let token_id = claims.jti.clone();
        let token = self.sign(claims, key).await?;
        Ok(MintedToken {
            token,
            token_id,
            spiffe_id: attestation.spiffe_id().clone(),
            lifetime,
        })
    }

    /// The lifetime in whole seconds, if the order can be carried out.
    fn check(&self, order: &MintOrder<'_>) -> Result<i64, NotMinted> {
        let max = self.config.max_ttl;
        if order.ttl < MIN_TTL || order.ttl > max {
            return Err(NotMinted::Ttl {
                asked: order.ttl,
                max,
            });
        }
        let audience = order.audience;
        if !is_audience(audience) {
            return Err(NotMinted::Audience(audience.chars().take(64).collect()));
        }
        i64::try_from(order.ttl.as_secs()).map_err(|_too_long| NotMinted::Ttl {
            asked: order.ttl,
            max,
        })
    }

    /// Signs on the blocking threads: a millisecond of RSA would hold up every call on its thread.
    async fn sign(&self, claims: Claims, key: Arc<SigningKey>) -> Result<Secret, NotMinted> {
        let slot = Arc::clone(&self.signing).acquire_owned().await;
        let slot = slot.map_err(|_closed| NotMinted::Signing)?;
        let signing = tokio::task::spawn_blocking(move || {
            // Held until the signature is made, also when the caller is gone by then.
            let _slot = slot;
            token::sign(&claims, &key)
        });
        let signed = signing.await.map_err(|_ended_early| NotMinted::Signing)?;
        signed.map_err(|_failed| NotMinted::Signing)
    }
}

fn not_attested(error: NotAttested) -> NotMinted {
    match error {
        NotAttested::Denied(reason) => NotMinted::Denied(reason),
        NotAttested::Unavailable(fault) => NotMinted::Unavailable(fault),
    }
}

#[cfg(test)]
mod tests;
