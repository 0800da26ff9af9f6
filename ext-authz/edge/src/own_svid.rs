//! The pod's own JWT-SVID, from a Workload API (SPIFFE Workload API §6.2.1): fetched ahead, so that no call
//! waits for the agent, and kept no longer than it is good.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use attache_core::{
    evidence::Evidence,
    freshness::REFRESH_AFTER_PERCENT,
    jwt::{MAX_TOKEN_BYTES, RejectedToken, Unverified},
    secret::Secret,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_proto::spiffe::{
    JwtsvidRequest, JwtsvidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use tracing::{info, warn};

use crate::clock;

#[cfg(test)]
mod tests;

/// How long the agent may take to answer.
const FETCH_LIMIT: Duration = Duration::from_secs(5);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// An SVID of hardly any life must not have us ask without a pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// Where the SVID comes from, and the one that is good now.
#[derive(Clone)]
pub struct OwnSvid {
    /// The agent's socket.
    socket: PathBuf,
    /// Whom the SVID is for: our trust provider.
    audience: String,
    /// Which one, if the agent has several for this pod.
    id: Option<SpiffeId>,
    kept: Arc<ArcSwapOption<Kept>>,
}

struct Kept {
    token: Secret,
    expires_at: Timestamp,
}

/// Why there is no SVID.
#[derive(Debug, Error)]
enum NotFetched {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the agent answers {code}: {message}")]
    Refused { code: tonic::Code, message: String },
    #[error("no answer within {} s", FETCH_LIMIT.as_secs())]
    TooSlow,
    #[error("the agent has no SVID {0} for this process")]
    None(String),
    #[error("the SVID is no JWT: {0}")]
    NoToken(#[from] RejectedToken),
    #[error("the SVID does not say when it expires, or has expired")]
    Expired,
}

impl OwnSvid {
    /// An SVID for `audience` from the agent at `socket`: the one with `id`, or the first that it gives.
    pub fn new(socket: PathBuf, audience: String, id: Option<SpiffeId>) -> Self {
        Self {
            socket,
            audience,
            id,
            kept: Arc::default(),
        }
    }

    /// The SVID that is good at `now`, if there is one.
    pub(crate) fn evidence(&self, now: Timestamp) -> Option<Evidence> {
        let kept = self.kept.load();
        let kept = kept.as_ref().filter(|kept| now < kept.expires_at)?;
        Some(Evidence::Token(kept.token.clone()))
    }

    /// Fetches the SVID, and the next one when most of its life is over; for ever.
    pub(crate) async fn keep_fresh(self) {
        let (mut pause, longest) = PAUSES;
        loop {
            let fetched = timeout(FETCH_LIMIT, self.fetch()).await;
            let next = match fetched.unwrap_or(Err(NotFetched::TooSlow)) {
                Ok(kept) => {
                    let life = kept.expires_at.since(clock::now());
                    info!(socket = %self.socket.display(), ?life, "the pod's own SVID was fetched");
                    self.kept.store(Some(Arc::new(kept)));
                    pause = PAUSES.0;
                    (life * REFRESH_AFTER_PERCENT / 100).max(SHORTEST_PAUSE)
                }
                Err(error) => {
                    warn!(socket = %self.socket.display(), %error, "the pod's own SVID cannot be fetched");
                    let now = pause;
                    pause = pause.saturating_mul(2).min(longest);
                    now
                }
            };
            tokio::time::sleep(next).await;
        }
    }

    async fn fetch(&self) -> Result<Kept, NotFetched> {
        let mut client = connect(&self.socket).await?;
        let request = JwtsvidRequest {
            audience: vec![self.audience.clone()],
            spiffe_id: self.wanted().to_owned(),
        };
        let answer = client.fetch_jwtsvid(secured(request)).await?.into_inner();
        self.read(answer, clock::now())
    }

    fn wanted(&self) -> &str {
        self.id.as_ref().map(SpiffeId::as_str).unwrap_or_default()
    }

    fn read(&self, answer: JwtsvidResponse, now: Timestamp) -> Result<Kept, NotFetched> {
        let wanted = self.wanted();
        let mut svids = answer.svids.into_iter();
        let svid = svids
            .find(|svid| wanted.is_empty() || svid.spiffe_id == wanted)
            .filter(|svid| svid.svid.len() <= MAX_TOKEN_BYTES)
            .ok_or_else(|| NotFetched::None(wanted.to_owned()))?;
        let token = Secret::new(svid.svid);
        let expires_at = expiry(&token)?.filter(|expires_at| now < *expires_at);
        let expires_at = expires_at.ok_or(NotFetched::Expired)?;
        Ok(Kept { token, expires_at })
    }
}

/// When the token says that it expires.
#[expect(
    clippy::disallowed_methods,
    reason = "it says when to ask for the next one; whom it proves, `trust` says after it verified it"
)]
fn expiry(token: &Secret) -> Result<Option<Timestamp>, RejectedToken> {
    let token = Unverified::parse(token.expose())?;
    let exp = token.unproven_claims().get("exp");
    Ok(exp
        .and_then(serde_json::Value::as_i64)
        .map(Timestamp::from_seconds))
}

async fn connect(socket: &Path) -> Result<SpiffeWorkloadApiClient<Channel>, NotFetched> {
    let socket = socket.to_path_buf();
    let connector = service_fn(move |_uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The name is never resolved: the connector dials the socket.
    let endpoint = Endpoint::from_static("http://workload-api.invalid");
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(SpiffeWorkloadApiClient::new(channel))
}

/// SPIFFE Workload Endpoint §4.1: the header shows that no browser was tricked into the call.
fn secured<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

impl From<Status> for NotFetched {
    fn from(status: Status) -> Self {
        // The agent's words; a log shows them on one line.
        let message = status.message().escape_debug().take(200).collect();
        Self::Refused {
            code: status.code(),
            message,
        }
    }
}

/// Two are the same if they ask for the same, whatever they have by now.
impl PartialEq for OwnSvid {
    fn eq(&self, other: &Self) -> bool {
        (&self.socket, &self.audience, &self.id) == (&other.socket, &other.audience, &other.id)
    }
}

impl Eq for OwnSvid {}

/// The SVID is not shown.
impl fmt::Debug for OwnSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnSvid")
            .field("socket", &self.socket)
            .field("audience", &self.audience)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
