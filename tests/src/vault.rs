//! A server of the shape of a Vault, for there is none to be had: the parts of its documented API that credential
//! providers use. It verifies logins by the keys that our issuer publishes, keeps no more than a login knows, and
//! answers everything else as a Vault does that allows nothing.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    attache::published,
    authority::Authority,
    port::Reserved,
    server::{Answer, Server, Site},
    verify,
};

/// The role that may log in, by JWT and by AppRole.
pub const ROLE: &str = "shop";
/// The role of the edge itself, by JWT.
pub const EDGE_ROLE: &str = "attache";
/// `sub` of the edge's own tokens.
const EDGE: &str = "attache:edge:edge-1";
/// The secret of that AppRole.
pub const SECRET_ID: &str = "canary-secret-id";
/// `aud` of tokens that log in.
pub const AUDIENCE: &str = "https://vault.example.com";

/// A running Vault.
pub struct Vault {
    reserved: Reserved,
    tls: ServerConfig,
    state: Arc<State>,
    server: Option<Server>,
}

struct State {
    /// Whose tokens log in: where its keys are, and its `iss`.
    issuer: (SocketAddr, String),
    /// `sub` of tokens that log in for [`ROLE`].
    subject: String,
    /// Secrets by their path as version 2 has it, without `data/`.
    secrets: Mutex<HashMap<String, Value>>,
    /// Tokens of logins.
    tokens: Mutex<Vec<String>>,
    requests: Mutex<Vec<String>>,
    mood: Mutex<Mood>,
}

/// How it answers reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As a Vault does.
    #[default]
    Well,
    /// 403, whatever was asked.
    Forbidding,
    /// A proxy's page with status 200.
    Garbage,
    /// As a Vault does, after a second.
    Slow,
}

impl Vault {
    /// Starts one whose certificate comes from `authority`, and into which `subject` of `issuer` logs in.
    pub async fn start(
        authority: &Authority,
        issuer: (SocketAddr, String),
        subject: &str,
    ) -> Result<Self> {
        let tls = authority.issue(&["127.0.0.1"])?.server(&["http/1.1"])?;
        let reserved = Reserved::next()?;
        let state = State {
            issuer,
            subject: subject.to_owned(),
            secrets: Mutex::default(),
            tokens: Mutex::default(),
            requests: Mutex::default(),
            mood: Mutex::default(),
        };
        let mut vault = Self {
            reserved,
            tls,
            state: Arc::new(state),
            server: None,
        };
        vault.resume().await?;
        Ok(vault)
    }

    /// `https://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.reserved.address())
    }

    /// Puts a secret at `mount/path`.
    pub fn put(&self, path: &str, fields: Value) {
        let mut secrets = self
            .state
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        secrets.insert(path.to_owned(), fields);
    }

    /// Every request, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.state.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers reads so from now on.
    pub fn is(&self, mood: Mood) {
        *self
            .state
            .mood
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Goes away.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Is there again.
    pub async fn resume(&mut self) -> Result<()> {
        let (tls, state) = (self.tls.clone(), Arc::clone(&self.state));
        let server = Server::start(self.reserved.address(), Some(tls), state).await?;
        self.server = Some(server);
        Ok(())
    }
}

impl State {
    async fn reply(
        &self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
        body: &Value,
    ) -> (u16, Value) {
        let denied = (403, json!({"errors": ["permission denied"]}));
        match (method, path) {
            ("POST", "/v1/auth/jwt/login") => match self.proven(body).await {
                Ok(()) => (200, self.begin()),
                Err(why) => (
                    400,
                    json!({"errors": [format!("error validating token: {why}")]}),
                ),
            },
            ("POST", "/v1/auth/approle/login") => {
                let is_right = body["role_id"] == ROLE && body["secret_id"] == SECRET_ID;
                match is_right {
                    true => (200, self.begin()),
                    false => (400, json!({"errors": ["invalid role or secret ID"]})),
                }
            }
            _ if !self.knows(headers) => denied,
            ("POST", "/v1/auth/token/renew-self") => {
                let token = headers.get("x-vault-token");
                let token = token.and_then(|token| token.to_str().ok());
                (200, auth(token.unwrap_or_default()))
            }
            ("GET", path) => self.read(path).unwrap_or((404, json!({"errors": []}))),
            _ => denied,
        }
    }

    async fn proven(&self, body: &Value) -> Result<()> {
        let subject = match body["role"].as_str() {
            Some(ROLE) => self.subject.as_str(),
            Some(EDGE_ROLE) => EDGE,
            _ => anyhow::bail!("role could not be found"),
        };
        let token = body["jwt"].as_str().context("missing token")?;
        let (address, issuer) = &self.issuer;
        let keys = published(*address, "/keys").await?;
        let claims = verify::claims(token, &keys, issuer, AUDIENCE)?;
        anyhow::ensure!(claims["sub"] == subject, "sub claim does not match");
        Ok(())
    }

    fn note(&self, request: String) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
    }

    fn begin(&self) -> Value {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!("hvs.canary-login-{}", tokens.len());
        tokens.push(token.clone());
        auth(&token)
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = headers.get("x-vault-token");
        token.is_some_and(|shown| {
            tokens
                .iter()
                .any(|token| token.as_bytes() == shown.as_bytes())
        })
    }

    /// By version 2 where `data` stands behind the mount, else by version 1.
    fn read(&self, path: &str) -> Option<(u16, Value)> {
        let path = path.strip_prefix("/v1/")?;
        let (mount, rest) = path.split_once('/')?;
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match rest.strip_prefix("data/") {
            Some(rest) => {
                let fields = secrets.get(&format!("{mount}/{rest}"))?;
                let metadata = json!({"version": 1, "destroyed": false, "deletion_time": ""});
                json!({"lease_duration": 0, "data": {"data": fields, "metadata": metadata}})
            }
            None => json!({"lease_duration": 2_764_800, "data": secrets.get(path)?}),
        };
        Some((200, answer))
    }
}

fn auth(token: &str) -> Value {
    json!({"auth": {
        "client_token": token,
        "accessor": "an-accessor",
        "policies": ["default", ROLE],
        "lease_duration": 3600,
        "renewable": true,
        "token_type": "service",
    }})
}

impl Site for State {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or(Value::Null);
        let (method, path) = (head.method.as_str(), head.uri.path());
        self.note(format!("{method} {path}"));
        let mood = *self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, answer) = match mood {
            Mood::Forbidding if method == "GET" => (403, json!({"errors": ["permission denied"]})),
            Mood::Well | Mood::Forbidding | Mood::Garbage | Mood::Slow => {
                self.reply(method, path, &head.headers, &body).await
            }
        };
        if mood == Mood::Slow {
            sleep(Duration::from_secs(1)).await;
        }
        let media_type = match mood {
            Mood::Garbage => "text/html",
            Mood::Well | Mood::Forbidding | Mood::Slow => "application/json",
        };
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())).boxed());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let media_type = http::HeaderValue::from_static(media_type);
        response.headers_mut().insert("content-type", media_type);
        response
    }
}
