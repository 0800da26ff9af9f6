//! `TrustProvider`: how evidence is verified. The same fields stand in the program's configuration.

mod svid;

use std::path::PathBuf;

use attache_core::{
    attestation::ProviderKind,
    identity::{IdTemplate, Naming},
    jwks::KeySet,
    jwt::Algorithm,
    pattern::Requirement,
    spiffe_id::TrustDomain,
};

use crate::{
    document::{Specification, credential_provider, endpoint},
    name::{self, Reference},
    problem::{Code, Place, quoted},
    selector::{Condition, Entry},
    yaml::{At, Fields},
};

pub use svid::BundleSource;

/// The audience that evidence must be made for, unless the document says otherwise.
const DEFAULT_AUDIENCE: &str = "attache";

/// A provider of proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustProvider {
    /// The document's qualified name.
    pub name: String,
    /// How evidence is read.
    pub kind: ProviderKind,
    /// `iss` of the evidence, byte for byte: an https URL, or http on a loopback address.
    pub issuer: String,
    /// One of the evidence's `aud`.
    pub audience: String,
    /// The algorithms allowed; never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where the issuer's keys come from.
    pub keys: KeySource,
    /// The domain of the SPIFFE IDs it vouches for.
    pub trust_domain: TrustDomain,
    /// Certificates that the key server is verified with, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// `k8s.cluster` of the pods that a cluster's provider proves.
    pub cluster: Option<String>,
    /// How SPIFFE IDs are made, instead of how the kind makes them.
    pub spiffe_id: Option<IdTemplate>,
    /// Whom it vouches for: who fulfils all of one entry; everybody it can prove if there is none.
    pub only: Vec<Vec<Requirement>>,
    /// The qualified names of the providers with which it shares SPIFFE IDs: one ID is one workload, whichever of
    /// them proves it. Known once the set is compiled; both say so.
    pub shares_identities_with: Vec<String>,
    /// The same as it is written.
    pub(crate) partners: Vec<Reference>,
    /// Where it was written; for messages.
    pub place: Place,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// From the issuer's `/.well-known/openid-configuration`.
    Discovery,
    /// From a discovery document elsewhere.
    DiscoveryUrl(String),
    /// From a key set.
    JwksUrl(String),
    /// From a file that holds a key set.
    File(PathBuf),
    /// The key set itself, as JSON.
    Inline(String),
    /// From the API server of the cluster that Attaché runs in, as a pod may.
    InCluster,
    /// From an API server, which asks for a bearer token.
    ApiServer {
        /// Its origin: `https://10.0.0.1:6443`.
        url: String,
        /// A file with the token; it is read at each fetch.
        token_file: PathBuf,
    },
    /// The SPIFFE bundle of the trust domain; SVIDs take nothing else.
    Bundle(BundleSource),
}

impl TrustProvider {
    /// Reads an entry of a configuration file: `name` beside the fields of the document's `spec`.
    pub fn from_configuration(at: &At<'_>, trust_domain: &TrustDomain) -> Option<Self> {
        let mut fields = at.fields()?;
        let name = fields.required("name", name::name);
        Self::lower(&mut fields, name, trust_domain)
    }

    /// `name` is `None` if it was refused.
    pub(super) fn lower(
        fields: Specification<'_, '_>,
        name: Option<String>,
        trust_domain: &TrustDomain,
    ) -> Option<Self> {
        let Some(kind) = fields.required("type", provider_kind) else {
            fields.leave_rest();
            return None;
        };
        if svid::verifies_svids(kind) {
            return svid::lower(fields, name, kind);
        }
        let issuer = match default_issuer(kind) {
            None => fields.required("issuer", endpoint::issuer),
            Some(usual) => fields.or("issuer", usual.to_owned(), endpoint::issuer),
        };
        let audience = fields.or("audience", DEFAULT_AUDIENCE.to_owned(), |at| {
            audience(at, kind, issuer.as_deref().unwrap_or_default())
        });
        let keys = fields.or("keys", KeySource::Discovery, |at| key_source(at, kind));
        let ca_file = fields.optional("caFile", file);
        let algorithms = fields.or("algorithms", kind.usual_algorithms().to_vec(), |at| {
            at.some_list(algorithm)
        });
        let trust_domain = fields.or("trustDomain", trust_domain.clone(), |at| {
            trust_domain_of(at)
        });
        let cluster = if kind == ProviderKind::KubernetesServiceAccount {
            fields.or("cluster", name.clone(), |at| cluster(at).map(Some))
        } else {
            Some(None)
        };
        let spiffe_id = fields.optional("spiffeId", |at| template(at, kind));
        let only = fields.or("match", Vec::new(), |at| {
            at.some_list(|at| requirements(at, kind))
        });
        let partners = partners(fields);
        let provider = Self {
            name: name?,
            kind,
            issuer: issuer?,
            audience: audience?,
            algorithms: algorithms?,
            keys: keys?,
            trust_domain: trust_domain?,
            ca_file: ca_file?,
            cluster: cluster?,
            spiffe_id: spiffe_id?,
            only: only?,
            shares_identities_with: Vec::new(),
            partners: partners?,
            place: fields.at().place(),
        };
        provider.warn_of_strangers(fields.at());
        Some(provider)
    }

    /// Whom it vouches for, and under which names.
    pub fn naming(&self) -> Naming<'_> {
        Naming {
            provider: &self.name,
            kind: self.kind,
            trust_domain: &self.trust_domain,
            template: self.spiffe_id.as_ref(),
            cluster: self.cluster.as_deref(),
            only: &self.only,
            shares_with: &self.shares_identities_with,
        }
    }

    /// An issuer that all the world has accounts with proves strangers too.
    fn warn_of_strangers(&self, at: &At<'_>) {
        let shared = default_issuer(self.kind) == Some(self.issuer.as_str());
        if !shared || !self.only.is_empty() {
            return;
        }
        let own = match self.kind {
            ProviderKind::GithubActions => "github.repositoryOwnerId",
            ProviderKind::Gitlab => "gitlab.namespaceId",
            ProviderKind::TerraformCloud => "terraform.organizationId",
            ProviderKind::KubernetesServiceAccount
            | ProviderKind::Oidc
            | ProviderKind::AwsLambdaOidc
            | ProviderKind::SpiffeJwt
            | ProviderKind::SpiffeX509 => return,
        };
        let message = format!(
            "{} signs for everybody who has an account there",
            self.issuer
        );
        let way_out = format!("say who is yours: `match: [{{{own}: \"…\"}}]`");
        let report = at.report();
        report.warning(at.place(), Code::OpenToStrangers, message, Some(way_out));
    }
}

/// The providers whose workloads are the same where their SPIFFE IDs are.
fn partners(fields: Specification<'_, '_>) -> Option<Vec<Reference>> {
    fields.or("sharesIdentitiesWith", Vec::new(), |at| {
        at.some_list(name::reference)
    })
}

/// The issuer of a platform that has one for all its users.
pub(crate) const fn default_issuer(kind: ProviderKind) -> Option<&'static str> {
    match kind {
        ProviderKind::GithubActions => Some("https://token.actions.githubusercontent.com"),
        ProviderKind::Gitlab => Some("https://gitlab.com"),
        ProviderKind::TerraformCloud => Some("https://app.terraform.io"),
        ProviderKind::KubernetesServiceAccount
        | ProviderKind::Oidc
        | ProviderKind::AwsLambdaOidc
        | ProviderKind::SpiffeJwt
        | ProviderKind::SpiffeX509 => None,
    }
}

/// Reads the name of a cluster, which can stand in a SPIFFE ID.
fn cluster(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let dots = text.bytes().all(|byte| byte == b'.');
    if dots || text.len() > 253 || !text.bytes().all(inside) {
        let message = format!("{} is no name for a cluster", quoted(text));
        let way_out = "write letters, digits, `-`, `.` and `_`, such as prod-eu";
        return at.refuse_with(Code::InvalidValue, message, way_out);
    }
    Some(text.to_owned())
}

fn template(at: &At<'_>, kind: ProviderKind) -> Option<IdTemplate> {
    let text = at.text()?;
    IdTemplate::parse(text, kind).map_or_else(
        |error| {
            let example = match kind.subject() {
                None => "ns/{k8s.namespace}/sa/{k8s.serviceAccount}".to_owned(),
                Some(subject) => format!("ci/{{{subject}}}"),
            };
            let message = format!("{} names no workloads: {error}", quoted(text));
            at.refuse_with(
                Code::InvalidValue,
                message,
                format!("write a path such as {example}"),
            )
        },
        Some,
    )
}

/// Reads an entry of `match`: attributes that this kind of provider proves.
fn requirements(at: &At<'_>, kind: ProviderKind) -> Option<Vec<Requirement>> {
    let entry = Entry::lower(at)?;
    let foreign = |condition: &&Condition| !kind.proves(&condition.attribute);
    if let Some(condition) = entry.conditions.iter().find(foreign) {
        let message = format!(
            "a provider of type {} proves no {}",
            kind.name(),
            condition.attribute
        );
        let way_out = "name attributes of its own name space";
        return at.refuse_with(Code::ContradictorySelector, message, way_out);
    }
    let required = |condition: Condition| Requirement {
        attribute: condition.attribute.into_owned(),
        patterns: condition.patterns.into_vec(),
    };
    Some(entry.conditions.into_iter().map(required).collect())
}

fn trust_domain_of(at: &At<'_>) -> Option<TrustDomain> {
    let text = at.text()?;
    TrustDomain::parse(text).map_or_else(
        |error| {
            let folded = text.to_ascii_lowercase();
            let way_out = match TrustDomain::parse(&folded) {
                Ok(_) => format!("write {}", quoted(&folded)),
                Err(_) => {
                    "write a name such as cluster.local, without spiffe:// and path".to_owned()
                }
            };
            at.refuse_with(Code::InvalidValue, error.to_string(), way_out)
        },
        Some,
    )
}

/// Reads the word for a kind of provider.
pub(super) fn provider_kind(at: &At<'_>) -> Option<ProviderKind> {
    at.one_of(&ProviderKind::ALL.map(|kind| (kind.name(), kind)))
}

/// SECURITY: a token that the API server takes too is a key to the cluster; workloads must not send it
/// around. `trust` refuses such a provider as well; here the problem has its place.
fn audience(at: &At<'_>, kind: ProviderKind, issuer: &str) -> Option<String> {
    let audience = credential_provider::audience(at)?;
    let text = audience.as_str();
    let host = text.strip_prefix("https://").unwrap_or(text);
    let host = host
        .split([':', '/'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let of_api_server = text
        .trim_end_matches('/')
        .eq_ignore_ascii_case(issuer.trim_end_matches('/'))
        || host == "kubernetes.default.svc"
        || host.starts_with("kubernetes.default.svc.");
    if kind == ProviderKind::KubernetesServiceAccount && of_api_server {
        let message = format!(
            "{} is the audience of the cluster's API server",
            quoted(text)
        );
        let way_out = "project a token for an audience of its own, such as attache";
        return at.refuse_with(Code::InvalidValue, message, way_out);
    }
    Some(audience)
}

/// Without a suggestion: the algorithm that is spelled most like a refused one need not be meant.
fn algorithm(at: &At<'_>) -> Option<Algorithm> {
    let text = at.text()?;
    Algorithm::from_name(text).or_else(|| {
        let message = format!(
            "{} is no algorithm that evidence may be signed with",
            quoted(text)
        );
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        at.refuse_with(
            Code::UnknownChoice,
            message,
            format!("write some of {names}"),
        )
    })
}

fn key_source(at: &At<'_>, kind: ProviderKind) -> Option<KeySource> {
    let mut fields = at.fields()?;
    let mut written = Vec::new();
    let mut source = |name, read: fn(&At<'_>) -> Option<KeySource>| {
        written.extend(fields.field(name).map(|at| read(&at)));
    };
    source("discovery", |at| only_true(at, KeySource::Discovery));
    source("discoveryUrl", |at| {
        endpoint::key_url(at).map(KeySource::DiscoveryUrl)
    });
    source("jwksUrl", |at| {
        endpoint::key_url(at).map(KeySource::JwksUrl)
    });
    source("jwksFile", |at| file(at).map(KeySource::File));
    source("jwks", inline_keys);
    let mut ways = "discovery, discoveryUrl, jwksUrl, jwksFile, jwks".to_owned();
    if kind == ProviderKind::KubernetesServiceAccount {
        source("inCluster", |at| only_true(at, KeySource::InCluster));
        ways.push_str(", inCluster");
        written.extend(api_server(&mut fields));
    }
    if written.len() == 1 {
        return written.pop().flatten();
    }
    let message = format!("{} of the ways to find keys are written", written.len());
    let way_out = format!("write exactly one of {ways}");
    at.refuse_with(Code::ConflictingFields, message, way_out)
}

fn only_true(at: &At<'_>, source: KeySource) -> Option<KeySource> {
    match at.boolean()? {
        true => Some(source),
        false => at.refuse_with(
            Code::InvalidValue,
            "`false` says nothing",
            "write one of the other ways to find keys instead",
        ),
    }
}

/// SECURITY: for the configuration alone; the table of documents has neither field. Whoever writes documents
/// could have the server send a token of its own to a host of theirs.
fn api_server(fields: &mut Fields<'_>) -> Option<Option<KeySource>> {
    let url = fields.field("apiServer").map(|at| endpoint::origin(&at));
    let token_file = fields.field("tokenFile").map(|at| file(&at));
    match (url, token_file) {
        (None, None) => None,
        (Some(url), Some(token_file)) => {
            let both = url.zip(token_file);
            Some(both.map(|(url, token_file)| KeySource::ApiServer { url, token_file }))
        }
        (Some(_), None) | (None, Some(_)) => Some(fields.at().refuse_with(
            Code::ConflictingFields,
            "apiServer and tokenFile need each other",
            "write both: an API server gives its keys to those it knows",
        )),
    }
}

/// A key set as a mapping, or as JSON in a text. Checked here, for nothing will fetch a better one.
fn inline_keys(at: &At<'_>) -> Option<KeySource> {
    let text = if at.is_mapping() {
        at.json().to_string()
    } else {
        at.text()?.to_owned()
    };
    let keys = match KeySet::parse(text.as_bytes()) {
        Ok(keys) => keys,
        Err(error) => {
            let way_out =
                "write the public keys as the issuer publishes them: {\"keys\": [{\"kty\": …}]}";
            return at.refuse_with(Code::InvalidKeys, error.to_string(), way_out);
        }
    };
    if keys.keys().is_empty() {
        let message = "the key set has no key that verifies signatures";
        let way_out = "write an RSA or EC key with `use: sig`, or none";
        return at.refuse_with(Code::InvalidKeys, message, way_out);
    }
    Some(KeySource::Inline(text))
}

pub(super) fn file(at: &At<'_>) -> Option<PathBuf> {
    let text = at.text()?;
    if text.contains('\0') {
        let message = format!("{} is not a file name", quoted(text));
        return at.refuse_with(Code::InvalidValue, message, "remove the NUL character");
    }
    Some(PathBuf::from(text))
}
