//! Is it alive, is it ready: `/healthz` and `/readyz`, for kubelets and load balancers, as text or JSON.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::ACCEPT},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use crate::admin::Admin;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Whoever may do everything: the admin socket.
    Operator,
    /// Whoever reaches a port. SECURITY: is told what blocks readiness, not where this edge is weak.
    Anybody,
}

/// What `/readyz` answers to those who accept JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Whether questions are answered.
    pub ready: bool,
    /// What blocks that.
    pub blocked_by: Vec<String>,
    /// What an operator should know all the same; empty for anybody else.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// `/healthz`, `/livez` (its other name) and `/readyz`.
pub fn router(admin: Arc<Admin>, asker: Asker) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(readyz))
        .with_state((admin, asker))
}

/// It answers, so it is alive: nothing that a restart would mend is ever asked for here.
async fn alive() -> &'static str {
    "alive\n"
}

async fn readyz(State((admin, asker)): State<(Arc<Admin>, Asker)>, headers: HeaderMap) -> Response {
    let blocked_by = admin.readiness.blocked_by();
    let ready = Ready {
        ready: blocked_by.is_empty(),
        blocked_by,
        notes: match asker {
            Asker::Operator => admin.notes(),
            Asker::Anybody => Vec::new(),
        },
    };
    let code = match ready.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    if wants_json(&headers) {
        (code, Json(ready)).into_response()
    } else {
        (code, ready.text()).into_response()
    }
}

/// Only for those who name it: `curl` and kubelets accept anything, and are read by people.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).into_iter();
    let mut texts = accepted.filter_map(|value| value.to_str().ok());
    texts.any(|text| text.contains("application/json"))
}

impl Ready {
    fn text(&self) -> String {
        let first = match self.ready {
            true => "ready".to_owned(),
            false => format!("not ready: waiting for {}", self.blocked_by.join(", ")),
        };
        let mut text = String::new();
        for line in std::iter::once(&first).chain(&self.notes) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests;
