//! One request as a listener understood it, whichever protocol asked. All of it is what the client
//! says, except `vouched`, which is the route's word.

use std::net::IpAddr;

use attache_core::{
    decision::DenyReason,
    evidence::Evidence,
    header::HeaderName,
    origin::Origin,
    query::{self, Imitation, ParameterName},
    request::{
        AmbiguousRequest, Authority, Host, Request, RequestPath, Transport, goes_around_policy,
        is_method, overrides_request,
    },
};

use compact_str::{CompactString, ToCompactString as _};

use crate::{
    peer::Peer,
    refusal::Refusal,
    settings::{DestinationRule, OverrideHeaders},
};

/// Our own headers; a client's are removed from every request.
const OWN_PREFIX: &str = "x-attache-";

/// One request.
pub struct Question<'a> {
    /// As sent.
    pub method: &'a str,
    /// The request target with its query, as sent.
    pub target: &'a str,
    /// `Host` or `:authority`, as sent.
    pub authority: &'a str,
    /// Names in lower case, duplicates apart.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// Whether `headers` are all that the request has. If not, no condition can rely on one.
    pub headers_are_known: bool,
    /// The origin that Envoy's route says it leads to.
    pub vouched: Option<&'a str>,
    /// The connection's peer, `address:port`.
    pub source: Option<CompactString>,
    /// The caller's address, by the listener's rule; `None` if it is not known for certain.
    pub address: Option<IpAddr>,
    /// What Envoy says of the connection's peer.
    pub peer: Peer<'a>,
    /// Evidence that stands beside the request, not in it: from those who ask without being Envoy.
    pub given: Option<&'a Evidence>,
}

/// Where a request goes and what it asks, each in one reading.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    host: Host,
    port: u16,
    transport: Transport,
    method: &'a str,
    path: RequestPath<'a>,
}

impl<'a> Question<'a> {
    /// What stands after `?`, as sent; empty if nothing does.
    pub(crate) fn query(&self) -> &'a str {
        let query = self.target.split_once('?');
        query.map_or("", |(_, query)| query)
    }

    /// All headers, if they are known.
    pub(crate) fn known_headers(&self) -> Option<&[(&'a str, &'a [u8])]> {
        self.headers_are_known.then_some(&*self.headers)
    }

    /// The values of header `name`, in order.
    pub(crate) fn values(&self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.lines(name.as_str())
    }

    /// The values of the header that is so named, in lower case, in order.
    pub(crate) fn lines(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| *value)
    }

    /// Whether the request carries header `name`, in lower case.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lines(name).next().is_some()
    }

    /// Whether the caller speaks gRPC, whose refusals have no JSON body.
    pub(crate) fn is_grpc(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| *name == "content-type" && value.starts_with(b"application/grpc"))
    }

    /// Reads the request, or refuses what has two readings or goes around the policy.
    pub(crate) fn understand(&self, rule: DestinationRule) -> Result<Asked<'a>, Refusal> {
        if !is_method(self.method) {
            return Err(DenyReason::RequestAmbiguous(AmbiguousRequest::Method).into());
        }
        let upgrades = self.headers.iter().any(|(name, _)| *name == "upgrade");
        if upgrades || goes_around_policy(self.method) {
            return Err(DenyReason::MethodRefused.into());
        }
        if self.names_two_hosts() {
            return Err(DenyReason::RequestAmbiguous(AmbiguousRequest::Host).into());
        }
        let path = RequestPath::parse(self.target).map_err(DenyReason::RequestAmbiguous)?;
        let asked = Authority::parse(self.authority).map_err(DenyReason::RequestAmbiguous)?;
        let (port, transport) = match rule {
            DestinationRule::VouchedByRoute => self.vouched_destination(&asked)?,
            DestinationRule::AsRequested => (asked.port.unwrap_or(443), Transport::Tls),
        };
        Ok(Asked {
            host: asked.host,
            port,
            transport,
            method: self.method,
            path,
        })
    }

    /// Whether a header names another host than the one that is decided about.
    fn names_two_hosts(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            [":authority", "host"].contains(name) && *value != self.authority.as_bytes()
        })
    }

    /// The route's word on where the request goes. The client's `Host` must name the same place: its
    /// port is the route's, or 80, which is what an application means that leaves TLS to Envoy.
    fn vouched_destination(&self, asked: &Authority) -> Result<(u16, Transport), Refusal> {
        let origin = self
            .vouched
            .and_then(Origin::parse)
            .ok_or(DenyReason::DestinationNotVouched)?;
        if !origin.is_meant_by(asked) {
            return Err(DenyReason::DestinationMismatch.into());
        }
        Ok((origin.port(), origin.transport()))
    }

    /// The headers that must not reach the target as the client sent them: ours, the evidence, and
    /// those that a policy for the target could inject. `_` for `-` in one of them is refused, for an
    /// application may read both spellings as one.
    pub(crate) fn protected_headers<'e>(
        &self,
        evidence: &(impl Iterator<Item = &'e str> + Clone),
        injectable: &(impl Iterator<Item = &'e HeaderName> + Clone),
    ) -> Result<Vec<&'a str>, DenyReason> {
        let mut present = Vec::new();
        for (name, _) in &self.headers {
            let ours = begins_as_ours(name);
            let is_evidence = evidence.clone().any(|ours| is_imitation(name, ours));
            let is_injectable = injectable.clone().any(|ours| ours.is_imitated_by(name));
            if !ours && !is_evidence && !is_injectable {
                continue;
            }
            if name.contains('_') {
                return Err(DenyReason::HeaderAmbiguous);
            }
            if !present.contains(name) {
                present.push(*name);
            }
        }
        Ok(present)
    }

    /// The parameters of the query, by their names as they were sent, that an application may read as ones that a
    /// policy for the target could inject. What only some applications would see is refused.
    pub(crate) fn protected_parameters<'e>(
        &self,
        injectable: &(impl Iterator<Item = &'e ParameterName> + Clone),
    ) -> Result<Vec<&'a str>, DenyReason> {
        let mut present = Vec::new();
        // Nearly every target has none.
        if injectable.clone().next().is_none() {
            return Ok(present);
        }
        for imitation in query::imitations(self.query(), injectable.clone()) {
            match imitation {
                Imitation::Hidden => return Err(DenyReason::ParameterAmbiguous),
                Imitation::Named(name) if present.contains(&name) => {}
                Imitation::Named(name) => present.push(name),
            }
        }
        Ok(present)
    }

    /// The headers to remove, by which an application would take another method or path than the one that is
    /// decided about; where they are denied, an error if there is one.
    pub(crate) fn overriding_headers(
        &self,
        rule: OverrideHeaders,
    ) -> Result<Vec<&'a str>, DenyReason> {
        let mut present = Vec::new();
        for (name, _) in &self.headers {
            if !overrides_request(name) || present.contains(name) {
                continue;
            }
            if rule == OverrideHeaders::Deny {
                return Err(DenyReason::RequestOverridden);
            }
            if name.contains('_') {
                return Err(DenyReason::HeaderAmbiguous);
            }
            present.push(*name);
        }
        Ok(present)
    }
}

impl Asked<'_> {
    /// The destination's host.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// The destination's port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The destination as an origin, with its port: `https://api.example.com:443`.
    pub(crate) fn origin(&self) -> CompactString {
        let scheme = match self.transport {
            Transport::Tls => "https",
            Transport::Plaintext => "http",
        };
        let (host, port) = (self.host.as_str(), self.port);
        let (before, after) = if host.contains(':') {
            ("://[", "]:")
        } else {
            ("://", ":")
        };
        let port = port.to_compact_string();
        let length = scheme.len() + before.len() + host.len() + after.len() + port.len();
        let mut origin = CompactString::with_capacity(length);
        origin.extend([scheme, before, host, after, &port]);
        origin
    }

    /// The request as policy sees it.
    pub(crate) const fn request(&self) -> Request<'_> {
        Request {
            host: &self.host,
            port: self.port,
            transport: self.transport,
            method: self.method,
            path: self.path,
        }
    }
}

/// Whether `name` begins with [`OWN_PREFIX`], in any case and with `_` for `-`.
fn begins_as_ours(name: &str) -> bool {
    let start = name.get(..OWN_PREFIX.len());
    start.is_some_and(|start| is_imitation(start, OWN_PREFIX))
}

/// Whether an application may read `name` as `ours`: in any case, with `_` for `-`.
fn is_imitation(name: &str, ours: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.bytes().map(plain).eq(ours.bytes())
}

#[cfg(test)]
mod tests;
