//! Paths as a target reads them that folds their spelling: letters of either case are one, and dots and spaces
//! at the end of a segment are nothing, as with files on Windows.
//!
//! SECURITY: it is for denials alone. It takes more spellings for one than any target does, and an allow that
//! did so would allow what its author never saw.

use alloc::{string::String, vec::Vec};

use super::{PathPrefix, RequestPath};

impl PathPrefix {
    /// Whether such a target may read `path` as one that lies under the prefix.
    pub fn covers_folded(&self, path: RequestPath<'_>) -> bool {
        is_under(&folded(path.as_str()), &folded(&self.0))
    }

    /// Whether such a target may read everything under `other` as what lies under this prefix.
    pub fn encloses_folded(&self, other: &Self) -> bool {
        is_under(&folded(&other.0), &folded(&self.0))
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A segment of which nothing remains is none: `/./a` is `/a`, and so may be `/.../a`.
fn folded(path: &str) -> String {
    let decoded = decoded(path);
    let mut folded = String::with_capacity(decoded.len());
    for segment in decoded.split('/') {
        let segment = segment.trim_end_matches(['.', ' ']);
        if segment.is_empty() {
            continue;
        }
        folded.push('/');
        // In capitals first: some letters have one capital and two small ones (`s` and `ſ`).
        let capitals = segment.chars().flat_map(char::to_uppercase);
        folded.extend(capitals.flat_map(char::to_lowercase));
    }
    folded
}

// INVARIANT: the escapes of `path` are those that a RequestPath may have: UTF-8, and no `/` among them.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = Vec::from(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend(rest.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
