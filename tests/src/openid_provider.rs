//! A certified OpenID Connect provider, npm's `oidc-provider`: its discovery, its keys, and an ID token that it
//! gave its client.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::node::NodeServer;

/// A running provider.
#[derive(Debug)]
pub struct OpenIdProvider {
    server: NodeServer,
    id_token: String,
}

impl OpenIdProvider {
    /// Starts it with one client, and has it authenticate `subject` for it. Its output goes to `directory`.
    pub async fn start(client: &str, subject: &str, directory: &Path) -> Result<Self> {
        let server = NodeServer::start("openid-provider", &[client, subject], directory).await?;
        let told = server.told();
        let answer = told.first().context("it printed no JSON")?;
        let id_token = answer["id_token"].as_str().context("no ID token")?;
        Ok(Self {
            id_token: id_token.to_owned(),
            server,
        })
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> String {
        self.server.issuer()
    }

    /// The ID token of its client.
    pub fn id_token(&self) -> &str {
        &self.id_token
    }
}
