//! A certified authorization server, npm's `oidc-provider`, for an application that asks for its tokens itself.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::{
    client::{self, Reply},
    node::NodeServer,
};

/// A running server.
#[derive(Debug)]
pub struct LoginServer(NodeServer);

impl LoginServer {
    /// Starts it with `client`, whose keys are at `jwks_uri`. Its output goes to `directory`.
    pub async fn start(client: &str, jwks_uri: &str, directory: &Path) -> Result<Self> {
        let server = NodeServer::start("login-server", &[client, jwks_uri], directory).await?;
        Ok(Self(server))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// What it calls itself, and how it wants to be named in an assertion.
    pub fn issuer(&self) -> String {
        self.0.issuer()
    }

    /// The requests for tokens: each with its form as it was `asked`, `authorization`, `status` and `error`.
    pub fn requests(&self) -> Vec<Value> {
        self.0.told()
    }

    /// The last of them.
    pub fn last(&self) -> Result<Value> {
        self.requests().pop().context("nobody asked for a token")
    }

    /// A code for a user who has logged in, and where it was sent.
    pub async fn code(&self, challenge: &str) -> Result<(String, String)> {
        let address = self.address();
        let request = client::get(
            &address.to_string(),
            &format!("/code?challenge={challenge}"),
        )?;
        let answer = client::http1(address, request).await?.json()?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        Ok((
            text("code").context("no code")?,
            text("redirect_uri").context("no redirect_uri")?,
        ))
    }

    /// Asks for a token as anybody can, without a proxy.
    pub async fn ask(&self, form: &[(&str, &str)]) -> Result<Reply> {
        client::http1(
            self.address(),
            token_request(&self.address().to_string(), form)?,
        )
        .await
    }
}

/// `POST /token` of `host` with a form.
pub fn token_request(host: &str, form: &[(&str, &str)]) -> Result<Request<Full<Bytes>>> {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    Ok(Request::builder()
        .method(Method::POST)
        .uri(format!("http://{host}/token"))
        .header("host", host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body.finish())))?)
}
