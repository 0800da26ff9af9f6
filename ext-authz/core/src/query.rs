//! Parameters of a query that a credential may stand in (RFC 3986 §3.4, as forms are sent), and how a client
//! could write the same one.

use alloc::string::{String, ToString};

use thiserror::Error;

#[cfg(test)]
mod tests;

/// Longest name of a parameter, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// The name of a query parameter that a credential may be put into, as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterName(String);

/// A name that cannot carry a credential.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` cannot name a query parameter; use letters, digits, `-`, `.`, `_` and `~`")]
pub struct InvalidParameterName(String);

/// What a client's query says of parameters that are to be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imitation<'q> {
    /// A name as it was sent, which an application reads as one of them.
    Named(&'q str),
    /// One that only some applications see, for they split a query at `;` too.
    Hidden,
}

impl ParameterName {
    /// Reads a name: it has one spelling on the wire, for nothing in it needs to be encoded.
    pub fn parse(name: &str) -> Result<Self, InvalidParameterName> {
        let well_formed =
            !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_unreserved);
        if well_formed {
            Ok(Self(name.to_string()))
        } else {
            Err(InvalidParameterName(name.to_string()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether some application reads `name`, as it was sent, as this parameter: encoded, in another case, with
    /// white space around it, with another sign for what PHP makes `_` of, or as an item of an array (`name[]`).
    ///
    /// SECURITY: it errs on the side of yes. What is taken out then would have been the credential's rival.
    pub fn is_imitated_by(&self, name: &str) -> bool {
        let mut theirs = Decoded(name.as_bytes())
            .skip_while(|byte| is_blank(*byte))
            .take_while(|byte| !matches!(byte, b'[' | 0));
        let mut ours = self.0.bytes();
        loop {
            match (ours.next(), theirs.next()) {
                (None, rest) => {
                    return rest.is_none_or(is_blank) && theirs.all(is_blank);
                }
                (Some(ours), Some(theirs)) if folded(ours) == folded(theirs) => {}
                (Some(_), _) => return false,
            }
        }
    }
}

/// Of `query`, what imitates one of `injected`. A name that is sent several times comes several times.
pub fn imitations<'q, 'n, I>(query: &'q str, injected: I) -> impl Iterator<Item = Imitation<'q>>
where
    I: Iterator<Item = &'n ParameterName> + Clone,
{
    query.split('&').filter_map(move |pair: &'q str| {
        let is_ours = |name: &str| injected.clone().any(|ours| ours.is_imitated_by(name));
        let name = |pair: &'q str| pair.split_once('=').map_or(pair, |(name, _)| name);
        if is_ours(name(pair)) {
            return Some(Imitation::Named(name(pair)));
        }
        let mut parts = pair.split(';');
        let hidden = pair.contains(';') && parts.any(|part| is_ours(name(part)));
        hidden.then_some(Imitation::Hidden)
    })
}

/// `value` as it stands in a query: everything but unreserved characters as `%` and two digits (RFC 3986 §2.1).
/// The text is made at its full size, so that no part of a secret stays in memory that was grown out of.
pub fn encoded(value: &str) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    let digit = |four: u8| DIGITS.get(usize::from(four)).copied().unwrap_or('0');
    let mut text = String::with_capacity(value.len().saturating_mul(3));
    for byte in value.bytes() {
        if is_unreserved(byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
    }
    text
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// PHP reads `.` and a space in a name as `_`; many others fold case.
const fn folded(byte: u8) -> u8 {
    match byte {
        b'.' | b' ' => b'_',
        other => other.to_ascii_lowercase(),
    }
}

/// The bytes of a name as forms encode it: `+` is a space, and `%` with two digits any byte.
struct Decoded<'n>(&'n [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match *self.0 {
            [b'%', high, low, ref rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (value_of(high) << 4 | value_of(low), rest)
            }
            [b'+', ref rest @ ..] => (b' ', rest),
            [byte, ref rest @ ..] => (byte, rest),
            [] => return None,
        };
        self.0 = rest;
        Some(byte)
    }
}

/// Of a hexadecimal digit.
const fn value_of(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}
