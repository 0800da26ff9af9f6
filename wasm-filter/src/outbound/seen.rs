//! One request on the way out, as it came: what it asks in one reading, if it has one, and what the edge is told
//! of it.

use attache_core::{
    header::HeaderName,
    request::{Authority, Host as HostName, Request, RequestPath, goes_around_policy, is_method},
};
use attache_proto::token::v1::{Call, Details, Evidence, Header};
use prost::Message as _;

use super::flights::{Question, Waiter};
use crate::{
    config::{CallerFrom, Outbound, PeerCertificate, Target},
    host::Host,
    message::{Headers, Survey},
};

/// A plugin's settings, and what follows from them.
pub(super) struct Plan {
    pub(super) settings: Outbound,
    /// The headers that never go on as they came: those that carry credentials, and those that carry evidence.
    protected: Vec<HeaderName>,
}

impl Plan {
    pub(super) fn new(settings: Outbound) -> Self {
        let mut protected = settings.inject.clone();
        if let CallerFrom::Request { headers, .. } = &settings.caller {
            protected.extend(headers.iter().cloned());
        }
        Self {
            settings,
            protected,
        }
    }
}

/// A request, read from its serialised header.
pub(super) struct Seen<'a> {
    headers: Headers<'a>,
    survey: Survey<'a>,
    /// Who calls, as the edge is told and as kept answers are compared.
    evidence: Option<Evidence>,
    /// The target that the route's cluster is bound to.
    target: Option<&'a Target>,
    method: &'a str,
    written: &'a str,
    authority: &'a str,
    plain: Option<Plain<'a>>,
}

/// A request with one reading.
struct Plain<'a> {
    host: HostName,
    path: RequestPath<'a>,
}

impl<'a> Seen<'a> {
    /// Reads a request; `None` if Envoy's header map is none.
    pub(super) fn read(plan: &'a Plan, waiter: &'a Waiter) -> Option<Self> {
        let settings = &plan.settings;
        let headers = Headers::read(&waiter.serialised)?;
        let survey = headers.survey(&plan.protected);
        let target = waiter.target.and_then(|index| settings.targets.get(index));
        let text = |name| headers.text(name).unwrap_or_default();
        let mut seen = Self {
            evidence: evidence(&settings.caller, &headers, &waiter.principal),
            method: text(":method"),
            written: text(":path"),
            authority: text(":authority"),
            headers,
            survey,
            target,
            plain: None,
        };
        seen.plain = seen.one_reading();
        Some(seen)
    }

    /// What has two readings, goes around the policy, or imitates a header has no kept answer.
    fn one_reading(&self) -> Option<Plain<'a>> {
        let Survey {
            imitates,
            overrides,
            upgrades,
            ..
        } = self.survey;
        if imitates || overrides || upgrades {
            return None;
        }
        if !is_method(self.method) || goes_around_policy(self.method) {
            return None;
        }
        let mut hosts = self.headers.values("host");
        if hosts.any(|host| host != self.authority.as_bytes()) {
            return None;
        }
        let asked = Authority::parse(self.authority).ok()?;
        // SECURITY: `Host` is the client's word; the cluster is the route's.
        let meant = self.target?.origin.is_meant_by(&asked);
        let path = RequestPath::parse(self.written).ok()?;
        meant.then_some(Plain {
            host: asked.host,
            path,
        })
    }

    /// The request as scopes see it; `None` if no kept answer may be given to it.
    pub(super) fn request(&self) -> Option<Request<'_>> {
        let (plain, target) = (self.plain.as_ref()?, self.target?);
        Some(Request {
            host: &plain.host,
            port: target.origin.port(),
            transport: target.origin.transport(),
            method: self.method,
            path: plain.path,
        })
    }

    /// Who calls where: kept answers stand under it and compare it whole.
    pub(super) fn key(&self) -> Vec<u8> {
        let host = self
            .plain
            .as_ref()
            .map_or(self.authority, |plain| plain.host.as_str());
        let cluster = self.target.map_or("", |target| target.cluster.as_str());
        let mut key =
            Vec::with_capacity(host.len().saturating_add(cluster.len()).saturating_add(1));
        key.extend_from_slice(cluster.as_bytes());
        // Stands in neither of the two.
        key.push(0);
        key.extend_from_slice(host.as_bytes());
        if let Some(evidence) = &self.evidence {
            key.push(0);
            // Writing into a vector cannot fail.
            let _ = evidence.encode(&mut key);
        }
        key
    }

    /// The names of all headers that must not go on as they came.
    pub(super) fn protected(&self) -> &[&'a [u8]] {
        &self.survey.protected
    }

    pub(super) const fn method(&self) -> &'a str {
        self.method
    }

    /// The path without its query.
    pub(super) fn path(&self) -> &'a str {
        self.written.split('?').next().unwrap_or_default()
    }

    /// The path with its query.
    pub(super) const fn written(&self) -> &'a str {
        self.written
    }

    pub(super) const fn headers(&self) -> &Headers<'a> {
        &self.headers
    }

    /// The request as the edge is told of it, without what policies seldom read.
    pub(super) fn question(&self, key: Vec<u8>) -> Question {
        let target = self.target.map_or("", |target| target.origin.as_str());
        Question {
            key,
            evidence: self.evidence.clone(),
            call: Call {
                authority: self.authority.to_owned(),
                target: target.to_owned(),
                method: self.method.to_owned(),
                path: self.path().to_owned(),
                details: None,
            },
        }
    }

    /// The rest of it.
    pub(super) fn details(&self, source_address: String) -> Details {
        let query = self.written.split_once('?').map_or("", |(_, query)| query);
        let lines = self.headers.lines().map(|(name, value)| Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: value.to_vec(),
        });
        Details {
            query: query.to_owned(),
            headers: lines.collect(),
            source_address,
        }
    }
}

/// The URI name of the peer's certificate, where it counts.
pub(super) fn principal<H: Host>(host: &H, caller: &CallerFrom) -> String {
    let verified = matches!(
        caller,
        CallerFrom::Request {
            peer: PeerCertificate::Verified,
            ..
        }
    );
    // SECURITY: Envoy tells the same of a certificate that it verified and of one that it did not; that it
    // verifies them is the configuration's word.
    if !verified || host.property(&["connection", "mtls"]).as_deref() != Some(&[1]) {
        return String::new();
    }
    let name = host.property(&["connection", "uri_san_peer_certificate"]);
    String::from_utf8(name.unwrap_or_default()).unwrap_or_default()
}

fn evidence(caller: &CallerFrom, headers: &Headers<'_>, principal: &str) -> Option<Evidence> {
    let CallerFrom::Request { headers: names, .. } = caller else {
        return None;
    };
    let lines = names.iter().flat_map(|name| {
        headers.values(name.as_str()).map(|value| Header {
            name: name.as_str().to_owned(),
            value: value.to_vec(),
        })
    });
    Some(Evidence {
        headers: lines.collect(),
        principal: principal.to_owned(),
        certificate: String::new(),
    })
}
