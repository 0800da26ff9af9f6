//! A policy set as decisions are made with it: immutable, looked up by hash.

mod clients;
mod search;
mod targets;

use std::collections::{BTreeSet, HashMap};

use attache_core::{
    attestation::Attestation,
    decision::DenyReason,
    header::HeaderName,
    jwt::RejectedToken,
    request::{Host, Request},
    time::Timestamp,
};

use crate::{
    compile::Meaning,
    decision::{Decision, Denial},
    document::TrustProvider,
    problem::Problems,
    rule::Rule,
};
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
    rules: HashMap<(ClientId, TargetId), Vec<Rule>>,
    injectable: Vec<HeaderName>,
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
        let mut targets = TargetIndex::default();
        let mut rules: HashMap<_, Vec<Rule>> = HashMap::new();
        for binding in bindings {
            let key = (ClientId(binding.client), targets.insert(&binding));
            rules.entry(key).or_default().push(binding.rule);
        }
        targets.spread_injectable();
        let headers = targets.injectable().cloned().collect::<BTreeSet<_>>();
        Self {
            revision,
            warnings,
            trust_providers,
            policy_count,
            clients: ClientIndex::build(selectors),
            targets,
            rules,
            injectable: headers.into_iter().collect(),
        }
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

    /// The target, if any policy is about it.
    pub fn target(&self, host: &Host, port: u16) -> Option<Target<'_>> {
        let nearest = self.targets.covering(host, port).next()?;
        Some(Target {
            injectable: &nearest.injectable,
        })
    }

    /// Decides one call. A deny wins; among allows the more specific target wins, exact host before
    /// longest suffix before longest path prefix.
    pub fn decide<'a>(
        &'a self,
        attestation: &'a Attestation,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Decision<'a> {
        if attestation.expires_at() <= now {
            let reason = DenyReason::EvidenceRejected(RejectedToken::Expired);
            return Decision::Deny(Denial::new(reason, None));
        }
        let mut search = Search::new(attestation, request);
        self.clients.for_each_match(attestation, &mut |client| {
            for target in self.targets.covering(request.host, request.port) {
                for rule in self.rules.get(&(client, target.id)).into_iter().flatten() {
                    search.consider(rule, target.rank);
                }
            }
        });
        search.decision(self)
    }
}
