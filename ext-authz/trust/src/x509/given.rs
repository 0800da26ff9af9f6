//! An X.509-SVID as a Workload API gives it to its workload (SPIFFE Workload API §5.2.1): certificates in one run
//! of bytes, and the leaf's private key.

use attache_core::{
    certificate::{CertificateChain, InvalidChain, MAX_CHAIN_CERTIFICATES, RejectedCertificate},
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use thiserror::Error;

use super::{
    authority::{InvalidConcatenation, Limits, separated},
    parsed, svid,
};

/// An SVID that came with the key of its leaf. Whom it proves, a trust domain's authorities say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenSvid {
    /// Its certificates.
    pub chain: CertificateChain,
    /// Whom its leaf names.
    pub spiffe_id: SpiffeId,
    /// The first moment at which its leaf says that it is no longer good.
    pub expires_at: Timestamp,
}

/// Why what a Workload API gives is no X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotGiven {
    /// The bytes cannot be taken apart.
    #[error("its chain cannot be read: {0}")]
    Concatenation(#[from] InvalidConcatenation),
    /// The certificates are no chain.
    #[error(transparent)]
    Chain(#[from] InvalidChain),
    /// Its leaf breaks a rule.
    #[error("its leaf is no X.509-SVID: {0}")]
    Leaf(#[from] RejectedCertificate),
    /// SECURITY: a certificate is public; only with its key it is one's own.
    #[error("its key is not the leaf's, or not PKCS#8")]
    Key,
}

impl GivenSvid {
    /// Reads certificates in DER, one after the other, the leaf first, and the leaf's key in PKCS#8.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, NotGiven> {
        let certificates = separated(chain, MAX_CHAIN_CERTIFICATES)?;
        let certificates = certificates.into_iter().map(<[u8]>::to_vec).collect();
        let chain = CertificateChain::new(certificates)?;
        let leaf = parsed(chain.leaf())?;
        let spiffe_id = svid::workload(&leaf)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        let key = any_supported_type(&key).map_err(|_unreadable| NotGiven::Key)?;
        let own = key.public_key().ok_or(NotGiven::Key)?;
        if own.as_ref() != leaf.public_key().raw {
            return Err(NotGiven::Key);
        }
        Ok(Self {
            spiffe_id,
            expires_at: Limits::of(&leaf).expires_at,
            chain,
        })
    }
}
