//! How two selector entries relate: whether every caller of one is a caller of the other, or none can be.
//! Only what is certain is told.

use attache_core::{
    attestation::ProviderKind,
    attributes::{SPIFFE_ID, kubernetes},
};

use super::{CLAIMS, Condition, Entry, Pattern, Selector, contradiction};

/// What a provider proves at most one value of. A claim may have several.
const SINGLE: [&str; 7] = super::PROVEN;

impl Selector {
    /// Whether every caller that this selects is certainly selected by `other` too.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        let within = |entry: &Entry| other.entries.iter().any(|wider| entry.implies(wider));
        self.entries.iter().all(within)
    }

    /// Whether a provider of this kind can prove a caller that it selects.
    pub(crate) fn is_provable_by(&self, kind: ProviderKind) -> bool {
        self.entries.iter().any(|entry| entry.is_provable_by(kind))
    }
}

impl Entry {
    /// Whether every caller of this entry is certainly one of `wider`.
    pub(crate) fn implies(&self, wider: &Self) -> bool {
        wider.conditions.iter().all(|asked| {
            let mut own = self.conditions.iter();
            let accepted = |value: &String| asked.patterns.iter().any(|it| it.matches(value));
            own.any(|own| own.attribute == asked.attribute && own.is_within(asked))
                || self
                    .exact(&asked.attribute)
                    .is_some_and(|values| values.iter().all(accepted))
        })
    }

    /// Whether certainly no caller is one of both.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        SINGLE.iter().any(|attribute| {
            let (Some(one), Some(two)) = (self.exact(attribute), other.exact(attribute)) else {
                return false;
            };
            !one.iter().any(|value| two.contains(value))
        })
    }

    /// Whether a provider of this kind can prove all that it asks for.
    pub(crate) fn is_provable_by(&self, kind: ProviderKind) -> bool {
        let (foreign, of_pods) = match kind {
            ProviderKind::KubernetesServiceAccount => (CLAIMS, true),
            ProviderKind::Oidc => (contradiction::KUBERNETES, false),
        };
        self.conditions.iter().all(|condition| {
            let is_possible = |id: &str| contradiction::pod(id).is_some() == of_pods;
            let ids = condition.exact_values();
            let ids = ids.filter(|_| condition.attribute == SPIFFE_ID);
            !condition.attribute.starts_with(foreign)
                && ids.is_none_or(|ids| ids.into_iter().any(is_possible))
        })
    }

    /// The only values that `attribute` may have, if there is a list of them.
    pub(crate) fn exact(&self, attribute: &str) -> Option<Vec<String>> {
        let of = |attribute: &str| {
            let mut conditions = self.conditions.iter();
            conditions
                .find(|condition| condition.attribute == attribute)?
                .exact_values()
        };
        let owned = |values: Vec<&str>| values.into_iter().map(ToOwned::to_owned).collect();
        if let Some(values) = of(attribute) {
            return Some(owned(values));
        }
        // The SPIFFE ID of a pod says both.
        let position = match attribute {
            kubernetes::NAMESPACE => 0,
            kubernetes::SERVICE_ACCOUNT => 1,
            _ => return None,
        };
        let part = |id: &str| {
            let (namespace, account) = contradiction::pod(id)?;
            [namespace, account].into_iter().nth(position)
        };
        of(SPIFFE_ID)?.into_iter().map(part).collect()
    }
}

impl Condition {
    /// Whether every value that this accepts is accepted by `other`.
    fn is_within(&self, other: &Self) -> bool {
        let accepted = |pattern: &Pattern| match pattern {
            Pattern::Exact(value) => other.patterns.iter().any(|wider| wider.matches(value)),
            Pattern::Glob(_) => other.patterns.contains(pattern),
        };
        self.patterns.iter().all(accepted)
    }
}
