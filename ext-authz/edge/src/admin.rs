//! The admin unix socket (0600): what commands ask of a running server. HTTP, so that `curl
//! --unix-socket` works as well.

use std::{future::IntoFuture as _, io, path::Path, sync::Arc, time::Duration};

use attache_core::time::Timestamp;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{net::UnixListener, runtime::Handle, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    explain::Call,
    geography::GeographyDatabase,
    health::{self, Asker},
    listener::bind_private,
    metrics::{self, SigningKeys},
    pipeline::Edge,
    readiness::Readiness,
    reload::Reload,
    settings::ListenerSettings,
    traces::TracesStatus,
};

pub use self::status::{
    AuditState, CallsState, CredentialProviderState, GeographyStatus, ListenerState, Protection,
    ProviderKeys, SecretsState, SigningKey, Status, TracesState,
};

mod status;

/// How long a command in flight may take when the server ends.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// What the admin socket answers from.
pub struct Admin {
    /// The edge.
    pub edge: Arc<Edge>,
    /// What blocks readiness.
    pub readiness: Readiness,
    /// Reads the policies again.
    pub reload: Arc<Reload>,
    /// Where addresses are.
    pub geography: Option<Arc<GeographyDatabase>>,
    /// The ports that Envoy calls.
    pub listeners: Vec<ListenerSettings>,
    /// The issuer's keys, if it is in this process; for the metrics.
    pub signing_keys: Option<Arc<dyn SigningKeys>>,
    /// When the process began.
    pub started_at: Timestamp,
}

/// Binds the socket.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    bind_private(path)
}

/// Answers until `stop`; `more` are the routes of others on the same socket.
pub async fn serve(
    admin: Arc<Admin>,
    more: Router,
    socket: UnixListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/status", get(status))
        .route("/reload", post(reload))
        .route("/explain", post(explain))
        .with_state(Arc::clone(&admin))
        .merge(health::router(Arc::clone(&admin), Asker::Operator))
        .merge(metrics::router(admin))
        .merge(more);
    let stopped = stop.clone();
    let serving = axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned());
    // A command in flight is answered; one that waits for a disk that hangs must not hold up the end.
    let patience = async {
        stopped.cancelled().await;
        sleep(LAST_ANSWER).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = patience => Ok(()),
    }
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    Json(admin.status())
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    match Arc::clone(&admin.reload).run_for_a_while().await {
        Ok(revision) => format!("policy revision {revision} is in force\n").into_response(),
        Err(refused) => {
            let text = format!("{refused}\nthe last good policies stay in force\n");
            (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
        }
    }
}

/// Explains a call. Nothing is recorded and nothing is issued.
async fn explain(State(admin): State<Arc<Admin>>, Json(call): Json<Call>) -> Response {
    let runtime = Handle::current();
    // A large set is gone through as a whole: the threads that answer Envoy must not wait for it.
    let explaining = spawn_blocking(move || {
        let explaining = admin.edge.explain(&admin.listeners, &call);
        runtime.block_on(explaining)
    });
    match explaining.await {
        Ok(Ok(explained)) => Json(explained).into_response(),
        Ok(Err(unexplainable)) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{unexplainable}\n"),
        )
            .into_response(),
        Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Admin {
    /// What an operator should know of an edge that is ready all the same.
    pub(crate) fn notes(&self) -> Vec<String> {
        let policy = self.reload.state();
        let refused = policy.refused.map(|refused| {
            let since = refused.since;
            format!(
                "the policy directory is refused since {since}; the last good policies are in force"
            )
        });
        let stalled = policy.stalled_since.map(|since| {
            format!("the policy directory or the folder of state does not answer since {since}")
        });
        let listeners = self.listeners.iter().map(ListenerState::of);
        let plaintext = listeners.filter(|listener| listener.protection == Protection::Plaintext);
        let plaintext = plaintext.map(|ListenerState { name, place, .. }| {
            format!(
                "listener {name} is plaintext TCP at {place}: whoever reaches it gets credentials"
            )
        });
        refused
            .into_iter()
            .chain(stalled)
            .chain(plaintext)
            .collect()
    }

    fn trust_providers(&self) -> Vec<ProviderKeys> {
        let providers = self.edge.trust.status(clock::now()).into_iter();
        providers
            .map(|provider| ProviderKeys {
                name: provider.name,
                issuer: provider.issuer,
                usable: provider.usable,
                keys: provider.keys,
                ignored_keys: provider.ignored_keys,
                age_seconds: provider.key_age.map(|age| age.as_secs()),
                last_error: provider.last_error,
            })
            .collect()
    }

    fn credential_providers(&self) -> Vec<CredentialProviderState> {
        let counts = self.edge.credentials.counts().into_iter();
        counts
            .map(|(name, counts)| CredentialProviderState {
                name,
                failing: counts.failing,
                kept: counts.kept,
                awaited: counts.awaited,
                failed: counts.failed,
                fetched: counts.fetches.obtained,
                fetches_failed: counts.fetches.failed,
                refreshed: counts.refreshes.obtained,
                refreshes_failed: counts.refreshes.failed,
                obtained_at: counts.obtained_at,
            })
            .collect()
    }

    fn keys_that_sign(&self) -> Vec<SigningKey> {
        let keys = self.signing_keys.iter().flat_map(|keys| keys.keys());
        keys.filter_map(|key| {
            Some(SigningKey {
                algorithm: key.algorithm.to_owned(),
                since: key.signs_since?,
            })
        })
        .collect()
    }

    fn status(&self) -> Status {
        let blocked_by = self.readiness.blocked_by();
        let calls = &self.edge.calls;
        let journal = self.edge.journal.status();
        let policy = self.reload.state();
        let (policy_refused, policy_refused_since) = policy
            .refused
            .map(|refused| (refused.problems, refused.since))
            .unzip();
        Status {
            ready: blocked_by.is_empty(),
            blocked_by,
            edge: self.edge.name.clone(),
            policy_revision: policy.revision,
            policy_accepted_at: policy.accepted_at,
            policy_is_last_good: policy.is_last_good,
            policy_refused,
            policy_refused_since,
            policy_not_kept: policy.not_kept,
            policy_stalled_since: policy.stalled_since,
            listeners: self.listeners.iter().map(ListenerState::of).collect(),
            calls: CallsState {
                in_flight: calls.in_flight(),
                most: calls.most(),
                turned_away: calls.turned_away(),
            },
            geography: self.geography.as_deref().map(GeographyStatus::of),
            trust_providers: self.trust_providers(),
            credential_providers: self.credential_providers(),
            secrets: self.edge.credentials.secrets().into(),
            signing_keys: self.keys_that_sign(),
            traces: self.edge.traces.as_ref().map(|traces| {
                let TracesStatus {
                    exported,
                    lost,
                    queued,
                } = traces.status();
                TracesState {
                    exported,
                    lost,
                    queued,
                }
            }),
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
