//! What a set of documents means: every name becomes the thing it names.

use std::sync::Arc;

use attache_core::request::PathPrefix;

use crate::{
    compile::{
        Settings,
        directory::{Client, Directory, Unresolved, Written},
        names::{Found, Names, report_several},
    },
    condition::{Condition, Test},
    document::{
        AccessPolicy, Action, CredentialPolicy, Document, Effect, Kind, PolicyMode, ServerWorkload,
        TrustProvider, Vouchers, audience_endpoint,
    },
    name::{QualifiedName, Reference},
    problem::{Code, Place, Report, quoted},
    rule::{Accepts, Rule, RuleAction},
    selector::Selector,
};

/// A set of documents without references.
pub(crate) struct Meaning {
    /// Those of the configuration and of the documents.
    pub(crate) trust_providers: Vec<TrustProvider>,
    /// What selects each client; a client's place here is its identity.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) bindings: Vec<Binding>,
}

/// A rule, the client that it is about, and the target.
pub(crate) struct Binding {
    pub(crate) client: usize,
    pub(crate) server: Arc<ServerWorkload>,
    pub(crate) rule: Rule,
    /// Of the policy document.
    pub(crate) place: Place,
}

/// Resolves `documents`. A policy with a problem is left out: it is reported, and the set is then
/// refused as a whole.
pub(crate) fn resolve(documents: Vec<Document>, settings: &Settings, report: &Report) -> Meaning {
    let (directory, policies) = Directory::gather(documents, settings, report);
    let bind = |Unresolved {
                    name,
                    place,
                    written,
                }| match written {
        Written::Access(policy) => directory.access_policy(&name, place, &policy),
        Written::Credential(policy) => directory.credential_policy(&name, place, policy),
    };
    let bindings = policies.into_iter().filter_map(bind).collect();
    let Directory {
        trust_providers,
        selectors,
        ..
    } = directory;
    Meaning {
        trust_providers,
        selectors,
        bindings,
    }
}

impl Directory<'_> {
    fn access_policy(
        &self,
        name: &QualifiedName,
        place: Place,
        policy: &AccessPolicy,
    ) -> Option<Binding> {
        let (kinds, report) = (&self.kinds, self.report);
        let client = policy.client.as_ref().and_then(|reference| {
            self.clients
                .resolve(reference, Kind::ClientWorkload, name, kinds, report)
        });
        let server = policy.server.as_ref().and_then(|reference| {
            self.servers
                .resolve(reference, Kind::ServerWorkload, name, kinds, report)
        });
        let accepts = policy
            .trust_providers
            .as_ref()
            .and_then(|vouchers| match vouchers {
                Vouchers::Anyone => Some(Accepts::Anyone),
                Vouchers::Nobody => Some(Accepts::Nobody),
                Vouchers::OneOf(references) => self.vouching(references, name).map(Accepts::These),
                Vouchers::All(references) => self.vouching(references, name).map(Accepts::All),
            });
        let conditions = policy
            .conditions
            .as_ref()
            .and_then(|references| self.conditions(references, name));
        let credential = self.credential(policy, name);
        let (client, server, effect) = (client?, server?, policy.effect?);
        if let Some((accepts, conditions)) = accepts.as_ref().zip(conditions.as_deref()) {
            self.check_proof(accepts, &client, conditions, &place);
        }
        let matched = Matched {
            effect,
            client: &client,
            server: &server,
        };
        let written = policy.actions.iter().flatten();
        let actions: Vec<_> = written
            .map(|action| self.action(&matched, action))
            .collect();
        let credential = credential?;
        let placements = self.placements(&server, credential.as_deref());
        let rule = Rule {
            policy: name.to_string().into(),
            effect,
            mode: policy.mode?,
            accepts: accepts?,
            conditions: conditions?,
            credential,
            placements,
            tls: server.tls,
            actions: actions.into_iter().collect::<Option<_>>()?,
        };
        Some(Binding {
            client: client.position,
            server,
            rule,
            place,
        })
    }

    /// Reports a policy whose client is proven in another way than the policy asks for.
    fn check_proof(
        &self,
        accepts: &Accepts,
        client: &Client,
        conditions: &[Arc<Condition>],
        place: &Place,
    ) {
        let never = |message: String, way_out: &str| {
            let way_out = Some(way_out.to_owned());
            self.report
                .error_with(place.clone(), Code::NeverApplies, message, way_out);
        };
        let selector = self.selectors.get(client.position);
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

    fn vouching(&self, references: &[Reference], from: &QualifiedName) -> Option<Arc<[Arc<str>]>> {
        let same = |one: &Arc<str>, other: &Arc<str>| one == other;
        let wanted = Kind::TrustProvider;
        let providers = self.distinct(&self.providers, references, wanted, from, same)?;
        Some(self.shared.providers.shared(providers))
    }

    fn conditions(
        &self,
        references: &[Reference],
        from: &QualifiedName,
    ) -> Option<Box<[Arc<Condition>]>> {
        let wanted = Kind::AccessCondition;
        self.distinct(&self.conditions, references, wanted, from, Arc::ptr_eq)
            .map(Vec::into_boxed_slice)
    }

    /// What a list of references means; none of it may stand there twice.
    pub(super) fn distinct<T: Clone>(
        &self,
        names: &Names<T>,
        references: &[Reference],
        wanted: Kind,
        from: &QualifiedName,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<Vec<T>> {
        let mut found: Vec<Option<T>> = Vec::with_capacity(references.len());
        for reference in references {
            let meaning = names.resolve(reference, wanted, from, &self.kinds, self.report);
            let twice = meaning
                .as_ref()
                .is_some_and(|it| found.iter().flatten().any(|earlier| same(earlier, it)));
            if twice {
                let message = format!("{} stands twice", quoted(&reference.name));
                let (place, way_out) = (reference.place.clone(), "keep one of them".to_owned());
                self.report
                    .error_with(place, Code::DuplicateName, message, Some(way_out));
            }
            found.push(meaning);
        }
        found.into_iter().collect()
    }

    /// An action of the policy, narrowed to the paths of the server workload.
    fn action(&self, matched: &Matched<'_>, action: &Action) -> Option<RuleAction> {
        let served = &matched.server.paths;
        let mut prefixes = Vec::new();
        match &action.paths {
            None => prefixes.clone_from(served),
            Some(paths) => {
                for (path, place) in paths {
                    let within: Vec<_> = narrowed(path, served).collect();
                    if within.is_empty() {
                        self.report_unserved(path, place, matched.server);
                    }
                    prefixes.extend(within);
                }
            }
        }
        prefixes.sort();
        prefixes.dedup();
        let methods = self.shared.methods(&action.methods);
        (!prefixes.is_empty()).then(|| RuleAction {
            matched: matched.text(&action.name),
            methods,
            prefixes: self.shared.prefixes.shared(prefixes),
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

    fn credential_policy(
        &self,
        name: &QualifiedName,
        place: Place,
        policy: CredentialPolicy,
    ) -> Option<Binding> {
        let server = self.target_service(name, &policy);
        let identity = policy.workload_identity.as_ref();
        let identity = identity.and_then(|reference| self.workload_identity(name, reference));
        let ((client, proven_by), server) = (identity?, server?);
        let matched = Matched {
            effect: Effect::Allow,
            client: &client,
            server: &server,
        };
        let actions = [self.action(&matched, &Action::all())?].into();
        let credential = Arc::new(policy.credential_provider?);
        let placements = self.placements(&server, Some(&credential));
        let rule = Rule {
            policy: name.to_string().into(),
            effect: Effect::Allow,
            mode: PolicyMode::Enforce,
            conditions: Box::default(),
            accepts: Accepts::These(
                self.shared
                    .providers
                    .shared(self.proving(proven_by).collect::<Vec<_>>()),
            ),
            credential: Some(credential),
            placements,
            tls: server.tls,
            actions,
        };
        Some(Binding {
            client: client.position,
            server,
            rule,
            place,
        })
    }

    fn workload_identity(
        &self,
        from: &QualifiedName,
        reference: &Reference,
    ) -> Option<(Client, attache_core::attestation::ProviderKind)> {
        let wanted = Kind::WorkloadIdentity;
        let client = self
            .clients
            .resolve(reference, wanted, from, &self.kinds, self.report)?;
        let Some(proven_by) = client.proven_by else {
            let name = quoted(&reference.name);
            let message = format!("{name} is a ClientWorkload, not a WorkloadIdentity");
            let way_out = Some("write an AccessPolicy for a ClientWorkload".to_owned());
            let place = reference.place.clone();
            self.report
                .error_with(place, Code::WrongKindReference, message, way_out);
            return None;
        };
        Some((client, proven_by))
    }

    /// The ServerWorkload of that name, or the host of the audience.
    fn target_service(
        &self,
        from: &QualifiedName,
        policy: &CredentialPolicy,
    ) -> Option<Arc<ServerWorkload>> {
        let reference = policy.target_service.as_ref()?;
        match self.servers.find(reference, from) {
            Found::One(server) => return server,
            Found::Several(names) => {
                report_several(reference, Kind::ServerWorkload, &names, self.report);
                return None;
            }
            Found::Nothing => {}
        }
        let kind = &policy.credential_provider.as_ref()?.kind;
        let place = reference.place.clone();
        let name = quoted(&reference.name);
        let suggestion = self.servers.suggestion(reference, from);
        let Some(audience) = kind.token_plan().and_then(|plan| plan.audiences.first()) else {
            let message = format!("no ServerWorkload named {name}");
            let way_out = suggestion
                .or_else(|| Some("write a ServerWorkload of that name with its host".to_owned()));
            self.report
                .error_with(place, Code::DanglingReference, message, way_out);
            return None;
        };
        let Some((host, port, tls)) = audience_endpoint(audience) else {
            let message = format!(
                "no ServerWorkload named {name}, and the audience {} is not a URL that says where it is",
                quoted(audience)
            );
            let way_out = suggestion
                .or_else(|| Some("write a ServerWorkload of that name with its host".to_owned()));
            self.report
                .error_with(place, Code::DanglingReference, message, way_out);
            return None;
        };
        if suggestion.is_some() {
            let host = host.as_str();
            let message =
                format!("no ServerWorkload named {name}; {host}:{port} is taken from the audience");
            self.report
                .warning(place, Code::LikelyMisspelled, message, suggestion);
        }
        ServerWorkload::implied(&reference.name, host, port, tls).map(Arc::new)
    }
}

/// The parts of `policy_matched` that a policy's actions share.
struct Matched<'m> {
    effect: Effect,
    client: &'m Client,
    server: &'m ServerWorkload,
}

impl Matched<'_> {
    fn text(&self, action: &str) -> Box<str> {
        let (effect, client, server) = (self.effect.name(), &self.client.name, &self.server.name);
        format!("{effect}:{client}:{server}:{action}").into()
    }
}

/// Where both `path` and one of `served` reach: the longer of two prefixes of which one covers the other.
fn narrowed<'p>(
    path: &'p PathPrefix,
    served: &'p [PathPrefix],
) -> impl Iterator<Item = PathPrefix> {
    served.iter().filter_map(move |other| {
        let longer = if path.encloses(other) {
            other
        } else if other.encloses(path) {
            path
        } else {
            return None;
        };
        Some(longer.clone())
    })
}
