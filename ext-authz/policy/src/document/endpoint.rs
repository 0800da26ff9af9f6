//! Hosts and URLs in documents: one spelling each, with the way out for everything else.

use attache_core::request::{Authority, Host};
use url::Url;

use crate::{
    document::{HostPattern, TlsRule},
    problem::{Code, quoted},
    yaml::At,
};

/// Reads an exact host or `*.suffix`.
pub(super) fn host_pattern(at: &At<'_>) -> Option<HostPattern> {
    let text = at.text()?;
    if text.bytes().all(|byte| byte == b'*' || byte == b'.') {
        let message = format!("{} matches every host", quoted(text));
        let way_out = "name the host, or its domain as `*.example.com`";
        return at.refuse_with(Code::MatchesEverything, message, way_out);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        let named = Host::parse(suffix).ok().filter(|host| !is_address(host));
        return named
            .map(HostPattern::Suffix)
            .or_else(|| refuse_host(at, text, suffix));
    }
    Host::parse(text)
        .ok()
        .map(HostPattern::Exact)
        .or_else(|| refuse_host(at, text, text))
}

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

fn is_address(host: &Host) -> bool {
    let text = host.as_str();
    text.contains(':')
        || text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// `host` is `text` without a leading `*.`.
fn refuse_host<T>(at: &At<'_>, text: &str, host: &str) -> Option<T> {
    let message = format!("{} is not a host", quoted(text));
    let refuse = |way_out: String| at.refuse_with(Code::InvalidHost, message.clone(), way_out);
    if let Ok(url) = Url::parse(text)
        && let Some(host) = url.host_str()
    {
        return refuse(format!("write the host alone: {}", quoted(host)));
    }
    if let Ok(Authority {
        host,
        port: Some(port),
    }) = Authority::parse(host)
    {
        return refuse(format!(
            "write `host: {}` and `port: {port}`",
            host.as_str()
        ));
    }
    if let Some((host, _)) = host.split_once('/') {
        let way_out = format!("write `host: {host}` and the path under `paths`");
        return refuse(way_out);
    }
    if !host.is_ascii()
        && let Ok(url::Host::Domain(ascii)) = url::Host::parse(host)
    {
        return refuse(format!("write its ASCII form {}", quoted(&ascii)));
    }
    if host.contains('*') {
        return refuse("`*` may stand only first, as in `*.example.com`".to_owned());
    }
    refuse("write a DNS name, an address, or `*.example.com`".to_owned())
}
