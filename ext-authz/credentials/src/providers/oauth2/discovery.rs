//! Where an authorization server's token endpoint is, as it publishes it: RFC 8414, else OpenID Connect Discovery 1.0.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attache_outbound::{Call, Client, StatusCode, Url};
use attache_policy::document::TokenEndpoint;
use serde_json::Value;
use tokio::time::Instant;

use crate::providers::calls::{self, Failure, send, target};

/// For how long what was published is believed.
const KEPT: Duration = Duration::from_mins(10);
/// For so many servers; then all are asked again.
const MAX_KEPT: usize = 256;

#[derive(Default)]
pub(super) struct Discovery {
    known: Mutex<Vec<Known>>,
}

struct Known {
    /// With its authorities: two documents that believe different ones do not share what one of them was told.
    of: TokenEndpoint,
    url: String,
    until: Instant,
}

impl Discovery {
    /// The token endpoint of `issuer`.
    pub(super) async fn token_endpoint(
        &self,
        client: &Client,
        of: &TokenEndpoint,
        issuer: &str,
    ) -> Result<String, Failure> {
        if let Some(url) = self.known_url(of) {
            return Ok(url);
        }
        let url = published(client, issuer).await?;
        let mut known = self.known();
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.retain(|known| known.of != *of);
        known.push(Known {
            of: of.clone(),
            url: url.clone(),
            until: Instant::now() + KEPT,
        });
        Ok(url)
    }

    /// It is asked again next time.
    pub(super) fn forget(&self, of: &TokenEndpoint) {
        self.known().retain(|known| known.of != *of);
    }

    fn known_url(&self, of: &TokenEndpoint) -> Option<String> {
        let known = self.known();
        let found = known.iter().find(|known| known.of == *of)?;
        (Instant::now() < found.until).then(|| found.url.clone())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn published(client: &Client, issuer: &str) -> Result<String, Failure> {
    let issuer_url = target(issuer)?;
    let mut last = None;
    for at in [oauth_metadata(&issuer_url), openid_metadata(&issuer_url)] {
        let answer = send(client, Call::get(at)).await?;
        if answer.status() == StatusCode::OK {
            return endpoint(&answer.json()?, issuer);
        }
        let failure = calls::refused("the server's metadata", &answer);
        // Not published there; the other place may have it. A broken server is not asked twice.
        if !failure.is_refusal() {
            return Err(failure);
        }
        last = Some(failure);
    }
    Err(last.unwrap_or_else(|| Failure::answer("the server publishes no metadata")))
}

/// RFC 8414 §3.1: before the path.
fn oauth_metadata(issuer: &Url) -> Url {
    let path = issuer.path().trim_end_matches('/');
    let mut at = issuer.clone();
    at.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    at
}

/// OpenID Connect Discovery §4: behind the path.
fn openid_metadata(issuer: &Url) -> Url {
    let path = issuer.path().trim_end_matches('/');
    let mut at = issuer.clone();
    at.set_path(&format!("{path}/.well-known/openid-configuration"));
    at
}

/// SECURITY: metadata that names another issuer was written by or for somebody else (RFC 8414 §3.3).
fn endpoint(metadata: &serde_json::Map<String, Value>, issuer: &str) -> Result<String, Failure> {
    let text = |name| metadata.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(Failure::answer(
            "the server's metadata is of another issuer",
        ));
    }
    let url = text("token_endpoint");
    let url = url.ok_or_else(|| Failure::answer("the metadata names no token endpoint"))?;
    target(url)?;
    Ok(url.to_owned())
}
