//! The one implementation of the token rules (RFC 7515, 7519, 8725): from text to [`Unverified`],
//! from there by keys and rules to [`Verified`]. Compact JWS alone; no JSON serialisation, no JWE.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use crate::{
    json::{self, InvalidJson},
    jwks::{Key, KeySet},
    spiffe_id::SpiffeId,
    time::Timestamp,
};

mod algorithm;
mod rejected;
mod svid;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use rejected::RejectedToken;
pub use svid::{SvidRules, VerifiedSvid};

/// Longest token read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Last second that a NumericDate may name: the end of the year 9999. In milliseconds it is still exact.
const MAX_NUMERIC_DATE: f64 = 253_402_300_799.0;

/// Header members that name, carry or locate a key, or change what the signature means.
// SECURITY: a key that comes with the token proves nothing, and a URL in it makes us a client of
// whoever wrote it. `crit` and `b64` (RFC 7797) announce rules that are not implemented here.
const REFUSED_HEADERS: [&str; 6] = ["crit", "b64", "jku", "jwk", "x5u", "x5c"];

/// The primitive: the server's is aws-lc-rs, the filter's is its host.
pub trait VerifySignature {
    /// Whether `signature` (for ES* the fixed-length r‖s of RFC 7518 §3.4) over `input` was made with
    /// `key`. `key` fits `algorithm`.
    fn verify(&self, algorithm: Algorithm, key: &Key, input: &[u8], signature: &[u8]) -> bool;
}

/// What a token must fulfil beside its signature.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// `iss`, byte for byte.
    pub issuer: &'r str,
    /// One of `aud`, byte for byte.
    pub audience: &'r str,
    /// The algorithms allowed.
    pub algorithms: &'r [Algorithm],
    /// Longest time from `iat` (or `nbf`) to `exp`; one of the two must be there.
    pub max_lifetime: Duration,
    /// How far `nbf` and `iat` may lie ahead, for clocks that disagree. `exp` has no leeway.
    pub leeway: Duration,
}

/// A token of which only the form is known. Nothing in it may be believed.
pub struct Unverified<'t> {
    signing_input: &'t str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<String>,
    claims: Map<String, Value>,
}

impl<'t> Unverified<'t> {
    /// Reads a compact JWS (RFC 7515 §7.1) whose payload is a claims object.
    pub fn parse(token: &'t str) -> Result<Self, RejectedToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(RejectedToken::TooLarge);
        }
        let parts = || RejectedToken::Malformed("not three parts");
        let (signing_input, signature) = token.rsplit_once('.').ok_or_else(parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or_else(parts)?;
        if payload.contains('.') {
            return Err(parts());
        }
        let header = part(header, "header")?;
        let algorithm = check_header(&header)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(kid) => Some(
                kid.as_str()
                    .ok_or(RejectedToken::Malformed("kid"))?
                    .to_owned(),
            ),
        };
        let claims = part(payload, "payload")?;
        for name in ["iss", "sub"] {
            if claims.get(name).is_some_and(|value| !value.is_string()) {
                return Err(RejectedToken::ClaimMalformed(name));
            }
        }
        let signature = Base64UrlUnpadded::decode_vec(signature)
            .map_err(|_position| RejectedToken::Malformed("signature"))?;
        Ok(Self {
            signing_input,
            signature,
            algorithm,
            key_id,
            claims,
        })
    }

    /// The `iss` it claims: good for finding the provider whose keys may prove it, for nothing else.
    pub fn issuer(&self) -> Option<&str> {
        text(&self.claims, "iss")
    }

    /// The `alg` of its header.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` of its header.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The key of a set that [`Self::verify`] would take; what it proves is not asked.
    pub fn key<'k>(&self, keys: &'k KeySet) -> Result<&'k Key, RejectedToken> {
        select(keys, self.key_id(), self.algorithm)
    }

    /// What finds its provider and its key, for those who remember the token: its text says the same each time.
    pub fn claimed(&self) -> Claimed {
        Claimed {
            issuer: self.issuer().map(ToOwned::to_owned),
            spiffe_id: self.claimed_spiffe_id(),
            algorithm: self.algorithm,
            key_id: self.key_id.clone(),
        }
    }

    /// What it claims, proven by nothing.
    ///
    /// SECURITY: for telling a person what a token says; clippy's `disallowed-methods` lets only that use
    /// of it through.
    pub const fn unproven_claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Holds the token against keys and rules; the first rule it breaks is the answer.
    pub fn verify(
        &self,
        keys: &KeySet,
        rules: &Rules<'_>,
        verifier: &impl VerifySignature,
        now: Timestamp,
    ) -> Result<Verified, RejectedToken> {
        // SECURITY: compare the issuer before looking up the key; a kid is unique only within its issuer.
        if self.issuer().ok_or(RejectedToken::ClaimMissing("iss"))? != rules.issuer {
            return Err(RejectedToken::IssuerMismatch);
        }
        self.check_signature(keys, rules.algorithms, verifier)?;
        let validity = Validity::read(&self.claims, rules.leeway)?;
        validity.holds_at(now)?;
        // SECURITY: without a beginning, a token of ten years would pass on its last day.
        let start = validity.start().ok_or(RejectedToken::ClaimMissing("iat"))?;
        validity.check_lifetime(start, rules.max_lifetime)?;
        check_audience(&self.claims, rules.audience)?;
        let claims = self.claims.clone();
        Ok(Verified { claims, validity })
    }

    fn check_signature(
        &self,
        keys: &KeySet,
        algorithms: &[Algorithm],
        verifier: &impl VerifySignature,
    ) -> Result<(), RejectedToken> {
        if !algorithms.contains(&self.algorithm) {
            return Err(RejectedToken::AlgorithmNotAllowed);
        }
        let key = select(keys, self.key_id(), self.algorithm)?;
        let input = self.signing_input.as_bytes();
        if !verifier.verify(self.algorithm, key, input, &self.signature) {
            return Err(RejectedToken::SignatureInvalid);
        }
        Ok(())
    }
}

/// What a token says of itself that finds the provider and the key which may prove it: good for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    issuer: Option<String>,
    spiffe_id: Result<SpiffeId, RejectedToken>,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Claimed {
    /// [`Unverified::issuer`].
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// [`Unverified::claimed_spiffe_id`].
    pub const fn spiffe_id(&self) -> Result<&SpiffeId, &RejectedToken> {
        self.spiffe_id.as_ref()
    }

    /// [`Unverified::key`].
    pub fn key<'k>(&self, keys: &'k KeySet) -> Result<&'k Key, RejectedToken> {
        select(keys, self.key_id.as_deref(), self.algorithm)
    }

    /// About how many bytes its texts take.
    pub fn length(&self) -> usize {
        let id = self.spiffe_id.as_ref().ok().map(SpiffeId::as_str);
        let texts = [self.issuer(), id, self.key_id.as_deref()];
        let lengths = texts.into_iter().flatten().map(str::len);
        lengths.fold(0, usize::saturating_add)
    }
}

/// A token that an issuer's key and all rules vouch for.
pub struct Verified {
    claims: Map<String, Value>,
    validity: Validity,
}

impl Verified {
    /// All claims.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        text(&self.claims, "sub")
    }

    /// `exp`: the first moment at which the token is no longer accepted.
    pub const fn expires_at(&self) -> Timestamp {
        self.validity.expires_at
    }

    /// `iat`.
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.validity.issued_at
    }

    /// When it is accepted, for those who remember that it was verified.
    pub const fn validity(&self) -> Validity {
        self.validity
    }
}

/// When a verified token, or a verified certificate, is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    expires_at: Timestamp,
    not_before: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    leeway: Duration,
}

impl Validity {
    /// From `not_before` until `expires_at`, without leeway: the window of a certificate's path.
    pub const fn window(not_before: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            expires_at,
            not_before: Some(not_before),
            issued_at: None,
            leeway: Duration::ZERO,
        }
    }

    /// The first moment at which it is no longer accepted.
    pub const fn expires_at(self) -> Timestamp {
        self.expires_at
    }

    fn read(claims: &Map<String, Value>, leeway: Duration) -> Result<Self, RejectedToken> {
        Ok(Self {
            expires_at: numeric_date(claims, "exp")?.ok_or(RejectedToken::ClaimMissing("exp"))?,
            not_before: numeric_date(claims, "nbf")?,
            issued_at: numeric_date(claims, "iat")?,
            leeway,
        })
    }

    /// Whether the token is good at `now`, which may lie before the moment it was verified.
    pub fn holds_at(self, now: Timestamp) -> Result<(), RejectedToken> {
        if now >= self.expires_at {
            return Err(RejectedToken::Expired);
        }
        let soon = now.plus(self.leeway);
        if [self.not_before, self.issued_at]
            .into_iter()
            .flatten()
            .any(|start| start > soon)
        {
            return Err(RejectedToken::NotYetValid);
        }
        Ok(())
    }

    /// When its life begins: `iat`, or else `nbf`.
    fn start(self) -> Option<Timestamp> {
        self.issued_at.or(self.not_before)
    }

    fn check_lifetime(self, start: Timestamp, most: Duration) -> Result<(), RejectedToken> {
        if self.expires_at.since(start) > most {
            return Err(RejectedToken::LivesTooLong);
        }
        Ok(())
    }
}

fn part(encoded: &str, name: &'static str) -> Result<Map<String, Value>, RejectedToken> {
    let bytes = Base64UrlUnpadded::decode_vec(encoded)
        .map_err(|_position| RejectedToken::Malformed(name))?;
    json::object(&bytes).map_err(|invalid| match invalid {
        InvalidJson::DuplicateMember => RejectedToken::Malformed("a member stands twice"),
        InvalidJson::Syntax | InvalidJson::TooDeep | InvalidJson::NotAnObject => {
            RejectedToken::Malformed(name)
        }
    })
}

/// Everything about the header but its `kid`; the answer is its `alg`.
fn check_header(header: &Map<String, Value>) -> Result<Algorithm, RejectedToken> {
    if let Some(name) = REFUSED_HEADERS
        .into_iter()
        .find(|name| header.contains_key(*name))
    {
        return Err(RejectedToken::HeaderNotAllowed(name));
    }
    // SECURITY: a token of another profile (`at+jwt`, `wit+jwt`) is no evidence (RFC 8725 §3.11).
    if header
        .get("typ")
        .is_some_and(|typ| typ != "JWT" && typ != "JOSE")
    {
        return Err(RejectedToken::HeaderNotAllowed("typ"));
    }
    let name = text(header, "alg").ok_or(RejectedToken::Malformed("alg"))?;
    Algorithm::from_name(name).ok_or(RejectedToken::AlgorithmNotAllowed)
}

/// The one key that may have signed: the one of that `kid`, or without a `kid` the only one that
/// fits. Trying several keys would let a token choose.
fn select<'k>(
    keys: &'k KeySet,
    key_id: Option<&str>,
    algorithm: Algorithm,
) -> Result<&'k Key, RejectedToken> {
    let named = |key: &&Key| key_id.is_none() || key.key_id() == key_id;
    let mut fitting = keys
        .keys()
        .iter()
        .filter(named)
        .filter(|key| key.fits(algorithm));
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        (None, _) if key_id.is_some() && keys.keys().iter().any(|key| named(&key)) => {
            Err(RejectedToken::KeyMismatch)
        }
        (None, _) | (Some(_), Some(_)) => Err(RejectedToken::UnknownKey),
    }
}

/// RFC 7519 §4.1.3: a string or an array of strings. An empty array is meant for nobody.
fn check_audience(claims: &Map<String, Value>, ours: &str) -> Result<(), RejectedToken> {
    let found = match claims.get("aud") {
        None => return Err(RejectedToken::ClaimMissing("aud")),
        Some(Value::String(audience)) => audience == ours,
        Some(Value::Array(audiences))
            if !audiences.is_empty() && audiences.iter().all(Value::is_string) =>
        {
            audiences.iter().any(|audience| audience == ours)
        }
        Some(_) => return Err(RejectedToken::ClaimMalformed("aud")),
    };
    if found {
        Ok(())
    } else {
        Err(RejectedToken::AudienceMismatch)
    }
}

/// RFC 7519 §2, NumericDate: seconds, possibly with a fraction, from 1970 to 9999. Any other
/// number (negative, `1e300`) is malformed, and never wraps.
fn numeric_date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, RejectedToken> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().filter(|_| value.is_number());
    let in_range = |seconds: &f64| (0.0..=MAX_NUMERIC_DATE).contains(seconds);
    let seconds = seconds
        .filter(in_range)
        .ok_or(RejectedToken::ClaimMalformed(name))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in range; a fraction of a millisecond is cut"
    )]
    let millis = (seconds * 1000.0) as i64;
    Ok(Some(Timestamp::from_millis(millis)))
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}
