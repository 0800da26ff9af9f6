//! The admin unix socket (0600): what commands ask of a running server. HTTP, so that `curl
//! --unix-socket` works as well.

use std::{io, path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::{clock, listener::bind_private, pipeline::Edge, readiness::Readiness, reload::Reload};

/// What `attache status` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether the server answers questions.
    pub ready: bool,
    /// What blocks readiness.
    pub blocked_by: Vec<String>,
    /// The edge's name.
    pub edge: String,
    /// The revision of the policy set in force.
    pub policy_revision: String,
    /// Why the newest policy set was refused; the one in force is the last good one.
    pub policy_refused: Option<String>,
    /// The trust providers and their keys.
    pub trust_providers: Vec<ProviderKeys>,
    /// The audit journal.
    pub audit: AuditState,
}

/// The keys of one trust provider.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProviderKeys {
    /// The provider's qualified name.
    pub name: String,
    /// The issuer of its tokens.
    pub issuer: String,
    /// Whether evidence of the issuer can be judged now.
    pub usable: bool,
    /// How many keys may verify; `null` before the first fetch.
    pub keys: Option<usize>,
    /// The keys that are not used, and why.
    pub ignored_keys: Vec<String>,
    /// Seconds since the keys were fetched or read; `null` before, and for keys in the document.
    pub age_seconds: Option<u64>,
    /// Why the newest attempt failed.
    pub last_error: Option<String>,
}

/// The state of the audit journal.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditState {
    /// Events written since the start.
    pub written: u64,
    /// Equal denials that were counted instead of written one by one.
    pub coalesced: u64,
    /// Accesses that were refused because they could not be recorded.
    pub refused: u64,
    /// Events that wait to be written.
    pub queued: usize,
    /// Events lost since the start: always 0 unless the journal writes in the background.
    pub lost: u64,
    /// Torn last lines that a kill left and that were cut away.
    pub repaired: u64,
    /// Why the journal cannot be written now; `null` while it works.
    pub failing: Option<String>,
}

/// What the admin socket answers from.
pub struct Admin {
    /// The edge.
    pub edge: Arc<Edge>,
    /// What blocks readiness.
    pub readiness: Readiness,
    /// Reads the policies again.
    pub reload: Reload,
}

/// Binds the socket.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    bind_private(path)
}

/// Answers until `stop`.
pub async fn serve(
    admin: Arc<Admin>,
    socket: UnixListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/status", get(status))
        .route("/readyz", get(readyz))
        .route("/reload", post(reload))
        .with_state(admin);
    axum::serve(socket, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    Json(admin.status())
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let blocked_by = admin.readiness.blocked_by();
    if blocked_by.is_empty() {
        return "ready\n".into_response();
    }
    let reason = format!("not ready: waiting for {}\n", blocked_by.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    match admin.reload.run().await {
        Ok(revision) => format!("policy revision {revision} is in force\n").into_response(),
        Err(refused) => {
            let text = format!("{refused}\nthe last good policies stay in force\n");
            (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
        }
    }
}

impl Admin {
    fn status(&self) -> Status {
        let blocked_by: Vec<_> = self
            .readiness
            .blocked_by()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let journal = self.edge.journal.status();
        let providers = self.edge.trust.status(clock::now());
        Status {
            ready: blocked_by.is_empty(),
            blocked_by,
            edge: self.edge.name.clone(),
            policy_revision: self.edge.live.compiled().revision().to_owned(),
            policy_refused: self.reload.refused(),
            trust_providers: providers
                .into_iter()
                .map(|provider| ProviderKeys {
                    name: provider.name,
                    issuer: provider.issuer,
                    usable: provider.usable,
                    keys: provider.keys,
                    ignored_keys: provider.ignored_keys,
                    age_seconds: provider.key_age.map(|age| age.as_secs()),
                    last_error: provider.last_error,
                })
                .collect(),
            audit: AuditState {
                written: journal.written,
                coalesced: journal.coalesced,
                refused: journal.refused,
                queued: journal.queued,
                lost: journal.lost,
                repaired: journal.repaired,
                failing: journal.failing,
            },
        }
    }
}
