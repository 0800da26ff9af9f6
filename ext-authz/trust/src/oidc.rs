//! What an ID token of any issuer proves: its subject, and its claims under `claims.*` alone.

use std::fmt::Write as _;

use attache_core::{
    attributes::{AttributeValue, Attributes},
    jwt::RejectedToken,
    spiffe_id::{SpiffeId, TrustDomain},
};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};

/// Most attributes that one token may bring.
const MAX_ATTRIBUTES: usize = 256;
/// How deep objects may nest below the claims.
pub(crate) const MAX_DEPTH: u8 = 8;
/// SECURITY: what does not fit is refused, not left out: a policy that denies by a claim would miss it.
const TOO_MUCH: RejectedToken = RejectedToken::ClaimMalformed("claims");

/// The token's claims.
pub(crate) fn attributes(claims: &Map<String, Value>) -> Result<Attributes, RejectedToken> {
    if claims.get("sub").and_then(Value::as_str).is_none() {
        return Err(RejectedToken::ClaimMissing("sub"));
    }
    let mut attributes = Attributes::new();
    flatten(&mut attributes, "claims", claims, MAX_DEPTH)?;
    Ok(attributes)
}

/// `…/oidc/<provider>/sub/<sub>`, or `…/sha256/<hex>` for a subject that cannot be one segment. No two
/// subjects of one provider, and no two providers, share an ID.
pub(crate) fn spiffe_id(
    trust_domain: &TrustDomain,
    provider: &str,
    subject: &str,
) -> Result<SpiffeId, RejectedToken> {
    if subject.is_empty() {
        return Err(RejectedToken::ClaimMalformed("sub"));
    }
    let of = |form: &str, last: &str| {
        let segments = ["oidc"]
            .into_iter()
            .chain(provider.split('/'))
            .chain([form, last]);
        SpiffeId::of(trust_domain, segments)
    };
    of("sub", subject)
        .or_else(|_not_one_segment| of("sha256", &sha256(subject)))
        .map_err(|_never_for_a_checked_name| RejectedToken::ClaimMalformed("sub"))
}

fn sha256(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Strings, numbers and booleans as text, arrays of them as lists, members of objects behind a dot. `null` and
/// arrays of anything else are no attributes.
pub(crate) fn flatten(
    attributes: &mut Attributes,
    prefix: &str,
    members: &Map<String, Value>,
    depth_left: u8,
) -> Result<(), RejectedToken> {
    let depth_left = depth_left.checked_sub(1).ok_or(TOO_MUCH)?;
    for (member, value) in members {
        let name = format!("{prefix}.{member}");
        let value = match value {
            Value::Object(inner) => {
                flatten(attributes, &name, inner, depth_left)?;
                continue;
            }
            Value::String(text) => AttributeValue::one(text),
            Value::Number(number) => AttributeValue::one(number.to_string()),
            Value::Bool(truth) => AttributeValue::one(truth.to_string()),
            Value::Array(items) => match list(items)? {
                Some(texts) => AttributeValue::many(texts),
                None => continue,
            },
            Value::Null => continue,
        };
        // SECURITY: `{"a.b": …}` beside `{"a": {"b": …}}` would be one attribute with two values.
        let taken = attributes.value(&name).is_some();
        if taken || attributes.iter().count() >= MAX_ATTRIBUTES {
            return Err(TOO_MUCH);
        }
        attributes.insert(name, value);
    }
    Ok(())
}

/// The texts of an array; `None` if it holds none.
///
/// SECURITY: a token with an array that can be read in part is refused. Left out, it would escape a policy that
/// denies one of its values.
fn list(items: &[Value]) -> Result<Option<Vec<String>>, RejectedToken> {
    let text = |item: &Value| match item {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let texts: Vec<String> = items.iter().filter_map(text).collect();
    match texts.len() {
        count if count == items.len() => Ok(Some(texts)),
        0 => Ok(None),
        _ => Err(TOO_MUCH),
    }
}
