//! A policy set as decisions are made with it: immutable, looked up by hash.

mod asked;
mod clients;
mod every;
mod reach;
mod search;
mod targets;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    iter,
};

use attache_core::{
    attestation::Attestation,
    decision::DenyReason,
    header::HeaderName,
    jwt::RejectedToken,
    request::{Host, Request},
};

use crate::{
    compile::Meaning,
    condition::{Facts, Horizon},
    context::Context,
    decision::{Checked, Decided, Decision, Denial, Ground},
    document::TrustProvider,
    problem::Problems,
    rule::Rule,
};
pub(crate) use every::Bound;
pub(crate) use targets::HostRank;

use clients::{ClientId, ClientIndex};
use search::Search;
use targets::{TargetId, TargetIndex};

/// A policy set in force.
#[derive(Debug)]
pub struct Compiled {
    revision: String,
    warnings: Problems,
    trust_providers: Vec<TrustProvider>,
    policy_count: usize,
    clients: ClientIndex,
    targets: TargetIndex,
    rules: HashMap<(ClientId, TargetId), Box<[Rule]>>,
    injectable: Vec<HeaderName>,
    asked_about: HashSet<Box<str>>,
}

/// A host and port that at least one policy is about.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    injectable: &'a [HeaderName],
}

impl<'a> Target<'a> {
    /// The headers that a policy for this target could inject, whoever calls. A client's own value of
    /// them is removed.
    pub const fn injectable(&self) -> &'a [HeaderName] {
        self.injectable
    }
}

impl Compiled {
    pub(crate) fn build(meaning: Meaning, revision: String, warnings: Problems) -> Self {
        let Meaning {
            trust_providers,
            selectors,
            mut bindings,
        } = meaning;
        bindings.sort_by(|one, other| one.rule.policy.cmp(&other.rule.policy));
        let policy_count = bindings.len();
        let asked_about = asked::about(&selectors, &bindings);
        let mut targets = TargetIndex::default();
        let mut rules: Vec<((ClientId, TargetId), Rule)> = Vec::with_capacity(policy_count);
        for binding in bindings {
            let key = (ClientId(binding.client), targets.insert(&binding));
            rules.push((key, binding.rule));
        }
        targets.finish();
        let headers = targets.injectable().cloned().collect::<BTreeSet<_>>();
        Self {
            revision,
            warnings,
            trust_providers,
            policy_count,
            clients: ClientIndex::build(selectors),
            targets,
            rules: grouped(rules),
            injectable: headers.into_iter().collect(),
            asked_about,
        }
    }

    /// Whether any policy asks about an attribute of that name.
    pub fn asks_about(&self, attribute: &str) -> bool {
        self.asked_about.contains(attribute)
    }

    /// 16 hex digits that name what the set was compiled from.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What was accepted and is probably not what was meant.
    pub const fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// The providers of the configuration and of the documents.
    pub fn trust_providers(&self) -> &[TrustProvider] {
        &self.trust_providers
    }

    /// How many policies the set has, short forms included.
    pub const fn policy_count(&self) -> usize {
        self.policy_count
    }

    /// Every header that any policy could inject, by name.
    pub fn injectable_headers(&self) -> &[HeaderName] {
        &self.injectable
    }

    /// The target, if an enforced policy is about it.
    pub fn target(&self, host: &Host, port: u16) -> Option<Target<'_>> {
        let mut covering = self.targets.covering(host, port).peekable();
        let injectable = &covering.peek()?.injectable;
        covering
            .any(|target| target.enforced)
            .then_some(Target { injectable })
    }

    /// Whether a dry-run policy is about the target. What it would do can only be told of a caller that
    /// is proven.
    pub fn rehearses(&self, host: &Host, port: u16) -> bool {
        self.targets
            .covering(host, port)
            .any(|target| target.rehearsed)
    }

    /// Decides one call. A deny wins; among allows the more specific target wins, exact host before
    /// longest suffix before longest path prefix. Dry-run policies change nothing of the answer.
    pub fn decide<'a>(
        &'a self,
        attestation: &'a Attestation,
        request: &Request<'a>,
        context: &Context<'a>,
    ) -> Decided<'a> {
        let facts = Facts {
            attestation,
            request: *request,
            context: *context,
        };
        if attestation.expires_at() <= context.now {
            return self.expired(&facts);
        }
        let mut search = Search::new(facts);
        self.for_each_rule(attestation, request, &mut |rule, rank| {
            search.consider(rule, rank);
        });
        search.decided(self)
    }

    /// Calls `found` for every rule that is about this caller on this host and port, at least once each.
    fn for_each_rule<'a>(
        &'a self,
        attestation: &Attestation,
        request: &Request<'_>,
        found: &mut impl FnMut(&'a Rule, HostRank),
    ) {
        self.clients.for_each_match(attestation, &mut |client| {
            for target in self.targets.covering(request.host, request.port) {
                for rule in self.rules_of(client, target.id) {
                    found(rule, target.rank);
                }
            }
        });
    }

    fn rules_of(&self, client: ClientId, target: TargetId) -> &[Rule] {
        self.rules.get(&(client, target)).map_or(&[], |rules| rules)
    }

    fn expired<'a>(&'a self, facts: &Facts<'a>) -> Decided<'a> {
        let ground = Ground {
            compiled: self,
            attestation: facts.attestation,
            request: facts.request,
            decided_at: facts.context.now,
            horizon: Horizon {
                until: facts.context.now,
                once: true,
            },
        };
        let reason = DenyReason::EvidenceRejected(RejectedToken::Expired);
        let decision = Decision::Deny(Denial::new(reason, None, ground));
        Decided::new(decision, None, Checked::new())
    }
}

/// The rules of each client on each target, in the order of their policies.
fn grouped<K: Copy + Ord + Hash>(mut rules: Vec<(K, Rule)>) -> HashMap<K, Box<[Rule]>> {
    rules.sort_by_key(|(key, _)| *key);
    let mut groups: HashMap<K, Box<[Rule]>> = HashMap::with_capacity(rules.len());
    let mut rules = rules.into_iter().peekable();
    while let Some((key, first)) = rules.next() {
        let same = iter::from_fn(|| rules.next_if(|(other, _)| *other == key));
        let group = iter::once(first).chain(same.map(|(_, rule)| rule));
        groups.insert(key, group.collect());
    }
    groups.shrink_to_fit();
    groups
}
