//! A Kubernetes cluster's token issuer: discovery, JWKS, and projected ServiceAccount tokens.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use jiff::Timestamp;
use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::{
    authority::Authority,
    forgery::{Forgery, RsaKey},
    port::Reserved,
    server::{Answer, Server, Site},
};

/// The audience that Attaché asks for.
pub const AUDIENCE: &str = "attache";

/// A cluster's issuer.
pub struct Cluster {
    key: RsaKey,
    issuer: String,
    reserved: Reserved,
    tls: ServerConfig,
    documents: Arc<Documents>,
    server: Option<Server>,
}

impl Cluster {
    /// Starts an issuer whose certificate comes from `authority`.
    pub async fn start(authority: &Authority) -> Result<Self> {
        let key = RsaKey::generate("cluster-key-1")?;
        let tls = authority.issue(&["127.0.0.1"])?.server(&["http/1.1"])?;
        let reserved = Reserved::next()?;
        let address = reserved.address();
        let issuer = format!("https://{address}");
        let documents = Arc::new(Documents {
            discovery: json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/openid/v1/jwks"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }),
            keys: json!({ "keys": [key.jwk()] }),
            key_fetches: AtomicUsize::new(0),
        });
        let server = Server::start(address, Some(tls.clone()), Arc::clone(&documents)).await?;
        Ok(Self {
            key,
            issuer,
            reserved,
            tls,
            documents,
            server: Some(server),
        })
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where its keys stand.
    pub fn keys_url(&self) -> String {
        format!("{}/openid/v1/jwks", self.issuer)
    }

    /// Its JWKS.
    pub fn keys(&self) -> &Value {
        &self.documents.keys
    }

    /// How often its keys were fetched.
    pub fn key_fetches(&self) -> usize {
        self.documents.key_fetches.load(Ordering::Relaxed)
    }

    /// Goes away: nothing listens any more.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Comes back at the same address.
    pub async fn resume(&mut self) -> Result<()> {
        let documents = Arc::clone(&self.documents);
        self.server =
            Some(Server::start(self.reserved.address(), Some(self.tls.clone()), documents).await?);
        Ok(())
    }

    /// The claims of a projected token of ServiceAccount `name` in `namespace`, good for ten minutes.
    pub fn claims(&self, namespace: &str, name: &str) -> Value {
        pod_claims(&self.issuer, namespace, name)
    }

    /// A projected token, as the kubelet would write it.
    pub fn token(&self, namespace: &str, name: &str) -> Result<String> {
        self.key.sign(&self.claims(namespace, name))
    }

    /// Any claims, properly signed.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        self.key.sign(claims)
    }

    /// A token of `name` in `namespace`, made wrong in one way.
    pub fn forge(&self, forgery: Forgery, namespace: &str, name: &str) -> Result<String> {
        self.key.forge(forgery, &self.claims(namespace, name))
    }
}

/// The claims of a projected token that `issuer` signs for ServiceAccount `name` in `namespace`, good for ten minutes.
pub fn pod_claims(issuer: &str, namespace: &str, name: &str) -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": issuer,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "aud": [AUDIENCE],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "0f2bd3b6-3c36-4d2c-a8a1-5a7a2b1c9d11",
        "kubernetes.io": {
            "namespace": namespace,
            "node": { "name": "node-1", "uid": "5a6f2a3a-6f6c-4c52-9f0e-0d6f5b1f5f01" },
            "pod": { "name": format!("{name}-7d9c"), "uid": "2f0d5c44-8a74-4e1d-a4ea-9a0b8b8f3c02" },
            "serviceaccount": { "name": name, "uid": "9f7c2f0e-57d2-4d5f-8b39-64c4ab3f6a03" },
        },
    })
}

struct Documents {
    discovery: Value,
    keys: Value,
    key_fetches: AtomicUsize,
}

impl Site for Documents {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let document = match request.uri().path() {
            "/.well-known/openid-configuration" => Some(&self.discovery),
            "/openid/v1/jwks" => {
                self.key_fetches.fetch_add(1, Ordering::Relaxed);
                Some(&self.keys)
            }
            _ => None,
        };
        let body = document.map(ToString::to_string).unwrap_or_default();
        let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
        if document.is_none() {
            *answer.status_mut() = StatusCode::NOT_FOUND;
        }
        let json = http::HeaderValue::from_static("application/json");
        answer.headers_mut().insert("content-type", json);
        answer
    }
}
