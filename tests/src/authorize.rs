//! Asking Attaché as Envoy does, without Envoy: for strangers, and for what no Envoy lets through.

use std::path::Path;

use anyhow::Result;
use envoy_types::{
    ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse},
    pb::envoy::service::auth::v3::{
        AttributeContext,
        attribute_context::{HttpRequest, Request},
        authorization_client::AuthorizationClient,
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::{client::EVIDENCE, quickstart::STRIPE, stage::CHARGES};

/// The quick start's call, to which the right answer is a token.
pub fn charges(token: &str) -> CheckRequest {
    asking("GET", CHARGES, token)
}

/// A call of Stripe with any method and path.
pub fn asking(method: &str, path: &str, token: &str) -> CheckRequest {
    calling(STRIPE, method, path, &[(EVIDENCE, token)])
}

/// A call of `host`, to which its route leads, with any headers.
pub fn calling(host: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let http = HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: host.to_owned(),
        headers: headers.collect(),
        ..HttpRequest::default()
    };
    let vouched = ("attache.target".to_owned(), format!("https://{host}"));
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            context_extensions: [vouched].into(),
            ..AttributeContext::default()
        }),
    }
}

/// Asks `question` over `channel`.
pub async fn check(channel: Channel, question: CheckRequest) -> Result<CheckResponse> {
    Ok(AuthorizationClient::new(channel)
        .check(question)
        .await?
        .into_inner())
}

/// Whether the answer has Envoy attach a bearer token.
pub fn holds_a_token(answer: &CheckResponse) -> bool {
    let Some(HttpResponse::OkResponse(ok)) = &answer.http_response else {
        return false;
    };
    ok.headers.iter().any(|option| {
        option
            .header
            .as_ref()
            .is_some_and(|header| header.value.starts_with("Bearer "))
    })
}

/// A connection to Attaché's unix socket.
pub async fn over_unix(socket: &Path) -> Result<Channel> {
    let socket = socket.to_path_buf();
    let connect = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_static("http://attache")
        .connect_with_connector(connect)
        .await?)
}
