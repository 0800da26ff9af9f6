//! Certificates that a caller shows (X.509, DER), and why they are not accepted. Their path and their
//! fields are read by `trust`; here is only what everybody may hold.

use alloc::{sync::Arc, vec::Vec};

use thiserror::Error;

mod rejected;
#[cfg(test)]
mod tests;

pub use rejected::RejectedCertificate;

/// Most certificates of one chain, the leaf included.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;
/// Longest chain, in bytes of DER.
pub const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// Certificates in DER, leaf first, as they came off the wire: nothing of it is believed.
///
/// Certificates are public; whoever shows one has to prove elsewhere that it holds the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateChain(Arc<[Vec<u8>]>);

/// Why certificates are no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidChain {
    /// There is no leaf.
    #[error("the chain has no certificate")]
    Empty,
    /// More than [`MAX_CHAIN_CERTIFICATES`].
    #[error("the chain has {0} certificates, at most {MAX_CHAIN_CERTIFICATES} are read")]
    TooMany(usize),
    /// More than [`MAX_CHAIN_BYTES`].
    #[error("the chain has {0} bytes, at most {MAX_CHAIN_BYTES} are read")]
    TooLarge(usize),
}

impl CertificateChain {
    /// Takes certificates in DER, the leaf first.
    pub fn new(certificates: Vec<Vec<u8>>) -> Result<Self, InvalidChain> {
        if certificates.is_empty() {
            return Err(InvalidChain::Empty);
        }
        if certificates.len() > MAX_CHAIN_CERTIFICATES {
            return Err(InvalidChain::TooMany(certificates.len()));
        }
        let bytes = certificates
            .iter()
            .map(Vec::len)
            .fold(0, usize::saturating_add);
        if bytes > MAX_CHAIN_BYTES {
            return Err(InvalidChain::TooLarge(bytes));
        }
        Ok(Self(certificates.into()))
    }

    /// The certificate that speaks for the caller.
    pub fn leaf(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// The certificates between the leaf and an authority, nearest first.
    pub fn intermediates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().skip(1).map(Vec::as_slice)
    }

    /// All certificates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}
