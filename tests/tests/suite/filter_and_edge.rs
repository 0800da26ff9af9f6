//! The filter in a real Envoy with two workers, before a real edge: what the log holds, and how fast a policy ends.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    client,
    filter::Connection,
    kept::{next, tokens, watch},
    quickstart::STRIPE,
    stage::{Set, Stage},
    wait::until,
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

const SVID: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";

/// A deny of everything that the quick start's policy allows.
const NOTHING: &str = r#"apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: stripe}
spec: {host: api.stripe.com}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: nothing}
spec:
  client: payment-service
  server: stripe
  effect: deny
  actions: [all]
"#;

/// A pod behind `filter-outbound.yaml`, and the folder of its token.
async fn pod() -> Result<(Stage, TempDir)> {
    let folder = tempfile::tempdir()?;
    let set = Set::of_pod("payment-svc", folder.path()).await?;
    let attache = set.installation.start().await?;
    let bootstrap = set.filter_bootstrap(set.stripe.address()).await?;
    Ok((set.open_behind(bootstrap, attache).await?, folder))
}

/// Asks `count` times for paths of its own, on one connection; whether each got through.
async fn ask_on(address: SocketAddr, worker: usize, count: usize) -> Result<()> {
    let mut connection = Connection::plaintext(address).await?;
    for number in 0..count {
        let path = format!("/v1/charges/{worker}-{number}");
        let reply = connection.ask(client::get(STRIPE, &path)?).await?;
        ensure!(
            reply.status == 200,
            "{path}: {} {:?}",
            reply.status,
            reply.code()
        );
    }
    Ok(())
}

fn of_kind(events: &[Value], record: &str) -> Vec<Value> {
    let of = events.iter().filter(|event| event["record"] == record);
    of.cloned().collect()
}

/// How often each path stands in the log as answered from memory.
fn paths(stage: &Stage) -> Result<BTreeMap<String, usize>> {
    let mut paths = BTreeMap::new();
    for event in of_kind(&stage.set.installation.events()?, "cached") {
        ensure!(event["workload_svid"] == SVID, "{event}");
        let path = event["request_path"].as_str().context("no path")?;
        *paths.entry(path.to_owned()).or_default() += 1;
    }
    Ok(paths)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_burst_leaves_one_token_and_every_access_under_its_lease() -> Result<()> {
    let (stage, _folder) = pod().await?;
    let mut asking = JoinSet::new();
    for worker in 0..100 {
        asking.spawn(ask_on(stage.address, worker, 1));
    }
    asking
        .join_all()
        .await
        .into_iter()
        .collect::<Result<()>>()?;
    let received = stage.set.stripe.received();
    ensure!(received.iter().all(|request| request.bearer().is_some()));
    let paths = until("every access in the log", async || {
        paths(&stage).ok().filter(|paths| paths.len() >= 100)
    })
    .await?;
    ensure!(paths.values().all(|count| *count == 1), "{paths:?}");
    let events = stage.set.installation.events()?;
    let leases = of_kind(&events, "lease");
    // One question; a second of the other worker, should the edge have taken longer than the first may last.
    ensure!(matches!(leases.len(), 1 | 2), "{} leases", leases.len());
    let ids: Vec<&Value> = leases.iter().map(|lease| &lease["event_id"]).collect();
    for event in of_kind(&events, "lease")
        .iter()
        .chain(&of_kind(&events, "cached"))
    {
        assert_eq!(event["token_id"], leases[0]["token_id"]);
    }
    for event in of_kind(&events, "cached") {
        assert!(ids.contains(&&event["lease"]), "{event}");
        assert_eq!(event["reported"]["status"], 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_warm_access_stands_in_the_log_once_with_the_edge_killed_in_between() -> Result<()> {
    const WORKERS: usize = 8;
    const EACH: usize = 2_500;
    let (mut stage, _folder) = pod().await?;
    ask_on(stage.address, WORKERS, 16).await?;
    let mut asking = JoinSet::new();
    for worker in 0..WORKERS {
        asking.spawn(ask_on(stage.address, worker, EACH));
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(700)).await;
        stage.attache.process.kill()?;
        sleep(Duration::from_millis(300)).await;
        stage.attache = stage.set.installation.start().await?;
    }
    asking
        .join_all()
        .await
        .into_iter()
        .collect::<Result<()>>()?;
    let wanted = WORKERS * EACH + 16;
    let paths = until("every access in the log", async || {
        paths(&stage).ok().filter(|paths| paths.len() >= wanted)
    })
    .await
    .with_context(|| stage.attache.process.errors())?;
    assert_eq!(paths.len(), wanted);
    let twice: Vec<_> = paths.iter().filter(|(_, count)| **count > 1).collect();
    ensure!(twice.is_empty(), "{twice:?}");
    let lost = of_kind(&stage.set.installation.events()?, "lost");
    ensure!(lost.is_empty(), "{lost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_ends_lets_nothing_through_two_seconds_later() -> Result<()> {
    let (stage, _folder) = pod().await?;
    ask_on(stage.address, 0, 16).await?;
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(Connection::plaintext(stage.address).await?);
    }
    let client = tokens(&stage.set.installation.socket()).await?;
    let mut states = watch(&client).await?;
    let before = next(&mut states).await?.revision;
    stage.set.installation.policy("nothing.yaml", NOTHING)?;
    while next(&mut states).await?.revision == before {}
    let changed = Instant::now();
    let mut last_permitted = Duration::ZERO;
    let mut refused = 0;
    while changed.elapsed() < Duration::from_secs(6) {
        for connection in &mut connections {
            let reply = connection
                .ask(client::get(STRIPE, "/v1/charges/x")?)
                .await?;
            if reply.status == 200 {
                last_permitted = changed.elapsed();
                refused = 0;
            } else {
                assert_eq!(
                    (reply.status, reply.code()),
                    (403, Some("denied-by-policy"))
                );
                refused += 1;
            }
        }
    }
    ensure!(refused >= connections.len(), "{refused}");
    ensure!(
        last_permitted < Duration::from_secs(2),
        "{last_permitted:?}"
    );
    Ok(())
}

/// The `jti`'s key: the `kid` of a token.
fn kid(token: &str) -> Option<String> {
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    header["kid"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_revoked_key_is_attached_for_less_than_two_seconds() -> Result<()> {
    let (stage, _folder) = pod().await?;
    ask_on(stage.address, 0, 16).await?;
    let before = stage.set.stripe.last()?.bearer().context("no token")?;
    let revoked = kid(&before).context("no kid")?;
    let client = tokens(&stage.set.installation.socket()).await?;
    let mut states = watch(&client).await?;
    let first = next(&mut states).await?.generation;
    let told = stage.set.installation.run(&["keys", "revoke", &revoked])?;
    ensure!(told.status.success(), "{told:?}");
    while next(&mut states).await?.generation == first {}
    let changed = Instant::now();
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(Connection::plaintext(stage.address).await?);
    }
    let (mut last_of_old, mut served) = (Duration::ZERO, 0);
    while changed.elapsed() < Duration::from_secs(4) {
        for connection in &mut connections {
            let reply = connection
                .ask(client::get(STRIPE, "/v1/charges/x")?)
                .await?;
            if reply.status != 200 {
                continue;
            }
            served += 1;
            let token = stage.set.stripe.last()?.bearer().context("no token")?;
            if kid(&token).as_ref() == Some(&revoked) {
                last_of_old = changed.elapsed();
            }
        }
    }
    ensure!(served > 0, "nobody is served any more");
    ensure!(last_of_old < Duration::from_secs(2), "{last_of_old:?}");
    Ok(())
}
