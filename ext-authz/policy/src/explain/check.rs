//! One thing that a policy asks of a call.

use attache_core::request::Transport;
use serde::{Deserialize, Serialize};

use crate::{
    compiled::{Bound, HostRank},
    condition::Facts,
    document::{Effect, MethodSet, TlsRule},
    rule::{Accepts, Rule, RuleAction},
    selector::Entry,
};

/// What was asked for, what was found, and whether that is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Of what.
    pub subject: Subject,
    /// Which attribute, or which condition.
    pub name: Option<String>,
    /// Whether it holds.
    pub standing: Standing,
    /// What the policy asks for.
    pub expected: String,
    /// What was found; `null` if nothing was.
    pub actual: Option<String>,
}

/// What a policy asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The ServerWorkload's host.
    Host,
    /// Its port.
    Port,
    /// An attribute of the ClientWorkload.
    Attribute,
    /// Who proved the caller.
    TrustProvider,
    /// The action's methods.
    Method,
    /// Its paths, within those of the ServerWorkload.
    Path,
    /// Whether the target is reached over TLS.
    Transport,
    /// An AccessCondition.
    Condition,
}

/// Whether a check holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// It cannot be told.
    Unknown,
}

impl Check {
    fn of(subject: Subject, holds: bool, expected: String, actual: impl Into<String>) -> Self {
        Self {
            subject,
            name: None,
            standing: if holds {
                Standing::Holds
            } else {
                Standing::Fails
            },
            expected,
            actual: Some(actual.into()),
        }
    }
}

/// Host and port.
pub(super) fn target(bound: &Bound<'_>, facts: &Facts<'_>) -> [Check; 2] {
    let host = match bound.rank {
        HostRank::Exact => bound.host.to_owned(),
        HostRank::Suffix(_) => format!("*.{}", bound.host),
    };
    let request = &facts.request;
    let port = bound.port == request.port;
    [
        Check::of(
            Subject::Host,
            bound.covers_host,
            host,
            request.host.as_str(),
        ),
        Check::of(
            Subject::Port,
            port,
            bound.port.to_string(),
            request.port.to_string(),
        ),
    ]
}

/// The attributes of one selector entry.
pub(super) fn attributes(entry: &Entry, facts: &Facts<'_>) -> Vec<Check> {
    let conditions = entry.conditions.iter();
    let check = conditions.map(|condition| {
        let compared = condition.mismatch(facts.attestation);
        let holds = condition.matches(facts.attestation);
        Check {
            subject: Subject::Attribute,
            name: Some(compared.attribute),
            standing: if holds {
                Standing::Holds
            } else {
                Standing::Fails
            },
            expected: compared.expected,
            actual: compared.actual,
        }
    });
    check.collect()
}

pub(super) fn provider(rule: &Rule, facts: &Facts<'_>) -> Check {
    let proofs = facts.attestation.proofs();
    let proved: Vec<&str> = proofs.map(|proof| proof.provider.as_str()).collect();
    let expected = match &rule.accepts {
        Accepts::Nobody => "none: it is about callers without evidence".to_owned(),
        Accepts::All(providers) => {
            let names: Vec<&str> = providers.iter().map(|name| &**name).collect();
            names.join(" and ")
        }
        Accepts::Anyone => "any".to_owned(),
        Accepts::These(providers) if providers.is_empty() => {
            "none, for none of its type exists".to_owned()
        }
        Accepts::These(providers) => {
            let names: Vec<&str> = providers.iter().map(|name| &**name).collect();
            names.join(" or ")
        }
    };
    Check::of(
        Subject::TrustProvider,
        rule.accepts(facts.attestation),
        expected,
        &*proved.join(" and "),
    )
}

/// Method and path of one action.
pub(super) fn action(action: &RuleAction, facts: &Facts<'_>) -> [Check; 2] {
    let request = &facts.request;
    let methods = match &action.methods {
        MethodSet::Any => "any".to_owned(),
        MethodSet::These(methods) => methods.join(" or "),
    };
    let under: Vec<&str> = action
        .prefixes
        .iter()
        .map(|prefix| prefix.as_str())
        .collect();
    let covered = action
        .prefixes
        .iter()
        .any(|prefix| action.reaches(prefix, request.path));
    let listed = action.methods.contains(request.method);
    [
        Check::of(Subject::Method, listed, methods, request.method),
        Check::of(
            Subject::Path,
            covered,
            format!("under {}", under.join(" or ")),
            request.path.as_str(),
        ),
    ]
}

/// An allow that demands TLS.
pub(super) fn transport(rule: &Rule, facts: &Facts<'_>) -> Option<Check> {
    let asked = rule.effect == Effect::Allow && rule.tls == TlsRule::Required;
    let (holds, actual) = match facts.request.transport {
        Transport::Tls => (true, "tls"),
        Transport::Plaintext => (false, "plaintext"),
    };
    asked.then(|| Check::of(Subject::Transport, holds, "tls".to_owned(), actual))
}
