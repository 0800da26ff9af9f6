//! Calls as Envoy makes them: the frame with the message is the last one. `tonic` sends the end by itself, which wakes a
//! server twice.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tonic::{body::Body, transport::Channel};
use tower::Service;

/// A connection on which calls end with their message.
#[derive(Clone)]
pub(super) struct AtOnce(pub(super) Channel);

impl Service<Request<Body>> for AtOnce {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // What is ready is taken, and the next call waits for its own turn.
        let ready = self.0.clone();
        let mut channel = std::mem::replace(&mut self.0, ready);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // Of a unary call it is all there. One that cannot be encoded arrives as an empty one, and is refused.
            let body = body.collect().await.unwrap_or_default().to_bytes();
            let whole = Request::from_parts(head, Body::new(Full::new(body)));
            channel.call(whole).await
        })
    }
}
