//! X.509-SVIDs: from a chain of certificates and the authorities of one trust domain to a SPIFFE ID. No I/O
//! and no clock.
//!
//! The path is validated by rustls-webpki (RFC 5280 §6), the fields that X509-SVID adds are read by
//! x509-parser; this module says in which order, and refuses what either of them cannot read.

mod authority;
mod given;
mod path;
mod svid;

use attache_core::{
    certificate::{CertificateChain, RejectedCertificate},
    jwt::Validity,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use x509_parser::{
    oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
    prelude::{FromDer as _, X509Certificate},
};

pub use authority::{
    Authorities, IgnoredAuthority, InvalidConcatenation, MAX_AUTHORITIES, UnusableAuthority,
};
pub use given::{GivenSvid, NotGiven};
pub use svid::named;

/// A chain that the authorities of its own trust domain vouch for.
#[derive(Clone, Debug)]
pub struct VerifiedCertificate {
    spiffe_id: SpiffeId,
    validity: Validity,
}

impl VerifiedCertificate {
    /// The workload.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The first moment at which a certificate of its path is no longer good.
    pub const fn expires_at(&self) -> Timestamp {
        self.validity.expires_at()
    }

    /// When its whole path is good, for those who remember that it was verified.
    pub const fn validity(&self) -> Validity {
        self.validity
    }
}

/// Validates an X.509-SVID at `now` (X509-SVID §5) against the authorities of one trust domain; the first
/// rule it breaks is the answer.
///
/// That the caller holds the leaf's key is not shown here: it is the word of whoever ended its TLS.
pub fn verify(
    chain: &CertificateChain,
    authorities: &Authorities,
    now: Timestamp,
) -> Result<VerifiedCertificate, RejectedCertificate> {
    let leaf = parsed(chain.leaf())?;
    let spiffe_id = svid::workload(&leaf)?;
    // SECURITY: compare the trust domain before any signature; an authority speaks for its own domain alone.
    if spiffe_id.trust_domain() != authorities.trust_domain().as_str() {
        return Err(RejectedCertificate::TrustDomainMismatch);
    }
    let intermediates = chain.intermediates().map(|der| {
        let certificate = parsed(der)?;
        authority::check(&certificate)
            .map_err(|unusable| RejectedCertificate::Intermediate(unusable.rule()))?;
        Ok((der, certificate))
    });
    let intermediates: Vec<_> = intermediates.collect::<Result<_, RejectedCertificate>>()?;
    let others = intermediates.iter().map(|(_, certificate)| certificate);
    if std::iter::once(&leaf).chain(others).any(demands_revocation) {
        return Err(RejectedCertificate::Constraint(
            "it demands that revocation lists are read",
        ));
    }
    let validity = path::validate(chain.leaf(), &leaf, &intermediates, authorities, now)?;
    Ok(VerifiedCertificate {
        spiffe_id,
        validity,
    })
}

/// Whether a certificate says that it must not be taken without its revocation list: none is read here.
/// rustls-webpki knows the extension, and so lets it pass where it is critical.
fn demands_revocation(certificate: &X509Certificate<'_>) -> bool {
    let mut extensions = certificate.iter_extensions();
    extensions.any(|one| one.critical && one.oid == OID_X509_EXT_CRL_DISTRIBUTION_POINTS)
}

/// One certificate in DER that fills `der`.
fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, RejectedCertificate> {
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|_position| RejectedCertificate::Malformed("not a certificate in DER"))?;
    if !rest.is_empty() {
        return Err(RejectedCertificate::Malformed(
            "bytes after the certificate",
        ));
    }
    // RFC 5280 §4.2: no extension twice. Readers disagree on which of two counts.
    certificate
        .extensions_map()
        .map_err(|_twice| RejectedCertificate::Malformed("an extension stands twice"))?;
    Ok(certificate)
}
