//! Sending finished spans by OTLP over gRPC (opentelemetry-proto, `TraceService`), in batches.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use thiserror::Error;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tracing::{info, warn};

use super::{Counters, span::attribute};

/// How long is waited for more before a batch is sent.
const BATCH: Duration = Duration::from_millis(500);
/// How many calls a batch holds at most.
const MAX_BATCH: usize = 256;
/// How long a receiver may take for a batch.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the end waits for what is still to be sent.
const LAST: Duration = Duration::from_secs(2);

/// Where spans go, and what they say of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// `http://collector:4317`, or `https://`.
    pub endpoint: String,
    /// The authorities of its certificate in PEM; those of the system if `None`.
    pub ca: Option<Vec<u8>>,
    /// `service.name` of the spans.
    pub service: String,
    /// `service.instance.id`: the edge's name.
    pub instance: String,
}

/// A receiver that cannot be called.
#[derive(Debug, Error)]
#[error("`{endpoint}` cannot be called: {reason}")]
pub struct InvalidReceiver {
    endpoint: String,
    reason: String,
}

/// Sends batches, one after the other.
pub(super) struct Exporter {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    counters: Arc<Counters>,
    failing: bool,
}

impl Receiver {
    pub(super) fn exporter(self, counters: Arc<Counters>) -> Result<Exporter, InvalidReceiver> {
        let invalid = |error: tonic::transport::Error| InvalidReceiver {
            endpoint: self.endpoint.clone(),
            reason: error.to_string(),
        };
        let mut endpoint = Endpoint::from_shared(self.endpoint.clone())
            .map_err(invalid)?
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN);
        if self.endpoint.starts_with("https:") {
            let tls = match &self.ca {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls).map_err(invalid)?;
        }
        let resource = Resource {
            attributes: vec![
                attribute("service.name", &self.service),
                attribute("service.instance.id", &self.instance),
                attribute("service.version", env!("CARGO_PKG_VERSION")),
            ],
            ..Resource::default()
        };
        Ok(Exporter {
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            resource,
            counters,
            failing: false,
        })
    }
}

impl Exporter {
    pub(super) async fn run(
        mut self,
        mut finished: mpsc::Receiver<Vec<Span>>,
        stop: CancellationToken,
    ) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = stop.cancelled() => break,
                taken = finished.recv_many(&mut batch, MAX_BATCH) => if taken == 0 {
                    // Nobody is left who could hand anything over.
                    return;
                }
            }
            if batch.len() < MAX_BATCH {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(BATCH) => {}
                }
                while batch.len() < MAX_BATCH
                    && let Ok(more) = finished.try_recv()
                {
                    batch.push(more);
                }
            }
            self.send(batch).await;
        }
        finished.close();
        let mut rest = Vec::new();
        while let Ok(more) = finished.try_recv() {
            rest.push(more);
        }
        let waiting = count(&rest);
        if timeout(LAST, self.send(rest)).await.is_err() {
            self.counters.lose(waiting);
        }
    }

    /// Sends a batch once: what fails is lost, and counted.
    async fn send(&mut self, batch: Vec<Vec<Span>>) {
        let sent = count(&batch);
        if sent == 0 {
            return;
        }
        let answer = self.client.export(self.request(batch)).await;
        let rejected = match answer {
            Ok(answer) => {
                let partial = answer.into_inner().partial_success;
                let rejected = partial.map_or(0, |partial| partial.rejected_spans);
                self.recovered();
                u64::try_from(rejected).unwrap_or_default().min(sent)
            }
            Err(status) => {
                self.failed(&status);
                sent
            }
        };
        self.counters.lose(rejected);
        let taken = sent.saturating_sub(rejected);
        self.counters.exported.fetch_add(taken, Ordering::Relaxed);
    }

    fn request(&self, batch: Vec<Vec<Span>>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "attache".to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans {
            scope: Some(scope),
            spans: batch.into_iter().flatten().collect(),
            ..ScopeSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![spans],
                ..ResourceSpans::default()
            }],
        }
    }

    /// Told once for each time that it goes away.
    fn failed(&mut self, status: &tonic::Status) {
        if !self.failing {
            let (code, reason) = (status.code(), status.message());
            warn!(
                ?code,
                reason, "traces cannot be sent; spans are lost until they can"
            );
        }
        self.failing = true;
    }

    fn recovered(&mut self) {
        if self.failing {
            info!("traces are sent again");
        }
        self.failing = false;
    }
}

fn count(batch: &[Vec<Span>]) -> u64 {
    let spans = batch.iter().map(Vec::len).sum::<usize>();
    u64::try_from(spans).unwrap_or(u64::MAX)
}
