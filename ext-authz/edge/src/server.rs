//! Brings the edge's listeners up and takes them down: health, reflection, drain.

use std::{io, sync::Arc, time::Duration};

use attache_proto::{
    access::v1::access_server::AccessServer, token::v1::tokens_server::TokensServer,
};
use thiserror::Error;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::{
    access::AccessService,
    ext_authz::ExtAuthz,
    listener::{Listener, ListenerFailed},
    pipeline::Edge,
    readiness::Readiness,
    settings::{Enforcement, EvidenceSource, ListenerSettings},
    threads::{Risk, Threads},
    tokens::TokensService,
};

use self::connection::Services;
pub(crate) use self::unary::Framed;

mod connection;
mod unary;

/// The service that health answers for, besides the empty name.
const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// Largest question read, in bytes: Envoy sends headers up to 60 KiB and no body.
const MAX_QUESTION_BYTES: usize = 1024 * 1024;

/// `envoy.service.auth.v3` and what it refers to, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("server/ext_authz.binpb");

/// Why the edge stopped.
#[derive(Debug, Error)]
pub enum EdgeFailed {
    /// A listener did not come up.
    #[error(transparent)]
    Listener(#[from] ListenerFailed),
    /// Reflection's descriptors are unreadable.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A server's task ended without an answer.
    #[error("a listener's task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Serving needs something of the system that it does not give.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Binds every listener, then serves until `stop`; calls in flight get `drain` to end. The listeners' certificates
/// are looked at when `look` changes, too.
pub async fn serve(
    edge: Arc<Edge>,
    listeners: &[ListenerSettings],
    readiness: &Readiness,
    look: &watch::Receiver<()>,
    stop: CancellationToken,
    drain: Duration,
) -> Result<(), EdgeFailed> {
    let bound = readiness.block("listeners");
    let threads = Arc::new(Threads::start(match edge.enforcement {
        Enforcement::Enforce => Risk::Taken,
        // It changes nothing for the caller, also where its disk hangs.
        Enforcement::Observe => Risk::Avoided,
    })?);
    let mut lookout = JoinSet::new();
    lookout.spawn({
        let (threads, patience) = (Arc::clone(&threads), edge.answer_within);
        async move { threads.watch(patience).await }
    });
    let mut servers = JoinSet::new();
    for settings in listeners {
        let listener = Listener::bind(settings, look).await?;
        info!(listener = settings.name, "listening for ext_authz");
        let server = serve_one(
            Arc::clone(&edge),
            settings.clone(),
            listener,
            Arc::clone(&threads),
            readiness.clone(),
            stop.clone(),
        );
        servers.spawn(server);
    }
    drop(bound);
    let ended = async {
        while let Some(ended) = servers.join_next().await {
            ended??;
        }
        Ok(())
    };
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = ended => ended,
        () = patience => {
            warn!(seconds = drain.as_secs(), "calls in flight did not end in time");
            Ok(())
        }
    }
}

async fn serve_one(
    edge: Arc<Edge>,
    settings: ListenerSettings,
    listener: Listener,
    threads: Arc<Threads>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), EdgeFailed> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let follow = tokio::spawn(follow_readiness(reporter, readiness, stop.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(attache_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let own = tokio::spawn(keep_own_evidence(settings.evidence.clone()));
    let settings = Arc::new(settings);
    let access = AccessServer::new(AccessService::new(Arc::clone(&edge), Arc::clone(&settings)))
        .max_decoding_message_size(MAX_QUESTION_BYTES);
    let tokens = TokensService::new(Arc::clone(&edge), Arc::clone(&settings), stop.clone());
    let tokens = TokensServer::new(tokens).max_decoding_message_size(MAX_QUESTION_BYTES);
    let others = Routes::new(health)
        .add_service(reflection)
        .add_service(access)
        .add_service(tokens)
        .prepare();
    let services = Services {
        ext_authz: Arc::new(ExtAuthz::new(edge, settings)),
        others,
    };
    let calls = TaskTracker::new();
    let serve = {
        let (calls, stop) = (calls.clone(), stop.clone());
        move |connection| {
            calls.track_future(connection::serve(
                connection,
                services.clone(),
                stop.clone(),
            ))
        }
    };
    listener.serve(&threads, &stop, serve).await;
    calls.close();
    calls.wait().await;
    follow.abort();
    own.abort();
    Ok(())
}

/// Has the pod's own evidence at hand before calls ask for it, where it is fetched.
async fn keep_own_evidence(evidence: EvidenceSource) {
    if let EvidenceSource::WorkloadApi(own) = evidence {
        own.keep_fresh().await;
    }
}

/// Health says what readiness says; while draining it says no.
async fn follow_readiness(reporter: HealthReporter, readiness: Readiness, stop: CancellationToken) {
    let mut ready = readiness.watch();
    loop {
        let serving = *ready.borrow_and_update();
        report(&reporter, serving).await;
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return report(&reporter, false).await,
        }
    }
}

async fn report(reporter: &HealthReporter, serving: bool) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    for service in ["", SERVICE] {
        reporter
            .set_service_status(service, if serving { Serving } else { NotServing })
            .await;
    }
}
