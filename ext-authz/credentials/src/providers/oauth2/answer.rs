//! What a token endpoint answers (RFC 6749 §5, RFC 8693 §2.2).

use std::time::Duration;

use attache_core::{
    decision::{Fault, OauthError},
    freshness::Lifetime,
    secret::Secret,
    time::Timestamp,
};
use attache_outbound::Answer;
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::Grant;
use crate::{
    material::Material,
    provider::Obtained,
    providers::calls::{self, Failure},
};

/// How long a token is used whose lifetime the server does not tell: it should, and few tokens live shorter.
const UNTOLD: Duration = Duration::from_secs(300);
/// However long a token lives, another is asked for once a day.
const LONGEST: Duration = Duration::from_hours(24);
/// Longest token that is taken.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The token of a good answer.
pub(super) fn granted(answer: &Answer, grant: Grant, now: Timestamp) -> Result<Obtained, Failure> {
    let mut members = Members(answer.json()?);
    check_type(&members, grant)?;
    let ttl = lifetime(members.0.get("expires_in"))?;
    let token = members.token()?;
    Ok(Obtained {
        material: Material::Token(token),
        lifetime: Some(Lifetime::starting(now, ttl)),
        id: None,
    })
}

/// The members of an answer; every text in them is wiped.
struct Members(Map<String, Value>);

impl Members {
    fn token(&mut self) -> Result<Secret, Failure> {
        let token = match self.0.remove("access_token") {
            Some(Value::String(text)) => Secret::new(text),
            Some(_) | None => return Err(Failure::answer("the answer has no `access_token`")),
        };
        let text = token.expose();
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES {
            let told = format!("the token has {} bytes", text.len());
            return Err(Failure::answer(told));
        }
        Ok(token)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in self.0.values_mut() {
            if let Value::String(text) = member {
                text.zeroize();
            }
        }
    }
}

/// SECURITY: a token of another type must not be used as a bearer token (RFC 6749 §7.1): it may be bound to a key
/// that we do not have.
fn check_type(members: &Members, grant: Grant) -> Result<(), Failure> {
    let Some(Value::String(of)) = members.0.get("token_type") else {
        return Err(Failure::answer("the answer has no `token_type`"));
    };
    let is_untyped = grant == Grant::TokenExchange && of.eq_ignore_ascii_case("N_A");
    if of.eq_ignore_ascii_case("bearer") || is_untyped {
        return Ok(());
    }
    let told = "the answer's `token_type` is not `Bearer`";
    Err(Failure::answer(told))
}

/// `expires_in`, in seconds; some servers write the number as a text.
fn lifetime(expires_in: Option<&Value>) -> Result<Duration, Failure> {
    let seconds = match expires_in {
        None | Some(Value::Null) => return Ok(UNTOLD),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse::<u32>().ok().map(f64::from),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    let seconds = seconds.ok_or_else(|| Failure::answer("`expires_in` is no number"))?;
    if seconds < 1.0 {
        let told = "the token is expired on arrival";
        return Err(Failure::new(Fault::ProviderCredentialExpired, told));
    }
    let lifetime = Duration::try_from_secs_f64(seconds.floor()).unwrap_or(LONGEST);
    Ok(lifetime.min(LONGEST))
}

/// Any other status. The code counts only where the answer can be read; an `error` that is on no list, or its
/// description, may repeat what we sent, and is not told.
pub(super) fn refused(answer: &Answer) -> Failure {
    let failure = calls::refused("the token endpoint", answer);
    let is_ours = answer.status().is_client_error() && failure.is_refusal();
    let Some(error) = is_ours.then(|| error(answer)).flatten() else {
        return failure;
    };
    let told = format!("{failure}: {}", error.name());
    Failure::new(Fault::OauthRefused(error), told).after(answer.retry_after())
}

fn error(answer: &Answer) -> Option<OauthError> {
    let members = Members(answer.json().ok()?);
    let named = members.0.get("error")?.as_str()?;
    let mut all = OauthError::ALL.into_iter();
    all.find(|error| error.name() == named)
}
