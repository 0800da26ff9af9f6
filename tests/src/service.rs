//! A service behind `filter-inbound.yaml` and a real `attache serve` of its own, in another trust domain than its
//! callers'.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Result;
use http::HeaderValue;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    attache::{Attache, EdgePlan, Installation},
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, Reply},
    envoy::Envoy,
    filter::{self, https},
    target::Target,
    wait::until,
};

/// Whom tokens for it are for.
pub const AUDIENCE: &str = "https://orders.example";

/// Everything of it, running.
pub struct Service {
    /// Its server.
    pub installation: Arc<Installation>,
    /// The server's process.
    pub attache: Attache,
    /// The application.
    pub application: Target,
    /// The proxy.
    pub envoy: Envoy,
    /// Where callers ask, over TLS.
    pub address: SocketAddr,
    name: String,
    _directory: TempDir,
}

/// What a service is told.
pub struct Plan<'a> {
    /// Its name in its certificate.
    pub name: &'a str,
    /// Whose certificate that is.
    pub authority: &'a Authority,
    /// The trust domain of its callers.
    pub domain: &'a str,
    /// The bundle of that.
    pub bundle: &'a Value,
    /// Policies beside the TrustProvider `callers` and the ServerWorkload `orders`.
    pub policies: &'a str,
}

/// Who vouches for callers, and what the service is.
fn documents(domain: &str, bundle: &Path) -> String {
    let bundle = bundle.display();
    format!(
        r#"apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{name: callers}}
spec: {{type: spiffe-jwt, trustDomain: {domain}, audience: "{AUDIENCE}", bundle: {{file: {bundle}}}}}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{name: orders}}
spec: {{host: orders.example}}
"#
    )
}

/// Lets the workload of `id` ask for what lies below `/v1/orders`.
pub fn may_ask(id: &str) -> String {
    format!(
        r#"apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{name: caller}}
spec: {{match: [{{spiffe.id: "{id}"}}]}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: caller-to-orders}}
spec: {{client: caller, server: orders, effect: allow, trustProviders: [callers], actions: [{{name: ask, methods: [GET, POST], paths: [/v1/orders]}}]}}
"#
    )
}

impl Service {
    /// Starts it; `change` is of its bootstrap, whose rules are the edge's policies.
    pub async fn start(
        plan: Plan<'_>,
        change: impl FnOnce(Bootstrap) -> Result<Bootstrap>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let files = directory.path().join("bundles");
        fs::create_dir(&files)?;
        let bundle = files.join("callers.json");
        fs::write(&bundle, plan.bundle.to_string())?;
        let settings = EdgePlan {
            settings: vec![format!("trust: {{ file_roots: [{}] }}", files.display())],
            ..EdgePlan::default()
        };
        let installation = Installation::new(&settings).await?;
        let config = fs::read_to_string(installation.config())?;
        let config = config.replace(
            "trust_domain: cluster.local",
            "trust_domain: services.example",
        );
        fs::write(installation.config(), config)?;
        installation.policy("service.yaml", &documents(plan.domain, &bundle))?;
        installation.policy("policies.yaml", plan.policies)?;
        let attache = installation.start().await?;
        let application = Target::plaintext().await?;
        let own = plan.authority.issue(&[plan.name])?;
        let own = own.write(directory.path(), "service")?;
        let (wasm, socket) = (filter::wasm().await?, installation.socket());
        let bootstrap = Bootstrap::filter_inbound(&wasm, &socket, &own, application.address())?
            .judged_by_the_edge()?
            .replace("\"cluster.local\"", &format!("\"{}\"", plan.domain))?;
        let envoy = Envoy::start(change(bootstrap)?).await?;
        let address = envoy.address("inbound").await?;
        Ok(Self {
            installation,
            attache,
            application,
            envoy,
            address,
            name: plan.name.to_owned(),
            _directory: directory,
        })
    }

    /// `GET path` with a token, over TLS by `authority`.
    pub async fn ask(&self, authority: &Authority, path: &str, token: &str) -> Result<Reply> {
        let mut request = client::get(&self.name, path)?;
        let value = HeaderValue::try_from(format!("Bearer {token}"))?;
        request.headers_mut().insert("authorization", value);
        https(self.address, authority, request).await
    }

    /// Asks until every worker has the bundle, and serves.
    pub async fn ready(&self, authority: &Authority, path: &str, token: &str) -> Result<()> {
        let mut served = 0;
        until("the service's workers", async || {
            let reply = self.ask(authority, path, token).await.ok()?;
            served = if reply.status == 200 { served + 1 } else { 0 };
            (served > 8).then_some(())
        })
        .await
    }

    /// The events of requests with this path, those of leases apart.
    pub fn events(&self, path: &str) -> Result<Vec<Value>> {
        let mut events = self.installation.events()?;
        events.retain(|event| event["request_path"] == path && event["record"] != "lease");
        Ok(events)
    }
}
