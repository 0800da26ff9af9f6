//! Two sidecars in a row, as in a mesh: one attaches a JWT-SVID, the other verifies it. Once in two Envoys and once
//! in one, whose plugins then share their VMs.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use attache_proto::token::v1::{Bundle, BundlesResponse, Decision, FetchResponse};
use attache_tests::{
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, Reply},
    envoy::Envoy,
    filter,
    outbound_stage::allowed,
    quickstart::STRIPE,
    scripted_edge::ScriptedEdge,
    svid::SvidSigner,
    target::Target,
    wait::until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";
const STRANGER: &str = "spiffe://cluster.local/ns/production/sa/stranger";

struct Mesh {
    edge: ScriptedEdge,
    application: Target,
    envoys: Vec<Envoy>,
    address: SocketAddr,
    _directory: TempDir,
}

/// An edge that vouches for the domain, and attaches the JWT-SVID of `id` for the service behind the next sidecar.
fn edge(socket: &Path, id: &'static str) -> Result<ScriptedEdge> {
    let signer = SvidSigner::new("jwt-1")?;
    let edge = ScriptedEdge::start(socket)?;
    let document = json!({"keys": [signer.jwk()]}).to_string().into_bytes();
    edge.bundles(move |_| {
        let bundle = Bundle {
            trust_domain: "cluster.local".to_owned(),
            document: document.clone(),
            ..Bundle::default()
        };
        Ok(BundlesResponse {
            version: "1".to_owned(),
            bundles: vec![bundle],
            ..BundlesResponse::default()
        })
    });
    edge.fetch(move |request| {
        let path = request.call.as_ref().map_or("", |call| &call.path);
        if path.starts_with("/v1") {
            let token = signer.good(id, "https://orders.example");
            return Ok(allowed(
                request,
                &token,
                Duration::from_secs(300),
                "revision-1",
            ));
        }
        Ok(FetchResponse {
            decision: Decision::Denied.into(),
            code: "no-policy".to_owned(),
            scope: None,
            lease: Vec::new(),
            inject: Vec::new(),
            ..allowed(request, "", Duration::from_secs(5), "revision-1")
        })
    });
    Ok(edge)
}

/// Both listeners and all clusters in one Envoy.
fn together(one: Bootstrap, other: &Bootstrap) -> Result<Bootstrap> {
    let list = |bootstrap: &Bootstrap, name: &str| -> Result<Vec<Value>> {
        let settings = bootstrap.settings()?;
        let list = settings["static_resources"][name].as_array().cloned();
        list.with_context(|| format!("no {name}"))
    };
    let mut listeners = list(&one, "listeners")?;
    listeners.extend(list(other, "listeners")?);
    let mut clusters = list(&one, "clusters")?;
    let more = list(other, "clusters")?.into_iter();
    clusters.extend(more.filter(|cluster| cluster["name"] != "attache"));
    one.put("/static_resources/listeners", listeners.into())?
        .put("/static_resources/clusters", clusters.into())
}

impl Mesh {
    async fn open(id: &'static str, in_one_envoy: bool) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::new("the tests' own authority")?;
        let roots = directory.path().join("ca.crt");
        authority.write(&roots)?;
        let socket = directory.path().join("edge.sock");
        let edge = edge(&socket, id)?;
        let application = Target::plaintext().await?;
        let own = authority
            .issue(&[STRIPE])?
            .write(directory.path(), "service")?;
        let wasm = filter::wasm().await?;
        let inbound = Bootstrap::filter_inbound(&wasm, &socket, &own, application.address())?
            .replace("\"/v1/orders\"", "\"/v1/orders\", \"/v1/charges\"")?;
        let mut envoys = Vec::new();
        let address = if in_one_envoy {
            // The listener's port must be known before it listens.
            let reserved = attache_tests::port::Reserved::next()?.address();
            let inbound = inbound.replace(
                "socket_address: { address: 127.0.0.1, port_value: 0 }",
                &format!(
                    "socket_address: {{ address: 127.0.0.1, port_value: {} }}",
                    reserved.port()
                ),
            )?;
            let outbound = Bootstrap::filter_outbound(&wasm, &socket, &roots, reserved)?;
            let envoy = Envoy::start(together(outbound, &inbound)?).await?;
            let address = envoy.address("outbound").await?;
            envoys.push(envoy);
            address
        } else {
            let behind = Envoy::start(inbound).await?;
            let service = behind.address("inbound").await?;
            let outbound = Bootstrap::filter_outbound(&wasm, &socket, &roots, service)?;
            let before = Envoy::start(outbound).await?;
            let address = before.address("outbound").await?;
            envoys.extend([before, behind]);
            address
        };
        Ok(Self {
            edge,
            application,
            envoys,
            address,
            _directory: directory,
        })
    }

    async fn ask(&self, path: &str) -> Result<Reply> {
        client::http1(self.address, client::get(STRIPE, path)?).await
    }
}

#[tokio::test]
async fn the_service_behind_the_second_sidecar_sees_the_caller_of_the_first() -> Result<()> {
    for in_one_envoy in [false, true] {
        let mesh = Mesh::open(CALLER, in_one_envoy).await?;
        let mut served = 0;
        until("both sidecars", async || {
            let reply = mesh.ask("/v1/charges").await.ok()?;
            served = if reply.status == 200 { served + 1 } else { 0 };
            (served > 16).then_some(())
        })
        .await?;
        let received = mesh.application.last()?;
        assert_eq!(received.values("x-attache-spiffe-id"), [CALLER]);
        assert!(received.values("authorization").is_empty());
        // The first sidecar's policy, and the second one's rules.
        let refused = mesh.ask("/v2").await?;
        assert_eq!((refused.status, refused.code()), (403, Some("no-policy")));
        until("the accesses to be reported", async || {
            let reports = mesh.edge.asked().reports;
            reports
                .iter()
                .any(|report| !report.accesses.is_empty())
                .then_some(())
        })
        .await?;
        for envoy in &mesh.envoys {
            assert_eq!(envoy.messages(), "");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_without_a_rule_is_refused_by_the_second_sidecar() -> Result<()> {
    let mesh = Mesh::open(STRANGER, false).await?;
    let refused = until("the bundle", async || {
        let reply = mesh.ask("/v1/charges").await.ok()?;
        (reply.status != 503).then_some(reply)
    })
    .await?;
    assert_eq!(refused.status, 403);
    assert!(mesh.application.received().is_empty());
    Ok(())
}
