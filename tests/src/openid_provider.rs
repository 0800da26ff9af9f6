//! A certified OpenID Connect provider, npm's `oidc-provider`: its discovery, its keys, and an ID token that it
//! gave its client.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{port::Reserved, process::Process, workspace};

/// A running provider.
#[derive(Debug)]
pub struct OpenIdProvider {
    reserved: Reserved,
    id_token: String,
    _process: Process,
}

impl OpenIdProvider {
    /// Starts it with one client, and has it authenticate `subject` for it. Its output goes to `directory`.
    pub async fn start(client: &str, subject: &str, directory: &Path) -> Result<Self> {
        let script = workspace::root().join("target/npm/openid-provider.mjs");
        ensure!(
            script.is_file(),
            "no {}; `make peers` fetches it",
            script.display()
        );
        let reserved = Reserved::next()?;
        let port = reserved.address().port().to_string();
        let mut command = Command::new("node");
        command.arg(script).args([&port, client, subject]);
        let mut process = Process::start("openid-provider", &mut command, directory)?;
        process
            .ready(async |process| process.output().lines().any(|line| line == "ready"))
            .await?;
        let output = process.output();
        let answer = output.lines().find(|line| line.starts_with('{'));
        let answer: Value = serde_json::from_str(answer.context("it printed no JSON")?)?;
        let id_token = answer["id_token"].as_str().context("no ID token")?;
        Ok(Self {
            id_token: id_token.to_owned(),
            reserved,
            _process: process,
        })
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.reserved.address())
    }

    /// The ID token of its client.
    pub fn id_token(&self) -> &str {
        &self.id_token
    }
}
