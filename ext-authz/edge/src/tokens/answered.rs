//! An answer of the pipeline in the words of the protocol.

use std::time::Duration;

use attache_core::{event::Outcome, freshness::Lifetime, time::Timestamp};
use attache_credentials::Injection;
use attache_proto::token::v1 as proto;

use super::{PROTOCOL, asked::Asked, lease::Lease, regions, service::TokensService};
use crate::{
    answer::{Answer, Disposition, Forward},
    keeping::{Kept, Needs},
};

/// How long an answer may be kept whose credential does not end by itself.
const MAX_UNENDING: Duration = Duration::from_secs(60);

impl TokensService {
    /// An answer that may be kept, if the pipeline says so.
    pub(super) fn answered(&self, mut answer: Answer, asked: &Asked) -> proto::FetchResponse {
        let caller = regions::caller(&self.listener.evidence);
        let kept = answer.kept.take().map(|kept| shortened(*kept, &answer));
        let mut response = self.answered_once(answer, asked);
        let Some(kept) = kept else {
            return response;
        };
        let scope = regions::told(&kept.region, caller);
        response.lease = self.lease(asked, &kept, &scope, &response.inject);
        if response.lease.is_empty() {
            // What cannot be reported is not kept; its event is that of an access, but for its name.
            return response;
        }
        response.code = kept.event.code.as_deref().unwrap_or_default().to_owned();
        response.revision = self.tokens.revision(kept.revision);
        if kept.event.outcome == Outcome::Permitted {
            response.refresh_at = refresh_at(&scope, response.credential_expires_at);
        }
        response.scope = Some(scope);
        response
    }

    /// An answer that gives nothing: the asker comes again for each request.
    pub(super) fn needed(&self, needs: Needs, protected: Vec<String>) -> proto::FetchResponse {
        let (decision, region) = match needs {
            Needs::Details(region) => (proto::Decision::DetailsNeeded, Some(region)),
            Needs::Assertion(region) => (proto::Decision::AssertionNeeded, region),
        };
        let caller = regions::caller(&self.listener.evidence);
        proto::FetchResponse {
            protocol: PROTOCOL,
            decision: i32::from(decision),
            scope: region.map(|region| regions::told(&region, caller)),
            revision: self.tokens.revision(self.edge.revision()),
            remove: protected,
            ..proto::FetchResponse::default()
        }
    }

    /// An answer to this request alone.
    pub(super) fn answered_once(&self, answer: Answer, _asked: &Asked) -> proto::FetchResponse {
        let mut response = proto::FetchResponse {
            protocol: PROTOCOL,
            decision_id: answer.decision_id.into(),
            policy: answer.policy.unwrap_or_default().into(),
            workload: answer.workload.unwrap_or_default().into(),
            policy_revision: answer.policy_revision.into(),
            observed: answer.observed,
            remove: answer.protected,
            revision: self.tokens.revision(self.edge.revision()),
            ..proto::FetchResponse::default()
        };
        match &answer.disposition {
            Disposition::Forward(forward) => {
                response.decision = i32::from(proto::Decision::Allowed);
                attach(&mut response, forward);
            }
            Disposition::Refuse(refusal) => {
                response.decision = i32::from(decision(refusal));
                refusal.code().clone_into(&mut response.code);
                refusal.sentence().clone_into(&mut response.message);
            }
        }
        response
    }

    /// The lease of a kept answer; empty if it would be too long.
    pub(super) fn lease(
        &self,
        asked: &Asked,
        kept: &Kept,
        scope: &proto::Scope,
        injections: &[proto::Injection],
    ) -> Vec<u8> {
        let seal = &self.tokens.seal;
        let lease = Lease {
            scope: scope.clone(),
            purpose: i32::from(asked.purpose),
            call: asked.call.clone(),
            evidence: seal.of_evidence(asked.evidence.as_ref()),
            injections: seal.of_injections(injections),
            event: (*kept.event).clone(),
        };
        seal.seal(&lease).unwrap_or_default()
    }
}

/// A credential without an end of its own may be replaced at its source, of which nobody tells.
fn shortened(mut kept: Kept, answer: &Answer) -> Kept {
    let Disposition::Forward(forward) = &answer.disposition else {
        return kept;
    };
    if forward
        .credential()
        .is_some_and(|it| it.lifetime().is_none())
    {
        let holds = &mut kept.region.holds;
        holds.expires_at = holds.expires_at.min(holds.issued_at.plus(MAX_UNENDING));
    }
    kept
}

const fn decision(refusal: &crate::refusal::Refusal) -> proto::Decision {
    match refusal {
        crate::refusal::Refusal::Denied(_) => proto::Decision::Denied,
        crate::refusal::Refusal::Unavailable(_) => proto::Decision::Unavailable,
    }
}

fn attach(response: &mut proto::FetchResponse, forward: &Forward) {
    for name in forward.remove() {
        if !response.remove.iter().any(|known| known == name) {
            response.remove.push(name.to_string());
        }
    }
    let parameters = forward.remove_parameters().iter();
    response.remove_parameters = parameters.map(ToString::to_string).collect();
    let Some(credential) = forward.credential() else {
        return;
    };
    response.inject = injections(credential.injection());
    let token_id = credential.token_id().unwrap_or_default();
    token_id.clone_into(&mut response.token_id);
    let lifetime = credential.lifetime();
    response.credential_expires_at = lifetime.map_or(0, |it| it.expires_at.as_millis());
}

/// What is added to a request.
fn injections(injection: &Injection) -> Vec<proto::Injection> {
    let headers = injection.headers().iter().map(|(name, value)| {
        let place = proto::Place::Header;
        (place, name.as_str(), value)
    });
    let parameters = injection.parameters().iter().map(|(name, value)| {
        let place = proto::Place::Query;
        (place, name.as_str(), value)
    });
    let all = headers.chain(parameters);
    all.map(|(place, name, value)| proto::Injection {
        place: i32::from(place),
        name: name.to_owned(),
        value: value.expose().to_owned(),
    })
    .collect()
}

/// When four fifths of the time are over for which the answer may serve.
pub(super) fn refresh_at(scope: &proto::Scope, credential_expires_at: i64) -> i64 {
    let ends = match credential_expires_at {
        0 => scope.until,
        expires_at => scope.until.min(expires_at),
    };
    let lifetime = Lifetime {
        issued_at: Timestamp::from_millis(scope.from),
        expires_at: Timestamp::from_millis(ends),
    };
    lifetime.refresh_at().as_millis()
}
