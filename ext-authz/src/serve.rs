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
use attache_control::{Store, TokenEndpoint};
use attache_credentials::{Credentials, EdgeVault, SecretStore};
use attache_edge::{
    admin::{self, Admin},
    admission::Calls,
    clock,
    geography::GeographyDatabase,
    health::{self, Asker},
    journal::Journal,
    metrics::{self, Metrics},
    pipeline::Edge,
    readiness::{Block, Readiness},
    recording,
    reload::Reload,
    server, sweeping,
    tokens::{self, Tokens},
    traces::{Receiver, Traces},
};
use attache_issuer::{Issuer, KeyStore as _, SealingKey, rotation};
use attache_outbound::Reach;
use attache_policy::{Geography, Nowhere};
use attache_trust::{ProviderStatus, Sequences, Trust, TrustSettings};
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    exchange::LocalEdge,
    log,
    mint::{LocalIssuer, OwnIdentity},
    open_files, proxy,
    signing_keys::LocalKeys,
};

/// How long threads that wait for a disk are waited for at the end.
const LAST_THREADS: Duration = Duration::from_secs(1);
/// How long the spans of the last calls are waited for.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Run both planes in this process: decide for Envoy, issue tokens, keep the audit log.
///
/// SIGTERM and SIGINT end it after the calls in flight; SIGHUP has it look at policies and certificates at once.
/// Exit codes: 0 ended on a signal, 1 it could not
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
    open_files::raise(config.edge.listeners.len());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(Arc::new(config)));
    // A thread that waits for a disk that hangs must not keep the process: nothing ends it.
    runtime.shutdown_timeout(LAST_THREADS);
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Arc<Config>) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    // From the first moment on: unheard, it would end the process.
    let hangups = signal(SignalKind::hangup())?;
    let started = tokio::select! {
        // A start that waits for a disk or for a network is given up.
        () = stop.cancelled() => {
            info!("stopped before it was ready");
            return Ok(());
        }
        started = Started::start(config) => started?,
    };
    started.serve(stop, hangups).await
}

/// Everything that serves, before anybody can reach it.
struct Started {
    config: Arc<Config>,
    edge: Arc<Edge>,
    issuer: Arc<Issuer>,
    admin: Arc<Admin>,
    readiness: Readiness,
    starting: Block,
    /// Keys and commands are served, and traces sent, until the last call is answered.
    drained: CancellationToken,
    /// Sends traces.
    sending: Option<JoinHandle<()>>,
}

impl Started {
    async fn start(config: Arc<Config>) -> anyhow::Result<Self> {
        proxy::tell_if_unused(&config.reach);
        let readiness = Readiness::new();
        let starting = readiness.block("start");
        let State {
            journal,
            trust,
            reload,
            geography,
        } = State::read(&config).await?;
        let issuer = Arc::new(open_issuer(&config, Arc::clone(&trust)).await?);
        let secrets = Arc::new(secrets(&config, &issuer));
        tokio::spawn(Arc::clone(&secrets).follow());
        let tokens = open_tokens(&config, &issuer).await?;
        let drained = CancellationToken::new();
        let (traces, sending) = start_traces(&config, drained.clone()).await?.unzip();
        let edge = Arc::new(Edge {
            name: config.edge.name.clone(),
            unmatched: config.edge.unmatched,
            enforcement: config.edge.enforcement,
            answer_within: config.edge.answer_within,
            live: reload.live(),
            trust: Arc::clone(&trust),
            geography: known_places(geography.clone()),
            credentials: credentials(&issuer, &secrets, config.reach.clone()),
            journal,
            calls: Calls::at_most(config.edge.max_calls_in_flight),
            metrics: Metrics::default(),
            tokens: Arc::new(tokens),
            traces,
        });
        let admin = Arc::new(Admin {
            edge: Arc::clone(&edge),
            readiness: readiness.clone(),
            reload: Arc::clone(&reload),
            geography: geography.clone(),
            listeners: config.edge.listeners.clone(),
            started_at: clock::now(),
            signing_keys: Some(Arc::new(LocalKeys(Arc::clone(&issuer)))),
        });
        tokio::spawn(async move { reload.follow().await });
        if let Some(geography) = geography {
            tokio::spawn(geography.follow());
        }
        tokio::spawn(first_keys(trust, readiness.block("trust-provider-keys")));
        tokio::spawn(tokens::follow(Arc::clone(&edge)));
        tokio::spawn(recording::follow(Arc::clone(&edge), readiness.clone()));
        tokio::spawn(sweeping::follow(Arc::clone(&edge)));
        Ok(Self {
            config,
            edge,
            issuer,
            admin,
            readiness,
            starting,
            drained,
            sending,
        })
    }

    async fn serve(self, stop: CancellationToken, hangups: Signal) -> anyhow::Result<()> {
        let Self {
            config,
            edge,
            issuer,
            admin,
            readiness,
            starting,
            drained,
            sending,
        } = self;
        tokio::spawn(turn_keys(Arc::clone(&issuer)));
        let keys = attache_control::keys::router(Arc::clone(&issuer), Arc::new(clock::now));
        let issued = serve_issuer(&config, issuer, &edge, drained.clone()).await?;
        let monitored = serve_monitoring(&config, Arc::clone(&admin), drained.clone()).await?;
        let reload = Arc::clone(&admin.reload);
        let commands = serve_commands(&config, admin, keys, drained.clone())?;
        let (look, looked) = watch::channel(());
        tokio::spawn(look_on_hangup(hangups, reload, look));
        drop(starting);
        let listeners = &config.edge.listeners;
        let own = Arc::clone(&edge);
        let served = server::serve(own, listeners, &readiness, &looked, stop, config.drain).await;
        drained.cancel();
        if let Err(error) = edge.journal.close().await {
            warn!(%error, "the audit journal was not closed in order");
        }
        commands.await?.context("the admin socket")?;
        issued.await?;
        if let Some(monitored) = monitored {
            monitored.await?;
        }
        if let Some(sending) = sending {
            // A receiver that hangs holds up no end.
            let _ = tokio::time::timeout(LAST_SPANS, sending).await;
        }
        // Already gone is as good.
        let _ = fs::remove_file(&config.admin_socket);
        served?;
        info!("stopped");
        Ok(())
    }
}

/// What stands in files. Reading it takes as long as the disk takes.
struct State {
    journal: Journal,
    trust: Arc<Trust>,
    reload: Arc<Reload>,
    geography: Option<Arc<GeographyDatabase>>,
}

impl State {
    async fn read(config: &Arc<Config>) -> anyhow::Result<Self> {
        let config = Arc::clone(config);
        spawn_blocking(move || Self::read_now(&config)).await?
    }

    fn read_now(config: &Config) -> anyhow::Result<Self> {
        make_private(&config.data_dir)?;
        // First, for one process holds it: a second one must not touch what the first one keeps.
        let journal = Journal::open(config.audit.journal()).context("the audit journal")?;
        let sequences = Sequences::in_file(&config.data_dir.join("bundle-sequences.json"))
            .context("what was seen of SPIFFE bundles")?;
        let trust = Arc::new(Trust::new(TrustSettings {
            sequences,
            reach: config.reach.clone(),
            ..TrustSettings::new(Arc::new(clock::now))
        }));
        let source = config.policy_source();
        let reload = Reload::start(source, Arc::clone(&trust), config.last_good(), clock::now())?;
        let geography = config.geography.clone().map(GeographyDatabase::open);
        Ok(Self {
            journal,
            trust,
            reload: Arc::new(reload),
            geography: geography.map(Arc::new),
        })
    }
}

/// What proxies keep of our answers, and have reported.
async fn open_tokens(config: &Arc<Config>, issuer: &Arc<Issuer>) -> anyhow::Result<Tokens> {
    let (config, issuer) = (Arc::clone(config), Arc::clone(issuer));
    let domain = config.issuer.trust_domain.clone();
    let own = Arc::new(move || (domain.clone(), issuer.bundle()));
    let opening = spawn_blocking(move || {
        let key = config.data_dir.join("lease.key");
        Tokens::open(&key, &config.audit.dir, Some(own), clock::now())
    });
    Ok(opening.await??)
}

/// Without a database no address is anywhere.
fn known_places(database: Option<Arc<GeographyDatabase>>) -> Arc<dyn Geography> {
    match database {
        Some(database) => database,
        None => Arc::new(Nowhere),
    }
}

/// What documents refer to, with the Vault of the configuration.
fn secrets(config: &Config, issuer: &Arc<Issuer>) -> SecretStore {
    let store = SecretStore::new(config.secrets.clone());
    let Some(vault) = config.vault.clone() else {
        return store;
    };
    let identity = Arc::new(OwnIdentity {
        name: config.edge.name.clone(),
        issuer: Arc::clone(issuer),
    });
    let reach = config.reach.clone();
    store.with_vault(EdgeVault::new(vault, identity, reach, Arc::new(clock::now)))
}

fn credentials(issuer: &Arc<Issuer>, secrets: &Arc<SecretStore>, reach: Reach) -> Credentials {
    let mint = Arc::new(LocalIssuer(Arc::clone(issuer)));
    let settings = attache_credentials::Settings::default();
    Credentials::new(mint, Arc::clone(secrets), reach, settings)
}

/// Takes the steps of the signing keys as they fall due.
async fn turn_keys(issuer: Arc<Issuer>) {
    /// Every how many failures in a row one is told.
    const TOLD: u32 = 60;
    let mut failures: u32 = 0;
    loop {
        tokio::time::sleep(rotation::PACE).await;
        let Err(error) = issuer.turn(clock::now()).await else {
            failures = 0;
            continue;
        };
        if failures.is_multiple_of(TOLD) {
            let until = rotation::STALE_AFTER.as_secs();
            warn!(%error, "the signing keys could not be looked after; those in use sign for {until} s after they were last read");
        }
        failures = failures.wrapping_add(1);
    }
}

/// Serves the issuer's public documents, and exchanges tokens if that is configured, until `drained`.
async fn serve_issuer(
    config: &Config,
    issuer: Arc<Issuer>,
    edge: &Arc<Edge>,
    drained: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listen = config.issuer_listen;
    let port = TcpListener::bind(listen).await;
    let port = port.with_context(|| format!("issuer.listen: cannot listen on {listen}"))?;
    info!(url = %config.issuer.url, %listen, "serving the issuer's keys");
    let exchange = Arc::new(LocalEdge {
        edge: Arc::clone(edge),
        trusted_hops: config.token_hops,
    });
    if issuer.exchanges() && !listen.ip().is_loopback() {
        warn!(%listen, "tokens are exchanged in clear text: only what ends TLS may reach this address");
    }
    let tokens = issuer
        .exchanges()
        .then(|| TokenEndpoint::new(exchange, config.token_rate));
    let router = attache_control::router(issuer, tokens);
    Ok(tokio::spawn(attache_control::serve(
        port,
        router,
        drained.cancelled_owned(),
        config.drain,
    )))
}

/// Serves health and metrics on an address of their own until `drained`, if the configuration names one.
async fn serve_monitoring(
    config: &Config,
    admin: Arc<Admin>,
    drained: CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(listen) = config.monitoring_listen else {
        return Ok(None);
    };
    let port = TcpListener::bind(listen).await;
    let port = port.with_context(|| format!("monitoring.listen: cannot listen on {listen}"))?;
    info!(%listen, "serving health and metrics");
    // SECURITY: nothing that changes anything, and nothing that tells where this edge is weak.
    let router = health::router(Arc::clone(&admin), Asker::Anybody).merge(metrics::router(admin));
    Ok(Some(tokio::spawn(attache_control::serve(
        port,
        router,
        drained.cancelled_owned(),
        config.drain,
    ))))
}

/// Begins to send traces, if the configuration says where to.
async fn start_traces(
    config: &Config,
    drained: CancellationToken,
) -> anyhow::Result<Option<(Traces, JoinHandle<()>)>> {
    let Some(traces) = &config.traces else {
        return Ok(None);
    };
    let ca = match &traces.ca_file {
        None => None,
        Some(path) => {
            let read = tokio::fs::read(path).await;
            Some(read.with_context(|| format!("traces.ca_file: cannot read {}", path.display()))?)
        }
    };
    let receiver = Receiver {
        endpoint: traces.endpoint.clone(),
        ca,
        service: traces.service_name.clone(),
        instance: config.edge.name.clone(),
    };
    let started = Traces::start(receiver, drained).context("traces.endpoint")?;
    info!(endpoint = traces.endpoint, "sending traces");
    Ok(Some(started))
}

/// Serves the admin socket until `drained`.
fn serve_commands(
    config: &Config,
    admin: Arc<Admin>,
    keys: axum::Router,
    drained: CancellationToken,
) -> anyhow::Result<JoinHandle<io::Result<()>>> {
    let path = &config.admin_socket;
    let socket = admin::bind(path);
    let socket =
        socket.with_context(|| format!("admin.socket: cannot listen on {}", path.display()))?;
    Ok(tokio::spawn(admin::serve(admin, keys, socket, drained)))
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

/// SIGHUP: looks at policies and certificates at once, though both are followed anyway.
async fn look_on_hangup(mut hangups: Signal, reload: Arc<Reload>, look: watch::Sender<()>) {
    while hangups.recv().await.is_some() {
        info!("SIGHUP: looking at policies and certificates");
        look.send_replace(());
        // A task of its own: a disk that hangs must not make the next one go unheard.
        let reload = Arc::clone(&reload);
        tokio::spawn(async move {
            match reload.run_for_a_while().await {
                Ok(revision) => info!(revision, "policies in force"),
                Err(refused) => {
                    warn!(%refused, "policies refused; the last good set stays in force")
                }
            }
        });
    }
}

async fn open_issuer(config: &Config, trust: Arc<Trust>) -> anyhow::Result<Issuer> {
    let store = Store::open(&config.data_dir.join("attache.db"))
        .await
        .context("the store")?;
    let path = &config.sealing_key_file;
    // A store with keys needs the very key that sealed them: a lost one is told, not replaced.
    let has_keys = !store.load().await.context("the store")?.keys.is_empty();
    let path = path.clone();
    let reading = spawn_blocking(move || match has_keys {
        true => SealingKey::load(&path),
        false => SealingKey::load_or_create(&path),
    });
    let sealing_key = reading.await?.context("issuer.sealing_key_file")?;
    let opened = Issuer::open(
        Arc::new(store),
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
