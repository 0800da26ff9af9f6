//! What the tokens of known platforms prove, by the tables of `attache_core::attributes::presets`: what a
//! table does not name is no attribute.

use attache_core::{
    attestation::ProviderKind,
    attributes::{
        AttributeValue, Attributes,
        presets::{AWS_CLAIM, Form, Mapped},
    },
    jwt::RejectedToken,
};
use serde_json::{Map, Value};

/// Most members of one family: tags, custom properties.
const MAX_FAMILY: usize = 128;

/// The attributes of a token of a platform.
pub(crate) fn attributes(
    kind: ProviderKind,
    claims: &Map<String, Value>,
) -> Result<Attributes, RejectedToken> {
    let nested = kind == ProviderKind::AwsLambdaOidc;
    let inner = nested.then(|| object(claims, AWS_CLAIM)).transpose()?;
    let mut attributes = Attributes::new();
    for row in kind.mapped() {
        // AWS keeps all but the registered claims in an object of its own.
        let members = inner.filter(|_| row.claim != "sub").unwrap_or(claims);
        read(&mut attributes, row, members)?;
    }
    Ok(attributes)
}

fn read(
    attributes: &mut Attributes,
    row: &Mapped,
    claims: &Map<String, Value>,
) -> Result<(), RejectedToken> {
    match row.form {
        Form::One => {
            if let Some(value) = present(claims, row.claim) {
                attributes.set(row.attribute, &text(row, value)?);
            }
        }
        Form::List => {
            if let Some(value) = present(claims, row.claim) {
                attributes.insert(row.attribute, list(row, value)?);
            }
        }
        Form::Members => {
            if let Some(value) = present(claims, row.claim) {
                let members = value.as_object().ok_or(malformed(row))?;
                let members = members.iter().map(|(name, value)| (name.as_str(), value));
                family(attributes, row, members)?;
            }
        }
        Form::Prefixed => {
            let members = claims
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix(row.claim)?, value)));
            family(attributes, row, members)?;
        }
    }
    Ok(())
}

fn family<'c>(
    attributes: &mut Attributes,
    row: &Mapped,
    members: impl Iterator<Item = (&'c str, &'c Value)>,
) -> Result<(), RejectedToken> {
    for (count, (name, value)) in members.enumerate() {
        // SECURITY: what does not fit is refused, not left out: a policy that denies by it would miss it.
        if name.is_empty() || count >= MAX_FAMILY {
            return Err(malformed(row));
        }
        if !value.is_null() {
            let name = format!("{}{name}", row.attribute);
            attributes.insert(name, list(row, value)?);
        }
    }
    Ok(())
}

/// A claim that is `null` or empty says nothing: GitHub writes `"environment": ""` where there is none.
fn present<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let value = claims.get(name)?;
    let nothing = value.is_null() || value.as_str().is_some_and(str::is_empty);
    (!nothing).then_some(value)
}

fn text(row: &Mapped, value: &Value) -> Result<String, RejectedToken> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(malformed(row)),
    }
}

fn list(row: &Mapped, value: &Value) -> Result<AttributeValue, RejectedToken> {
    let Some(items) = value.as_array() else {
        return text(row, value).map(AttributeValue::one);
    };
    let texts: Result<Vec<_>, _> = items.iter().map(|item| text(row, item)).collect();
    texts.map(AttributeValue::many)
}

fn object<'c>(
    claims: &'c Map<String, Value>,
    name: &'static str,
) -> Result<&'c Map<String, Value>, RejectedToken> {
    let value = claims.get(name).ok_or(RejectedToken::ClaimMissing(name))?;
    value.as_object().ok_or(RejectedToken::ClaimMalformed(name))
}

const fn malformed(row: &Mapped) -> RejectedToken {
    RejectedToken::ClaimMalformed(row.claim)
}
