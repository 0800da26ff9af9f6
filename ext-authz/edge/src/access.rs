//! `attache.access.v1.Access`: the decision for callers that are not Envoy. The same pipeline and audit,
//! and never a credential.

use std::{net::IpAddr, sync::Arc};

use attache_core::{
    certificate::CertificateChain,
    evidence::{Evidence as Shown, MAX_PIECES},
    secret::Secret,
};
use attache_proto::access::v1::{
    BatchCheckRequest, BatchCheckResponse, Call, CheckRequest, CheckResponse, Decision, Evidence,
    Header, Transport, access_server::Access, evidence::Kind,
};
use compact_str::ToCompactString as _;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    answer::{Answer, Disposition},
    peer::Peer,
    pipeline::Edge,
    question::Question,
    refusal::Refusal,
    settings::{EvidenceSource, ListenerSettings},
    to_its_end::{Panicked, ToItsEnd},
    traces::Parent,
};

/// Calls that one batch may hold.
pub const MAX_BATCH: usize = 100;

/// The service of one listener.
pub struct AccessService {
    edge: Arc<Edge>,
    listener: Arc<ListenerSettings>,
}

impl AccessService {
    /// Answers for `edge` by the rules of `listener`.
    pub const fn new(edge: Arc<Edge>, listener: Arc<ListenerSettings>) -> Self {
        Self { edge, listener }
    }

    async fn decide(
        &self,
        call: Call,
        evidence: Option<Evidence>,
        parent: Option<Parent>,
    ) -> Result<CheckResponse, Status> {
        let asked = Asked::read(call, evidence, &self.listener)?;
        let (edge, listener) = (Arc::clone(&self.edge), Arc::clone(&self.listener));
        // When the caller stops waiting, the access is still recorded.
        let deciding = ToItsEnd::of(async move {
            let answer = edge.judge(&listener, &asked.question(), parent).await;
            response(answer)
        });
        deciding
            .await
            .map_err(|Panicked| Status::internal("the decision was not made"))
    }
}

#[async_trait]
impl Access for AccessService {
    async fn check(&self, asked: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let parent = Parent::of(asked.metadata().as_ref());
        let CheckRequest { evidence, call } = asked.into_inner();
        let call = call.ok_or_else(|| Status::invalid_argument("call is missing"))?;
        Ok(Response::new(self.decide(call, evidence, parent).await?))
    }

    async fn batch_check(
        &self,
        asked: Request<BatchCheckRequest>,
    ) -> Result<Response<BatchCheckResponse>, Status> {
        let parent = Parent::of(asked.metadata().as_ref());
        let BatchCheckRequest { evidence, calls } = asked.into_inner();
        if calls.is_empty() || calls.len() > MAX_BATCH {
            let message = format!("calls: {} of them; send 1 to {MAX_BATCH}", calls.len());
            return Err(Status::invalid_argument(message));
        }
        let mut responses = Vec::with_capacity(calls.len());
        for call in calls {
            let decided = self.decide(call, evidence.clone(), parent.clone()).await?;
            responses.push(decided);
        }
        Ok(Response::new(BatchCheckResponse { responses }))
    }
}

/// A call in the words of a question: the caller enforces the answer, so it vouches for the destination
/// as a route of Envoy does.
struct Asked {
    method: String,
    target: String,
    authority: String,
    origin: String,
    /// Names in lower case; `None` if the caller does not say which there are.
    headers: Option<Vec<Header>>,
    source: Option<IpAddr>,
    evidence: Option<Shown>,
}

impl Asked {
    fn read(
        call: Call,
        evidence: Option<Evidence>,
        listener: &ListenerSettings,
    ) -> Result<Self, Status> {
        let scheme = scheme(&call)?;
        let authority = authority(&call)?;
        let source = source(&call)?;
        let headers = call
            .headers
            .map(|it| it.headers.into_iter().map(lower_case));
        let evidence = evidence.map(|evidence| given(evidence, listener));
        let origin = format!("{scheme}://{authority}");
        Ok(Self {
            method: call.method,
            target: call.path,
            authority,
            origin,
            headers: headers.map(Iterator::collect),
            source,
            evidence: evidence.transpose()?,
        })
    }

    fn question(&self) -> Question<'_> {
        let headers = self.headers.iter().flatten();
        Question {
            method: &self.method,
            target: &self.target,
            authority: &self.authority,
            headers: headers.map(|it| (it.name.as_str(), &*it.value)).collect(),
            headers_are_known: self.headers.is_some(),
            vouched: Some(&self.origin),
            source: self.source.map(|address| address.to_compact_string()),
            address: self.source,
            peer: Peer::default(),
            given: self.evidence.as_ref(),
        }
    }
}

fn scheme(call: &Call) -> Result<&'static str, Status> {
    match Transport::try_from(call.transport) {
        Ok(Transport::Unspecified | Transport::Tls) => Ok("https"),
        Ok(Transport::Plaintext) => Ok("http"),
        Err(_unknown) => {
            let sent = call.transport;
            let message = format!("transport: {sent}; send 1 for TLS or 2 for plaintext");
            Err(Status::invalid_argument(message))
        }
    }
}

/// `host:port` as a request would name it. What is no host at all is policy's to deny.
fn authority(call: &Call) -> Result<String, Status> {
    let host = &call.host;
    let bracketed = host.starts_with('[');
    let has_port = match host.split_once(':') {
        Some((_, rest)) if !bracketed => !rest.contains(':'),
        Some(_) => !host.ends_with(']'),
        None => false,
    };
    if has_port {
        let message = "host: it holds a port; send that as `port`";
        return Err(Status::invalid_argument(message));
    }
    let host = if host.contains(':') && !bracketed {
        format!("[{host}]")
    } else {
        host.clone()
    };
    Ok(match call.port {
        0 => host,
        port => format!("{host}:{port}"),
    })
}

fn source(call: &Call) -> Result<Option<IpAddr>, Status> {
    if call.source_address.is_empty() {
        return Ok(None);
    }
    let address: Result<IpAddr, _> = call.source_address.parse();
    let message = "source_address: not an IP address; send it without port, or leave it out";
    address
        .map(|address| Some(address.to_canonical()))
        .map_err(|_not_an_address| Status::invalid_argument(message))
}

fn lower_case(mut header: Header) -> Header {
    header.name.make_ascii_lowercase();
    header
}

/// The evidence, if the listener takes such.
fn given(evidence: Evidence, listener: &ListenerSettings) -> Result<Shown, Status> {
    let EvidenceSource::Request(rule) = &listener.evidence else {
        let message = "evidence: this listener speaks for one pod; leave it out";
        return Err(Status::invalid_argument(message));
    };
    let several = match evidence.kind {
        Some(Kind::Several(several)) => several.pieces,
        kind => vec![Evidence { kind }],
    };
    let pieces: Vec<Shown> = several.into_iter().map(piece).collect::<Result<_, _>>()?;
    let count = pieces.len();
    let shown = Shown::together(pieces, rule.agreement).ok_or_else(|| {
        let message = format!("evidence: {count} pieces; send 1 to {MAX_PIECES}");
        Status::invalid_argument(message)
    })?;
    if !rule.accepts(&shown) {
        let message = "evidence: this listener does not take that kind";
        return Err(Status::invalid_argument(message));
    }
    Ok(shown)
}

fn piece(evidence: Evidence) -> Result<Shown, Status> {
    match evidence.kind {
        Some(Kind::Token(token)) => Ok(Shown::Token(Secret::new(token))),
        Some(Kind::Certificates(chain)) => CertificateChain::new(chain.certificates)
            .map(Shown::Certificate)
            .map_err(|invalid| Status::invalid_argument(format!("evidence: {invalid}"))),
        Some(Kind::Several(_)) => {
            let message = "evidence: a piece is itself several; send them in one list";
            Err(Status::invalid_argument(message))
        }
        None => Err(Status::invalid_argument("evidence: no kind is set")),
    }
}

fn response(answer: Answer) -> CheckResponse {
    let (decision, refusal) = match &answer.disposition {
        Disposition::Forward(_) => (Decision::Allowed, None),
        Disposition::Refuse(refusal @ Refusal::Denied(_)) => (Decision::Denied, Some(refusal)),
        Disposition::Refuse(refusal @ Refusal::Unavailable(_)) => {
            (Decision::Unavailable, Some(refusal))
        }
    };
    CheckResponse {
        decision: i32::from(decision),
        observed: answer.observed,
        code: refusal.map(Refusal::code).unwrap_or_default().to_owned(),
        message: refusal
            .map(Refusal::sentence)
            .unwrap_or_default()
            .to_owned(),
        decision_id: answer.decision_id.into(),
        policy: answer.policy.unwrap_or_default().into(),
        workload: answer.workload.unwrap_or_default().into(),
        policy_revision: answer.policy_revision.into(),
        valid_until: answer.valid_until.map(|until| prost_types::Timestamp {
            seconds: until.as_seconds(),
            nanos: 0,
        }),
    }
}
