//! Credentials that the target's authentication cannot carry: a header that takes something else than what
//! the credential provider gives.

use crate::{
    compile::Binding,
    document::{CredentialKind, Placement},
    problem::{Code, Report, quoted},
};

/// Schemes of `Authorization` that take something else than a token (IANA HTTP Authentication Schemes).
const OTHER_SCHEMES: [&str; 8] = [
    "aws4-hmac-sha256",
    "basic",
    "digest",
    "hoba",
    "mutual",
    "negotiate",
    "ntlm",
    "scram-sha-256",
];

/// Reports each policy whose credential its target could not read.
pub(super) fn report_misfits(bindings: &[Binding], report: &Report) {
    for binding in bindings {
        let rule = &binding.rule;
        let Some(credential) = &rule.credential else {
            continue;
        };
        let CredentialKind::Token(_) = credential.kind;
        if let Some((takes, way_out)) = takes_no_token(&rule.placement) {
            let message = format!(
                "the credential is a token, and the target {} takes {takes}",
                quoted(&binding.server.name)
            );
            let (place, way_out) = (binding.place.clone(), Some(way_out.to_owned()));
            report.error_with(place, Code::CredentialNotCarried, message, way_out);
        }
    }
}

/// What the header takes instead of a token.
fn takes_no_token(placement: &Placement) -> Option<(String, &'static str)> {
    let Placement { header, prefix } = placement;
    match header.as_str() {
        "authorization" | "proxy-authorization" => {
            let scheme = prefix.trim().to_ascii_lowercase();
            OTHER_SCHEMES.contains(&scheme.as_str()).then(|| {
                let takes = format!("{} authentication", quoted(prefix.trim()));
                (
                    takes,
                    "write `authentication: {method: bearer}` in the ServerWorkload",
                )
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
