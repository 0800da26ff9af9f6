//! Serves routes on a TCP listener that strangers reach: bounded connections, bounded patience, and
//! an end that lets requests in flight finish.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{self, JoinError, JoinSet},
    time::{sleep, timeout},
};

use self::impatient::Impatient;

mod impatient;

/// Connections at once, far fewer than the files that a process may usually have open (1024): the rest
/// of the process needs its own. More wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 256;
/// Connections at once from one address (IPv6: from one /64 network); more are closed at once.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;
/// How long a client may take to send a request's head, and how long a connection may stay idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lives; then it ends after the request in flight.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// How long the request in flight may take at a connection's end.
pub const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and of the requests that are read ahead.
const MAX_BUFFER: usize = 16 * 1024;
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
    serve_within(Limits::default(), listener, router, shutdown, drain).await;
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug)]
struct Limits {
    all: usize,
    per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all: MAX_CONNECTIONS,
            per_address: MAX_CONNECTIONS_PER_ADDRESS,
        }
    }
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
    drain: Duration,
) {
    let mut connections = Connections {
        limits,
        router,
        tasks: JoinSet::new(),
        addresses: HashMap::new(),
        closing: watch::Sender::new(()),
    };
    tokio::select! {
        () = connections.accept(&listener) => {}
        () = pin!(shutdown) => {}
    }
    // New clients are refused from here on, not left in the queue.
    drop(listener);
    connections.close(drain).await;
}

/// The connections that are open. Dropped, it ends them.
struct Connections {
    limits: Limits,
    router: Router,
    tasks: JoinSet<()>,
    /// Where each one comes from.
    addresses: HashMap<task::Id, IpAddr>,
    /// Tells them of the end.
    closing: watch::Sender<()>,
}

impl Connections {
    /// Never returns.
    async fn accept(&mut self, listener: &TcpListener) {
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.forget(&ended),
                accepted = listener.accept(), if self.tasks.len() < self.limits.all => match accepted {
                    Ok((stream, peer)) => self.begin(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let from = neighbourhood(peer.ip());
        let neighbours = self.addresses.values().filter(|one| **one == from).count();
        if neighbours >= self.limits.per_address {
            tracing::debug!(%from, "a connection was closed: too many from its address");
            return;
        }
        let router = self.router.clone().layer(Extension(Peer(peer)));
        let connection = serve_connection(stream, router, self.closing.subscribe());
        let task = self.tasks.spawn(connection);
        self.addresses.insert(task.id(), from);
    }

    fn forget(&mut self, ended: &Result<(task::Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.addresses.remove(&id);
    }

    async fn close(mut self, drain: Duration) {
        self.closing.send_replace(());
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(drain, ended).await.is_err() {
            tracing::warn!("requests to the issuer were cut off at shutdown");
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, mut closing: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(
            TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT)),
            TowerToHyperService::new(router),
        );
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_it_must_end(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            let Ok(ended) = timeout(LAST_ANSWER, connection).await else {
                tracing::debug!("a connection was cut off");
                return;
            };
            ended
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn until_it_must_end(closing: &mut watch::Receiver<()>) {
    // At the age or at the end of the server; both are orderly, so which one it was does not matter.
    let _ = timeout(MAX_AGE, closing.changed()).await;
}

/// What counts as one address: whoever has one IPv6 address usually has its /64 network.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
