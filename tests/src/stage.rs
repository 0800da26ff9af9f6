//! The whole line on loopback: a cluster that vouches, `attache serve`, two targets, and an Envoy from one
//! of the bootstraps between them and the caller.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use serde_json::Value;

use crate::{
    attache::{Attache, EdgePlan, Installation, Port, published},
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, Reply},
    cluster::Cluster,
    envoy::Envoy,
    filter,
    quickstart::{self, INTERNAL, STRIPE},
    target::{Offers, Target},
};

/// The path that the quick start's service calls.
pub const CHARGES: &str = "/v1/charges";

/// What a test wants to be different.
pub struct Script {
    /// The edge.
    pub plan: EdgePlan,
    /// The name in the certificate of the target that stands for Stripe.
    pub stripe_certificate: &'static str,
    /// Which HTTP versions that target offers.
    pub stripe_offers: Offers,
    /// Policies beside the quick start's: file name and text.
    pub policies: Vec<(&'static str, String)>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            plan: EdgePlan::default(),
            stripe_certificate: STRIPE,
            stripe_offers: Offers::Http2,
            policies: vec![("data-pipeline.yaml", quickstart::DATA_PIPELINE.to_owned())],
        }
    }
}

/// Everything before Attaché and Envoy are started.
pub struct Set {
    /// Whose certificates everybody here trusts.
    pub authority: Authority,
    /// Who vouches for workloads.
    pub cluster: Cluster,
    /// Configuration, policies and state of Attaché.
    pub installation: Arc<Installation>,
    /// The target that stands for Stripe.
    pub stripe: Target,
    /// The target that stands for the internal API.
    pub internal: Target,
    roots: PathBuf,
    script: Script,
}

impl Set {
    /// Builds the set of `script`.
    pub async fn build(script: Script) -> Result<Self> {
        let authority = Authority::new("the tests' own authority")?;
        Self::build_with(script, authority).await
    }

    /// The same, where the script's certificates already come from `authority`.
    pub async fn build_with(script: Script, authority: Authority) -> Result<Self> {
        let cluster = Cluster::start(&authority).await?;
        let installation = Installation::new(&script.plan).await?;
        let roots = installation.directory().join("ca.crt");
        authority.write(&roots)?;
        quickstart::write(&installation.policies(), &cluster, &roots)?;
        for (name, text) in &script.policies {
            installation.policy(name, text)?;
        }
        let stripe =
            Target::start(&authority, script.stripe_certificate, script.stripe_offers).await?;
        let internal = Target::start(&authority, INTERNAL, Offers::Http2).await?;
        Ok(Self {
            authority,
            cluster,
            installation,
            stripe,
            internal,
            roots,
            script,
        })
    }

    /// The usual set of a sidecar: its pod's token, of `account` in `production`, stands in `directory`, as the kubelet
    /// writes it.
    pub async fn of_pod(account: &str, directory: &Path) -> Result<Self> {
        let file = directory.join("token");
        let plan = EdgePlan {
            token_file: Some(file.clone()),
            ..EdgePlan::default()
        };
        let set = Self::build(Script {
            plan,
            ..Script::default()
        })
        .await?;
        fs::write(file, set.cluster.token("production", account)?)?;
        Ok(set)
    }

    /// The bootstrap with our filter in a sidecar whose calls of Stripe lead to `target`.
    pub async fn filter_bootstrap(&self, target: SocketAddr) -> Result<Bootstrap> {
        let (wasm, socket) = (filter::wasm().await?, self.installation.socket());
        Bootstrap::filter_outbound(&wasm, &socket, &self.roots, target)
    }

    /// [`Self::bootstrap`] of an Envoy that waits for long: whatever the edge says in time, it passes on, however busy
    /// this machine is.
    pub fn patient_bootstrap(&self) -> Result<Bootstrap> {
        let usual = "cluster_name: attache }, timeout: 0.5s";
        self.bootstrap()?
            .replace(usual, "cluster_name: attache }, timeout: 30s")
    }

    /// The bootstrap that fits the edge: sidecar, mutual TLS, or gateway.
    pub fn bootstrap(&self) -> Result<Bootstrap> {
        let socket = self.installation.socket();
        let stripe = self.stripe.address();
        if self.script.plan.token_file.is_some() {
            return Bootstrap::sidecar(&socket, &self.roots, stripe);
        }
        match &self.script.plan.port {
            Port::Unix | Port::Plaintext(_) => {
                Bootstrap::egress_gateway(&socket, &self.roots, stripe, self.internal.address())
            }
            Port::Tls { address, .. } => {
                let envoy = self.authority.issue(&[ENVOY])?;
                let envoy = envoy.write(self.installation.directory(), "envoy")?;
                Bootstrap::egress_mtls(*address, &envoy, &self.roots, stripe)
            }
        }
    }

    /// Starts Attaché and Envoy.
    pub async fn open(self) -> Result<Stage> {
        let attache = self.installation.start().await?;
        self.open_with(attache).await
    }

    /// Starts Envoy before an Attaché that runs already.
    pub async fn open_with(self, attache: Attache) -> Result<Stage> {
        let bootstrap = self.bootstrap()?;
        self.open_behind(bootstrap, attache).await
    }

    /// Starts Envoy from `bootstrap` before an Attaché that runs already.
    pub async fn open_behind(self, bootstrap: Bootstrap, attache: Attache) -> Result<Stage> {
        let envoy = Envoy::start(bootstrap).await?;
        let listener = if self.script.plan.token_file.is_some() {
            "outbound"
        } else {
            "egress"
        };
        let address = envoy.address(listener).await?;
        Ok(Stage {
            set: self,
            attache,
            envoy,
            address,
        })
    }
}

/// The name of Envoy towards an Attaché on another machine.
pub const ENVOY: &str = "spiffe://cluster.local/ns/gateways/sa/egress";

/// Everything running.
pub struct Stage {
    /// What does not depend on Envoy.
    pub set: Set,
    /// The server.
    pub attache: Attache,
    /// The proxy.
    pub envoy: Envoy,
    /// Where callers ask.
    pub address: SocketAddr,
}

impl Stage {
    /// The quick start behind `egress-gateway.yaml`.
    pub async fn open() -> Result<Self> {
        Self::play(Script::default()).await
    }

    /// A script of a test's own.
    pub async fn play(script: Script) -> Result<Self> {
        Set::build(script).await?.open().await
    }

    /// The quick start's service: `payment-svc` in `production`.
    pub fn payment_token(&self) -> Result<String> {
        self.set.cluster.token("production", "payment-svc")
    }

    /// `GET http://api.stripe.com/v1/charges` with `token` as evidence, over HTTP/1.1.
    pub async fn charges(&self, token: &str) -> Result<Reply> {
        let request = client::with_evidence(client::get(STRIPE, CHARGES)?, token)?;
        client::http1(self.address, request).await
    }

    /// The event of the answer that the caller got, if it was a refusal.
    pub async fn event_of(&self, reply: &Reply) -> Result<Value> {
        let id = reply.header("x-attache-decision");
        let id =
            id.ok_or_else(|| anyhow::anyhow!("{} without a decision: {reply:?}", reply.status))?;
        self.set.installation.event(id).await
    }

    /// Our issuer's published keys.
    pub async fn published_keys(&self) -> Result<Value> {
        published(self.set.installation.issuer_address(), "/keys").await
    }
}
