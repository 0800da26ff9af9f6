//! References to secrets. A document says where a secret is, never what it is; only the edge resolves it, and
//! only where its own configuration lets documents point to.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use crate::{
    problem::{Code, quoted},
    yaml::At,
};

/// How a reference is written; told with every problem.
const WAYS: &str = "write where it is: env:ATTACHE_SECRET_NAME, file:secrets/name, kubernetes:secret/key or \
     vault:mount/path#field";

/// Longest reference, in bytes.
const MAX_BYTES: usize = 1024;

/// Where a secret is. Its text is no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretReference {
    /// `env:NAME`: a variable of the edge's environment, as it was when the edge started.
    Environment(String),
    /// `file:PATH`: a file, read again when it changes. A relative path starts at the folder of the edge's
    /// configuration file.
    File(PathBuf),
    /// `kubernetes:SECRET/KEY`: a key of a Secret that is mounted, under its name, in the folder that the
    /// edge's configuration names.
    Kubernetes {
        /// The Secret's name.
        secret: String,
        /// The key in it.
        key: String,
    },
    /// `vault:MOUNT/PATH#FIELD`: a field of a secret in the Vault that the edge's configuration names.
    Vault {
        /// Mount and path.
        path: String,
        /// The field.
        field: String,
    },
}

impl SecretReference {
    /// Reads a reference. SECURITY: what is none may be the secret itself, so that no problem repeats it.
    pub(super) fn lower(at: &At<'_>) -> Option<Self> {
        let text = at.text()?;
        let literal = || {
            let message = "a secret stands in the file";
            at.refuse_with(Code::LiteralSecret, message, WAYS)
        };
        let Some((scheme, rest)) = text.split_once(':').filter(|_| text.len() <= MAX_BYTES) else {
            return literal();
        };
        let (reference, form) = match scheme {
            "env" => (
                environment(rest),
                "the name of a variable: env:ATTACHE_SECRET_NAME",
            ),
            "file" => (file(rest), "a path without `..`: file:secrets/name"),
            "kubernetes" => (mounted(rest), "a Secret and its key: kubernetes:secret/key"),
            "vault" => (vault(rest), "mount, path and field: vault:mount/path#field"),
            _ => return literal(),
        };
        reference.or_else(|| {
            let message = format!("`{scheme}:` does not lead to a secret");
            at.refuse_with(Code::InvalidValue, message, format!("write {form}"))
        })
    }
}

impl SecretReference {
    /// Reads the path of a file that is read as secrets are, though it holds none: certificates.
    pub(super) fn lower_file(at: &At<'_>) -> Option<Self> {
        let text = at.text()?;
        file(text).filter(|_| text.len() <= MAX_BYTES).or_else(|| {
            let message = format!("{} is not a plain path", quoted(text));
            let way_out = "write a path without `..`, such as secrets/ca.pem";
            at.refuse_with(Code::InvalidValue, message, way_out)
        })
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Kubernetes { secret, key } => write!(f, "kubernetes:{secret}/{key}"),
            Self::Vault { path, field } => write!(f, "vault:{path}#{field}"),
        }
    }
}

/// IEEE Std 1003.1 §8.1.
fn environment(name: &str) -> Option<SecretReference> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|first| !first.is_ascii_digit());
    let is_name = begins && name.bytes().all(inside);
    is_name.then(|| SecretReference::Environment(name.to_owned()))
}

/// SECURITY: without `..`, a path lies where it seems to lie, but for links, which are looked at when it is read.
fn file(path: &str) -> Option<SecretReference> {
    let is_plain = !path.is_empty()
        && !path.ends_with('/')
        && !path.chars().any(char::is_control)
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    is_plain.then(|| SecretReference::File(PathBuf::from(path)))
}

/// A name of an object, and a key of a Secret (Kubernetes: `[-._a-zA-Z0-9]+`).
fn mounted(text: &str) -> Option<SecretReference> {
    let (secret, key) = text.split_once('/')?;
    is_plain(secret, b"-.").then_some(())?;
    is_plain(key, b"-._").then_some(())?;
    Some(SecretReference::Kubernetes {
        secret: secret.to_owned(),
        key: key.to_owned(),
    })
}

fn vault(text: &str) -> Option<SecretReference> {
    let (path, field) = text.split_once('#')?;
    let segments = path.split('/').collect::<Vec<_>>();
    let is_path = segments.len() > 1 && segments.iter().all(|segment| is_plain(segment, b"-._"));
    (is_path && is_plain(field, b"-._")).then(|| SecretReference::Vault {
        path: path.to_owned(),
        field: field.to_owned(),
    })
}

/// One segment of a path, and none that leads elsewhere.
fn is_plain(name: &str, also: &[u8]) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
    !name.is_empty() && name.len() <= 253 && name != "." && name != ".." && name.bytes().all(inside)
}
