//! Serves routes on a TCP listener that strangers reach: bounded connections, bounded patience, and
//! an end that lets requests in flight finish.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Connections at once; more wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head, and how long a connection may stay idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the operating system has no descriptor left for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` over HTTP/1.1 until `shutdown` resolves, then lets requests in flight finish for at
/// most `drain`. Connections that are idle are closed at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
    drain: Duration,
) {
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &router, &connections) => {}
        () = pin!(shutdown) => {}
    }
    // New clients are refused from here on, not left in the queue.
    drop(listener);
    if timeout(drain, connections.shutdown()).await.is_err() {
        tracing::warn!("requests for the issuer's documents were cut off at shutdown");
    }
}

/// Never returns.
async fn accept(listener: &TcpListener, router: &Router, connections: &GracefulShutdown) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => serve_connection(stream, router.clone(), connections, slot),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve_connection(
    stream: TcpStream,
    router: Router,
    connections: &GracefulShutdown,
    slot: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        let _slot = slot;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

#[cfg(test)]
mod tests;
