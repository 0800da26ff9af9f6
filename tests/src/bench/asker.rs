//! Callers of `Check`, who know which answer is the right one; and the installations that they call.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use envoy_types::{
    ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse},
    pb::envoy::service::auth::v3::authorization_client::AuthorizationClient,
};
use tonic::transport::Channel;

use super::{at_once::AtOnce, load::Caller, sets};
use crate::{
    attache::{EdgePlan, Installation},
    authority::Authority,
    authorize::{self, holds_a_token},
    cluster::Cluster,
    quickstart,
};

/// Connections of the load, as of an Envoy with as many workers.
pub(super) const CONNECTIONS: usize = 2;
/// Calls in flight on each.
const IN_FLIGHT: usize = 8;

/// Which answer is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A permit with a token.
    Token,
    /// A permit, whatever comes with it.
    Permit,
    /// A denial by Attaché's policy.
    Denial,
}

impl Expected {
    /// Whether `answer` is the right one.
    pub(super) fn hold(self, answer: &CheckResponse) -> Result<()> {
        let code = answer.status.as_ref().map_or(0, |status| status.code);
        let right = match self {
            Self::Token => code == 0 && holds_a_token(answer),
            Self::Permit => {
                code == 0 && !matches!(answer.http_response, Some(HttpResponse::DeniedResponse(_)))
            }
            Self::Denial => {
                code == 7 && matches!(answer.http_response, Some(HttpResponse::DeniedResponse(_)))
            }
        };
        let said = match &answer.http_response {
            Some(HttpResponse::DeniedResponse(denied)) => denied.body.trim_end(),
            _ => "",
        };
        ensure!(right, "{self:?} was expected, not status {code} {said}");
        Ok(())
    }
}

/// One caller of one server.
pub(super) struct Asker {
    client: AuthorizationClient<AtOnce>,
    calls: Arc<Vec<CheckRequest>>,
    expected: Expected,
    /// Counts the right answers of its server.
    answered: Arc<AtomicU64>,
}

impl Caller for Asker {
    async fn call(&mut self, number: u64) -> Result<()> {
        let number = usize::try_from(number)? % self.calls.len();
        let call = self.calls.get(number).context("no call")?.clone();
        let answer = self.client.check(call).await?.into_inner();
        self.expected.hold(&answer)?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// All who call one server at once.
pub(super) fn askers(
    channels: &[Channel],
    answered: &Arc<AtomicU64>,
    calls: &Arc<Vec<CheckRequest>>,
    expected: Expected,
) -> Vec<Asker> {
    let askers = channels.iter().flat_map(|channel| {
        (0..IN_FLIGHT).map(|_| Asker {
            client: AuthorizationClient::new(AtOnce(channel.clone())),
            calls: Arc::clone(calls),
            expected,
            answered: Arc::clone(answered),
        })
    });
    askers.collect()
}

/// Connects as often as the load does.
pub(super) async fn connect(socket: &Path) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(authorize::over_unix(socket).await?);
    }
    Ok(channels)
}

/// What Attaché runs on with `size` policies and a cluster that vouches. `reached` is as in [`sets::files`].
pub(super) async fn install(
    authority: &Authority,
    cluster: &Cluster,
    plan: &EdgePlan,
    (size, reached): (usize, &str),
) -> Result<Arc<Installation>> {
    let installation = Installation::new(plan).await?;
    let roots = installation.directory().join("ca.crt");
    authority.write(&roots)?;
    let trust = quickstart::trust_provider(cluster, &roots);
    installation.policy(quickstart::TRUST_PROVIDER, &trust)?;
    sets::write(&installation.policies(), size, reached)?;
    Ok(installation)
}
