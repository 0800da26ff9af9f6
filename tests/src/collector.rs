//! An OpenTelemetry collector: a real OTLP/gRPC receiver that keeps what it is sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

use crate::{authority::IdentityFiles, wait::until};

/// A span and whose it is.
#[derive(Clone, Debug)]
pub struct Received {
    /// `service.name`.
    pub service: String,
    /// The span.
    pub span: Span,
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    _server: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Received>>>);

impl Collector {
    /// Starts it on a port of its own.
    pub async fn start() -> Result<Self> {
        Self::serve(Server::builder()).await
    }

    /// The same, with a certificate.
    pub async fn start_with(identity: &IdentityFiles) -> Result<Self> {
        let certificate = std::fs::read(&identity.certificate)?;
        let key = std::fs::read(&identity.key)?;
        let identity = Identity::from_pem(certificate, key);
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve(Server::builder().tls_config(tls)?).await
    }

    async fn serve(mut builder: Server) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let serving = builder
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = serving.await;
        });
        Ok(Self {
            address,
            spans,
            _server: server,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        let spans = self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }

    /// Waits for the span that `wanted` picks.
    pub async fn span(&self, what: &str, wanted: impl Fn(&Received) -> bool) -> Result<Received> {
        let found = until(what, async || self.received().into_iter().find(&wanted)).await;
        let names = || {
            let all = self.received();
            let names = all
                .iter()
                .map(|one| format!("{} {}", one.service, one.span.name));
            names.collect::<Vec<_>>().join(", ")
        };
        found.with_context(|| format!("there are: {}", names()))
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        sent: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in sent.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let service = text(&attributes, "service.name").unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter();
            for span in spans.flat_map(|scope| scope.spans) {
                let service = service.clone();
                kept.push(Received { service, span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The text of an attribute.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let value = found.value.clone()?.value?;
    if let Value::StringValue(text) = value {
        return Some(text);
    }
    Some(format!("{value:?}"))
}
