//! What is asked for of an answer: for what it is, and whether whoever asks may give it again.
//!
//! INVARIANT: a decision that reads what was not told ends here, and nobody sees it.

use attache_core::{
    attestation::Attestation,
    decision::DenyReason,
    scope::{Caller, Scope},
};
use attache_policy::{Compiled, Decision, document::Carrier};

use crate::{
    answer::Forward, keeping::Keeping, question::Asked, refusal::Refusal,
    settings::ListenerSettings, trail::Trail,
};

/// What is wanted of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'w> {
    pub(crate) purpose: Purpose,
    pub(crate) keeping: Keeping,
    /// The OAuth client that the request says to be, if it is a token request.
    pub(crate) client_id: Option<&'w str>,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The request goes on from here, with its credential.
    Attach,
    /// The same, for a proxy that asks apart for the assertion of a token request, where policy wants one.
    Fetch,
    /// The request goes on from here, with an assertion of its caller in its body.
    Assert,
    /// Somebody asks, and enforces the answer without a credential of ours.
    Judge,
}

impl Wanted<'_> {
    /// An answer about one request alone.
    pub(crate) const fn once(purpose: Purpose) -> Self {
        Self {
            purpose,
            keeping: Keeping::Never,
            client_id: None,
        }
    }

    /// SECURITY: a workload is no other client than itself.
    pub(crate) fn check_client(self, attestation: &Attestation) -> Result<(), Refusal> {
        let caller = attestation.spiffe_id().as_str();
        let is_caller = self.client_id.is_none_or(|client| client == caller);
        is_caller
            .then_some(())
            .ok_or_else(|| DenyReason::ClientIdMismatch.into())
    }

    /// Notes how far a decision reaches, if somebody is to keep it.
    pub(crate) fn note(self, decision: &Decision<'_>, trail: &mut Trail) -> Result<(), Refusal> {
        if self.keeping == Keeping::Never {
            return Ok(());
        }
        let reaches = scope(decision).is_none_or(|scope| trail.noted().reaches(scope));
        reaches.then_some(()).ok_or_else(untold)
    }

    /// Notes what has to be removed from every request to the target, whatever its client sent.
    pub(crate) fn note_target(
        self,
        policies: &Compiled,
        listener: &ListenerSettings,
        asked: &Asked<'_>,
        trail: &mut Trail,
    ) -> Result<(), Refusal> {
        let target = policies.target(asked.host(), asked.port());
        let injectable = target.as_ref().map_or(&[][..], |it| it.injectable());
        let headers = injectable.iter().filter_map(Carrier::header);
        let headers = headers.map(|name| name.as_str());
        let protected = &mut trail.noted().protected;
        for name in listener.evidence.headers().chain(headers) {
            if !protected.iter().any(|known| known == name) {
                protected.push(name.to_owned());
            }
        }
        // SECURITY: a client's own value in the query can be removed only where the query is told.
        if injectable.iter().any(|it| it.parameter().is_some()) {
            trail.noted().untold();
            return Err(untold());
        }
        Ok(())
    }

    /// The same of a decision about a caller that nobody proves. How far it reaches is not known, unless there is
    /// nothing to decide: no policy is about such callers.
    pub(crate) fn note_unproven(
        self,
        verdict: &Result<Forward, Refusal>,
        trail: &mut Trail,
    ) -> Result<(), Refusal> {
        let missing = Refusal::Denied(DenyReason::EvidenceMissing);
        let undecided = verdict.as_ref().err() == Some(&missing) && !trail.looked_at_conditions();
        if self.keeping == Keeping::Never || undecided {
            return Ok(());
        }
        trail.noted().untold();
        Err(untold())
    }
}

/// Ends the stages of a decision that reads what was not told. Nobody sees it.
fn untold() -> Refusal {
    DenyReason::ConditionUnavailable.into()
}

/// Where and until when a decision holds; `None` for a fault. Whose evidence that is, the asker knows.
fn scope(decision: &Decision<'_>) -> Option<Scope> {
    let asker = || Caller::Listener(String::new());
    match decision {
        Decision::Allow(grant) => Some(grant.scope(asker())),
        Decision::Deny(denial) => Some(denial.scope(asker())),
        Decision::Unavailable(_) => None,
    }
}
