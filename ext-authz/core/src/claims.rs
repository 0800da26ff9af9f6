//! The claims that a policy gives to a token beside the registered ones: texts with attributes of the
//! caller in braces, `{k8s.namespace}`, so that edge and issuer make the same claims of one attestation.

use alloc::{borrow::ToOwned, collections::BTreeMap, string::String, vec::Vec};

use serde::Serialize;
use thiserror::Error;

use crate::{
    attestation::Attestation,
    attributes::{AttributeValue, SPIFFE_ID},
};

#[cfg(test)]
mod tests;

/// Most claims that one token gets.
pub const MAX_CLAIMS: usize = 32;
/// Longest name of a claim, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest template of a claim, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 1024;
/// Longest value of a claim, in bytes, so that the token still fits into a header.
pub const MAX_VALUE_BYTES: usize = 2048;

/// SECURITY: the claims that say who a token is about, for whom, how long, under which proof, and what kind
/// of token it is (RFC 7519 §4.1; RFC 7800 §3.1; RFC 8693 §4; RFC 9493 §3; RFC 8417 §2.2; OpenID Connect Core §2, §3.3.2.11
/// and §7.4, Back-Channel Logout §2.4). A policy that could write one of them could speak for someone else.
pub const RESERVED: [&str; 22] = [
    "acr",
    "act",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "azp",
    "c_hash",
    "client_id",
    "cnf",
    "events",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "nonce",
    "sid",
    "sub",
    "sub_id",
    "sub_jwk",
];

/// Claims by name, each a template. A policy document has them from [`CustomClaims::of`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CustomClaims(BTreeMap<String, Template>);

/// A text with attributes of the caller in braces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(String),
    Attribute(String),
}

/// What the claims of one token say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RenderedClaims(BTreeMap<String, AttributeValue>);

/// Why a name cannot be the one of a custom claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidClaimName {
    /// It is a registered claim, which only the issuer sets.
    #[error("the issuer alone sets it")]
    Reserved,
    /// Not 1 to [`MAX_NAME_BYTES`] of visible ASCII.
    #[error("a claim's name is 1 to {MAX_NAME_BYTES} visible ASCII characters")]
    Malformed,
}

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    /// Longer than [`MAX_TEMPLATE_BYTES`].
    #[error("it is longer than {MAX_TEMPLATE_BYTES} bytes")]
    TooLong,
    /// A `{` without its `}`, a `}` without its `{`, or nothing between them.
    #[error("its braces do not enclose attributes")]
    Braces,
    /// A control character.
    #[error("it has a control character")]
    Control,
}

/// A claim cannot be made of this caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnavailableClaim {
    /// The attribute is not proven of the caller.
    #[error("{claim}: the attribute {attribute} is not proven of this caller")]
    Unproven {
        /// The claim.
        claim: String,
        /// The attribute.
        attribute: String,
    },
    /// The attribute has several values and stands within a text.
    #[error("{claim}: the attribute {attribute} has several values and cannot stand within a text")]
    Several {
        /// The claim.
        claim: String,
        /// The attribute.
        attribute: String,
    },
    /// The attribute stands in a path, and would be more or less than a part of one segment.
    #[error("{claim}: the attribute {attribute} has a value that cannot stand in a path")]
    NotASegment {
        /// The claim.
        claim: String,
        /// The attribute.
        attribute: String,
    },
    /// Longer than [`MAX_VALUE_BYTES`].
    #[error("{claim}: its value is longer than {MAX_VALUE_BYTES} bytes")]
    TooLong {
        /// The claim.
        claim: String,
    },
}

/// Whether a policy may set a claim of that name.
pub fn check_name(name: &str) -> Result<(), InvalidClaimName> {
    // SECURITY: some JSON decoders read `Sub` as `sub`, and the later of the two wins.
    let is_reserved = |reserved: &&str| reserved.eq_ignore_ascii_case(name);
    if RESERVED.iter().any(is_reserved) {
        return Err(InvalidClaimName::Reserved);
    }
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !visible {
        return Err(InvalidClaimName::Malformed);
    }
    Ok(())
}

impl CustomClaims {
    /// These claims. SECURITY: a reserved or malformed name is refused here too, whatever checked before.
    pub fn of(
        claims: impl IntoIterator<Item = (String, Template)>,
    ) -> Result<Self, InvalidClaimName> {
        let claims: BTreeMap<String, Template> = claims.into_iter().collect();
        claims.keys().try_for_each(|name| check_name(name))?;
        Ok(Self(claims))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the claims.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The attributes that the claims read; one that several read comes several times.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(Template::attributes)
    }

    /// The claims of a token for whom `attestation` proves. One that cannot be made is never left out: its
    /// target may take a token without it for one that may do more.
    pub fn render(&self, attestation: &Attestation) -> Result<RenderedClaims, UnavailableClaim> {
        let claims = self.0.iter();
        claims
            .map(|(name, template)| Ok((name.clone(), template.render(name, attestation)?)))
            .collect::<Result<_, _>>()
            .map(RenderedClaims)
    }
}

impl RenderedClaims {
    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Template {
    /// Reads a text: `{attribute}` stands for its value, `{{` and `}}` for a brace.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(InvalidTemplate::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidTemplate::Control);
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, brace, after)) = split_at_brace(rest) {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push(brace);
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').ok_or(InvalidTemplate::Braces)?;
            if brace == '}' || name.is_empty() || name.contains('{') {
                return Err(InvalidTemplate::Braces);
            }
            if !plain.is_empty() {
                parts.push(Part::Text(core::mem::take(&mut plain)));
            }
            parts.push(Part::Attribute(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The attributes that it reads.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Attribute(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text for whom `attestation` proves; `field` is what messages call it. An attribute that is not proven,
    /// or has several values, makes no text.
    pub fn text(&self, field: &str, attestation: &Attestation) -> Result<String, UnavailableClaim> {
        match self.render(field, attestation)? {
            AttributeValue::One(text) => Ok(text.into_string()),
            AttributeValue::Many(_) => Err(UnavailableClaim::Several {
                claim: field.to_owned(),
                attribute: self.attributes().next().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// The same for a text that is a path, or a segment of one. SECURITY: no attribute brings a `/` or a segment
    /// that leads elsewhere, so that nobody reaches more of a tree than the text says.
    pub fn path(&self, field: &str, attestation: &Attestation) -> Result<String, UnavailableClaim> {
        for attribute in self.attributes() {
            let value = proven(field, attribute, attestation)?;
            let stays = |text: &str| {
                let within = |byte: u8| byte.is_ascii_graphic() && !b"/\\?#%".contains(&byte);
                text.bytes().any(|byte| byte != b'.') && text.bytes().all(within)
            };
            if !matches!(&value, AttributeValue::One(text) if stays(text)) {
                return Err(UnavailableClaim::NotASegment {
                    claim: field.to_owned(),
                    attribute: attribute.to_owned(),
                });
            }
        }
        self.text(field, attestation)
    }

    /// Whether it reads no attribute.
    pub fn is_plain(&self) -> bool {
        self.attributes().next().is_none()
    }

    fn render(
        &self,
        claim: &str,
        attestation: &Attestation,
    ) -> Result<AttributeValue, UnavailableClaim> {
        let value = match self.0.as_slice() {
            // Alone, an attribute keeps its form: a list stays a list.
            [Part::Attribute(name)] => proven(claim, name, attestation)?,
            parts => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Attribute(name) => match proven(claim, name, attestation)? {
                            AttributeValue::One(value) => text.push_str(&value),
                            AttributeValue::Many(_) => {
                                return Err(UnavailableClaim::Several {
                                    claim: claim.to_owned(),
                                    attribute: name.clone(),
                                });
                            }
                        },
                    }
                }
                AttributeValue::One(text.into())
            }
        };
        let bytes = match &value {
            AttributeValue::One(text) => text.len(),
            AttributeValue::Many(texts) => texts
                .iter()
                .fold(0, |sum: usize, text| sum.saturating_add(text.len())),
        };
        if bytes > MAX_VALUE_BYTES {
            let claim = claim.to_owned();
            return Err(UnavailableClaim::TooLong { claim });
        }
        Ok(value)
    }
}

/// What stands before the first brace, the brace, and what stands behind it.
fn split_at_brace(text: &str) -> Option<(&str, char, &str)> {
    let at = text.find(['{', '}'])?;
    let (before, rest) = text.split_at_checked(at)?;
    let brace = rest.chars().next()?;
    Some((before, brace, rest.get(brace.len_utf8()..)?))
}

fn proven(
    claim: &str,
    attribute: &str,
    attestation: &Attestation,
) -> Result<AttributeValue, UnavailableClaim> {
    // SECURITY: the SPIFFE ID is the attestation's own, whatever attributes it carries.
    if attribute == SPIFFE_ID {
        return Ok(AttributeValue::One(attestation.spiffe_id().as_str().into()));
    }
    let value = attestation.attributes().value(attribute).cloned();
    value.ok_or_else(|| UnavailableClaim::Unproven {
        claim: claim.to_owned(),
        attribute: attribute.to_owned(),
    })
}
