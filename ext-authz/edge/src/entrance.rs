//! The stage before evidence: what is refused or let pass whoever calls, and what is removed from the request.

use attache_policy::{Compiled, document::Carrier};

use crate::{
    answer::Removal,
    question::{Asked, Question},
    refusal::Refusal,
    settings::{ListenerSettings, Unmatched},
};

/// What is settled of a request before anybody asks who calls, with what to remove from it.
pub(crate) enum Entered<'q> {
    /// No policy is about its target, and the edge lets that pass.
    Unmatched(Removal<'q>),
    /// The caller has to be known.
    Asks(Removal<'q>),
}

/// Headers that imitate protected ones, and targets that no policy is about.
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
    let headers = injectable.iter().filter_map(Carrier::header);
    let parameters = injectable.iter().filter_map(Carrier::parameter);
    let mut remove = Removal {
        headers: question.protected_headers(&listener.evidence.headers(), &headers)?,
        parameters: question.protected_parameters(&parameters)?,
    };
    if target.is_none() && unmatched == Unmatched::PassWithoutCredential {
        return Ok(Entered::Unmatched(remove));
    }
    let overriding = question.overriding_headers(listener.override_headers)?;
    remove.headers.extend(overriding);
    Ok(Entered::Asks(remove))
}
