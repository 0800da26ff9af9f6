//! An authorizer that permits nothing and keeps what Envoy told it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use envoy_types::{
    ext_authz::v3::pb::{Authorization, AuthorizationServer, CheckRequest, CheckResponse},
    pb::{envoy::service::auth::v3::AttributeContext, google::rpc},
};
use tokio::{net::UnixListener, task::AbortHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, async_trait, transport::Server};

/// A running authorizer.
#[derive(Debug)]
pub struct Listening {
    told: Told,
    serving: AbortHandle,
}

#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<AttributeContext>>>);

impl Listening {
    /// Listens on `socket`.
    pub fn start(socket: &Path) -> Result<Self> {
        let told = Told::default();
        let connections = UnixListenerStream::new(UnixListener::bind(socket)?);
        let service = AuthorizationServer::new(told.clone());
        let server = Server::builder().add_service(service);
        let serving = tokio::spawn(server.serve_with_incoming(connections)).abort_handle();
        Ok(Self { told, serving })
    }

    /// What Envoy told of the last request.
    pub fn last(&self) -> Result<AttributeContext> {
        let told = self.told.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.last().cloned().context("Envoy asked nothing")
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[async_trait]
impl Authorization for Told {
    async fn check(&self, asked: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let attributes = asked.into_inner().attributes.unwrap_or_default();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(attributes);
        Ok(Response::new(CheckResponse {
            status: Some(rpc::Status {
                code: i32::from(Code::PermissionDenied),
                ..rpc::Status::default()
            }),
            ..CheckResponse::default()
        }))
    }
}
