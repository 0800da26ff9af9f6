//! Everything that policies refer to, by name.

use std::sync::Arc;

use attache_core::attestation::ProviderKind;

use crate::{
    compile::{
        Settings,
        names::{Kinds, Names},
        shared::Shared,
    },
    condition::Condition,
    document::{
        AccessPolicy, CredentialPolicy, CredentialProvider, Document, Kind, ServerWorkload, Spec,
        TrustProvider,
    },
    name::QualifiedName,
    problem::{Code, Place, Report, quoted},
    selector::Selector,
};

/// What a client's name means.
#[derive(Clone)]
pub(super) struct Client {
    /// Its place in [`Directory::selectors`].
    pub(super) position: usize,
    /// As it stands in `policy_matched`.
    pub(super) name: String,
    /// Of a WorkloadIdentity: the kind of provider that proves it.
    pub(super) proven_by: Option<ProviderKind>,
}

pub(super) struct Directory<'r> {
    pub(super) report: &'r Report,
    /// ClientWorkloads and WorkloadIdentities share their names.
    pub(super) clients: Names<Client>,
    pub(super) servers: Names<Arc<ServerWorkload>>,
    pub(super) providers: Names<Arc<str>>,
    pub(super) conditions: Names<Arc<Condition>>,
    pub(super) credentials: Names<Arc<CredentialProvider>>,
    pub(super) kinds: Kinds,
    pub(super) shared: Shared,
    pub(super) selectors: Vec<Selector>,
    pub(super) trust_providers: Vec<TrustProvider>,
    policies: Names<()>,
    tests: Names<()>,
}

/// A policy of either form whose names are not resolved.
pub(super) struct Unresolved {
    pub(super) name: QualifiedName,
    pub(super) place: Place,
    pub(super) written: Written,
}

pub(super) enum Written {
    Access(AccessPolicy),
    Credential(CredentialPolicy),
}

impl<'r> Directory<'r> {
    /// Sorts documents into those that are referred to and policies. Taken names, colliding providers
    /// and workloads that nothing can prove are reported.
    pub(super) fn gather(
        documents: Vec<Document>,
        settings: &Settings,
        report: &'r Report,
    ) -> (Self, Vec<Unresolved>) {
        let mut directory = Self {
            report,
            clients: Names::new(),
            servers: Names::new(),
            providers: Names::new(),
            conditions: Names::new(),
            credentials: Names::new(),
            kinds: Kinds::new(),
            shared: Shared::default(),
            selectors: Vec::new(),
            trust_providers: Vec::new(),
            policies: Names::new(),
            tests: Names::new(),
        };
        for provider in &settings.trust_providers {
            let name = QualifiedName {
                namespace: None,
                name: provider.name.clone(),
            };
            directory.trust_provider(&name, &provider.place, provider.clone());
        }
        let mut policies = Vec::new();
        let mut identities = Vec::new();
        for document in documents {
            // Nothing refers to a test, so that none stands in for what a reference could mean.
            if document.kind != Kind::PolicyTest {
                directory.kinds.insert(document.name.clone(), document.kind);
            }
            if let Some(Spec::WorkloadIdentity(identity)) = &document.spec {
                identities.push((identity.proven_by, identity.place.clone()));
            }
            policies.extend(directory.add(document));
        }
        directory.relate_providers();
        for (kind, place) in identities {
            directory.check_proven(kind, place);
        }
        (directory, policies)
    }

    /// The providers of one kind, by qualified name.
    pub(super) fn proving(&self, kind: ProviderKind) -> impl Iterator<Item = Arc<str>> {
        let of_kind = move |provider: &&TrustProvider| provider.kind == kind;
        self.trust_providers
            .iter()
            .filter(of_kind)
            .map(|provider| provider.name.as_str().into())
    }

    /// Gives a policy back.
    fn add(&mut self, document: Document) -> Option<Unresolved> {
        let Document {
            kind,
            name,
            place,
            spec,
        } = document;
        let report = self.report;
        match spec {
            None => self.refused(kind, &name, &place),
            Some(Spec::ClientWorkload(client)) => {
                self.client(&name, &place, client.selector, None);
            }
            Some(Spec::WorkloadIdentity(identity)) => {
                self.client(&name, &place, identity.selector, Some(identity.proven_by));
            }
            Some(Spec::ServerWorkload(server)) => {
                self.servers
                    .insert(&name, &place, Some(Arc::new(server)), report);
            }
            Some(Spec::TrustProvider(provider)) => self.trust_provider(&name, &place, provider),
            Some(Spec::AccessCondition(condition)) => {
                self.conditions
                    .insert(&name, &place, Some(Arc::new(condition)), report);
            }
            Some(Spec::CredentialProvider(provider)) => {
                self.credentials
                    .insert(&name, &place, Some(Arc::new(provider)), report);
            }
            Some(Spec::AccessPolicy(policy)) => {
                return self.policy(name, place, Written::Access(policy));
            }
            Some(Spec::CredentialPolicy(policy)) => {
                return self.policy(name, place, Written::Credential(policy));
            }
            // Nothing comes of it: it is for those who try the set.
            Some(Spec::PolicyTest(_)) => {
                self.tests.insert(&name, &place, Some(()), report);
            }
        }
        None
    }

    /// A document with a problem keeps its name, so that references to it are not told as dangling.
    fn refused(&mut self, kind: Kind, name: &QualifiedName, place: &Place) {
        let report = self.report;
        match kind {
            Kind::ClientWorkload | Kind::WorkloadIdentity => {
                self.clients.insert(name, place, None, report);
            }
            Kind::ServerWorkload => {
                self.servers.insert(name, place, None, report);
            }
            Kind::TrustProvider => {
                self.providers.insert(name, place, None, report);
            }
            Kind::AccessCondition => {
                self.conditions.insert(name, place, None, report);
            }
            Kind::CredentialProvider => {
                self.credentials.insert(name, place, None, report);
            }
            Kind::AccessPolicy | Kind::CredentialPolicy => {
                self.policies.insert(name, place, None, report);
            }
            Kind::PolicyTest => {
                self.tests.insert(name, place, None, report);
            }
        }
    }

    fn client(
        &mut self,
        name: &QualifiedName,
        place: &Place,
        selector: Selector,
        proven_by: Option<ProviderKind>,
    ) {
        let position = self.selectors.len();
        let client = Client {
            position,
            name: name.name.clone(),
            proven_by,
        };
        self.clients.insert(name, place, Some(client), self.report);
        self.selectors.push(selector);
    }

    fn policy(
        &mut self,
        name: QualifiedName,
        place: Place,
        written: Written,
    ) -> Option<Unresolved> {
        self.policies.insert(&name, &place, Some(()), self.report);
        Some(Unresolved {
            name,
            place,
            written,
        })
    }

    fn trust_provider(&mut self, name: &QualifiedName, place: &Place, provider: TrustProvider) {
        let short = Some(provider.name.as_str().into());
        if !self.providers.insert(name, place, short, self.report) {
            return;
        }
        let same_issuer = |earlier: &&TrustProvider| {
            // A trust domain has two kinds of SVIDs, with a provider for each.
            let two_kinds =
                provider.issuer.starts_with("spiffe://") && earlier.kind != provider.kind;
            earlier.issuer == provider.issuer && !provider.issuer.is_empty() && !two_kinds
        };
        if let Some(earlier) = self.trust_providers.iter().find(same_issuer) {
            self.report_same_issuer(&provider, earlier);
        }
        self.trust_providers.push(provider);
    }

    /// A token would have two verifiers.
    fn report_same_issuer(&self, provider: &TrustProvider, earlier: &TrustProvider) {
        let issuer = quoted(&provider.issuer);
        let clusters = [provider, earlier]
            .iter()
            .all(|one| one.kind == ProviderKind::KubernetesServiceAccount);
        let (message, way_out) = if clusters {
            (
                format!(
                    "another cluster's provider has the issuer {issuer}, so that tokens of the two clusters cannot be told apart"
                ),
                "give each API server a `--service-account-issuer` of its own; kubernetes.default.svc is what clusters call themselves unless they are told otherwise",
            )
        } else {
            (
                format!("another trust provider has the issuer {issuer}"),
                "keep one provider for each issuer",
            )
        };
        self.report_collision(provider, earlier, &message, way_out);
    }

    pub(super) fn report_collision(
        &self,
        provider: &TrustProvider,
        earlier: &TrustProvider,
        message: &str,
        way_out: &str,
    ) {
        let message = format!("{message} ({})", earlier.place);
        let (place, way_out) = (provider.place.clone(), Some(way_out.to_owned()));
        self.report
            .error_with(place, Code::ProviderCollision, message, way_out);
    }

    fn check_proven(&self, kind: ProviderKind, place: Place) {
        if self.proving(kind).next().is_some() {
            return;
        }
        let kind = kind.name();
        let message =
            format!("no trust provider of type {kind} exists, so this workload is denied");
        let way_out = Some(format!(
            "write a TrustProvider with `type: {kind}`, or configure one"
        ));
        self.report.warning(place, Code::Unproven, message, way_out);
    }
}
