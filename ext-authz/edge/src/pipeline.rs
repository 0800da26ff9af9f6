//! The file to read first: evidence → attestation → decision → credential → injection → audit, for one
//! request, whichever listener asked.
//!
//! INVARIANT: a credential leaves only with an answer whose audit event was recorded, for a grant of
//! the policy set that was in force when it was obtained.

use std::{sync::Arc, time::Duration};

use attache_core::{decision::Fault, header::HeaderName};
use attache_credentials::Credentials;
use attache_policy::{Compiled, Decision};
use attache_trust::Trust;
use tokio::time::Instant;
use tracing::{debug, error};

use crate::{
    answer::{Answer, Disposition, Forward},
    clock,
    journal::Journal,
    live::Live,
    question::{Asked, Question},
    refusal::Refusal,
    settings::{Enforcement, EvidenceSource, ListenerSettings, Unmatched},
    trail::Trail,
};

/// How often a decision is made again because policy changed under it, before the call is given up.
const MAX_DECISIONS: usize = 3;

/// How long an observing edge may hold up a request that it will let pass anyway.
const OBSERVATION_LIMIT: Duration = Duration::from_millis(150);

/// Everything one edge needs to answer.
pub struct Edge {
    /// The edge's name in audit events.
    pub name: String,
    /// What happens to a request that no policy matches.
    pub unmatched: Unmatched,
    /// Whether decisions are carried out.
    pub enforcement: Enforcement,
    /// How long a decision may take, so that the answer comes before Envoy stops waiting for it.
    pub answer_within: Duration,
    /// The policy set in force.
    pub live: Arc<Live>,
    /// Who is calling.
    pub trust: Arc<Trust>,
    /// With what.
    pub credentials: Credentials,
    /// What happened.
    pub journal: Journal,
}

impl Edge {
    /// Answers one request and records it.
    pub async fn answer(&self, listener: &ListenerSettings, question: &Question<'_>) -> Answer {
        let mut trail = Trail::begin(clock::now(), Instant::now(), question);
        let patience = match self.enforcement {
            Enforcement::Enforce => self.answer_within,
            Enforcement::Observe => self.answer_within.min(OBSERVATION_LIMIT),
        };
        let decision = self.decide(listener, question, &mut trail);
        let verdict = match tokio::time::timeout(patience, decision).await {
            Ok(verdict) => verdict,
            // What was waited for goes on without this request, for the next one.
            Err(_elapsed) if trail.is_granted() => Err(Fault::CredentialUnavailable.into()),
            Err(_elapsed) => Err(Fault::KeysUnavailable.into()),
        };
        self.conclude(listener, question, trail, verdict).await
    }

    /// The stages, until one refuses.
    async fn decide(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        trail: &mut Trail,
    ) -> Result<Forward, Refusal> {
        let asked = question.understand(listener.destination)?;
        trail.asked(&asked);
        for _ in 0..MAX_DECISIONS {
            let policies = self.live.compiled();
            let verdict = self
                .decide_under(&policies, listener, question, &asked, trail)
                .await;
            // SECURITY: what an older revision granted is not injected; it is decided again.
            if verdict.is_err() || self.live.is_current(&policies) {
                return verdict;
            }
            debug!("policy changed during a decision; deciding again");
        }
        Err(Fault::CredentialUnavailable.into())
    }

    async fn decide_under(
        &self,
        policies: &Compiled,
        listener: &ListenerSettings,
        question: &Question<'_>,
        asked: &Asked<'_>,
        trail: &mut Trail,
    ) -> Result<Forward, Refusal> {
        trail.under(policies);
        let target = policies.target(asked.host(), asked.port());
        let injectable = target
            .as_ref()
            .map_or(&[][..], |target| target.injectable());
        let remove = question.protected_headers(evidence_header(listener), injectable)?;
        if target.is_none() && self.unmatched == Unmatched::PassWithoutCredential {
            trail.unmatched();
            return Ok(Forward::with(None, &remove));
        }
        let evidence = listener.evidence.evidence(question)?;
        let attestation = self.trust.attest(&evidence, trail.asked_at()).await?;
        trail.attested(&attestation);
        match policies.decide(&attestation, &asked.request(), trail.asked_at()) {
            Decision::Allow(grant) => {
                trail.granted(&grant);
                if self.enforcement == Enforcement::Observe {
                    return Ok(Forward::with(None, &remove));
                }
                let credential = self
                    .credentials
                    .obtain(&grant, &evidence, trail.asked_at())
                    .await?;
                if let Some(credential) = &credential {
                    trail.obtained(&grant, credential);
                }
                Ok(Forward::with(credential, &remove))
            }
            Decision::Deny(denial) => {
                trail.denied(&denial);
                if denial.policy().is_none() && self.unmatched == Unmatched::PassWithoutCredential {
                    trail.unmatched();
                    return Ok(Forward::with(None, &remove));
                }
                Err(denial.into_reason().into())
            }
            Decision::Unavailable(fault) => Err(fault.into()),
        }
    }

    /// Records what happened; only then the answer may leave.
    async fn conclude(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        mut trail: Trail,
        verdict: Result<Forward, Refusal>,
    ) -> Answer {
        if let Err(refusal) = &verdict {
            trail.refused(refusal);
        }
        let event = trail.event(&self.name, &listener.name, self.enforcement);
        let mut answer = Answer {
            decision_id: event.event_id.clone(),
            policy: event.policy_matched.clone(),
            workload: event.workload_svid.clone(),
            disposition: verdict.map_or_else(Disposition::Refuse, Disposition::Forward),
        };
        match self.journal.record(event).await {
            Ok(recorded) => answer.decision_id = recorded.event_id,
            Err(error) => {
                error!(%error, decision = answer.decision_id, "an access could not be recorded");
                answer.disposition = Disposition::Refuse(Fault::AuditUnavailable.into());
            }
        }
        if self.enforcement == Enforcement::Observe {
            // Nothing changes for the caller; its evidence is still not for the target's eyes.
            let evidence = evidence_header(listener).filter(|name| question.has(name));
            answer.disposition = Disposition::Forward(Forward::removing(evidence));
        }
        trail.announce(&answer);
        answer
    }
}

/// The header that carries evidence on this listener, if one does.
const fn evidence_header(listener: &ListenerSettings) -> Option<&HeaderName> {
    match &listener.evidence {
        EvidenceSource::Header(name) => Some(name),
        EvidenceSource::TokenFile(_) => None,
    }
}
