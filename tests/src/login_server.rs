//! A certified authorization server, npm's `oidc-provider`, for an application that asks for its tokens itself.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
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
pub struct LoginServer {
    reserved: Reserved,
    process: Process,
}

impl LoginServer {
    /// Starts it with `client`, whose keys are at `jwks_uri`. Its output goes to `directory`.
    pub async fn start(client: &str, jwks_uri: &str, directory: &Path) -> Result<Self> {
        let script = workspace::root().join("target/npm/login-server.mjs");
        ensure!(
            script.is_file(),
            "no {}; `make peers` fetches it",
            script.display()
        );
        let reserved = Reserved::next()?;
        let port = reserved.address().port().to_string();
        let mut command = Command::new("node");
        command.arg(script).args([&port, client, jwks_uri]);
        let mut process = Process::start("login-server", &mut command, directory)?;
        process
            .ready(async |process| process.output().lines().any(|line| line == "ready"))
            .await?;
        Ok(Self { reserved, process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.reserved.address()
    }

    /// What it calls itself, and how it wants to be named in an assertion.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The requests for tokens: each with its form as it was `asked`, `authorization`, `status` and `error`.
    pub fn requests(&self) -> Vec<Value> {
        let output = self.process.output();
        let lines = output.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
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
