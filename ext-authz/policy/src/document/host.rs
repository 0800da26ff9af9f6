//! Hosts in documents, with the way out for what is none. International names are written as people read
//! them, and compiled to the ASCII form that the wire carries (UTS 46, non-transitional).

use std::net::Ipv6Addr;

use attache_core::request::{Authority, Host};
use unicode_security::{RestrictionLevel, RestrictionLevelDetection as _, skeleton};
use url::Url;

use crate::{
    document::HostPattern,
    problem::{Code, quoted},
    yaml::At,
};

/// A host as it is written.
struct Written<'w, 'a> {
    at: &'w At<'a>,
    text: &'a str,
    /// `*.` or nothing.
    star: &'a str,
    /// `text` without `star`.
    name: &'a str,
}

/// Reads an exact host or `*.suffix`.
pub(super) fn host_pattern(at: &At<'_>) -> Option<HostPattern> {
    let text = at.text()?;
    if text.bytes().all(|byte| byte == b'*' || byte == b'.') {
        let message = format!("{} matches every host", quoted(text));
        let way_out = "name the host, or its domain as `*.example.com`";
        return at.refuse_with(Code::MatchesEverything, message, way_out);
    }
    let (star, name) = text
        .strip_prefix("*.")
        .map_or(("", text), |name| ("*.", name));
    let written = Written {
        at,
        text,
        star,
        name,
    };
    let host = written.host()?;
    if star.is_empty() {
        return Some(HostPattern::Exact(host));
    }
    if is_address(&host) {
        return written
            .refuse("an address has nothing below it; write a DNS name, or the address alone");
    }
    check_registrable(&written, &host)?;
    Some(HostPattern::Suffix(host))
}

/// A domain below which anybody may have a name (publicsuffix.org): a credential for all of it is one for
/// strangers. Names of a network's own, such as `internal`, are on no list.
fn check_registrable(written: &Written<'_, '_>, host: &Host) -> Option<()> {
    let name = host.as_str();
    let Some(suffix) = psl::suffix(name.as_bytes()) else {
        return Some(());
    };
    if !suffix.is_known() || suffix.as_bytes() != name.as_bytes() {
        return Some(());
    }
    let way_out = "name the domain that is yours, such as `*.example.com`";
    let text = quoted(written.text);
    if suffix.typ() == Some(psl::Type::Icann) {
        let message = format!("{text} matches every host that anybody registers below {name}");
        return written
            .at
            .refuse_with(Code::MatchesEverything, message, way_out);
    }
    let message =
        format!("{text} matches hosts of strangers: anybody may have a name below {name}");
    let (report, place) = (written.at.report(), written.at.place());
    let way_out = Some(way_out.to_owned());
    report.warning(place, Code::MatchesEverything, message, way_out);
    Some(())
}

impl Written<'_, '_> {
    fn host(&self) -> Option<Host> {
        let bare = !self.name.contains(['/', ':', '@', '*']);
        if !self.name.is_ascii() && bare {
            return self.international();
        }
        let Ok(host) = Host::parse(self.name) else {
            return self.refuse_form();
        };
        self.check_ascii_form(&host)?;
        Some(host)
    }

    fn refuse<T>(&self, way_out: impl Into<String>) -> Option<T> {
        let message = format!("{} is not a host", quoted(self.text));
        self.at.refuse_with(Code::InvalidHost, message, way_out)
    }

    /// A name in its Unicode form.
    fn international(&self) -> Option<Host> {
        let name = self.name.strip_suffix('.').unwrap_or(self.name);
        let Ok(ascii) = idna::domain_to_ascii_strict(name) else {
            let message = format!(
                "{} is not an international host name (UTS 46)",
                quoted(self.text)
            );
            let way_out = "write the name as it is registered, or its ASCII form, xn--…";
            return self.at.refuse_with(Code::InvalidHost, message, way_out);
        };
        let star = self.star;
        if !ascii.split('.').any(is_encoded) {
            let message = format!(
                "{} is written with other characters than the host {} that it means",
                quoted(self.text),
                quoted(&ascii)
            );
            let way_out = format!("write {}", quoted(&format!("{star}{ascii}")));
            return self.at.refuse_with(Code::InvalidHost, message, way_out);
        }
        let (unicode, _) = idna::domain_to_unicode(&ascii);
        let both = format!(
            "{} ({} on the wire)",
            quoted(self.text),
            quoted(&format!("{star}{ascii}"))
        );
        let as_ascii = format!(
            "if that host is meant, write {}",
            quoted(&format!("{star}{ascii}"))
        );
        if let Some(label) = unicode.split('.').find(|label| mixes_scripts(label)) {
            let message = format!("{both} mixes scripts in {}", quoted(label));
            return self.at.refuse_with(Code::InvalidHost, message, as_ascii);
        }
        if let Some((label, like)) = unicode
            .split('.')
            .find_map(|label| Some((label, twin(label)?)))
        {
            let message = format!("{} of {both} reads like {}", quoted(label), quoted(&like));
            let report = self.at.report();
            report.warning(
                self.at.place(),
                Code::ConfusableHost,
                message,
                Some(as_ascii),
            );
        }
        Host::parse(&ascii).ok().or_else(|| self.refuse_form())
    }

    /// A name in its ASCII form stands for a Unicode one, or it is a name that nobody can register.
    fn check_ascii_form(&self, host: &Host) -> Option<()> {
        if !host.as_str().split('.').any(is_encoded) {
            return Some(());
        }
        let (unicode, sound) = idna::domain_to_unicode(host.as_str());
        if sound.is_err() {
            let message = format!(
                "{} is the ASCII form of no international host name (UTS 46)",
                quoted(self.text)
            );
            let way_out = "copy it again, or write the name in its Unicode form";
            return self.at.refuse_with(Code::InvalidHost, message, way_out);
        }
        if let Some(label) = unicode.split('.').find(|label| mixes_scripts(label)) {
            let message = format!(
                "{} is {}, which mixes scripts in {}",
                quoted(self.text),
                quoted(&unicode),
                quoted(label)
            );
            let way_out = Some("make sure that this host is meant".to_owned());
            let place = self.at.place();
            self.at
                .report()
                .warning(place, Code::ConfusableHost, message, way_out);
        }
        Some(())
    }

    /// What is no host, with the part of it that is.
    fn refuse_form<T>(&self) -> Option<T> {
        let (name, star) = (self.name, self.star);
        if let Ok(url) = Url::parse(self.text)
            && let Some(host) = url.host_str()
        {
            return self.refuse(format!("write the host alone: {}", quoted(host)));
        }
        if let Ok(Authority {
            host,
            port: Some(port),
        }) = Authority::parse(name)
        {
            let host = quoted(&format!("{star}{}", host.as_str()));
            return self.refuse(format!("write `host: {host}` and `port: {port}`"));
        }
        if let Some((host, _)) = name.split_once('/') {
            let host = quoted(&format!("{star}{host}"));
            return self.refuse(format!("write `host: {host}` and the path under `paths`"));
        }
        if let Some(address) = one_spelling(name) {
            return self.refuse(format!("write the address as {}", quoted(&address)));
        }
        if name.contains('*') {
            return self.refuse("`*` may stand only first, as in `*.example.com`");
        }
        self.refuse("write a DNS name, an address, or `*.example.com`")
    }
}

/// The address that `text` is to some readers: `127.1`, `0x7f000001`, `::ffff:127.0.0.1`, `fe80::1%eth0`.
fn one_spelling(text: &str) -> Option<String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.split('%').next().unwrap_or_default();
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Some(address.to_canonical().to_string());
    }
    match url::Host::parse(bare) {
        Ok(url::Host::Ipv4(address)) => Some(address.to_string()),
        Ok(url::Host::Ipv6(_) | url::Host::Domain(_)) | Err(_) => None,
    }
}

fn is_address(host: &Host) -> bool {
    let text = host.as_str();
    text.contains(':')
        || text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether a label is the ASCII form of another (RFC 5890 §2.3.2.1).
fn is_encoded(label: &str) -> bool {
    label.starts_with("xn--")
}

/// Whether a label has letters of scripts that no language writes together (UTS 39 §5.2).
fn mixes_scripts(label: &str) -> bool {
    !label.check_restriction_level(RestrictionLevel::HighlyRestrictive)
}

/// The ASCII label that an international one cannot be told from by eye (UTS 39 §4).
fn twin(label: &str) -> Option<String> {
    let seen: String = skeleton(label).collect();
    (!label.is_ascii() && seen.is_ascii()).then_some(seen)
}
