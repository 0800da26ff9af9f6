//! An access of the audit log, asked about again.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context as _, bail};
use attache_core::{
    attributes::{Attributes, kubernetes},
    event::{CheckedCondition, ConditionOutcome, Event, Mode, Outcome, Record},
    request::Authority,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_edge::{
    exchange::LISTENER,
    explain::{Call, Caller, Explained, Stage, TokenWanted},
    journal::Query,
};
use attache_policy::explain::{Check, Standing, Subject};
use serde::Serialize;

#[cfg(test)]
mod tests;

/// Faults of what comes after the decision, or before it.
const BEYOND_POLICY: [&str; 19] = [
    "credential-unavailable",
    "provider-unreachable",
    "provider-timeout",
    "provider-failed",
    "provider-refused",
    "provider-answer-invalid",
    "provider-credential-expired",
    "oauth-invalid-request",
    "oauth-invalid-client",
    "oauth-invalid-grant",
    "oauth-unauthorized-client",
    "oauth-unsupported-grant-type",
    "oauth-invalid-scope",
    "oauth-invalid-target",
    "secret-unavailable",
    "claim-unavailable",
    "credential-not-encodable",
    "audit-unavailable",
    "overloaded",
];

/// How an access was decided, beside how it would be decided today.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct EventTold {
    pub(super) event_id: String,
    pub(super) timestamp: Timestamp,
    pub(super) policy_revision: String,
    pub(super) outcome: Outcome,
    pub(super) code: Option<String>,
    pub(super) policy_matched: Option<String>,
    /// Whether the caller saw it, or an observing edge only noted it.
    pub(super) mode: Mode,
    /// Whether today's policies would decide otherwise; `null` if that cannot be told.
    pub(super) differs: Option<bool>,
}

/// The event of that id.
pub(super) fn find(dir: &Path, id: &str) -> anyhow::Result<Event> {
    let query = Query {
        event_id: Some(id.to_owned()),
        ..Query::default()
    };
    for event in query.events(dir)? {
        let event = event?;
        if event.event_id == id {
            return Ok(event);
        }
    }
    None.with_context(|| {
        format!(
            "{} holds no event {id}; it may be older than what is kept",
            dir.display()
        )
    })
}

/// Whether an event tells of something that can be asked again.
pub(super) fn check(event: &Event) -> anyhow::Result<()> {
    if event.listener == LISTENER && event.token_request.is_none() {
        bail!(
            "event {} is of the token endpoint, and of a time when such events did not keep what was asked for; the event itself tells its code and its policy",
            event.event_id
        );
    }
    if matches!(event.record, Record::Lost | Record::Unbelieved) {
        bail!(
            "event {} is about what a proxy reported, not about a call; the event itself tells all that is known",
            event.event_id
        );
    }
    Ok(())
}

/// The call that the event tells of.
pub(super) fn call(event: &Event) -> Call {
    let host = event.target_service.as_str();
    let is_ipv6 = host.contains(':') && Authority::parse(host).is_err();
    let authority = if is_ipv6 {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let origin = event.target_origin.as_deref().map(str::to_owned);
    Call {
        method: event.request_method.to_string(),
        target: event.request_path.to_string(),
        origin: origin.unwrap_or_else(|| format!("https://{authority}")),
        authority,
        headers: Vec::new(),
        source: match &event.token_request {
            None => event.source_address.as_deref().and_then(address),
            Some(request) => request.address.as_deref().and_then(|it| it.parse().ok()),
        },
        country: None,
        at: Some(event.timestamp),
        listener: None,
        policies: None,
        token: event.token_request.as_ref().map(|request| TokenWanted {
            audience: request.audience.clone().map(Into::into),
            resource: request.resource.clone().map(Into::into),
        }),
        caller: caller(event),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().map(|address: SocketAddr| address.ip()).ok()
}

fn caller(event: &Event) -> Caller {
    let spiffe_id = event.workload_svid.as_deref();
    let spiffe_id = spiffe_id.and_then(|svid| SpiffeId::parse(svid).ok());
    let (Some(spiffe_id), Some(provider)) = (spiffe_id, &event.trust_provider) else {
        // What was said of it stands where else what was proven does.
        let said = event.attributes.clone().unwrap_or_default();
        return Caller::Unproven { said };
    };
    let also_by = event.attested_by.iter().skip(1);
    Caller::Recorded {
        trust_provider: provider.to_string(),
        also_by: also_by.map(ToString::to_string).collect(),
        attributes: attributes(event, &spiffe_id),
        spiffe_id: spiffe_id.as_str().to_owned(),
    }
}

/// What the event keeps, and what the SPIFFE ID is made of.
fn attributes(event: &Event, id: &SpiffeId) -> Attributes {
    let mut attributes = event.attributes.clone().unwrap_or_default();
    let segments: Vec<&str> = id.path().split('/').skip(1).collect();
    match segments.as_slice() {
        ["ns", namespace, "sa", account] => {
            attributes.set(kubernetes::NAMESPACE, namespace);
            attributes.set(kubernetes::SERVICE_ACCOUNT, account);
        }
        ["oidc", .., "sub", subject] => attributes.set("claims.sub", subject),
        // Its subject is kept only as a hash.
        _other => {}
    }
    attributes
}

/// Holds what was decided against what would be. What the event cannot tell is said in the notes.
pub(super) fn compare(event: &Event, explained: &mut Explained) -> (EventTold, Vec<String>) {
    let mut notes = Vec::new();
    if let (Record::Cached, Some(lease)) = (event.record, &event.lease) {
        notes.push(format!(
            "the proxy answered this call from its memory, as {lease} had been decided; the conditions stand in that event"
        ));
    }
    let is_call = explained.token.is_none();
    if event.target_origin.is_none() && is_call && explained.stage != Stage::Request {
        notes.push(
            "the event does not tell port and transport; 443 and TLS are supposed".to_owned(),
        );
    }
    let unproven = event.workload_svid.is_none();
    if unproven && explained.stage == Stage::Evidence {
        // The evidence itself is not kept: why it was not accepted is what the event says.
        explained.verdict.outcome = outcome(event);
        explained.verdict.code = event.code.as_deref().map(str::to_owned);
        explained.verdict.message = None;
        notes.push("the caller was not proven, so that policy was not asked; the event does not keep the evidence".to_owned());
    }
    notes.extend(unknown_attributes(event, explained));
    notes.extend(other_conditions(event, explained));
    let told = EventTold {
        event_id: event.event_id.to_string(),
        timestamp: event.timestamp,
        policy_revision: event.policy_revision.to_string(),
        outcome: outcome(event),
        code: event.code.clone().map(Into::into),
        policy_matched: event.policy_matched.clone().map(Into::into),
        mode: event.mode,
        differs: if unproven && explained.stage == Stage::Evidence {
            None
        } else {
            Some(differs(event, explained))
        },
    };
    (told, notes)
}

/// How it was decided, whatever an observing edge then did.
fn outcome(event: &Event) -> Outcome {
    match (event.mode, event.would_be_outcome) {
        (Mode::Observe, Some(decided)) => decided,
        (Mode::Enforce | Mode::Observe, _) => event.outcome,
    }
}

/// Codes and policies are compared; a fault of what comes after the decision is none of policy's.
fn differs(event: &Event, explained: &Explained) -> bool {
    let verdict = &explained.verdict;
    let decided = event
        .code
        .as_deref()
        .filter(|code| !BEYOND_POLICY.contains(code));
    decided != verdict.code.as_deref()
        || event.policy_matched.as_deref() != verdict.policy_matched.as_deref()
        // A denial of the token endpoint names the credential that it is about.
        || (verdict.outcome == Outcome::Permitted
            && event.credential_provider.as_deref()
                != verdict.credential.as_ref().map(|it| it.provider.as_str()))
}

/// Attributes that a policy asks for today and the event says nothing of.
fn unknown_attributes(event: &Event, explained: &Explained) -> Option<String> {
    if event.attributes.is_some() && event.policy_revision == explained.policy_revision {
        return None;
    }
    let mut names: Vec<&str> = checks(explained)
        .filter(|check| check.subject == Subject::Attribute && check.actual.is_none())
        .filter_map(|check| check.name.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "the event does not tell whether the caller had {}; it is taken for one that had not",
            names.join(", ")
        )
    })
}

/// Conditions that stand otherwise than the event says, for it keeps neither query nor headers.
fn other_conditions<'e>(
    event: &'e Event,
    explained: &'e Explained,
) -> impl Iterator<Item = String> + use<'e> {
    event.conditions.iter().filter_map(|CheckedCondition { name, outcome }| {
        let then = match outcome {
            ConditionOutcome::Met => Standing::Holds,
            ConditionOutcome::NotMet => Standing::Fails,
            ConditionOutcome::Unavailable => Standing::Unknown,
        };
        let mut same_name = checks(explained).filter(|check| {
            check.subject == Subject::Condition && check.name.as_deref() == Some(name)
        });
        let now = same_name.next().filter(|now| now.standing != then)?;
        let words = |standing| match standing {
            Standing::Holds => "was met",
            Standing::Fails => "was not met",
            Standing::Unknown => "could not be told",
        };
        Some(format!(
            "the condition {name} {} then and {} now: it may have changed, or read what the event does not keep (query, headers, the address behind other proxies)",
            words(then),
            words(now.standing),
        ))
    })
}

fn checks(explained: &Explained) -> impl Iterator<Item = &Check> {
    let policies = explained.policy.iter().flat_map(|policy| &policy.policies);
    policies.flat_map(|policy| &policy.checks)
}
