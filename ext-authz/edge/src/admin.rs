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
use serde::{Deserialize, Serialize};
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
    settings::{Bind, ListenerSettings},
    traces::TracesStatus,
};

/// How long a command in flight may take when the server ends.
const LAST_ANSWER: Duration = Duration::from_secs(2);

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
    /// When it was accepted.
    pub policy_accepted_at: Timestamp,
    /// Whether it was accepted by an earlier run, because the directory was refused at the start of this one.
    pub policy_is_last_good: bool,
    /// Why what the directory holds is refused; the set in force is the last good one.
    pub policy_refused: Option<String>,
    /// Since when it is refused for these problems.
    pub policy_refused_since: Option<Timestamp>,
    /// Why the set in force could not be kept for the next start.
    pub policy_not_kept: Option<String>,
    /// Since when the policy directory, or the folder of state, does not answer.
    #[serde(default)]
    pub policy_stalled_since: Option<Timestamp>,
    /// Where the edge listens, and how callers are known there.
    #[serde(default)]
    pub listeners: Vec<ListenerState>,
    /// The calls that wait for their answers.
    #[serde(default)]
    pub calls: CallsState,
    /// The geography database, if one is configured.
    pub geography: Option<GeographyStatus>,
    /// The trust providers and their keys.
    pub trust_providers: Vec<ProviderKeys>,
    /// The credential providers that were asked since the start.
    #[serde(default)]
    pub credential_providers: Vec<CredentialProviderState>,
    /// The keys that sign our tokens.
    #[serde(default)]
    pub signing_keys: Vec<SigningKey>,
    /// Traces, if they go anywhere.
    #[serde(default)]
    pub traces: Option<TracesState>,
    /// The audit journal.
    pub audit: AuditState,
}

/// One port of the edge.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerState {
    /// Its name.
    pub name: String,
    /// The socket's path, or the address.
    pub place: String,
    /// How its callers are known.
    pub protection: Protection,
}

/// How the callers of a listener are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The kernel names the caller's user.
    UnixPeer,
    /// By a certificate.
    MutualTls,
    /// Not at all: whoever reaches it gets credentials.
    Plaintext,
}

impl ListenerState {
    fn of(listener: &ListenerSettings) -> Self {
        let (place, protection) = match &listener.bind {
            Bind::Unix(unix) => (unix.path.display().to_string(), Protection::UnixPeer),
            Bind::Tls(tls) => (tls.address.to_string(), Protection::MutualTls),
            Bind::Plaintext(address) => (address.to_string(), Protection::Plaintext),
        };
        Self {
            name: listener.name.clone(),
            place,
            protection,
        }
    }
}

/// The calls of the edge.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CallsState {
    /// Those that wait for their answers.
    pub in_flight: usize,
    /// How many may.
    pub most: usize,
    /// Those that were answered with `overloaded` since the start.
    pub turned_away: u64,
}

/// The geography database.
#[derive(Debug, Serialize, Deserialize)]
pub struct GeographyStatus {
    /// The file.
    pub database: String,
    /// When the database in force was built; `null` if there is none, so that no country is known.
    pub built_at: Option<Timestamp>,
    /// From when on it is too old to be relied on, so that no country is known.
    pub good_until: Option<Timestamp>,
    /// Why what the file holds is refused.
    pub refused: Option<String>,
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

/// A credential provider, as its answers show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialProviderState {
    /// Its name.
    pub name: String,
    /// Whether the newest fetch failed.
    pub failing: bool,
    /// Calls whose credential was in memory.
    pub kept: u64,
    /// Calls that waited for a fetch.
    pub awaited: u64,
    /// Calls that got none.
    pub failed: u64,
    /// Fetches that brought a credential.
    pub fetched: u64,
    /// Fetches that brought none.
    pub fetches_failed: u64,
    /// When the newest credential was asked for.
    pub obtained_at: Option<Timestamp>,
}

/// A key that signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SigningKey {
    /// What it signs with: `RS256`.
    pub algorithm: String,
    /// Since when.
    pub since: Timestamp,
}

/// What became of the spans of traces since the start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TracesState {
    /// Those that the receiver took.
    pub exported: u64,
    /// Those that nobody has.
    pub lost: u64,
    /// Calls that wait to be sent.
    pub queued: usize,
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

impl GeographyStatus {
    fn of(database: &GeographyDatabase) -> Self {
        let state = database.state();
        Self {
            database: state.path.display().to_string(),
            built_at: state.built_at,
            good_until: state.good_until,
            refused: state.refused,
        }
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
                fetched: counts.fetched,
                fetches_failed: counts.fetches_failed,
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
