//! A client of `attache.token.v1.Tokens`, as the filter in a proxy is one.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use attache_proto::token::v1::{
    Access, Call, Evidence, FetchRequest, FetchResponse, Header, KeptAnswer, Purpose,
    ReportRequest, ReportResponse, RevalidateRequest, Revalidated, WatchRequest, WatchResponse,
    tokens_client::TokensClient,
};
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    authorize,
    client::EVIDENCE,
    quickstart::STRIPE,
    stage::CHARGES,
    wait::{until, within},
};

/// The service at a listener's unix socket.
pub async fn tokens(socket: &Path) -> Result<TokensClient<Channel>> {
    Ok(TokensClient::new(authorize::over_unix(socket).await?))
}

/// The same, as soon as somebody listens there.
pub async fn tokens_again(socket: &Path) -> Result<TokensClient<Channel>> {
    until("the edge's socket", async || tokens(socket).await.ok()).await
}

/// `token` in the header that the tests' gateways take it from.
pub fn evidence(token: &str) -> Option<Evidence> {
    Some(Evidence {
        headers: vec![Header {
            name: EVIDENCE.to_owned(),
            value: token.as_bytes().to_vec(),
        }],
        ..Evidence::default()
    })
}

/// `GET https://api.stripe.com/v1/charges`.
pub fn charges() -> Call {
    Call {
        authority: STRIPE.to_owned(),
        target: format!("https://{STRIPE}"),
        method: "GET".to_owned(),
        path: CHARGES.to_owned(),
        details: None,
    }
}

/// What a request that is to go on asks.
pub fn attaching(evidence: Option<Evidence>, call: Call) -> FetchRequest {
    FetchRequest {
        protocol: 1,
        purpose: i32::from(Purpose::Attach),
        evidence,
        call: Some(call),
    }
}

/// Asks, within the time that a test has.
pub async fn fetch(
    client: &TokensClient<Channel>,
    asked: FetchRequest,
) -> Result<FetchResponse, Status> {
    let mut client = client.clone();
    let answer = within("Fetch", client.fetch(asked)).await;
    let answer = answer.map_err(|late| Status::deadline_exceeded(late.to_string()))?;
    answer.map(tonic::Response::into_inner)
}

/// The stream of states.
pub async fn watch(client: &TokensClient<Channel>) -> Result<Streaming<WatchResponse>> {
    let mut client = client.clone();
    let stream = within("Watch", client.watch(WatchRequest { protocol: 1 })).await??;
    Ok(stream.into_inner())
}

/// The next state.
pub async fn next(stream: &mut Streaming<WatchResponse>) -> Result<WatchResponse> {
    let next = within("a state", stream.message()).await??;
    next.context("the stream ended")
}

/// What becomes of one kept answer.
pub async fn revalidated(
    client: &TokensClient<Channel>,
    lease: &[u8],
    evidence: Option<Evidence>,
) -> Result<Revalidated> {
    let mut client = client.clone();
    let asked = RevalidateRequest {
        protocol: 1,
        kept: vec![KeptAnswer {
            lease: lease.to_vec(),
            evidence,
        }],
    };
    let answer = within("Revalidate", client.revalidate(asked)).await??;
    answer.into_inner().answers.pop().context("no answer")
}

/// A life of a reporter.
#[derive(Clone, Debug)]
pub struct Reporter {
    epoch: Vec<u8>,
    started_at: i64,
}

impl Reporter {
    /// One whose epoch is 16 times `byte`.
    pub fn new(byte: u8) -> Self {
        Self {
            epoch: vec![byte; 16],
            started_at: now(),
        }
    }

    /// Its epoch, as events tell it.
    pub fn epoch(&self) -> String {
        self.epoch
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Its epoch.
    pub fn bytes(&self) -> Vec<u8> {
        self.epoch.clone()
    }

    /// A report of `GET /v1/charges` under one lease, once for each of `sequences`.
    pub fn report(&self, lease: &[u8], sequences: impl IntoIterator<Item = u64>) -> ReportRequest {
        let accesses = sequences.into_iter().map(|sequence| Access {
            sequence,
            lease: 0,
            method: "GET".to_owned(),
            path: format!("{CHARGES}/{sequence}"),
            at: now(),
            status: 200,
            latency_us: 1500,
            source_address: "10.0.0.7:4711".to_owned(),
        });
        ReportRequest {
            protocol: 1,
            epoch: self.epoch.clone(),
            epoch_started_at: self.started_at,
            leases: vec![lease.to_vec()],
            accesses: accesses.collect(),
            ended: Vec::new(),
        }
    }
}

/// Sends a report.
pub async fn send(
    client: &TokensClient<Channel>,
    report: ReportRequest,
) -> Result<ReportResponse, Status> {
    let mut client = client.clone();
    let answer = within("Report", client.report(report)).await;
    let answer = answer.map_err(|late| Status::deadline_exceeded(late.to_string()))?;
    answer.map(tonic::Response::into_inner)
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
