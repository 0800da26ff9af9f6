//! What is known of one access while its stages run; at the end it becomes the audit event.

use std::{mem, time::Duration};

use attache_core::{
    attestation::Attestation,
    attributes::Attributes,
    decision::DenyReason,
    event::{CheckedCondition, ConditionOutcome, Event, Mode, Outcome, Record, TokenRequest},
    request::without_query,
    time::Timestamp,
};
use attache_credentials::Credential;
use attache_policy::{
    Admitted, Compiled, Decided, Denial, Grant,
    document::{Carrier, Form, Placement},
};
use compact_str::{CompactString, ToCompactString as _};
use tokio::time::Instant;
use tracing::{Level, event_enabled, info};

use crate::{
    answer::{Answer, Disposition},
    clock,
    exchange::Wanted,
    explain::kept,
    journal::text::printable,
    keeping::{Noted, Revision},
    metrics::outcome_name,
    question::{Asked, Question},
    refusal::Refusal,
    settings::{Enforcement, Unmatched},
    stages::{Passed, Stage, Stages},
    traces::{Parent, Told},
};

/// Longest text of a client's that an event keeps, in bytes.
const MAX_TEXT_BYTES: usize = 1024;
/// Most conditions that an event names.
const MAX_CONDITIONS: usize = 32;

/// One access in progress.
pub(crate) struct Trail {
    began: Instant,
    answered_by: Instant,
    /// The moment of the decision under way.
    judged_at: Timestamp,
    /// When a grant ends; `None` if there is none.
    granted_until: Option<Timestamp>,
    outcome: Outcome,
    /// How it would end if dry-run policies were enforced; `None` if none covers it.
    would_be: Option<Outcome>,
    /// Large, and handed on to the journal: boxed, so that it is moved as a pointer.
    event: Box<Event>,
    announced: Option<Announced>,
    valid_until: Option<Timestamp>,
    retry_after: Option<Duration>,
    noted: Noted,
    stages: Stages,
    parent: Option<Parent>,
}

/// What the log says of a token's first use.
struct Announced {
    provider: &'static str,
    /// Where it goes, with what stands before it.
    places: Vec<String>,
}

impl Trail {
    /// What is known when the question arrives.
    pub(crate) fn begin(now: Timestamp, began: Instant, question: &Question<'_>) -> Self {
        let text = |text: &str| printable(text.as_bytes(), MAX_TEXT_BYTES);
        let event = Box::new(Event {
            target_service: text(question.authority),
            request_method: text(question.method),
            request_path: text(without_query(question.target)),
            source_address: question.source.as_deref().map(text),
            ..Event::blank(clock::event_id(now), now, Outcome::Permitted)
        });
        Self {
            began,
            answered_by: began,
            judged_at: now,
            granted_until: None,
            outcome: Outcome::Permitted,
            would_be: None,
            event,
            announced: None,
            valid_until: None,
            retry_after: None,
            noted: Noted::default(),
            stages: Stages::default(),
            parent: None,
        }
    }

    /// A token is asked for, and no call is made.
    pub(crate) fn token_requested(&mut self, wanted: &Wanted) {
        let text = |text: &str| printable(text.as_bytes(), MAX_TEXT_BYTES);
        self.event.token_request = Some(TokenRequest {
            audience: wanted.audience.as_deref().map(text),
            resource: wanted
                .target
                .as_ref()
                .map(|target| target.to_compact_string()),
            address: wanted.origin.map(|address| address.to_compact_string()),
        });
    }

    /// What is noted of an answer that may be kept.
    pub(crate) const fn noted(&mut self) -> &mut Noted {
        &mut self.noted
    }

    /// The one moment at which this access is judged.
    pub(crate) const fn asked_at(&self) -> Timestamp {
        self.judged_at
    }

    /// By the clock that nobody sets.
    fn now(&self) -> Timestamp {
        self.event.timestamp.plus(self.elapsed())
    }

    /// Whether the grant ended while its credential was obtained.
    pub(crate) fn is_outlived(&self) -> bool {
        // A grant that is about this one moment has no length that it could outlive.
        let lasts = |until: &Timestamp| *until > self.judged_at;
        self.granted_until
            .filter(lasts)
            .is_some_and(|until| self.now() >= until)
    }

    /// It is judged anew, as it is now.
    pub(crate) fn judge_again(&mut self) {
        self.judged_at = self.now();
        self.granted_until = None;
    }

    /// How long it has taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// It is answered by then, whatever is missing.
    pub(crate) const fn answers_by(&mut self, then: Instant) {
        self.answered_by = then;
    }

    /// By when it is answered.
    pub(crate) const fn answered_by(&self) -> Instant {
        self.answered_by
    }

    /// When it arrived.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// Its next stage begins: when that is.
    pub(crate) fn enter(&mut self, stage: Stage) -> Instant {
        let now = Instant::now();
        self.stages.enter(stage, now);
        now
    }

    /// Its last stage is over: how long all took.
    pub(crate) fn ends(&mut self) -> Duration {
        let now = Instant::now();
        self.stages.end(now);
        now.saturating_duration_since(self.began)
    }

    /// The stages that it went through.
    pub(crate) fn stages(&self) -> &[Passed] {
        self.stages.passed()
    }

    /// The span that it comes from.
    pub(crate) fn joins(&mut self, parent: Option<Parent>) {
        self.parent = parent;
    }

    /// The span that it comes from.
    pub(crate) const fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// What a trace tells of it.
    pub(crate) fn told<'a>(
        &'a self,
        listener: &'a str,
        answer: &'a Answer,
        code: Option<&'a str>,
    ) -> Told<'a> {
        let outcome = answer.outcome();
        Told {
            outcome,
            outcome_name: outcome_name(outcome),
            decision_id: &answer.decision_id,
            listener,
            code,
            policy: self.event.policy.as_deref(),
            policy_revision: &self.event.policy_revision,
            trust_provider: self.event.trust_provider.as_deref(),
            credential_provider: self.event.credential_provider.as_deref(),
        }
    }

    /// Where the request goes, in its one spelling.
    pub(crate) fn asked(&mut self, asked: &Asked<'_>) {
        self.event.target_service = asked.host().as_str().into();
        self.event.target_origin = Some(asked.origin());
    }

    /// A decision begins under a policy set; what an earlier one found is forgotten.
    pub(crate) fn under(&mut self, policies: &Compiled, revision: Revision) {
        self.valid_until = None;
        self.noted.begin(revision);
        self.event.policy_revision = policies.revision().into();
        self.event.policy = None;
        self.event.policy_matched = None;
        self.event.credential_provider = None;
        self.event.would_be_policy = None;
        self.event.conditions.clear();
        self.would_be = None;
        self.announced = None;
    }

    /// No policy matches, and the edge lets that pass.
    pub(crate) fn unmatched(&mut self) {
        self.event.code = Some("unmatched-passed".into());
    }

    /// The caller is proven. What `policies` ask about is kept, so that the access can be explained later.
    pub(crate) fn attested(&mut self, attestation: &Attestation, policies: &Compiled) {
        self.event.attributes = Some(kept::of(attestation, policies));
        self.event.workload_svid = Some(attestation.spiffe_id().as_str().into());
        self.event.workload_type = Some(attestation.kind().workload_type().into());
        self.event.trust_provider = Some(attestation.provider().into());
        let proofs = attestation.proofs();
        let proofs = proofs.map(|proof| proof.provider.clone());
        self.event.attested_by = proofs.collect();
    }

    /// Nobody proved the caller, and policy decides by what is said of it.
    pub(crate) fn unproven(&mut self, said: &Attributes, admitted: &Admitted<'_>) {
        self.event.attributes = Some(said.clone());
        self.looked_at(admitted.conditions());
        if let Some(would_be) = admitted.would_be() {
            self.would_be = Some(would_be.outcome);
            let matched = would_be.policy.map(|policy| policy.matched().into());
            self.event.would_be_policy = matched;
        }
        let policy = match admitted.answer() {
            Ok(policy) => Some(*policy),
            Err(turned) => turned.policy,
        };
        self.event.policy = policy.map(|policy| policy.name().into());
        self.event.policy_matched = policy.map(|policy| policy.matched().into());
    }

    fn looked_at<'c>(&mut self, conditions: impl Iterator<Item = (&'c str, ConditionOutcome)>) {
        let checked = conditions
            .take(MAX_CONDITIONS)
            .map(|(name, outcome)| CheckedCondition {
                name: name.into(),
                outcome,
            });
        self.event.conditions = checked.collect();
    }

    /// Whether conditions were looked at.
    pub(crate) const fn looked_at_conditions(&self) -> bool {
        !self.event.conditions.is_empty()
    }

    /// What was looked at, and what dry-run policies would have changed.
    pub(crate) fn decided(&mut self, decided: &Decided<'_>, unmatched: Unmatched) {
        self.looked_at(decided.conditions());
        let Some(would_be) = decided.would_be() else {
            return;
        };
        let matched = would_be.policy.map(|policy| policy.matched().into());
        let passes = matched.is_none() && unmatched == Unmatched::PassWithoutCredential;
        self.would_be = Some(if passes {
            Outcome::Permitted
        } else {
            would_be.outcome
        });
        self.event.would_be_policy = matched;
    }

    /// Until when the same call gets the same answer; `None` if it is about this call alone.
    pub(crate) const fn may_be_kept(&mut self, until: Option<Timestamp>) {
        self.valid_until = until;
    }

    /// Until when the answer may be given again.
    pub(crate) const fn valid_until(&self) -> Option<Timestamp> {
        self.valid_until
    }

    /// Whether policy allowed it.
    pub(crate) const fn is_granted(&self) -> bool {
        self.event.policy_matched.is_some()
    }

    /// Policy allows it.
    pub(crate) fn granted(&mut self, grant: &Grant<'_>) {
        self.granted_until = Some(grant.valid_until());
        self.event.policy = Some(grant.policy().into());
        self.event.policy_matched = Some(grant.policy_matched().into());
        self.event.credential_provider = grant
            .credential()
            .map(|provider| provider.name.as_str().into());
    }

    /// Policy refuses it.
    pub(crate) fn denied(&mut self, denial: &Denial<'_>) {
        self.event.policy = denial.policy().map(|policy| policy.name().into());
        self.event.policy_matched = denial.policy().map(|policy| policy.matched().into());
        if let DenyReason::AttributeMismatch(mismatch) = denial.reason() {
            let text = |text: &str| printable(text.as_bytes(), MAX_TEXT_BYTES);
            self.event.attribute = Some(text(&mismatch.attribute));
            self.event.expected = Some(text(&mismatch.expected));
            self.event.actual = mismatch.actual.as_deref().map(text);
        }
    }

    /// The credential is there.
    pub(crate) fn obtained(&mut self, grant: &Grant<'_>, credential: &Credential) {
        // Of other people's credentials the event names the provider alone.
        self.event.token_issued = credential.token_id().is_some();
        self.event.token_id = credential.token_id().map(Into::into);
        self.event.ttl_seconds = credential.ttl().map(|ttl| ttl.as_secs());
        self.event.audience = credential.audience().map(Into::into);
        if credential.first_use() {
            self.announced = Some(Announced {
                provider: grant.attestation().kind().name(),
                places: grant.placements().iter().map(announced).collect(),
            });
        }
    }

    /// A fault that is over after a while.
    pub(crate) const fn retry_after(&mut self, after: Option<Duration>) {
        self.retry_after = after;
    }

    /// When to try again, if that is known.
    pub(crate) const fn retry_is_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The access ends here.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.event.code = Some(refusal.code().into());
        self.outcome = match refusal {
            Refusal::Denied(_) => Outcome::Denied,
            Refusal::Unavailable(_) => Outcome::Error,
        };
        self.event.token_issued = false;
        self.event.token_id = None;
        self.event.ttl_seconds = None;
        self.event.audience = None;
    }

    /// The event as it is recorded; asked for once.
    pub(crate) fn event(
        &mut self,
        edge: &str,
        listener: &str,
        enforcement: Enforcement,
    ) -> Box<Event> {
        self.event.edge = edge.into();
        self.event.listener = listener.into();
        let decided_at = self.stages.running_since(Stage::Audit);
        let decided_at = decided_at.unwrap_or_else(Instant::now);
        self.event.latency_ms = milliseconds(decided_at.saturating_duration_since(self.began));
        (
            self.event.mode,
            self.event.outcome,
            self.event.would_be_outcome,
        ) = match enforcement {
            Enforcement::Enforce => (Mode::Enforce, self.outcome, self.would_be),
            Enforcement::Observe => {
                let would_be = self.would_be.unwrap_or(self.outcome);
                (Mode::Observe, Outcome::Permitted, Some(would_be))
            }
        };
        // Twice only where somebody is told of it afterwards.
        let left = if self.parent.is_some() || self.announced.is_some() {
            self.event.clone()
        } else {
            let (at, outcome) = (self.event.timestamp, self.event.outcome);
            Box::new(Event::blank(CompactString::default(), at, outcome))
        };
        mem::replace(&mut self.event, left)
    }

    /// The event of an answer that may be kept.
    pub(crate) const fn leased(&mut self) {
        self.event.record = Record::Lease;
    }

    /// The three lines of the quick start, once for each token; never the token.
    pub(crate) fn announce(&self, answer: &Answer) {
        let Some(Announced { provider, places }) = &self.announced else {
            return;
        };
        if !matches!(answer.disposition, Disposition::Forward(_)) || !event_enabled!(Level::INFO) {
            return;
        }
        let audience = self.event.audience.as_deref().unwrap_or_default();
        let ttl = self.event.ttl_seconds.unwrap_or_default();
        info!("workload attested via {provider}");
        if self.event.token_issued {
            info!("oidc token issued, audience={audience} ttl={ttl}s");
        } else {
            let provider = self.event.credential_provider.as_deref();
            info!(
                "credential obtained, provider={}",
                provider.unwrap_or_default()
            );
        }
        for place in places {
            info!("{place}[redacted]");
        }
    }
}

/// Milliseconds to a microsecond, as people read them: `3.204`.
fn milliseconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// `header injected: Authorization: Bearer `, behind which the credential would stand.
fn announced(placement: &Placement) -> String {
    if placement.form == Form::ClientAssertion {
        return "form field injected: client_assertion=".to_owned();
    }
    match &placement.carrier {
        Carrier::Header(name) => {
            let (name, prefix) = (title_case(name.as_str()), placement.prefix());
            format!("header injected: {name}: {prefix}")
        }
        Carrier::Parameter(name) => format!("query parameter injected: {}=", name.as_str()),
    }
}

/// `x-api-key` as people write it: `X-Api-Key`.
fn title_case(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|letter| {
            let shown = if start {
                letter.to_ascii_uppercase()
            } else {
                letter
            };
            start = letter == '-';
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests;
