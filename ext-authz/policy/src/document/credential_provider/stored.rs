//! Providers of stored secrets: `api-key`, `username-password`, `static-headers`.

use attache_core::header::HeaderName;

use crate::{
    document::{Carrier, Form, Part, Placement, SecretReference, Specification, server_workload},
    problem::{Code, quoted, secret},
    yaml::At,
};

/// Most headers that one provider gives.
const MAX_HEADERS: usize = 16;
/// Longest user name and longest plain value of a header, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// One stored secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiKey {
    /// Where it is.
    pub key: SecretReference,
}

/// A stored user name with its password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UsernamePassword {
    /// The user name.
    pub username: Username,
    /// The password; `None` is the empty one, of services that take a key as user name.
    pub password: Option<SecretReference>,
}

/// A user name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Username {
    /// One that is no secret.
    Plain(String),
    /// One that is.
    Stored(SecretReference),
}

/// Headers that a target asks for, each with its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticHeaders {
    /// In order; never empty, and each name once.
    pub headers: Vec<StaticHeader>,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticHeader {
    /// Its name.
    pub name: HeaderName,
    /// What stands before the value.
    pub prefix: String,
    /// Its value.
    pub value: HeaderValue,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderValue {
    /// One that is no secret, such as the number of an account.
    Plain(String),
    /// A secret.
    Stored(SecretReference),
}

impl ApiKey {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let key = fields.required("key", SecretReference::lower)?;
        Some(Self { key })
    }
}

impl UsernamePassword {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let plain = fields.optional("username", username);
        let stored = fields.optional("usernameFrom", SecretReference::lower);
        let password = fields.optional("password", SecretReference::lower);
        let (plain, stored, password) = (plain?, stored?, password?);
        let refuse = |message: &str, way_out: &str| {
            let at = fields.at();
            at.refuse_with(Code::ConflictingFields, message, way_out)
        };
        let username = match (plain, stored) {
            (Some(plain), None) if password.is_none() => {
                let _ = plain;
                return refuse(
                    "a user name that everybody can read needs a password",
                    "add `password`, or say by `usernameFrom` where the secret user name is",
                );
            }
            (Some(plain), None) => Username::Plain(plain),
            (None, Some(stored)) => Username::Stored(stored),
            (None, None) | (Some(_), Some(_)) => {
                return refuse(
                    "exactly one of `username` and `usernameFrom` says who logs in",
                    "write the user name, or where it is if it is secret",
                );
            }
        };
        Some(Self { username, password })
    }

    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        let username = match &self.username {
            Username::Plain(_) => None,
            Username::Stored(reference) => Some(reference),
        };
        username.into_iter().chain(&self.password).collect()
    }
}

/// RFC 7617 §2: no colon, for it ends the user name, and no control characters.
fn username(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let refused = text.contains(':') || text.chars().any(char::is_control);
    if refused || text.len() > MAX_TEXT_BYTES {
        let message = format!("{} cannot be a user name", quoted(text));
        let way_out = "write it without `:` and control characters, in at most 1024 bytes";
        return at.refuse_with(Code::InvalidValue, message, way_out);
    }
    Some(text.to_owned())
}

impl StaticHeaders {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let at = fields.required("headers", |at| Some(at.clone()))?;
        let headers = at.some_list(StaticHeader::lower)?;
        if headers.len() > MAX_HEADERS {
            let message = format!("{} headers", headers.len());
            let way_out = format!("write at most {MAX_HEADERS}");
            return at.refuse_with(Code::OutOfRange, message, way_out);
        }
        let twice = headers.iter().enumerate().find(|(place, header)| {
            let mut before = headers.iter().take(*place);
            before.any(|earlier| earlier.name == header.name)
        });
        if let Some((_, header)) = twice {
            let message = format!("the header {} stands twice", quoted(header.name.as_str()));
            return at.refuse_with(Code::DuplicateName, message, "keep one of them");
        }
        Some(Self { headers })
    }

    /// Where its values go.
    pub(crate) fn placements(&self) -> Vec<Placement> {
        let placed = self.headers.iter().map(|header| Placement {
            carrier: Carrier::Header(header.name.clone()),
            form: Form::Plain {
                prefix: header.prefix.clone(),
                part: Part::Header(header.name.clone()),
            },
        });
        placed.collect()
    }

    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        let stored = self
            .headers
            .iter()
            .filter_map(|header| match &header.value {
                HeaderValue::Plain(_) => None,
                HeaderValue::Stored(reference) => Some(reference),
            });
        stored.collect()
    }
}

impl StaticHeader {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let name = fields.required("name", server_workload::carrier);
        let prefix = fields.or("prefix", String::new(), server_workload::prefix);
        let stored = fields.optional("value", SecretReference::lower);
        let plain = fields.optional("text", |at| {
            // SECURITY: what such a header holds is a secret, whatever its author says.
            if name.as_ref().is_some_and(holds_secret) {
                return refuse_literal(at);
            }
            plain_value(at)
        });
        let value = match (stored?, plain?) {
            (Some(stored), None) => HeaderValue::Stored(stored),
            (None, Some(plain)) => HeaderValue::Plain(plain),
            (None, None) | (Some(_), Some(_)) => {
                let message = "exactly one of `value` and `text` says what the header holds";
                let way_out = "write `value` with a reference to a secret, or `text` if it is none";
                return at.refuse_with(Code::ConflictingFields, message, way_out);
            }
        };
        Some(Self {
            name: name?,
            prefix: prefix?,
            value,
        })
    }
}

fn holds_secret(header: &HeaderName) -> bool {
    let of_logins = ["authorization", "proxy-authorization", "cookie"];
    of_logins.contains(&header.as_str()) || secret::is_secret_name(header.as_str())
}

fn refuse_literal<T>(at: &At<'_>) -> Option<T> {
    let message = "a secret stands in the file";
    let way_out = "write `value` with a reference to it, such as file:secrets/name";
    at.refuse_with(Code::LiteralSecret, message, way_out)
}

fn plain_value(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if text.len() <= MAX_TEXT_BYTES && attache_core::header::is_header_value(text) {
        return Some(text.to_owned());
    }
    let message = format!("{} cannot stand in a header", quoted(text));
    let way_out = "write visible ASCII of at most 1024 bytes";
    at.refuse_with(Code::InvalidHeader, message, way_out)
}
