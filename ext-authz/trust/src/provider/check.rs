//! Which configurations of trust providers would prove too much, or nothing.

use std::fmt;

use attache_core::{
    attestation::ProviderKind,
    attributes::kubernetes::CLUSTER,
    identity::IdTemplate,
    jwks::{InvalidKeySet, KeySet},
    spiffe_id::SpiffeId,
};
use attache_outbound::{InvalidTarget, parse_target};
use thiserror::Error;
use url::Url;

use super::{KeySource, MAX_LEEWAY, MAX_LIFETIME, MAX_NAME_BYTES, ProviderConfig};
use crate::bundle_source::BundleSource;

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
    /// The cluster of a token is told by its issuer.
    #[error(
        "the cluster of `{0}` has the same issuer, so that tokens of the two cannot be told apart; give each API server a `--service-account-issuer` of its own"
    )]
    SameClusterIssuer(String),
    /// A workload of one would have the name of a workload of the other.
    #[error(
        "it and `{0}` could yield one SPIFFE ID; give each a trust domain of its own, or a template that begins differently, or have each say that it shares identities with the other"
    )]
    SameIds(String),
    /// A name that cannot stand in a SPIFFE ID.
    #[error(
        "its cluster `{cluster}` cannot stand in `{template}`; name the cluster with letters, digits, `-`, `.` and `_`"
    )]
    ClusterInTemplate {
        /// The cluster.
        cluster: String,
        /// The template that holds it.
        template: String,
    },
    /// The template or a rule names what its kind does not prove.
    #[error("a provider of its type proves no `{0}`")]
    ForeignAttribute(String),
    /// A SPIFFE provider without a bundle.
    #[error("it verifies SVIDs, and so needs the bundle of its trust domain")]
    BundleMissing,
    /// A bundle for tokens of an issuer.
    #[error("a bundle is for providers of type spiffe-jwt and spiffe-x509 alone")]
    BundleOfIssuer,
    /// The bundle of an SVID is found by its trust domain.
    #[error("`{0}` verifies the same kind of SVID of the same trust domain; one provider for each")]
    DuplicateTrustDomain(String),
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
        reason: InvalidTarget,
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
    problems.extend(bundle_problem(config));
    problems.extend(keys_problem(config));
    problems.extend(naming_problem(config));
    problems
}

/// `policy` says the same with the place in the document; here is what holds for every configuration.
fn naming_problem(config: &ProviderConfig) -> Option<ProviderProblem> {
    let template = config.spiffe_id.as_ref();
    let in_template = template.into_iter().flat_map(IdTemplate::attributes);
    let in_rules = config.only.iter().flatten();
    let mut names = in_template.chain(in_rules.map(|rule| rule.attribute.as_str()));
    if let Some(foreign) = names.find(|name| !config.kind.proves(name)) {
        return Some(ProviderProblem::ForeignAttribute(foreign.to_owned()));
    }
    let (template, cluster) = (template?, config.cluster.as_deref()?);
    let holds_it = template.attributes().any(|name| name == CLUSTER);
    let stands = SpiffeId::of(&config.trust_domain, [cluster]).is_ok();
    (holds_it && !stands).then(|| ProviderProblem::ClusterInTemplate {
        cluster: cluster.to_owned(),
        template: template.to_string(),
    })
}

/// SPIFFE kinds take the bundle of their trust domain, and only they do.
fn bundle_problem(config: &ProviderConfig) -> Option<ProviderProblem> {
    let KeySource::Bundle(source) = &config.keys else {
        return is_spiffe(config.kind).then_some(ProviderProblem::BundleMissing);
    };
    let url = match source {
        _ if !is_spiffe(config.kind) => return Some(ProviderProblem::BundleOfIssuer),
        BundleSource::File(_) | BundleSource::WorkloadApi(_) => return None,
        BundleSource::HttpsWeb(url) | BundleSource::HttpsSpiffe { url, .. } => url,
    };
    // SPIFFE Federation §5.1: an endpoint is always https.
    let reason = match parse_target(url) {
        Ok(url) if url.scheme() == "https" => return None,
        Ok(_plaintext) => InvalidTarget::Scheme,
        Err(reason) => reason,
    };
    let url = without_password(url);
    Some(ProviderProblem::KeyUrl { url, reason })
}

/// Whether a provider of `kind` verifies SVIDs.
pub(crate) const fn is_spiffe(kind: ProviderKind) -> bool {
    matches!(kind, ProviderKind::SpiffeJwt | ProviderKind::SpiffeX509)
}

fn keys_problem(config: &ProviderConfig) -> Option<ProviderProblem> {
    let url = match &config.keys {
        KeySource::Discovery => config.discovery_url(),
        KeySource::DiscoveryUrl(url) | KeySource::JwksUrl(url) => url.clone(),
        KeySource::ApiServer { url, .. } => url.clone(),
        KeySource::File(_) | KeySource::Bundle(_) => return None,
        KeySource::Inline(text) => return Some(KeySet::parse(text.as_bytes()).err()?.into()),
    };
    let reason = parse_target(&url).err()?;
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
        let clusters =
            [config, other].map(|one| one.kind == ProviderKind::KubernetesServiceAccount);
        let svids = [config, other].map(|one| is_spiffe(one.kind));
        if svids == [true, true] {
            if (other.kind, &other.trust_domain) == (config.kind, &config.trust_domain) {
                let name = other.name.clone();
                problems.push(ProviderProblem::DuplicateTrustDomain(name));
            }
        } else if other.issuer == config.issuer {
            let name = other.name.clone();
            problems.push(match clusters {
                [true, true] => ProviderProblem::SameClusterIssuer(name),
                _other => ProviderProblem::DuplicateIssuer(name),
            });
        }
        if other.name != config.name && config.naming().collides_with(&other.naming()) {
            problems.push(ProviderProblem::SameIds(other.name.clone()));
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

/// SECURITY: a URL may hold a password, and errors are logged.
fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return "(not a URL)".to_owned();
    };
    // Neither can fail for a URL with a host, and one without a host holds no password.
    let _ = (parsed.set_username(""), parsed.set_password(None));
    parsed.to_string()
}
