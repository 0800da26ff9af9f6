//! The scope of a decision: which other calls the same policies cover in the same way.
//!
//! INVARIANT: each action and each of its prefixes covers either every call of the scope or none, so
//! that whatever was found for one of them is found for all.

use attache_core::{
    freshness::Lifetime,
    request::{PathPrefix, RequestPath},
    scope::{Caller, MAX_EXCEPTIONS, Methods, Paths, Region, Scope},
};

use crate::{
    decision::Ground,
    document::{Effect, MethodSet, PathMatching},
    rule::RuleAction,
};

/// How many methods a scope names; where policies name more, it is about one.
const MAX_METHODS: usize = 64;

/// What the actions cover that ask about the method.
#[derive(Default)]
struct Prefixes<'a> {
    exact: Vec<&'a PathPrefix>,
    /// Those that cover other spellings, too.
    folded: Vec<&'a PathPrefix>,
}

impl Ground<'_> {
    pub(crate) fn scope(&self, caller: Caller) -> Scope {
        let horizon = self.rehearsed_horizon;
        if horizon.once || horizon.until <= self.decided_at {
            return Scope::Once;
        }
        let request = &self.request;
        let mut actions: Vec<&RuleAction> = Vec::new();
        self.compiled
            .for_each_rule(self.attestation, request, &mut |rule, _rank| {
                // What such a policy covers never shows in an answer.
                let ignored = rule.effect == Effect::Deny && !rule.accepts(self.attestation);
                if !ignored {
                    actions.extend(&rule.actions);
                }
            });
        let covering = actions
            .iter()
            .filter(|action| action.methods.contains(request.method));
        let mut prefixes: Prefixes<'_> = Prefixes::default();
        for action in covering {
            match action.path_matching {
                PathMatching::Exact => prefixes.exact.extend(action.prefixes.iter()),
                PathMatching::CaseInsensitive => prefixes.folded.extend(action.prefixes.iter()),
            }
        }
        Scope::Region(Box::new(Region {
            revision: self.compiled.revision().to_owned(),
            caller,
            host: request.host.clone(),
            port: request.port,
            transport: request.transport,
            methods: methods(&actions, request.method),
            paths: paths(&prefixes, request.path),
            holds: Lifetime {
                issued_at: self.decided_at,
                expires_at: horizon.until,
            },
        }))
    }
}

/// The methods that belong to the same actions as `method`.
fn methods(actions: &[&RuleAction], method: &str) -> Methods {
    let mut listed: Vec<&str> = Vec::new();
    for action in actions {
        let MethodSet::These(methods) = &action.methods else {
            continue;
        };
        for method in methods.iter() {
            if !listed.contains(&method.as_str()) {
                listed.push(method);
            }
        }
        if listed.len() > MAX_METHODS {
            return Methods::These(vec![method.to_owned()]);
        }
    }
    let owned = |methods: &mut dyn Iterator<Item = &str>| methods.map(ToOwned::to_owned).collect();
    // A method that no action lists belongs to those for every method alone, like each other such.
    if !listed.contains(&method) {
        return Methods::AllBut(owned(&mut listed.into_iter()));
    }
    let alike = |other: &&str| {
        actions
            .iter()
            .all(|action| action.methods.contains(other) == action.methods.contains(method))
    };
    Methods::These(owned(&mut listed.iter().copied().filter(alike)))
}

/// The paths that lie under the same of `prefixes` as `path`.
fn paths(prefixes: &Prefixes<'_>, path: RequestPath<'_>) -> Paths {
    let exact = &prefixes.exact;
    let covering = exact.iter().filter(|prefix| prefix.covers(path));
    let longest = covering.map(|prefix| prefix.segments()).max().unwrap_or(0);
    let mut count = longest;
    while let Some(prefix) = PathPrefix::beginning(path, count) {
        // No scope can cut out every spelling of a path: it ends above the first that is another matter.
        let is_of_one_kind =
            |other: &&PathPrefix| other.encloses_folded(&prefix) || !prefix.reaches_folded(other);
        if prefixes.folded.iter().all(is_of_one_kind)
            && let Some(except) = exceptions(exact, &prefix, path)
        {
            return Paths::Under { prefix, except };
        }
        count = count.saturating_add(1);
    }
    Paths::Exactly(path.spelled().into_owned())
}

/// What must be cut out below `prefix`; `None` if that is too much.
fn exceptions(
    prefixes: &[&PathPrefix],
    prefix: &PathPrefix,
    path: RequestPath<'_>,
) -> Option<Vec<PathPrefix>> {
    let below = prefixes
        .iter()
        .copied()
        .filter(|other| prefix.encloses(other) && !other.covers(path));
    let mut below: Vec<&PathPrefix> = below.collect();
    // The shorter first: it takes those below it along.
    below.sort_by_key(|other| other.segments());
    let mut kept: Vec<PathPrefix> = Vec::new();
    for other in below {
        if kept.iter().any(|kept| kept.encloses(other)) {
            continue;
        }
        if kept.len() == MAX_EXCEPTIONS {
            return None;
        }
        kept.push(other.clone());
    }
    Some(kept)
}
