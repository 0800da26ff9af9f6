//! Sidecar mode: the application shows nothing, the edge speaks for its pod with the pod's token file.

use std::fs;

use anyhow::{Context as _, Result};
use attache_tests::{
    attache::EdgePlan,
    client::{self, EVIDENCE, with_evidence},
    quickstart::STRIPE,
    stage::{CHARGES, Script, Set, Stage},
    wait::until,
};

/// A pod whose token file stands in `directory`, as the kubelet writes it.
async fn pod(directory: &tempfile::TempDir) -> Result<Stage> {
    let file = directory.path().join("token");
    let plan = EdgePlan {
        token_file: Some(file.clone()),
        ..EdgePlan::default()
    };
    let set = Set::build(Script {
        plan,
        ..Script::default()
    })
    .await?;
    fs::write(file, set.cluster.token("production", "payment-svc")?)?;
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
