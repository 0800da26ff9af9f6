//! `kubernetes-token`: a ServiceAccount's token by TokenRequest (`authentication.k8s.io/v1`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use attache_core::{decision::Fault, freshness::Lifetime, secret::Secret, time::Timestamp};
use attache_outbound::{Answer, Call, Client, StatusCode, Url};
use attache_policy::document::{ApiServer, CredentialKind, KubernetesToken};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use super::calls::{self, Callers, Failure, send, target};
use crate::{
    material::Material,
    provider::{Obtained, Obtaining, Provide, Wanted},
    secrets,
};

/// Where every pod finds the way to its own API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The name that the API server of every cluster has in its certificate.
const IN_CLUSTER: &str = "https://kubernetes.default.svc";

pub(super) struct KubernetesProvider {
    callers: Arc<Callers>,
    /// Of the edge's own pod.
    own: InCluster,
}

/// The edge's own pod, as its cluster equips it.
pub(super) struct InCluster {
    pub(super) url: String,
    pub(super) folder: PathBuf,
}

impl Default for InCluster {
    fn default() -> Self {
        Self {
            url: IN_CLUSTER.to_owned(),
            folder: PathBuf::from(ACCOUNT),
        }
    }
}

/// Whom to ask, and what to show.
struct Asked {
    client: Client,
    origin: Url,
    bearer: Secret,
}

impl KubernetesProvider {
    pub(super) const fn new(callers: Arc<Callers>, own: InCluster) -> Self {
        Self { callers, own }
    }

    async fn token(&self, wanted: &Wanted) -> Result<Obtained, Failure> {
        let CredentialKind::KubernetesToken(of) = &wanted.parameters else {
            return Err(Fault::CredentialUnavailable.into());
        };
        let asked = self.asked(&of.api_server, wanted).await?;
        let mut url = asked.origin;
        add_path(&mut url, of)?;
        let audiences: Vec<&str> = of.audience.iter().map(String::as_str).collect();
        let call = Call::post(url)
            .bearer(asked.bearer.expose())
            .map_err(|_not_a_header| Failure::from(Fault::CredentialNotEncodable))?
            .json(&json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": audiences, "expirationSeconds": of.ttl.as_secs()},
            }));
        let answer = send(&asked.client, call).await?;
        if ![StatusCode::OK, StatusCode::CREATED].contains(&answer.status()) {
            return Err(refused(&answer));
        }
        granted(answer.json()?, of, wanted.now)
    }

    async fn asked(&self, server: &ApiServer, wanted: &Wanted) -> Result<Asked, Failure> {
        match server {
            ApiServer::At {
                url,
                ca_file,
                token,
            } => Ok(Asked {
                client: self
                    .callers
                    .client(ca_file.as_ref(), &wanted.secrets)
                    .await?,
                origin: target(url)?,
                bearer: wanted.secrets.secret(token)?.clone(),
            }),
            // The kubelet renews both files.
            ApiServer::InCluster => {
                let authorities = own_file(&self.own.folder, "ca.crt").await?;
                let bearer = own_file(&self.own.folder, "token").await?;
                Ok(Asked {
                    client: self.callers.client_of(Some(authorities.expose())).await?,
                    origin: target(&self.own.url)?,
                    bearer,
                })
            }
        }
    }
}

async fn own_file(folder: &Path, name: &'static str) -> Result<Secret, Failure> {
    let (path, folder) = (folder.join(name), folder.to_owned());
    let read = spawn_blocking(move || secrets::read_file(&path, &[folder])).await;
    let read = read.map_err(|_ended| Failure::from(Fault::CredentialUnavailable))?;
    read.map_err(|why| {
        let told = format!("the pod's own {name} cannot be read: {why}");
        Failure::new(Fault::SecretUnavailable, told)
    })
}

/// `/api/v1/namespaces/<namespace>/serviceaccounts/<name>/token`. SECURITY: names that are none of Kubernetes' would
/// lead to another object.
fn add_path(url: &mut Url, of: &KubernetesToken<String>) -> Result<(), Failure> {
    let inside =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_name = |name: &str| {
        (1..=253).contains(&name.len())
            && name.bytes().all(inside)
            && name.bytes().any(|byte| byte.is_ascii_alphanumeric())
    };
    let (namespace, account) = (&of.namespace, &of.service_account);
    if !is_name(namespace) || !is_name(account) {
        let told = "an attribute of the caller makes no name of a namespace or ServiceAccount";
        return Err(Failure::new(Fault::ClaimUnavailable, told));
    }
    url.set_path(&format!(
        "/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    ));
    Ok(())
}

fn granted(
    mut answer: Map<String, Value>,
    of: &KubernetesToken<String>,
    now: Timestamp,
) -> Result<Obtained, Failure> {
    let status = answer.get_mut("status").and_then(Value::as_object_mut);
    let status = status.ok_or_else(|| Failure::answer("the answer has no `status`"))?;
    let token = match status.remove("token") {
        Some(Value::String(token)) => Secret::new(token),
        Some(_) | None => return Err(Failure::answer("the answer has no token")),
    };
    if token.expose().is_empty() {
        return Err(Failure::answer("the token is empty"));
    }
    let ends = status.get("expirationTimestamp").and_then(Value::as_str);
    let ends = ends.and_then(|ends| ends.parse::<jiff::Timestamp>().ok());
    let ends = ends.map(|ends| Timestamp::from_seconds(ends.as_second()));
    let ends =
        ends.ok_or_else(|| Failure::answer("the answer does not say when the token ends"))?;
    if ends <= now {
        let told = "the token is expired on arrival; compare the clocks";
        return Err(Failure::new(Fault::ProviderCredentialExpired, told));
    }
    // API servers give longer ones to their own components, and shorter ones where they are told to.
    let asked = Lifetime::starting(now, of.ttl);
    Ok(Obtained {
        material: Material::Token(token),
        lifetime: Some(Lifetime {
            issued_at: now,
            expires_at: ends.min(asked.expires_at),
        }),
        id: None,
    })
}

/// The API server says in `reason` what is wrong, in words of a list of its own.
fn refused(answer: &Answer) -> Failure {
    const REASONS: [&str; 6] = [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "Invalid",
        "BadRequest",
        "TooManyRequests",
    ];
    let mut failure = calls::refused("the API server", answer);
    let status = answer.json().ok();
    let reason = status
        .as_ref()
        .and_then(|status| status.get("reason")?.as_str());
    let known = REASONS.into_iter().find(|known| Some(*known) == reason);
    if let Some(reason) = known {
        failure.add(reason);
    }
    let asked = status.as_ref().and_then(|status| {
        let seconds = status.get("details")?.get("retryAfterSeconds")?.as_u64()?;
        Some(Duration::from_secs(seconds))
    });
    let pause = failure
        .why
        .retry_after
        .or(asked.filter(|pause| !pause.is_zero()));
    failure.after(pause)
}

impl Provide for KubernetesProvider {
    fn obtain<'a>(&'a self, wanted: &'a Wanted) -> Obtaining<'a> {
        Box::pin(async move {
            let obtained = self.token(wanted).await;
            obtained.map_err(|failure| failure.log(wanted))
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
