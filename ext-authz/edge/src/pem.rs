//! Certificates as Envoy writes them into a request: PEM, percent-encoded (RFC 3986 §2.1).

use attache_core::certificate::{CertificateChain, InvalidChain, MAX_CHAIN_BYTES};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use thiserror::Error;

#[cfg(test)]
pub(crate) mod tests;

/// Longest text of one chain: base64 takes a third more, and percent-encoding may triple some of it.
const MAX_TEXT_BYTES: usize = 3 * MAX_CHAIN_BYTES;

const BEGIN: &str = "-----BEGIN ";
const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Why a text holds no certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPem {
    /// Too long to be read.
    #[error("it has {0} bytes, at most {MAX_TEXT_BYTES} are read")]
    TooLong(usize),
    /// `%` without two hex digits after it, or a byte that is no ASCII.
    #[error("it is not percent-encoded ASCII")]
    Encoding,
    /// Not certificates in PEM, one after the other, and nothing else.
    #[error("it is not a list of certificates in PEM")]
    NotPem,
    /// More certificates than may stand there.
    #[error("it holds {0} certificates")]
    TooMany(usize),
    /// Too many certificates or bytes for a chain.
    #[error("{0}")]
    Chain(#[from] InvalidChain),
}

/// Reads at most `most` certificates, the leaf first.
pub(crate) fn certificates(encoded: &str, most: usize) -> Result<CertificateChain, InvalidPem> {
    if encoded.len() > MAX_TEXT_BYTES {
        return Err(InvalidPem::TooLong(encoded.len()));
    }
    let text = percent_decoded(encoded).ok_or(InvalidPem::Encoding)?;
    // SECURITY: what the reader of PEM would skip is refused, so that nobody reads more than is judged.
    let begun = text.matches(BEGIN).count();
    if !text.starts_with(BEGIN_CERTIFICATE) || begun != text.matches(BEGIN_CERTIFICATE).count() {
        return Err(InvalidPem::NotPem);
    }
    if begun > most {
        return Err(InvalidPem::TooMany(begun));
    }
    let read = CertificateDer::pem_slice_iter(text.as_bytes());
    let read: Vec<Vec<u8>> = read
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_error| InvalidPem::NotPem)?;
    if read.len() != begun {
        return Err(InvalidPem::NotPem);
    }
    Ok(CertificateChain::new(read)?)
}

fn percent_decoded(encoded: &str) -> Option<String> {
    let mut decoded = String::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        };
        if !byte.is_ascii() {
            return None;
        }
        decoded.push(char::from(byte));
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}
