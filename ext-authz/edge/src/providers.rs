//! The TrustProvider documents of a policy set, as `trust` takes them.

use std::path::{Component, Path, PathBuf};

use attache_policy::{
    Code, Compiled, Problems, Report,
    document::{BundleSource as BundleWritten, KeySource as Written, TrustProvider},
};
use attache_trust::{BundleSource, CLUSTER_CA, KeySource, ProviderConfig, leads_outside};
use thiserror::Error;

/// Files that documents name outside the folders they may be in.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ForeignFiles(pub Problems);

/// The providers of `policies`. Relative paths start at the folder of the file that names them.
///
/// SECURITY: whoever writes documents must not have the server read any file: each lies under one of
/// `roots`, which the configuration lists.
pub fn of(policies: &Compiled, roots: &[PathBuf]) -> Result<Vec<ProviderConfig>, ForeignFiles> {
    let report = Report::new();
    let providers = policies.trust_providers().iter();
    let configs = providers
        .map(|provider| one(provider, roots, &report))
        .collect();
    if report.has_errors() {
        Err(ForeignFiles(report.into_problems()))
    } else {
        Ok(configs)
    }
}

fn one(written: &TrustProvider, roots: &[PathBuf], report: &Report) -> ProviderConfig {
    let file = |path: &Path| {
        let folder = Path::new(written.place.file.as_ref())
            .parent()
            .unwrap_or(Path::new("/"));
        let path = folder.join(path);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        // `..` is counted back where the folders are; nothing is known of what is not there.
        let seems_inside = roots.iter().any(|root| path.starts_with(root)) && !climbs;
        let is_inside = seems_inside || climbs && path.exists();
        if !is_inside || leads_outside(&path, roots) {
            let roots: Vec<_> = roots
                .iter()
                .map(|root| root.display().to_string())
                .collect();
            let message = format!("{} lies outside {}", path.display(), roots.join(", "));
            let way_out =
                "put it there, or list its folder in `trust.file_roots` of the configuration";
            let (place, way_out) = (written.place.clone(), Some(way_out.to_owned()));
            report.error_with(place, Code::ForeignFile, message, way_out);
        }
        path
    };
    let keys = match &written.keys {
        Written::Discovery => KeySource::Discovery,
        Written::DiscoveryUrl(url) => KeySource::DiscoveryUrl(url.clone()),
        Written::JwksUrl(url) => KeySource::JwksUrl(url.clone()),
        Written::File(path) => KeySource::File(file(path)),
        Written::Inline(json) => KeySource::Inline(json.clone()),
        // SECURITY: the fixed origin and the fixed files of every pod, so that documents may ask for it.
        Written::InCluster => KeySource::in_cluster(),
        // Only the configuration can say it, whose files may lie anywhere.
        Written::ApiServer { url, token_file } => KeySource::ApiServer {
            url: url.clone(),
            token_file: token_file.clone(),
        },
        Written::Bundle(source) => KeySource::Bundle(bundle(source, &file)),
    };
    let takes_own = written.keys == Written::InCluster && written.ca_file.is_none();
    let own_ca = takes_own.then(|| PathBuf::from(CLUSTER_CA));
    // Where they really lie is looked at again whenever they are read.
    let file_roots = own_ca.is_none().then(|| roots.to_vec());
    let ca_file = written.ca_file.as_deref().map(file).or(own_ca);
    let config = ProviderConfig::new(
        written.name.clone(),
        written.kind,
        written.issuer.clone(),
        keys,
        written.trust_domain.clone(),
    );
    ProviderConfig {
        audience: written.audience.clone(),
        algorithms: written.algorithms.clone(),
        ca_file,
        file_roots,
        cluster: written.cluster.clone(),
        spiffe_id: written.spiffe_id.clone(),
        only: written.only.clone(),
        shares_identities_with: written.shares_identities_with.clone(),
        ..config
    }
}

/// SECURITY: a socket is confined as a file is: whoever writes documents must not have the server call any.
fn bundle(source: &BundleWritten, file: &impl Fn(&Path) -> PathBuf) -> BundleSource {
    match source {
        BundleWritten::File(path) => BundleSource::File(file(path)),
        BundleWritten::HttpsWeb(url) => BundleSource::HttpsWeb(url.clone()),
        BundleWritten::HttpsSpiffe {
            url,
            endpoint_id,
            bundle_file,
        } => BundleSource::HttpsSpiffe {
            url: url.clone(),
            endpoint_id: endpoint_id.clone(),
            bundle_file: file(bundle_file),
        },
        BundleWritten::WorkloadApi(socket) => BundleSource::WorkloadApi(file(socket)),
    }
}

#[cfg(test)]
mod tests;
