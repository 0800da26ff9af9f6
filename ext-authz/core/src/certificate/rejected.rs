//! Why a certificate is not accepted: one stable code for each reason.

use thiserror::Error;

use super::InvalidChain;

/// Why a chain is no valid X.509-SVID of the trust domain that it names (X509-SVID §2 to §5).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RejectedCertificate {
    /// Not one certificate in DER, or bytes after it, or a field that cannot be read.
    #[error("not a well-formed certificate: {0}")]
    Malformed(&'static str),
    /// Too many certificates, or too many bytes.
    #[error("{0}")]
    Chain(#[from] InvalidChain),
    /// X509-SVID §2: exactly one URI SAN.
    #[error("it has {0} URI names, an X.509-SVID has exactly one")]
    UriCount(usize),
    /// SPIFFE-ID §2, or a leaf without path (X509-SVID §4.1).
    #[error("its URI name is no SPIFFE ID of a workload")]
    SpiffeId,
    /// X509-SVID §5.2: a leaf has `cA` false.
    #[error("it is an authority's certificate, not a workload's")]
    AuthorityAsLeaf,
    /// X509-SVID §4.3: present, critical, `digitalSignature`; neither `keyCertSign` nor `cRLSign`.
    #[error("its key usage is not that of a workload: {0}")]
    KeyUsage(&'static str),
    /// X509-SVID §4.4: if there is any, both `serverAuth` and `clientAuth`.
    #[error("its extended key usage does not have both serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// RFC 5280 §4.2.1.6: a SAN is critical where the subject is empty.
    #[error("its subject is empty and its alternative names are not critical")]
    SanNotCritical,
    /// An intermediate without `cA`, without `keyCertSign`, or with a SPIFFE ID that has a path.
    #[error("an intermediate is no authority's certificate: {0}")]
    Intermediate(&'static str),
    /// No path to an authority of the SVID's own trust domain.
    #[error("no authority of its trust domain vouches for it")]
    Untrusted,
    /// The bundle is of another trust domain.
    #[error("it is of another trust domain than the bundle")]
    TrustDomainMismatch,
    /// A signature of the chain does not verify.
    #[error("a signature of its chain does not verify")]
    SignatureInvalid,
    /// A signature or key of the chain is of a kind that is not accepted, such as SHA-1 or RSA under 2048 bits.
    #[error("a signature algorithm of its chain is not allowed")]
    AlgorithmNotAllowed,
    /// `notAfter` of a certificate on the path has passed.
    #[error("a certificate of its chain has expired")]
    Expired,
    /// `notBefore` of a certificate on the path lies ahead.
    #[error("a certificate of its chain is not valid yet")]
    NotYetValid,
    /// A path length, a name constraint, or a critical extension that is not known.
    #[error("its chain breaks a constraint: {0}")]
    Constraint(&'static str),
}

impl RejectedCertificate {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "certificate-malformed",
            Self::Chain(_) => "certificate-chain-malformed",
            Self::UriCount(_) => "certificate-uri-count",
            Self::SpiffeId => "certificate-spiffe-id-invalid",
            Self::AuthorityAsLeaf => "certificate-authority-as-leaf",
            Self::KeyUsage(_) => "certificate-key-usage",
            Self::ExtendedKeyUsage => "certificate-extended-key-usage",
            Self::SanNotCritical => "certificate-san-not-critical",
            Self::Intermediate(_) => "certificate-intermediate-invalid",
            Self::Untrusted => "certificate-untrusted",
            Self::TrustDomainMismatch => "certificate-trust-domain-mismatch",
            Self::SignatureInvalid => "certificate-signature-invalid",
            Self::AlgorithmNotAllowed => "certificate-algorithm-not-allowed",
            Self::Expired => "certificate-expired",
            Self::NotYetValid => "certificate-not-yet-valid",
            Self::Constraint(_) => "certificate-constraint",
        }
    }

    /// A sentence for a person.
    pub const fn sentence(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "the certificate is not well-formed",
            Self::Chain(_) => "the certificate chain is empty or too large",
            Self::UriCount(_) => "the certificate does not have exactly one URI name",
            Self::SpiffeId => "the certificate does not name a workload by a SPIFFE ID",
            Self::AuthorityAsLeaf => "the certificate is an authority's, not a workload's",
            Self::KeyUsage(_) => "the key usage of the certificate is not a workload's",
            Self::ExtendedKeyUsage => {
                "the certificate is not for authenticating both servers and clients"
            }
            Self::SanNotCritical => "the certificate has no subject and its names are not critical",
            Self::Intermediate(_) => "an intermediate certificate is not an authority's",
            Self::Untrusted => "no authority of its trust domain vouches for the certificate",
            Self::TrustDomainMismatch => "the certificate is of another trust domain",
            Self::SignatureInvalid => "a signature of the certificate chain does not verify",
            Self::AlgorithmNotAllowed => {
                "a signature algorithm of the certificate chain is not allowed"
            }
            Self::Expired => "a certificate of the chain has expired",
            Self::NotYetValid => "a certificate of the chain is not valid yet",
            Self::Constraint(_) => "the certificate chain breaks a constraint of an authority",
        }
    }
}
