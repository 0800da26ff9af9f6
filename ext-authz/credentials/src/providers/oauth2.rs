//! `oauth2-client-credentials` (RFC 6749 §4.4) and `oauth2-token-exchange` (RFC 8693): one call to a token endpoint,
//! which differs in its form.

mod answer;
mod assertion;
mod client;
mod discovery;

use std::sync::Arc;

use attache_core::{decision::Fault, evidence::Evidence, secret::Secret};
use attache_outbound::{Call, Client, StatusCode};
use attache_policy::document::{
    ClientCredentials, CredentialKind, OauthRequest, Subject, TokenEndpoint, TokenExchange,
};

use super::{
    calls::{Callers, Failure, send, target},
    svid::Prover,
};
use crate::provider::{Obtained, Obtaining, Provide, Wanted};

use client::ClientProof;
use discovery::Discovery;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) struct OauthProvider {
    callers: Arc<Callers>,
    prover: Prover,
    discovery: Discovery,
}

/// The token endpoint as it is asked.
struct Endpoint {
    client: Client,
    url: String,
    /// What names the server in an assertion: its issuer if that is known.
    audience: String,
}

/// What of an answer is good: RFC 8693 §2.2.1 allows what is no access token to have no type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    ClientCredentials,
    TokenExchange,
}

impl OauthProvider {
    pub(super) fn new(callers: Arc<Callers>, prover: Prover) -> Self {
        Self {
            callers,
            prover,
            discovery: Discovery::default(),
        }
    }

    async fn credentials(&self, wanted: &Wanted) -> Result<Obtained, Failure> {
        match &wanted.parameters {
            CredentialKind::ClientCredentials(of) => self.by_client(of, wanted).await,
            CredentialKind::TokenExchange(of) => self.by_exchange(of, wanted).await,
            CredentialKind::Token(_)
            | CredentialKind::ApiKey(_)
            | CredentialKind::UsernamePassword(_)
            | CredentialKind::StaticHeaders(_)
            | CredentialKind::Vault(_)
            | CredentialKind::KubernetesToken(_) => Err(Fault::CredentialUnavailable.into()),
        }
    }

    async fn by_client(
        &self,
        of: &ClientCredentials<String>,
        wanted: &Wanted,
    ) -> Result<Obtained, Failure> {
        let endpoint = self.endpoint(&of.endpoint, wanted).await?;
        let client_id = of.client_id.as_deref();
        let proof = ClientProof::of(
            &of.authentication,
            client_id,
            &endpoint.audience,
            &self.prover,
            wanted,
        );
        let proof = proof.await?;
        let mut form = vec![("grant_type", "client_credentials")];
        requested(&of.request, &mut form);
        let scope = scope(&of.request)?;
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let asked = self.ask(
            &endpoint,
            Some(&proof),
            form,
            Grant::ClientCredentials,
            wanted,
        );
        self.keep_or_forget(&of.endpoint, asked.await)
    }

    async fn by_exchange(
        &self,
        of: &TokenExchange<String>,
        wanted: &Wanted,
    ) -> Result<Obtained, Failure> {
        let endpoint = self.endpoint(&of.endpoint, wanted).await?;
        let proof = match &of.authentication {
            Some(how) => {
                let (client_id, audience) = (of.client_id.as_deref(), &endpoint.audience);
                Some(ClientProof::of(how, client_id, audience, &self.prover, wanted).await?)
            }
            None => None,
        };
        let subject = match &of.subject {
            Subject::Own(own) => self.prover.token(wanted, own.form, &own.audience).await?,
            Subject::Evidence => shown(&wanted.evidence)?.clone(),
        };
        let mut form = vec![
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", subject.expose()),
            ("subject_token_type", JWT),
        ];
        let actor = match &of.actor {
            Some(actor) => {
                let minted = self.prover.token(wanted, actor.form, &actor.audience);
                Some(minted.await?)
            }
            None => None,
        };
        if let Some(actor) = &actor {
            form.extend([("actor_token", actor.expose()), ("actor_token_type", JWT)]);
        }
        if let Some(requested) = &of.requested_type {
            form.push(("requested_token_type", requested));
        }
        if proof.is_none() {
            form.extend(of.client_id.as_deref().map(|id| ("client_id", id)));
        }
        requested(&of.request, &mut form);
        let scope = scope(&of.request)?;
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let asked = self.ask(
            &endpoint,
            proof.as_ref(),
            form,
            Grant::TokenExchange,
            wanted,
        );
        self.keep_or_forget(&of.endpoint, asked.await)
    }

    async fn endpoint(&self, of: &TokenEndpoint, wanted: &Wanted) -> Result<Endpoint, Failure> {
        let client = self.callers.client(of.ca_file(), &wanted.secrets).await?;
        let (url, audience) = match of {
            TokenEndpoint::Fixed { url, .. } => (url.clone(), url.clone()),
            TokenEndpoint::Discovered { issuer, .. } => {
                let url = self.discovery.token_endpoint(&client, of, issuer).await?;
                (url, issuer.clone())
            }
        };
        Ok(Endpoint {
            client,
            url,
            audience,
        })
    }

    async fn ask<'f>(
        &self,
        endpoint: &Endpoint,
        proof: Option<&'f ClientProof>,
        mut form: Vec<(&'f str, &'f str)>,
        grant: Grant,
        wanted: &Wanted,
    ) -> Result<Obtained, Failure> {
        let mut call = Call::post(target(&endpoint.url)?).header(
            attache_outbound::header::ACCEPT,
            attache_outbound::HeaderValue::from_static("application/json"),
        );
        if let Some(proof) = proof {
            form.extend(proof.fields());
            call = proof.head(call)?;
        }
        let answer = send(&endpoint.client, call.form(form)).await?;
        if answer.status() == StatusCode::OK {
            return answer::granted(&answer, grant, wanted.now);
        }
        Err(answer::refused(&answer))
    }

    /// An endpoint that nobody answers on may have moved.
    fn keep_or_forget<T>(
        &self,
        endpoint: &TokenEndpoint,
        asked: Result<T, Failure>,
    ) -> Result<T, Failure> {
        if asked.as_ref().is_err_and(|failure| !failure.is_refusal()) {
            self.discovery.forget(endpoint);
        }
        asked
    }
}

impl Provide for OauthProvider {
    fn generation(&self) -> u64 {
        self.prover.generation()
    }

    fn obtain<'a>(&'a self, wanted: &'a Wanted) -> Obtaining<'a> {
        Box::pin(async move {
            let obtained = self.credentials(wanted).await;
            obtained.map_err(|failure| failure.log(wanted))
        })
    }
}

/// The caller's own token. SECURITY: only where the document asks for it, and what the grant does not count of the
/// evidence is not in it.
fn shown(evidence: &Evidence) -> Result<&Secret, Failure> {
    match evidence {
        Evidence::Token(token) => Ok(token),
        Evidence::Certificate(_) | Evidence::Several(_) => {
            let told = "the caller was not proven by one token, which the document has exchanged";
            Err(Failure::new(Fault::CredentialUnavailable, told))
        }
    }
}

/// `audience` and each `resource` (RFC 8693 §2.1, RFC 8707 §2).
fn requested<'f>(request: &'f OauthRequest<String>, form: &mut Vec<(&'f str, &'f str)>) {
    let audience = request.audience.as_deref();
    form.extend(audience.map(|audience| ("audience", audience)));
    let resources = request.resources.iter();
    form.extend(resources.map(|resource| ("resource", resource.as_str())));
}

/// The scopes as one text (RFC 6749 §3.3). SECURITY: a space in an attribute of the caller would make two of one.
fn scope(request: &OauthRequest<String>) -> Result<Option<String>, Failure> {
    let inside = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    let is_one = |scope: &String| !scope.is_empty() && scope.bytes().all(inside);
    if !request.scopes.iter().all(is_one) {
        let told = "an attribute of the caller cannot stand in a scope";
        return Err(Failure::new(Fault::ClaimUnavailable, told));
    }
    Ok((!request.scopes.is_empty()).then(|| request.scopes.join(" ")))
}

#[cfg(test)]
pub(super) mod tests;
