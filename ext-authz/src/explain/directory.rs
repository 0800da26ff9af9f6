//! A directory of policies as an edge would use it, without an edge.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use attache_core::{header::HeaderName, spiffe_id::TrustDomain};
use attache_credentials::SecretRoots;
use attache_edge::{
    clock,
    explain::{Call, Caller, Explained, Explainer, Unexplainable, Verification},
    geography::GeographyDatabase,
    live,
    reload::PolicySource,
    settings::{
        Bind, DestinationRule, Enforcement, EvidenceSource, ListenerSettings, OverrideHeaders,
        UnixBind, Unmatched,
    },
};
use attache_policy::{Compiled, Geography, Nowhere, Settings, Source};
use attache_trust::{ProviderConfig, ProviderStatus, Trust, TrustSettings};
use tokio::runtime::Runtime;

use crate::config::Config;

/// How long the issuers' keys are waited for.
pub(crate) const KEYS_WITHIN: Duration = Duration::from_secs(10);

/// The policies of a directory, and what a configuration adds to them.
pub(crate) struct Directory {
    pub(crate) sources: Vec<Source>,
    pub(crate) settings: Settings,
    pub(crate) compiled: Compiled,
    providers: Vec<ProviderConfig>,
    geography: Box<dyn Geography>,
    listener: ListenerSettings,
    unmatched: Unmatched,
    enforcement: Enforcement,
    runtime: Runtime,
}

impl Directory {
    /// Reads and compiles `policies`. Without a configuration: the defaults.
    pub(crate) fn load(
        policies: &Path,
        config: Option<&Config>,
        listener: Option<&str>,
    ) -> anyhow::Result<Self> {
        let source = source(policies, config)?;
        let sources = live::sources(&source.directory)?;
        let (compiled, providers) = source.load()?;
        attache_trust::check(&providers)?;
        let database = config.and_then(|config| config.geography.clone());
        let geography: Box<dyn Geography> = match database {
            Some(settings) => Box::new(GeographyDatabase::open(settings)),
            None => Box::new(Nowhere),
        };
        Ok(Self {
            sources,
            settings: source.settings,
            compiled,
            providers,
            geography,
            listener: chosen(config, listener)?,
            unmatched: config.map_or(Unmatched::Deny, |config| config.edge.unmatched),
            enforcement: config.map_or(Enforcement::Enforce, |config| config.edge.enforcement),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// Explains a call as an edge with these policies would answer it, and says why keys are not there, if
    /// that is so.
    pub(crate) fn explain(
        &self,
        call: &Call,
    ) -> Result<(Explained, Option<String>), Unexplainable> {
        let trust = Trust::new(TrustSettings::new(Arc::new(clock::now)));
        self.runtime.block_on(async {
            // Keys are fetched only where something is verified.
            if is_verified(&call.caller) {
                // Checked when they were read.
                let _ = trust.replace(self.providers.clone());
                // What is missing then is told.
                let _ = tokio::time::timeout(KEYS_WITHIN, first_keys(&trust)).await;
            }
            let explainer = Explainer {
                policies: &self.compiled,
                trust: &trust,
                geography: &*self.geography,
                listener: &self.listener,
                unmatched: self.unmatched,
                enforcement: self.enforcement,
            };
            let explained = explainer.explain(call, clock::now()).await?;
            let without_keys = explained.verdict.code.as_deref() == Some("keys-unavailable");
            let note = without_keys.then(|| missing_keys(&trust));
            Ok((explained, note))
        })
    }
}

/// Waits until every provider has keys, or a first failure to tell of.
pub(crate) async fn first_keys(trust: &Trust) {
    let pending =
        |provider: &ProviderStatus| provider.keys.is_none() && provider.last_error.is_none();
    while trust.status(clock::now()).iter().any(pending) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn missing_keys(trust: &Trust) -> String {
    let providers = trust.status(clock::now()).into_iter();
    let failed = providers.filter_map(|provider| {
        let why = provider
            .last_error
            .unwrap_or_else(|| "no answer yet".to_owned());
        (!provider.usable).then(|| format!("{}: {why}", provider.name))
    });
    let failed: Vec<String> = failed.collect();
    format!("no keys to verify the evidence with: {}", failed.join("; "))
}

const fn is_verified(caller: &Caller) -> bool {
    match caller {
        Caller::Request {} => true,
        Caller::Evidence { verification, .. } => matches!(verification, Verification::Verify),
        Caller::Attributes { .. } | Caller::Recorded { .. } | Caller::Unproven { .. } => false,
    }
}

/// The directory beside the settings of a configuration, or beside the defaults.
pub(crate) fn source(policies: &Path, config: Option<&Config>) -> anyhow::Result<PolicySource> {
    let directory = policies.to_path_buf();
    Ok(match config {
        Some(config) => PolicySource {
            directory,
            ..config.policy_source()
        },
        None => PolicySource {
            directory,
            settings: Settings {
                trust_domain: TrustDomain::parse("cluster.local")?,
                trust_providers: vec![],
            },
            file_roots: vec![PathBuf::from("/")],
            secrets: SecretRoots::everything(),
        },
    })
}

fn chosen(config: Option<&Config>, name: Option<&str>) -> anyhow::Result<ListenerSettings> {
    let Some(config) = config else {
        ensure!(
            name.is_none(),
            "--listener is one of a configuration; name it with --config FILE"
        );
        return usual();
    };
    let listeners = &config.edge.listeners;
    let mut named = listeners
        .iter()
        .filter(|it| name.is_none_or(|name| name == it.name));
    let names: Vec<&str> = listeners.iter().map(|it| it.name.as_str()).collect();
    let known = || {
        format!(
            "there is no listener {:?}; known: {}",
            name.unwrap_or_default(),
            names.join(", ")
        )
    };
    named.next().cloned().with_context(known)
}

/// A gateway with the defaults of the configuration file. Nothing listens.
fn usual() -> anyhow::Result<ListenerSettings> {
    Ok(ListenerSettings {
        name: "egress".to_owned(),
        bind: Bind::Unix(UnixBind {
            path: PathBuf::new(),
            mode: 0o600,
            group: None,
            allowed_uids: vec![],
        }),
        evidence: EvidenceSource::header(HeaderName::parse_evidence("x-attache-evidence")?),
        destination: DestinationRule::VouchedByRoute,
        trusted_hops: 0,
        override_headers: OverrideHeaders::Deny,
    })
}
