//! Where the evidence of a call is found. Nothing is believed here; `trust` verifies it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use attache_core::{
    decision::{DenyReason, Fault},
    evidence::Evidence,
    header::HeaderName,
    jwt::{MAX_TOKEN_BYTES, RejectedToken},
    secret::Secret,
};
use tracing::warn;

use crate::{question::Question, refusal::Refusal, settings::EvidenceSource};

impl EvidenceSource {
    /// The one piece of evidence for this call.
    pub(crate) fn evidence(&self, question: &Question<'_>) -> Result<Evidence, Refusal> {
        match self {
            Self::Header(name) => from_header(name, question).map_err(Refusal::Denied),
            // SECURITY: read for each call, so that a rotated token is used at once and a removed one never.
            Self::TokenFile(path) => from_file(path).map_err(|error| {
                warn!(path = %path.display(), %error, "the pod's own token cannot be read");
                Refusal::Unavailable(Fault::EvidenceUnreadable)
            }),
        }
    }
}

fn from_header(name: &HeaderName, question: &Question<'_>) -> Result<Evidence, DenyReason> {
    let mut values = question.values(name);
    let value = values.next().ok_or(DenyReason::EvidenceMissing)?;
    if values.next().is_some() {
        return Err(DenyReason::EvidenceAmbiguous);
    }
    let text = str::from_utf8(value)
        .map_err(|_not_utf8| DenyReason::EvidenceRejected(RejectedToken::Malformed("not ASCII")))?;
    token(text)
        .map(|token| Evidence::Token(Secret::new(token.to_owned())))
        .ok_or(DenyReason::EvidenceMissing)
}

/// The token itself, without `Bearer ` (RFC 6750 §2.1) in front.
fn token(value: &str) -> Option<&str> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.trim_ascii_start()
    } else {
        value
    };
    Some(token).filter(|token| !token.is_empty())
}

fn from_file(path: &Path) -> io::Result<Evidence> {
    let mut text = String::new();
    // One byte over the limit, so that a token that is too large is refused as such and not as truncated.
    let limit = u64::try_from(MAX_TOKEN_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    let token = token(&text).ok_or_else(|| io::Error::other("the file is empty"))?;
    Ok(Evidence::Token(Secret::new(token.to_owned())))
}

#[cfg(test)]
mod tests;
