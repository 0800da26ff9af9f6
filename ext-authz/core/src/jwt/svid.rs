//! JWT-SVIDs (SPIFFE JWT-SVID): the same token rules, with a SPIFFE ID for a subject and the bundle of its
//! trust domain for keys.

use core::time::Duration;

use super::{
    Algorithm, RejectedToken, Unverified, Validity, Verified, VerifySignature, check_audience, text,
};
use crate::{
    jwks::KeySet,
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};

#[cfg(test)]
mod tests;

/// What a JWT-SVID must fulfil beside its signature. `iss` is not read (JWT-SVID §3).
#[derive(Clone, Copy, Debug)]
pub struct SvidRules<'r> {
    /// The trust domain whose keys these are; `sub` must be of it.
    pub trust_domain: &'r TrustDomain,
    /// One of `aud`, byte for byte (JWT-SVID §3.2).
    pub audience: &'r str,
    /// Longest time from `iat` (or `nbf`, or now) to `exp`.
    pub max_lifetime: Duration,
    /// How far `nbf` and `iat` may lie ahead, for clocks that disagree. `exp` has no leeway.
    pub leeway: Duration,
}

/// A JWT-SVID that a key of its trust domain and all rules vouch for.
pub struct VerifiedSvid {
    spiffe_id: SpiffeId,
    token: Verified,
}

impl VerifiedSvid {
    /// `sub`.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Its claims and its times.
    pub const fn token(&self) -> &Verified {
        &self.token
    }

    /// The token alone, which holds its subject too.
    pub fn into_token(self) -> Verified {
        self.token
    }
}

impl Unverified<'_> {
    /// The SPIFFE ID that its `sub` claims (JWT-SVID §3.1): good for finding the bundle whose keys may prove
    /// it, for nothing else.
    pub fn claimed_spiffe_id(&self) -> Result<SpiffeId, RejectedToken> {
        let subject = text(&self.claims, "sub").ok_or(RejectedToken::ClaimMissing("sub"))?;
        // A trust domain's own ID, without a path, names no workload.
        SpiffeId::parse(subject)
            .ok()
            .filter(|id| !id.path().is_empty())
            .ok_or(RejectedToken::ClaimMalformed("sub"))
    }

    /// Holds a JWT-SVID against the `jwt-svid` keys of a trust domain and the rules of JWT-SVID §5; the first
    /// rule it breaks is the answer.
    pub fn verify_svid(
        &self,
        keys: &KeySet,
        rules: &SvidRules<'_>,
        verifier: &impl VerifySignature,
        now: Timestamp,
    ) -> Result<VerifiedSvid, RejectedToken> {
        let spiffe_id = self.claimed_spiffe_id()?;
        // SECURITY: compare the trust domain before looking up the key; a kid is unique only within its bundle.
        if spiffe_id.trust_domain() != rules.trust_domain.as_str() {
            return Err(RejectedToken::TrustDomainMismatch);
        }
        // The standard lets it be absent; the validators of the field demand it, and guessing helps nobody.
        self.key_id().ok_or(RejectedToken::KeyIdMissing)?;
        self.check_signature(keys, &Algorithm::ALL, verifier)?;
        let validity = Validity::read(&self.claims, rules.leeway)?;
        validity.holds_at(now)?;
        // `iat` is optional here: without a beginning, what is left of its life must be short enough.
        validity.check_lifetime(validity.start().unwrap_or(now), rules.max_lifetime)?;
        check_audience(&self.claims, rules.audience)?;
        let claims = self.claims.clone();
        let token = Verified { claims, validity };
        Ok(VerifiedSvid { spiffe_id, token })
    }
}
