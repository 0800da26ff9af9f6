//! An explanation for people. SECURITY: what a request or a token contained is made printable, for it ends
//! on a terminal.

use std::fmt::{self, Write as _};

use attache_core::event::{Mode, Outcome};
use attache_edge::{
    explain::{CallTold, Explained, Proof, Stage, TokenTold},
    journal::text::printable,
};
use attache_policy::explain::{
    Check, Considered, CredentialTold, Explanation, Part, PlaceTold, ServedCall, Standing, Subject,
    Verdict,
};

use super::event::EventTold;

#[cfg(test)]
mod tests;

/// Longest text shown, in bytes.
const MAX_BYTES: usize = 1024;

pub(super) fn notes(out: &mut String, notes: &[String]) -> fmt::Result {
    notes
        .iter()
        .try_for_each(|note| writeln!(out, "note: {}", plain(note)))
}

/// How the access was decided, and whether it would be decided otherwise today.
pub(super) fn event(out: &mut String, event: &EventTold) -> fmt::Result {
    let EventTold {
        event_id,
        timestamp,
        policy_revision,
        mode,
        differs,
        ..
    } = event;
    let observed = match mode {
        Mode::Enforce => "",
        Mode::Observe => " (observed only: the call passed)",
    };
    let reasons: Vec<String> = [&event.code, &event.policy_matched]
        .into_iter()
        .flatten()
        .map(|text| plain(text))
        .collect();
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        format!(": {}", reasons.join(" by "))
    };
    writeln!(
        out,
        "{} of {timestamp}, under revision {}",
        plain(event_id),
        plain(policy_revision)
    )?;
    writeln!(out, "  was {}{reasons}{observed}", word(event.outcome))?;
    let answer = match differs {
        Some(true) => "today's policies would decide otherwise",
        Some(false) => "today's policies would decide the same",
        None => "whether it would be decided otherwise today cannot be told",
    };
    writeln!(out, "  {answer}\n")
}

/// The call, the verdict, and the policies.
pub(crate) fn explained(out: &mut String, explained: &Explained) -> fmt::Result {
    call(out, explained)?;
    verdict(out, explained)?;
    match &explained.policy {
        Some(policy) => policies(out, policy),
        None => writeln!(out, "\npolicy was not asked"),
    }
}

fn call(out: &mut String, explained: &Explained) -> fmt::Result {
    match &explained.token {
        Some(token) => token_asked(out, token)?,
        None => request(out, &explained.call)?,
    }
    let call = &explained.call;
    match &explained.caller {
        Some(caller) => {
            let proof = match caller.proof {
                Proof::Verified => "verified",
                Proof::Unverified => "NOT verified",
                Proof::Supposed => "supposed",
                Proof::Recorded => "as the audit log tells",
            };
            let (id, provider) = (plain(&caller.spiffe_id), plain(&caller.trust_provider));
            writeln!(
                out,
                "  caller    {id}, by trust provider {provider} ({proof})"
            )?;
        }
        None => writeln!(out, "  caller    not known")?,
    }
    if let Some(source) = call.source {
        writeln!(out, "  from      {source}")?;
    }
    writeln!(out, "  at        {}", call.at)?;
    writeln!(
        out,
        "  policies  revision {}",
        plain(&explained.policy_revision)
    )
}

fn token_asked(out: &mut String, token: &TokenTold) -> fmt::Result {
    let audience = token
        .audience
        .as_deref()
        .map(|it| format!(" for {}", plain(it)));
    let resource = token
        .resource
        .as_deref()
        .map(|it| format!(" at {}", plain(it)));
    let (audience, resource) = (audience.unwrap_or_default(), resource.unwrap_or_default());
    writeln!(out, "a token{audience}{resource} in the caller's own hands")
}

/// One of the calls that a token would serve for.
fn served(call: &ServedCall) -> String {
    let scheme = match call.transport.as_str() {
        "plaintext" => "http",
        _tls => "https",
    };
    let host = if call.host.contains(':') {
        format!("[{}]", call.host)
    } else {
        plain(&call.host)
    };
    let method = call
        .method
        .as_deref()
        .map_or("any other method".to_owned(), plain);
    format!(
        "{method} {scheme}://{host}:{}{}",
        call.port,
        plain(&call.path)
    )
}

fn request(out: &mut String, call: &CallTold) -> fmt::Result {
    let scheme = match call.transport.as_deref() {
        Some("plaintext") => "http",
        _tls_or_unknown => "https",
    };
    let port = call.port.map(|port| format!(":{port}")).unwrap_or_default();
    let bracketed = call.port.is_some() && call.host.contains(':');
    let host = if bracketed {
        format!("[{}]", call.host)
    } else {
        plain(&call.host)
    };
    writeln!(
        out,
        "{} {scheme}://{host}{port}{}",
        plain(&call.method),
        plain(&call.path)
    )
}

fn verdict(out: &mut String, explained: &Explained) -> fmt::Result {
    let Verdict {
        outcome,
        code,
        message,
        policy_matched,
        policy,
        mismatch,
        credential,
        ..
    } = &explained.verdict;
    write!(out, "\n{}", word(*outcome).to_uppercase())?;
    if let Some(code) = code {
        write!(out, " {}", plain(code))?;
    }
    if let (Some(matched), Some(policy)) = (policy_matched, policy) {
        write!(out, " by {} of {}", plain(matched), plain(policy))?;
    }
    writeln!(out)?;
    if let Some(message) = message {
        writeln!(out, "  {}", plain(message))?;
    }
    if let Some(mismatch) = mismatch {
        let actual = mismatch
            .actual
            .as_deref()
            .map_or("nothing".to_owned(), plain);
        let (name, expected) = (plain(&mismatch.attribute), plain(&mismatch.expected));
        writeln!(
            out,
            "  nearest: {name} expected {expected}, actual {actual}"
        )?;
    }
    if let Some(token) = &explained.token {
        if let Some(call) = &token.rests_on {
            writeln!(out, "  one of its calls: {}", served(call))?;
        }
        return match credential {
            Some(credential) if *outcome == Outcome::Permitted => given(out, credential),
            Some(_) | None => Ok(()),
        };
    }
    match stage(explained.stage) {
        Some(stage) => writeln!(out, "  settled by {stage}")?,
        None if *outcome == Outcome::Permitted => attached(out, credential.as_ref())?,
        None => {}
    }
    match (explained.verdict.valid_until, outcome) {
        (Some(until), Outcome::Permitted) => writeln!(out, "  holds until {until} at the latest")?,
        (None, Outcome::Permitted) if policy.is_some() => {
            writeln!(out, "  holds for this call alone")?;
        }
        (_, Outcome::Permitted | Outcome::Denied | Outcome::Error) => {}
    }
    match explained.mode {
        Mode::Enforce => Ok(()),
        Mode::Observe => writeln!(out, "  this edge only observes: the call passes as it is"),
    }
}

fn attached(out: &mut String, credential: Option<&CredentialTold>) -> fmt::Result {
    let Some(credential) = credential else {
        return writeln!(out, "  no credential is attached");
    };
    let (provider, words) = (plain(&credential.provider), kind_of(credential));
    let place = |place: &PlaceTold| match (&place.header, &place.parameter) {
        (None, Some(parameter)) => format!("?{}=…", plain(parameter)),
        (header, _) => {
            let header = header.as_deref().unwrap_or_default();
            format!("{}: {}…", plain(header), plain(&place.prefix))
        }
    };
    let first = PlaceTold {
        header: credential.header.clone(),
        parameter: None,
        prefix: credential.prefix.clone(),
    };
    let places = match credential.places.as_slice() {
        [] => std::slice::from_ref(&first),
        places => places,
    };
    let places: Vec<String> = places.iter().map(place).collect();
    let places = places.join(" and ");
    writeln!(out, "  attaches  {places} from {provider} ({words})")
}

/// A token that goes nowhere but to whoever asked.
fn given(out: &mut String, credential: &CredentialTold) -> fmt::Result {
    let (provider, words) = (plain(&credential.provider), kind_of(credential));
    writeln!(out, "  gives     a token from {provider} ({words})")
}

fn kind_of(credential: &CredentialTold) -> String {
    let mut words = vec![plain(&credential.kind)];
    let audience = credential.audience.as_deref();
    words.extend(audience.map(|audience| format!("audience {}", plain(audience))));
    words.extend(credential.ttl_seconds.map(|ttl| format!("{ttl} s")));
    words.join(", ")
}

const fn stage(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Request => Some("the request line: no policy was asked"),
        Stage::Headers => Some("a header: no policy was asked"),
        Stage::Unmatched => Some("`unmatched: pass-without-credential`: no policy matches"),
        Stage::Evidence => Some("the evidence: no policy was asked"),
        Stage::Policy => None,
    }
}

fn policies(out: &mut String, policy: &Explanation) -> fmt::Result {
    if let Some(would_be) = &policy.would_be {
        let by = would_be
            .policy_matched
            .as_deref()
            .map(|matched| format!(" by {}", plain(matched)));
        let (word, by) = (word(would_be.outcome), by.unwrap_or_default());
        writeln!(out, "  if dry-run policies were enforced: {word}{by}")?;
    }
    let (shown, all) = (policy.policies.len(), policy.policy_count);
    match shown {
        0 if all > 0 => return writeln!(out, "\nno policy in force gives such a token"),
        0 => return writeln!(out, "\nthe set has no policy"),
        _ if shown < all => writeln!(out, "\n{shown} of {all} policies, the most telling first:")?,
        _ => writeln!(out, "\npolicies:")?,
    }
    policy
        .policies
        .iter()
        .try_for_each(|considered| one(out, considered))
}

fn one(out: &mut String, considered: &Considered) -> fmt::Result {
    let part = match considered.part {
        Part::Decides => "decides",
        Part::Conflicts => "conflicts: another credential of the same rank",
        Part::Agrees => "applies and says the same",
        Part::Overruled => "applies, and the decision goes against it",
        Part::Outranked => "applies, and a more specific target wins",
        Part::Rehearses => "dry-run: would apply",
        Part::Nearest => "does not apply; the nearest",
        Part::DoesNotApply => "does not apply",
    };
    let dry_run = if considered.dry_run && considered.part != Part::Rehearses {
        " (dry-run)"
    } else {
        ""
    };
    let (name, matched) = (plain(&considered.policy), plain(&considered.matched));
    writeln!(out, "\n  {name}  {matched}{dry_run}\n  → {part}")?;
    considered
        .checks
        .iter()
        .try_for_each(|check| line(out, check))
}

fn line(out: &mut String, check: &Check) -> fmt::Result {
    let mark = match check.standing {
        Standing::Holds => "ok ",
        Standing::Fails => "NO ",
        Standing::Unknown => "?  ",
    };
    let subject = match (check.subject, &check.name) {
        (Subject::Attribute, Some(name)) => plain(name),
        (Subject::Condition, Some(name)) => format!("condition {}", plain(name)),
        (subject, _) => word_of(subject).to_owned(),
    };
    let expected = plain(&check.expected);
    let actual = check.actual.as_deref().map(plain);
    match (check.standing, actual) {
        (Standing::Holds, Some(actual)) if actual == expected => {
            writeln!(out, "    {mark} {subject:<20} {actual}")
        }
        (Standing::Holds, Some(actual)) => {
            writeln!(out, "    {mark} {subject:<20} {actual} ({expected})")
        }
        (Standing::Holds, None) => writeln!(out, "    {mark} {subject:<20} {expected}"),
        (Standing::Fails | Standing::Unknown, actual) => {
            let actual = match (check.subject, actual) {
                (_, Some(actual)) => format!(", actual {actual}"),
                // An expression has no one value to show.
                (Subject::Condition, None) if check.standing == Standing::Fails => String::new(),
                (Subject::Condition, None) => ", which cannot be told".to_owned(),
                (_, None) => ", actual nothing".to_owned(),
            };
            writeln!(out, "    {mark} {subject:<20} expected {expected}{actual}")
        }
    }
}

const fn word_of(subject: Subject) -> &'static str {
    match subject {
        Subject::Host => "host",
        Subject::Port => "port",
        Subject::Attribute => "attribute",
        Subject::TrustProvider => "trust provider",
        Subject::Method => "method",
        Subject::Path => "path",
        Subject::Transport => "transport",
        Subject::Condition => "condition",
    }
}

/// The outcome as the audit log writes it.
pub(crate) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Permitted => "permitted",
        Outcome::Denied => "denied",
        Outcome::Error => "error",
    }
}

/// Safe on a terminal.
pub(crate) fn plain(text: &str) -> String {
    printable(text.as_bytes(), MAX_BYTES).into()
}
