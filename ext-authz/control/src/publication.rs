//! The issuer's public documents over HTTP (OpenID Connect Discovery 1.0 §4, SPIFFE Federation §5), which
//! everyone may read, and the token endpoint beside them where one is configured.

use std::sync::Arc;

use attache_issuer::{
    Issuer,
    publication::{BUNDLE_PATH, DISCOVERY_PATH, KEYS_PATH, TOKEN_PATH},
    rotation::DOCUMENTS_MAX_AGE,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

use crate::token::{self, TokenEndpoint};

/// The routes, under the path of the issuer's URL. Tokens are exchanged where `tokens` is there.
pub fn router(issuer: Arc<Issuer>, tokens: Option<TokenEndpoint>) -> Router {
    // The URL's path has no character that a route pattern would read as its own.
    let path = issuer.url().path().to_owned();
    let documents = Router::new()
        .route(&format!("{path}{DISCOVERY_PATH}"), get(discovery_document))
        .route(&format!("{path}{KEYS_PATH}"), get(keys))
        .route(&format!("{path}{BUNDLE_PATH}"), get(bundle))
        .with_state(issuer);
    let routes = match tokens {
        Some(endpoint) => documents.route(&format!("{path}{TOKEN_PATH}"), token::route(endpoint)),
        None => documents,
    };
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn discovery_document(State(issuer): State<Arc<Issuer>>) -> impl IntoResponse {
    document(issuer.discovery_document())
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> impl IntoResponse {
    document(issuer.jwks())
}

async fn bundle(State(issuer): State<Arc<Issuer>>) -> impl IntoResponse {
    document(issuer.bundle())
}

fn document(json: Arc<[u8]>) -> impl IntoResponse {
    // INVARIANT: a key signs only after every copy has run out that was given before it was published.
    let cache = format!("public, max-age={}", DOCUMENTS_MAX_AGE.as_secs());
    let cache = HeaderValue::try_from(cache).unwrap_or(HeaderValue::from_static("no-cache"));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, cache),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, Bytes::from_owner(json))
}

async fn not_found() -> impl IntoResponse {
    let message = "the issuer's documents lie under its URL at /.well-known/openid-configuration, \
                   /keys and /bundle";
    (
        StatusCode::NOT_FOUND,
        Json(json!({ "error": "not-found", "message": message })),
    )
}

async fn method_not_allowed() -> impl IntoResponse {
    let message = "the issuer's documents are read with GET, and tokens asked for with POST";
    let body = Json(json!({ "error": "method-not-allowed", "message": message }));
    (StatusCode::METHOD_NOT_ALLOWED, body)
}

#[cfg(test)]
mod tests;
