//! Verifying our tokens with a library that is not ours, by the keys that our issuer publishes.

use anyhow::{Context as _, Result};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{JwkSet, KeyAlgorithm},
};
use serde_json::Value;

/// The claims of `token`, verified by `keys` (a JWKS), for `audience`, of `issuer`.
pub fn claims(token: &str, keys: &Value, issuer: &str, audience: &str) -> Result<Value> {
    let keys: JwkSet = serde_json::from_value(keys.clone())?;
    let header = decode_header(token)?;
    let kid = header.kid.context("the token names no key")?;
    let jwk = keys
        .find(&kid)
        .with_context(|| format!("no key {kid} is published"))?;
    let algorithm = match jwk.common.key_algorithm {
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        _ => Algorithm::RS256,
    };
    let mut rules = Validation::new(algorithm);
    rules.leeway = 0;
    rules.validate_nbf = true;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    Ok(decode::<Value>(token, &DecodingKey::from_jwk(jwk)?, &rules)?.claims)
}
