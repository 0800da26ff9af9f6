//! `CredentialProvider`: with which credential. It holds no secret; a field for one does not exist.

use std::time::Duration;

use attache_core::{
    audience::{MAX_AUDIENCE_BYTES, is_audience},
    jwt::Algorithm,
};

use crate::{
    document::Specification,
    problem::{Code, quoted},
    yaml::At,
};

/// Least and longest lifetime of a token, in seconds.
pub(crate) const TTL_SECONDS: std::ops::RangeInclusive<u64> = 30..=86_400;
/// Lifetime of a token unless the document says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(900);

/// How a credential is obtained.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialProvider {
    /// The document's qualified name; `<policy>#credentialProvider` if a CredentialPolicy holds it.
    pub name: String,
    /// What it gives.
    pub kind: CredentialKind,
}

/// What a provider gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A token of our own issuer (OpenID Connect Core §2).
    OidcToken {
        /// Its `aud`.
        audience: String,
        /// How long it lives.
        ttl: Duration,
        /// Its signature: RS256 or ES256.
        algorithm: Algorithm,
    },
}

impl CredentialKind {
    /// The same with another lifetime.
    pub(crate) fn lasting(&self, ttl: Duration) -> Self {
        match self {
            Self::OidcToken {
                audience,
                ttl: _,
                algorithm,
            } => Self::OidcToken {
                audience: audience.clone(),
                ttl,
                algorithm: *algorithm,
            },
        }
    }
}

#[derive(Clone, Copy)]
enum Type {
    OidcToken,
}

impl CredentialProvider {
    pub(super) fn lower(fields: Specification<'_, '_>, name: String) -> Option<Self> {
        let types = [("oidc-token", Type::OidcToken)];
        let Some(Type::OidcToken) = fields.required("type", |at| at.one_of(&types)) else {
            fields.leave_rest();
            return None;
        };
        let audience = fields.required("audience", audience);
        let ttl = fields.or("ttl", DEFAULT_TTL, |at| at.duration(TTL_SECONDS));
        let names = [Algorithm::Rs256, Algorithm::Es256].map(|alg| (alg.name(), alg));
        let algorithm = fields.or("algorithm", Algorithm::Rs256, |at| at.one_of(&names));
        let kind = CredentialKind::OidcToken {
            audience: audience?,
            ttl: ttl?,
            algorithm: algorithm?,
        };
        Some(Self { name, kind })
    }
}

/// Reads the audience of a token or of evidence, as issuers mint and `aud` is compared: byte by byte.
pub(super) fn audience(at: &At<'_>) -> Option<String> {
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
