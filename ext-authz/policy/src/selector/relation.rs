//! How two selector entries relate: whether every caller of one is a caller of the other, or none can be.
//! Only what is certain is told.

use attache_core::{
    attributes::{self, SPIFFE_ID},
    identity::Naming,
    spiffe_id::SpiffeId,
};
use smallvec::SmallVec;

use super::{Condition, Entry, Pattern, Selector};

impl Selector {
    /// Whether every caller that this selects is certainly selected by `other` too.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        let within = |entry: &Entry| other.entries.iter().any(|wider| entry.implies(wider));
        self.entries.iter().all(within)
    }

    /// Whether this provider can prove a caller that it selects.
    pub(crate) fn is_provable_by(&self, provider: &Naming<'_>) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.is_provable_by(provider))
    }
}

impl Entry {
    /// Whether every caller of this entry is certainly one of `wider`.
    pub(crate) fn implies(&self, wider: &Self) -> bool {
        wider.conditions.iter().all(|asked| {
            let mut own = self.conditions.iter();
            own.any(|own| own.attribute == asked.attribute && own.is_within(asked))
        })
    }

    /// Whether certainly no caller is one of both: what one provider proves at most one value of would have
    /// to have two.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        self.conditions.iter().any(|condition| {
            let mut others = other.conditions.iter();
            attributes::is_single(&condition.attribute)
                && others.any(|other| {
                    other.attribute == condition.attribute && condition.excludes(other)
                })
        })
    }

    /// Whether this provider can prove all that it asks for.
    pub(crate) fn is_provable_by(&self, provider: &Naming<'_>) -> bool {
        self.conditions.iter().all(|condition| {
            provider.kind.proves(&condition.attribute)
                && (condition.attribute != SPIFFE_ID || condition.can_be_of(provider))
        })
    }

    /// The only values that `attribute` may have, if there is a list of them. The SPIFFE ID tells nothing of
    /// the other attributes: it is made of whichever the trust provider's template names.
    pub(crate) fn exact(&self, attribute: &str) -> Option<SmallVec<[&str; 1]>> {
        let mut conditions = self.conditions.iter();
        conditions
            .find(|condition| condition.attribute == attribute)?
            .exact_values()
    }
}

impl Condition {
    /// Whether one of these SPIFFE IDs can be of a workload of the provider.
    fn can_be_of(&self, provider: &Naming<'_>) -> bool {
        let can_be = |id: &str| SpiffeId::parse(id).is_ok_and(|id| provider.can_name(&id));
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| pattern.exact().is_none_or(can_be))
    }

    /// Whether certainly no value is accepted by both.
    fn excludes(&self, other: &Self) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.all(|one| other.patterns.iter().all(|two| are_apart(one, two)))
    }

    /// Whether every value that this accepts is accepted by `other`.
    fn is_within(&self, other: &Self) -> bool {
        let accepted = |pattern: &Pattern| match pattern {
            Pattern::Exact(value) => other.patterns.iter().any(|wider| wider.matches(value)),
            Pattern::Glob(_) => other.patterns.contains(pattern),
        };
        self.patterns.iter().all(accepted)
    }
}

/// Whether certainly no value matches both: of two globs, where they begin or end differently.
fn are_apart(one: &Pattern, two: &Pattern) -> bool {
    match (one.exact(), two.exact()) {
        (Some(one), _) => !two.matches(one),
        (None, Some(two)) => !one.matches(two),
        (None, None) => {
            let begins = |pattern: &'_ str| pattern.split('*').next().map_or(0, str::len);
            let ends = |pattern: &'_ str| pattern.rsplit('*').next().map_or(0, str::len);
            let (one, two) = (one.as_str(), two.as_str());
            let beginning = begins(one).min(begins(two));
            let ending = ends(one).min(ends(two));
            one.bytes().take(beginning).ne(two.bytes().take(beginning))
                || one
                    .bytes()
                    .rev()
                    .take(ending)
                    .ne(two.bytes().rev().take(ending))
        }
    }
}
