//! The file to read first: evidence → attestation → decision → credential → injection → audit, for one
//! request, whichever listener asked.
//!
//! INVARIANT: a credential leaves only with an answer whose audit event was recorded, for a grant of
//! the policy set that was in force when it was obtained.

use std::{sync::Arc, time::Duration};

use attache_core::{
    attestation::Attestation, decision::Fault, evidence::Evidence, header::HeaderName,
    scope::Caller,
};
use attache_credentials::Credentials;
use attache_policy::{Compiled, Context, Decided, Decision, Geography};
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

/// How long recording may take at least, however long the decision took.
const RECORDING_LIMIT: Duration = Duration::from_millis(50);

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The request goes on from here, with its credential.
    Attach,
    /// Somebody asks, and enforces the answer without a credential of ours.
    Judge,
}

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
    /// Where addresses are, for policies that ask.
    pub geography: Arc<dyn Geography>,
    /// With what.
    pub credentials: Credentials,
    /// What happened.
    pub journal: Journal,
}

impl Edge {
    /// Answers one request, with its credential, and records it.
    pub async fn answer(&self, listener: &ListenerSettings, question: &Question<'_>) -> Answer {
        self.answer_for(Purpose::Attach, listener, question).await
    }

    /// Answers whether a request may be made, and records it; for callers that only ask.
    pub async fn judge(&self, listener: &ListenerSettings, question: &Question<'_>) -> Answer {
        self.answer_for(Purpose::Judge, listener, question).await
    }

    async fn answer_for(
        &self,
        purpose: Purpose,
        listener: &ListenerSettings,
        question: &Question<'_>,
    ) -> Answer {
        let began = Instant::now();
        let mut trail = Trail::begin(clock::now(), began, question);
        let patience = match self.enforcement {
            Enforcement::Enforce => self.answer_within,
            Enforcement::Observe => self.answer_within.min(OBSERVATION_LIMIT),
        };
        let decision = self.decide(purpose, listener, question, &mut trail);
        let verdict = match tokio::time::timeout(patience, decision).await {
            Ok(verdict) => verdict,
            // What was waited for goes on without this request, for the next one.
            Err(_elapsed) if trail.is_granted() => Err(Fault::CredentialUnavailable.into()),
            Err(_elapsed) => Err(Fault::KeysUnavailable.into()),
        };
        let remaining = self.answer_within.saturating_sub(began.elapsed());
        let patience = remaining.max(RECORDING_LIMIT);
        self.conclude(listener, question, trail, verdict, patience)
            .await
    }

    /// The stages, until one refuses.
    async fn decide(
        &self,
        purpose: Purpose,
        listener: &ListenerSettings,
        question: &Question<'_>,
        trail: &mut Trail,
    ) -> Result<Forward, Refusal> {
        let asked = question.understand(listener.destination)?;
        trail.asked(&asked);
        for _ in 0..MAX_DECISIONS {
            let policies = self.live.compiled();
            let verdict = self
                .decide_under(&policies, purpose, listener, question, &asked, trail)
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
        purpose: Purpose,
        listener: &ListenerSettings,
        question: &Question<'_>,
        asked: &Asked<'_>,
        trail: &mut Trail,
    ) -> Result<Forward, Refusal> {
        trail.under(policies);
        let remove = match enter(self.unmatched, policies, listener, question, asked)? {
            Entered::Asks(remove) => remove,
            Entered::Unmatched(remove) => {
                trail.unmatched();
                self.rehearse(policies, listener, question, asked, trail)
                    .await;
                return Ok(Forward::with(None, &remove));
            }
        };
        let evidence = listener.evidence.evidence(question)?;
        let attestation = self.trust.attest(&evidence, trail.asked_at()).await?;
        trail.attested(&attestation, policies);
        let decided = self.judge_by(policies, &attestation, question, asked, trail);
        match decided.into_decision() {
            Decision::Allow(grant) => {
                trail.granted(&grant);
                if purpose == Purpose::Judge {
                    trail.may_be_kept(
                        &grant.scope(caller(listener, &evidence)),
                        grant.valid_until(),
                    );
                }
                if self.enforcement == Enforcement::Observe || purpose == Purpose::Judge {
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
                if purpose == Purpose::Judge {
                    trail.may_be_kept(
                        &denial.scope(caller(listener, &evidence)),
                        denial.valid_until(),
                    );
                }
                if denial.policy().is_none() && self.unmatched == Unmatched::PassWithoutCredential {
                    trail.unmatched();
                    return Ok(Forward::with(None, &remove));
                }
                Err(denial.into_reason().into())
            }
            Decision::Unavailable(fault) => Err(fault.into()),
        }
    }

    /// Decides, and notes what the event tells beside the answer.
    fn judge_by<'a>(
        &'a self,
        policies: &'a Compiled,
        attestation: &'a Attestation,
        question: &'a Question<'_>,
        asked: &'a Asked<'_>,
        trail: &mut Trail,
    ) -> Decided<'a> {
        let context = Context {
            now: trail.asked_at(),
            source: question.address,
            geography: &*self.geography,
            query: question.query(),
            headers: &question.headers,
        };
        let decided = policies.decide(attestation, &asked.request(), &context);
        trail.decided(&decided, self.unmatched);
        decided
    }

    /// Notes what dry-run policies would do to a call that passes untouched. INVARIANT: whatever fails
    /// here, or takes long, changes nothing for the caller.
    async fn rehearse(
        &self,
        policies: &Compiled,
        listener: &ListenerSettings,
        question: &Question<'_>,
        asked: &Asked<'_>,
        trail: &mut Trail,
    ) {
        if !policies.rehearses(asked.host(), asked.port()) {
            return;
        }
        let Ok(evidence) = listener.evidence.evidence(question) else {
            return;
        };
        let patience = OBSERVATION_LIMIT.min(self.answer_within / 2);
        let attesting = self.trust.attest(&evidence, trail.asked_at());
        if let Ok(Ok(attestation)) = tokio::time::timeout(patience, attesting).await {
            trail.attested(&attestation, policies);
            self.judge_by(policies, &attestation, question, asked, trail);
        }
    }

    /// Records what happened; only then the answer may leave.
    async fn conclude(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        mut trail: Trail,
        verdict: Result<Forward, Refusal>,
        patience: Duration,
    ) -> Answer {
        if let Err(refusal) = &verdict {
            trail.refused(refusal);
        }
        let event = trail.event(&self.name, &listener.name, self.enforcement);
        let mut answer = Answer {
            decision_id: event.event_id.clone(),
            policy: event.policy_matched.clone(),
            workload: event.workload_svid.clone(),
            policy_revision: event.policy_revision.clone(),
            valid_until: trail.valid_until(),
            disposition: verdict.map_or_else(Disposition::Refuse, Disposition::Forward),
        };
        // A journal that hangs, on a dying disk, is one that cannot be written.
        match tokio::time::timeout(patience, self.journal.record(event)).await {
            Ok(Ok(recorded)) => answer.decision_id = recorded.event_id,
            Ok(Err(error)) => {
                error!(%error, decision = answer.decision_id, "an access could not be recorded");
                answer.disposition = Disposition::Refuse(Fault::AuditUnavailable.into());
            }
            Err(_elapsed) => {
                error!(
                    decision = answer.decision_id,
                    "an access was not recorded in time"
                );
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

/// What is settled of a request before anybody asks who calls, with the headers to remove from it.
pub(crate) enum Entered<'q> {
    /// No policy is about its target, and the edge lets that pass.
    Unmatched(Vec<&'q str>),
    /// The caller has to be known.
    Asks(Vec<&'q str>),
}

/// The stage before evidence: headers that imitate protected ones, and targets that no policy is about.
pub(crate) fn enter<'q>(
    unmatched: Unmatched,
    policies: &Compiled,
    listener: &ListenerSettings,
    question: &Question<'q>,
    asked: &Asked<'_>,
) -> Result<Entered<'q>, Refusal> {
    let target = policies.target(asked.host(), asked.port());
    let injectable = target
        .as_ref()
        .map_or(&[][..], |target| target.injectable());
    let mut remove = question.protected_headers(evidence_header(listener), injectable)?;
    if target.is_none() && unmatched == Unmatched::PassWithoutCredential {
        return Ok(Entered::Unmatched(remove));
    }
    remove.extend(question.overriding_headers(listener.override_headers)?);
    Ok(Entered::Asks(remove))
}

/// The caller, as far as an answer may be given again.
fn caller(listener: &ListenerSettings, evidence: &Evidence) -> Caller {
    match (&listener.evidence, evidence) {
        (EvidenceSource::Header(_), Evidence::Token(token)) => Caller::Evidence(token.clone()),
        (EvidenceSource::TokenFile(_), _) => Caller::Listener(listener.name.clone()),
    }
}

/// The header that carries evidence on this listener, if one does.
const fn evidence_header(listener: &ListenerSettings) -> Option<&HeaderName> {
    match &listener.evidence {
        EvidenceSource::Header(name) => Some(name),
        EvidenceSource::TokenFile(_) => None,
    }
}
