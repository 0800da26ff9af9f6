//! The signing keys on the admin socket: what `attache keys` asks. Whoever reaches that socket may do this.

use std::sync::Arc;

use attache_core::{jwt::Algorithm, time::Timestamp};
use attache_issuer::{Issuer, KeysTold, NotRevoked};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

/// The process's clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// `POST /keys/rotate`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Of which algorithm: `RS256`; of all if `None`.
    pub algorithm: Option<String>,
}

/// `POST /keys/revoke`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The key's `kid`.
    pub key_id: String,
}

struct Desk {
    issuer: Arc<Issuer>,
    clock: Clock,
}

/// The routes; each answers with the keys as they stand then.
pub fn router(issuer: Arc<Issuer>, clock: Clock) -> Router {
    Router::new()
        .route("/keys", get(list))
        .route("/keys/rotate", post(rotate))
        .route("/keys/revoke", post(revoke))
        .with_state(Arc::new(Desk { issuer, clock }))
}

async fn list(State(desk): State<Arc<Desk>>) -> Json<KeysTold> {
    Json(desk.issuer.keys())
}

async fn rotate(State(desk): State<Arc<Desk>>, Json(asked): Json<Rotate>) -> Response {
    let algorithm = match asked.algorithm.as_deref().map(known) {
        None => None,
        Some(Ok(algorithm)) => Some(algorithm),
        Some(Err(refused)) => return (StatusCode::UNPROCESSABLE_ENTITY, refused).into_response(),
    };
    // A task of its own: a caller that goes away must not leave half of a change.
    let turning = tokio::spawn(async move {
        let steps = desk.issuer.rotate(algorithm, (desk.clock)()).await;
        steps.map(|_steps| desk.issuer.keys())
    });
    match turning.await {
        Ok(Ok(keys)) => Json(keys).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn revoke(State(desk): State<Arc<Desk>>, Json(asked): Json<Revoke>) -> Response {
    let revoking = tokio::spawn(async move {
        let revoked = desk.issuer.revoke(&asked.key_id, (desk.clock)()).await;
        revoked.map(|()| desk.issuer.keys())
    });
    match revoking.await {
        Ok(Ok(keys)) => Json(keys).into_response(),
        Ok(Err(NotRevoked::Unusable(error))) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
        Ok(Err(refused)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("{refused}\n")).into_response()
        }
        Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn known(name: &str) -> Result<Algorithm, String> {
    let mut known = attache_issuer::signer::ALGORITHMS.into_iter();
    known
        .find(|algorithm| algorithm.name() == name)
        .ok_or_else(|| format!("tokens are signed with RS256 or ES256, not with {name:?}\n"))
}
