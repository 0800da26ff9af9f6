//! A certified authorization server, npm's `oidc-provider`, with one client that proves itself by JWTs of ours.

use std::{net::SocketAddr, path::Path};

use anyhow::Result;
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
pub struct AuthorizationServer(NodeServer);

impl AuthorizationServer {
    /// Starts it with `client`, whose keys are at `jwks_uri`; its tokens are for `resource`. Its output goes to
    /// `directory`.
    pub async fn start(
        client: &str,
        jwks_uri: &str,
        resource: &str,
        directory: &Path,
    ) -> Result<Self> {
        let arguments = [client, jwks_uri, resource];
        let server = NodeServer::start("authorization-server", &arguments, directory).await?;
        Ok(Self(server))
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> String {
        self.0.issuer()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Every request for a token: what was `asked`, its `status` and its `error`.
    pub fn requests(&self) -> Vec<Value> {
        self.0.told()
    }

    /// Its published keys.
    pub async fn keys(&self) -> Result<Value> {
        let address = self.address().to_string();
        let reply = client::http1(self.address(), client::get(&address, "/jwks")?).await?;
        reply.json()
    }

    /// Asks its token endpoint, as anybody can.
    pub async fn ask(&self, form: &[(&str, &str)]) -> Result<Reply> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/token", self.issuer()))
            .header("host", self.address().to_string())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body.finish())))?;
        client::http1(self.address(), request).await
    }
}
