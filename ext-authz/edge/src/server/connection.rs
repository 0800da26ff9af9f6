//! One connection of a known peer: HTTP/2 on it, and which service a call is for.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures::{TryFutureExt as _, future::BoxFuture};
use hyper::{Request, Response, body::Incoming, server::conn::http2, service::Service};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes};
use tower::Service as _;
use tracing::debug;

use super::{
    MAX_QUESTION_BYTES,
    unary::{self, Framed, Reply},
};
use crate::{ext_authz::ExtAuthz, listener::Connection};

/// Envoy holds one HTTP/2 connection a worker and multiplexes its questions.
const MAX_CONCURRENT_STREAMS: u32 = 4096;

/// How often a peer that says nothing is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// The path of the call that nearly all are.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The gRPC services of one listener.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) ext_authz: Arc<ExtAuthz>,
    pub(super) others: Routes,
}

impl Service<Request<Incoming>> for Services {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path() == CHECK {
            let ext_authz = Arc::clone(&self.ext_authz);
            return Box::pin(async move { Ok(unary::answer(check(&ext_authz, request).await)) });
        }
        // They are always ready.
        let answering = self.others.clone().call(request);
        Box::pin(answering.map_ok(|response| response.map(Reply::Other)))
    }
}

async fn check(ext_authz: &ExtAuthz, request: Request<Incoming>) -> Result<Framed, Status> {
    let (head, body) = request.into_parts();
    let message = unary::message(body, MAX_QUESTION_BYTES).await?;
    ext_authz.check(&head.headers, message).await
}

/// Serves calls until the peer goes, or until `stop` and the last call is answered.
pub(super) async fn serve(connection: Connection, services: Services, stop: CancellationToken) {
    let (every, patience) = KEEPALIVE;
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // Nothing of gRPC reads it.
        .auto_date_header(false)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .keep_alive_interval(every)
        .keep_alive_timeout(patience)
        .serve_connection(TokioIo::new(connection), services);
    let mut serving = pin!(serving);
    let served = tokio::select! {
        biased;
        served = &mut serving => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection ended");
    }
}
