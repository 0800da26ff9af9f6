//! The TrustProvider documents of a policy set, as `trust` takes them.

use std::path::{Component, Path, PathBuf};

use attache_policy::{
    Code, Compiled, Problems, Report,
    document::{KeySource as Written, TrustProvider},
};
use attache_trust::{KeySource, ProviderConfig};
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
        if climbs || !roots.iter().any(|root| path.starts_with(root)) {
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
    };
    let ca_file = written.ca_file.as_deref().map(file);
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
        ..config
    }
}

#[cfg(test)]
mod tests;
