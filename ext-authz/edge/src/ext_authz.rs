//! `envoy.service.auth.v3.Authorization`: what Envoy asks becomes a question, the answer becomes what
//! Envoy does. No rule of its own.

use std::{collections::HashMap, str::Utf8Error, sync::Arc};

use bytes::Bytes;
use hyper::HeaderMap;
use tonic::Status;

use crate::{
    peer::Peer,
    pipeline::Edge,
    question::Question,
    server::Framed,
    settings::ListenerSettings,
    source,
    to_its_end::{Panicked, ToItsEnd},
    traces::Parent,
};

use self::{
    answered::Answered,
    asked::{Asked, Entry},
};

pub mod asked;

mod answered;

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
    pub(crate) async fn check(&self, headers: &HeaderMap, asked: Bytes) -> Result<Framed, Status> {
        let (edge, listener) = (Arc::clone(&self.edge), Arc::clone(&self.listener));
        let caller = edge.traces.as_ref().and_then(|_| Parent::of(headers));
        // When Envoy stops waiting, the access is still recorded.
        let answering = ToItsEnd::of(async move {
            let asked = Asked::read(&asked).map_err(|error| malformed(&error))?;
            let question = question(asked, listener.trusted_hops);
            let Some(question) = question.map_err(|error| malformed(&error))? else {
                return Err(Status::invalid_argument(
                    "attributes.request.http is missing",
                ));
            };
            let parent = caller.or_else(|| edge.traces.as_ref().and_then(|_| parent(&question)));
            let answer = edge.answer(&listener, &question, parent).await;
            Answered::new(&answer, question.is_grpc()).framed()
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
fn question(asked: Asked<'_>, trusted_hops: usize) -> Result<Option<Question<'_>>, Utf8Error> {
    let Some(http) = asked.http else {
        return Ok(None);
    };
    let headers = match http.raw {
        Some(headers) => headers,
        None => joined(&http.joined)?,
    };
    // The peer of Envoy's connection.
    let socket = asked.source.socket;
    let peer = socket.map(|socket| Ok((str::from_utf8(socket.address)?, socket.port)));
    let peer = peer.transpose()?;
    let address = source::address(peer, &headers, trusted_hops);
    Ok(Some(Question {
        method: str::from_utf8(http.method)?,
        target: str::from_utf8(http.path)?,
        authority: str::from_utf8(http.host)?,
        headers,
        headers_are_known: true,
        vouched: vouched(&asked.extensions)?,
        source: peer.map(|(address, port)| source::text(address, port)),
        address,
        // `source.service` is what a header of the client says, and is never read.
        peer: Peer {
            principal: str::from_utf8(asked.source.principal)?,
            certificate: str::from_utf8(asked.source.certificate)?,
        },
        given: None,
    }))
}

/// The entries of a map of texts, one for each key.
fn joined<'a>(entries: &[Entry<'a>]) -> Result<Vec<(&'a str, &'a [u8])>, Utf8Error> {
    let mut last = HashMap::with_capacity(entries.len());
    for entry in entries {
        let (key, value) = (str::from_utf8(entry.key)?, str::from_utf8(entry.value)?);
        last.insert(key, value.as_bytes());
    }
    Ok(last.into_iter().collect())
}

/// The route's word on where it leads.
fn vouched<'a>(extensions: &[Entry<'a>]) -> Result<Option<&'a str>, Utf8Error> {
    let mut last_first = extensions.iter().rev();
    let target = last_first.find(|entry| entry.key == TARGET_EXTENSION.as_bytes());
    target.map(|entry| str::from_utf8(entry.value)).transpose()
}

/// The span that the call belongs to where Envoy tells of none of its own: what the request itself says.
fn parent(question: &Question<'_>) -> Option<Parent> {
    Parent::among(|name| {
        let headers = question.headers.iter();
        headers.filter_map(move |(its, value)| (*its == name).then_some(*value))
    })
}

#[cfg(test)]
mod tests;
