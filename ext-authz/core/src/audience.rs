//! Whom a token is for (`aud`, RFC 7519 §4.1.3): the texts that our issuer mints for.

/// Longest audience, in bytes.
pub const MAX_AUDIENCE_BYTES: usize = 1024;

/// Whether a token can be minted for `text`: not empty, at most [`MAX_AUDIENCE_BYTES`], without control
/// characters and without white space at its ends.
pub fn is_audience(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_AUDIENCE_BYTES
        && text.trim() == text
        && !text.chars().any(char::is_control)
}
