//! A certified authorization server, npm's `oidc-provider`, with one client that proves itself by JWTs of ours.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::{
    client::{self, Reply},
    port::Reserved,
    process::Process,
    workspace,
};

/// A running server.
#[derive(Debug)]
pub struct AuthorizationServer {
    reserved: Reserved,
    process: Process,
}

impl AuthorizationServer {
    /// Starts it with `client`, whose keys are at `jwks_uri`; its tokens are for `resource`. Its output goes to
    /// `directory`.
    pub async fn start(
        client: &str,
        jwks_uri: &str,
        resource: &str,
        directory: &Path,
    ) -> Result<Self> {
        let script = workspace::root().join("target/npm/authorization-server.mjs");
        ensure!(
            script.is_file(),
            "no {}; `make peers` fetches it",
            script.display()
        );
        let reserved = Reserved::next()?;
        let port = reserved.address().port().to_string();
        let mut command = Command::new("node");
        command
            .arg(script)
            .args([&port, client, jwks_uri, resource]);
        let mut process = Process::start("authorization-server", &mut command, directory)?;
        process
            .ready(async |process| process.output().lines().any(|line| line == "ready"))
            .await?;
        Ok(Self { reserved, process })
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.reserved.address()
    }

    /// Every request for a token: what was `asked`, its `status` and its `error`.
    pub fn requests(&self) -> Vec<Value> {
        let output = self.process.output();
        let lines = output.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
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
