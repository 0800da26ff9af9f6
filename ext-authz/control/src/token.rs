//! The token endpoint: evidence in, token out, by RFC 8693 (token exchange) or RFC 7523 (the evidence as an
//! assertion). It reads the form and writes the answer; who may have which token is decided, and recorded,
//! behind [`Exchange`], in the same way as for a call.
//!
//! SECURITY: no client is authenticated here, and nothing of the request is believed but the evidence that
//! is verified. Answers are never stored, and no browser of another origin may read them.

mod answer;
mod form;
mod pace;
mod slots;

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use attache_core::{evidence::Evidence, secret::Secret, token::TokenTarget};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::{Instant, timeout};

use self::{answer::Refusal, form::Form, pace::Pace, slots::Slots};
use crate::server::{Peer, neighbourhood};

/// Bytes of a form. The evidence is the largest part of it.
pub const MAX_FORM_BYTES: usize = 48 * 1024;
/// How long a client may take to send its form.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that are decided at once; more are told to come again.
const MAX_IN_FLIGHT: usize = 64;
/// Of these, requests of one address.
const MAX_OF_ONE: usize = 16;

/// Decides who may have which token, and gives it.
pub trait Exchange: Send + Sync {
    /// Judges the evidence, decides by policy, records the access, and mints.
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>>;

    /// Where the request really comes from, told by the connection's `peer` and the proxies before it. `None`
    /// if it is not known for certain, as without any word of what stands before this port.
    fn origin(&self, _peer: SocketAddr, _headers: &HeaderMap) -> Option<IpAddr> {
        None
    }
}

/// What is asked for.
pub struct Asked {
    /// What the workload shows of itself.
    pub evidence: Evidence,
    /// `audience` (RFC 8693 §2.1): the `aud` that the token is to have.
    pub audience: Option<String>,
    /// `resource` (RFC 8707 §2): the target.
    pub resource: Option<TokenTarget>,
    /// The connection's peer.
    pub source: Option<SocketAddr>,
    /// [`Exchange::origin`].
    pub origin: Option<IpAddr>,
}

/// What became of it.
pub struct Exchanged {
    /// The id of the audit event.
    pub decision_id: String,
    /// The token, or why there is none.
    pub outcome: Result<Given, NotGiven>,
}

impl Exchanged {
    /// It was not decided to its end.
    fn broken() -> Self {
        let (code, sentence) = (
            "credential-unavailable",
            "the credential could not be obtained",
        );
        Self {
            decision_id: String::new(),
            outcome: Err(NotGiven::Unavailable(code, sentence)),
        }
    }
}

/// A token, and how long it is good from now.
pub struct Given {
    /// The JWT in compact form.
    pub token: Secret,
    /// What is left of its lifetime.
    pub expires_in: Duration,
}

/// Why no token is given: a stable code, and a sentence for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGiven {
    /// The evidence is not accepted.
    Evidence(&'static str, &'static str),
    /// Policy gives this workload no token for that target.
    Target(&'static str, &'static str),
    /// Something is broken.
    Unavailable(&'static str, &'static str),
}

/// The endpoint, as it is configured.
pub struct TokenEndpoint {
    exchange: Arc<dyn Exchange>,
    pace: Pace,
    slots: Slots,
}

impl TokenEndpoint {
    /// Answers by `exchange`, at most `per_second` requests of one address (IPv6: of one /64 network).
    pub fn new(exchange: Arc<dyn Exchange>, per_second: u32) -> Self {
        Self {
            exchange,
            pace: Pace::new(per_second),
            slots: Slots::new(MAX_IN_FLIGHT, MAX_OF_ONE),
        }
    }
}

/// The route.
pub(crate) fn route(endpoint: TokenEndpoint) -> MethodRouter {
    post(respond).with_state(Arc::new(endpoint))
}

async fn respond(State(endpoint): State<Arc<TokenEndpoint>>, request: Request) -> Response {
    match endpoint.answer(request).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.into_response(),
    }
}

impl TokenEndpoint {
    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let source = request.extensions().get::<Peer>().map(|peer| peer.0);
        let origin = source.and_then(|peer| self.exchange.origin(peer, request.headers()));
        let peer = || source.map_or(IpAddr::from([0, 0, 0, 0]), |source| source.ip());
        let from = neighbourhood(origin.unwrap_or_else(peer));
        if !self.pace.admits(from, Instant::now()) {
            return Err(Refusal::too_many());
        }
        // SECURITY: read before it takes a slot, so that no client keeps one by sending slowly. What is read
        // at once is bounded by the connections of the port.
        let form = read(request).await?;
        let slot = self.slots.take(from).ok_or_else(Refusal::busy)?;
        let asked = Asked {
            evidence: Evidence::Token(form.evidence),
            audience: form.audience,
            resource: form.resource,
            source,
            origin,
        };
        let exchange = Arc::clone(&self.exchange);
        // A task of its own: when the workload stops waiting, the access is still recorded, and its slot is
        // taken until it is.
        let deciding = tokio::spawn(async move {
            let exchanged = exchange.exchange(asked).await;
            drop(slot);
            exchanged
        });
        let Exchanged {
            decision_id,
            outcome,
        } = deciding.await.unwrap_or_else(|_panic| Exchanged::broken());
        match outcome {
            Ok(given) => Ok(answer::token(&given, form.grant, &decision_id)),
            Err(reason) => Err(Refusal::of(reason, form.grant, decision_id)),
        }
    }
}

/// The form of a request that has nothing else.
async fn read(request: Request<Body>) -> Result<Form, Refusal> {
    let (head, body) = request.into_parts();
    if let Some(authorization) = head.headers.get(AUTHORIZATION) {
        return Err(Refusal::client(authorization));
    }
    // RFC 6749 §2.3.1 and §3.2: URIs end up in logs.
    if head.uri.query().is_some() {
        return Err(Refusal::request(
            "parameters belong into the body, not into the URL",
        ));
    }
    let content = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content = content
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    if !content
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(Refusal::request(
            "the body must be application/x-www-form-urlencoded",
        ));
    }
    let body = Limited::new(body, MAX_FORM_BYTES).collect();
    let body = timeout(FORM_TIMEOUT, body).await;
    let body = body.map_err(|_elapsed| Refusal::request("the body did not arrive in time"))?;
    let body = body.map_err(|_too_large_or_cut_off| Refusal::too_large())?;
    Form::read(&body.to_bytes())
}

#[cfg(test)]
mod tests;
