//! Credentials that the target's authentication cannot carry, and those that are for other hosts: a header
//! that takes something else than what the credential provider gives, a secret on its way to a stranger.

use crate::{
    compile::Binding,
    document::{
        Authentication, Carrier, Consistence, CredentialKind, CredentialProvider, Form,
        HostPattern, Part, Placement,
    },
    problem::{Code, Report, quoted},
};

/// Schemes of `Authorization` that take something else than a token (IANA HTTP Authentication Schemes).
const OTHER_SCHEMES: [&str; 9] = [
    "aws4-hmac-sha256",
    "basic",
    "digest",
    "hoba",
    "mutual",
    "negotiate",
    "ntlm",
    "scram-sha-256",
    // Of an identity service that takes its own API tokens alone.
    "ssws",
];

/// The way out for a credential of each consistence.
const FOR_TOKENS: &str = "write `authentication: {method: bearer}` in the ServerWorkload";
const FOR_PAIRS: &str = "write `authentication: {method: basic}` in the ServerWorkload, or places with \
     `part: username` and `part: password`";
const FOR_ASSERTIONS: &str =
    "write `authentication: {method: client-assertion}` in the ServerWorkload";
const FOR_HEADERS: &str =
    "write `authentication: {method: provider-headers}` in the ServerWorkload";

/// Reports each policy whose credential its target could not read, or is not meant for.
pub(super) fn report_misfits(bindings: &[Binding], report: &Report) {
    for binding in bindings {
        let Some(credential) = &binding.rule.credential else {
            continue;
        };
        let misfit = misfit(&binding.server.authentication, credential);
        if let Some((takes, way_out)) = misfit {
            let message = format!(
                "the credential is {}, and the target {} takes {takes}",
                consists_of(credential.kind.consistence()),
                quoted(&binding.server.name)
            );
            let (place, way_out) = (binding.place(), Some(way_out.to_owned()));
            report.error_with(place, Code::CredentialNotCarried, message, way_out);
        }
        report_stranger(binding, credential, report);
    }
}

/// SECURITY: who writes a policy must not send a credential to a host that its provider does not name.
fn report_stranger(binding: &Binding, credential: &CredentialProvider, report: &Report) {
    let Some(hosts) = &credential.hosts else {
        return;
    };
    let host = &binding.server.host;
    if hosts.iter().any(|named| covers(named, host)) {
        return;
    }
    let message = format!(
        "the credential of {} is not for {}, the host of {}",
        quoted(&credential.name),
        quoted(&host.to_string()),
        quoted(&binding.server.name)
    );
    let way_out = "add the host to `hosts` of the CredentialProvider if it is to have that secret";
    let place = binding.place();
    let code = Code::CredentialForOtherHost;
    report.error_with(place, code, message, Some(way_out.to_owned()));
}

/// Whether every host of `host` is one of `named`.
fn covers(named: &HostPattern, host: &HostPattern) -> bool {
    match (named, host) {
        (HostPattern::Exact(named), HostPattern::Exact(host)) => named == host,
        (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
        (HostPattern::Suffix(domain), HostPattern::Exact(host)) => {
            is_below(host.as_str(), domain.as_str())
        }
        (HostPattern::Suffix(domain), HostPattern::Suffix(host)) => {
            domain == host || is_below(host.as_str(), domain.as_str())
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

const fn consists_of(consistence: Consistence) -> &'static str {
    match consistence {
        Consistence::Token => "a token",
        Consistence::Pair => "a user name with a password",
        Consistence::Headers => "a set of headers",
        Consistence::Assertion => "a client assertion",
    }
}

/// What the target takes instead, and what to do.
fn misfit(
    authentication: &Authentication,
    credential: &CredentialProvider,
) -> Option<(String, &'static str)> {
    let consistence = credential.kind.consistence();
    let way_out = match consistence {
        Consistence::Token => FOR_TOKENS,
        Consistence::Pair => FOR_PAIRS,
        Consistence::Headers => FOR_HEADERS,
        Consistence::Assertion => FOR_ASSERTIONS,
    };
    let places = match (authentication, consistence) {
        (Authentication::ProviderHeaders, Consistence::Headers) => return None,
        (
            Authentication::ProviderHeaders,
            Consistence::Token | Consistence::Pair | Consistence::Assertion,
        ) => {
            return Some(("headers that a provider names".to_owned(), way_out));
        }
        (Authentication::Placed(_), Consistence::Headers) => {
            let takes = "its credential where its own `authentication` says".to_owned();
            return Some((takes, way_out));
        }
        (
            Authentication::Placed(places),
            Consistence::Token | Consistence::Pair | Consistence::Assertion,
        ) => places,
    };
    let missing = places
        .iter()
        .find_map(|place| other_part(place, consistence));
    if let Some(takes) = missing {
        return Some((takes.to_owned(), way_out));
    }
    let is_own = matches!(credential.kind, CredentialKind::Token(_));
    places.iter().find_map(|place| other_scheme(place, is_own))
}

/// The part that stands in a place and that such a credential does not have.
const fn other_part(place: &Placement, consistence: Consistence) -> Option<&'static str> {
    match (&place.form, consistence) {
        (Form::Basic, Consistence::Token) => Some("a user name with a password"),
        (
            Form::Plain {
                part: Part::Username | Part::Password,
                ..
            },
            Consistence::Token,
        ) => Some("a user name or a password"),
        (
            Form::Plain {
                part: Part::Token, ..
            },
            Consistence::Pair,
        ) => Some("a token"),
        (Form::ClientAssertion, Consistence::Assertion) => None,
        (Form::ClientAssertion, _) => Some("a client assertion in the body of token requests"),
        (Form::Basic | Form::Plain { .. }, Consistence::Assertion) => {
            Some("a credential in its headers or its query")
        }
        (Form::Basic | Form::Plain { .. }, _) => None,
    }
}

/// What a header takes by its own rules.
fn other_scheme(place: &Placement, is_own: bool) -> Option<(String, &'static str)> {
    let (Carrier::Header(header), Form::Plain { prefix, .. }) = (&place.carrier, &place.form)
    else {
        return None;
    };
    match header.as_str() {
        "authorization" | "proxy-authorization" => {
            let scheme = prefix.trim();
            // A key may be what such a scheme takes, written out; a token of ours is not.
            let mut others = OTHER_SCHEMES.iter();
            let refuses = is_own && others.any(|other| scheme.eq_ignore_ascii_case(other));
            refuses.then(|| {
                let takes = format!("{} authentication", quoted(prefix.trim()));
                (takes, FOR_TOKENS)
            })
        }
        // RFC 6265 §4.2.1
        "cookie" => (!prefix.contains('=')).then(|| {
            let way_out = "write the cookie's name in `authentication.prefix`: \"session=\"";
            ("`name=value` in its cookies".to_owned(), way_out)
        }),
        _ => None,
    }
}
