//! Paths as a target reads them that folds their spelling: letters of either case are one, and dots and spaces
//! at the end of a segment, or a stream behind a `:`, are nothing, as with files on Windows.
//!
//! SECURITY: it is for denials alone. It takes more spellings for one than any target does, and an allow that
//! did so would allow what its author never saw.

use alloc::{string::String, vec::Vec};

use super::{PathPrefix, RequestPath};

impl PathPrefix {
    /// Whether such a target may read `path` as one that lies under the prefix.
    pub fn covers_folded(&self, path: RequestPath<'_>) -> bool {
        let own = folded(&self.0, Streams::Kept);
        readings(path.as_str()).any(|path| is_under(&path, &own))
    }

    /// Whether such a target may read everything under `other` as what lies under this prefix.
    pub fn encloses_folded(&self, other: &Self) -> bool {
        let own = folded(&self.0, Streams::Kept);
        readings(&other.0).any(|other| is_under(&other, &own))
    }

    /// Whether such a target may read something under this prefix as what lies under `other`.
    pub fn reaches_folded(&self, other: &Self) -> bool {
        let (other, below) = (folded(&other.0, Streams::Kept), readings(&self.0));
        let mut below = below.map(|own| is_under(&other, &own) || is_under(&own, &other));
        below.any(|reaches| reaches)
    }
}

/// What stands behind a `:`: the name of a stream of the file, as in `/admin::$DATA`, or a part of its own name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    Kept,
    Cut,
}

/// What such a target may take `path` for.
fn readings(path: &str) -> impl Iterator<Item = String> {
    [Streams::Kept, Streams::Cut]
        .into_iter()
        .map(|streams| folded(path, streams))
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A segment of which nothing remains is none: `/./a` is `/a`, and so may be `/.../a`.
fn folded(path: &str, streams: Streams) -> String {
    let decoded = decoded(path);
    let mut folded = String::with_capacity(decoded.len());
    for segment in decoded.split('/') {
        let name = match streams {
            Streams::Kept => segment,
            Streams::Cut => segment.split(':').next().unwrap_or_default(),
        };
        let name = name.trim_end_matches(['.', ' ']);
        if name.is_empty() {
            continue;
        }
        folded.push('/');
        // In capitals first: some letters have one capital and two small ones (`s` and `ſ`).
        let capitals = name.chars().flat_map(char::to_uppercase);
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
