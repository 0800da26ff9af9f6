//! `CredentialProvider`: with which credential. It holds no secret; a field for one does not exist.

use std::time::Duration;

use attache_core::jwt::Algorithm;

use crate::document::Specification;

/// Least and longest lifetime of a token, in seconds.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 30..=86_400;
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
        let audience = fields.required("audience", |at| at.text().map(ToOwned::to_owned));
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
