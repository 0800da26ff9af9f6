//! Everything that policies refer to, by name.

use std::sync::Arc;

use attache_core::{attestation::ProviderKind, request::PathPrefix};

use crate::{
    compile::{HostPort, Settings, names::Names, shared::Shared},
    compiled::{ClientId, TargetId},
    condition::Condition,
    document::{
        AccessPolicy, Authentication, CredentialPolicy, CredentialProvider, Document, HostPattern,
        Kind, Placement, PolicyTest, ServerWorkload, Spec, TrustProvider,
    },
    hash::Map,
    name::QualifiedName,
    problem::{Code, Place, Report, Spot, quoted},
    selector::Selector,
};

/// How many trust providers a set may have, those of the configuration among them.
// SECURITY: whether two could yield one SPIFFE ID is asked of each pair.
const MAX_TRUST_PROVIDERS: usize = 1000;

/// What a client's name means.
pub(super) struct Client {
    /// Its place in [`Directory::selectors`].
    pub(super) id: ClientId,
    /// As it stands in `policy_matched`.
    pub(super) name: Box<str>,
    /// Of a WorkloadIdentity: the kind of provider that proves it.
    pub(super) proven_by: Option<ProviderKind>,
}

/// What a server's name means.
pub(super) struct Server {
    pub(super) workload: Arc<ServerWorkload>,
    pub(super) target: TargetId,
    /// Its paths, in order.
    pub(super) paths: Arc<[PathPrefix]>,
    /// Where a credential goes, if that is the server's to say.
    pub(super) placements: Arc<[Placement]>,
}

pub(super) struct Directory<'r> {
    pub(super) report: &'r Report,
    /// ClientWorkloads and WorkloadIdentities share their names.
    pub(super) clients: Names<Client>,
    pub(super) servers: Names<Server>,
    pub(super) providers: Names<Arc<str>>,
    pub(super) conditions: Names<Arc<Condition>>,
    pub(super) credentials: Names<Arc<CredentialProvider>>,
    pub(super) shared: Shared,
    pub(super) targets: Targets,
    pub(super) selectors: Vec<Selector>,
    pub(super) trust_providers: Vec<TrustProvider>,
    pub(super) tests: Vec<PolicyTest>,
    pub(super) policies: Names<()>,
    named_tests: Names<()>,
}

/// Host and port of each target, and which is which.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) all: Vec<HostPort>,
    pub(super) ids: Map<HostPort, TargetId>,
}

impl Targets {
    /// The target, made if it is new.
    pub(super) fn id_of(&mut self, host: &HostPattern, port: u16) -> TargetId {
        let next = TargetId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let all = &mut self.all;
        *self.ids.entry((host.clone(), port)).or_insert_with(|| {
            all.push((host.clone(), port));
            next
        })
    }
}

/// A policy of either form whose names are not resolved.
pub(super) struct Unresolved {
    pub(super) name: QualifiedName,
    pub(super) spot: Spot,
    pub(super) written: Written,
}

pub(super) enum Written {
    Access(Box<AccessPolicy>),
    Credential(Box<CredentialPolicy>),
}

impl<'r> Directory<'r> {
    /// Sorts documents into those that are referred to and policies. Taken names, colliding providers
    /// and workloads that nothing can prove are reported.
    pub(super) fn gather(
        documents: Vec<Document>,
        settings: &Settings,
        report: &'r Report,
    ) -> (Self, Vec<Unresolved>) {
        let mut directory = Self::with_room_for(&documents, report);
        for provider in &settings.trust_providers {
            let name = QualifiedName {
                namespace: None,
                name: provider.name.clone(),
            };
            directory.trust_provider(name, &provider.place, provider.clone());
        }
        let mut policies = Vec::with_capacity(documents.len().div_euclid(2));
        let mut identities = Vec::new();
        for document in documents {
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

    /// A table that grows is copied again and again.
    fn with_room_for(documents: &[Document], report: &'r Report) -> Self {
        let mut counts: Map<Kind, usize> = Map::default();
        for document in documents {
            let count = counts.entry(document.kind).or_default();
            *count = count.saturating_add(1);
        }
        let count = |kind| counts.get(&kind).copied().unwrap_or_default();
        let both = |one, other| count(one).saturating_add(count(other));
        let clients = both(Kind::ClientWorkload, Kind::WorkloadIdentity);
        Self {
            report,
            clients: Names::with_room_for(clients),
            servers: Names::with_room_for(count(Kind::ServerWorkload)),
            providers: Names::with_room_for(count(Kind::TrustProvider)),
            conditions: Names::with_room_for(count(Kind::AccessCondition)),
            credentials: Names::with_room_for(count(Kind::CredentialProvider)),
            shared: Shared::default(),
            targets: Targets::default(),
            selectors: Vec::with_capacity(clients),
            trust_providers: Vec::new(),
            tests: Vec::new(),
            policies: Names::with_room_for(both(Kind::AccessPolicy, Kind::CredentialPolicy)),
            named_tests: Names::with_room_for(count(Kind::PolicyTest)),
        }
    }

    /// The kind of the document with exactly this name. Nothing refers to a test, so that none stands in for what
    /// a reference could mean.
    pub(super) fn kind_of(&self, namespace: Option<&str>, name: &str) -> Option<Kind> {
        let Self {
            clients,
            servers,
            providers,
            conditions,
            credentials,
            policies,
            ..
        } = self;
        let kinds = clients.kind_of(namespace, name);
        let kinds = kinds.or_else(|| servers.kind_of(namespace, name));
        let kinds = kinds.or_else(|| providers.kind_of(namespace, name));
        let kinds = kinds.or_else(|| conditions.kind_of(namespace, name));
        let kinds = kinds.or_else(|| credentials.kind_of(namespace, name));
        kinds.or_else(|| policies.kind_of(namespace, name))
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
            spot,
            spec,
        } = document;
        let named = (kind, name);
        let taken = match spec {
            None => self.refused(named, &spot),
            Some(Spec::ClientWorkload(client)) => self.client(named, &spot, client.selector, None),
            Some(Spec::WorkloadIdentity(identity)) => {
                let proven_by = Some(identity.proven_by);
                self.client(named, &spot, identity.selector, proven_by)
            }
            Some(Spec::ServerWorkload(server)) => {
                let server = self.server(server);
                self.servers.insert(named, &spot, Some(server))
            }
            Some(Spec::TrustProvider(provider)) => {
                let place = place_of(kind, &named.1, &spot);
                self.trust_provider(named.1, &place, *provider);
                Ok(())
            }
            Some(Spec::AccessCondition(condition)) => {
                let condition = Arc::new(*condition);
                self.conditions.insert(named, &spot, Some(condition))
            }
            Some(Spec::CredentialProvider(provider)) => {
                let provider = Arc::new(*provider);
                self.credentials.insert(named, &spot, Some(provider))
            }
            Some(Spec::AccessPolicy(policy)) => {
                return Some(self.policy(named, spot, Written::Access(policy)));
            }
            Some(Spec::CredentialPolicy(policy)) => {
                return Some(self.policy(named, spot, Written::Credential(policy)));
            }
            // Nothing comes of it: it is for those who try the set.
            Some(Spec::PolicyTest(test)) => {
                self.tests.push(*test);
                self.named_tests.insert(named, &spot, Some(()))
            }
        };
        if let Err((name, first)) = taken {
            self.report_taken(place_of(kind, &name, &spot), (name, first));
        }
        None
    }

    fn report_taken(&self, place: Place, (name, first): (QualifiedName, Spot)) {
        let name = quoted(&name.to_string());
        let message = format!("the name {name} is already taken at {first}");
        let way_out = Some("rename or remove one of them".to_owned());
        self.report
            .error_with(place, Code::DuplicateName, message, way_out);
    }

    /// A document with a problem keeps its name, so that references to it are not told as dangling.
    fn refused(
        &mut self,
        named: (Kind, QualifiedName),
        spot: &Spot,
    ) -> Result<(), (QualifiedName, Spot)> {
        match named.0 {
            Kind::ClientWorkload | Kind::WorkloadIdentity => self.clients.insert(named, spot, None),
            Kind::ServerWorkload => self.servers.insert(named, spot, None),
            Kind::TrustProvider => self.providers.insert(named, spot, None),
            Kind::AccessCondition => self.conditions.insert(named, spot, None),
            Kind::CredentialProvider => self.credentials.insert(named, spot, None),
            Kind::AccessPolicy | Kind::CredentialPolicy => self.policies.insert(named, spot, None),
            Kind::PolicyTest => self.named_tests.insert(named, spot, None),
        }
    }

    fn client(
        &mut self,
        named: (Kind, QualifiedName),
        spot: &Spot,
        selector: Selector,
        proven_by: Option<ProviderKind>,
    ) -> Result<(), (QualifiedName, Spot)> {
        let client = Client {
            id: ClientId(u32::try_from(self.selectors.len()).unwrap_or(u32::MAX)),
            name: named.1.name.as_str().into(),
            proven_by,
        };
        self.selectors.push(selector);
        self.clients.insert(named, spot, Some(client))
    }

    /// A server as policies use it.
    pub(super) fn server(&mut self, workload: ServerWorkload) -> Server {
        Server {
            target: self.targets.id_of(&workload.host, workload.port),
            paths: self.shared.prefixes.shared_arc(&workload.paths),
            placements: match &workload.authentication {
                Authentication::Placed(places) => self.shared.placements.shared(places.as_slice()),
                Authentication::ProviderHeaders => self.nowhere(),
            },
            workload: Arc::new(workload),
        }
    }

    /// No place at all.
    pub(super) fn nowhere(&self) -> Arc<[Placement]> {
        self.shared.placements.shared([].as_slice())
    }

    fn policy(
        &mut self,
        (kind, name): (Kind, QualifiedName),
        spot: Spot,
        written: Written,
    ) -> Unresolved {
        if let Err(taken) = self.policies.insert((kind, name.clone()), &spot, Some(())) {
            self.report_taken(place_of(kind, &name, &spot), taken);
        }
        Unresolved {
            name,
            spot,
            written,
        }
    }

    fn trust_provider(&mut self, name: QualifiedName, place: &Place, provider: TrustProvider) {
        let kind = Kind::TrustProvider;
        let short = Some(provider.name.as_str().into());
        if let Err(taken) = self.providers.insert((kind, name), &place.spot(), short) {
            self.report_taken(place.clone(), taken);
            return;
        }
        if self.trust_providers.len() >= MAX_TRUST_PROVIDERS {
            let message = format!(
                "the set has more than {MAX_TRUST_PROVIDERS} trust providers, each of which is compared with every other"
            );
            let way_out = "have one provider vouch for several workloads, or divide the set";
            let (place, way_out) = (place.clone(), Some(way_out.to_owned()));
            self.report
                .error_with(place, Code::OutOfRange, message, way_out);
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

/// Where a document's name stands.
fn place_of(kind: Kind, name: &QualifiedName, spot: &Spot) -> Place {
    spot.place(format!("{} {name}: metadata.name", kind.name()))
}
