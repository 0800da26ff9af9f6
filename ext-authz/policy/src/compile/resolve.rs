//! What a set of documents means: every name becomes the thing it names.

mod names_of;
mod short_form;

use std::sync::Arc;

use attache_core::request::PathPrefix;

use names_of::NamesOf;

use crate::{
    compile::{
        Settings,
        directory::{Client, Directory, Server, Unresolved, Written},
        expectations,
        names::{self, From},
    },
    compiled::{ClientId, TargetId},
    condition::{Condition, Test},
    document::{
        AccessPolicy, Action, Document, Effect, HostPattern, Kind, PathMatching, ServerWorkload,
        TrustProvider, Vouchers,
    },
    hash::Set,
    name::{QualifiedName, Reference},
    problem::{Code, Place, Report, Spot, quoted},
    rule::{Accepts, Rule, RuleAction, Terms},
    selector::Selector,
};

/// A set of documents without references.
pub(crate) struct Meaning {
    /// Those of the configuration and of the documents.
    pub(crate) trust_providers: Vec<TrustProvider>,
    /// What selects each client, by [`ClientId`].
    pub(crate) selectors: Vec<Selector>,
    /// By [`TargetId`].
    pub(crate) targets: Vec<HostPort>,
    pub(crate) bindings: Vec<Binding>,
}

/// What a target is known by.
pub(crate) type HostPort = (HostPattern, u16);

/// A rule, the client that it is about, and the target.
pub(crate) struct Binding {
    pub(crate) client: ClientId,
    pub(crate) target: TargetId,
    pub(crate) server: Arc<ServerWorkload>,
    pub(crate) rule: Rule,
    /// Of the policy document.
    kind: Kind,
    /// Of its name.
    pub(crate) spot: Spot,
}

impl Binding {
    /// Where the policy's name stands.
    pub(crate) fn place(&self) -> Place {
        let (kind, name) = (self.kind.name(), self.rule.policy());
        self.spot.place(format!("{kind} {name}: metadata.name"))
    }
}

/// Resolves `documents`. A policy with a problem is left out: it is reported, and the set is then
/// refused as a whole.
///
/// What is left over comes back too: of a large set it takes long to give back its memory, which somebody else can do.
pub(crate) fn resolve(
    documents: Vec<Document>,
    settings: &Settings,
    report: &Report,
) -> (Meaning, impl Send + use<>) {
    let (mut directory, mut policies) = Directory::gather(documents, settings, report);
    let mut bindings = Vec::with_capacity(policies.len());
    for Unresolved {
        name,
        spot,
        written,
    } in &mut policies
    {
        let spot = spot.clone();
        bindings.extend(match written {
            Written::Access(policy) => directory.access_policy(name, spot, policy),
            Written::Credential(policy) => directory.credential_policy(name, spot, policy),
        });
    }
    expectations::report_dangling(&directory, &bindings);
    let Directory {
        trust_providers,
        selectors,
        targets,
        clients,
        servers,
        ..
    } = directory;
    let meaning = Meaning {
        trust_providers,
        selectors,
        targets: targets.all,
        bindings,
    };
    (meaning, (policies, clients, servers, targets.ids))
}

impl Directory<'_> {
    fn access_policy(
        &self,
        name: &QualifiedName,
        spot: Spot,
        policy: &AccessPolicy,
    ) -> Option<Binding> {
        let from = From {
            kind: Kind::AccessPolicy,
            name,
            report: self.report,
        };
        let client = policy.client.as_ref();
        let client =
            client.and_then(|it| self.meant(&self.clients, it, Kind::ClientWorkload, from));
        let server = policy.server.as_ref();
        let server =
            server.and_then(|it| self.meant(&self.servers, it, Kind::ServerWorkload, from));
        let vouchers = policy.trust_providers.as_ref();
        let accepts = vouchers.and_then(|vouchers| match vouchers {
            Vouchers::Anyone => Some(Accepts::Anyone),
            Vouchers::Nobody => Some(Accepts::Nobody),
            Vouchers::OneOf(references) => self.vouching(references, from).map(Accepts::These),
            Vouchers::All(references) => self.vouching(references, from).map(Accepts::All),
        });
        let conditions = policy.conditions.as_ref();
        let conditions = conditions.and_then(|references| self.conditions(references, from));
        let credential = self.credential(policy, from);
        let (client, server, effect) = (client?, server?, policy.effect?);
        if let Some((accepts, conditions)) = accepts.as_ref().zip(conditions.as_deref()) {
            self.check_proof(accepts, client, conditions, from, &spot);
        }
        let written = policy.actions.as_deref().unwrap_or_default();
        let actions: Vec<_> = written
            .iter()
            .map(|action| self.action(server, effect, action))
            .collect();
        let credential = credential?;
        let terms = self.shared.terms(Terms {
            effect,
            mode: policy.mode?,
            tls: server.workload.tls,
            accepts: accepts?,
            conditions: conditions?,
            placements: self.placements(server, credential.as_deref()),
            credential,
            actions: actions.into_iter().collect::<Option<_>>()?,
        });
        let names = NamesOf::policy(name, effect, client, server).with(written);
        Some(Binding {
            client: client.id,
            target: server.target,
            server: Arc::clone(&server.workload),
            rule: Rule::new(terms, names),
            kind: from.kind,
            spot,
        })
    }

    /// What a reference means; what is wrong with it is reported.
    pub(super) fn meant<'n, T>(
        &self,
        names: &'n names::Names<T>,
        reference: &Reference,
        wanted: Kind,
        from: From<'_>,
    ) -> Option<&'n T> {
        names.resolve(reference, wanted, from, |namespace, name| {
            self.kind_of(namespace, name)
        })
    }

    /// Reports a policy whose client is proven in another way than the policy asks for.
    fn check_proof(
        &self,
        accepts: &Accepts,
        client: &Client,
        conditions: &[Arc<Condition>],
        from: From<'_>,
        spot: &Spot,
    ) {
        let never = |message: String, way_out: &str| {
            let place = spot.place(format!("{}: metadata.name", from.label()));
            let way_out = Some(way_out.to_owned());
            self.report
                .error_with(place, Code::NeverApplies, message, way_out);
        };
        let selector = self.selectors.get(client.id.index());
        let unproven = selector.is_some_and(Selector::is_unproven);
        match accepts {
            Accepts::Nobody if !unproven => never(
                format!(
                    "`attestation: none` is about callers without evidence, of whom nothing is proven that {} asks for",
                    quoted(&client.name)
                ),
                "have the ClientWorkload ask for unproven.sourceAddress or unproven.principal, or name `trustProviders`",
            ),
            Accepts::These(_) | Accepts::All(_) if unproven => never(
                format!(
                    "no trust provider proves what {} asks for",
                    quoted(&client.name)
                ),
                "write `attestation: none` in place of `trustProviders`, or select on proven attributes",
            ),
            Accepts::Anyone | Accepts::These(_) | Accepts::All(_) | Accepts::Nobody => {}
        }
        let expression =
            |condition: &&Arc<Condition>| matches!(condition.test, Test::Expression(_));
        if unproven && let Some(condition) = conditions.iter().find(expression) {
            never(
                format!(
                    "the condition {} is a CEL expression, which cannot be told of callers without evidence",
                    quoted(&condition.name)
                ),
                "use conditions of time, source or geography",
            );
        }
    }

    fn vouching(&self, references: &[Reference], from: From<'_>) -> Option<Arc<[Arc<str>]>> {
        let wanted = Kind::TrustProvider;
        let providers = self.distinct(&self.providers, references, wanted, from)?;
        Some(self.shared.providers.shared(providers))
    }

    fn conditions(
        &self,
        references: &[Reference],
        from: From<'_>,
    ) -> Option<Box<[Arc<Condition>]>> {
        let wanted = Kind::AccessCondition;
        self.distinct(&self.conditions, references, wanted, from)
            .map(Vec::into_boxed_slice)
    }

    /// What a list of references means; none of it may stand there twice.
    pub(super) fn distinct<T: ?Sized>(
        &self,
        names: &names::Names<Arc<T>>,
        references: &[Reference],
        wanted: Kind,
        from: From<'_>,
    ) -> Option<Vec<Arc<T>>> {
        let mut known = Set::default();
        let mut found: Vec<Option<Arc<T>>> = Vec::with_capacity(references.len());
        for reference in references {
            let meaning = self.meant(names, reference, wanted, from);
            // Nearly every list has one item.
            let twice = references.len() > 1
                && meaning.is_some_and(|it| !known.insert(Arc::as_ptr(it).cast::<()>().addr()));
            if twice {
                let message = format!("{} stands twice", quoted(&reference.name));
                let way_out = Some("keep one of them".to_owned());
                from.refuse(reference, Code::DuplicateName, message, way_out);
            }
            found.push(meaning.cloned());
        }
        found.into_iter().collect()
    }

    /// An action of the policy, narrowed to the paths of the server workload.
    fn action(&self, server: &Server, effect: Effect, action: &Action) -> Option<RuleAction> {
        let served = &server.workload.paths;
        let prefixes = match &action.paths {
            None => Arc::clone(&server.paths),
            Some(paths) => {
                let mut prefixes = Vec::new();
                for (path, place) in paths {
                    let before = prefixes.len();
                    prefixes.extend(narrowed(path, served));
                    if prefixes.len() == before {
                        self.report_unserved(path, place, &server.workload);
                    }
                }
                prefixes.sort();
                prefixes.dedup();
                self.shared.prefixes.shared(prefixes)
            }
        };
        (!prefixes.is_empty()).then(|| RuleAction {
            methods: self.shared.methods(&action.methods),
            prefixes,
            path_matching: match effect {
                Effect::Deny => server.workload.path_matching,
                Effect::Allow => PathMatching::Exact,
            },
        })
    }

    fn report_unserved(&self, path: &PathPrefix, place: &Place, server: &ServerWorkload) {
        let served: Vec<&str> = server.paths.iter().map(PathPrefix::as_str).collect();
        let message = format!(
            "{} never applies: {} has only {}",
            quoted(path.as_str()),
            server.name,
            served.join(", ")
        );
        let way_out = Some("name a path that the ServerWorkload has, or add it there".to_owned());
        self.report
            .error_with(place.clone(), Code::NeverApplies, message, way_out);
    }
}

/// Where both `path` and one of `served` reach: the longer of two prefixes of which one covers the other.
///
/// INVARIANT: `served` is in order, so that neither of two long lists is gone through for each item of the other.
fn narrowed<'p>(
    path: &'p PathPrefix,
    served: &'p [PathPrefix],
) -> impl Iterator<Item = PathPrefix> + use<'p> {
    let text = path.as_str();
    let is_served = |text: &str| served.binary_search_by(|it| it.as_str().cmp(text)).is_ok();
    let mut above = text.match_indices('/').map(|(at, _)| text.get(..at));
    let lies_below = above.any(|above| match above {
        Some("") => is_served("/"),
        above => above.is_some_and(is_served),
    });
    // All that lies below it stands together: after it come a slash and the rest.
    let below = format!("{}/", text.trim_end_matches('/'));
    let first = served.partition_point(|it| it.as_str() < below.as_str());
    let below = served
        .iter()
        .skip(first)
        .take_while(move |it| it.as_str().starts_with(&below));
    let itself = (lies_below || is_served(text)).then_some(path);
    itself.into_iter().chain(below).cloned()
}

#[cfg(test)]
mod tests;
