//! Tokens of our own issuer.

use std::{ops::RangeInclusive, time::Duration};

use attache_core::{
    audience::{MAX_AUDIENCE_BYTES, is_audience},
    jwt::Algorithm,
    token::{TokenForm, TokenPlan},
};

use super::claims;
use crate::{
    document::Specification,
    hash::Set,
    problem::{Code, quoted},
    yaml::At,
};

/// Least and longest lifetime of a token, in seconds.
pub(crate) const TTL_SECONDS: RangeInclusive<u64> = 30..=86_400;
/// Lifetime of an OIDC token unless the document says otherwise.
const OIDC_TTL: Duration = Duration::from_secs(900);
/// Lifetime of a JWT-SVID unless the document says otherwise.
const SVID_TTL: Duration = Duration::from_secs(300);
/// Least and longest lifetime of a client assertion, in seconds: it is used once, at once.
pub(crate) const ASSERTION_TTL_SECONDS: RangeInclusive<u64> = 30..=300;
/// Lifetime of a client assertion unless the document says otherwise.
const ASSERTION_TTL: Duration = Duration::from_secs(60);

pub(super) fn lower(fields: Specification<'_, '_>, form: TokenForm) -> Option<TokenPlan> {
    let audiences = fields.required("audience", |at| match form {
        TokenForm::OidcToken | TokenForm::ClientAssertion => {
            audience(at).map(|audience| vec![audience])
        }
        TokenForm::JwtSvid => audiences(at),
    });
    let (usual_ttl, usual_algorithm) = match form {
        TokenForm::OidcToken => (OIDC_TTL, Algorithm::Rs256),
        TokenForm::JwtSvid => (SVID_TTL, Algorithm::Es256),
        TokenForm::ClientAssertion => (ASSERTION_TTL, Algorithm::Es256),
    };
    let ttl = fields.or("ttl", usual_ttl, |at| at.duration(lasts(form)));
    let names = [Algorithm::Rs256, Algorithm::Es256].map(|alg| (alg.name(), alg));
    let algorithm = fields.or("algorithm", usual_algorithm, |at| at.one_of(&names));
    // What an authorization server reads of an assertion, RFC 7523 says.
    let claims = match form {
        TokenForm::OidcToken | TokenForm::JwtSvid => fields.optional("claims", claims::claims),
        TokenForm::ClientAssertion => Some(None),
    };
    Some(TokenPlan {
        form,
        audiences: audiences?,
        ttl: ttl?,
        algorithm: algorithm?,
        claims: claims?.unwrap_or_default(),
    })
}

/// How long such a token may live, in seconds.
pub(super) const fn lasts(form: TokenForm) -> RangeInclusive<u64> {
    match form {
        TokenForm::OidcToken | TokenForm::JwtSvid => TTL_SECONDS,
        TokenForm::ClientAssertion => ASSERTION_TTL_SECONDS,
    }
}

/// Several are for whoever asks for it: a token that many take can be used by each of them at the others
/// (SPIFFE JWT-SVID §3.3).
fn audiences(at: &At<'_>) -> Option<Vec<String>> {
    let audiences = at.one_or_some(audience)?;
    let mut known = Set::default();
    if !audiences.iter().all(|audience| known.insert(audience)) {
        let message = "an audience stands twice";
        return at.refuse_with(Code::DuplicateName, message, "keep one of them");
    }
    Some(audiences)
}

/// Reads the audience of a token or of evidence, as issuers mint and `aud` is compared: byte by byte.
pub(in crate::document) fn audience(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if is_audience(text) {
        return Some(text.to_owned());
    }
    if text.len() > MAX_AUDIENCE_BYTES {
        let message = format!("an audience of {} bytes", text.len());
        let way_out = format!("write at most {MAX_AUDIENCE_BYTES} bytes");
        return at.refuse_with(Code::OutOfRange, message, way_out);
    }
    let message = format!("{} is not an audience", quoted(text));
    let plain: String = text.chars().filter(|letter| !letter.is_control()).collect();
    let way_out = match plain.trim() {
        "" => "write whom the token is for, such as https://api.example.com".to_owned(),
        plain => format!(
            "write {}, without control characters and outer white space",
            quoted(plain)
        ),
    };
    at.refuse_with(Code::InvalidValue, message, way_out)
}
