//! The token itself: its claims, and its compact form (RFC 7515 §7.1).

use attache_core::{claims::RenderedClaims, secret::Secret};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde::Serialize;

use crate::{keys::SigningKey, signer::SigningFailed};

/// The claims of a token (RFC 7519 §4.1; SPIFFE JWT-SVID §3).
#[derive(Serialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: Audience,
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    /// The policy's own. INVARIANT: none has the name of one above (`attache_core::claims::RESERVED`).
    #[serde(flatten)]
    pub(crate) custom: RenderedClaims,
}

/// One audience is a single string: relying parties exist that take no list.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(crate) fn of(audiences: &[String]) -> Self {
        match audiences {
            [one] => Self::One(one.clone()),
            several => Self::Several(several.to_vec()),
        }
    }
}

/// Signs `claims` with `key`.
pub(crate) fn sign(claims: &Claims, key: &SigningKey) -> Result<Secret, SigningFailed> {
    let claims = serde_json::to_vec(claims).map_err(|_unwritable| SigningFailed)?;
    let claims = Base64UrlUnpadded::encode_string(&claims);
    let mut token = format!("{}.{claims}", key.header);
    let signature = Base64UrlUnpadded::encode_string(&key.signer.sign(token.as_bytes())?);
    token.reserve_exact(signature.len() + 1);
    token.push('.');
    token.push_str(&signature);
    Ok(Secret::new(token))
}
