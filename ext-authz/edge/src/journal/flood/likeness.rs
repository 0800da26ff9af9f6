//! What makes two accesses equal. SECURITY: for a caller that is not proven, nothing that it can vary at
//! will: whoever could make each request unlike the others would have each recorded.

use attache_core::event::{Event, Mode, Outcome};
use compact_str::CompactString;

/// What stands for everything that is not told apart.
pub(super) const OTHER: &str = "other";

/// The methods that are told apart for callers that are not proven.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Whose word the host of an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A policy or the proxy's route names it.
    Vouched,
    /// The client alone names it.
    Claimed,
}

/// The key of one flood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Likeness {
    /// Equal accesses of one source.
    Alike(Box<Alike>),
    /// All accesses of one source that end the same way.
    Source(Source, Ending),
    /// All accesses that end the same way, of sources that are too many to be watched one by one.
    Strangers(Ending),
}

/// Equal accesses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Alike {
    source: Source,
    ending: Ending,
    code: Option<CompactString>,
    target: String,
    method: String,
    policy: Option<CompactString>,
    would_be_policy: Option<CompactString>,
}

/// Who is behind an access, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A proven caller, by its SPIFFE ID.
    Workload(CompactString),
    /// Whoever is at this address, without its port; empty if it is not known.
    Address(String),
}

/// How an access ended, and how it would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ending {
    outcome: Outcome,
    mode: Mode,
    would_be: Option<Outcome>,
}

impl Source {
    pub(super) fn of(event: &Event) -> Self {
        match &event.workload_svid {
            Some(spiffe_id) => Self::Workload(spiffe_id.clone()),
            None => Self::Address(address(event).unwrap_or_default().to_owned()),
        }
    }
}

impl Ending {
    pub(super) const fn of(event: &Event) -> Self {
        Self {
            outcome: event.outcome,
            mode: event.mode,
            would_be: event.would_be_outcome,
        }
    }
}

impl Alike {
    pub(super) fn of(event: &Event, target: Target) -> Self {
        let proven = event.workload_svid.is_some();
        // A document that matched names the host, whoever else vouched for it.
        let named = event.policy.is_some() || event.would_be_policy.is_some();
        let tells_host = proven || named || target == Target::Vouched;
        let tells_method = proven || METHODS.contains(&&*event.request_method);
        let if_told = |told: bool, text: &str| if told { text } else { OTHER }.to_owned();
        Self {
            source: Source::of(event),
            ending: Ending::of(event),
            code: event.code.clone(),
            target: if_told(tells_host, &event.target_service),
            method: if_told(tells_method, &event.request_method),
            policy: event.policy.clone(),
            would_be_policy: event.would_be_policy.clone(),
        }
    }
}

/// Makes `latest` stand for `earlier` too: what they do not share, it no longer says. What is no part of a
/// likeness at all, as the path, stays the latest one's.
pub(super) fn generalise(latest: &mut Event, earlier: &Event) {
    let or_other = |mine: &mut CompactString, other: &str| {
        if mine != other {
            *mine = OTHER.into();
        }
    };
    or_other(&mut latest.target_service, &earlier.target_service);
    or_other(&mut latest.request_method, &earlier.request_method);
    if latest.code != earlier.code {
        latest.code = Some(OTHER.into());
    }
    let or_nothing = |mine: &mut Option<CompactString>, other: &Option<CompactString>| {
        if mine != other {
            *mine = None;
        }
    };
    or_nothing(&mut latest.policy, &earlier.policy);
    or_nothing(&mut latest.policy_matched, &earlier.policy_matched);
    or_nothing(&mut latest.would_be_policy, &earlier.would_be_policy);
    or_nothing(&mut latest.target_origin, &earlier.target_origin);
    if latest.token_request != earlier.token_request {
        latest.token_request = None;
    }
    if address(latest) != address(earlier) {
        latest.source_address = None;
    }
}

/// The address without its port.
fn address(event: &Event) -> Option<&str> {
    let text = event.source_address.as_deref()?;
    Some(text.rsplit_once(':').map_or(text, |(host, _port)| host))
}

#[cfg(test)]
mod tests;
