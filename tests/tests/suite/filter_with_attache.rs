//! The filter before a real `attache serve`: its policies, its tokens, its audit log.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use attache_tests::{
    client,
    filter::Connection,
    quickstart::STRIPE,
    stage::{CHARGES, Set, Stage},
    wait::until,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::Instant};

/// The quick start's pod behind the filter.
async fn pod() -> Result<(Stage, TempDir)> {
    let directory = tempfile::tempdir()?;
    let set = Set::of_pod("payment-svc", directory.path()).await?;
    let attache = set.installation.start().await?;
    let bootstrap = set.filter_bootstrap(set.stripe.address()).await?;
    Ok((set.open_behind(bootstrap, attache).await?, directory))
}

/// Events of accesses that reached the target or were refused, those of leases apart.
fn accesses(stage: &Stage, path: &str) -> Result<Vec<Value>> {
    let events = stage.set.installation.events()?.into_iter();
    Ok(events
        .filter(|event| event["request_path"] == path && event["record"] != "lease")
        .collect())
}

#[tokio::test]
async fn the_pod_gets_its_token_and_every_access_stands_in_the_audit_log_once() -> Result<()> {
    let (stage, _directory) = pod().await?;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let mut connection = Connection::plaintext(stage.address).await?;
        tasks.spawn(async move {
            for _ in 0..250 {
                let reply = connection.ask(client::get(STRIPE, CHARGES)?).await?;
                anyhow::ensure!(reply.status == 200, "{reply:?}");
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect::<Result<()>>()?;
    let received = stage.set.stripe.received();
    assert_eq!(received.len(), 1000);
    assert!(received.iter().all(|request| request.bearer().is_some()));
    until("every access in the audit log", async || {
        let events = accesses(&stage, CHARGES).ok()?;
        (events.len() == 1000).then_some(())
    })
    .await?;
    let events = accesses(&stage, CHARGES)?;
    let event = events
        .iter()
        .find(|event| event["record"] == "cached")
        .context("none is cached")?;
    assert_eq!(
        event["workload_svid"],
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    assert_eq!(event["outcome"], "permitted");
    // Leases were asked for by the two workers at most, not by a thousand requests.
    let leases = stage.set.installation.events()?;
    let leases = leases
        .iter()
        .filter(|event| event["record"] == "lease")
        .count();
    assert!((1..=4).contains(&leases), "{leases}");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_goes_takes_its_answers_along_within_two_seconds() -> Result<()> {
    let (stage, _directory) = pod().await?;
    for _ in 0..16 {
        let reply = client::http1(stage.address, client::get(STRIPE, CHARGES)?).await?;
        assert_eq!(reply.status, 200);
    }
    let mut connections = Vec::new();
    for _ in 0..6 {
        connections.push(Connection::plaintext(stage.address).await?);
    }
    fs::remove_file(
        stage
            .set
            .installation
            .policies()
            .join("credential-policy.yaml"),
    )?;
    let changed = Instant::now();
    let mut last_permitted = Duration::ZERO;
    while changed.elapsed() < Duration::from_secs(5) {
        for connection in &mut connections {
            if connection.ask(client::get(STRIPE, CHARGES)?).await?.status == 200 {
                last_permitted = changed.elapsed();
            }
        }
    }
    // One second until the change is in force, which the server promises, and two from there.
    assert!(
        last_permitted < Duration::from_secs(3),
        "{last_permitted:?}"
    );
    let refused = client::http1(stage.address, client::get(STRIPE, CHARGES)?).await?;
    assert_eq!(refused.status, 403);
    Ok(())
}

#[tokio::test]
async fn a_request_of_another_target_is_refused_by_the_edge_and_recorded() -> Result<()> {
    let (stage, _directory) = pod().await?;
    let reply = client::http1(stage.address, client::get("elsewhere.example", "/x")?).await?;
    assert_eq!(
        (reply.status, reply.code()),
        (403, Some("destination-not-vouched"))
    );
    let event = stage.event_of(&reply).await?;
    assert_eq!(event["outcome"], "denied");
    let overriding = [("x-http-method-override", "DELETE")];
    let mut request = client::get(STRIPE, CHARGES)?;
    for (name, value) in overriding {
        request.headers_mut().insert(name, value.parse()?);
    }
    let reply = client::http1(stage.address, request).await?;
    assert_eq!(
        (reply.status, reply.code()),
        (403, Some("request-overridden"))
    );
    Ok(())
}
