//! The filter on the way out, in a real Envoy with two workers, between a caller, a target and an edge of the
//! test's own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Result;
use attache_proto::token::v1::{
    Caller, Decision, FetchRequest, FetchResponse, Injection, Place, Scope, Transport,
};
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use jiff::Timestamp;
use tempfile::TempDir;
use tonic::Status;

use crate::{
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, Reply},
    envoy::Envoy,
    filter::{self, Connection},
    quickstart::STRIPE,
    scripted_edge::ScriptedEdge,
    target::{Offers, Target},
};

/// Everything running.
pub struct OutboundStage {
    /// The edge.
    pub edge: ScriptedEdge,
    /// The target.
    pub stripe: Target,
    /// The proxy.
    pub envoy: Envoy,
    /// Where callers ask.
    pub address: SocketAddr,
    /// Whose certificates everybody here trusts.
    pub authority: Authority,
    directory: TempDir,
}

impl OutboundStage {
    /// The bootstrap as it is, and an edge that allows everything under `/v1`.
    pub async fn open() -> Result<Self> {
        Self::open_with(Ok).await
    }

    /// The same with changes of the bootstrap.
    pub async fn open_with(change: impl FnOnce(Bootstrap) -> Result<Bootstrap>) -> Result<Self> {
        Self::open_by(&filter::wasm().await?, |_, _, bootstrap| change(bootstrap)).await
    }

    /// The same with another .wasm; changes know the folder and the authority.
    pub async fn open_by(
        wasm: &Path,
        change: impl FnOnce(&Path, &Authority, Bootstrap) -> Result<Bootstrap>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::new("the tests' own authority")?;
        let roots = directory.path().join("ca.crt");
        authority.write(&roots)?;
        let edge = ScriptedEdge::start(&directory.path().join("edge.sock"))?;
        edge.fetch(allowing("token", Duration::from_secs(300)));
        let stripe = Target::start(&authority, STRIPE, Offers::Http1).await?;
        let socket = directory.path().join("edge.sock");
        let bootstrap = Bootstrap::filter_outbound(wasm, &socket, &roots, stripe.address())?;
        let envoy = Envoy::start(change(directory.path(), &authority, bootstrap)?).await?;
        let address = envoy.address("outbound").await?;
        Ok(Self {
            edge,
            stripe,
            envoy,
            address,
            authority,
            directory,
        })
    }

    /// The folder of all of it.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_path_buf()
    }

    /// `GET path` of the target.
    pub async fn ask(&self, path: &str) -> Result<Reply> {
        client::http1(self.address, client::get(STRIPE, path)?).await
    }

    /// The same with headers.
    pub async fn ask_with(&self, path: &str, headers: &[(&str, &[u8])]) -> Result<Reply> {
        client::http1(self.address, request(STRIPE, path, headers)?).await
    }

    /// Asks on connections of their own until every worker answered from memory.
    pub async fn warm(&self, path: &str) -> Result<()> {
        for _ in 0..16 {
            self.ask(path).await?;
        }
        Ok(())
    }

    /// Several connections, which Envoy spreads over its workers.
    pub async fn connections(&self, count: usize) -> Result<Vec<Connection>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Connection::plaintext(self.address).await?);
        }
        Ok(all)
    }
}

/// `GET path` with headers, as bytes.
pub fn request(host: &str, path: &str, headers: &[(&str, &[u8])]) -> Result<Request<Full<Bytes>>> {
    let mut request = client::get(host, path)?;
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name)?;
        request
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value)?);
    }
    Ok(request)
}

/// Allows everything of the pod under `/v1` for `life`, with a token that says how often it was asked for.
pub fn allowing(
    token: &'static str,
    life: Duration,
) -> impl Fn(&FetchRequest) -> Result<FetchResponse, Status> + Send + 'static {
    let asked = AtomicU64::new(0);
    move |request| {
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(allowed(
            request,
            &format!("{token}-{number}"),
            life,
            "revision-1",
        ))
    }
}

/// One allowed answer.
pub fn allowed(
    request: &FetchRequest,
    token: &str,
    life: Duration,
    revision: &str,
) -> FetchResponse {
    let now = Timestamp::now().as_millisecond();
    let millis = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    let target = request
        .call
        .as_ref()
        .map(|call| call.target.clone())
        .unwrap_or_default();
    let host = target.strip_prefix("https://").unwrap_or(STRIPE).to_owned();
    FetchResponse {
        protocol: 1,
        decision: Decision::Allowed.into(),
        decision_id: "evt_0".to_owned(),
        policy: "allow:payment:stripe:write".to_owned(),
        workload: "spiffe://cluster.local/ns/production/sa/payment-svc".to_owned(),
        token_id: token.to_owned(),
        inject: vec![Injection {
            place: Place::Header.into(),
            name: "authorization".to_owned(),
            value: format!("Bearer {token}"),
        }],
        remove: vec!["authorization".to_owned()],
        revision: revision.to_owned(),
        scope: Some(Scope {
            caller: Caller::Listener.into(),
            host,
            port: 443,
            transport: Transport::Tls.into(),
            all_but: true,
            path: "/v1".to_owned(),
            from: now,
            until: now + millis,
            ..Scope::default()
        }),
        lease: format!("lease of {token}").into_bytes(),
        credential_expires_at: now + millis,
        refresh_at: now + millis * 8 / 10,
        ..FetchResponse::default()
    }
}
