//! The signing certificates of one trust domain (X509-SVID §3.2): which of a bundle may vouch, and why the
//! others may not.

use std::fmt;

use attache_core::{
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use thiserror::Error;
use x509_parser::{
    asn1_rs::{Any, FromDer as _},
    prelude::{GeneralName, X509Certificate, X509Version},
};

use super::{parsed, svid};

/// Most authorities of one trust domain.
pub const MAX_AUTHORITIES: usize = 256;

/// Why a certificate of a bundle does not vouch for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnusableAuthority {
    /// Not one certificate of version 3 in DER, or a field that cannot be read.
    #[error("it is not a well-formed certificate of version 3")]
    Malformed,
    /// X509-SVID §4.1.
    #[error("its basic constraints do not say that it is an authority (cA)")]
    NotAnAuthority,
    /// X509-SVID §4.3.
    #[error("its key usage is missing or does not have keyCertSign")]
    KeyUsage,
    /// X509-SVID §3.2: the SPIFFE ID of a signing certificate has no path.
    #[error("its SPIFFE ID has a path, or its URI name is none")]
    SpiffeId,
    /// RSA under 2048 bits, or a key of another kind than RSA, P-256, P-384, P-521 and Ed25519.
    #[error("its key is too weak, or of a kind that is not accepted")]
    Key,
}

impl UnusableAuthority {
    pub(super) const fn rule(self) -> &'static str {
        match self {
            Self::Malformed => "not a well-formed certificate of version 3",
            Self::NotAnAuthority => "cA is not set",
            Self::KeyUsage => "keyCertSign is not set",
            Self::SpiffeId => "its SPIFFE ID has a path",
            Self::Key => "its key is not accepted",
        }
    }
}

/// A certificate of a bundle that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredAuthority {
    /// Its place among the bundle's X.509 certificates, from 0.
    pub index: usize,
    /// Why.
    pub reason: UnusableAuthority,
}

impl fmt::Display for IgnoredAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x509-svid certificate {}: {}", self.index, self.reason)
    }
}

/// Why bytes are no run of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidConcatenation {
    /// Something in it is no DER.
    #[error("it is not certificates in DER, one after the other")]
    Malformed,
    /// More than are read.
    #[error("it has more than {0} certificates")]
    TooMany(usize),
}

/// The authorities of one trust domain. Without any, nothing of it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    trust_domain: TrustDomain,
    anchors: Vec<TrustAnchor<'static>>,
    /// What an anchor does not hold; one for each of `anchors`.
    limits: Vec<Limits>,
    ignored: Vec<IgnoredAuthority>,
}

/// What a signing certificate says beside its name and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) not_before: Timestamp,
    /// The first moment at which it is no longer good.
    pub(super) expires_at: Timestamp,
    /// Most intermediates below it (RFC 5280 §4.2.1.9).
    pub(super) path_length: Option<u32>,
}

impl Limits {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        let constraints = certificate.basic_constraints().ok().flatten();
        Self {
            not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
            // RFC 5280 §4.1.2.5: the last second belongs to it.
            expires_at: Timestamp::from_seconds(validity.not_after.timestamp().saturating_add(1)),
            path_length: constraints.and_then(|constraints| constraints.value.path_len_constraint),
        }
    }
}

impl Authorities {
    /// Takes the certificates of a trust domain's bundle, in DER. One that is of no use is ignored.
    pub fn new<'c>(
        trust_domain: TrustDomain,
        certificates: impl IntoIterator<Item = &'c [u8]>,
    ) -> Self {
        let mut authorities = Self {
            trust_domain,
            anchors: Vec::new(),
            limits: Vec::new(),
            ignored: Vec::new(),
        };
        for (index, der) in certificates.into_iter().enumerate() {
            match anchor(der) {
                Ok((anchor, limits)) => {
                    authorities.anchors.push(anchor);
                    authorities.limits.push(limits);
                }
                Err(reason) => authorities.ignored.push(IgnoredAuthority { index, reason }),
            }
        }
        authorities
    }

    /// The same from one run of bytes, as a Workload API sends it (SPIFFE Workload API §5.2.2).
    pub fn concatenated(
        trust_domain: TrustDomain,
        der: &[u8],
    ) -> Result<Self, InvalidConcatenation> {
        Ok(Self::new(trust_domain, separated(der, MAX_AUTHORITIES)?))
    }

    /// Whom they vouch for.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// How many may vouch.
    pub const fn count(&self) -> usize {
        self.anchors.len()
    }

    /// The certificates that may not, and why.
    pub fn ignored(&self) -> &[IgnoredAuthority] {
        &self.ignored
    }

    /// Of each authority all that makes it another one. Laid down in a file: an order that changed would make all
    /// of them new.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = Vec<Vec<u8>>> {
        let both = self.anchors.iter().zip(&self.limits);
        both.map(|(anchor, limits)| {
            let constraints = anchor.name_constraints.as_ref();
            let constraints = constraints.map_or(&[][..], |constraints| constraints.as_ref());
            let path_length = limits.path_length.map(|most| most.to_string());
            vec![
                b"X.509".to_vec(),
                anchor.subject.to_vec(),
                anchor.subject_public_key_info.to_vec(),
                constraints.to_vec(),
                limits.not_before.as_seconds().to_be_bytes().to_vec(),
                limits.expires_at.as_seconds().to_be_bytes().to_vec(),
                path_length.unwrap_or_default().into_bytes(),
            ]
        })
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The limits of the anchor that a path ended at.
    pub(super) fn limits(&self, anchor: &TrustAnchor<'_>) -> Option<Limits> {
        // By address: a renewed certificate has the same name and key, and other limits.
        let mut anchors = self.anchors.iter();
        let index = anchors.position(|known| std::ptr::eq::<TrustAnchor<'_>>(known, anchor))?;
        self.limits.get(index).copied()
    }
}

/// The certificates of one run of bytes, at most `most`.
pub(super) fn separated(mut der: &[u8], most: usize) -> Result<Vec<&[u8]>, InvalidConcatenation> {
    let mut certificates = Vec::new();
    while !der.is_empty() {
        let (rest, _any) =
            Any::from_der(der).map_err(|_position| InvalidConcatenation::Malformed)?;
        let length = der.len().saturating_sub(rest.len());
        let one = der.get(..length).ok_or(InvalidConcatenation::Malformed)?;
        if certificates.len() >= most {
            return Err(InvalidConcatenation::TooMany(most));
        }
        certificates.push(one);
        der = rest;
    }
    Ok(certificates)
}

fn anchor(der: &[u8]) -> Result<(TrustAnchor<'static>, Limits), UnusableAuthority> {
    let certificate = parsed(der).map_err(|_rejected| UnusableAuthority::Malformed)?;
    check(&certificate)?;
    let owned = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&owned)
        .map_err(|_unreadable| UnusableAuthority::Malformed)?;
    Ok((anchor.to_owned(), Limits::of(&certificate)))
}

/// The rules of a signing certificate: the trusted ones and the intermediates keep the same.
pub(super) fn check(certificate: &X509Certificate<'_>) -> Result<(), UnusableAuthority> {
    if certificate.version() != X509Version::V3 {
        return Err(UnusableAuthority::Malformed);
    }
    let constraints = certificate
        .basic_constraints()
        .map_err(|_malformed| UnusableAuthority::Malformed)?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(UnusableAuthority::NotAnAuthority);
    }
    let usage = certificate
        .key_usage()
        .map_err(|_malformed| UnusableAuthority::Malformed)?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err(UnusableAuthority::KeyUsage);
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|_malformed| UnusableAuthority::Malformed)?;
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    let sound = |name: &GeneralName<'_>| {
        let id = uri(name);
        let named = id.is_none_or(|id| SpiffeId::parse(id).is_ok_and(|id| id.path().is_empty()));
        named && !matches!(name, GeneralName::Invalid(..))
    };
    if !names.all(sound) {
        return Err(UnusableAuthority::SpiffeId);
    }
    if !svid::is_accepted(certificate.public_key()) {
        return Err(UnusableAuthority::Key);
    }
    Ok(())
}

/// The text of a URI name.
pub(super) const fn uri<'n>(name: &GeneralName<'n>) -> Option<&'n str> {
    if let GeneralName::URI(uri) = name {
        Some(uri)
    } else {
        None
    }
}
