//! Patterns over attribute values, as selectors and trust providers write them.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

use crate::{
    attributes::{Attributes, SPIFFE_ID},
    spiffe_id::SpiffeId,
};

#[cfg(test)]
mod tests;

/// A value, or a value with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The value itself.
    Exact(String),
    /// With at least one `*`.
    Glob(String),
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Self {
        let text = text.to_owned();
        if text.contains('*') {
            Self::Glob(text)
        } else {
            Self::Exact(text)
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Glob(text) => text,
        }
    }

    /// The value, if there is no `*`.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(text) => Some(text),
            Self::Glob(_) => None,
        }
    }

    /// Whether `value`, the whole of it, is meant.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Glob(text) => glob_matches(text, value),
        }
    }
}

/// What a trust provider demands of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The attribute.
    pub attribute: String,
    /// One of them must match one of its values.
    pub patterns: Vec<Pattern>,
}

impl Requirement {
    /// Whether a workload with this ID and these attributes fulfils it.
    pub fn holds(&self, spiffe_id: &SpiffeId, attributes: &Attributes) -> bool {
        let accepted = |value: &str| self.patterns.iter().any(|pattern| pattern.matches(value));
        if self.attribute == SPIFFE_ID {
            return accepted(spiffe_id.as_str());
        }
        attributes
            .value(&self.attribute)
            .is_some_and(|value| value.any(accepted))
    }
}

/// Whom a trust provider vouches for: the workloads that fulfil all of one entry. Without entries, everybody
/// whom it can prove.
pub fn vouched_for(
    only: &[Vec<Requirement>],
    spiffe_id: &SpiffeId,
    attributes: &Attributes,
) -> bool {
    let fulfilled = |entry: &Vec<Requirement>| {
        entry
            .iter()
            .all(|requirement| requirement.holds(spiffe_id, attributes))
    };
    only.is_empty() || only.iter().any(fulfilled)
}

/// `*` stands for any run of characters, the empty one too. Each part between stars is taken at its
/// first occurrence, so the cost is linear in practice and never exponential.
fn glob_matches(glob: &str, value: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}
