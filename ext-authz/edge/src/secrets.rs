//! Whether the documents of a policy set refer to secrets that the configuration lets them refer to.

use attache_credentials::SecretRoots;
use attache_policy::{Code, Compiled, Problems, Report};
use thiserror::Error;

/// Secrets that documents refer to outside of what they may.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ForeignSecrets(pub Problems);

/// Judges every reference of `policies` by its text. Where a file really lies is looked at when it is read.
///
/// SECURITY: whoever writes documents must not have the server send any file of its machine, or any variable of
/// its environment, to a host of theirs.
pub fn check(policies: &Compiled, roots: &SecretRoots) -> Result<(), ForeignSecrets> {
    let report = Report::new();
    for provider in policies.credential_providers() {
        for reference in provider.kind.secrets() {
            if let Err(foreign) = roots.check(reference) {
                let message = format!("{reference} is not for documents: {foreign}");
                let (place, way_out) = (provider.place.clone(), foreign.way_out().to_owned());
                report.error_with(place, Code::ForeignSecret, message, Some(way_out));
            }
        }
    }
    if report.has_errors() {
        return Err(ForeignSecrets(report.into_problems()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
