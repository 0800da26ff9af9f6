//! `x-forwarded-client-cert`, as Envoy writes it: elements with `,` between them, each a list of `key=value`
//! with `;` between them, a value in double quotes where it has one of `,;="` or is a certificate.
//!
//! It is read in full or refused: what one reader skips, another believes. Nothing here is believed;
//! [`crate::peer`] says whose word counts.

use attache_core::certificate::{CertificateChain, MAX_CHAIN_CERTIFICATES};
use thiserror::Error;

use crate::pem::{self, InvalidPem};

#[cfg(test)]
mod tests;

/// Name of the header.
pub const HEADER: &str = "x-forwarded-client-cert";
/// Longest header, in bytes, its lines together.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most elements.
pub const MAX_ELEMENTS: usize = 32;
/// Most pairs of one element.
const MAX_PAIRS: usize = 64;

/// What one proxy says of the certificate that its client showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// `By`: the URI names of the proxy's own certificate.
    pub by: Vec<String>,
    /// `URI`: the URI names of the client's certificate. A name that is empty is left out.
    pub uris: Vec<String>,
    /// `DNS`: its DNS names.
    pub dns: Vec<String>,
    /// `Hash`: SHA-256 of the certificate, in hex.
    pub hash: Option<String>,
    /// `Subject`: as RFC 2253 writes it.
    pub subject: Option<String>,
    /// `Cert`: the certificate.
    pub certificate: Option<CertificateChain>,
    /// `Chain`: the certificate with those above it.
    pub chain: Option<CertificateChain>,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidXfcc {
    /// Longer than [`MAX_BYTES`].
    #[error("it has {0} bytes, at most {MAX_BYTES} are read")]
    TooLong(usize),
    /// More than [`MAX_ELEMENTS`].
    #[error("it has more than {MAX_ELEMENTS} elements")]
    TooMany,
    /// An element has more than 64 pairs.
    #[error("an element has more than {MAX_PAIRS} pairs")]
    TooManyPairs,
    /// A control character, or a byte above 0x7e.
    #[error("byte {0:#04x} is not printable ASCII")]
    Byte(u8),
    /// Nothing stands between two commas, or at an end.
    #[error("an element is empty")]
    EmptyElement,
    /// A pair without `=`, without a key, or with a key that is no word.
    #[error("a pair is not `key=value`")]
    Pair,
    /// A quote that is not closed, stands within a value, or is followed by more of it.
    #[error("a quote is not closed, or does not enclose its value")]
    Quote,
    /// A key that may stand once stands twice.
    #[error("`{0}` stands twice in one element")]
    Repeated(&'static str),
    /// A certificate that cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Certificate(#[from] InvalidPem),
    /// `Cert` is not the first certificate of `Chain`.
    #[error("`Cert` and `Chain` are of two certificates")]
    TwoCertificates,
}

/// Reads the header's lines, which are one list in their order (RFC 9110 §5.3). Empty lines hold nothing.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Element>, InvalidXfcc> {
    let mut elements = Vec::new();
    let mut length: usize = 0;
    for line in lines {
        length = length.saturating_add(line.len());
        if length > MAX_BYTES {
            return Err(InvalidXfcc::TooLong(length));
        }
        let unprintable = line.iter().find(|byte| !(0x20..0x7f).contains(*byte));
        if let Some(byte) = unprintable {
            return Err(InvalidXfcc::Byte(*byte));
        }
        // Printable ASCII is UTF-8.
        let mut rest = str::from_utf8(line).unwrap_or_default().trim_matches(' ');
        while !rest.is_empty() {
            if elements.len() == MAX_ELEMENTS {
                return Err(InvalidXfcc::TooMany);
            }
            let (element, after) = element(rest)?;
            elements.push(element);
            rest = match after {
                None => break,
                Some("") => return Err(InvalidXfcc::EmptyElement),
                Some(after) => after,
            };
        }
    }
    Ok(elements)
}

/// Reads one element; what follows the comma, if there is one.
fn element(text: &str) -> Result<(Element, Option<&str>), InvalidXfcc> {
    let mut element = Element::default();
    let mut rest = text.trim_start_matches(' ');
    if rest.is_empty() || rest.starts_with(',') {
        return Err(InvalidXfcc::EmptyElement);
    }
    for _ in 0..MAX_PAIRS {
        let (key, after) = rest.split_once('=').ok_or(InvalidXfcc::Pair)?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidXfcc::Pair);
        }
        let (value, after) = value(after)?;
        element.set(key, value)?;
        // The value ends at one of these or at the end.
        if let Some(after) = after.strip_prefix(';') {
            rest = after;
            continue;
        }
        let after = after.trim_start_matches(' ');
        if after.is_empty() {
            return element.checked().map(|element| (element, None));
        }
        let after = after.strip_prefix(',').ok_or(InvalidXfcc::Quote)?;
        return element.checked().map(|element| (element, Some(after)));
    }
    Err(InvalidXfcc::TooManyPairs)
}

/// Reads one value and gives what follows it. In quotes, `\` makes the next character part of the value.
fn value(text: &str) -> Result<(String, &str), InvalidXfcc> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', '"', ' ']).unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end).ok_or(InvalidXfcc::Quote)?;
        if after.starts_with('"') {
            return Err(InvalidXfcc::Quote);
        }
        return Ok((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok((value, characters.as_str())),
            '\\' => value.push(characters.next().ok_or(InvalidXfcc::Quote)?),
            other => value.push(other),
        }
    }
    Err(InvalidXfcc::Quote)
}

impl Element {
    /// The one URI name of the client, if it has exactly one.
    pub fn uri(&self) -> Option<&str> {
        match &*self.uris {
            [uri] => Some(uri),
            _ => None,
        }
    }

    /// The client's certificate, with those above it if the proxy wrote them.
    pub const fn certificates(&self) -> Option<&CertificateChain> {
        match &self.chain {
            Some(chain) => Some(chain),
            None => self.certificate.as_ref(),
        }
    }

    /// Keys are compared without regard to case. Those that are not known say nothing here.
    fn set(&mut self, key: &str, value: String) -> Result<(), InvalidXfcc> {
        let named = |name: &str| key.eq_ignore_ascii_case(name);
        if named("Hash") {
            return once(&mut self.hash, "Hash", value);
        }
        if named("Subject") {
            return once(&mut self.subject, "Subject", value);
        }
        if named("Cert") {
            let certificate = pem::certificates(&value, 1)?;
            return once(&mut self.certificate, "Cert", certificate);
        }
        if named("Chain") {
            let chain = pem::certificates(&value, MAX_CHAIN_CERTIFICATES)?;
            return once(&mut self.chain, "Chain", chain);
        }
        // `URI=` is written for a certificate that has none.
        if value.is_empty() {
            return Ok(());
        }
        if named("By") {
            self.by.push(value);
        } else if named("URI") {
            self.uris.push(value);
        } else if named("DNS") {
            self.dns.push(value);
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, InvalidXfcc> {
        match (&self.certificate, &self.chain) {
            (Some(certificate), Some(chain)) if certificate.leaf() != chain.leaf() => {
                Err(InvalidXfcc::TwoCertificates)
            }
            _ => Ok(self),
        }
    }
}

fn once<T>(place: &mut Option<T>, key: &'static str, value: T) -> Result<(), InvalidXfcc> {
    if place.replace(value).is_some() {
        return Err(InvalidXfcc::Repeated(key));
    }
    Ok(())
}
