//! Where a route leads, by the word of whoever configured it: `https://api.stripe.com`,
//! `https://*.example.com:8443`, `http://internal:8080`. Server and filter read it alike.

use crate::request::{Authority, Host, Transport};

#[cfg(test)]
mod tests;

/// A scheme, a host (or all hosts below a name) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    transport: Transport,
    port: u16,
    host: Host,
    below: bool,
}

impl Origin {
    /// Reads an origin; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (transport, usual, rest) = match text.split_once("://")? {
            ("https", rest) => (Transport::Tls, 443, rest),
            ("http", rest) => (Transport::Plaintext, 80, rest),
            _ => return None,
        };
        let (below, rest) = rest
            .strip_prefix("*.")
            .map_or((false, rest), |rest| (true, rest));
        let authority = Authority::parse(rest).ok()?;
        Some(Self {
            transport,
            port: authority.port.unwrap_or(usual),
            host: authority.host,
            below,
        })
    }

    /// How it is reached.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is one host, not all below a name.
    pub const fn is_one_host(&self) -> bool {
        !self.below
    }

    /// Whether a client that names `asked` means this destination. Its port is the origin's, or 80, which is what
    /// an application means that leaves TLS to Envoy.
    pub fn is_meant_by(&self, asked: &Authority) -> bool {
        let port = asked
            .port
            .is_none_or(|port| port == self.port || port == 80);
        port && self.covers(&asked.host)
    }

    fn covers(&self, host: &Host) -> bool {
        if !self.below {
            return *host == self.host;
        }
        host.as_str()
            .strip_suffix(self.host.as_str())
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}
