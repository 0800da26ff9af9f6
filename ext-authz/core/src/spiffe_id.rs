//! SPIFFE IDs and trust domains (SPIFFE-ID §2). Uppercase is refused, not folded; after parsing,
//! identifiers compare byte by byte.

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use thiserror::Error;

#[cfg(test)]
mod tests;

/// Longest SPIFFE ID accepted and generated, in bytes (SPIFFE-ID §2.3).
pub const MAX_ID_BYTES: usize = 2048;
/// Longest trust domain name, in bytes (SPIFFE-ID §2.1).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Which rule of SPIFFE-ID a text breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSpiffeId {
    /// §2: the scheme is `spiffe`, in lower case.
    #[error("a SPIFFE ID begins with `spiffe://`")]
    Scheme,
    /// §2.1: `[a-z0-9._-]`, 1 to 255 bytes; no port, no user information.
    #[error("`{0}` is not a trust domain: only a-z, 0-9, `.`, `-`, `_`, at most 255 bytes")]
    TrustDomain(String),
    /// §2.2: segments of `[a-zA-Z0-9._-]`, none empty, `.` or `..`, no trailing slash.
    #[error(
        "`{0}` cannot be a path segment of a SPIFFE ID: only a-z, A-Z, 0-9, `.`, `-`, `_`, not `.` or `..`"
    )]
    Segment(String),
    /// §2.3: at most 2048 bytes.
    #[error("a SPIFFE ID has at most 2048 bytes, this one has {0}")]
    TooLong(usize),
}

/// The name of a trust domain: `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Reads a name without scheme.
    pub fn parse(name: &str) -> Result<Self, InvalidSpiffeId> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > MAX_TRUST_DOMAIN_BYTES || !name.bytes().all(allowed) {
            return Err(InvalidSpiffeId::TrustDomain(name.to_string()));
        }
        Ok(Self(name.to_string()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A SPIFFE ID: `spiffe://cluster.local/ns/production/sa/payment-svc`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    path_at: usize,
}

impl SpiffeId {
    /// Reads an identifier; the path may be empty, as in a trust domain's own ID.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > MAX_ID_BYTES {
            return Err(InvalidSpiffeId::TooLong(text.len()));
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        TrustDomain::parse(domain)?;
        path.map_or(Ok(()), |path| path.split('/').try_for_each(check_segment))?;
        let path_at = text
            .len()
            .saturating_sub(path.map_or(0, |path| path.len().saturating_add(1)));
        Ok(Self {
            text: text.to_string(),
            path_at,
        })
    }

    /// The identifier of `segments` in `domain`. No segment can bring a `/` of its own.
    pub fn of<'s>(
        domain: &TrustDomain,
        segments: impl IntoIterator<Item = &'s str>,
    ) -> Result<Self, InvalidSpiffeId> {
        let mut text = format!("spiffe://{}", domain.as_str());
        for segment in segments {
            check_segment(segment)?;
            text.push('/');
            text.push_str(segment);
        }
        Self::parse(&text)
    }

    /// The whole identifier.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of its trust domain.
    pub fn trust_domain(&self) -> &str {
        self.text
            .get("spiffe://".len()..self.path_at)
            .unwrap_or_default()
    }

    /// The path with its leading `/`, or nothing.
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// §2.2.
pub(crate) fn check_segment(segment: &str) -> Result<(), InvalidSpiffeId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if segment.is_empty() || segment == "." || segment == ".." || !segment.bytes().all(allowed) {
        return Err(InvalidSpiffeId::Segment(segment.to_string()));
    }
    Ok(())
}
