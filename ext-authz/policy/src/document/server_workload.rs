//! `ServerWorkload`: what is called, and where its credential goes.

mod authentication;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use attache_core::request::{Host, PathPrefix};

pub use authentication::{Carrier, Form, Part, Placement};
pub(super) use authentication::{carrier, prefix};

use crate::{
    document::{Specification, host},
    name::QualifiedName,
    problem::{Code, quoted},
    yaml::At,
};

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerWorkload {
    /// The document's own name, as it stands in `policy_matched`.
    pub name: String,
    /// Which hosts.
    pub host: HostPattern,
    /// On which port.
    pub port: u16,
    /// Whether plaintext is accepted.
    pub tls: TlsRule,
    /// Under which paths, in order; never empty.
    pub paths: Arc<[PathPrefix]>,
    /// How denials compare paths.
    pub path_matching: PathMatching,
    /// Where a credential goes.
    pub authentication: Authentication,
}

/// One host, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `api.stripe.com`.
    Exact(Host),
    /// `*.example.com`, here without `*.`: any depth below it, never itself.
    Suffix(Host),
}

impl HostPattern {
    /// The host, or the domain that it lies below.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Exact(host) | Self::Suffix(host) => host.as_str(),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host.as_str()),
            Self::Suffix(host) => write!(f, "*.{}", host.as_str()),
        }
    }
}

/// Whether the connection to the target may be unencrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsRule {
    /// `required`, the default.
    Required,
    /// `plaintext-allowed`.
    PlaintextAllowed,
}

/// Which spellings of a path the target takes for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathMatching {
    /// `exact`, the default: each is a path of its own (RFC 3986 §6.2.2.1).
    Exact,
    /// `case-insensitive`: capitals, and dots and spaces at the end of a segment, make no other path. A deny
    /// covers them all, and an allow goes on being exact.
    CaseInsensitive,
}

/// How a target takes its credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// In these places; never empty, and no two of them are one.
    Placed(Vec<Placement>),
    /// In the headers that the credential provider names.
    ProviderHeaders,
}

impl ServerWorkload {
    pub(super) fn lower(fields: Specification<'_, '_>, name: &QualifiedName) -> Option<Self> {
        let host = fields.required("host", host::host_pattern);
        let rules = [
            ("required", TlsRule::Required),
            ("plaintext-allowed", TlsRule::PlaintextAllowed),
        ];
        let tls = fields.or("tls", TlsRule::Required, |at| at.one_of(&rules));
        let usual_port = match tls {
            Some(TlsRule::PlaintextAllowed) => 80,
            Some(TlsRule::Required) | None => 443,
        };
        let port = fields.or("port", usual_port, At::port);
        let protocol = fields.or("protocol", (), |at| at.one_of(&[("http", ())]));
        let paths = fields.field("paths").map_or_else(root, |at| {
            let mut paths = at.some_list(path_prefix)?;
            paths.sort();
            paths.dedup();
            Some(paths.into())
        });
        let matchings = [
            ("exact", PathMatching::Exact),
            ("case-insensitive", PathMatching::CaseInsensitive),
        ];
        let path_matching = fields.or("pathMatching", PathMatching::Exact, |at| {
            at.one_of(&matchings)
        });
        let authentication = match fields.field("authentication") {
            None => bearer(),
            Some(at) => authentication::lower(&at),
        };
        protocol?;
        Some(Self {
            name: name.name.clone(),
            host: host?,
            port: port?,
            tls: tls?,
            paths: paths?,
            path_matching: path_matching?,
            authentication: authentication?,
        })
    }

    /// A target known by its audience alone.
    pub(crate) fn implied(name: &str, host: Host, port: u16, tls: TlsRule) -> Option<Self> {
        let host = HostPattern::Exact(host);
        let (paths, authentication) = (root()?, bearer()?);
        Some(Self {
            name: name.to_owned(),
            host,
            port,
            tls,
            paths,
            path_matching: PathMatching::Exact,
            authentication,
        })
    }
}

/// Reads a path prefix.
pub(super) fn path_prefix(at: &At<'_>) -> Option<PathPrefix> {
    let text = at.text()?;
    // SECURITY: a path may hold it, and a deny of `/admin/*` would let what lies below /admin through.
    if let Some((before, _)) = text.split_once('*') {
        let message = format!("{} is not a path prefix", quoted(text));
        let prefix = before.rsplit_once('/').map_or("", |(prefix, _)| prefix);
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        let way_out = format!(
            "write {}, which covers all that lies below it; a `*` of the path itself is written %2A",
            quoted(prefix)
        );
        return at.refuse_with(Code::InvalidPath, message, way_out);
    }
    PathPrefix::parse(text).ok().or_else(|| {
        let message = format!("{} is not a path prefix", quoted(text));
        let way_out =
            "write an absolute path such as /v1, without query, `..`, `//`, `;` or `*`; it covers what lies below it";
        at.refuse_with(Code::InvalidPath, message, way_out)
    })
}

/// Every path.
fn root() -> Option<Arc<[PathPrefix]>> {
    static ROOT: LazyLock<Option<Arc<[PathPrefix]>>> =
        LazyLock::new(|| Some([PathPrefix::parse("/").ok()?].into()));
    ROOT.clone()
}

fn bearer() -> Option<Authentication> {
    Some(Authentication::Placed(vec![Placement::scheme("Bearer ")?]))
}
