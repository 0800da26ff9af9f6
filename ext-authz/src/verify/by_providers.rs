//! The verdict of a server's trust providers, with keys fetched as the server would fetch them.

use std::{path::Path, sync::Arc};

use attache_core::{
    certificate::{CertificateChain, RejectedCertificate},
    evidence::Evidence,
    time::Timestamp,
};
use attache_trust::{NotAttested, Trust, TrustSettings};

use super::{
    shown::Shown,
    told::{Proof, Report},
};
use crate::{
    config::Config,
    explain::directory::{self, KEYS_WITHIN},
};

/// Judges `shown` by the providers of `policies` and of `config`.
pub(super) fn report(
    config: Option<&Path>,
    policies: Option<&Path>,
    shown: Shown,
    at: Timestamp,
) -> anyhow::Result<Report> {
    let config = config.map(Config::load).transpose()?;
    let configured = config.as_ref().map(|config| config.policies.clone());
    let policies = policies.map(Path::to_path_buf).or(configured);
    let source = directory::source(&policies.unwrap_or_default(), config.as_ref())?;
    let (_, providers) = source.load()?;
    let evidence = match shown {
        Shown::Token(token) => Evidence::Token(token),
        Shown::Chain(chain) => match CertificateChain::new(chain) {
            Ok(chain) => Evidence::Certificate(chain),
            Err(invalid) => {
                let rejected = RejectedCertificate::from(invalid);
                return Ok(Report::new(
                    at,
                    Err((rejected.code(), rejected.to_string())),
                ));
            }
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let trust = Trust::new(TrustSettings::new(Arc::new(move || at)));
        trust.replace(providers)?;
        // What is missing then is told.
        let _ = tokio::time::timeout(KEYS_WITHIN, directory::first_keys(&trust)).await;
        Ok(match trust.attest(&evidence, at).await {
            Ok(attestation) => Report::new(at, Ok(Proof::attested(&attestation))),
            Err(NotAttested::Denied(reason)) => {
                Report::new(at, Err((reason.code(), reason.sentence().to_owned())))
            }
            Err(NotAttested::Unavailable(fault)) => {
                Report::unavailable(at, fault.code(), directory::missing_keys(&trust))
            }
        })
    })
}
