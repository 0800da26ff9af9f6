//! A policy set as decisions are made with it: immutable, looked up by hash.

mod asked;
mod clients;
mod every;
mod exchange;
mod reach;
mod rules;
mod search;
mod short;
mod table;
mod targets;
mod unproven;

use std::{panic::resume_unwind, sync::Arc, thread};

use attache_core::{
    attestation::Attestation,
    decision::DenyReason,
    jwt::RejectedToken,
    request::{Host, Request},
};

use crate::{
    compile::{Binding, Meaning},
    condition::{Facts, Horizon, Seen},
    context::Context,
    decision::{Checked, Decided, Decision, Denial, Ground},
    document::{Carrier, CredentialProvider, TrustProvider},
    hash::Set,
    problem::Problems,
    rule::Rule,
};
pub(crate) use clients::ClientId;
pub(crate) use every::Bound;
pub(crate) use exchange::{ANY_LABEL, ANY_METHOD, Example};
pub use exchange::{NotHandedOut, Withheld};
pub(crate) use targets::{HostRank, TargetId};
pub use unproven::{Admitted, Turned};

use clients::ClientIndex;
use rules::{Begins, RuleIndex};
use search::Search;
use smallvec::SmallVec;
use targets::{Covering, TargetIndex};

/// How many targets cover nearly every host; for more, memory is allocated.
const MANY_TARGETS: usize = 8;

/// A policy set in force.
#[derive(Debug)]
pub struct Compiled {
    revision: String,
    warnings: Problems,
    trust_providers: Vec<TrustProvider>,
    policy_count: usize,
    clients: ClientIndex,
    targets: TargetIndex,
    rules: RuleIndex,
    credential_providers: Vec<Arc<CredentialProvider>>,
    /// Those of whom something is said and nothing is proven.
    unproven_clients: Vec<ClientId>,
    asked_about: Set<Box<str>>,
    /// Where tokens are used, by audience.
    audiences: exchange::Audiences,
}

/// A host and port that at least one policy is about.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    injectable: &'a [Carrier],
}

impl<'a> Target<'a> {
    /// The places that a policy for this target could inject into, whoever calls. A client's own value there
    /// is removed.
    pub const fn injectable(&self) -> &'a [Carrier] {
        self.injectable
    }
}

/// Those that the policies name, by name. One with another lifetime is another one.
fn named_credentials(bindings: &[Binding]) -> Vec<Arc<CredentialProvider>> {
    let mut seen = Set::default();
    let named = bindings.iter();
    let named = named.filter_map(|binding| binding.rule.credential.as_ref());
    let named = named.filter(|credential| seen.insert(Arc::as_ptr(credential).addr()));
    let mut named: Vec<&Arc<CredentialProvider>> = named.collect();
    named.sort_by(|one, other| (&one.name, one.kind.ttl()).cmp(&(&other.name, other.kind.ttl())));
    named.dedup();
    named.into_iter().cloned().collect()
}

impl Compiled {
    pub(crate) fn build(meaning: Meaning, revision: String, warnings: Problems) -> Self {
        let Meaning {
            trust_providers,
            selectors,
            targets,
            bindings,
        } = meaning;
        let policy_count = bindings.len();
        let asked_about = asked::about(&selectors, &bindings, &trust_providers);
        let unproven = (0..u32::MAX).map(ClientId).zip(&selectors);
        let unproven = unproven.filter(|(_, selector)| selector.is_unproven());
        let unproven_clients = unproven.map(|(client, _)| client).collect();
        let credential_providers = named_credentials(&bindings);
        let clients = bindings.iter().map(|binding| binding.client);
        let begins = Begins::count(clients, selectors.len());
        let (clients, (targets, audiences, rules)) = thread::scope(|scope| {
            // Half of the work, and nothing of it is about the other half.
            let clients = scope.spawn(|| ClientIndex::build(selectors, &begins));
            let targets = TargetIndex::build(targets, &bindings);
            let audiences = exchange::audiences(&bindings);
            let rules = bindings.into_iter().map(|binding| {
                let Binding {
                    client,
                    target,
                    rule,
                    ..
                } = binding;
                (client, target, rule)
            });
            let rules = RuleIndex::build(rules.collect(), begins.clone());
            let clients = clients.join().unwrap_or_else(|panic| resume_unwind(panic));
            (clients, (targets, audiences, rules))
        });
        Self {
            revision,
            warnings,
            trust_providers,
            policy_count,
            credential_providers,
            rules,
            clients,
            targets,
            unproven_clients,
            asked_about,
            audiences,
        }
    }

    /// Whether any policy, or a trust provider's `match`, asks about an attribute of that name.
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

    /// Every place that any policy could inject into: headers by name, then parameters of the query.
    pub fn injectable(&self) -> &[Carrier] {
        self.targets.injectable()
    }

    /// The credential providers that policies name, dry-run ones included, each once.
    pub fn credential_providers(&self) -> &[Arc<CredentialProvider>] {
        &self.credential_providers
    }

    /// The target, if an enforced policy is about it.
    pub fn target(&self, host: &Host, port: u16) -> Option<Target<'_>> {
        let mut covering = self.targets.covering(host, port).peekable();
        let injectable = self.targets.injectable_at(covering.peek()?);
        covering
            .any(|target| target.gate.enforced)
            .then_some(Target { injectable })
    }

    /// Whether a dry-run policy is about the target. What it would do can only be told of a caller that
    /// is proven.
    pub fn rehearses(&self, host: &Host, port: u16) -> bool {
        self.targets
            .covering(host, port)
            .any(|target| target.gate.rehearsed)
    }

    /// Decides one call. A deny wins; among allows the more specific target wins, exact host before
    /// longest suffix before longest path prefix. Dry-run policies change nothing of the answer.
    pub fn decide<'a>(
        &'a self,
        attestation: &'a Attestation,
        request: &Request<'a>,
        context: &Context<'a>,
    ) -> Decided<'a> {
        self.decide_seeing(Seen::Whole, attestation, request, context)
    }

    /// The same of a call that stands for several, where not all of it is seen.
    pub(crate) fn decide_seeing<'a>(
        &'a self,
        seen: Seen,
        attestation: &'a Attestation,
        request: &Request<'a>,
        context: &Context<'a>,
    ) -> Decided<'a> {
        let facts = Facts {
            attestation,
            request: *request,
            context: *context,
            seen,
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
        let targets = self.targets.covering(request.host, request.port);
        let targets: SmallVec<[Covering; MANY_TARGETS]> = targets.collect();
        if targets.is_empty() {
            return;
        }
        self.clients.for_each_match(attestation, &mut |found_by| {
            for target in &targets {
                for bound in self.rules.from(found_by.rules, target.gate.id) {
                    if self.is_client_of(&bound.rule, found_by.client, attestation) {
                        found(&bound.rule, target.rank);
                    }
                }
            }
        });
    }

    /// Whether the caller is the rule's client still if only what the rule counts was proven.
    fn is_client_of(&self, rule: &Rule, client: ClientId, attestation: &Attestation) -> bool {
        rule.narrowed(attestation).is_none_or(|narrowed| {
            let mut entries = self.clients.entries_of(client).iter();
            entries.any(|entry| entry.matches(&narrowed))
        })
    }

    fn expired<'a>(&'a self, facts: &Facts<'a>) -> Decided<'a> {
        let horizon = Horizon {
            until: facts.context.now,
            once: true,
        };
        let ground = Ground {
            compiled: self,
            attestation: facts.attestation,
            request: facts.request,
            decided_at: facts.context.now,
            horizon,
            rehearsed_horizon: horizon,
        };
        let reason = DenyReason::EvidenceRejected(RejectedToken::Expired);
        let decision = Decision::Deny(Denial::new(reason, None, ground));
        Decided::new(decision, None, Checked::new())
    }
}
