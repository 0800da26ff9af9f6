//! Header names and values as they may be injected (RFC 9110 §5), and which names never may.

use alloc::string::{String, ToString as _};

use compact_str::CompactString;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Longest header name accepted, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// A lower-case header name that a credential may be put into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(CompactString);

/// Why a name cannot carry a credential.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidHeaderName {
    /// Not a token of RFC 9110 §5.6.2, or longer than [`MAX_NAME_BYTES`].
    #[error("`{0}` is not a header name; use letters, digits and `-`")]
    Malformed(String),
    /// Contains `_`, which proxies treat as another spelling of `-`.
    #[error("`{0}` contains `_`, which proxies confuse with `-`; use `-`")]
    Underscore(String),
    /// Framing, routing and our own headers.
    #[error("`{0}` steers the connection or belongs to the proxy; use another header")]
    Reserved(String),
}

/// Framing (RFC 9112), hop-by-hop (RFC 9110 §7.6.1) and routing: a credential there breaks requests.
const RESERVED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "forwarded",
];

/// Name spaces of the proxy and of ours.
const RESERVED_PREFIXES: [&str; 5] = [
    "x-attache-",
    "x-envoy-",
    "x-forwarded-",
    "x-request-id",
    "grpc-",
];

impl HeaderName {
    /// Reads a name in any case.
    pub fn parse(name: &str) -> Result<Self, InvalidHeaderName> {
        let lower = Self::syntax(name)?.0;
        let reserved = RESERVED.contains(&lower.as_str())
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| lower.starts_with(prefix));
        if reserved {
            return Err(InvalidHeaderName::Reserved(lower.into()));
        }
        Ok(Self(lower))
    }

    /// Reads the name of a header that carries evidence: ours are allowed.
    pub fn parse_evidence(name: &str) -> Result<Self, InvalidHeaderName> {
        let lower = Self::syntax(name)?.0;
        if RESERVED.contains(&lower.as_str()) {
            return Err(InvalidHeaderName::Reserved(lower.into()));
        }
        Ok(Self(lower))
    }

    fn syntax(name: &str) -> Result<Self, InvalidHeaderName> {
        if name.contains('_') {
            return Err(InvalidHeaderName::Underscore(name.to_string()));
        }
        let well_formed = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !well_formed {
            return Err(InvalidHeaderName::Malformed(name.to_string()));
        }
        let mut lower = CompactString::from(name);
        lower.make_ascii_lowercase();
        Ok(Self(lower))
    }

    /// The lower-case name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` would reach an application as this header: equal after folding case and `_`.
    pub fn is_imitated_by(&self, other: impl AsRef<[u8]>) -> bool {
        let other = other.as_ref();
        // Nearly always it is spelled as ours, or of another length.
        self.0.as_bytes() == other
            || self.0.len() == other.len()
                && self.0.bytes().zip(other).all(|(ours, theirs)| {
                    ours == if *theirs == b'_' {
                        b'-'
                    } else {
                        theirs.to_ascii_lowercase()
                    }
                })
    }
}

/// Whether `value` may stand in a header: visible ASCII, space and tab (RFC 9110 §5.5), not at its ends.
pub fn is_header_value(value: &str) -> bool {
    let inside = |byte: u8| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic();
    !value.is_empty() && value.bytes().all(inside) && value.trim_ascii() == value
}
