//! What a Vault is asked, whoever asks: to log in, to renew a login, to read a secret.

use attache_core::{decision::Fault, secret::Secret};
use attache_outbound::{Call, Client, HeaderName, HeaderValue, StatusCode, Url};
use attache_policy::document::Engine;
use serde_json::json;

use super::answer::{self, Found, Login, Wiped};
use crate::providers::calls::{Failure, send, target};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// What agents send, so that no page can make a browser ask (server-side request forgery, turned around).
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// A Vault, and how it is reached.
pub(crate) struct Api<'v> {
    client: Client,
    address: &'v str,
    namespace: Option<&'v str>,
}

/// Where a secret is.
pub(crate) struct SecretPath<'p> {
    pub(crate) engine: Engine,
    pub(crate) mount: &'p str,
    pub(crate) path: &'p str,
}

impl<'v> Api<'v> {
    pub(crate) const fn new(client: Client, address: &'v str, namespace: Option<&'v str>) -> Self {
        Self {
            client,
            address,
            namespace,
        }
    }

    /// Logs in by the method that is mounted there.
    pub(crate) async fn log_in(&self, mount: &str, body: &Wiped) -> Result<Login, Failure> {
        let url = self.url(&["auth", mount, "login"])?;
        let call = self.call(Call::post(url))?.json(&body.0);
        Login::of(&send(&self.client, call).await?, "the login")
    }

    /// Renews the login whose token that is.
    pub(crate) async fn renew(&self, token: &Secret) -> Result<Login, Failure> {
        let url = self.url(&["auth", "token", "renew-self"])?;
        let call = self.by(token, Call::post(url))?.json(&json!({}));
        Login::of(&send(&self.client, call).await?, "the renewal")
    }

    /// Reads a secret.
    pub(crate) async fn read(
        &self,
        secret: &SecretPath<'_>,
        token: &Secret,
    ) -> Result<Found, Failure> {
        let url = match secret.engine {
            Engine::KvV1 => self.url(&[secret.mount, secret.path]),
            Engine::KvV2 => self.url(&[secret.mount, "data", secret.path]),
        };
        let answer = send(&self.client, self.by(token, Call::get(url?))?).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer::refused("the Vault", &answer));
        }
        Found::of(&answer, secret.engine)
    }

    /// `<address>/v1/<path>`; SECURITY: no segment leads elsewhere.
    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = target(self.address)?;
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
        let Some(namespace) = self.namespace else {
            return Ok(call);
        };
        let value = HeaderValue::from_str(namespace);
        let value = value.map_err(|_invalid| Failure::from(Fault::CredentialNotEncodable))?;
        Ok(call.header(NAMESPACE, value))
    }

    fn by(&self, token: &Secret, call: Call) -> Result<Call, Failure> {
        self.call(call)?
            .secret_header(TOKEN, "", token.expose())
            .map_err(|_not_a_header| Failure::from(Fault::CredentialNotEncodable))
    }
}
