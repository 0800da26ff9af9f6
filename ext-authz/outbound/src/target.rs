//! URLs that may be called: over TLS, or in plaintext to this machine alone.

use thiserror::Error;
use url::{Host, Url};

#[cfg(test)]
mod tests;

/// Why a URL is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    /// Not an absolute URL with a host.
    #[error("not an absolute URL")]
    Malformed,
    /// Anyone on the way could read it and answer in the other's place.
    #[error("only https, or http to a loopback address")]
    Scheme,
    /// A password in a URL ends up in logs; a fragment never leaves the client.
    #[error("it holds user information or a fragment")]
    UserInformationOrFragment,
}

/// Reads a URL that may be called.
pub fn parse_target(text: &str) -> Result<Url, InvalidTarget> {
    let url = Url::parse(text).map_err(|_syntax| InvalidTarget::Malformed)?;
    if url.host().is_none() {
        return Err(InvalidTarget::Malformed);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(InvalidTarget::UserInformationOrFragment);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if names_loopback(&url) => Ok(url),
        _ => Err(InvalidTarget::Scheme),
    }
}

/// Whether a URL itself says that it leads to this machine; no name server has a say in it.
pub fn names_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
