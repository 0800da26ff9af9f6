//! Trust providers of type `spiffe-jwt` and `spiffe-x509`: a trust domain and where its bundle comes from.

use std::path::PathBuf;

use attache_core::{
    attestation::ProviderKind,
    jwt::Algorithm,
    spiffe_id::{SpiffeId, TrustDomain},
};

use super::{
    DEFAULT_AUDIENCE, KeySource, TrustProvider, audience, file, partners, requirements,
    trust_domain_of,
};
use crate::{
    document::{Specification, endpoint},
    problem::{Code, quoted},
    yaml::{At, Fields},
};

/// Where the bundle of a trust domain comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleSource {
    /// A file that holds a SPIFFE bundle.
    File(PathBuf),
    /// A bundle endpoint whose certificate is verified as any web server's.
    HttpsWeb(String),
    /// A bundle endpoint whose certificate is an X.509-SVID.
    HttpsSpiffe {
        /// The endpoint.
        url: String,
        /// Whom its certificate names.
        endpoint_id: SpiffeId,
        /// A file with the first bundle of that ID's trust domain.
        bundle_file: PathBuf,
    },
    /// The unix socket of a SPIFFE Workload API.
    WorkloadApi(PathBuf),
}

impl BundleSource {
    /// What it is, and where; for the revision of a set.
    pub(crate) fn told(&self) -> (&'static str, String) {
        match self {
            Self::File(path) => ("bundle file", path.display().to_string()),
            Self::HttpsWeb(url) => ("bundle https_web", url.clone()),
            Self::HttpsSpiffe {
                url,
                endpoint_id,
                bundle_file,
            } => (
                "bundle https_spiffe",
                format!("{url} {endpoint_id} {}", bundle_file.display()),
            ),
            Self::WorkloadApi(socket) => ("bundle workloadApi", socket.display().to_string()),
        }
    }
}

/// Whether a provider of `kind` verifies SVIDs.
pub(super) const fn verifies_svids(kind: ProviderKind) -> bool {
    matches!(kind, ProviderKind::SpiffeJwt | ProviderKind::SpiffeX509)
}

/// `name` is `None` if it was refused.
pub(super) fn lower(
    fields: Specification<'_, '_>,
    name: Option<String>,
    kind: ProviderKind,
) -> Option<TrustProvider> {
    // A bundle does not say whose it is, so that the document must.
    let trust_domain = fields.required("trustDomain", trust_domain_of);
    let issuer = trust_domain.as_ref().map(TrustDomain::as_str);
    let issuer = issuer.map(|domain| format!("spiffe://{domain}"));
    // A certificate is made for nobody in particular.
    let audience = if kind == ProviderKind::SpiffeJwt {
        fields.or("audience", DEFAULT_AUDIENCE.to_owned(), |at| {
            audience(at, kind, issuer.as_deref().unwrap_or_default())
        })
    } else {
        Some(DEFAULT_AUDIENCE.to_owned())
    };
    let bundle = fields.required("bundle", bundle_source);
    let ca_file = fields.optional("caFile", |at| match &bundle {
        None | Some(BundleSource::HttpsWeb(_)) => file(at),
        Some(_) => at.refuse_with(
            Code::ConflictingFields,
            "a `caFile` is for a bundle endpoint of the profile https_web alone",
            "leave it out",
        ),
    });
    let only = fields.or("match", Vec::new(), |at| {
        at.some_list(|at| requirements(at, kind))
    });
    let partners = partners(fields);
    Some(TrustProvider {
        name: name?,
        kind,
        issuer: issuer?,
        audience: audience?,
        algorithms: Algorithm::ALL.to_vec(),
        keys: KeySource::Bundle(bundle?),
        trust_domain: trust_domain?,
        ca_file: ca_file?,
        cluster: None,
        spiffe_id: None,
        only: only?,
        shares_identities_with: Vec::new(),
        partners: partners?,
        place: fields.at().place(),
    })
}

fn bundle_source(at: &At<'_>) -> Option<BundleSource> {
    let mut fields = at.fields()?;
    let mut written = Vec::new();
    written.extend(
        fields
            .field("file")
            .map(|at| file(&at).map(BundleSource::File)),
    );
    written.extend(endpoint(&mut fields));
    let socket = fields.field("workloadApi");
    written.extend(socket.map(|at| socket_path(&at).map(BundleSource::WorkloadApi)));
    if written.len() == 1 {
        return written.pop().flatten();
    }
    let message = format!(
        "{} of the ways to find the bundle are written",
        written.len()
    );
    let way_out = "write exactly one of file, url, workloadApi";
    at.refuse_with(Code::ConflictingFields, message, way_out)
}

/// `url` alone is the profile https_web; with the ID and the first bundle of the endpoint it is https_spiffe.
fn endpoint(fields: &mut Fields<'_>) -> Option<Option<BundleSource>> {
    let url = fields.field("url").map(|at| https_url(&at));
    let endpoint_id = fields.field("endpointSpiffeId").map(|at| endpoint_id(&at));
    let bundle_file = fields.field("endpointBundleFile").map(|at| file(&at));
    match (url, endpoint_id, bundle_file) {
        (None, None, None) => None,
        (Some(url), None, None) => Some(url.map(BundleSource::HttpsWeb)),
        (Some(url), Some(endpoint_id), Some(bundle_file)) => {
            let all = url.zip(endpoint_id).zip(bundle_file);
            Some(all.map(
                |((url, endpoint_id), bundle_file)| BundleSource::HttpsSpiffe {
                    url,
                    endpoint_id,
                    bundle_file,
                },
            ))
        }
        (_, _, _) => Some(fields.at().refuse_with(
            Code::ConflictingFields,
            "endpointSpiffeId, endpointBundleFile and url need each other",
            "write all three for the profile https_spiffe, or url alone for https_web",
        )),
    }
}

/// SPIFFE Federation §5.1: always https, on this machine too.
fn https_url(at: &At<'_>) -> Option<String> {
    let url = endpoint::key_url(at)?;
    if !url.starts_with("https://") {
        let message = format!("{} is no bundle endpoint", quoted(&url));
        return at.refuse_with(Code::InvalidUrl, message, "write an https URL");
    }
    Some(url)
}

fn endpoint_id(at: &At<'_>) -> Option<SpiffeId> {
    let text = at.text()?;
    match SpiffeId::parse(text) {
        Ok(id) if !id.path().is_empty() => Some(id),
        Ok(_) => at.refuse_with(
            Code::InvalidValue,
            format!("{} is a trust domain's own ID", quoted(text)),
            "write the ID of the workload that serves the endpoint",
        ),
        Err(error) => {
            let way_out = "write spiffe://trust.domain/path";
            at.refuse_with(Code::InvalidValue, error.to_string(), way_out)
        }
    }
}

/// SPIFFE Workload Endpoint §4: `unix:///run/spire/agent.sock`, or its path. Over TCP nobody would know who
/// answers.
fn socket_path(at: &At<'_>) -> Option<PathBuf> {
    let text = at.text()?;
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if !path.starts_with('/') || path.contains('\0') {
        let message = format!("{} is no unix socket", quoted(text));
        let way_out = "write unix:///run/spire/sockets/agent.sock";
        return at.refuse_with(Code::InvalidValue, message, way_out);
    }
    Some(PathBuf::from(path))
}
