//! A workload takes a token into its own hands, for a target that it calls past this edge: evidence →
//! attestation → decision → credential → audit, as with a call. No request of it is seen, so policy must
//! allow every call of the target.
//!
//! INVARIANT: as in the pipeline, no token leaves whose audit event was not recorded, nor one that a policy
//! set granted which is not in force any more. `observe` changes nothing here: nobody is in the way of
//! anything, and who asks for a token does so knowingly.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use attache_core::{
    decision::{DenyReason, Fault},
    event::Outcome,
    evidence::Evidence,
    secret::Secret,
    time::Timestamp,
    token::TokenTarget,
};
use attache_credentials::{Credential, Held};
use attache_policy::{Compiled, Context, Decision, Withheld};
use attache_trust::NotAttested;
use compact_str::{CompactString, ToCompactString as _};
use tokio::time::{Instant, timeout};
use tracing::{error, info};

use crate::{
    clock,
    keeping::Revision,
    peer::Peer,
    pipeline::Edge,
    question::Question,
    refusal::Refusal,
    settings::{Enforcement, Unmatched},
    source,
    stages::Stage,
    trail::Trail,
};

/// What the audit event calls the port.
pub const LISTENER: &str = "token-endpoint";
/// How long an exchange may take. Whoever asks has no proxy's patience to obey.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(5);
/// How long its record may take.
const RECORDING_LIMIT: Duration = Duration::from_secs(1);
/// How often it is decided again because policy changed under it.
const MAX_DECISIONS: usize = 3;

/// What a workload asks for.
pub struct Wanted {
    /// What it shows of itself.
    pub evidence: Evidence,
    /// Whom the token is to be for.
    pub audience: Option<String>,
    /// Where it is to be used.
    pub target: Option<TokenTarget>,
    /// The connection's peer.
    pub source: Option<SocketAddr>,
    /// The caller's address ([`origin`]); `None` if it is not known for certain.
    pub origin: Option<IpAddr>,
}

/// The caller's address, by the rule of the listeners: the connection's `peer`, or behind `trusted_hops`
/// proxies what these wrote into `x-forwarded-for`, a field of `headers` (names in lower case).
pub fn origin(peer: SocketAddr, headers: &[(&str, &[u8])], trusted_hops: usize) -> Option<IpAddr> {
    let address = peer.ip().to_string();
    source::address(
        Some((&address, u32::from(peer.port()))),
        headers,
        trusted_hops,
    )
}

/// What became of it.
pub struct HandedOut {
    /// The id of the audit event.
    pub decision_id: CompactString,
    /// The token and what is left of its lifetime, or why there is none.
    pub outcome: Result<(Secret, Duration), NotHandedOut>,
}

/// Why a workload gets no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotHandedOut {
    /// Its evidence is not accepted.
    Evidence(DenyReason),
    /// Policy gives it no such token.
    Target(DenyReason),
    /// Something is broken.
    Unavailable(Fault),
}

impl Edge {
    /// Decides about a token for the workload itself, records it, and gives it.
    pub async fn hand_out(&self, wanted: &Wanted) -> HandedOut {
        let source = wanted.source.map(|source| source.to_compact_string());
        let target = wanted.target.as_ref().map(|target| target.host.as_str());
        let question = Question {
            method: "POST",
            target: "/token",
            authority: target.or(wanted.audience.as_deref()).unwrap_or_default(),
            headers: Vec::new(),
            headers_are_known: false,
            vouched: None,
            source,
            address: wanted.origin,
            peer: Peer::default(),
            given: None,
        };
        let began = Instant::now();
        let mut trail = Trail::begin(clock::now(), began, &question);
        trail.token_requested(wanted);
        // Held until the answer is there: recording can take the longest.
        let slot = self.calls.enter();
        let verdict = match &slot {
            None => Err(NotHandedOut::Unavailable(Fault::Overloaded)),
            Some(_) => {
                trail.answers_by(began + EXCHANGE_LIMIT);
                let obtaining = self.obtain_for(wanted, &mut trail);
                let late = |_elapsed| NotHandedOut::Unavailable(Fault::CredentialUnavailable);
                let obtained = timeout(EXCHANGE_LIMIT, obtaining).await;
                obtained.map_err(late).flatten()
            }
        };
        let handed = self.hand_over(trail, verdict).await;
        let (outcome, code) = match &handed.outcome {
            Ok(_) => (Outcome::Permitted, None),
            Err(refused @ NotHandedOut::Unavailable(_)) => (Outcome::Error, Some(refused.code())),
            Err(refused) => (Outcome::Denied, Some(refused.code())),
        };
        self.metrics
            .answered(LISTENER, outcome, code, began.elapsed());
        handed
    }

    async fn obtain_for(
        &self,
        wanted: &Wanted,
        trail: &mut Trail,
    ) -> Result<Held<Credential>, NotHandedOut> {
        for _ in 0..MAX_DECISIONS {
            let policies = self.live.in_force();
            let verdict = self.obtain_under(&policies, wanted, trail).await;
            // SECURITY: what an older revision granted is not given out, nor what a grant gives that ended
            // meanwhile; it is decided again.
            let holds = self.live.is_current(&policies) && !trail.is_outlived();
            if verdict.is_err() || holds {
                return verdict;
            }
            trail.judge_again();
        }
        Err(NotHandedOut::Unavailable(Fault::CredentialUnavailable))
    }

    async fn obtain_under(
        &self,
        policies: &Compiled,
        wanted: &Wanted,
        trail: &mut Trail,
    ) -> Result<Held<Credential>, NotHandedOut> {
        trail.under(policies, Revision::default());
        let now: Timestamp = trail.asked_at();
        trail.enter(Stage::Evidence);
        let attestation = self.trust.attest(&wanted.evidence, now).await?;
        trail.enter(Stage::Decide);
        trail.attested(&attestation, policies);
        let context = Context {
            now,
            // SECURITY: the peer may be the proxy that ends TLS, which is no caller's address.
            source: wanted.origin,
            geography: &*self.geography,
            query: "",
            headers: None,
        };
        let (audience, target) = (wanted.audience.as_deref(), wanted.target.as_ref());
        let decided = match policies.hand_out(&attestation, audience, target, &context) {
            Ok(decided) => decided,
            Err(refused) => {
                if let Some(decided) = &refused.decided {
                    trail.decided(decided, Unmatched::Deny);
                    match decided.decision() {
                        Decision::Deny(denial) => trail.denied(denial),
                        Decision::Allow(grant) => trail.granted(grant),
                        Decision::Unavailable(_) => {}
                    }
                }
                return Err(refused.why.into());
            }
        };
        trail.decided(&decided, Unmatched::Deny);
        let Decision::Allow(grant) = decided.into_decision() else {
            return Err(NotHandedOut::Target(DenyReason::NoPolicy));
        };
        trail.granted(&grant);
        let (evidence, until) = (&wanted.evidence, trail.answered_by());
        let obtained = self.credentials.obtain(&grant, evidence, now, until).await;
        let credential = obtained.map_err(|why| NotHandedOut::Unavailable(why.fault))?;
        let credential = credential.ok_or(NotHandedOut::Target(DenyReason::NoPolicy))?;
        trail.obtained(&grant, &credential);
        Ok(credential)
    }

    /// Records what happened; only then the token may leave.
    async fn hand_over(
        &self,
        mut trail: Trail,
        verdict: Result<Held<Credential>, NotHandedOut>,
    ) -> HandedOut {
        trail.enter(Stage::Audit);
        if let Err(refusal) = &verdict {
            trail.refused(&refusal.clone().into());
        }
        let event = trail.event(&self.name, LISTENER, Enforcement::Enforce);
        let (id, workload, audience) = (
            event.event_id.clone(),
            event.workload_svid.clone(),
            event.audience.clone(),
        );
        let recorded = timeout(RECORDING_LIMIT, self.journal.record(event)).await;
        trail.ends();
        self.metrics.passed(trail.stages());
        let Ok(Ok(recorded)) = recorded else {
            error!(decision = %id, "an exchange could not be recorded");
            return HandedOut {
                decision_id: id,
                outcome: Err(NotHandedOut::Unavailable(Fault::AuditUnavailable)),
            };
        };
        let outcome = verdict.map(|credential| {
            let (workload, audience) = (workload.as_deref(), audience.as_deref());
            info!(workload, audience, "token handed out");
            let now = clock::now();
            let left = credential.lifetime().map(|it| it.expires_at.since(now));
            let left = left.unwrap_or_default();
            (Secret::new(credential.token().to_owned()), left)
        });
        HandedOut {
            decision_id: recorded.event_id,
            outcome,
        }
    }
}

impl NotHandedOut {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Evidence(reason) | Self::Target(reason) => reason.code(),
            Self::Unavailable(fault) => fault.code(),
        }
    }

    /// A sentence for a person.
    pub const fn sentence(&self) -> &'static str {
        match self {
            Self::Evidence(reason) | Self::Target(reason) => reason.sentence(),
            Self::Unavailable(fault) => fault.sentence(),
        }
    }
}

impl From<NotAttested> for NotHandedOut {
    fn from(not_attested: NotAttested) -> Self {
        match not_attested {
            NotAttested::Denied(reason) => Self::Evidence(reason),
            NotAttested::Unavailable(fault) => Self::Unavailable(fault),
        }
    }
}

impl From<Withheld> for NotHandedOut {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Denied(reason) => Self::Target(reason),
            Withheld::Unavailable(fault) => Self::Unavailable(fault),
        }
    }
}

impl From<NotHandedOut> for Refusal {
    fn from(not_handed_out: NotHandedOut) -> Self {
        match not_handed_out {
            NotHandedOut::Evidence(reason) | NotHandedOut::Target(reason) => Self::Denied(reason),
            NotHandedOut::Unavailable(fault) => Self::Unavailable(fault),
        }
    }
}

#[cfg(test)]
mod tests;
