//! `attache serve`: both planes in one process, wired together.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use attache_control::Store;
use attache_credentials::Credentials;
use attache_edge::{
    admin::{self, Admin},
    clock,
    geography::GeographyDatabase,
    journal::Journal,
    pipeline::Edge,
    readiness::{Block, Readiness},
    reload::Reload,
    server,
};
use attache_issuer::{Issuer, KeyStore as _, SealingKey};
use attache_policy::{Geography, Nowhere};
use attache_trust::{ProviderStatus, Trust, TrustSettings};
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{config::Config, log, mint::LocalIssuer};

/// Run both planes in this process: decide for Envoy, issue tokens, keep the audit log.
///
/// SIGTERM and SIGINT end it after the calls in flight. Exit codes: 0 ended on a signal, 1 it could not
/// start or could not go on.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file; `attache config` prints one with every setting.
    #[arg(long, env = "ATTACHE_CONFIG")]
    config: PathBuf,
    /// The directory of policies, instead of the configuration's.
    #[arg(long)]
    policies: Option<PathBuf>,
}

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(&args.config)?;
    if let Some(policies) = &args.policies {
        config.policies = std::path::absolute(policies)?;
    }
    log::start(config.log.0, &config.log.1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let readiness = Readiness::new();
    let starting = readiness.block("start");
    make_private(&config.data_dir)?;
    // First, for one process holds it: a second one must not touch what the first one keeps.
    let journal = Journal::open(config.audit.journal()).context("the audit journal")?;
    let trust = Arc::new(Trust::new(TrustSettings::new(Arc::new(clock::now))));
    let source = config.policy_source();
    let reload = Reload::start(source, Arc::clone(&trust), config.last_good(), clock::now())?;
    let reload = Arc::new(reload);
    let issuer = Arc::new(open_issuer(&config, Arc::clone(&trust)).await?);
    let geography = config.geography.clone().map(GeographyDatabase::open);
    let geography = geography.map(Arc::new);
    let edge = Arc::new(Edge {
        name: config.edge.name.clone(),
        unmatched: config.edge.unmatched,
        enforcement: config.edge.enforcement,
        answer_within: config.edge.answer_within,
        live: reload.live(),
        trust: Arc::clone(&trust),
        geography: known_places(geography.clone()),
        credentials: credentials(&issuer),
        journal,
    });
    let admin = Admin {
        edge: Arc::clone(&edge),
        readiness: readiness.clone(),
        reload: Arc::clone(&reload),
        geography: geography.clone(),
        listeners: config.edge.listeners.clone(),
    };
    tokio::spawn(async move { reload.follow().await });
    tokio::spawn(async move {
        if let Some(geography) = geography {
            geography.follow().await;
        }
    });
    tokio::spawn(first_keys(trust, readiness.block("trust-provider-keys")));

    // Keys and commands are served until the last call is answered.
    let drained = CancellationToken::new();
    let keys = serve_keys(&config, issuer, drained.clone()).await?;
    let commands = serve_commands(&config, admin, drained.clone())?;
    drop(starting);
    let listeners = &config.edge.listeners;
    let served = server::serve(Arc::clone(&edge), listeners, &readiness, stop, config.drain).await;
    drained.cancel();
    if let Err(error) = edge.journal.close().await {
        warn!(%error, "the audit journal was not closed in order");
    }
    commands.await?.context("the admin socket")?;
    keys.await?;
    // Already gone is as good.
    let _ = fs::remove_file(&config.admin_socket);
    served?;
    info!("stopped");
    Ok(())
}

/// Without a database no address is anywhere.
fn known_places(database: Option<Arc<GeographyDatabase>>) -> Arc<dyn Geography> {
    match database {
        Some(database) => database,
        None => Arc::new(Nowhere),
    }
}

fn credentials(issuer: &Arc<Issuer>) -> Credentials {
    let mint = Arc::new(LocalIssuer(Arc::clone(issuer)));
    Credentials::new(mint, attache_credentials::Settings::default())
}

/// Serves the issuer's public documents until `drained`.
async fn serve_keys(
    config: &Config,
    issuer: Arc<Issuer>,
    drained: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listen = config.issuer_listen;
    let port = TcpListener::bind(listen).await;
    let port = port.with_context(|| format!("issuer.listen: cannot listen on {listen}"))?;
    info!(url = %config.issuer.url, %listen, "serving the issuer's keys");
    let router = attache_control::router(issuer);
    Ok(tokio::spawn(attache_control::serve(
        port,
        router,
        drained.cancelled_owned(),
        config.drain,
    )))
}

/// Serves the admin socket until `drained`.
fn serve_commands(
    config: &Config,
    admin: Admin,
    drained: CancellationToken,
) -> anyhow::Result<JoinHandle<io::Result<()>>> {
    let path = &config.admin_socket;
    let socket = admin::bind(path);
    let socket =
        socket.with_context(|| format!("admin.socket: cannot listen on {}", path.display()))?;
    Ok(tokio::spawn(admin::serve(Arc::new(admin), socket, drained)))
}

/// SIGTERM and SIGINT, from the first moment on.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        info!("stopping: no new connections; calls in flight end first");
        stopping.cancel();
    });
    Ok(stop)
}

async fn open_issuer(config: &Config, trust: Arc<Trust>) -> anyhow::Result<Issuer> {
    let store = Store::open(&config.data_dir.join("attache.db"))
        .await
        .context("the store")?;
    let path = &config.sealing_key_file;
    // A store with keys needs the very key that sealed them: a lost one is told, not replaced.
    let has_keys = !store.load().await.context("the store")?.is_empty();
    let sealing_key = if has_keys {
        SealingKey::load(path)
    } else {
        SealingKey::load_or_create(path)
    };
    let sealing_key = sealing_key.context("issuer.sealing_key_file")?;
    let opened = Issuer::open(
        &store,
        sealing_key,
        config.issuer.clone(),
        trust,
        clock::now(),
    )
    .await;
    opened.context("the issuer's keys")
}

/// Holds readiness until every trust provider has keys or a first failure to tell of: a call that comes
/// earlier would wait for them.
async fn first_keys(trust: Arc<Trust>, _block: Block) {
    let pending =
        |provider: &ProviderStatus| provider.keys.is_none() && provider.last_error.is_none();
    while trust.status(clock::now()).iter().any(pending) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes the folder of state, for this user alone.
fn make_private(directory: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.with_context(|| format!("data_dir: cannot make {}", directory.display()))
}
