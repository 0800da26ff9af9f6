//! `vault`: a secret of a Vault's KV engine, or the token of the login itself. A login is used for as long as its
//! token lives, and renewed; where that ends, another one is made.

mod answer;
mod api;
mod session;

use std::{sync::Arc, time::Duration};

use attache_core::{decision::Fault, freshness::Lifetime, token::TokenForm};
use attache_policy::document::{CredentialKind, SecretFields, Vault, VaultLogin, VaultSecret};
use serde_json::json;

use super::{
    calls::{Callers, Failure},
    svid::Prover,
};
use crate::{
    material::Material,
    provider::{Obtained, Obtaining, Provide, Wanted},
};

use session::{SessionKey, Sessions};

pub(crate) use self::{
    answer::Wiped,
    api::{Api, SecretPath},
    session::Session,
};

/// How long a secret is used before it is read again; a shorter lease shortens it. A secret that was changed in the
/// Vault is used no longer than this.
const READ_AGAIN: Duration = Duration::from_secs(300);

pub(super) struct VaultProvider {
    callers: Arc<Callers>,
    prover: Prover,
    sessions: Sessions,
}

/// A Vault as one caller reaches it.
struct Reached<'w> {
    api: Api<'w>,
    vault: &'w Vault<String>,
    wanted: &'w Wanted,
    key: SessionKey,
}

impl VaultProvider {
    pub(super) fn new(callers: Arc<Callers>, prover: Prover) -> Self {
        Self {
            callers,
            prover,
            sessions: Sessions::default(),
        }
    }

    async fn credential(&self, wanted: &Wanted) -> Result<Obtained, Failure> {
        let CredentialKind::Vault(vault) = &wanted.parameters else {
            return Err(Fault::CredentialUnavailable.into());
        };
        let authorities = vault.ca_file.as_ref();
        let client = self.callers.client(authorities, &wanted.secrets).await?;
        let reached = Reached {
            api: Api::new(client, &vault.address, vault.namespace.as_deref()),
            vault,
            wanted,
            key: SessionKey {
                caller: wanted.caller.clone(),
                vault: Vault {
                    secret: None,
                    ..vault.clone()
                },
                versions: wanted.secrets.versions(),
                generation: self.prover.generation(),
            },
        };
        let (session, is_new) = self.session(&reached).await?;
        let Some(secret) = &vault.secret else {
            return Ok(session.into_credential());
        };
        let read = reached.read(secret, &session).await;
        // The token may have been revoked behind our back.
        let is_revoked = read.as_ref().is_err_and(Failure::is_forbidden) && !is_new;
        if !is_revoked {
            return read;
        }
        self.sessions.forget(&reached.key);
        let session = self.log_in(&reached).await?;
        reached.read(secret, &session).await
    }

    /// A token that is good for a while, and whether it was made just now.
    async fn session(&self, reached: &Reached<'_>) -> Result<(Session, bool), Failure> {
        let now = reached.wanted.now;
        if let Some(known) = self.sessions.known(&reached.key, now)
            && let Some(serving) = known.serving(&reached.api, now).await
        {
            self.sessions.keep(&reached.key, serving.clone(), now);
            return Ok((serving, false));
        }
        Ok((self.log_in(reached).await?, true))
    }

    async fn log_in(&self, reached: &Reached<'_>) -> Result<Session, Failure> {
        let (mount, body) = match &reached.vault.login {
            VaultLogin::Jwt {
                mount,
                role,
                audience,
            } => {
                let shown = self
                    .prover
                    .token(reached.wanted, TokenForm::JwtSvid, audience);
                let shown = shown.await?;
                (mount, json!({"role": role, "jwt": shown.expose()}))
            }
            VaultLogin::AppRole {
                mount,
                role_id,
                secret_id,
            } => {
                let secret = reached.wanted.secrets.secret(secret_id)?;
                let body = json!({"role_id": role_id, "secret_id": secret.expose()});
                (mount, body)
            }
        };
        let login = reached.api.log_in(mount, &Wiped(body)).await?;
        let session = Session::begin(login, reached.wanted.now);
        self.sessions
            .keep(&reached.key, session.clone(), reached.wanted.now);
        Ok(session)
    }
}

impl Reached<'_> {
    async fn read(
        &self,
        secret: &VaultSecret<String>,
        session: &Session,
    ) -> Result<Obtained, Failure> {
        let path = SecretPath {
            engine: secret.engine,
            mount: &secret.mount,
            path: &secret.path,
        };
        let mut found = self.api.read(&path, session.token()).await?;
        let material = match &secret.fields {
            SecretFields::One(field) => Material::Token(found.take(field)?),
            SecretFields::Pair { username, password } => Material::Pair {
                username: found.take(username)?,
                password: found.take(password)?,
            },
        };
        Ok(Obtained {
            material,
            lifetime: Some(Lifetime::starting(
                self.wanted.now,
                found.lease_of_at_most(READ_AGAIN),
            )),
            id: None,
        })
    }
}

impl Provide for VaultProvider {
    fn generation(&self) -> u64 {
        self.prover.generation()
    }

    fn obtain<'a>(&'a self, wanted: &'a Wanted) -> Obtaining<'a> {
        Box::pin(async move {
            let obtained = self.credential(wanted).await;
            obtained.map_err(|failure| failure.log(wanted))
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
