//! SPIFFE bundles (SPIFFE Trust Domain and Bundle §4): the keys and certificates that vouch for the SVIDs of
//! one trust domain, and why the others of a document do not. A bundle does not say of which trust domain
//! it is; whoever reads it knows.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    jwks::{self, Ignored, InvalidKeySet, KeySet, KeyUse, UnusableKey},
    spiffe_id::TrustDomain,
};

#[cfg(test)]
mod tests;

/// The member that makes a document a map of bundles by trust domain.
const TRUST_DOMAINS: &str = "trust_domains";

/// Why a whole bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidBundle {
    /// No JWK Set of acceptable size and form, or one that publishes private keys.
    #[error("the bundle is refused: {0}")]
    KeySet(#[from] InvalidKeySet),
    /// §4.1.1: an integer, here of 64 bits and not negative.
    #[error("its `spiffe_sequence` is not an integer of 64 bits")]
    Sequence,
    /// §4.1.2: whole seconds.
    #[error("its `spiffe_refresh_hint` is not an integer of seconds")]
    RefreshHint,
    /// A map of bundles has none for this trust domain.
    #[error("the document is a map of bundles and has none for the trust domain `{0}`")]
    TrustDomainMissing(String),
    /// A map of bundles and a bundle in one.
    #[error(
        "the document has both `keys` and `trust_domains`; it must be one bundle or a map of them"
    )]
    Ambiguous,
}

impl InvalidBundle {
    /// Whether a key of the bundle is nobody's secret any more, so that what was held of it must go, too.
    pub const fn publishes_private_key(&self) -> bool {
        matches!(self, Self::KeySet(invalid) if invalid.publishes_private_key())
    }
}

/// The bundle of one trust domain. By default it is empty: nothing of that domain is trusted then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    jwt_keys: KeySet,
    x509_authorities: Vec<Vec<u8>>,
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
}

impl Bundle {
    /// Reads the bundle of `trust_domain`: a JWK Set, or the entry of that name in a map of them
    /// (`{"trust_domains": {"example.org": {"keys": […]}}}`).
    ///
    /// Entries of an unknown `kty` or `use` are ignored one by one (§4.1.3, §4.2); a document that is
    /// malformed as a whole or publishes private keys is refused.
    pub fn parse(trust_domain: &TrustDomain, bytes: &[u8]) -> Result<Self, InvalidBundle> {
        let document = jwks::document(bytes)?;
        match (document.get(TRUST_DOMAINS), document.get("keys")) {
            (Some(_), Some(_)) => Err(InvalidBundle::Ambiguous),
            (None, _) => Self::read(&document),
            (Some(map), None) => {
                let name = trust_domain.as_str();
                let bundle = map.as_object().and_then(|map| map.get(name)?.as_object());
                let missing = || InvalidBundle::TrustDomainMissing(name.to_string());
                Self::read(bundle.ok_or_else(missing)?)
            }
        }
    }

    fn read(document: &Map<String, Value>) -> Result<Self, InvalidBundle> {
        // SECURITY: first, for a private key among them is worse than all else.
        let entries = jwks::entries(document)?;
        let number = |name, invalid| match document.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(invalid),
        };
        let sequence = number("spiffe_sequence", InvalidBundle::Sequence)?;
        let refresh_hint = number("spiffe_refresh_hint", InvalidBundle::RefreshHint)?;
        let mut bundle = Self {
            sequence,
            refresh_hint: refresh_hint.map(Duration::from_secs),
            ..Self::default()
        };
        for (index, jwk) in entries.into_iter().enumerate() {
            bundle.add(index, jwk);
        }
        Ok(bundle)
    }

    /// §4.2.2: `use` says for which kind of SVID an entry is; its case counts.
    fn add(&mut self, index: usize, jwk: &Map<String, Value>) {
        match jwk.get("use").and_then(Value::as_str) {
            Some("jwt-svid") => self.jwt_keys.add(KeyUse::JwtSvid, index, jwk),
            Some("x509-svid") => match authority(jwk) {
                Ok(certificate) => self.x509_authorities.push(certificate),
                Err(reason) => self.jwt_keys.ignore(index, jwk, reason),
            },
            Some(_) | None => self.jwt_keys.ignore(index, jwk, UnusableKey::SvidUse),
        }
    }

    /// The `jwt-svid` keys, each with a `kid`.
    pub const fn jwt_keys(&self) -> &KeySet {
        &self.jwt_keys
    }

    /// The `x509-svid` certificates in DER, none of which is parsed yet.
    pub fn x509_authorities(&self) -> &[Vec<u8>] {
        &self.x509_authorities
    }

    /// The entries of the document that are of no use here, and why.
    pub fn ignored(&self) -> &[Ignored] {
        self.jwt_keys.ignored()
    }

    /// `spiffe_sequence`: grows with every change (§4.1.1).
    pub const fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// `spiffe_refresh_hint`: how often to look for a newer one (§4.1.2).
    pub const fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }
}

/// X509-SVID §6.2: the certificate is the first value of `x5c`; all others, and the key beside it, are not read.
fn authority(jwk: &Map<String, Value>) -> Result<Vec<u8>, UnusableKey> {
    // §4.2.1: an entry of an unknown key type is ignored, whatever else it holds.
    let kty = jwk.get("kty").and_then(Value::as_str);
    if !matches!(kty, Some("RSA" | "EC")) {
        return Err(UnusableKey::KeyType);
    }
    let first = jwk.get("x5c").and_then(Value::as_array);
    let first = first.and_then(|values| values.first()?.as_str());
    let malformed = UnusableKey::Malformed("x5c");
    // RFC 7517 §4.7: base64, not base64url.
    Base64::decode_vec(first.ok_or(malformed)?).map_err(|_position| malformed)
}
