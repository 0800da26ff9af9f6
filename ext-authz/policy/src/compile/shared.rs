//! Equal parts of many policies, kept once: a large set repeats its methods, paths, providers and headers
//! in nearly every policy.

use std::{borrow::Borrow, cell::RefCell, collections::HashSet, hash::Hash, sync::Arc};

use attache_core::request::PathPrefix;

use crate::document::{MethodSet, Placement};

/// One kind of part.
pub(super) struct Kept<T: ?Sized>(RefCell<HashSet<Arc<T>>>);

impl<T: ?Sized> Default for Kept<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: ?Sized + Eq + Hash> Kept<T> {
    /// What is equal to `part`; the first of its like is kept.
    pub(super) fn shared(&self, part: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        if let Some(known) = self.0.borrow().get(part.borrow()) {
            return Arc::clone(known);
        }
        let part: Arc<T> = part.into();
        self.0.borrow_mut().insert(Arc::clone(&part));
        part
    }
}

/// The parts of policies.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) placements: Kept<[Placement]>,
    pub(super) prefixes: Kept<[PathPrefix]>,
    pub(super) providers: Kept<[Arc<str>]>,
    methods: Kept<[String]>,
}

impl Shared {
    pub(super) fn methods(&self, methods: &MethodSet) -> MethodSet {
        match methods {
            MethodSet::Any => MethodSet::Any,
            MethodSet::These(methods) => MethodSet::These(self.methods.shared(Arc::clone(methods))),
        }
    }
}
