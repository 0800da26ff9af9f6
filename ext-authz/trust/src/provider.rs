//! How a trust provider is configured, and which configurations would prove too much.

use std::{path::PathBuf, time::Duration};

use attache_core::{
    attestation::ProviderKind,
    identity::{IdTemplate, Naming},
    jwt::{Algorithm, Rules, SvidRules},
    pattern::Requirement,
    spiffe_id::TrustDomain,
};

use crate::bundle_source::BundleSource;

pub use check::{InvalidProvider, InvalidProviders, ProviderProblem, check};
pub(crate) use check::{is_api_servers, is_spiffe};

mod check;

#[cfg(test)]
mod tests;

/// Longest lifetime of evidence that any provider may accept.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// Leeway unless a provider says otherwise.
pub(crate) const LEEWAY: Duration = Duration::from_secs(30);
/// Largest leeway for clocks that disagree.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_mins(5);
/// Longest name, in bytes: two Kubernetes names and a slash.
const MAX_NAME_BYTES: usize = 507;

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The issuer's own discovery document (OpenID Connect Discovery §4).
    Discovery,
    /// A discovery document elsewhere; it must still name the issuer.
    DiscoveryUrl(String),
    /// A JWK Set.
    JwksUrl(String),
    /// A file that holds a JWK Set; it is read again when it changes.
    File(PathBuf),
    /// A JWK Set as text.
    Inline(String),
    /// The JWK Set of a Kubernetes API server, which gives it to those it knows.
    ApiServer {
        /// Its origin: `https://10.0.0.1:6443`.
        url: String,
        /// A file with a bearer token for it; it is read at each fetch.
        token_file: PathBuf,
    },
    /// The SPIFFE bundle of the provider's trust domain; for `spiffe-jwt` and `spiffe-x509` alone, and they
    /// take nothing else.
    Bundle(BundleSource),
}

impl KeySource {
    /// The API server of the cluster that this process runs in. Its certificate is verified with
    /// [`CLUSTER_CA`].
    pub fn in_cluster() -> Self {
        Self::ApiServer {
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        }
    }
}

/// The CA of the cluster that this process runs in, as every pod has it.
pub const CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Where an API server publishes the keys of ServiceAccount tokens.
pub(crate) const API_SERVER_KEYS: &str = "/openid/v1/jwks";

/// One trust provider: an issuer, its keys, and what its tokens must fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// The document's name, `namespace/name` if it is qualified.
    pub name: String,
    /// What its tokens are.
    pub kind: ProviderKind,
    /// `iss`, byte for byte.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// The algorithms allowed.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// The trust domain of the SPIFFE IDs it proves.
    pub trust_domain: TrustDomain,
    /// Certificates (PEM) that replace the system's as roots for fetching keys.
    pub ca_file: Option<PathBuf>,
    /// The folders that `ca_file` and a key set in a file must really lie in, links followed; `None` if the
    /// configuration itself names them.
    pub file_roots: Option<Vec<PathBuf>>,
    /// Longest lifetime of a token, at most 24 h.
    pub max_lifetime: Duration,
    /// How far `nbf` and `iat` may lie ahead, at most 5 min.
    pub leeway: Duration,
    /// How long keys serve after they were last fetched.
    pub max_key_age: Duration,
    /// `k8s.cluster` of the pods that a cluster's provider proves.
    pub cluster: Option<String>,
    /// How SPIFFE IDs are made, instead of how the kind makes them.
    pub spiffe_id: Option<IdTemplate>,
    /// Whom it vouches for: who fulfils all of one entry; everybody it can prove if there is none.
    pub only: Vec<Vec<Requirement>>,
    /// The providers with which it shares SPIFFE IDs: one ID is one workload, whichever of them proves it. Each
    /// must name the other.
    pub shares_identities_with: Vec<String>,
}

impl ProviderConfig {
    /// A provider with audience `attache`, the algorithms that its kind uses, tokens of at most 24 h, 30 s
    /// leeway, and keys that serve for 24 h after they were last fetched. A cluster has the provider's name.
    pub fn new(
        name: impl Into<String>,
        kind: ProviderKind,
        issuer: impl Into<String>,
        keys: KeySource,
        trust_domain: TrustDomain,
    ) -> Self {
        let name = name.into();
        let is_cluster = kind == ProviderKind::KubernetesServiceAccount;
        Self {
            cluster: is_cluster.then(|| name.clone()),
            name,
            kind,
            issuer: issuer.into(),
            audience: "attache".to_owned(),
            algorithms: kind.usual_algorithms().to_vec(),
            keys,
            trust_domain,
            ca_file: None,
            file_roots: None,
            max_lifetime: MAX_LIFETIME,
            leeway: LEEWAY,
            max_key_age: Duration::from_hours(24),
            spiffe_id: None,
            only: Vec::new(),
            shares_identities_with: Vec::new(),
        }
    }

    /// A provider of kind `spiffe-jwt` or `spiffe-x509`, whose issuer is the trust domain itself.
    pub fn spiffe(
        name: impl Into<String>,
        kind: ProviderKind,
        trust_domain: TrustDomain,
        source: BundleSource,
    ) -> Self {
        let issuer = format!("spiffe://{}", trust_domain.as_str());
        let keys = KeySource::Bundle(source);
        Self {
            // JWT-SVID §2.1 says which; nobody chooses.
            algorithms: Algorithm::ALL.to_vec(),
            ..Self::new(name, kind, issuer, keys, trust_domain)
        }
    }

    pub(crate) fn svid_rules(&self) -> SvidRules<'_> {
        SvidRules {
            trust_domain: &self.trust_domain,
            audience: &self.audience,
            max_lifetime: self.max_lifetime,
            leeway: self.leeway,
        }
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

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            issuer: &self.issuer,
            audience: &self.audience,
            algorithms: &self.algorithms,
            max_lifetime: self.max_lifetime,
            leeway: self.leeway,
        }
    }

    /// The discovery document's URL: the issuer without its last `/`, and the well-known path.
    pub(crate) fn discovery_url(&self) -> String {
        let issuer = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        format!("{issuer}/.well-known/openid-configuration")
    }
}
