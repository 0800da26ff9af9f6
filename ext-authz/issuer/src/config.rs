//! What the issuer is told: its name, its environment and how long its tokens may live.

use std::{fmt, net::IpAddr, time::Duration};

use attache_core::spiffe_id::TrustDomain;
use thiserror::Error;
use url::{Host, Url};

use crate::rotation::Schedule;

/// Longest issuer URL, in bytes: AWS IAM accepts no longer one.
pub const MAX_URL_BYTES: usize = 255;
/// Longest environment name, in bytes.
pub const MAX_ENVIRONMENT_BYTES: usize = 32;
/// Shortest lifetime of a token: less does not survive the clocks of two machines.
pub const MIN_TTL: Duration = Duration::from_secs(30);
/// Longest lifetime of a token unless the configuration says otherwise.
pub const DEFAULT_MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The issuer's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// `iss` of every token, and where its documents are found.
    pub url: IssuerUrl,
    /// The middle part of every token's `jti`.
    pub environment: Environment,
    /// Our SPIFFE trust domain: JWT-SVIDs are minted for its workloads alone.
    pub trust_domain: TrustDomain,
    /// Longest lifetime of a token; at least [`MIN_TTL`].
    pub max_ttl: Duration,
    /// When keys take turns.
    pub schedule: Schedule,
    /// Whether tokens are exchanged for evidence.
    pub token_endpoint: bool,
}

impl IssuerConfig {
    /// A configuration with default lifetimes and without a token endpoint.
    pub fn new(url: IssuerUrl, environment: Environment, trust_domain: TrustDomain) -> Self {
        Self {
            url,
            environment,
            trust_domain,
            max_ttl: DEFAULT_MAX_TTL,
            schedule: Schedule::default(),
            token_endpoint: false,
        }
    }
}

/// An issuer identifier (OpenID Connect Discovery 1.0 §3): `https://attache.example.com/tenant`.
///
/// INVARIANT: verifiers compare it byte by byte with `iss`, so it has one spelling only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    path_at: usize,
}

/// Why a URL cannot name an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidIssuerUrl {
    /// Not a URL in the one spelling that the URL standard gives it.
    #[error(
        "`{0}` is not a URL in its normal spelling; write it like `https://attache.example.com`"
    )]
    Malformed(String),
    /// Longer than [`MAX_URL_BYTES`].
    #[error(
        "the issuer URL has {0} bytes; use at most {MAX_URL_BYTES}, which is what AWS IAM accepts"
    )]
    TooLong(usize),
    /// Neither `https` nor `http` on a loopback address.
    #[error(
        "`{0}` is not https; targets fetch our keys there, and plaintext http is accepted only for a loopback address"
    )]
    Plaintext(String),
    /// User, query or fragment (Discovery §3).
    #[error("`{0}` has a user, a query or a fragment; an issuer URL has none of them")]
    Decorated(String),
    /// A path that ends in `/` or has other characters than letters, digits, `-`, `.`, `_`, `~`.
    #[error(
        "the path of `{0}` must consist of segments of a-z, A-Z, 0-9, `-`, `.`, `_`, `~`, without a `/` at the end"
    )]
    Path(String),
}

impl IssuerUrl {
    /// Reads an issuer URL. Plaintext `http` is accepted for loopback addresses and `localhost` only.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuerUrl> {
        if text.len() > MAX_URL_BYTES {
            return Err(InvalidIssuerUrl::TooLong(text.len()));
        }
        let malformed = || InvalidIssuerUrl::Malformed(text.to_owned());
        let url = Url::parse(text).map_err(|_unreadable| malformed())?;
        // SECURITY: the text is never repeated with a password in it.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidIssuerUrl::Decorated("the issuer URL".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidIssuerUrl::Decorated(text.to_owned()));
        }
        if !is_protected(&url) {
            return Err(InvalidIssuerUrl::Plaintext(text.to_owned()));
        }
        // `Url` writes an empty path as `/`, which an issuer identifier does not have.
        let path = if url.path() == "/" { "" } else { url.path() };
        let path_at = text.len().saturating_sub(path.len());
        let origin = url.as_str().strip_suffix(url.path()).unwrap_or_default();
        if text.ends_with('/') || !path.split('/').skip(1).all(is_plain_segment) {
            return Err(InvalidIssuerUrl::Path(text.to_owned()));
        }
        if text.get(..path_at) != Some(origin) || text.get(path_at..) != Some(path) {
            return Err(malformed());
        }
        Ok(Self {
            text: text.to_owned(),
            path_at,
        })
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its path with the leading `/`, or nothing: what our documents lie under (Discovery §4).
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_protected(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

fn is_plain_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !segment.is_empty() && segment.bytes().all(plain)
}

/// The name of the environment that tokens are minted in: `prod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment(String);

/// Why a text cannot name an environment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` cannot name an environment: use 1 to {MAX_ENVIRONMENT_BYTES} of a-z, 0-9 and `-`")]
pub struct InvalidEnvironment(String);

impl Environment {
    /// Reads a name. `_` is refused: it separates the parts of a `jti`.
    pub fn parse(name: &str) -> Result<Self, InvalidEnvironment> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if name.is_empty() || name.len() > MAX_ENVIRONMENT_BYTES || !name.bytes().all(allowed) {
            return Err(InvalidEnvironment(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
