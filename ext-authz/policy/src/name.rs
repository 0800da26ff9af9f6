//! Names of documents, and references by name: a namespaced document refers to its own namespace first
//! and then to global documents; `namespace/name` is explicit.

use std::fmt;

use crate::{
    problem::{Code, Place, Spot, quoted},
    yaml::{At, FixedPath},
};

/// Longest namespace, in bytes (RFC 1123 label).
const MAX_LABEL_BYTES: usize = 63;
/// Longest name, in bytes (RFC 1123 subdomain).
const MAX_NAME_BYTES: usize = 253;

/// A document's name with its namespace: `production/payment-service`, or `payment-to-stripe` if it is
/// global.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// `None` is global.
    pub namespace: Option<String>,
    /// Unique in its namespace and kind.
    pub name: String,
}

impl QualifiedName {
    /// Of the name in its text form.
    pub(crate) fn of_text(text: &str) -> Self {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        Self {
            namespace,
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A name as one document writes another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Written as `namespace/`.
    pub(crate) namespace: Option<Box<str>>,
    pub(crate) name: Box<str>,
    spot: Spot,
    path: FixedPath,
}

impl Reference {
    /// Where it stands, in the document that messages call `label`.
    pub(crate) fn place(&self, label: &str) -> Place {
        self.spot.place(match &self.path {
            FixedPath::Whole(path) => path.to_string(),
            FixedPath::Spec(..) => format!("{label}: {}", self.path),
        })
    }

    /// As it is written.
    pub(crate) fn written(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.to_string(),
        }
    }
}

/// Reads a document's name.
pub(crate) fn name(at: &At<'_>) -> Option<String> {
    checked(
        at,
        is_subdomain,
        "letters a-z, digits, `-` and `.`, at most 253",
    )
}

/// Reads a namespace.
pub(crate) fn namespace(at: &At<'_>) -> Option<String> {
    checked(at, is_label, "letters a-z, digits and `-`, at most 63")
}

/// Reads `name` or `namespace/name`.
pub(crate) fn reference(at: &At<'_>) -> Option<Reference> {
    let text = at.text()?;
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if !is_subdomain(name) || !namespace.is_none_or(is_label) {
        let message = format!("{} is not the name of a document", quoted(text));
        return at.refuse_with(
            Code::InvalidName,
            message,
            "write `name` or `namespace/name`",
        );
    }
    Some(Reference {
        namespace: namespace.map(Into::into),
        name: name.into(),
        spot: at.spot(),
        path: at.fixed_path(),
    })
}

fn checked(at: &At<'_>, accept: fn(&str) -> bool, rule: &str) -> Option<String> {
    let text = at.text()?;
    if accept(text) {
        return Some(text.to_owned());
    }
    let folded = text.to_ascii_lowercase().replace('_', "-");
    let message = format!("{} is not a DNS-1123 name", quoted(text));
    let way_out = if accept(&folded) {
        format!("write {}", quoted(&folded))
    } else {
        format!("use {rule}; begin and end with a letter or digit")
    };
    at.refuse_with(Code::InvalidName, message, way_out)
}

/// RFC 1123 §2.1, as Kubernetes names most things.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label_text)
}

/// Also the rule for the name of an action, which stands between colons in `policy_matched`.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && is_label_text(text)
}

fn is_label_text(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}
