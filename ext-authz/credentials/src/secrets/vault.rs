//! `vault:` references: fields of secrets in the one Vault that the edge's configuration names, read with a login of
//! the edge's own. It is one login for all, for what it may read is what the configuration lets documents name.

use std::{path::PathBuf, sync::Arc, time::Duration};

use attache_core::{decision::Fault, secret::Secret, time::Timestamp};
use attache_outbound::{Client, Reach};
use serde_json::json;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{read_file, roots::VaultPlace};
use crate::{
    mint::{EdgeIdentity, MintFailed},
    providers::{
        calls::{Callers, Failure},
        vault::{Api, SecretPath, Session, Wiped},
    },
};

/// The Vault of an edge, as its configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// Its URL: `https://vault.example.com:8200`.
    pub address: String,
    /// Certificates that it is verified with, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How the edge logs in.
    pub login: EdgeLogin,
    /// How often a secret that is in use is read again; a shorter lease has it read before that ends.
    pub read_again: Duration,
    /// How long after it was read a secret serves while the Vault is away.
    pub keep: Duration,
}

/// How an edge logs in to its Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeLogin {
    /// By a token of our issuer that names the edge.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: String,
        /// `aud` of the token.
        audience: String,
    },
    /// By a role and its secret.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id, which is no secret.
        role_id: String,
        /// The file that holds the secret; it is read at each login.
        secret_id_file: PathBuf,
    },
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The Vault of an edge.
pub struct EdgeVault {
    settings: VaultSettings,
    identity: Arc<dyn EdgeIdentity>,
    callers: Callers,
    clock: Clock,
    /// Locked while somebody logs in, so that it is done once.
    login: Mutex<Option<Login>>,
}

#[derive(Clone)]
struct Login {
    session: Session,
    /// SECURITY: what a revoked key of ours logged in is not used again.
    generation: u64,
}

/// A field of a secret, and how long it is good without being read again.
pub(super) struct Found {
    pub(super) secret: Secret,
    pub(super) lease: Duration,
}

/// Why a field was not read.
pub(super) enum NotRead {
    /// The Vault answered the edge's login that it has no such secret for it.
    Withdrawn(Failure),
    /// Anything else, a refused login included: a Vault that cannot fetch our keys refuses tokens, too.
    Failed(Failure),
}

impl NotRead {
    fn of_reading(failure: Failure) -> Self {
        if failure.is_refusal() {
            return Self::Withdrawn(failure);
        }
        Self::Failed(failure)
    }
}

impl From<Failure> for NotRead {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl EdgeVault {
    /// A Vault that nobody has logged in to yet.
    pub fn new(
        settings: VaultSettings,
        identity: Arc<dyn EdgeIdentity>,
        reach: Reach,
        clock: Clock,
    ) -> Self {
        Self {
            settings,
            identity,
            callers: Callers::new(reach),
            clock,
            login: Mutex::default(),
        }
    }

    /// How long after it was read a secret serves while the Vault is away.
    pub(super) const fn keep(&self) -> Duration {
        self.settings.keep
    }

    /// Reads one field.
    pub(super) async fn read(&self, place: &VaultPlace) -> Result<Found, NotRead> {
        let client = self.client().await?;
        let namespace = self.settings.namespace.as_deref();
        let api = Api::new(client, &self.settings.address, namespace);
        let path = SecretPath {
            engine: place.engine,
            mount: &place.mount,
            path: &place.path,
        };
        let (session, is_new) = self.session(&api).await?;
        let mut found = match api.read(&path, session.token()).await {
            // The token may have been revoked behind our back.
            Err(failure) if failure.is_forbidden() && !is_new => {
                let session = self.instead_of(&session, &api).await?;
                api.read(&path, session.token()).await
            }
            found => found,
        }
        .map_err(NotRead::of_reading)?;
        let secret = found.take(&place.field).map_err(NotRead::of_reading)?;
        Ok(Found {
            secret,
            lease: found.lease_of_at_most(self.settings.read_again),
        })
    }

    async fn client(&self) -> Result<Client, Failure> {
        let pem = match self.settings.ca_file.clone() {
            Some(file) => Some(read("the authorities of the Vault", file).await?),
            None => None,
        };
        let pem = pem.as_ref().map(Secret::expose);
        self.callers.client_of(pem).await
    }

    /// A login that serves for a while, and whether it was made just now.
    async fn session(&self, api: &Api<'_>) -> Result<(Session, bool), Failure> {
        let mut login = self.login.lock().await;
        let (now, generation) = ((self.clock)(), self.identity.generation());
        let known = login.take().filter(|it| it.generation == generation);
        if let Some(known) = known
            && let Some(session) = known.session.serving(api, now).await
        {
            *login = Some(Login {
                session: session.clone(),
                generation,
            });
            return Ok((session, false));
        }
        let made = self.log_in(api, now).await?;
        Ok((login.insert(made).session.clone(), true))
    }

    /// A login other than `refused`, which somebody else may have made meanwhile.
    async fn instead_of(&self, refused: &Session, api: &Api<'_>) -> Result<Session, Failure> {
        let mut login = self.login.lock().await;
        let other = login
            .take()
            .filter(|it| it.session.token() != refused.token());
        let serving = match other {
            Some(other) => other,
            None => self.log_in(api, (self.clock)()).await?,
        };
        Ok(login.insert(serving).session.clone())
    }

    async fn log_in(&self, api: &Api<'_>, now: Timestamp) -> Result<Login, Failure> {
        let generation = self.identity.generation();
        let (mount, body) = match &self.settings.login {
            EdgeLogin::Jwt {
                mount,
                role,
                audience,
            } => {
                let token = self.identity.token(audience).await.map_err(not_minted)?;
                (mount, json!({"role": role, "jwt": token.expose()}))
            }
            EdgeLogin::AppRole {
                mount,
                role_id,
                secret_id_file,
            } => {
                let secret = read("the AppRole's secret", secret_id_file.clone()).await?;
                let body = json!({"role_id": role_id, "secret_id": secret.expose()});
                (mount, body)
            }
        };
        let login = api.log_in(mount, &Wiped(body)).await?;
        Ok(Login {
            session: Session::begin(login, now),
            generation,
        })
    }
}

/// A file that the configuration names, which may lie anywhere.
async fn read(what: &str, file: PathBuf) -> Result<Secret, Failure> {
    let shown = file.display().to_string();
    let reading = spawn_blocking(move || read_file(&file, &["/".into()]));
    let read = reading.await.unwrap_or_else(|ended| Err(ended.to_string()));
    read.map_err(|why| {
        let told = format!("{what} in {shown} cannot be read: {why}");
        Failure::new(Fault::SecretUnavailable, told)
    })
}

fn not_minted(failed: MintFailed) -> Failure {
    let told = format!("no token to log in with: {failed}");
    Failure::new(Fault::CredentialUnavailable, told)
}

#[cfg(test)]
mod tests;
