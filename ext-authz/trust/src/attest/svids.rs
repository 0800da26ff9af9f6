//! For proxies that verify JWT-SVIDs themselves: the keys of our trust domains, and a second opinion on the
//! tokens that they cannot verify.

use attache_core::{
    attestation::ProviderKind,
    decision::{DenyReason, Fault},
    jwt::{RejectedToken, SvidRules, Unverified, VerifiedSvid},
    spiffe_id::TrustDomain,
    time::Timestamp,
};

use super::{Keys, NotAttested, Provider, Trust};
use crate::keyring::Newer;

/// The keys of one trust domain's JWT-SVIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SvidBundle {
    /// Whose.
    pub trust_domain: TrustDomain,
    /// A SPIFFE bundle with these keys alone.
    pub document: Vec<u8>,
    /// Grows with each change while this process lives.
    pub changes: u64,
    /// When the keys are too old to be used, unless they are fetched again; `None` if they do not age.
    pub usable_until: Option<Timestamp>,
}

impl Trust {
    /// The usable keys of all trust domains that SPIFFE providers vouch for with JWT-SVIDs, by name.
    pub fn svid_bundles(&self, now: Timestamp) -> Vec<SvidBundle> {
        let live = self.live.load();
        let bundles = live.jwt_svids.values().filter_map(|it| it.svid_bundle(now));
        let mut bundles: Vec<_> = bundles.collect();
        bundles.sort_by(|one, other| one.trust_domain.as_str().cmp(other.trust_domain.as_str()));
        bundles
    }

    /// Verifies a JWT-SVID of one of those trust domains for a service with one of `audiences`, at `now`. The
    /// audience and the further demands of the provider itself are for those who call through the edge.
    pub async fn verify_svid(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<VerifiedSvid, NotAttested> {
        let unverified = Unverified::parse(token)?;
        let id = unverified.claimed_spiffe_id()?;
        // SECURITY: the token's word picks the keys, and nothing else.
        let provider = self.live.load().jwt_svids.get(id.trust_domain()).cloned();
        let provider = provider.ok_or(NotAttested::Denied(DenyReason::TrustDomainUnknown))?;
        let keys = provider.keyring.ready(now).await;
        let keys = keys.ok_or(NotAttested::Unavailable(Fault::KeysUnavailable))?;
        match provider.verify_for(&unverified, audiences, &keys, now) {
            Err(RejectedToken::UnknownKey) => match provider.keyring.newer(&keys, now) {
                Newer::Keys(keys) => Ok(provider.verify_for(&unverified, audiences, &keys, now)?),
                Newer::Awaited => Err(NotAttested::Unavailable(Fault::KeysUnavailable)),
                Newer::Nothing => Err(RejectedToken::UnknownKey.into()),
            },
            verdict => Ok(verdict?),
        }
    }
}

impl Provider {
    fn svid_bundle(&self, now: Timestamp) -> Option<SvidBundle> {
        if self.config.kind != ProviderKind::SpiffeJwt {
            return None;
        }
        let status = self.keyring.status(now);
        let keys = status.keys.filter(|_| status.usable)?;
        let left = status
            .age
            .map(|age| self.config.max_key_age.saturating_sub(age));
        Some(SvidBundle {
            trust_domain: self.config.trust_domain.clone(),
            document: keys.set.to_svid_bundle(),
            changes: keys.epoch,
            usable_until: left.map(|left| now.plus(left)),
        })
    }

    fn verify_for(
        &self,
        token: &Unverified<'_>,
        audiences: &[String],
        keys: &Keys,
        now: Timestamp,
    ) -> Result<VerifiedSvid, RejectedToken> {
        let mut verdict = Err(RejectedToken::AudienceMismatch);
        for audience in audiences {
            let rules = SvidRules {
                audience,
                ..self.config.svid_rules()
            };
            verdict = token.verify_svid(&keys.set, &rules, &keys.verifier, now);
            // INVARIANT: all else does not depend on the audience.
            if !matches!(verdict, Err(RejectedToken::AudienceMismatch)) {
                break;
            }
        }
        verdict
    }
}
