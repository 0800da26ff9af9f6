//! An HTTP server on loopback, in plaintext or TLS, that ends with its handle, connections included.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::wait::until;

/// A response of a test server.
pub type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

/// What a test server does with each request and hears of each connection.
pub trait Site: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;

    /// Is told of each accepted connection.
    fn connected(&self) {}

    /// Is told of each TLS handshake that failed, with rustls' reason.
    fn refused(&self, _reason: String) {}
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: AbortHandle,
}

impl Server {
    /// Serves `site` on `address` (port 0 for any free port), over TLS if `tls` is given.
    pub async fn start<S: Site>(
        address: SocketAddr,
        tls: Option<ServerConfig>,
        site: Arc<S>,
    ) -> Result<Self> {
        // A child that is being started holds, for a moment, what listened here before.
        let free = format!("{address} to be free");
        let listener = until(&free, async || TcpListener::bind(address).await.ok()).await?;
        let address = listener.local_addr()?;
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(accept(listener, tls, site)).abort_handle();
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<S: Site>(listener: TcpListener, tls: Option<TlsAcceptor>, site: Arc<S>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _peer)) = listener.accept() => {
                site.connected();
                connections.spawn(connection(stream, tls.clone(), Arc::clone(&site)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection<S: Site>(stream: TcpStream, tls: Option<TlsAcceptor>, site: Arc<S>) {
    match tls {
        None => serve(stream, site).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => serve(stream, site).await,
            Err(error) => site.refused(error.to_string()),
        },
    }
}

async fn serve<S: Site>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Arc<S>,
) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, std::convert::Infallible>(site.answer(request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // A peer that goes away mid-request is no failure of the server.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
