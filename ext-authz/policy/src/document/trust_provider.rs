//! `TrustProvider`: how evidence is verified. The same fields stand in the program's configuration.

use std::path::PathBuf;

use attache_core::{
    attestation::ProviderKind, jwks::KeySet, jwt::Algorithm, spiffe_id::TrustDomain,
};

use crate::{
    document::{Specification, credential_provider, endpoint},
    name,
    problem::{Code, Place, quoted},
    yaml::At,
};

/// The audience that evidence must be made for, unless the document says otherwise.
const DEFAULT_AUDIENCE: &str = "attache";

/// What issuers sign with, unless the document says otherwise.
const DEFAULT_ALGORITHMS: [Algorithm; 2] = [Algorithm::Rs256, Algorithm::Es256];

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
        let kind = fields.required("type", provider_kind);
        let issuer = fields.required("issuer", endpoint::issuer);
        let audience = fields.or("audience", DEFAULT_AUDIENCE.to_owned(), |at| {
            audience(at, kind?, issuer.as_deref().unwrap_or_default())
        });
        let keys = fields.or("keys", KeySource::Discovery, key_source);
        let ca_file = fields.optional("caFile", file);
        let algorithms = fields.or("algorithms", DEFAULT_ALGORITHMS.to_vec(), |at| {
            at.some_list(algorithm)
        });
        let trust_domain = fields.or("trustDomain", trust_domain.clone(), |at| {
            trust_domain_of(at)
        });
        Some(Self {
            name: name?,
            kind: kind?,
            issuer: issuer?,
            audience: audience?,
            algorithms: algorithms?,
            keys: keys?,
            trust_domain: trust_domain?,
            ca_file: ca_file?,
            place: fields.at().place(),
        })
    }
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

fn key_source(at: &At<'_>) -> Option<KeySource> {
    let mut fields = at.fields()?;
    let mut written = Vec::new();
    let mut source = |name, read: fn(&At<'_>) -> Option<KeySource>| {
        written.extend(fields.field(name).map(|at| read(&at)));
    };
    source("discovery", |at| match at.boolean()? {
        true => Some(KeySource::Discovery),
        false => at.refuse_with(
            Code::InvalidValue,
            "`discovery: false` says nothing",
            "write one of discoveryUrl, jwksUrl, jwksFile, jwks instead",
        ),
    });
    source("discoveryUrl", |at| {
        endpoint::key_url(at).map(KeySource::DiscoveryUrl)
    });
    source("jwksUrl", |at| {
        endpoint::key_url(at).map(KeySource::JwksUrl)
    });
    source("jwksFile", |at| file(at).map(KeySource::File));
    source("jwks", inline_keys);
    if written.len() == 1 {
        return written.pop().flatten();
    }
    let message = format!("{} of the ways to find keys are written", written.len());
    let way_out = "write exactly one of discovery, discoveryUrl, jwksUrl, jwksFile, jwks";
    at.refuse_with(Code::ConflictingFields, message, way_out)
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

fn file(at: &At<'_>) -> Option<PathBuf> {
    let text = at.text()?;
    if text.contains('\0') {
        let message = format!("{} is not a file name", quoted(text));
        return at.refuse_with(Code::InvalidValue, message, "remove the NUL character");
    }
    Some(PathBuf::from(text))
}
