//! How a trust provider is configured, and which configurations would prove too much.

use std::{fmt, path::PathBuf, time::Duration};

use attache_core::{
    attestation::ProviderKind,
    jwks::{InvalidKeySet, KeySet},
    jwt::{Algorithm, Rules},
    spiffe_id::{SpiffeId, TrustDomain},
};
use thiserror::Error;
use url::{Host, Url};

#[cfg(test)]
mod tests;

/// Longest lifetime of evidence that any provider may accept.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_hours(24);
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
}

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
    /// Longest lifetime of a token, at most 24 h.
    pub max_lifetime: Duration,
    /// How far `nbf` and `iat` may lie ahead, at most 5 min.
    pub leeway: Duration,
    /// How long keys serve after they were last fetched.
    pub max_key_age: Duration,
}

impl ProviderConfig {
    /// A provider with audience `attache`, RS256 and ES256, tokens of at most 24 h, 30 s leeway, and
    /// keys that serve for 24 h after they were last fetched.
    pub fn new(
        name: impl Into<String>,
        kind: ProviderKind,
        issuer: impl Into<String>,
        keys: KeySource,
        trust_domain: TrustDomain,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            issuer: issuer.into(),
            audience: "attache".to_owned(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            keys,
            trust_domain,
            ca_file: None,
            max_lifetime: MAX_LIFETIME,
            leeway: Duration::from_secs(30),
            max_key_age: Duration::from_hours(24),
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

/// Why a provider's configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProviderProblem {
    /// The name becomes part of SPIFFE IDs.
    #[error("its name must be `name` or `namespace/name` of letters, digits, `.`, `-`, `_`")]
    Name,
    /// Names are unique.
    #[error("another provider has its name")]
    DuplicateName,
    /// The provider of a token is found by its issuer.
    #[error("`{0}` has the same issuer; one provider for each issuer")]
    DuplicateIssuer(String),
    /// `ns/<namespace>/sa/<account>` would name workloads of both clusters.
    #[error("`{0}` proves ServiceAccounts of the same trust domain; give each cluster its own")]
    SharedTrustDomain(String),
    /// `iss` is mandatory.
    #[error("its issuer is empty")]
    IssuerEmpty,
    /// `aud` is mandatory.
    #[error("its audience is empty")]
    AudienceEmpty,
    /// A token that the API server accepts is a key to the cluster, not evidence.
    #[error(
        "`{0}` is the API server's own audience; project a token for another one, such as `attache`"
    )]
    AudienceOfApiServer(String),
    /// Nothing would be accepted.
    #[error("it allows no algorithm; name one or more, such as RS256")]
    AlgorithmsEmpty,
    /// Keys come over TLS, or from this machine.
    #[error("its keys cannot be fetched from `{url}`: {reason}")]
    KeyUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: InvalidKeyUrl,
    },
    /// The inline keys are no JWK Set.
    #[error("its inline keys are not usable: {0}")]
    InlineKeys(#[from] InvalidKeySet),
    /// Beyond 24 h, or zero.
    #[error("its longest lifetime of tokens must be more than zero and at most 24 h")]
    MaxLifetime,
    /// Beyond 5 min.
    #[error("its leeway must be at most 5 min")]
    Leeway,
    /// Zero.
    #[error("the age limit of its keys must be more than zero")]
    MaxKeyAge,
}

/// Why keys are not fetched from a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidKeyUrl {
    /// Not an absolute URL with a host.
    #[error("not an absolute URL")]
    Malformed,
    /// Anyone on the way could put in keys of their own.
    #[error("only https, or http to a loopback address")]
    Scheme,
    /// A password in a URL ends up in logs; a fragment never leaves the client.
    #[error("it holds user information or a fragment")]
    UserInformationOrFragment,
}

/// One problem and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("trust provider `{provider}`: {problem}")]
pub struct InvalidProvider {
    /// The provider's name.
    pub provider: String,
    /// What is wrong with it.
    pub problem: ProviderProblem,
}

/// All problems of a set of providers; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct InvalidProviders(pub Vec<InvalidProvider>);

impl fmt::Display for InvalidProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

/// Checks each provider alone, and each against those before it.
pub fn check(configs: &[ProviderConfig]) -> Result<(), InvalidProviders> {
    let mut invalid = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let earlier = configs.get(..index).unwrap_or_default();
        for problem in alone(config).into_iter().chain(among(config, earlier)) {
            invalid.push(InvalidProvider {
                provider: config.name.clone(),
                problem,
            });
        }
    }
    if invalid.is_empty() {
        Ok(())
    } else {
        Err(InvalidProviders(invalid))
    }
}

fn alone(config: &ProviderConfig) -> Vec<ProviderProblem> {
    let mut problems = Vec::new();
    let mut unless = |sound: bool, problem| {
        if !sound {
            problems.push(problem);
        }
    };
    let name = SpiffeId::of(&config.trust_domain, config.name.split('/'));
    let sound_name =
        name.is_ok() && config.name.split('/').count() <= 2 && config.name.len() <= MAX_NAME_BYTES;
    unless(sound_name, ProviderProblem::Name);
    unless(!config.issuer.is_empty(), ProviderProblem::IssuerEmpty);
    unless(!config.audience.is_empty(), ProviderProblem::AudienceEmpty);
    let of_api_server = config.kind == ProviderKind::KubernetesServiceAccount
        && is_api_servers(&config.audience, &config.issuer);
    unless(
        !of_api_server,
        ProviderProblem::AudienceOfApiServer(config.audience.clone()),
    );
    unless(
        !config.algorithms.is_empty(),
        ProviderProblem::AlgorithmsEmpty,
    );
    let sound_lifetime = !config.max_lifetime.is_zero() && config.max_lifetime <= MAX_LIFETIME;
    unless(sound_lifetime, ProviderProblem::MaxLifetime);
    unless(config.leeway <= MAX_LEEWAY, ProviderProblem::Leeway);
    unless(!config.max_key_age.is_zero(), ProviderProblem::MaxKeyAge);
    problems.extend(keys_problem(config));
    problems
}

fn keys_problem(config: &ProviderConfig) -> Option<ProviderProblem> {
    let url = match &config.keys {
        KeySource::Discovery => config.discovery_url(),
        KeySource::DiscoveryUrl(url) | KeySource::JwksUrl(url) => url.clone(),
        KeySource::File(_) => return None,
        KeySource::Inline(text) => return Some(KeySet::parse(text.as_bytes()).err()?.into()),
    };
    let reason = key_url(&url).err()?;
    Some(ProviderProblem::KeyUrl {
        url: without_password(&url),
        reason,
    })
}

fn among(config: &ProviderConfig, earlier: &[ProviderConfig]) -> Vec<ProviderProblem> {
    let mut problems = Vec::new();
    for other in earlier {
        if other.name == config.name {
            problems.push(ProviderProblem::DuplicateName);
        }
        if other.issuer == config.issuer {
            problems.push(ProviderProblem::DuplicateIssuer(other.name.clone()));
        }
        // An OIDC provider's IDs hold its name; a cluster's hold nothing but its trust domain.
        let clusters =
            [config, other].map(|one| one.kind == ProviderKind::KubernetesServiceAccount);
        if clusters == [true, true] && other.trust_domain == config.trust_domain {
            problems.push(ProviderProblem::SharedTrustDomain(other.name.clone()));
        }
    }
    problems
}

/// `--api-audiences` defaults to the issuer; clusters also answer to the names of their service.
pub(crate) fn is_api_servers(audience: &str, issuer: &str) -> bool {
    let bare = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    let audience = bare(audience);
    let host = audience.strip_prefix("https://").unwrap_or(&audience);
    let host = host.split([':', '/']).next().unwrap_or_default();
    audience == bare(issuer)
        || host == "kubernetes.default.svc"
        || host.starts_with("kubernetes.default.svc.")
}

/// Reads a URL that keys or a discovery document may come from.
pub(crate) fn key_url(text: &str) -> Result<Url, InvalidKeyUrl> {
    let url = Url::parse(text).map_err(|_syntax| InvalidKeyUrl::Malformed)?;
    let host = url.host().ok_or(InvalidKeyUrl::Malformed)?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(InvalidKeyUrl::UserInformationOrFragment);
    }
    let loopback = match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => name == "localhost",
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err(InvalidKeyUrl::Scheme),
    }
}

/// SECURITY: a URL may hold a password, and errors are logged.
fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return "(not a URL)".to_owned();
    };
    // Neither can fail for a URL with a host, and one without a host holds no password.
    let _ = (parsed.set_username(""), parsed.set_password(None));
    parsed.to_string()
}
