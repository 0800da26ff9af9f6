//! `attache.access.v1.Access`: the decision for callers that are not Envoy. The same pipeline and audit,
//! and never a credential.

use std::sync::Arc;

use attache_proto::access::v1::{
    BatchCheckRequest, BatchCheckResponse, Call, CheckRequest, CheckResponse, Decision, Evidence,
    Transport, access_server::Access, evidence::Kind,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    answer::{Answer, Disposition},
    pipeline::Edge,
    question::Question,
    refusal::Refusal,
    settings::{EvidenceSource, ListenerSettings},
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
    ) -> Result<CheckResponse, Status> {
        let asked = Asked::read(call, evidence, &self.listener)?;
        let (edge, listener) = (Arc::clone(&self.edge), Arc::clone(&self.listener));
        // A task of its own: when the caller stops waiting, the access is still recorded.
        let deciding = tokio::spawn(async move {
            let answer = edge.judge(&listener, &asked.question()).await;
            response(answer)
        });
        deciding
            .await
            .map_err(|_panicked| Status::internal("the decision was not made"))
    }
}

#[async_trait]
impl Access for AccessService {
    async fn check(&self, asked: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let CheckRequest { evidence, call } = asked.into_inner();
        let call = call.ok_or_else(|| Status::invalid_argument("call is missing"))?;
        Ok(Response::new(self.decide(call, evidence).await?))
    }

    async fn batch_check(
        &self,
        asked: Request<BatchCheckRequest>,
    ) -> Result<Response<BatchCheckResponse>, Status> {
        let BatchCheckRequest { evidence, calls } = asked.into_inner();
        if calls.is_empty() || calls.len() > MAX_BATCH {
            let message = format!("calls: {} of them; send 1 to {MAX_BATCH}", calls.len());
            return Err(Status::invalid_argument(message));
        }
        let mut responses = Vec::with_capacity(calls.len());
        for call in calls {
            responses.push(self.decide(call, evidence.clone()).await?);
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
    evidence: Option<(String, String)>,
}

impl Asked {
    fn read(
        call: Call,
        evidence: Option<Evidence>,
        listener: &ListenerSettings,
    ) -> Result<Self, Status> {
        let scheme = match call.transport() {
            Transport::Unspecified | Transport::Tls => "https",
            Transport::Plaintext => "http",
        };
        let bare_ipv6 = call.host.contains(':') && !call.host.starts_with('[');
        let host = if bare_ipv6 {
            format!("[{}]", call.host)
        } else {
            call.host
        };
        let authority = match call.port {
            0 => host,
            port => format!("{host}:{port}"),
        };
        let token = evidence
            .and_then(|evidence| evidence.kind)
            .map(|Kind::Token(token)| token);
        let evidence = match (&listener.evidence, token) {
            (EvidenceSource::Header(name), token) => {
                token.map(|token| (name.as_str().to_owned(), token))
            }
            (EvidenceSource::TokenFile(_), None) => None,
            (EvidenceSource::TokenFile(_), Some(_)) => {
                let message = "evidence: this listener speaks for one pod; leave it out";
                return Err(Status::invalid_argument(message));
            }
        };
        let origin = format!("{scheme}://{authority}");
        Ok(Self {
            method: call.method,
            target: call.path,
            authority,
            origin,
            evidence,
        })
    }

    fn question(&self) -> Question<'_> {
        let evidence = self.evidence.as_ref();
        Question {
            method: &self.method,
            target: &self.target,
            authority: &self.authority,
            headers: evidence
                .map(|(name, token)| (name.as_str(), token.as_bytes()))
                .into_iter()
                .collect(),
            vouched: Some(&self.origin),
            source: None,
            address: None,
        }
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
        code: refusal.map(Refusal::code).unwrap_or_default().to_owned(),
        message: refusal
            .map(Refusal::sentence)
            .unwrap_or_default()
            .to_owned(),
        decision_id: answer.decision_id,
        policy: answer.policy.unwrap_or_default(),
        workload: answer.workload.unwrap_or_default(),
        policy_revision: answer.policy_revision,
        valid_until: answer.valid_until.map(|until| prost_types::Timestamp {
            seconds: until.as_seconds(),
            nanos: 0,
        }),
    }
}
