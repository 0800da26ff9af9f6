//! The trace that a call belongs to, by W3C Trace Context.

use hyper::header::{HeaderMap, HeaderValue};

#[cfg(test)]
mod tests;

/// The header with the ids (§3.2), in lower case.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The header of the vendors (§3.3), in lower case.
pub(crate) const TRACESTATE: &str = "tracestate";

/// The length of version 00, and the least of any other.
const LENGTH: usize = 55;
/// Longest `tracestate` that is passed on (§3.3.1.5 asks for 512 at least).
const MAX_STATE: usize = 512;

/// The span that a call came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) state: String,
    flags: u8,
}

impl Parent {
    /// The parent in what `values` finds under a name. `None` if there is none, or more than one, or what stands
    /// there is not valid: then nobody's trace is joined (§3.2.4).
    pub(crate) fn among<'h, I>(values: impl Fn(&'static str) -> I) -> Option<Self>
    where
        I: Iterator<Item = &'h [u8]>,
    {
        let mut parents = values(TRACEPARENT);
        let parent = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let mut parent = Self::parse(std::str::from_utf8(parent).ok()?)?;
        parent.state = state(values(TRACESTATE));
        Some(parent)
    }

    /// What the metadata of a gRPC call say, which are its headers.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::among(|name| {
            let values = headers.get_all(name).into_iter();
            values.map(HeaderValue::as_bytes)
        })
    }

    /// Whether whoever began the trace wants it recorded (§3.2.2.5.1).
    pub(crate) const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let [version] = hex(fields.next()?)?;
        let trace_id: [u8; 16] = hex(fields.next()?)?;
        let span_id: [u8; 8] = hex(fields.next()?)?;
        let [flags] = hex(fields.next()?)?;
        let ends = match version {
            0 => more.is_empty(),
            0xff => false,
            // A later version may append fields (§3.2.4).
            _ => more.is_empty() || more.starts_with('-'),
        };
        let names_something = trace_id != [0; 16] && span_id != [0; 8];
        (ends && fields.next().is_none() && names_something).then_some(Self {
            trace_id,
            span_id,
            state: String::new(),
            flags,
        })
    }
}

/// Lower-case hexadecimal digits of exactly `N` bytes.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != N.checked_mul(2)? || !digits.iter().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Several headers are one list. What is too long or no text is left out whole: it is of use to its vendors alone.
fn state<'h>(values: impl Iterator<Item = &'h [u8]>) -> String {
    let mut list = String::new();
    for value in values {
        let Ok(text) = std::str::from_utf8(value) else {
            return String::new();
        };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(text.trim());
        let visible = |letter: char| letter == ' ' || letter.is_ascii_graphic();
        if list.len() > MAX_STATE || !list.chars().all(visible) {
            return String::new();
        }
    }
    list
}
