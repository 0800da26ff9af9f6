//! The file to read first: evidence → attestation → decision → credential → injection → audit, for one
//! request, whichever listener asked.
//!
//! INVARIANT: a credential leaves only with an answer whose audit event was recorded, for a grant of
//! the policy set that was in force when it was obtained.

use std::{sync::Arc, time::Duration};

use attache_core::{
    attestation::Attestation, attributes::Attributes, decision::Fault, event::Event,
    evidence::EvidenceRef,
};
use attache_credentials::{Credential, Credentials, Held};
use attache_policy::{Compiled, Context, Decided, Decision, Geography, Grant};
use attache_trust::Trust;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::{
    admission::Calls,
    answer::{Answer, Disposition, Forward, Removal},
    clock, deadline,
    entrance::{Entered, enter},
    journal::Journal,
    keeping::{Keeping, Kept, Revision},
    live::{InForce, Live},
    metrics::Metrics,
    question::{Asked, Question},
    refusal::Refusal,
    settings::{Enforcement, ListenerSettings, Unmatched},
    stages::Stage,
    tokens::Tokens,
    traces::{Parent, Traces},
    trail::Trail,
    wanted::{Purpose, Wanted},
};

/// How often a decision is made again because policy changed under it, before the call is given up.
const MAX_DECISIONS: usize = 3;

/// How long an observing edge may hold up a request that it will let pass anyway.
const OBSERVATION_LIMIT: Duration = Duration::from_millis(150);

/// How long recording may take at least, however long the decision took.
const RECORDING_LIMIT: Duration = Duration::from_millis(50);

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
    /// How many calls may wait at once.
    pub calls: Calls,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// Answers that others keep.
    pub tokens: Arc<Tokens>,
    /// Where traces go, if anywhere.
    pub traces: Option<Traces>,
}

impl Edge {
    /// Answers one request, with its credential, and records it.
    pub(crate) async fn answer(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        parent: Option<Parent>,
    ) -> Answer {
        self.answer_for(Wanted::once(Purpose::Attach), listener, question, parent)
            .await
    }

    /// Answers whether a request may be made, and records it; for callers that only ask.
    pub(crate) async fn judge(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        parent: Option<Parent>,
    ) -> Answer {
        self.answer_for(Wanted::once(Purpose::Judge), listener, question, parent)
            .await
    }

    /// The state that answers depend on.
    pub fn revision(&self) -> Revision {
        self.revision_of(&self.live.in_force())
    }

    fn revision_of(&self, policies: &InForce) -> Revision {
        Revision {
            step: policies.step(),
            generation: self.credentials.generation(),
        }
    }

    /// Answers one request as it is wanted, and records it.
    pub(crate) async fn answer_for(
        &self,
        wanted: Wanted<'_>,
        listener: &ListenerSettings,
        question: &Question<'_>,
        parent: Option<Parent>,
    ) -> Answer {
        let began = Instant::now();
        let mut trail = Trail::begin(clock::now(), began, question);
        trail.joins(parent);
        let Some(_slot) = self.calls.enter() else {
            return Box::pin(self.turn_away(listener, question, &mut trail)).await;
        };
        let patience = match self.enforcement {
            Enforcement::Enforce => self.answer_within,
            Enforcement::Observe => self.answer_within.min(OBSERVATION_LIMIT),
        };
        let answered_by = began + patience;
        trail.answers_by(answered_by);
        let decision = self.decide(wanted, listener, question, &mut trail);
        let verdict = match deadline::by(answered_by, decision).await {
            Ok(verdict) => verdict,
            // What was waited for goes on without this request, for the next one.
            Err(_elapsed) if trail.is_granted() => Err(Fault::CredentialUnavailable.into()),
            Err(_elapsed) => Err(Fault::KeysUnavailable.into()),
        };
        if let Some(needs) = trail.noted().needs() {
            // Nothing was given, so nothing is recorded: the asker comes again for each request.
            let (_event, mut answer) = self.answer_of(listener, &mut trail, verdict);
            answer.needs = Some(Box::new(needs));
            return answer;
        }
        let until = began + self.answer_within;
        self.conclude(listener, question, &mut trail, verdict, until)
            .await
    }

    /// Too many calls wait: nothing of this one is judged, and it waits for nothing but its record, if that.
    async fn turn_away(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        trail: &mut Trail,
    ) -> Answer {
        let verdict = Err(Fault::Overloaded.into());
        if let Some(_leave) = self.calls.tell() {
            let at_once = trail.began();
            return self
                .conclude(listener, question, trail, verdict, at_once)
                .await;
        }
        let (event, answer) = self.answer_of(listener, trail, verdict);
        self.leave(listener, question, trail, event.code.as_deref(), answer)
    }

    /// The stages, until one refuses.
    async fn decide(
        &self,
        wanted: Wanted<'_>,
        listener: &ListenerSettings,
        question: &Question<'_>,
        trail: &mut Trail,
    ) -> Result<Forward, Refusal> {
        let asked = question.understand(listener.destination)?;
        trail.asked(&asked);
        if wanted.keeping == Keeping::Region {
            let now = trail.asked_at();
            trail.noted().asked(&asked, now);
        }
        for _ in 0..MAX_DECISIONS {
            let policies = self.live.in_force();
            let verdict = self
                .decide_under(&policies, wanted, listener, question, &asked, trail)
                .await;
            // SECURITY: what an older revision granted is not injected, nor what a grant gives that ended while
            // its credential was obtained; it is decided again.
            let holds = self.live.is_current(&policies) && !trail.is_outlived();
            if verdict.is_err() || holds {
                return verdict;
            }
            trail.judge_again();
            debug!("policy changed during a decision, or its grant ended; deciding again");
        }
        Err(Fault::CredentialUnavailable.into())
    }

    async fn decide_under(
        &self,
        policies: &InForce,
        wanted: Wanted<'_>,
        listener: &ListenerSettings,
        question: &Question<'_>,
        asked: &Asked<'_>,
        trail: &mut Trail,
    ) -> Result<Forward, Refusal> {
        trail.under(policies, self.revision_of(policies));
        if wanted.keeping == Keeping::Region {
            wanted.note_target(policies, listener, asked, trail)?;
        }
        let remove = match enter(self.unmatched, policies, listener, question, asked)? {
            Entered::Asks(remove) => remove,
            Entered::Unmatched(remove) => {
                trail.unmatched();
                // The state of what is rare is kept apart, here and below, so that a call's own stays small.
                Box::pin(self.rehearse(policies, listener, question, asked, trail)).await;
                return Ok(Forward::with(None, &remove));
            }
        };
        trail.enter(Stage::Evidence);
        let offered = listener.evidence.offered(question, trail.asked_at())?;
        let attestation = offered.attested(&self.trust, trail.asked_at()).await?;
        trail.enter(Stage::Decide);
        let (Some(attestation), Some(evidence)) = (attestation, offered.evidence()) else {
            let verdict = self.admit(policies, &offered.unproven, question, asked, trail, &remove);
            wanted.note_unproven(&verdict, trail)?;
            return verdict;
        };
        trail.attested(&attestation, policies);
        let decided = self.judge_by(policies, &attestation, question, asked, trail);
        wanted.note(decided.decision(), trail)?;
        match decided.into_decision() {
            Decision::Allow(grant) => {
                trail.granted(&grant);
                if wanted.purpose == Purpose::Judge {
                    trail.may_be_kept(grant.kept_until());
                }
                if self.enforcement == Enforcement::Observe || wanted.purpose == Purpose::Judge {
                    return Ok(Forward::with(None, &remove));
                }
                if wanted.purpose == Purpose::Fetch && Credentials::is_assertion(&grant) {
                    return Err(trail.noted().assertion().into());
                }
                let credential = self.obtain(wanted, &grant, evidence, trail).await?;
                Ok(Forward::with(credential, &remove))
            }
            Decision::Deny(denial) => {
                trail.denied(&denial);
                if wanted.purpose == Purpose::Judge {
                    trail.may_be_kept(denial.kept_until());
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

    /// With what a granted request goes on.
    async fn obtain(
        &self,
        wanted: Wanted<'_>,
        grant: &Grant<'_>,
        evidence: EvidenceRef<'_>,
        trail: &mut Trail,
    ) -> Result<Option<Held<Credential>>, Refusal> {
        trail.enter(Stage::Credential);
        let (now, until) = (trail.asked_at(), trail.answered_by());
        let credentials = &self.credentials;
        let obtained = match wanted.purpose {
            Purpose::Assert => {
                wanted.check_client(grant.attestation())?;
                Box::pin(credentials.assertion(grant, evidence, now)).await
            }
            Purpose::Attach | Purpose::Fetch | Purpose::Judge => {
                credentials.obtain(grant, evidence, now, until).await
            }
        };
        let credential = obtained.map_err(|why| {
            trail.retry_after(why.retry_after);
            why.fault
        })?;
        if let Some(credential) = &credential {
            trail.obtained(grant, credential);
        }
        Ok(credential)
    }

    fn context<'a>(&'a self, question: &'a Question<'_>, trail: &Trail) -> Context<'a> {
        Context {
            now: trail.asked_at(),
            source: question.address,
            geography: &*self.geography,
            query: question.query(),
            headers: question.known_headers(),
        }
    }

    /// Decides about a caller that shows no evidence. Whatever comes of it, no credential does.
    fn admit(
        &self,
        policies: &Compiled,
        said: &Attributes,
        question: &Question<'_>,
        asked: &Asked<'_>,
        trail: &mut Trail,
        remove: &Removal<'_>,
    ) -> Result<Forward, Refusal> {
        let context = self.context(question, trail);
        let admitted = policies.admit(said, &asked.request(), &context);
        trail.unproven(said, &admitted);
        match admitted.answer() {
            Ok(_policy) => Ok(Forward::with(None, remove)),
            Err(turned) => Err(turned.reason.clone().into()),
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
        let context = self.context(question, trail);
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
        let Ok(offered) = listener.evidence.offered(question, trail.asked_at()) else {
            return;
        };
        let patience = OBSERVATION_LIMIT.min(self.answer_within / 2);
        let attesting = offered.attested(&self.trust, trail.asked_at());
        if let Ok(Ok(Some(attestation))) = timeout(patience, attesting).await {
            trail.attested(&attestation, policies);
            self.judge_by(policies, &attestation, question, asked, trail);
        }
    }

    /// Records what happened, `until` then or a little later; only then the answer may leave.
    async fn conclude(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        trail: &mut Trail,
        verdict: Result<Forward, Refusal>,
        until: Instant,
    ) -> Answer {
        let until = until.max(trail.enter(Stage::Audit) + RECORDING_LIMIT);
        let (event, mut answer) = self.answer_of(listener, trail, verdict);
        let code = event.code.clone();
        // A journal that hangs, on a dying disk, is one that cannot be written.
        match deadline::by(until, self.journal.record(event)).await {
            Ok(Ok(recorded)) => answer.recorded_as(recorded.event_id),
            // The journal tells of it once, and readiness; each call is not worth a line.
            Ok(Err(error)) => {
                debug!(%error, decision = %answer.decision_id, "an access could not be recorded");
                answer.is_not_recorded();
            }
            Err(_elapsed) => {
                debug!(
                    decision = %answer.decision_id,
                    "an access was not recorded in time"
                );
                answer.is_not_recorded();
            }
        }
        self.leave(listener, question, trail, code.as_deref(), answer)
    }

    /// The event of an access, and its answer as it is if that can be recorded.
    fn answer_of(
        &self,
        listener: &ListenerSettings,
        trail: &mut Trail,
        verdict: Result<Forward, Refusal>,
    ) -> (Box<Event>, Answer) {
        if let Err(refusal) = &verdict {
            trail.refused(refusal);
        }
        let region = trail.noted().region(&verdict);
        let region = region.filter(|_| self.enforcement == Enforcement::Enforce);
        if region.is_some() {
            trail.leased();
        }
        let event = trail.event(&self.name, &listener.name, self.enforcement);
        let answer = Answer {
            decision_id: event.event_id.clone(),
            policy: event.policy_matched.clone(),
            workload: event.workload_svid.clone(),
            policy_revision: event.policy_revision.clone(),
            valid_until: trail.valid_until(),
            retry_after: trail.retry_is_after(),
            observed: false,
            kept: region.map(|region| {
                Box::new(Kept {
                    region,
                    event: event.clone(),
                    revision: trail.noted().revision,
                })
            }),
            needs: None,
            protected: std::mem::take(&mut trail.noted().protected),
            disposition: verdict.map_or_else(Disposition::Refuse, Disposition::Forward),
        };
        (event, answer)
    }

    /// The answer as it leaves; `code` is that of the decision.
    fn leave(
        &self,
        listener: &ListenerSettings,
        question: &Question<'_>,
        trail: &mut Trail,
        code: Option<&str>,
        mut answer: Answer,
    ) -> Answer {
        let code = match &answer.disposition {
            Disposition::Refuse(refusal) => Some(refusal.code()),
            Disposition::Forward(_) => code,
        };
        if self.enforcement == Enforcement::Observe {
            // Nothing changes for the caller; its evidence is still not for the target's eyes.
            let evidence = listener.evidence.headers();
            let present = evidence.filter(|name| question.has(name));
            answer.disposition = Disposition::Forward(Forward::removing(present));
            // What is observed today may be enforced a moment later, under the same revision.
            (answer.observed, answer.valid_until) = (true, None);
        }
        self.measure(&listener.name, trail, &answer, code);
        trail.announce(&answer);
        answer
    }

    /// Counts an answer, and tells whoever traces it.
    fn measure(&self, listener: &str, trail: &mut Trail, answer: &Answer, code: Option<&str>) {
        let (took, outcome) = (trail.ends(), answer.outcome());
        self.metrics.answered(listener, outcome, code, took);
        self.metrics.passed(trail.stages());
        if let (Some(traces), Some(parent)) = (&self.traces, trail.parent()) {
            let told = trail.told(listener, answer, code);
            traces.record(parent, &told, trail.began(), trail.stages());
        }
    }
}

#[cfg(test)]
mod tests;
