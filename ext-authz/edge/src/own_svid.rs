//! The pod's own SVID, from a Workload API: at hand before a call needs it, so that none waits for the agent, and
//! kept no longer than it is good. A JWT-SVID is fetched ahead, an X.509-SVID is pushed by the agent.

mod agent;
mod certificate;
mod token;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use attache_core::{evidence::Evidence, jwt::RejectedToken, spiffe_id::SpiffeId, time::Timestamp};
use attache_trust::x509::NotGiven;
use thiserror::Error;
use tonic::{Code, Status};
use tracing::{error, warn};

#[cfg(test)]
mod tests;

/// How long the agent may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Where the SVID comes from, and the one that is good now.
#[derive(Clone)]
pub struct OwnSvid {
    /// The agent's socket.
    socket: PathBuf,
    form: Form,
    /// Which one, if the agent has several for this pod.
    id: Option<SpiffeId>,
    kept: Arc<ArcSwapOption<Kept>>,
}

/// Which of the two kinds of SVID the pod shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// A token for one audience: our trust provider.
    Jwt { audience: String },
    /// A certificate, which is for nobody in particular.
    X509,
}

struct Kept {
    evidence: Evidence,
    expires_at: Timestamp,
}

/// Why there is no SVID.
#[derive(Debug, Error)]
enum NotFetched {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the agent answers {code}: {message}")]
    Refused { code: Code, message: String },
    #[error("no answer within {} s", ANSWER_LIMIT.as_secs())]
    TooSlow,
    #[error("the agent ended the stream")]
    Ended,
    #[error("the agent has no SVID {0} for this process")]
    None(String),
    #[error("the SVID is no JWT: {0}")]
    NoToken(#[from] RejectedToken),
    #[error("the SVID is refused: {0}")]
    NoCertificate(#[from] NotGiven),
    #[error("the SVID names {found}, and the agent says {said}")]
    OtherName { found: SpiffeId, said: String },
    #[error("the SVID does not say when it expires, or has expired")]
    Expired,
}

impl OwnSvid {
    /// A JWT-SVID for `audience` from the agent at `socket`: the one with `id`, or the first that it gives.
    pub fn jwt(socket: PathBuf, audience: String, id: Option<SpiffeId>) -> Self {
        Self::new(socket, Form::Jwt { audience }, id)
    }

    /// An X.509-SVID from the agent at `socket`: the one with `id`, or the first that it gives.
    pub fn x509(socket: PathBuf, id: Option<SpiffeId>) -> Self {
        Self::new(socket, Form::X509, id)
    }

    fn new(socket: PathBuf, form: Form, id: Option<SpiffeId>) -> Self {
        Self {
            socket,
            form,
            id,
            kept: Arc::default(),
        }
    }

    /// The SVID that is good at `now`, if there is one.
    pub(crate) fn evidence(&self, now: Timestamp) -> Option<Evidence> {
        let kept = self.kept.load();
        let good = kept.as_ref().filter(|kept| now < kept.expires_at)?;
        Some(good.evidence.clone())
    }

    /// Has an SVID at hand, and its successor in time; for ever.
    pub(crate) async fn keep_fresh(self) {
        match &self.form {
            Form::Jwt { audience } => token::keep_fresh(&self, audience).await,
            Form::X509 => certificate::follow(&self).await,
        }
    }

    fn keep(&self, kept: Kept) {
        self.kept.store(Some(Arc::new(kept)));
    }

    /// Tells a failure. What is held stays until it expires, unless the agent takes it back.
    fn failed(&self, failed: &NotFetched) {
        let socket = self.socket.display();
        if failed.withdraws() {
            // SECURITY: SPIFFE Workload API §5.2.1: what the agent no longer gives is not used any more.
            self.kept.store(None);
            error!(%socket, error = %failed, "the pod's own SVID was taken back");
        } else {
            warn!(%socket, error = %failed, "the pod's own SVID cannot be fetched");
        }
    }

    fn wanted(&self) -> &str {
        self.id.as_ref().map(SpiffeId::as_str).unwrap_or_default()
    }

    /// Whether an SVID of that ID is the one that is asked for.
    fn wants(&self, id: &str) -> bool {
        self.id.as_ref().is_none_or(|wanted| wanted.as_str() == id)
    }
}

impl NotFetched {
    /// Whether the agent says that this pod has no such identity, rather than nothing.
    const fn withdraws(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::PermissionDenied,
                ..
            } | Self::None(_)
        )
    }
}

/// The pause after a failure, which grows until something succeeds.
struct Pause(Duration);

impl Pause {
    const fn new() -> Self {
        Self(PAUSES.0)
    }

    fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = self.0.saturating_mul(2).min(PAUSES.1);
        now
    }
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
        (&self.socket, &self.form, &self.id) == (&other.socket, &other.form, &other.id)
    }
}

impl Eq for OwnSvid {}

/// The SVID is not shown.
impl fmt::Debug for OwnSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnSvid")
            .field("socket", &self.socket)
            .field("form", &self.form)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
