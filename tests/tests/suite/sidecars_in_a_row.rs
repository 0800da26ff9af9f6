//! Two sidecars in a row, as in a mesh, with a real `attache serve` on both ends: one attaches a JWT-SVID of its pod,
//! the other verifies it by the first one's published bundle, and both logs tell of it.

use anyhow::{Context as _, Result};
use attache_tests::{
    attache::published,
    client::{self, Reply},
    quickstart::STRIPE,
    service::{AUDIENCE, Plan, Service, may_ask},
    stage::{Set, Stage},
    wait::until,
};
use serde_json::Value;
use tempfile::TempDir;

const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";
const PATH: &str = "/v1/orders/7";

/// The pod may show a JWT-SVID of its own to the service, for all of it.
fn policy() -> String {
    format!(
        r#"apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{name: orders}}
spec: {{host: {STRIPE}, paths: [/v1/orders, /v2]}}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{name: orders-svid}}
spec: {{type: jwt-svid, audience: "{AUDIENCE}"}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: payment-to-orders}}
spec: {{client: payment-service, server: orders, effect: allow, trustProviders: [cluster], credentialProvider: orders-svid, actions: [all]}}
"#
    )
}

struct Mesh {
    caller: Stage,
    service: Service,
    _directory: TempDir,
}

impl Mesh {
    /// The pod is that of a ServiceAccount in `production`.
    async fn open(account: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let set = Set::of_pod(account, directory.path()).await?;
        set.installation.policy("orders.yaml", &policy())?;
        let attache = set.installation.start().await?;
        let bundle = published(set.installation.issuer_address(), "/bundle").await?;
        let plan = Plan {
            name: STRIPE,
            authority: &set.authority,
            domain: "cluster.local",
            bundle: &bundle,
            policies: &may_ask(CALLER),
        };
        let service = Service::start(plan, Ok).await?;
        let bootstrap = set.filter_bootstrap(service.address).await?;
        Ok(Self {
            caller: set.open_behind(bootstrap, attache).await?,
            service,
            _directory: directory,
        })
    }

    async fn ask(&self, path: &str) -> Result<Reply> {
        client::http1(self.caller.address, client::get(STRIPE, path)?).await
    }

    /// The events of the caller's own edge with this path, those of leases apart.
    fn events(&self, path: &str) -> Result<Vec<Value>> {
        let mut events = self.caller.set.installation.events()?;
        events.retain(|event| event["request_path"] == path && event["record"] != "lease");
        Ok(events)
    }
}

#[tokio::test]
async fn the_service_sees_who_calls_and_both_logs_tell_of_every_access() -> Result<()> {
    let mesh = Mesh::open("payment-svc").await?;
    let mut served = 0;
    until("both sidecars", async || {
        let reply = mesh.ask("/v1/orders/warm").await.ok()?;
        served = if reply.status == 200 { served + 1 } else { 0 };
        (served > 16).then_some(())
    })
    .await
    .with_context(|| mesh.service.attache.process.errors())?;
    for _ in 0..10 {
        assert_eq!(mesh.ask(PATH).await?.status, 200);
    }
    let received = mesh.service.application.last()?;
    assert_eq!(received.values("x-attache-spiffe-id"), [CALLER]);
    assert!(received.values("authorization").is_empty());
    let (sent, taken) = until("both logs", async || {
        let (sent, taken) = (mesh.events(PATH).ok()?, mesh.service.events(PATH).ok()?);
        (sent.len() == 10 && taken.len() == 10).then_some((sent, taken))
    })
    .await?;
    for (event, target) in sent.iter().map(|event| (event, STRIPE)) {
        assert_eq!(event["workload_svid"], CALLER);
        assert_eq!(
            (&event["outcome"], &event["target_service"]),
            (&"permitted".into(), &target.into())
        );
        assert_eq!(event["token_issued"], true);
    }
    for event in &taken {
        assert_eq!(event["workload_svid"], CALLER);
        assert_eq!(event["outcome"], "permitted");
        assert_eq!(event["target_service"], "orders.example");
        assert_eq!(event["trust_provider"], "callers");
    }
    // The first sidecar's policy covers it, the second one's does not.
    let refused = mesh.ask("/v2/x").await?;
    assert_eq!(refused.status, 403, "{refused:?}");
    until("the service's denial", async || {
        let denied = mesh.service.events("/v2/x").ok()?;
        denied
            .iter()
            .any(|event| event["outcome"] == "denied")
            .then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_third_service_without_a_policy_is_refused_at_its_own_sidecar() -> Result<()> {
    let mesh = Mesh::open("stranger").await?;
    let refused = mesh.ask(PATH).await?;
    assert_eq!(refused.status, 403, "{refused:?}");
    let event = mesh.caller.event_of(&refused).await?;
    assert_eq!(event["outcome"], "denied");
    assert!(mesh.service.application.received().is_empty());
    Ok(())
}
