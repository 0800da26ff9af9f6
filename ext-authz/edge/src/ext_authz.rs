//! `envoy.service.auth.v3.Authorization`: what Envoy asks becomes a question, the answer becomes what
//! Envoy does. No rule of its own.

use std::{collections::HashMap, str::Utf8Error, sync::Arc, time::Duration};

use attache_core::{decision::Fault, event::Outcome};
use attache_credentials::{Credential, Injection};
use bytes::Bytes;
use envoy_types::ext_authz::v3::pb::HeaderAppendAction;
use hyper::HeaderMap;
use prost::Message as _;
use tonic::{Code, Status};

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

use self::wire::{
    AddressKind, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, Entry, Field,
    HeaderValue, HeaderValueOption, HttpResponse, HttpStatus, OkHttpResponse, Port, Struct, Value,
    Written,
};

mod wire;

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

impl ExtAuthz {
    /// Answers `Check`: a `CheckRequest` as it stands in a call with `headers`.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        asked: Bytes,
    ) -> Result<CheckResponse, Status> {
        let (edge, listener) = (Arc::clone(&self.edge), Arc::clone(&self.listener));
        let asked = CheckRequest::decode(asked).map_err(|error| malformed(&error))?;
        let attributes = asked.attributes.unwrap_or_default();
        let caller = edge.traces.as_ref().and_then(|_| Parent::of(headers));
        // When Envoy stops waiting, the access is still recorded.
        let answering = ToItsEnd::of(async move {
            let question = question(&attributes, listener.trusted_hops);
            let Some(question) = question.map_err(|error| malformed(&error))? else {
                return Err(Status::invalid_argument(
                    "attributes.request.http is missing",
                ));
            };
            let parent = caller.or_else(|| edge.traces.as_ref().and_then(|_| parent(&question)));
            let answer = edge.answer(&listener, &question, parent).await;
            Ok(response(&answer, question.is_grpc()))
        });
        let answered = answering.await;
        answered.unwrap_or_else(|Panicked| Err(Status::internal("the decision was not made")))
    }
}

/// What no Envoy sends.
fn malformed(error: &dyn std::error::Error) -> Status {
    Status::internal(format!("the CheckRequest cannot be read: {error}"))
}

/// Reads the attributes; `None` if they are not those of an HTTP request.
fn question(
    attributes: &AttributeContext,
    trusted_hops: usize,
) -> Result<Option<Question<'_>>, Utf8Error> {
    let request = attributes.request.as_ref();
    let Some(http) = request.and_then(|request| request.http.as_ref()) else {
        return Ok(None);
    };
    // With `encode_raw_headers` duplicates stand apart and bytes are as sent; without, Envoy joined them.
    let headers: Vec<_> = match &http.header_map {
        Some(map) => map.headers.iter().map(raw).collect::<Result<_, _>>()?,
        None => joined(&http.headers)?,
    };
    let peer = peer(attributes)?;
    let address = source::address(peer, &headers, trusted_hops);
    Ok(Some(Question {
        method: text(&http.method)?,
        target: text(&http.path)?,
        authority: text(&http.host)?,
        headers,
        headers_are_known: true,
        vouched: vouched(&attributes.context_extensions)?,
        source: peer.map(|(address, port)| source::text(address, port)),
        address,
        peer: tls_peer(attributes)?,
        given: None,
    }))
}

fn text(bytes: &Bytes) -> Result<&str, Utf8Error> {
    str::from_utf8(bytes)
}

/// The entries of a map of texts, one for each key.
fn joined(entries: &[Entry]) -> Result<Vec<(&str, &[u8])>, Utf8Error> {
    let mut last = HashMap::with_capacity(entries.len());
    for entry in entries {
        last.insert(text(&entry.key)?, text(&entry.value)?.as_bytes());
    }
    Ok(last.into_iter().collect())
}

/// The route's word on where it leads.
fn vouched(extensions: &[Entry]) -> Result<Option<&str>, Utf8Error> {
    let mut last_first = extensions.iter().rev();
    let target = last_first.find(|entry| entry.key == TARGET_EXTENSION);
    target.map(|entry| text(&entry.value)).transpose()
}

/// The span that the call belongs to where Envoy tells of none of its own: what the request itself says.
fn parent(question: &Question<'_>) -> Option<Parent> {
    Parent::among(|name| {
        let headers = question.headers.iter();
        headers.filter_map(move |(its, value)| (*its == name).then_some(*value))
    })
}

/// The name and the certificate of that peer. `source.service` is what a header of the client says, and is
/// never read.
fn tls_peer(attributes: &AttributeContext) -> Result<Peer<'_>, Utf8Error> {
    let Some(source) = &attributes.source else {
        return Ok(Peer::default());
    };
    Ok(Peer {
        principal: text(&source.principal)?,
        certificate: text(&source.certificate)?,
    })
}

fn raw(header: &HeaderValue) -> Result<(&str, &[u8]), Utf8Error> {
    let value = if header.raw_value.is_empty() {
        text(&header.value)?.as_bytes()
    } else {
        &header.raw_value
    };
    Ok((text(&header.key)?, value))
}

/// The peer of Envoy's connection.
fn peer(attributes: &AttributeContext) -> Result<Option<(&str, u32)>, Utf8Error> {
    let source = attributes.source.as_ref();
    let address = source.and_then(|source| source.address.as_ref());
    match address.and_then(|address| address.kind.as_ref()) {
        Some(AddressKind::Socket(socket)) => {
            let port = match socket.port {
                Some(Port::Number(port)) => port,
                Some(Port::Named(_)) | None => 0,
            };
            Ok(Some((text(&socket.address)?, port)))
        }
        Some(AddressKind::Pipe(_) | AddressKind::Internal(_)) | None => Ok(None),
    }
}

fn response(answer: &Answer, is_grpc: bool) -> CheckResponse {
    let (code, http_response) = match &answer.disposition {
        Disposition::Forward(forward) => (Code::Ok, HttpResponse::Ok(ok(forward))),
        Disposition::Refuse(refusal) => {
            let code = match refusal {
                Refusal::Denied(_) => Code::PermissionDenied,
                Refusal::Unavailable(_) => Code::Unavailable,
            };
            (
                code,
                HttpResponse::Denied(refused(answer, refusal, is_grpc)),
            )
        }
    };
    CheckResponse {
        status: Some(wire::Status {
            code: i32::from(code),
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
    let parameters = parameters.map(|(name, value)| Written {
        key: name.as_str().to_owned(),
        value: value.expose().to_owned(),
    });
    OkHttpResponse {
        headers: headers.collect(),
        headers_to_remove: forward.remove().to_vec(),
        query_parameters_to_set: parameters.collect(),
        query_parameters_to_remove: forward.remove_parameters().to_vec(),
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
        header(DECISION_HEADER, answer.decision_id.to_string()),
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
        header: Some(Written {
            key: name.to_owned(),
            value,
        }),
        append_action: i32::from(HeaderAppendAction::OverwriteIfExistsOrAdd),
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
    let field = |(key, value): (&'static str, Option<&str>)| {
        let string_value = value?.to_owned();
        Some(Field {
            key: Bytes::from_static(key.as_bytes()),
            value: Some(Value { string_value }),
        })
    };
    Struct {
        fields: fields.into_iter().filter_map(field).collect(),
    }
}

#[cfg(test)]
mod tests;
