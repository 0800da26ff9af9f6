//! Path validation (RFC 5280 §6) by rustls-webpki, and what it leaves to its caller: when the authority
//! itself is good, and how long a path it allows.

use std::time::Duration;

use attache_core::{certificate::RejectedCertificate, jwt::Validity, time::Timestamp};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, VerifiedPath};
use x509_parser::prelude::X509Certificate;

use super::authority::{Authorities, Limits};

/// When the path from the leaf to one of `authorities` is good, if there is one at `now`.
pub(super) fn validate(
    leaf: &[u8],
    parsed_leaf: &X509Certificate<'_>,
    intermediates: &[(&[u8], X509Certificate<'_>)],
    authorities: &Authorities,
    now: Timestamp,
) -> Result<Validity, RejectedCertificate> {
    let seconds =
        u64::try_from(now.as_seconds()).map_err(|_before_1970| RejectedCertificate::NotYetValid)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let leaf = CertificateDer::from(leaf);
    let between: Vec<_> = intermediates
        .iter()
        .map(|(der, _)| CertificateDer::from(*der))
        .collect();
    let end_entity = EndEntityCert::try_from(&leaf).map_err(|error| rejected(&error))?;
    let of_authority = |path: &VerifiedPath<'_>| {
        let limits = authorities
            .limits(path.anchor())
            .ok_or(Error::UnknownIssuer)?;
        limits.allow(path.intermediate_certificates().count(), now, time)
    };
    // No purpose narrower than the leaf's own check: it has both or names none.
    let path = end_entity
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            authorities.anchors(),
            &between,
            time,
            KeyUsage::client_auth(),
            None,
            Some(&of_authority),
        )
        .map_err(|error| rejected(&error))?;
    let on_path = |der: &[u8]| {
        let mut certificates = path.intermediate_certificates();
        certificates.any(|certificate| certificate.der().as_ref() == der)
    };
    let used = intermediates.iter().filter(|(der, _)| on_path(der));
    let limits = used
        .map(|(_, certificate)| Limits::of(certificate))
        .chain(authorities.limits(path.anchor()))
        .fold(Limits::of(parsed_leaf), Limits::narrowest);
    Ok(Validity::window(limits.not_before, limits.expires_at))
}

impl Limits {
    /// rustls-webpki takes an authority for a name and a key; these two it does not look at.
    fn allow(self, intermediates: usize, now: Timestamp, time: UnixTime) -> Result<(), Error> {
        if now >= self.expires_at {
            let not_after = time;
            return Err(Error::CertExpired { time, not_after });
        }
        if now < self.not_before {
            let not_before = time;
            return Err(Error::CertNotValidYet { time, not_before });
        }
        let most = self.path_length.map(usize::try_from);
        if most.is_some_and(|most| most.is_ok_and(|most| intermediates > most)) {
            return Err(Error::PathLenConstraintViolated);
        }
        Ok(())
    }

    fn narrowest(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            expires_at: self.expires_at.min(other.expires_at),
            path_length: None,
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an error of the library that is new here is a malformed certificate until it is sorted"
)]
const fn rejected(error: &Error) -> RejectedCertificate {
    match error {
        Error::CertExpired { .. } => RejectedCertificate::Expired,
        Error::CertNotValidYet { .. } => RejectedCertificate::NotYetValid,
        Error::UnknownIssuer => RejectedCertificate::Untrusted,
        Error::CaUsedAsEndEntity => RejectedCertificate::AuthorityAsLeaf,
        Error::EndEntityUsedAsCa => RejectedCertificate::Intermediate("cA is not set"),
        Error::InvalidSignatureForPublicKey => RejectedCertificate::SignatureInvalid,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch
        | Error::CertDistrusted => RejectedCertificate::AlgorithmNotAllowed,
        Error::PathLenConstraintViolated => RejectedCertificate::Constraint("path length"),
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint => RejectedCertificate::Constraint("names"),
        Error::UnsupportedCriticalExtension => {
            RejectedCertificate::Constraint("a critical extension that is not known")
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            RejectedCertificate::ExtendedKeyUsage
        }
        Error::MaximumPathDepthExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => {
            RejectedCertificate::Constraint("too costly to validate")
        }
        _ => RejectedCertificate::Malformed("a field that path validation cannot read"),
    }
}
