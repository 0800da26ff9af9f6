//! One request on the way out, as it came: what it asks in one reading, if it has one, and what the edge is told
//! of it.

use core::cell::RefCell;
use std::{borrow::Cow, rc::Rc};

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
    host::{Attribute, Host},
    message::{Headers, Protected, Survey, begins_as_ours},
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
    protected: Protected,
    /// The one reading of the authority by which each target was called last: nearly all requests call it alike.
    called: Vec<RefCell<Option<Rc<Called>>>>,
}

/// An authority that means a target.
struct Called {
    written: String,
    host: HostName,
    /// What answers to callers of this target stand under, but for who calls.
    key: Vec<u8>,
}

impl Plan {
    /// For the way out.
    pub(super) fn new(settings: Outbound) -> Self {
        let mut protected = settings.inject.clone();
        if let CallerFrom::Request { headers, .. } = &settings.caller {
            protected.extend(headers.iter().cloned());
        }
        Self {
            called: settings
                .targets
                .iter()
                .map(|_| RefCell::default())
                .collect(),
            settings,
            purpose: Purpose::Attach,
            protected: Protected::new(protected),
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
            protected: Protected::default(),
            called: vec![RefCell::default()],
        }
    }

    /// What `authority` names, if it means this target.
    fn meant(&self, target: usize, authority: &str) -> Option<Rc<Called>> {
        let mut called = self.called.get(target)?.try_borrow_mut().ok()?;
        if let Some(called) = called.as_ref()
            && called.written == authority
        {
            return Some(Rc::clone(called));
        }
        let asked = Authority::parse(authority).ok()?;
        // SECURITY: `Host` is the client's word; the cluster is the route's.
        let target = self.settings.targets.get(target)?;
        if !target.origin.is_meant_by(&asked) {
            return None;
        }
        let meant = Rc::new(Called {
            written: authority.to_owned(),
            key: key(&target.cluster, asked.host.as_str()),
            host: asked.host,
        });
        *called = Some(Rc::clone(&meant));
        Some(meant)
    }

    /// The headers that are looked for in each request.
    pub(super) fn protected(&self) -> &Protected {
        match &self.purpose {
            Purpose::Attach => &self.protected,
            Purpose::Judge { admission, .. } => &admission.protected,
        }
    }

    /// Whether every request is stripped of this header.
    pub(super) fn strips(&self, name: &str) -> bool {
        matches!(self.purpose, Purpose::Attach) && self.protected.take(name.as_bytes())
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
    called: Rc<Called>,
    path: RequestPath<'a>,
}

impl<'a> Seen<'a> {
    /// Reads a request; `None` if Envoy's header map is none.
    pub(super) fn read(plan: &'a Plan, waiter: &'a Waiter) -> Option<Self> {
        let settings = &plan.settings;
        let headers = Headers::read(&waiter.serialised, plan.protected())?;
        let target = waiter.target.and_then(|index| settings.targets.get(index));
        // Whatever name the service behind the proxy was called by, it is this one.
        let own = target.filter(|_| waiter.shown.is_some());
        let own = own.and_then(|target| target.written.split_once("://"));
        let own = own.map(|(_, authority)| authority);
        let mut seen = Self {
            plan,
            evidence: evidence(plan, &headers, waiter),
            method: headers.method().unwrap_or_default(),
            written: headers.path().unwrap_or_default(),
            authority: own.or_else(|| headers.authority()).unwrap_or_default(),
            headers,
            target,
            plain: None,
        };
        seen.plain = seen.one_reading(waiter.target);
        Some(seen)
    }

    /// What has two readings, goes around the policy, or imitates a header has no kept answer.
    fn one_reading(&self, target: Option<usize>) -> Option<Plain<'a>> {
        let Survey {
            imitates,
            overrides,
            upgrades,
            hosts,
            ..
        } = *self.headers.survey();
        // What imitates a header on the way in is removed before the application sees it.
        let judges = matches!(self.plan.purpose, Purpose::Judge { .. });
        if (imitates && !judges) || overrides || upgrades {
            return None;
        }
        if !is_method(self.method) || goes_around_policy(self.method) {
            return None;
        }
        let mut named = self.headers.values("host");
        if !judges && hosts && named.any(|host| host != self.authority.as_bytes()) {
            return None;
        }
        Some(Plain {
            called: self.plan.meant(target?, self.authority)?,
            path: RequestPath::parse(self.written).ok()?,
        })
    }

    /// The request as scopes see it; `None` if no kept answer may be given to it.
    pub(super) fn request(&self) -> Option<Request<'_>> {
        let (plain, target) = (self.plain.as_ref()?, self.target?);
        Some(Request {
            host: &plain.called.host,
            port: target.origin.port(),
            transport: target.origin.transport(),
            method: self.method,
            path: plain.path,
        })
    }

    /// Who calls where: kept answers stand under it and compare it whole.
    pub(super) fn key(&self) -> Cow<'_, [u8]> {
        let target = match &self.plain {
            Some(plain) => Cow::Borrowed(plain.called.key.as_slice()),
            None => {
                let cluster = self.target.map_or("", |target| target.cluster.as_str());
                Cow::Owned(key(cluster, self.authority))
            }
        };
        let Some(evidence) = &self.evidence else {
            return target;
        };
        let mut key = target.into_owned();
        key.push(0);
        // Writing into a vector cannot fail.
        let _ = evidence.encode(&mut key);
        Cow::Owned(key)
    }

    /// The names of all headers that must not go on as they came.
    pub(super) fn protected(&self) -> impl Iterator<Item = &'a [u8]> {
        self.headers.survey().protected()
    }

    pub(super) const fn method(&self) -> &'a str {
        self.method
    }

    /// The path without its query.
    pub(super) fn path(&self) -> &'a str {
        match &self.plain {
            Some(plain) => plain.path.as_str(),
            None => self.written.split('?').next().unwrap_or_default(),
        }
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
                own.iter().any(|own| own.as_str().as_bytes() == name) || begins_as_ours(name)
            }
        }
    }
}

fn key(cluster: &str, host: &str) -> Vec<u8> {
    // Zero stands in neither of the two.
    [cluster.as_bytes(), &[0], host.as_bytes()].concat()
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
    if !verified || host.property(Attribute::MTLS).as_deref() != Some(&[1]) {
        return String::new();
    }
    let name = host.property(Attribute::PEER);
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
