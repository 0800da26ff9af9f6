//! Calls to providers on the network: a client for each set of authorities, and what every failure comes to.
//!
//! SECURITY: what a provider answers may hold, or repeat, a secret. A failure tells of it only what is on a list of
//! ours: statuses, media types, known codes.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attache_core::decision::Fault;
use attache_outbound::{
    Answer, Call, CallFailed, Client, InvalidClient, Limits, Reach, Roots, Settings, StatusCode,
    UnreadableAnswer, Url, parse_target,
};
use attache_policy::document::SecretReference;
use tokio::task::spawn_blocking;

use crate::{
    provider::{Cause, NotObtained, Wanted},
    secrets::Secrets,
};

/// Each call is held to this, so that two in a row end before a fetch is given up.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    total: Duration::from_secs(4),
    body_bytes: 256 * 1024,
    calls: 64,
};

/// For so many sets of authorities clients are kept; the one that was made first goes first.
const MAX_CLIENTS: usize = 32;

/// Why a provider gave nothing: for the caller, and for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: NotObtained,
    told: String,
    /// What the provider answered, if it is that.
    status: Option<StatusCode>,
}

impl Failure {
    pub(crate) fn new(fault: Fault, told: impl Into<String>) -> Self {
        Self {
            why: NotObtained::broken(fault),
            told: told.into(),
            status: None,
        }
    }

    /// With a word more for the log, of a list of ours.
    pub(super) fn add(&mut self, word: &str) {
        self.told.push_str(": ");
        self.told.push_str(word);
    }

    /// With what the provider says about when to ask again.
    pub(super) const fn after(mut self, pause: Option<Duration>) -> Self {
        self.why.retry_after = pause;
        self
    }

    /// What the provider answered is not what its protocol says.
    pub(super) fn answer(told: impl Into<String>) -> Self {
        Self::new(Fault::ProviderAnswerInvalid, told)
    }

    /// The failure for the caller; the log is told the rest.
    pub(super) fn log(self, wanted: &Wanted) -> NotObtained {
        let (provider, workload) = (&wanted.provider, &wanted.caller);
        let code = self.why.fault().code();
        tracing::warn!(%provider, %workload, code, "no credential: {}", self.told);
        self.why
    }

    /// Whether what it was shown does not count, or not for this: another login may help.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.status == Some(StatusCode::FORBIDDEN)
    }

    /// Whether the provider itself refused: it is there, and it does not give this.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self.why.cause,
            Cause::Broken(Fault::ProviderRefused | Fault::OauthRefused(_))
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(fault, fault.sentence())
    }
}

impl From<CallFailed> for Failure {
    fn from(failed: CallFailed) -> Self {
        let fault = match &failed {
            CallFailed::Address(_) | CallFailed::NoAnswer { .. } => Fault::ProviderUnreachable,
            CallFailed::TimedOut { .. } => Fault::ProviderTimeout,
            CallFailed::TooLarge { .. } | CallFailed::Redirected { .. } => {
                Fault::ProviderAnswerInvalid
            }
        };
        Self::new(fault, failed.to_string())
    }
}

impl From<UnreadableAnswer> for Failure {
    fn from(unreadable: UnreadableAnswer) -> Self {
        Self::answer(format!("the answer cannot be read: {unreadable}"))
    }
}

/// What a status other than success comes to.
pub(super) fn refused(what: &str, answer: &Answer) -> Failure {
    let status = answer.status();
    let is_late = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
    ];
    let fault = if status.is_server_error() || is_late.contains(&status) {
        Fault::ProviderFailed
    } else if status.is_client_error() {
        Fault::ProviderRefused
    } else {
        Fault::ProviderAnswerInvalid
    };
    let failure = Failure::new(fault, format!("{what} answers {}", status.as_u16()));
    Failure {
        status: Some(status),
        ..failure.after(answer.retry_after())
    }
}

/// A URL of a document, or one that a provider published.
pub(super) fn target(text: &str) -> Result<Url, Failure> {
    parse_target(text).map_err(|invalid| {
        let told = format!("a URL that is to be called is unusable: {invalid}");
        Failure::new(Fault::ProviderAnswerInvalid, told)
    })
}

/// Makes calls, with one client for each set of authorities.
pub(crate) struct Callers {
    reach: Reach,
    limits: Limits,
    clients: Mutex<Vec<(Option<String>, Client)>>,
}

impl Callers {
    pub(crate) const fn new(reach: Reach) -> Self {
        Self {
            reach,
            limits: LIMITS,
            clients: Mutex::new(Vec::new()),
        }
    }

    /// With other limits.
    #[cfg(test)]
    pub(crate) const fn within(reach: Reach, limits: Limits) -> Self {
        Self {
            reach,
            limits,
            clients: Mutex::new(Vec::new()),
        }
    }

    /// A client that believes the authorities of `ca_file`, or those of the system.
    pub(super) async fn client(
        &self,
        ca_file: Option<&SecretReference>,
        secrets: &Secrets,
    ) -> Result<Client, Failure> {
        let pem = ca_file.map(|file| secrets.secret(file)).transpose()?;
        self.client_of(pem.map(|pem| pem.expose())).await
    }

    /// A client that believes the authorities of `pem`, or those of the system.
    pub(crate) async fn client_of(&self, pem: Option<&str>) -> Result<Client, Failure> {
        if let Some(client) = self.known(pem) {
            return Ok(client);
        }
        let roots = pem.map_or(Roots::System, |pem| Roots::Pem(pem.as_bytes().to_vec()));
        let settings = Settings {
            reach: self.reach.clone(),
            roots,
            limits: self.limits,
            ..Settings::default()
        };
        // It reads the system's authorities.
        let made = spawn_blocking(move || Client::new(settings)).await;
        let client = match made {
            Ok(Ok(client)) => client,
            Ok(Err(invalid @ (InvalidClient::Certificates | InvalidClient::Tls(_)))) => {
                let told = format!("the authorities of the provider: {invalid}");
                return Err(Failure::new(Fault::SecretUnavailable, told));
            }
            Err(_ended) => return Err(Fault::CredentialUnavailable.into()),
        };
        let mut clients = self.clients();
        if clients.len() >= MAX_CLIENTS {
            clients.remove(0);
        }
        clients.push((pem.map(str::to_owned), client.clone()));
        Ok(client)
    }

    fn known(&self, pem: Option<&str>) -> Option<Client> {
        let clients = self.clients();
        let found = clients.iter().find(|(known, _)| known.as_deref() == pem);
        found.map(|(_, client)| client.clone())
    }

    fn clients(&self) -> MutexGuard<'_, Vec<(Option<String>, Client)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends `call`; the answer is whatever the other side says, except a redirect.
pub(super) async fn send(client: &Client, call: Call) -> Result<Answer, Failure> {
    Ok(client.send(call).await?)
}
