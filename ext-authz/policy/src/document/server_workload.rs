//! `ServerWorkload`: what is called, and where its credential goes.

use attache_core::{
    header::{HeaderName, is_header_value},
    request::{Host, PathPrefix, overrides_request},
};

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
    /// Under which paths; never empty.
    pub paths: Vec<PathPrefix>,
    /// Where a credential goes.
    pub placement: Placement,
}

/// One host, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `api.stripe.com`.
    Exact(Host),
    /// `*.example.com`, here without `*.`: any depth below it, never itself.
    Suffix(Host),
}

/// Whether the connection to the target may be unencrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsRule {
    /// `required`, the default.
    Required,
    /// `plaintext-allowed`.
    PlaintextAllowed,
}

/// Where in a request the credential goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// The header.
    pub header: HeaderName,
    /// What stands before the credential: `Bearer `, with its space.
    pub prefix: String,
}

#[derive(Clone, Copy)]
enum Method {
    Bearer,
    Header,
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
        let paths = fields.field("paths").map_or_else(
            || root().map(|root| vec![root]),
            |at| at.some_list(path_prefix),
        );
        let placement = match fields.field("authentication") {
            None => bearer(),
            Some(at) => authentication(&at),
        };
        protocol?;
        Some(Self {
            name: name.name.clone(),
            host: host?,
            port: port?,
            tls: tls?,
            paths: paths?,
            placement: placement?,
        })
    }

    /// A target known by its audience alone.
    pub(crate) fn implied(name: &str, host: Host, port: u16, tls: TlsRule) -> Option<Self> {
        let host = HostPattern::Exact(host);
        let (paths, placement) = (vec![root()?], bearer()?);
        Some(Self {
            name: name.to_owned(),
            host,
            port,
            tls,
            paths,
            placement,
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

fn root() -> Option<PathPrefix> {
    PathPrefix::parse("/").ok()
}

fn bearer() -> Option<Placement> {
    let header = HeaderName::parse("authorization").ok()?;
    Some(Placement {
        header,
        prefix: "Bearer ".to_owned(),
    })
}

fn authentication(at: &At<'_>) -> Option<Placement> {
    let mut fields = at.fields()?;
    let methods = [("bearer", Method::Bearer), ("header", Method::Header)];
    let Some(method) = fields.required("method", |at| at.one_of(&methods)) else {
        fields.leave_rest();
        return None;
    };
    match method {
        Method::Bearer => bearer(),
        Method::Header => {
            let header = fields.required("name", carrier);
            let prefix = fields.or("prefix", String::new(), prefix);
            Some(Placement {
                header: header?,
                prefix: prefix?,
            })
        }
    }
}

/// The header that a credential stands in.
fn carrier(at: &At<'_>) -> Option<HeaderName> {
    let refuse = |message| {
        let way_out = "write a header of the target's own, such as X-Api-Token";
        at.refuse_with(Code::InvalidHeader, message, way_out)
    };
    let text = at.text()?;
    if overrides_request(text) {
        let message = format!(
            "some applications take another method or path from the header {}",
            quoted(text)
        );
        return refuse(message);
    }
    HeaderName::parse(text).map_or_else(|error| refuse(error.to_string()), Some)
}

fn prefix(at: &At<'_>) -> Option<String> {
    let text = at.text_or_empty()?;
    // A credential follows, so that a space at the end of the prefix stands inside of the value.
    if text.len() <= 128 && is_header_value(&format!("{text}x")) {
        return Some(text.to_owned());
    }
    let message = format!(
        "{} cannot stand before a credential in a header",
        quoted(text)
    );
    at.refuse_with(
        Code::InvalidHeader,
        message,
        "write visible ASCII, such as \"Token \"",
    )
}
