//! Puts a policy directory in force: documents compile, trust providers start, then both change at once.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use attache_policy::{Compiled, Settings};
use attache_trust::{InvalidProviders, ProviderConfig, Trust};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    live::{self, Live, RefusedPolicies},
    providers::{self, ForeignFiles},
};

/// Reads the policy directory again when asked to.
pub struct Reload {
    source: PolicySource,
    live: Arc<Live>,
    trust: Arc<Trust>,
    refused: Mutex<Option<String>>,
    turn: tokio::sync::Mutex<()>,
}

/// Where policies come from, and what the configuration adds to them.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// The directory of documents.
    pub directory: PathBuf,
    /// What documents build on.
    pub settings: Settings,
    /// The folders that key files and certificates may lie in, beside the directory itself.
    pub file_roots: Vec<PathBuf>,
}

impl PolicySource {
    /// Reads and checks everything, and changes nothing.
    pub fn load(&self) -> Result<(Compiled, Vec<ProviderConfig>), Refused> {
        let compiled = live::load(&self.directory, &self.settings)?;
        let mut roots = vec![self.directory.clone()];
        roots.extend_from_slice(&self.file_roots);
        let providers = providers::of(&compiled, &roots)?;
        Ok((compiled, providers))
    }
}

/// Why a policy set was not put in force.
#[derive(Debug, Error)]
pub enum Refused {
    /// The documents are not accepted.
    #[error(transparent)]
    Policies(#[from] RefusedPolicies),
    /// The trust providers are not accepted.
    #[error(transparent)]
    Providers(#[from] InvalidProviders),
    /// Documents name files that they may not.
    #[error(transparent)]
    Files(#[from] ForeignFiles),
}

impl Reload {
    /// Reloads `source` into `live` and `trust`.
    pub fn new(source: PolicySource, live: Arc<Live>, trust: Arc<Trust>) -> Self {
        let (refused, turn) = (Mutex::new(None), tokio::sync::Mutex::new(()));
        Self {
            source,
            live,
            trust,
            refused,
            turn,
        }
    }

    /// Takes the directory whole or refuses it whole; returns the revision in force.
    pub async fn run(&self) -> Result<String, Refused> {
        let _turn = self.turn.lock().await;
        let put = self.source.load().and_then(|(compiled, providers)| {
            put_in_force(compiled, providers, &self.live, &self.trust)
        });
        let refused = put.as_ref().err().map(ToString::to_string);
        match &put {
            Ok(revision) => info!(revision, "policies reloaded"),
            Err(error) => warn!(%error, "policies refused; the last good ones stay in force"),
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        put
    }

    /// Why the newest set was refused, if it was.
    pub fn refused(&self) -> Option<String> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn put_in_force(
    compiled: Compiled,
    providers: Vec<ProviderConfig>,
    live: &Live,
    trust: &Trust,
) -> Result<String, Refused> {
    for warning in compiled.warnings().iter() {
        warn!("{warning}");
    }
    // Trust first: a policy that names a new provider must find it.
    trust.replace(providers)?;
    let revision = compiled.revision().to_owned();
    live.replace(compiled);
    Ok(revision)
}

#[cfg(test)]
mod tests;
