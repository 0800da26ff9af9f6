//! The token endpoint: evidence in, token out, by RFC 8693 (token exchange) or RFC 7523 (the evidence as an
//! assertion). It reads the form and writes the answer; who may have which token is decided, and recorded,
//! behind [`Exchange`], in the same way as for a call.
//!
//! SECURITY: no client is authenticated here, and nothing of the request is believed but the evidence that
//! is verified. Answers are never stored, and no browser of another origin may read them.

mod answer;
mod form;
mod pace;

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
    http::header::{AUTHORIZATION, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use http_body_util::{BodyExt as _, Limited};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use self::{answer::Refusal, form::Form, pace::Pace};
use crate::server::{Peer, neighbourhood};

/// Bytes of a form. The evidence is the largest part of it.
pub const MAX_FORM_BYTES: usize = 48 * 1024;
/// How long a client may take to send its form.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that are decided at once; more are told to come again.
const MAX_IN_FLIGHT: usize = 64;

/// Decides who may have which token, and gives it.
pub trait Exchange: Send + Sync {
    /// Judges the evidence, decides by policy, records the access, and mints.
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>>;
}

/// What is asked for.
pub struct Asked {
    /// What the workload shows of itself.
    pub evidence: Evidence,
    /// `audience` (RFC 8693 §2.1): the `aud` that the token is to have.
    pub audience: Option<String>,
    /// `resource` (RFC 8707 §2): the target.
    pub resource: Option<TokenTarget>,
    /// Where the request comes from.
    pub source: Option<SocketAddr>,
}

/// What became of it.
pub struct Exchanged {
    /// The id of the audit event.
    pub decision_id: String,
    /// The token, or why there is none.
    pub outcome: Result<Given, NotGiven>,
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
    in_flight: Semaphore,
}

impl TokenEndpoint {
    /// Answers by `exchange`, at most `per_second` requests of one address (IPv6: of one /64 network).
    pub fn new(exchange: Arc<dyn Exchange>, per_second: u32) -> Self {
        Self {
            exchange,
            pace: Pace::new(per_second),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
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
        let address = source.map_or(IpAddr::from([0, 0, 0, 0]), |source| source.ip());
        if !self.pace.admits(neighbourhood(address), Instant::now()) {
            return Err(Refusal::too_many());
        }
        let _slot = self
            .in_flight
            .try_acquire()
            .map_err(|_all_taken| Refusal::busy())?;
        let form = read(request).await?;
        let asked = Asked {
            evidence: Evidence::Token(form.evidence),
            audience: form.audience,
            resource: form.resource,
            source,
        };
        let Exchanged {
            decision_id,
            outcome,
        } = self.exchange.exchange(asked).await;
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
