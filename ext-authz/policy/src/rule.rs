//! A policy as it is decided by: everything that its references meant, in one value.

use std::{ops::Deref, sync::Arc};

use arrayvec::ArrayString;
use attache_core::{
    attestation::Attestation,
    request::{PathPrefix, Request, RequestPath},
};

use crate::{
    condition::Condition,
    document::{
        CredentialProvider, Effect, MethodSet, PathMatching, Placement, PolicyMode, TlsRule,
    },
};

/// What one policy says about one client on one target.
#[derive(Debug)]
pub(crate) struct Rule {
    terms: Arc<Terms>,
    /// The policy document's qualified name, then `policy_matched` of each action, in lines. No name holds a
    /// line break.
    names: Names,
}

/// Most bytes of names that stand in the rule itself, so that whoever tells of it reads memory in one place.
const IN_PLACE: usize = 104;

#[derive(Debug)]
enum Names {
    InPlace(ArrayString<IN_PLACE>),
    Elsewhere(Box<str>),
}

/// A rule without its names. Those of a large set repeat a few, which are kept once.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) effect: Effect,
    pub(crate) mode: PolicyMode,
    pub(crate) tls: TlsRule,
    pub(crate) accepts: Accepts,
    /// All must hold.
    pub(crate) conditions: Box<[Arc<Condition>]>,
    pub(crate) credential: Option<Arc<CredentialProvider>>,
    /// Where the credential goes; empty if there is none.
    pub(crate) placements: Arc<[Placement]>,
    pub(crate) actions: Box<[RuleAction]>,
}

/// Whose proof of the caller counts. Providers stand by their qualified names.
#[derive(Debug)]
pub(crate) enum Accepts {
    /// Anyone's, and nobody's: only a deny may say so.
    Anyone,
    /// One of these. An empty list is none.
    These(Arc<[Arc<str>]>),
    /// Each of these.
    All(Arc<[Arc<str>]>),
    /// Nobody's: it is about callers that show no evidence, and attaches nothing.
    Nobody,
}

/// A set of calls, which has its name in [`Rule::matched`].
#[derive(Debug)]
pub(crate) struct RuleAction {
    pub(crate) methods: MethodSet,
    /// Where both the action and the server workload reach.
    pub(crate) prefixes: Arc<[PathPrefix]>,
    /// Of a deny: which spellings of a path are one. Of an allow: exact.
    pub(crate) path_matching: PathMatching,
}

impl Accepts {
    /// The providers that it names.
    pub(crate) fn named(&self) -> &[Arc<str>] {
        match self {
            Self::Anyone | Self::Nobody => &[],
            Self::These(providers) | Self::All(providers) => providers,
        }
    }

    /// Whether this provider's proof has any weight.
    pub(crate) fn includes(&self, provider: &str) -> bool {
        let mut named = self.named().iter();
        matches!(self, Self::Anyone) || named.any(|listed| **listed == *provider)
    }
}

impl Rule {
    /// `names`: the policy's, then a line for each of the terms' actions, in their order.
    pub(crate) fn new(terms: Arc<Terms>, names: String) -> Self {
        let names = match ArrayString::from(&names) {
            Ok(names) => Names::InPlace(names),
            Err(_too_long) => Names::Elsewhere(names.into()),
        };
        Self { terms, names }
    }

    fn names(&self) -> &str {
        match &self.names {
            Names::InPlace(names) => names,
            Names::Elsewhere(names) => names,
        }
    }

    /// The policy document's qualified name.
    pub(crate) fn policy(&self) -> &str {
        self.names().lines().next().unwrap_or_default()
    }

    /// `<effect>:<client>:<server>:<action>` of the action at this place of [`Terms::actions`].
    pub(crate) fn matched(&self, action: usize) -> &str {
        let mut matched = self.names().lines().skip(1);
        matched.nth(action).unwrap_or_default()
    }
}

impl Deref for Rule {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Terms {
    /// Whether it is about a caller that was proven so.
    ///
    /// SECURITY: where the evidence proves several workloads, an allow demands that each was named.
    pub(crate) fn accepts(&self, attestation: &Attestation) -> bool {
        let mut proofs = attestation.proofs().map(|proof| proof.provider.as_str());
        let several = self.effect == Effect::Allow && !attestation.is_one_workload();
        match &self.accepts {
            Accepts::Anyone => true,
            Accepts::Nobody => false,
            Accepts::These(_) => !several && proofs.any(|provider| self.accepts.includes(provider)),
            Accepts::All(named) => {
                let proved = |name: &Arc<str>| {
                    let mut proofs = attestation.proofs();
                    proofs.any(|proof| *proof.provider == **name)
                };
                named.iter().all(proved)
                    && (!several || proofs.all(|provider| self.accepts.includes(provider)))
            }
        }
    }

    /// What remains of the caller if only those providers count that an allow names; `None` if that is all.
    /// A deny goes by whatever was proven.
    pub(crate) fn narrowed(&self, attestation: &Attestation) -> Option<Attestation> {
        let narrows = attestation.is_by_several() && self.effect == Effect::Allow;
        narrows
            .then(|| attestation.narrowed(|provider| self.accepts.includes(provider)))
            .flatten()
    }

    /// Whether it counts, and is not only rehearsed.
    pub(crate) const fn is_enforced(&self) -> bool {
        matches!(self.mode, PolicyMode::Enforce)
    }

    /// The place of the action that covers the request by the longest prefix, and how many segments that has.
    /// Among equals the one written first.
    pub(crate) fn covering(&self, request: &Request<'_>) -> Option<(usize, usize)> {
        let mut longest = None;
        for (place, action) in self.actions.iter().enumerate() {
            let Some(segments) = action.covering(request) else {
                continue;
            };
            if longest.is_none_or(|(most, _)| segments > most) {
                longest = Some((segments, place));
            }
        }
        longest
    }

    /// Whether a caller gets the same credential in the same place from both.
    pub(crate) fn grants_same_as(&self, other: &Self) -> bool {
        match (&self.credential, &other.credential) {
            (None, None) => true,
            (Some(one), Some(two)) => {
                same(one, two, |one, two| one.kind == two.kind)
                    && same(&self.placements, &other.placements, PartialEq::eq)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// Most parts of a set are shared, so that they need not be compared.
fn same<T: ?Sized>(one: &Arc<T>, other: &Arc<T>, equal: impl FnOnce(&T, &T) -> bool) -> bool {
    Arc::ptr_eq(one, other) || equal(one, other)
}

impl RuleAction {
    fn covering(&self, request: &Request<'_>) -> Option<usize> {
        if !self.methods.contains(request.method) {
            return None;
        }
        let covering = self
            .prefixes
            .iter()
            .filter(|prefix| self.reaches(prefix, request.path));
        covering.map(PathPrefix::segments).max()
    }

    /// Whether `path` lies under `prefix`, one of its own.
    pub(crate) fn reaches(&self, prefix: &PathPrefix, path: RequestPath<'_>) -> bool {
        match self.path_matching {
            PathMatching::Exact => prefix.covers(path),
            PathMatching::CaseInsensitive => prefix.covers_folded(path),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
