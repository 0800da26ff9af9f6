//! What a token of ours is to say: the words between the policy that asks for one, the cache that keeps
//! it and the issuer that mints it.

use alloc::{string::String, vec::Vec};
use core::{fmt, time::Duration};

use thiserror::Error;

use crate::{
    claims::CustomClaims,
    jwt::Algorithm,
    request::{Authority, Host, Transport},
};

#[cfg(test)]
mod tests;

/// The kinds of tokens that we mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenForm {
    /// An ID token of our own issuer (OpenID Connect Core §2).
    OidcToken,
    /// A JWT-SVID (SPIFFE JWT-SVID §3).
    JwtSvid,
    /// A JWT-SVID whose `iss` is its `sub`, as authorization servers ask it of the assertion of a client
    /// (RFC 7523 §3). It proves the client in one token request, and is nothing that a header carries.
    ClientAssertion,
}

impl TokenForm {
    /// Those that whoever is called, or asked, may be shown; in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::OidcToken, Self::JwtSvid];

    /// `type` of a CredentialProvider document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OidcToken => "oidc-token",
            Self::JwtSvid => "jwt-svid",
            Self::ClientAssertion => "client-assertion",
        }
    }
}

/// What to mint, whoever it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenPlan {
    /// What kind of token.
    pub form: TokenForm,
    /// Whom it is for: `aud`. At least one.
    pub audiences: Vec<String>,
    /// How long it lives, in whole seconds.
    pub ttl: Duration,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// What it says beside the registered claims.
    pub claims: CustomClaims,
}

impl TokenPlan {
    /// Whom the token is for, as one text: several audiences with a space between them.
    pub fn audience(&self) -> String {
        self.audiences.join(" ")
    }
}

/// A place where tokens are used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenTarget {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// How it is reached.
    pub transport: Transport,
}

/// As an origin, with its port.
impl fmt::Display for TokenTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Tls => "https",
            Transport::Plaintext => "http",
        };
        let (host, port) = (self.host.as_str(), self.port);
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// Why a text names no place where tokens are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a resource is the origin of a target, like https://api.example.com or http://internal:8080"
)]
pub struct InvalidTarget;

impl TokenTarget {
    /// Reads a `resource` (RFC 8707 §2): scheme, host and port. A token is for all paths of its target, so
    /// that one with a path, a query or a fragment would promise what no token keeps.
    pub fn parse(url: &str) -> Result<Self, InvalidTarget> {
        let (transport, usual_port, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Transport::Tls, 443, rest),
            Some(("http", rest)) => (Transport::Plaintext, 80, rest),
            Some(_) | None => return Err(InvalidTarget),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let authority = Authority::parse(authority).map_err(|_unreadable| InvalidTarget)?;
        Ok(Self {
            host: authority.host,
            port: authority.port.unwrap_or(usual_port),
            transport,
        })
    }
}
