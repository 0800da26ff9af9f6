//! Kept answers of an older revision, decided again. One is confirmed only if a fresh answer would be the same, the
//! very credential included; whatever else comes of it, the client asks anew.

use attache_proto::token::v1 as proto;
use futures::{StreamExt as _, stream};
use tonic::Status;

use super::{
    PROTOCOL, answered,
    asked::Asked,
    lease::Lease,
    service::{TokensService, check_protocol},
};
use crate::{keeping::Keeping, wanted::Wanted};

/// Kept answers of one call.
pub(super) const MAX_KEPT: usize = 64;
/// How many are decided at once.
const AT_ONCE: usize = 8;

impl TokensService {
    pub(super) async fn confirm(
        &self,
        request: proto::RevalidateRequest,
    ) -> Result<proto::RevalidateResponse, Status> {
        check_protocol(request.protocol)?;
        let count = request.kept.len();
        if count == 0 || count > MAX_KEPT {
            let message = format!("kept: {count} of them; send 1 to {MAX_KEPT}");
            return Err(Status::invalid_argument(message));
        }
        // Before the first is decided: what changes meanwhile is told as another revision.
        let revision = self.edge.revision();
        let answers = stream::iter(request.kept)
            .map(|kept| async move { self.confirm_one(kept).await.unwrap_or_default() })
            .buffered(AT_ONCE)
            .collect()
            .await;
        Ok(proto::RevalidateResponse {
            protocol: PROTOCOL,
            revision: self.tokens.revision(revision),
            answers,
        })
    }

    /// `None`: it is not confirmed.
    async fn confirm_one(&self, kept: proto::KeptAnswer) -> Option<proto::Revalidated> {
        let lease = self.tokens.seal.opened(&kept.lease)?;
        let confirmed = self.decide_again(lease, kept.evidence).await;
        let metrics = &self.edge.metrics;
        metrics.revalidated(&self.listener.name, confirmed.is_some());
        confirmed
    }

    async fn decide_again(
        &self,
        lease: Lease,
        evidence: Option<proto::Evidence>,
    ) -> Option<proto::Revalidated> {
        let purpose = proto::Purpose::try_from(lease.purpose).ok()?;
        let asked = Asked::new(purpose, evidence, lease.call.clone(), &self.listener).ok()?;
        let seal = &self.tokens.seal;
        // SECURITY: the answer was given for that evidence, on this listener.
        if lease.event.listener != self.listener.name
            || seal.of_evidence(asked.evidence.as_ref()) != lease.evidence
        {
            return None;
        }
        let wanted = Wanted {
            purpose: asked.purpose(),
            keeping: Keeping::Region,
            client_id: None,
        };
        let answer = self
            .edge
            .answer_for(wanted, &self.listener, &asked.question(), None)
            .await;
        let response = self.answered(answer, &asked);
        let is_same = response.decision == i32::from(proto::Decision::Allowed)
            && !response.lease.is_empty()
            && seal.of_injections(&response.inject) == lease.injections
            && response.workload == lease.event.workload_svid.unwrap_or_default();
        let scope = response.scope.filter(|_| is_same)?;
        let refresh_at = answered::refresh_at(&scope, response.credential_expires_at);
        Some(proto::Revalidated {
            confirmed: true,
            scope: Some(scope),
            lease: response.lease,
            decision_id: response.decision_id,
            policy: response.policy,
            policy_revision: response.policy_revision,
            remove: response.remove,
            refresh_at,
        })
    }
}
