//! Sidecar mode: the application shows nothing, the edge speaks for its pod with the pod's token file.

use std::fs;

use anyhow::{Context as _, Result};
use attache_tests::{
    attache::EdgePlan,
    client::{self, EVIDENCE, with_evidence},
    quickstart::STRIPE,
    spiffe_peer::{SpiffePeer, TRUST_DOMAIN, WORKLOAD},
    stage::{CHARGES, Script, Set, Stage},
    wait::until,
};

/// A pod whose token file stands in `directory`, as the kubelet writes it.
async fn pod(directory: &tempfile::TempDir) -> Result<Stage> {
    let set = Set::of_pod("payment-svc", directory.path()).await?;
    set.open().await
}

/// What an unchanged application sends.
async fn plain_call(stage: &Stage) -> Result<client::Reply> {
    client::http1(stage.address, client::get(STRIPE, CHARGES)?).await
}

#[tokio::test]
async fn an_unchanged_application_is_served_as_its_pod() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = pod(&directory).await?;
    assert_eq!(plain_call(&stage).await?.status, 200);
    assert!(stage.set.stripe.last()?.bearer().is_some());
    let event = stage.set.installation.last_event()?;
    assert_eq!(
        event["workload_svid"],
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    Ok(())
}

#[tokio::test]
async fn the_token_file_is_read_again_when_it_rotates() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = pod(&directory).await?;
    assert_eq!(plain_call(&stage).await?.status, 200);
    // Another workload's token, so that the change shows; renamed into place, as the kubelet does.
    let next = directory.path().join("next");
    fs::write(&next, stage.set.cluster.token("staging", "payment-svc")?)?;
    fs::rename(&next, directory.path().join("token"))?;
    let refused = until("the rotated token to count", async || {
        plain_call(&stage)
            .await
            .ok()
            .filter(|reply| reply.status != 200)
    })
    .await?;
    assert_eq!(
        (refused.status, refused.code()),
        (403, Some("attribute-mismatch"))
    );
    fs::write(&next, stage.payment_token()?)?;
    fs::rename(&next, directory.path().join("token"))?;
    until("the next token to count", async || {
        plain_call(&stage)
            .await
            .ok()
            .filter(|reply| reply.status == 200)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_token_file_is_a_fault() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = pod(&directory).await?;
    fs::remove_file(directory.path().join("token"))?;
    let refused = until("the missing file to count", async || {
        plain_call(&stage)
            .await
            .ok()
            .filter(|reply| reply.status != 200)
    })
    .await?;
    assert_eq!(
        (refused.status, refused.code()),
        (503, Some("evidence-unreadable"))
    );
    Ok(())
}

#[tokio::test]
async fn evidence_that_a_client_brings_counts_for_nothing_and_goes_nowhere() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = pod(&directory).await?;
    let other = stage.set.cluster.token("prod", "data-pipeline")?;
    let reply = client::http1(
        stage.address,
        with_evidence(client::get(STRIPE, CHARGES)?, &other)?,
    )
    .await?;
    assert_eq!(reply.status, 200);
    let received = stage.set.stripe.last()?;
    assert!(received.values(EVIDENCE).is_empty());
    let event = stage.set.installation.last_event()?;
    let svid = event["workload_svid"].as_str().context("no caller")?;
    assert_eq!(svid, "spiffe://cluster.local/ns/production/sa/payment-svc");
    Ok(())
}

/// Policies for the workload of a foreign mesh, whose SVIDs its own agent vouches for.
fn mesh_policies(peer: &SpiffePeer) -> String {
    let socket = peer.socket.display();
    format!(
        "\
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{ name: mesh-certificates }}
spec: {{ type: spiffe-x509, trustDomain: {TRUST_DOMAIN}, bundle: {{ workloadApi: {socket} }} }}
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{ name: mesh-tokens }}
spec: {{ type: spiffe-jwt, trustDomain: {TRUST_DOMAIN}, bundle: {{ workloadApi: {socket} }} }}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: mesh-payment }}
spec: {{ match: [{{ spiffe.id: \"{WORKLOAD}\" }}] }}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: stripe }}
spec: {{ host: {STRIPE} }}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{ name: stripe-token }}
spec: {{ type: oidc-token, audience: \"https://{STRIPE}\" }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: mesh-payment-to-stripe }}
spec: {{ effect: allow, client: mesh-payment, server: stripe, trustProviders: [mesh-certificates, mesh-tokens], credentialProvider: stripe-token, actions: [all] }}
"
    )
}

/// A pod whose `svid` comes from the Workload API of a go-spiffe peer.
async fn pod_of_a_mesh(peer: &SpiffePeer, svid: &str) -> Result<Stage> {
    let socket = peer.socket.display();
    let roots = peer.socket.parent().context("no folder")?.display();
    let plan = EdgePlan {
        // Says the role; the evidence below stands in its place.
        token_file: Some("/nothing".into()),
        evidence: Some(format!(
            "{{ workload_api: {{ socket: {socket}, svid: {svid} }} }}"
        )),
        settings: vec![format!("trust: {{ file_roots: [{roots}] }}")],
        ..EdgePlan::default()
    };
    let script = Script {
        plan,
        policies: vec![("mesh.yaml", mesh_policies(peer))],
        ..Script::default()
    };
    Set::build(script).await?.open().await
}

async fn answered(stage: &Stage, what: &str, status: u16) -> Result<client::Reply> {
    until(what, async || {
        let reply = plain_call(stage).await.ok();
        reply.filter(|reply| reply.status == status)
    })
    .await
}

#[tokio::test]
async fn a_pod_is_served_by_the_certificate_or_the_token_that_its_agent_gives() -> Result<()> {
    for (svid, provider) in [("x509", "mesh-certificates"), ("jwt", "mesh-tokens")] {
        let peer = SpiffePeer::start()?;
        let stage = pod_of_a_mesh(&peer, svid).await?;
        answered(&stage, "the SVID to come", 200).await?;
        let event = stage.set.installation.last_event()?;
        assert_eq!(event["workload_svid"], WORKLOAD, "{svid}");
        assert_eq!(event["trust_provider"], provider, "{svid}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rotated_certificate_is_shown_and_one_that_was_taken_back_is_not() -> Result<()> {
    let peer = SpiffePeer::start()?;
    let stage = pod_of_a_mesh(&peer, "x509").await?;
    answered(&stage, "the SVID to come", 200).await?;
    // A new one comes each second, below a new intermediate; none of them may be refused.
    let pushed = || stage.attache.process.output() + &stage.attache.process.errors();
    until("a rotation", async || {
        let seen = pushed().matches("the pod's own SVID was pushed").count();
        (seen >= 3).then_some(())
    })
    .await?;
    for _ in 0..20 {
        assert_eq!(plain_call(&stage).await?.status, 200);
    }
    std::fs::write(peer.file("withdrawn"), "")?;
    let refused = answered(&stage, "the identity to be taken back", 503).await?;
    assert_eq!(refused.code(), Some("evidence-unreadable"));
    std::fs::remove_file(peer.file("withdrawn"))?;
    answered(&stage, "the identity to come back", 200).await?;
    Ok(())
}
