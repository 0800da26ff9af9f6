//! `envoy.service.auth.v3.Authorization`: what Envoy asks becomes a question, the answer becomes what
//! Envoy does. No rule of its own.

use std::{sync::Arc, time::Duration};

use attache_core::{decision::Fault, event::Outcome};
use attache_credentials::{Credential, Injection};
use envoy_types::{
    ext_authz::v3::pb::{
        Address, Authorization, CheckRequest, CheckResponse, DeniedHttpResponse,
        HeaderAppendAction, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus,
        OkHttpResponse,
    },
    pb::{
        envoy::{
            config::core::v3::{QueryParameter, socket_address::PortSpecifier},
            service::auth::v3::AttributeContext,
        },
        google::{
            protobuf::{Struct, Value, value::Kind},
            rpc,
        },
    },
};
use tonic::{Code, Request, Response, Status, async_trait, metadata::MetadataMap};

use crate::{
    answer::{Answer, Disposition, Forward},
    peer::Peer,
    pipeline::Edge,
    question::Question,
    refusal::Refusal,
    settings::ListenerSettings,
    source,
    to_its_end::{Panicked, ToItsEnd},
    traces::Parent,
};

/// The key of `context_extensions` by which a route says where it leads.
pub const TARGET_EXTENSION: &str = "attache.target";

/// The header that carries the decision's id to a caller that was refused.
pub const DECISION_HEADER: &str = "x-attache-decision";

/// The header that carries the stable code of the refusal.
pub const CODE_HEADER: &str = "x-attache-code";

/// The service of one listener.
pub struct ExtAuthz {
    edge: Arc<Edge>,
    listener: Arc<ListenerSettings>,
}

impl ExtAuthz {
    /// Answers for `edge` by the rules of `listener`.
    pub const fn new(edge: Arc<Edge>, listener: Arc<ListenerSettings>) -> Self {
        Self { edge, listener }
    }
}

#[async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, asked: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (metadata, _, asked) = asked.into_parts();
        let attributes = asked.attributes.unwrap_or_default();
        let (edge, listener) = (Arc::clone(&self.edge), Arc::clone(&self.listener));
        // When Envoy stops waiting, the access is still recorded.
        let answering = ToItsEnd::of(async move {
            let question = question(&attributes, listener.trusted_hops)?;
            let parent = parent(&metadata, &question);
            let answer = edge.answer(&listener, &question, parent).await;
            Some(response(&answer, question.is_grpc()))
        });
        match answering.await {
            Ok(Some(response)) => Ok(Response::new(response)),
            Ok(None) => Err(Status::invalid_argument(
                "attributes.request.http is missing",
            )),
            Err(Panicked) => Err(Status::internal("the decision was not made")),
        }
    }
}

/// Reads the attributes; `None` if they are not those of an HTTP request.
fn question(attributes: &AttributeContext, trusted_hops: usize) -> Option<Question<'_>> {
    let http = attributes.request.as_ref()?.http.as_ref()?;
    // With `encode_raw_headers` duplicates stand apart and bytes are as sent; without, Envoy joined them.
    let headers: Vec<_> = match &http.header_map {
        Some(map) => map.headers.iter().map(raw).collect(),
        None => http
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect(),
    };
    let peer = peer(attributes);
    let address = source::address(peer, &headers, trusted_hops);
    Some(Question {
        method: &http.method,
        target: &http.path,
        authority: &http.host,
        headers,
        headers_are_known: true,
        vouched: attributes
            .context_extensions
            .get(TARGET_EXTENSION)
            .map(String::as_str),
        source: peer.map(|(address, port)| source::text(address, port)),
        address,
        peer: tls_peer(attributes),
        given: None,
    })
}

/// The span that the call belongs to: that of Envoy's own call to us, which Envoy tells of in the call's metadata
/// if it traces; else what the request itself says.
fn parent(metadata: &MetadataMap, question: &Question<'_>) -> Option<Parent> {
    Parent::of(metadata).or_else(|| {
        Parent::among(|name| {
            let headers = question.headers.iter();
            headers.filter_map(move |(its, value)| (*its == name).then_some(*value))
        })
    })
}

/// The name and the certificate of that peer. `source.service` is what a header of the client says, and is
/// never read.
fn tls_peer(attributes: &AttributeContext) -> Peer<'_> {
    let source = attributes.source.as_ref();
    source.map_or_else(Peer::default, |source| Peer {
        principal: &source.principal,
        certificate: &source.certificate,
    })
}

fn raw(header: &HeaderValue) -> (&str, &[u8]) {
    let value = if header.raw_value.is_empty() {
        header.value.as_bytes()
    } else {
        &header.raw_value
    };
    (header.key.as_str(), value)
}

/// The peer of Envoy's connection.
fn peer(attributes: &AttributeContext) -> Option<(&str, u32)> {
    let address = attributes.source.as_ref()?.address.as_ref()?;
    match address.address.as_ref()? {
        Address::SocketAddress(socket) => {
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port,
                Some(PortSpecifier::NamedPort(_)) | None => 0,
            };
            Some((&socket.address, port))
        }
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}

fn response(answer: &Answer, is_grpc: bool) -> CheckResponse {
    let (code, http_response) = match &answer.disposition {
        Disposition::Forward(forward) => (Code::Ok, HttpResponse::OkResponse(ok(forward))),
        Disposition::Refuse(refusal) => {
            let code = match refusal {
                Refusal::Denied(_) => Code::PermissionDenied,
                Refusal::Unavailable(_) => Code::Unavailable,
            };
            (
                code,
                HttpResponse::DeniedResponse(refused(answer, refusal, is_grpc)),
            )
        }
    };
    CheckResponse {
        status: Some(rpc::Status {
            code: i32::from(code),
            ..rpc::Status::default()
        }),
        dynamic_metadata: Some(metadata(answer)),
        http_response: Some(http_response),
    }
}

fn ok(forward: &Forward) -> OkHttpResponse {
    let injection = forward.credential().map(Credential::injection);
    let headers = injection.map_or(&[][..], Injection::headers).iter();
    let headers = headers.map(|(name, value)| header(name.as_str(), value.expose().to_owned()));
    let parameters = injection.map_or(&[][..], Injection::parameters).iter();
    // SECURITY: Envoy puts the value into the query as it is; it was encoded when it was made.
    let parameters = parameters.map(|(name, value)| QueryParameter {
        key: name.as_str().to_owned(),
        value: value.expose().to_owned(),
    });
    OkHttpResponse {
        headers: headers.collect(),
        headers_to_remove: forward.remove().to_vec(),
        query_parameters_to_set: parameters.collect(),
        query_parameters_to_remove: forward.remove_parameters().to_vec(),
        ..OkHttpResponse::default()
    }
}

/// A denial answers 403, a fault 503. Both go as a denied response: an error response would pass under
/// Envoy's `failure_mode_allow`.
fn refused(answer: &Answer, refusal: &Refusal, is_grpc: bool) -> DeniedHttpResponse {
    let status = match refusal {
        Refusal::Denied(_) => 403,
        Refusal::Unavailable(_) => 503,
    };
    let mut headers = vec![
        header(DECISION_HEADER, answer.decision_id.clone()),
        header(CODE_HEADER, refusal.code().to_owned()),
    ];
    let retry_after = match refusal {
        Refusal::Unavailable(Fault::Overloaded) => Some(Duration::from_secs(1)),
        Refusal::Unavailable(_) => answer.retry_after,
        Refusal::Denied(_) => None,
    };
    if let Some(after) = retry_after {
        // RFC 9110 §10.2.3, in whole seconds.
        let seconds = after
            .as_secs()
            .saturating_add(u64::from(after.subsec_nanos() > 0));
        headers.push(header("retry-after", seconds.max(1).to_string()));
    }
    // For a gRPC caller Envoy turns status and body into `grpc-status` and `grpc-message`.
    let body = if is_grpc {
        format!(
            "{}: {} ({})",
            refusal.code(),
            refusal.sentence(),
            answer.decision_id
        )
    } else {
        headers.push(header("content-type", "application/json".to_owned()));
        let body = serde_json::json!({
            "code": refusal.code(),
            "decision": answer.decision_id,
            "message": refusal.sentence(),
        });
        format!("{body}\n")
    };
    DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        headers,
        body,
    }
}

fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value,
            raw_value: Vec::new(),
        }),
        append_action: i32::from(HeaderAppendAction::OverwriteIfExistsOrAdd),
        ..HeaderValueOption::default()
    }
}

/// What Envoy's access log can print, under `envoy.filters.http.ext_authz`.
fn metadata(answer: &Answer) -> Struct {
    let outcome = match answer.outcome() {
        Outcome::Permitted => "permitted",
        Outcome::Denied => "denied",
        Outcome::Error => "error",
    };
    let code = match &answer.disposition {
        Disposition::Refuse(refusal) => Some(refusal.code()),
        Disposition::Forward(_) => None,
    };
    let fields = [
        ("decision_id", Some(answer.decision_id.as_str())),
        ("outcome", Some(outcome)),
        ("code", code),
        ("policy", answer.policy.as_deref()),
        ("workload", answer.workload.as_deref()),
    ];
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    Struct {
        fields: fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), text(value?))))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
