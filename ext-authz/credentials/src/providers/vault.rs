//! `vault`: a secret of a Vault's KV engine, or the token of the login itself. A login is used for as long as its
//! token lives, and renewed; where that ends, another one is made.

mod answer;
mod session;

use std::sync::Arc;

use attache_core::{decision::Fault, freshness::Lifetime, token::TokenForm};
use attache_outbound::{Answer, Call, Client, HeaderName, HeaderValue, StatusCode, Url};
use attache_policy::document::{
    CredentialKind, Engine, SecretFields, Vault, VaultLogin, VaultSecret,
};
use serde_json::json;

use super::{
    calls::{Callers, Failure, send, target},
    svid::Prover,
};
use crate::{
    material::Material,
    provider::{Obtained, Obtaining, Provide, Wanted},
};

use answer::Login;
use session::{Session, SessionKey, Sessions};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// What agents send, so that no page can make a browser ask (server-side request forgery, turned around).
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

pub(super) struct VaultProvider {
    callers: Arc<Callers>,
    prover: Prover,
    sessions: Sessions,
}

/// A Vault as one caller reaches it.
struct Reached<'w> {
    client: Client,
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
        let reached = Reached {
            client: self.callers.client(authorities, &wanted.secrets).await?,
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
        let is_revoked = read.as_ref().is_err_and(Failure::is_refusal) && !is_new;
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
        let Some(known) = self.sessions.known(&reached.key, now) else {
            return Ok((self.log_in(reached).await?, true));
        };
        if !known.is_due(now) {
            return Ok((known, false));
        }
        // One that is at the end of all its renewals comes back with little left, and one that was revoked not at all.
        if known.can_be_renewed() {
            let renewed = reached.renew(&known).await;
            let renewed = renewed.ok().map(|login| Session::begin(login, now));
            let renewed = renewed.filter(|it| !it.is_due(now) && it.is_worth(&known));
            if let Some(renewed) = renewed {
                self.sessions.keep(&reached.key, renewed.clone(), now);
                return Ok((renewed, false));
            }
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
        let body = answer::Wiped(body);
        let path = ["auth", mount, "login"];
        let call = reached.call(Call::post(reached.url(&path)?))?.json(&body.0);
        let login = Login::of(&send(&reached.client, call).await?, "the login")?;
        let session = Session::begin(login, reached.wanted.now);
        self.sessions
            .keep(&reached.key, session.clone(), reached.wanted.now);
        Ok(session)
    }
}

impl Reached<'_> {
    /// `<address>/v1/<path>`; SECURITY: no segment leads elsewhere.
    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = target(&self.vault.address)?;
        let segments = path.iter().flat_map(|part| part.split('/'));
        let segments: Vec<&str> = segments.collect();
        let is_plain = |segment: &&str| !["", ".", ".."].contains(segment);
        if !segments.iter().all(is_plain) {
            let told = "the path of the secret has an empty segment or one of dots";
            return Err(Failure::new(Fault::ClaimUnavailable, told));
        }
        let unusable = |()| Failure::answer("the address of the Vault has no path");
        url.path_segments_mut()
            .map_err(unusable)?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        Ok(url)
    }

    fn call(&self, call: Call) -> Result<Call, Failure> {
        let call = call.header(REQUEST, HeaderValue::from_static("true"));
        let Some(namespace) = &self.vault.namespace else {
            return Ok(call);
        };
        let value = HeaderValue::from_str(namespace);
        let value = value.map_err(|_invalid| Failure::from(Fault::CredentialNotEncodable))?;
        Ok(call.header(NAMESPACE, value))
    }

    fn as_session(&self, call: Call, session: &Session) -> Result<Call, Failure> {
        self.call(call)?
            .secret_header(TOKEN, "", session.token().expose())
            .map_err(|_not_a_header| Failure::from(Fault::CredentialNotEncodable))
    }

    async fn renew(&self, session: &Session) -> Result<Login, Failure> {
        let url = self.url(&["auth", "token", "renew-self"])?;
        let call = self.as_session(Call::post(url), session)?.json(&json!({}));
        Login::of(&send(&self.client, call).await?, "the renewal")
    }

    async fn read(
        &self,
        secret: &VaultSecret<String>,
        session: &Session,
    ) -> Result<Obtained, Failure> {
        let url = match secret.engine {
            Engine::KvV1 => self.url(&[&secret.mount, &secret.path]),
            Engine::KvV2 => self.url(&[&secret.mount, "data", &secret.path]),
        };
        let call = self.as_session(Call::get(url?), session)?;
        let answer: Answer = send(&self.client, call).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer::refused("the Vault", &answer));
        }
        let mut found = answer::Found::of(&answer, secret.engine)?;
        let material = match &secret.fields {
            SecretFields::One(field) => Material::Token(found.take(field)?),
            SecretFields::Pair { username, password } => Material::Pair {
                username: found.take(username)?,
                password: found.take(password)?,
            },
        };
        Ok(Obtained {
            material,
            lifetime: Some(Lifetime::starting(self.wanted.now, found.lease())),
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
