//! The form of an OAuth token request (RFC 6749 §4), and the same with a client assertion in the place of every proof
//! that the client brought. What two servers could read in two ways is refused.

use attache_core::query::ParameterName;
use base64ct::{Base64, Encoding as _};

use crate::message::Headers;

#[cfg(test)]
mod tests;

/// Longest form that is rewritten, in bytes. A code, a refresh token or a SAML assertion takes far less.
pub(crate) const MAX_FORM: usize = 64 * 1024;
/// Most fields of a form.
const MOST_FIELDS: usize = 64;
/// Longest `client_id`, in bytes.
const MAX_CLIENT: usize = 2048;

const CLIENT_ID: &str = "client_id";
const ASSERTION: &str = "client_assertion";
const ASSERTION_TYPE: &str = "client_assertion_type";
/// The fields by which a client proves itself; its own go.
const PROOFS: [&str; 3] = ["client_secret", ASSERTION, ASSERTION_TYPE];
/// The only fields that may stand several times (RFC 8707 §2, RFC 8693 §2.1).
const REPEATED: [&str; 2] = ["resource", "audience"];

/// Why a request is no token request that can be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoForm {
    /// No `POST` of a form, or one that can be read in two ways.
    Malformed(&'static str),
    /// Its body is encoded, so that its fields cannot be read.
    Encoded,
    /// It is longer than [`MAX_FORM`].
    TooLarge,
    /// It does not say which client asks.
    NoClient,
}

impl NoForm {
    /// Status, stable code and a sentence for the caller.
    pub(crate) const fn told(self) -> (u32, &'static str, &'static str) {
        match self {
            Self::Malformed(sentence) => (400, "token-request-malformed", sentence),
            Self::Encoded => (
                415,
                "token-request-encoded",
                "a token request must come without content-encoding",
            ),
            Self::TooLarge => (
                413,
                "token-request-too-large",
                "a token request has at most 65536 bytes",
            ),
            Self::NoClient => (
                400,
                "client-id-missing",
                "the token request names no client: send client_id",
            ),
        }
    }
}

/// Whether a request may be a token request, so that its header is held back until its body has come.
pub(crate) fn may_be(headers: &Headers<'_>) -> bool {
    is_form(headers) && headers.text("content-length").is_none_or(fits)
}

/// Whether a request can be rewritten, as far as its header tells.
pub(crate) fn check(headers: &Headers<'_>) -> Result<(), NoForm> {
    if !is_form(headers) {
        let expected = "policy lets OAuth token requests pass here: POST with a form";
        return Err(NoForm::Malformed(expected));
    }
    let mut encodings = headers.values("content-encoding");
    if encodings.any(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(NoForm::Encoded);
    }
    if !headers.text("content-length").is_none_or(fits) {
        return Err(NoForm::TooLarge);
    }
    let path = headers.path().unwrap_or_default();
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let mut names = query
        .split('&')
        .map(|field| field.split('=').next().unwrap_or(field));
    // RFC 6749 §3.2: what proves a client never stands in the URI, where servers may look first.
    let ours = names.any(|name| reserved().any(|(_, ours)| ours.is_imitated_by(name)));
    if ours || query.contains(';') {
        return Err(NoForm::Malformed(
            "the client stands in the query of a token request",
        ));
    }
    Ok(())
}

fn is_form(headers: &Headers<'_>) -> bool {
    // Most requests are none: they are told by the first look.
    if headers.method() != Some("POST") {
        return false;
    }
    let kind = headers.text("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn fits(length: &str) -> bool {
    length.parse().is_ok_and(|length: usize| length <= MAX_FORM)
}

/// The fields that say who the client is.
fn reserved() -> impl Iterator<Item = (&'static str, ParameterName)> {
    let names = PROOFS.into_iter().chain([CLIENT_ID]);
    names.filter_map(|name| Some((name, ParameterName::parse(name).ok()?)))
}

/// A token request that can be rewritten.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form<'a> {
    /// Its fields as they came, but for the client's proofs.
    kept: Vec<&'a str>,
    client: String,
    /// Whether `client` stands in none of `kept`.
    moved: bool,
}

impl<'a> Form<'a> {
    /// Reads a form and the client's own authentication.
    pub(crate) fn read(body: &'a [u8], headers: &Headers<'_>) -> Result<Self, NoForm> {
        let malformed = |sentence| Err(NoForm::Malformed(sentence));
        if body.len() > MAX_FORM {
            return Err(NoForm::TooLarge);
        }
        if body.is_empty() {
            return malformed("the token request is empty");
        }
        // A `;` divides fields for some servers, and nothing that encodes forms leaves one.
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b';';
        let text = core::str::from_utf8(body).ok();
        let Some(text) = text.filter(|text| text.as_bytes().iter().all(plain)) else {
            return malformed("the form holds characters that must be escaped");
        };
        let mut kept = Vec::new();
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut client = None;
        for field in text.split('&') {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let Some(decoded) = decoded(name) else {
                return malformed("the form holds an escape that is none");
            };
            let known = reserved().find(|(_, ours)| ours.is_imitated_by(name));
            if known.is_some_and(|(ours, _)| ours.as_bytes() != decoded) {
                return malformed("the form holds a field that some servers read as the client's");
            }
            let repeats = REPEATED.iter().any(|may| may.as_bytes() == decoded);
            if !decoded.is_empty() && !repeats && names.contains(&decoded) {
                return malformed("a field of the form stands twice");
            }
            if names.len() >= MOST_FIELDS {
                return malformed("the form has more than 64 fields");
            }
            if decoded == CLIENT_ID.as_bytes() {
                client = Some(self::client(value)?);
            }
            if !PROOFS.iter().any(|proof| proof.as_bytes() == decoded) {
                kept.push(field);
            }
            names.push(decoded);
        }
        let basic = basic(headers)?;
        let moved = client.is_none();
        match (client, basic) {
            (Some(one), Some(other)) if one != other => {
                malformed("the form and its authorization name two clients")
            }
            (Some(client), _) | (None, Some(client)) => Ok(Self {
                kept,
                client,
                moved,
            }),
            (None, None) => Err(NoForm::NoClient),
        }
    }

    /// Which client asks.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// The form with an assertion: its other fields as they came, in their order.
    pub(crate) fn with(&self, kind: &str, assertion: &str) -> String {
        let mut form = self.kept.join("&");
        let mut add = |name: &str, value: &str| {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            value.bytes().for_each(|byte| push_encoded(&mut form, byte));
        };
        if self.moved {
            add(CLIENT_ID, &self.client);
        }
        add(ASSERTION_TYPE, kind);
        add(ASSERTION, assertion);
        form
    }
}

/// Whether a text may stand as an assertion: a compact JWT (RFC 7515 §7.1).
pub(crate) fn is_assertion(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

/// The user name of Basic authentication (RFC 6749 §2.3.1); `None` if it is another, or none.
fn basic(headers: &Headers<'_>) -> Result<Option<String>, NoForm> {
    let mut values = headers.values("authorization");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(NoForm::Malformed("several authorization headers"));
    }
    let scheme = value.split_at_checked(6);
    let Some((_, pair)) = scheme.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic "))
    else {
        return Ok(None);
    };
    let unreadable = NoForm::Malformed("the Basic authentication cannot be read");
    let pair = core::str::from_utf8(pair.trim_ascii()).map_err(|_bytes| unreadable)?;
    let pair = Base64::decode_vec(pair).map_err(|_text| unreadable)?;
    let user = pair.split(|byte| *byte == b':').next().unwrap_or_default();
    let user = core::str::from_utf8(user).map_err(|_bytes| unreadable)?;
    client(user).map(Some)
}

/// A `client_id`, encoded as in a form.
fn client(encoded: &str) -> Result<String, NoForm> {
    let bytes = decoded(encoded).filter(|bytes| bytes.len() <= MAX_CLIENT);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        None => Err(NoForm::Malformed("the client_id cannot be read")),
        Some(text) if text.is_empty() => Err(NoForm::NoClient),
        Some(text) => Ok(text),
    }
}

/// A text of a form with its escapes read (WHATWG URL §5.1); `None` if one of them is none.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let ([high, low], after) = more.split_first_chunk()?;
                rest = after;
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?;
                u8::try_from(byte).ok()?
            }
            other => *other,
        });
    }
    Some(bytes)
}

fn push_encoded(form: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
        return form.push(char::from(byte));
    }
    form.push('%');
    for digit in [byte >> 4, byte & 15] {
        let digit = DIGITS.get(usize::from(digit)).copied();
        form.push(char::from(digit.unwrap_or(b'0')));
    }
}
