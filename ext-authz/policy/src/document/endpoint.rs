//! URLs in documents, with the way out for what is none.

use attache_core::request::Host;
use url::Url;

use crate::{
    document::TlsRule,
    problem::{Code, quoted},
    yaml::At,
};

/// The target that an audience names: host, port and whether TLS is asked of it.
pub(crate) fn audience_endpoint(audience: &str) -> Option<(Host, u16, TlsRule)> {
    let url = Url::parse(audience).ok()?;
    let tls = match url.scheme() {
        "https" => TlsRule::Required,
        "http" => TlsRule::PlaintextAllowed,
        _ => return None,
    };
    if !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    Some((
        Host::parse(url.host_str()?).ok()?,
        url.port_or_known_default()?,
        tls,
    ))
}

/// Reads an issuer: a URL without query (OpenID Connect Discovery §3).
pub(super) fn issuer(at: &At<'_>) -> Option<String> {
    let text = key_url(at)?;
    if text.contains('?') {
        let message = format!("{} is not an issuer", quoted(&text));
        return at.refuse_with(Code::InvalidUrl, message, "write it without query");
    }
    Some(text)
}

/// Reads `https://host:port` and nothing behind it.
pub(super) fn origin(at: &At<'_>) -> Option<String> {
    let text = key_url(at)?;
    let bare = Url::parse(&text)
        .is_ok_and(|url| url.scheme() == "https" && url.path() == "/" && url.query().is_none());
    if !bare {
        let message = format!("{} is more than an https origin", quoted(&text));
        return at.refuse_with(Code::InvalidUrl, message, "write https://host:port");
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// Reads a URL without fragment or user information. Keys are fetched over TLS; plain HTTP is for a
/// process on the same machine.
pub(super) fn key_url(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let refuse = |way_out: &str| {
        let message = format!(
            "{} is not a URL that keys can be trusted from",
            quoted(text)
        );
        at.refuse_with(Code::InvalidUrl, message, way_out)
    };
    let Ok(url) = Url::parse(text) else {
        return refuse("write https://host/path");
    };
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse("write https://host/path"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        // The URL is not repeated: it may hold a password.
        let message = "the URL holds a user name or password";
        return at.refuse_with(Code::InvalidUrl, message, "remove it");
    }
    if url.fragment().is_some() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("write it in ASCII and without fragment");
    }
    match url.scheme() {
        "https" => Some(text.to_owned()),
        "http" if loopback => Some(text.to_owned()),
        _ => refuse("write https://; http:// is for loopback addresses alone"),
    }
}
