//! The issuer's two public documents over HTTP (OpenID Connect Discovery 1.0 §4). Everyone may read
//! them, nothing else is here, and no request is read beyond its method and path.

use std::sync::Arc;

use attache_issuer::{
    Issuer,
    publication::{DISCOVERY_PATH, KEYS_PATH},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

/// How long verifiers may keep the documents. A new key is published longer than this before it signs.
const CACHE: &str = "public, max-age=300";

/// The routes, under the path of the issuer's URL.
pub fn router(issuer: Arc<Issuer>) -> Router {
    // The URL's path has no character that a route pattern would read as its own.
    let path = issuer.url().path().to_owned();
    Router::new()
        .route(&format!("{path}{DISCOVERY_PATH}"), get(discovery_document))
        .route(&format!("{path}{KEYS_PATH}"), get(keys))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(issuer)
}

async fn discovery_document(State(issuer): State<Arc<Issuer>>) -> impl IntoResponse {
    document(issuer.discovery_document())
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> impl IntoResponse {
    document(issuer.jwks())
}

fn document(json: Arc<[u8]>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, CACHE),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Bytes::from_owner(json))
}

async fn not_found() -> impl IntoResponse {
    let message =
        "the issuer's documents lie under its URL at /.well-known/openid-configuration and /keys";
    (
        StatusCode::NOT_FOUND,
        Json(json!({ "error": "not-found", "message": message })),
    )
}

async fn method_not_allowed() -> impl IntoResponse {
    let message = "the issuer's documents are read with GET";
    let body = Json(json!({ "error": "method-not-allowed", "message": message }));
    (StatusCode::METHOD_NOT_ALLOWED, body)
}

#[cfg(test)]
mod tests;
