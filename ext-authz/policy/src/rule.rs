//! A policy as it is decided by: everything that its references meant, in one value.

use std::sync::Arc;

use attache_core::request::{PathPrefix, Request};

use crate::{
    condition::Condition,
    document::{CredentialProvider, Effect, MethodSet, Placement, PolicyMode, TlsRule},
};

/// What one policy says about one client on one target.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The policy document's qualified name.
    pub(crate) policy: Box<str>,
    pub(crate) effect: Effect,
    pub(crate) mode: PolicyMode,
    pub(crate) accepts: Accepts,
    /// All must hold.
    pub(crate) conditions: Box<[Arc<Condition>]>,
    pub(crate) credential: Option<Arc<CredentialProvider>>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) tls: TlsRule,
    pub(crate) actions: Box<[RuleAction]>,
}

/// Whose proof of the caller counts.
#[derive(Debug)]
pub(crate) enum Accepts {
    /// Anyone's: only a deny may say so.
    Anyone,
    /// These providers', by qualified name. None at all: nobody's.
    These(Arc<[Arc<str>]>),
}

/// A named set of calls.
#[derive(Debug)]
pub(crate) struct RuleAction {
    /// `<effect>:<client>:<server>:<action>`.
    pub(crate) matched: Box<str>,
    pub(crate) methods: MethodSet,
    /// Where both the action and the server workload reach.
    pub(crate) prefixes: Arc<[PathPrefix]>,
}

impl Accepts {
    pub(crate) fn includes(&self, provider: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::These(providers) => providers.iter().any(|listed| **listed == *provider),
        }
    }
}

impl Rule {
    /// Whether it counts, and is not only rehearsed.
    pub(crate) const fn is_enforced(&self) -> bool {
        matches!(self.mode, PolicyMode::Enforce)
    }

    /// The action that covers the request by the longest prefix, and how many segments that has. Among
    /// equals the one written first.
    pub(crate) fn covering(&self, request: &Request<'_>) -> Option<(usize, &RuleAction)> {
        let mut longest = None;
        for action in &self.actions {
            let Some(segments) = action.covering(request) else {
                continue;
            };
            if longest.is_none_or(|(most, _)| segments > most) {
                longest = Some((segments, action));
            }
        }
        longest
    }

    /// Whether a caller gets the same credential in the same place from both.
    pub(crate) fn grants_same_as(&self, other: &Self) -> bool {
        match (&self.credential, &other.credential) {
            (None, None) => true,
            (Some(one), Some(two)) => one.kind == two.kind && self.placement == other.placement,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl RuleAction {
    fn covering(&self, request: &Request<'_>) -> Option<usize> {
        if !self.methods.contains(request.method) {
            return None;
        }
        let covering = self
            .prefixes
            .iter()
            .filter(|prefix| prefix.covers(request.path));
        covering.map(PathPrefix::segments).max()
    }
}
