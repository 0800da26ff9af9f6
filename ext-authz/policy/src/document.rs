//! Documents as they are written: parsed in full or refused, every problem told. References are still
//! names here; what they mean is found in [`crate::compile`].

mod access_condition;
mod access_policy;
mod client_workload;
mod credential_provider;
mod endpoint;
mod host;
pub(crate) mod policy_test;
mod secret_reference;
mod server_workload;
mod short_form;
mod trust_provider;

pub(crate) use access_policy::{AccessPolicy, Action, Effect, MethodSet, PolicyMode, Vouchers};
pub(crate) use client_workload::ClientWorkload;
pub(crate) use credential_provider::{
    ASSERTION_TTL_SECONDS, KUBERNETES_TTL_SECONDS, TTL_SECONDS,
    claims::name_pattern as claim_name_pattern,
};
pub use credential_provider::{
    ApiKey, ApiServer, AssertionProfile, ClientAuthentication, ClientCredentials, Consistence,
    CredentialKind, CredentialProvider, Engine, HeaderValue, KubernetesToken, OauthRequest,
    OwnToken, Parameter, ProviderType, SecretFields, StaticHeader, StaticHeaders, Subject,
    TokenEndpoint, TokenExchange, Username, UsernamePassword, Vault, VaultLogin, VaultSecret,
};
pub(crate) use endpoint::audience_endpoint;
pub use policy_test::{Case, Expected, PolicyTest, TestedCall, policy_tests};
pub use secret_reference::SecretReference;
pub use server_workload::{
    Authentication, Carrier, Form, HostPattern, Part, PathMatching, Placement, ServerWorkload,
    TlsRule,
};
pub(crate) use short_form::{CredentialPolicy, IDENTITY_KINDS, WorkloadIdentity};
pub use trust_provider::{BundleSource, KeySource, TrustProvider};

use attache_core::spiffe_id::TrustDomain;

use crate::{
    condition::Condition,
    name::{self, QualifiedName},
    problem::{Code, Spot, did_you_mean, quoted},
    schema::Shape,
    yaml::{At, Fields, Label},
};

/// The accepted `apiVersion`s: ours, and that of the published quick start.
pub(crate) const VERSIONS: [&str; 2] = ["attache.dev/v1", "aembit.io/v1"];

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who may call.
    ClientWorkload,
    /// What is called.
    ServerWorkload,
    /// How evidence is verified.
    TrustProvider,
    /// When, or from where.
    AccessCondition,
    /// With which credential.
    CredentialProvider,
    /// Binds the others.
    AccessPolicy,
    /// Short form of a client workload.
    WorkloadIdentity,
    /// Short form of an access policy with its credential provider.
    CredentialPolicy,
    /// What is expected of the others.
    PolicyTest,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::ClientWorkload,
        Self::ServerWorkload,
        Self::TrustProvider,
        Self::AccessCondition,
        Self::CredentialProvider,
        Self::AccessPolicy,
        Self::WorkloadIdentity,
        Self::CredentialPolicy,
        Self::PolicyTest,
    ];

    /// The word in `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientWorkload => "ClientWorkload",
            Self::ServerWorkload => "ServerWorkload",
            Self::TrustProvider => "TrustProvider",
            Self::AccessCondition => "AccessCondition",
            Self::CredentialProvider => "CredentialProvider",
            Self::AccessPolicy => "AccessPolicy",
            Self::WorkloadIdentity => "WorkloadIdentity",
            Self::CredentialPolicy => "CredentialPolicy",
            Self::PolicyTest => "PolicyTest",
        }
    }
}

/// A document whose kind and name are known. `spec` is `None` if it was refused: the name still exists,
/// so that references to it are not told as dangling.
pub(crate) struct Document {
    pub(crate) kind: Kind,
    pub(crate) name: QualifiedName,
    /// Of its name.
    pub(crate) spot: Spot,
    pub(crate) spec: Option<Spec>,
}

pub(crate) enum Spec {
    ClientWorkload(ClientWorkload),
    ServerWorkload(ServerWorkload),
    TrustProvider(Box<TrustProvider>),
    AccessCondition(Box<Condition>),
    CredentialProvider(Box<CredentialProvider>),
    AccessPolicy(Box<AccessPolicy>),
    WorkloadIdentity(Box<WorkloadIdentity>),
    CredentialPolicy(Box<CredentialPolicy>),
    PolicyTest(Box<PolicyTest>),
}

/// Reads one document. `None` if its kind or name is refused; its problems are reported either way.
pub(crate) fn lower(root: &At<'_>, trust_domain: &TrustDomain) -> Option<Document> {
    let label = Label::new(label);
    let at = root.labelled(&label).described(Shape::DOCUMENT);
    at.refuse_secrets();
    let mut fields = at.fields()?;
    let version = fields.required("apiVersion", |at| {
        known(
            at,
            Code::UnknownVersion,
            "version",
            &VERSIONS.map(|version| (version, ())),
        )
    });
    let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
    let kind = fields.required("kind", |at| known(at, Code::UnknownKind, "kind", &kinds));
    let metadata = fields.required("metadata", metadata);
    let spec_at = fields.required("spec", |at| Some(at.clone()));
    let kind = kind?;
    let (name, spot) = metadata.unzip();
    let nameless = QualifiedName {
        namespace: None,
        name: String::new(),
    };
    let named = name.as_ref().unwrap_or(&nameless);
    let spec = spec_at.and_then(|at| spec(&at, kind, named, trust_domain));
    Some(Document {
        kind,
        name: name?,
        spot: spot?,
        spec: spec.filter(|_| version.is_some()),
    })
}

fn spec(at: &At<'_>, kind: Kind, name: &QualifiedName, trust_domain: &TrustDomain) -> Option<Spec> {
    let mut fields = at.described(Shape::of(kind)).fields()?;
    let fields = &mut fields;
    match kind {
        Kind::ClientWorkload => ClientWorkload::lower(fields).map(Spec::ClientWorkload),
        Kind::ServerWorkload => ServerWorkload::lower(fields, name).map(Spec::ServerWorkload),
        Kind::TrustProvider => TrustProvider::lower(fields, Some(name.to_string()), trust_domain)
            .map(|provider| Spec::TrustProvider(Box::new(provider))),
        Kind::AccessCondition => access_condition::lower(fields, &name.to_string())
            .map(|condition| Spec::AccessCondition(Box::new(condition))),
        Kind::CredentialProvider => CredentialProvider::lower(fields, name.to_string())
            .map(|provider| Spec::CredentialProvider(Box::new(provider))),
        Kind::AccessPolicy => Some(Spec::AccessPolicy(Box::new(AccessPolicy::lower(fields)))),
        Kind::WorkloadIdentity => WorkloadIdentity::lower(fields)
            .map(|identity| Spec::WorkloadIdentity(Box::new(identity))),
        Kind::CredentialPolicy => Some(Spec::CredentialPolicy(Box::new(CredentialPolicy::lower(
            fields, name,
        )))),
        Kind::PolicyTest => {
            PolicyTest::lower(fields, name).map(|test| Spec::PolicyTest(Box::new(test)))
        }
    }
}

/// What messages call the document, before anything of it is checked.
fn label(root: &At<'_>) -> String {
    let plain = |text: &&str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !text.is_empty() && text.len() <= 253 && text.bytes().all(inside)
    };
    let kind = root.peek_text("kind").filter(plain).unwrap_or("document");
    let name = root.peek_inner_text("metadata", "name").filter(plain);
    let namespace = root.peek_inner_text("metadata", "namespace").filter(plain);
    match (namespace, name) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        (_, None) => kind.to_owned(),
    }
}

/// Labels, annotations and the description are the user's own: checked for their types alone.
fn metadata(at: &At<'_>) -> Option<(QualifiedName, Spot)> {
    let mut fields = at.fields()?;
    let mut spot = at.spot();
    let name = fields.required("name", |at| {
        spot = at.spot();
        name::name(at)
    });
    let namespace = fields.optional("namespace", name::namespace);
    let texts = |at: &At<'_>| at.entries(|key, at| key.text().and(at.text_or_empty()).map(|_| ()));
    let labels = fields.optional("labels", texts);
    let annotations = fields.optional("annotations", texts);
    let description = fields.optional("description", |at| at.text_or_empty().map(|_| ()));
    labels.and(annotations).and(description)?;
    Some((
        QualifiedName {
            namespace: namespace?,
            name: name?,
        },
        spot,
    ))
}

/// One of the listed words, with a code of its own.
fn known<T: Clone>(at: &At<'_>, code: Code, what: &str, choices: &[(&str, T)]) -> Option<T> {
    let text = at.text()?;
    let chosen = choices.iter().find(|(word, _)| *word == text);
    if let Some((_, value)) = chosen {
        return Some(value.clone());
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let way_out = did_you_mean(text, words.iter().copied())
        .unwrap_or_else(|| format!("write one of {}", words.join(", ")));
    at.refuse_with(
        code,
        format!("there is no {what} {}", quoted(text)),
        way_out,
    )
}

/// What every `lower` of a specification starts from.
type Specification<'f, 'a> = &'f mut Fields<'a>;
