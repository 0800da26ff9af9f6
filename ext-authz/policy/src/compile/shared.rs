//! Equal parts of many policies, kept once: a large set repeats its methods, paths, providers and headers
//! in nearly every policy.

use std::{borrow::Borrow, cell::RefCell, hash::Hash, sync::Arc, time::Duration};

use attache_core::request::PathPrefix;
use smallvec::SmallVec;

use crate::{
    document::{
        CredentialProvider, Effect, MethodSet, PathMatching, Placement, PolicyMode, TlsRule,
    },
    hash::{Map, Set},
    rule::{Accepts, Terms},
};

/// One kind of part.
pub(super) struct Kept<T: ?Sized>(RefCell<Set<Arc<T>>>);

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

    /// The same of what is shared already, perhaps among a few.
    pub(super) fn shared_arc(&self, part: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.borrow().get(&**part) {
            return Arc::clone(known);
        }
        self.0.borrow_mut().insert(Arc::clone(part));
        Arc::clone(part)
    }
}

/// The parts of policies.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) placements: Kept<[Placement]>,
    pub(super) prefixes: Kept<[PathPrefix]>,
    pub(super) providers: Kept<[Arc<str>]>,
    methods: Kept<[String]>,
    terms: RefCell<Map<Addresses, Arc<Terms>>>,
    credentials: RefCell<Map<(usize, Duration), Arc<CredentialProvider>>>,
}

/// The parts of terms, each by where it is kept.
#[derive(PartialEq, Eq, Hash)]
struct Addresses {
    effect: Effect,
    mode: PolicyMode,
    tls: TlsRule,
    accepts: (u8, usize),
    conditions: SmallVec<[usize; 2]>,
    credential: usize,
    placements: usize,
    /// Methods and prefixes of each action, and how these are compared.
    actions: SmallVec<[(usize, usize, PathMatching); 3]>,
}

impl Addresses {
    fn of(terms: &Terms) -> Self {
        let Terms {
            effect,
            mode,
            tls,
            accepts,
            conditions,
            credential,
            placements,
            actions,
        } = terms;
        let methods = |methods: &MethodSet| match methods {
            MethodSet::Any => 0,
            MethodSet::These(methods) => address(methods),
        };
        let actions = actions.iter();
        Self {
            effect: *effect,
            mode: *mode,
            tls: *tls,
            accepts: match accepts {
                Accepts::Anyone => (0, 0),
                Accepts::Nobody => (1, 0),
                Accepts::These(providers) => (2, address(providers)),
                Accepts::All(providers) => (3, address(providers)),
            },
            conditions: conditions.iter().map(address).collect(),
            credential: credential.as_ref().map_or(0, address),
            placements: address(placements),
            actions: actions
                .map(|action| {
                    let (methods, prefixes) = (methods(&action.methods), address(&action.prefixes));
                    (methods, prefixes, action.path_matching)
                })
                .collect(),
        }
    }
}

/// Where something is kept, which is nothing else's while it is.
fn address<T: ?Sized>(kept: &Arc<T>) -> usize {
    Arc::as_ptr(kept).addr()
}

impl Shared {
    pub(super) fn methods(&self, methods: &MethodSet) -> MethodSet {
        match methods {
            MethodSet::Any => MethodSet::Any,
            MethodSet::These(methods) => MethodSet::These(self.methods.shared_arc(methods)),
        }
    }

    /// INVARIANT: what is compared by its address stays as long as this: the terms of each hold its parts.
    pub(super) fn terms(&self, terms: Terms) -> Arc<Terms> {
        let addresses = Addresses::of(&terms);
        let mut kept = self.terms.borrow_mut();
        Arc::clone(kept.entry(addresses).or_insert_with(|| Arc::new(terms)))
    }

    /// `provider` with another lifetime; `None` if it can be asked for none.
    pub(super) fn lasting(
        &self,
        provider: &Arc<CredentialProvider>,
        ttl: Duration,
    ) -> Option<Arc<CredentialProvider>> {
        let mut kept = self.credentials.borrow_mut();
        if let Some(known) = kept.get(&(address(provider), ttl)) {
            return Some(Arc::clone(known));
        }
        let kind = provider.kind.lasting(ttl)?;
        let lasting = if kind == provider.kind {
            Arc::clone(provider)
        } else {
            let CredentialProvider {
                name, hosts, place, ..
            } = &**provider;
            Arc::new(CredentialProvider {
                name: name.clone(),
                hosts: hosts.clone(),
                kind,
                place: place.clone(),
            })
        };
        kept.insert((address(provider), ttl), Arc::clone(&lasting));
        Some(lasting)
    }
}
