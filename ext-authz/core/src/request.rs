//! What is asked: host, port, method and path, each in the one spelling that policy compares. What
//! could be read in two ways is refused, not normalised.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
    vec::Vec,
};
use core::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

mod folded;

#[cfg(test)]
mod tests;

/// Longest host name, in bytes (RFC 1035 §2.3.4).
pub const MAX_HOST_BYTES: usize = 253;
/// Longest path compared, in bytes.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// A request, or a part of it, that two readers could understand differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmbiguousRequest {
    /// Not a DNS name, an IPv4 address or a bracketed IPv6 address with an optional port.
    #[error("the host is not a host name or an address with an optional port")]
    Host,
    /// The path keeps `.` or `..` segments, an encoded slash, a backslash, `;`, `//`, a control character
    /// or escapes that are not UTF-8, or is no absolute path.
    #[error("the path can be read in more than one way")]
    Path,
    /// Not a token of RFC 9110 §9.1, or with lower-case letters.
    #[error("the method is not an HTTP method in capitals")]
    Method,
}

impl AmbiguousRequest {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Host => "host-ambiguous",
            Self::Path => "path-ambiguous",
            Self::Method => "method-malformed",
        }
    }

    /// A sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Host => "the host is not a host name or an address with an optional port",
            Self::Path => "the path can be read in more than one way",
            Self::Method => "the method is not an HTTP method in capitals",
        }
    }
}

/// A host in its one spelling: lower case, no trailing dot; IPv6 compressed (RFC 5952), no brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// Reads a DNS name, an IPv4 address, or an IPv6 address with or without brackets; no port.
    pub fn parse(text: &str) -> Result<Self, AmbiguousRequest> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        // Nearly all are names, which need not be tried as what they cannot be.
        if bare.contains(':')
            && let Ok(address) = bare.parse::<Ipv6Addr>()
        {
            // SECURITY: `::ffff:10.0.0.1` reaches 10.0.0.1 past every policy that names it so.
            let mapped = address.to_ipv4_mapped().is_some();
            return if mapped {
                Err(AmbiguousRequest::Host)
            } else {
                Ok(Self(address.to_string()))
            };
        }
        if bare != text {
            return Err(AmbiguousRequest::Host);
        }
        if text.ends_with(|last: char| last.is_ascii_digit())
            && let Ok(address) = text.parse::<Ipv4Addr>()
        {
            return Ok(Self(address.to_string()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // `127.1` and `0x7f000001` are addresses to some resolvers and names to others.
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
        let hexadecimal = last.starts_with("0x") || last.starts_with("0X");
        let well_formed = name.len() <= MAX_HOST_BYTES
            && !numeric
            && !hexadecimal
            && name.split('.').all(is_label);
        if !well_formed {
            return Err(AmbiguousRequest::Host);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The host's one spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters, digits, `-` and `_` (which DNS allows and services use), at most 63 bytes.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// `host` or `host:port` as a client sends it in `Host` or `:authority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, if one is written.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. User information is refused.
    pub fn parse(text: &str) -> Result<Self, AmbiguousRequest> {
        let host_ends = match text.strip_prefix('[') {
            Some(_) => text.find(']').map(|at| at.saturating_add(1)),
            None => text.find(':'),
        };
        let (host, rest) = text
            .split_at_checked(host_ends.unwrap_or(text.len()))
            .unwrap_or((text, ""));
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if rest.is_empty() => None,
            None => return Err(AmbiguousRequest::Host),
        };
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

/// 1 to 65535 in its one spelling: no sign, no leading zero.
fn parse_port(digits: &str) -> Result<u16, AmbiguousRequest> {
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmbiguousRequest::Host);
    }
    digits.parse().map_err(|_not_a_port| AmbiguousRequest::Host)
}

/// The path of a request without its query, with one reading only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPath<'a>(&'a str);

impl<'a> RequestPath<'a> {
    /// Cuts the query and refuses what an upstream may read differently than policy does.
    pub fn parse(target: &'a str) -> Result<Self, AmbiguousRequest> {
        match plain(target) {
            Some(path) => Ok(Self(path)),
            None => Self::parse_any(target),
        }
    }

    fn parse_any(target: &'a str) -> Result<Self, AmbiguousRequest> {
        let path = without_query(target);
        if !path.starts_with('/') || path.len() > MAX_PATH_BYTES || target.contains('#') {
            return Err(AmbiguousRequest::Path);
        }
        // SECURITY: `;` starts parameters that some servers cut before they resolve `..`.
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b';');
        if !plain || path.contains("//") || !has_plain_escapes(path) || !spells_utf8(path) {
            return Err(AmbiguousRequest::Path);
        }
        if path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
        {
            return Err(AmbiguousRequest::Path);
        }
        Ok(Self(path))
    }

    /// The path, as the client spelled it.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The path in the one spelling that policy compares.
    pub fn spelled(self) -> Cow<'a, str> {
        one_spelling(self.0)
    }

    /// Its segments in the one spelling that policy compares; `/a/` ends with an empty one.
    pub fn segments(self) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.split('/').skip(1).map(one_spelling)
    }
}

/// Whether a byte may stand in a path in one reading alone, whatever stands around it.
#[expect(
    clippy::indexing_slicing,
    reason = "a byte is less than 256, and the compiler runs it"
)]
const IS_PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte: u8 = 0;
    while byte < 0x7f {
        plain[byte as usize] =
            byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';' | b'#');
        byte += 1;
    }
    plain
};

/// The path of `target`, if one look at each character is enough to say that it has one reading, as it is for most.
// INVARIANT: `RequestPath::parse_any` says the same of all that are plain.
fn plain(target: &str) -> Option<&str> {
    let (mut after_slash, mut length) = (false, 0_usize);
    for byte in target.bytes() {
        if byte == b'?' {
            break;
        }
        // A segment that is empty, or may be `.` or `..`.
        let dots = after_slash && (byte == b'/' || byte == b'.');
        if dots || !IS_PLAIN.get(usize::from(byte)).is_some_and(|plain| *plain) {
            return None;
        }
        after_slash = byte == b'/';
        length = length.saturating_add(1);
    }
    let (path, query) = target.split_at_checked(length)?;
    let plain = path.starts_with('/') && length <= MAX_PATH_BYTES;
    (plain && !query.bytes().any(|byte| byte == b'#')).then_some(path)
}

/// Escapes in upper case, and none for a character that may stand as it is: `%40` and `@`, `%c3` and
/// `%C3` are one. Allocates only where there is an escape.
// INVARIANT: `has_plain_escapes` holds for `path`, so that decoding makes no `/`, `%` or `.`.
fn one_spelling(path: &str) -> Cow<'_, str> {
    let Some((plain, escaped)) = path.split_once('%') else {
        return Cow::Borrowed(path);
    };
    let mut spelled = String::from(plain);
    for part in escaped.split('%') {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if byte.is_ascii_graphic() => spelled.push(char::from(byte)),
            Ok(_) | Err(_) => {
                spelled.push('%');
                spelled.push_str(&digits.to_ascii_uppercase());
            }
        }
        spelled.push_str(rest);
    }
    Cow::Owned(spelled)
}

/// `target` up to its query: what an audit event may print.
pub fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// Escapes of unreserved characters, `/`, `\`, `.`, `%`, `;` and control characters have two readings.
fn has_plain_escapes(path: &str) -> bool {
    let mut parts = path.split('%');
    parts.next();
    parts.all(|rest| {
        let Some(digits) = rest.get(..2) else {
            return false;
        };
        let Ok(byte) = u8::from_str_radix(digits, 16) else {
            return false;
        };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            && !unreserved
            && !byte.is_ascii_control()
            && !b"/\\%;?#".contains(&byte)
    })
}

/// Whether the escapes of `path` are UTF-8 (RFC 3986 §2.5): other bytes, overlong forms among them, are
/// read as one character by some servers and as several by others.
// INVARIANT: `has_plain_escapes` holds for `path`.
fn spells_utf8(path: &str) -> bool {
    let Some((plain, escaped)) = path.split_once('%') else {
        return true;
    };
    let mut bytes = Vec::from(plain.as_bytes());
    for part in escaped.split('%') {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend(rest.bytes());
    }
    str::from_utf8(&bytes).is_ok()
}

/// A path prefix that matches by segment: `/v1` covers `/v1` and `/v1/x`, never `/v10`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Reads an absolute path without query; a trailing `/` changes nothing.
    pub fn parse(text: &str) -> Result<Self, AmbiguousRequest> {
        if text.contains('?') {
            return Err(AmbiguousRequest::Path);
        }
        let path = RequestPath::parse(text)?.as_str();
        Ok(Self(
            one_spelling(path.strip_suffix('/').unwrap_or(path)).into_owned(),
        ))
    }

    /// Whether `path` lies under the prefix.
    pub fn covers(&self, path: RequestPath<'_>) -> bool {
        one_spelling(path.as_str())
            .strip_prefix(self.0.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether everything under `other` lies under this prefix.
    pub fn encloses(&self, other: &Self) -> bool {
        other
            .0
            .strip_prefix(self.0.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The first `count` segments of `path`, which lies under the prefix they are; `None` if it has
    /// fewer that are not empty.
    pub fn beginning(path: RequestPath<'_>, count: usize) -> Option<Self> {
        let spelled = path.spelled();
        let mut ends = spelled
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .chain([spelled.len()]);
        let end = match count {
            0 => 0,
            _ => ends.nth(count.saturating_sub(1))?,
        };
        let text = spelled.get(..end)?;
        (!text.ends_with('/')).then(|| Self(String::from(text)))
    }

    /// How many segments the prefix has: the more, the more specific.
    pub fn segments(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'/').count()
    }

    /// In the one spelling that [`RequestPath::segments`] yields; the root is `/`.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }
}

/// Whether the connection to the target is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TLS.
    Tls,
    /// Plaintext.
    Plaintext,
}

/// A request as policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it goes.
    pub host: &'a Host,
    /// On which port.
    pub port: u16,
    /// How it is carried there.
    pub transport: Transport,
    /// Case-sensitive (RFC 9110 §9.1).
    pub method: &'a str,
    /// Without query.
    pub path: RequestPath<'a>,
}

/// Whether `method` is a token of RFC 9110 §9.1 without lower-case letters, at most 32 bytes.
// SECURITY: methods are case-sensitive, but frameworks upper-case them: `delete` would pass a policy that
// denies DELETE. No registered method has a lower-case letter.
pub fn is_method(method: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    !method.is_empty() && method.len() <= 32 && method.bytes().all(allowed)
}

/// Whether `method` reaches past what policy compares: CONNECT opens a tunnel, TRACE and TRACK send a request's
/// headers back (RFC 9110 §9.3.6, §9.3.8).
pub fn goes_around_policy(method: &str) -> bool {
    ["CONNECT", "TRACE", "TRACK"].contains(&method)
}

/// Headers by which some frameworks and proxies take another method or path than the request's own.
pub const OVERRIDES: [&str; 10] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-forwarded-method",
    "x-original-url",
    "x-original-uri",
    "x-forwarded-uri",
    "x-rewrite-url",
    "x-override-url",
];

/// Whether an application may take another method or path than the request's own from the header `name`,
/// written in any case and with `_` for `-`.
pub fn overrides_request(name: impl AsRef<[u8]>) -> bool {
    let name = name.as_ref();
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    // All of them begin so; most headers do not.
    let may = name
        .first()
        .is_some_and(|first| first.eq_ignore_ascii_case(&b'x'));
    may && OVERRIDES
        .iter()
        .any(|ours| ours.len() == name.len() && name.iter().copied().map(plain).eq(ours.bytes()))
}
