//! The destination that a cluster vouches for: `https://api.stripe.com`, `https://*.example.com:8443`,
//! `http://internal:8080`.

use attache_core::request::{Authority, Host, Transport};

#[cfg(test)]
mod tests;

/// A scheme, a host (or all hosts below a name) and a port.
#[derive(Debug)]
pub struct Origin {
    written: String,
    transport: Transport,
    port: u16,
    host: Host,
    below: bool,
}

impl Origin {
    pub(crate) fn parse(text: &str) -> Option<Self> {
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
            written: text.to_owned(),
            transport,
            port: authority.port.unwrap_or(usual),
            host: authority.host,
            below,
        })
    }

    /// As it is written in the configuration.
    pub(crate) fn as_str(&self) -> &str {
        &self.written
    }

    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether a client that names `asked` means this destination. Its port is the origin's, or 80, which is what
    /// an application means that leaves TLS to Envoy.
    pub(crate) fn is_meant_by(&self, asked: &Authority) -> bool {
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
