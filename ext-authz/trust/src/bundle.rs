//! The bundle of a trust domain, ready to verify SVIDs. No I/O and no clock: where bundles come from is
//! [`crate::bundle_source`]'s business.

use attache_core::{
    bundle::{Bundle, InvalidBundle},
    certificate::{CertificateChain, RejectedCertificate},
    jwks::KeySet,
    jwt::{Algorithm, RejectedToken, Rules, SvidRules, Unverified, Verified, VerifiedSvid},
    spiffe_id::TrustDomain,
    time::Timestamp,
};

use crate::{
    AwsLc,
    x509::{self, Authorities, VerifiedCertificate},
};

/// What vouches for the SVIDs of one trust domain: its JWT keys and its X.509 authorities.
///
/// ```
/// use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
/// use attache_trust::TrustBundle;
///
/// let domain = TrustDomain::parse("example.org").expect("a trust domain");
/// let bundle = TrustBundle::parse(domain, br#"{"keys": []}"#).expect("a bundle");
/// let now = Timestamp::from_seconds(1_800_000_000);
/// let refused = bundle.verify_jwt_svid("not.a.token", "attache", now);
/// assert_eq!(refused.err().map(|rejected| rejected.code()), Some("token-malformed"));
/// ```
pub struct TrustBundle {
    bundle: Bundle,
    verifier: AwsLc,
    authorities: Authorities,
}

impl TrustBundle {
    /// Reads a SPIFFE bundle of `trust_domain`. A bundle says nothing of the trust domain it is of; the caller
    /// knows.
    pub fn parse(trust_domain: TrustDomain, bytes: &[u8]) -> Result<Self, InvalidBundle> {
        let bundle = Bundle::parse(&trust_domain, bytes)?;
        let certificates = bundle.x509_authorities().iter().map(Vec::as_slice);
        Ok(Self {
            authorities: Authorities::new(trust_domain, certificates),
            verifier: AwsLc::prepared(bundle.jwt_keys(), &Algorithm::ALL),
            bundle,
        })
    }

    /// The document itself.
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Its X.509 authorities.
    pub const fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Verifies a JWT-SVID for `audience` at `now`, with the rules of [`svid_rules`].
    pub fn verify_jwt_svid(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<VerifiedSvid, RejectedToken> {
        let rules = svid_rules(self.authorities.trust_domain(), audience);
        Unverified::parse(token)?.verify_svid(self.bundle.jwt_keys(), &rules, &self.verifier, now)
    }

    /// Validates an X.509-SVID at `now`.
    pub fn verify_certificate(
        &self,
        chain: &CertificateChain,
        now: Timestamp,
    ) -> Result<VerifiedCertificate, RejectedCertificate> {
        x509::verify(chain, &self.authorities, now)
    }
}

/// The rules for a JWT-SVID unless a provider says otherwise: at most 24 h of life, 30 s of leeway for `nbf`
/// and `iat`, none for `exp`.
pub const fn svid_rules<'r>(trust_domain: &'r TrustDomain, audience: &'r str) -> SvidRules<'r> {
    SvidRules {
        trust_domain,
        audience,
        max_lifetime: crate::provider::MAX_LIFETIME,
        leeway: crate::provider::LEEWAY,
    }
}

/// Verifies a token of an OpenID Connect issuer against its key set at `now`; the rules are the caller's.
pub fn verify_token(
    token: &str,
    keys: &KeySet,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Verified, RejectedToken> {
    Unverified::parse(token)?.verify(keys, rules, &AwsLc::default(), now)
}
