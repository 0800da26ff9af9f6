//! One request on the way out, as it came: what it asks in one reading, if it has one, and what the edge is told
//! of it.

use std::rc::Rc;

use attache_core::{
    header::HeaderName,
    request::{Authority, Host as HostName, Request, RequestPath, goes_around_policy, is_method},
};
use attache_proto::token::v1::{Call, Details, Evidence, Header, Purpose as WirePurpose};
use prost::Message as _;

use super::flights::{Question, Waiter};
use crate::{
    admission::Admission,
    config::{Audit, CallerFrom, Elsewhere, Judge, Outbound, PeerCertificate, Target},
    host::Host,
    message::{Headers, Survey},
};

/// What answers are for.
pub(super) enum Purpose {
    /// The request goes on to its target, with the credential that policy attaches.
    Attach,
    /// Somebody calls the service behind the proxy.
    Judge {
        admission: Rc<Admission>,
        /// The header that carries evidence on the edge's listener.
        evidence: HeaderName,
    },
}

/// A plugin's settings, and what follows from them.
pub(crate) struct Plan {
    pub(super) settings: Outbound,
    pub(super) purpose: Purpose,
    /// The headers that never go on as they came: those that carry credentials, and those that carry evidence.
    protected: Vec<HeaderName>,
}

impl Plan {
    /// For the way out.
    pub(super) fn new(settings: Outbound) -> Self {
        let mut protected = settings.inject.clone();
        if let CallerFrom::Request { headers, .. } = &settings.caller {
            protected.extend(headers.iter().cloned());
        }
        Self {
            settings,
            purpose: Purpose::Attach,
            protected,
        }
    }

    /// For the way in, where the edge judges callers that are let in so.
    pub(crate) fn judging(judge: &Judge, admission: Rc<Admission>, memory: usize) -> Self {
        let settings = Outbound {
            edge: judge.edge.clone(),
            caller: CallerFrom::Request {
                headers: Vec::new(),
                peer: PeerCertificate::Ignored,
            },
            targets: vec![judge.target.clone()],
            elsewhere: Elsewhere::Ask,
            inject: Vec::new(),
            patience: judge.patience,
            memory,
            audit: Audit::default(),
        };
        Self {
            settings,
            purpose: Purpose::Judge {
                admission,
                evidence: judge.evidence.clone(),
            },
            protected: Vec::new(),
        }
    }

    /// What the edge is told that its answers are for.
    pub(super) const fn asked_for(&self) -> WirePurpose {
        match self.purpose {
            Purpose::Attach => WirePurpose::Attach,
            Purpose::Judge { .. } => WirePurpose::Judge,
        }
    }

    /// The way that metrics are counted under.
    pub(super) const fn way(&self) -> &'static str {
        match self.purpose {
            Purpose::Attach => "outbound",
            Purpose::Judge { .. } => "inbound",
        }
    }
}

/// A request, read from its serialised header.
pub(super) struct Seen<'a> {
    plan: &'a Plan,
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
        // Whatever name the service behind the proxy was called by, it is this one.
        let own = target.and_then(|target| target.written.split_once("://"));
        let own = own.map(|(_, authority)| authority);
        let own = own.filter(|_| waiter.shown.is_some());
        let mut seen = Self {
            plan,
            evidence: evidence(plan, &headers, waiter),
            method: text(":method"),
            written: text(":path"),
            authority: own.unwrap_or_else(|| text(":authority")),
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
        // What imitates a header on the way in is removed before the application sees it.
        let judges = matches!(self.plan.purpose, Purpose::Judge { .. });
        if (imitates && !judges) || overrides || upgrades {
            return None;
        }
        if !is_method(self.method) || goes_around_policy(self.method) {
            return None;
        }
        let mut hosts = self.headers.values("host");
        if !judges && hosts.any(|host| host != self.authority.as_bytes()) {
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
        let target = self.target.map_or("", |target| target.written.as_str());
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
        let lines = self.headers.lines();
        let lines = lines.filter(|(name, _)| !self.is_said_apart(name));
        let lines = lines.map(|(name, value)| Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: value.to_vec(),
        });
        let evidence = match self.plan.purpose {
            Purpose::Attach => None,
            Purpose::Judge { .. } => self.evidence.as_ref().map(|it| it.headers.clone()),
        };
        Details {
            query: query.to_owned(),
            headers: evidence.into_iter().flatten().chain(lines).collect(),
            source_address,
        }
    }
}

impl Seen<'_> {
    /// On the way in: the token, which stands among the evidence, and what the application will not see.
    fn is_said_apart(&self, name: &[u8]) -> bool {
        match &self.plan.purpose {
            Purpose::Attach => false,
            Purpose::Judge {
                admission,
                evidence,
            } => {
                let own = [&admission.header, evidence];
                own.iter().any(|own| own.as_str().as_bytes() == name)
                    || self.survey.protected.contains(&name)
            }
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

fn evidence(plan: &Plan, headers: &Headers<'_>, waiter: &Waiter) -> Option<Evidence> {
    if let (Purpose::Judge { evidence, .. }, Some(shown)) = (&plan.purpose, &waiter.shown) {
        let line = Header {
            name: evidence.as_str().to_owned(),
            value: shown.token.clone(),
        };
        return Some(Evidence {
            headers: vec![line],
            ..Evidence::default()
        });
    }
    let CallerFrom::Request { headers: names, .. } = &plan.settings.caller else {
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
        principal: waiter.principal.clone(),
        certificate: String::new(),
    })
}
