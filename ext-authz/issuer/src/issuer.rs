//! The issuer: evidence in, token out.

use std::{num::NonZero, sync::Arc, thread, time::Duration};

use attache_core::{
    attestation::Attestation,
    audience::{MAX_AUDIENCE_BYTES, is_audience},
    claims::{RenderedClaims, UnavailableClaim},
    decision::{DenyReason, Fault},
    evidence::Evidence,
    freshness::Lifetime,
    id,
    jwt::Algorithm,
    secret::Secret,
    spiffe_id::SpiffeId,
    time::Timestamp,
    token::{TokenForm, TokenPlan},
};
use attache_trust::{NotAttested, Trust};
use aws_lc_rs::rand;
use thiserror::Error;
use tokio::{runtime::Handle, sync::Semaphore};

mod own;

use crate::{
    config::{IssuerConfig, MIN_TTL},
    custody::{Custody, NotRevoked, Urgency},
    keys::{SigningKey, UnusableKeys},
    publication,
    rotation::{STALE_AFTER, Step},
    sealing::SealingKey,
    signer::ALGORITHMS,
    store::KeyStore,
    token::{self, Audience, Claims},
    told::KeysTold,
};

/// Mints tokens against evidence and publishes the keys that verify them.
pub struct Issuer {
    config: IssuerConfig,
    trust: Arc<Trust>,
    keys: Custody,
    discovery_document: Arc<[u8]>,
    /// One signature at a time on each processor: more would only take time from the calls in flight.
    signing: Arc<Semaphore>,
    /// Whose blocking threads sign, whichever runtime asks: each has its own, and keeps them for a while.
    signers: Handle,
}

/// What to mint.
#[derive(Clone, Copy)]
pub struct MintOrder<'a> {
    /// What the caller shows of itself; verified here again.
    pub evidence: &'a Evidence,
    /// What the token is to be.
    pub plan: &'a TokenPlan,
}

/// A token that was minted.
pub struct MintedToken {
    /// The JWT in compact form.
    pub token: Secret,
    /// Its `jti`, which the audit event repeats.
    pub token_id: String,
    /// Its `sub`: whom the issuer found proven.
    pub spiffe_id: SpiffeId,
    /// What it says beside the registered claims.
    pub claims: RenderedClaims,
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
    /// There is nobody that the token would be for.
    #[error("the token has no audience")]
    NoAudience,
    /// SECURITY: nobody vouches for workloads of another trust domain by our keys (SPIFFE Trust Domain and
    /// Bundle §3).
    #[error(
        "{workload} is no workload of {ours}, for which alone JWT-SVIDs are minted here; use type oidc-token, or give its trust provider that trust domain"
    )]
    ForeignTrustDomain {
        /// Whom the evidence proves.
        workload: SpiffeId,
        /// Our trust domain.
        ours: String,
    },
    /// A claim cannot be made of what is proven.
    #[error(transparent)]
    Claim(#[from] UnavailableClaim),
    /// SECURITY: a key that another process revoked must not sign on because we cannot learn of it.
    #[error("the store of the signing keys could not be read for {} s, and nothing is signed until it is", STALE_AFTER.as_secs())]
    Stale,
    /// The key or the operating system's randomness failed.
    #[error("the token could not be signed")]
    Signing,
}

impl NotMinted {
    /// Why the caller is refused, if it is the caller's evidence.
    pub const fn denial(&self) -> Option<&DenyReason> {
        if let Self::Denied(reason) = self {
            return Some(reason);
        }
        None
    }

    /// What is broken, seen by a caller that was granted this token.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(fault) => *fault,
            Self::Claim(_) => Fault::ClaimUnavailable,
            Self::Denied(_)
            | Self::Audience(_)
            | Self::NoAudience
            | Self::Ttl { .. }
            | Self::Algorithm(_)
            | Self::ForeignTrustDomain { .. }
            | Self::Stale
            | Self::Signing => Fault::CredentialUnavailable,
        }
    }
}

impl Issuer {
    /// Opens the keys in `store`, and makes the first ones if it holds none.
    pub async fn open(
        store: Arc<dyn KeyStore>,
        sealing_key: SealingKey,
        config: IssuerConfig,
        trust: Arc<Trust>,
        now: Timestamp,
    ) -> Result<Self, UnusableKeys> {
        let keys = Custody::open(store, sealing_key, &config, now).await?;
        let slots = thread::available_parallelism().map_or(1, NonZero::get);
        let discovery_document = publication::discovery_document(&config, &ALGORITHMS).into();
        Ok(Self {
            config,
            trust,
            keys,
            discovery_document,
            signing: Arc::new(Semaphore::new(slots)),
            signers: Handle::current(),
        })
    }

    /// `iss` of our tokens.
    pub const fn url(&self) -> &crate::config::IssuerUrl {
        &self.config.url
    }

    /// Whether tokens are exchanged for evidence.
    pub const fn exchanges(&self) -> bool {
        self.config.token_endpoint
    }

    /// The discovery document (OpenID Connect Discovery 1.0 §3), as JSON.
    pub fn discovery_document(&self) -> Arc<[u8]> {
        Arc::clone(&self.discovery_document)
    }

    /// The public keys (RFC 7517 §5), as JSON.
    pub fn jwks(&self) -> Arc<[u8]> {
        Arc::clone(&self.keys.glance().documents.jwks)
    }

    /// The SPIFFE bundle of our trust domain, as JSON.
    pub fn bundle(&self) -> Arc<[u8]> {
        Arc::clone(&self.keys.glance().documents.bundle)
    }

    /// Grows when a key is revoked: what was minted before is not to be used again.
    pub fn generation(&self) -> u64 {
        self.keys.glance().stored.revocations
    }

    /// Takes every step of the keys that is due at `now`, and learns what other processes took. Called
    /// every [`crate::rotation::PACE`].
    pub async fn turn(&self, now: Timestamp) -> Result<Vec<Step>, UnusableKeys> {
        self.keys.turn(now, Urgency::All).await
    }

    /// Has the next key sign as soon as everyone can know it, for one algorithm or for all.
    pub async fn rotate(
        &self,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<Step>, UnusableKeys> {
        self.keys.rotate(algorithm, now).await
    }

    /// Takes a key out of the documents at once; nothing that was minted before is used again.
    pub async fn revoke(&self, key_id: &str, now: Timestamp) -> Result<(), NotRevoked> {
        self.keys.revoke(key_id, now).await
    }

    /// Whether tokens are signed: not while the keys' store has not been read for
    /// [`crate::rotation::STALE_AFTER`].
    pub fn signs(&self) -> bool {
        self.keys.fresh().is_some()
    }

    /// All keys and what becomes of them.
    pub fn keys(&self) -> KeysTold {
        KeysTold::of(&self.keys.glance().stored, self.keys.schedule())
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
                tracing::warn!(audience = ?order.plan.audience(), "no token was minted: {error}");
            }
        })
    }

    async fn carry_out(
        &self,
        order: MintOrder<'_>,
        now: Timestamp,
    ) -> Result<MintedToken, NotMinted> {
        let ttl = self.check(order.plan)?;
        let attestation = self
            .trust
            .attest(order.evidence, now)
            .await
            .map_err(not_attested)?;
        self.check_subject(order.plan.form, &attestation)?;
        let custom = order.plan.claims.render(&attestation)?;
        let workload = attestation.spiffe_id().as_str();
        let issuer = match order.plan.form {
            TokenForm::OidcToken | TokenForm::JwtSvid => self.config.url.as_str(),
            TokenForm::ClientAssertion => workload,
        };
        let claims = Claims {
            iss: issuer.to_owned(),
            custom: custom.clone(),
            ..self.claims(workload, &order.plan.audiences, ttl, now)?
        };
        let lifetime = Lifetime {
            issued_at: Timestamp::from_seconds(claims.iat),
            expires_at: Timestamp::from_seconds(claims.exp),
        };
        let token_id = claims.jti.clone();
        let token = self.sign(claims, order.plan.algorithm).await?;
        Ok(MintedToken {
            token,
            token_id,
            spiffe_id: attestation.spiffe_id().clone(),
            claims: custom,
            lifetime,
        })
    }

    /// The registered claims of a token of ours.
    fn claims(
        &self,
        subject: &str,
        audiences: &[String],
        ttl: i64,
        now: Timestamp,
    ) -> Result<Claims, NotMinted> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_no_cause| NotMinted::Signing)?;
        let iat = now.as_seconds();
        Ok(Claims {
            iss: self.config.url.as_str().to_owned(),
            sub: subject.to_owned(),
            aud: Audience::of(audiences),
            iat,
            nbf: iat,
            exp: iat.saturating_add(ttl),
            jti: id::token_id(self.config.environment.as_str(), random),
            custom: RenderedClaims::default(),
        })
    }

    /// The lifetime in whole seconds, if the plan can be carried out.
    fn check(&self, plan: &TokenPlan) -> Result<i64, NotMinted> {
        let (asked, max) = (plan.ttl, self.config.max_ttl);
        if asked < MIN_TTL || asked > max {
            return Err(NotMinted::Ttl { asked, max });
        }
        if plan.audiences.is_empty() {
            return Err(NotMinted::NoAudience);
        }
        if let Some(audience) = plan
            .audiences
            .iter()
            .find(|audience| !is_audience(audience))
        {
            return Err(NotMinted::Audience(audience.chars().take(64).collect()));
        }
        if !ALGORITHMS.contains(&plan.algorithm) {
            return Err(NotMinted::Algorithm(plan.algorithm));
        }
        i64::try_from(asked.as_secs()).map_err(|_too_long| NotMinted::Ttl { asked, max })
    }

    fn check_subject(&self, form: TokenForm, attestation: &Attestation) -> Result<(), NotMinted> {
        let (workload, ours) = (attestation.spiffe_id(), self.config.trust_domain.as_str());
        if form != TokenForm::OidcToken && workload.trust_domain() != ours {
            return Err(NotMinted::ForeignTrustDomain {
                workload: workload.clone(),
                ours: ours.to_owned(),
            });
        }
        Ok(())
    }

    /// The key that signs with `algorithm` now.
    fn signing_key(&self, algorithm: Algorithm) -> Result<Arc<SigningKey>, NotMinted> {
        let ring = self.keys.fresh().ok_or(NotMinted::Stale)?;
        let key = ring.signing(algorithm).map(Arc::clone);
        key.ok_or(NotMinted::Algorithm(algorithm))
    }

    /// Signs on the blocking threads, unless it is brief: a millisecond of RSA would hold up every call on its thread.
    async fn sign(&self, claims: Claims, algorithm: Algorithm) -> Result<Secret, NotMinted> {
        let key = self.signing_key(algorithm)?;
        if key.signer.is_brief() {
            return token::sign(&claims, &key).map_err(|_failed| NotMinted::Signing);
        }
        let slot = Arc::clone(&self.signing).acquire_owned().await;
        let slot = slot.map_err(|_closed| NotMinted::Signing)?;
        // Chosen after the wait: a key that retired meanwhile signs no more.
        let key = self.signing_key(algorithm)?;
        let signing = self.signers.spawn_blocking(move || {
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
