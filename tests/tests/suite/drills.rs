//! What goes wrong around a running server: its clock, its name servers, its limit of open files. What it cannot
//! know for sure it refuses, and it goes on by itself when the trouble is over.

use std::{os::unix::net::UnixStream, process::Command};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::Attache,
    authorize,
    client::{self, Reply, with_evidence},
    faults::{Faults, Names},
    quickstart::STRIPE,
    stage::{CHARGES, Script, Set, Stage},
    wait::until,
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::transport::Channel;

const HOURS: i64 = 3 * 3600;

async fn faulty(script: Script) -> Result<(Stage, Faults)> {
    let set = Set::build(script).await?;
    let faults = Faults::none(set.installation.directory())?;
    let mut attache = set.installation.launch_under(faults.environment())?;
    attache.ready().await?;
    Ok((set.open_with(attache).await?, faults))
}

/// Evidence of a cluster whose clock is so many seconds ahead of this machine's.
fn evidence(stage: &Stage, ahead: i64) -> Result<String> {
    let cluster = &stage.set.cluster;
    let mut claims = cluster.claims("production", "payment-svc");
    for (name, from_now) in [("iat", 0), ("nbf", 0), ("exp", 600)] {
        claims[name] = json!(Timestamp::now().as_second() + ahead + from_now);
    }
    cluster.sign(&claims)
}

async fn ask(stage: &Stage, token: &str) -> Result<Reply> {
    let request = with_evidence(client::get(STRIPE, CHARGES)?, token)?;
    client::http1(stage.address, request).await
}

/// The claims of the token that the target got last.
fn injected(stage: &Stage) -> Result<Value> {
    let token = stage.set.stripe.last()?.bearer().context("no token")?;
    let claims = token.split('.').nth(1).context("no claims")?;
    let bytes = Base64UrlUnpadded::decode_vec(claims)
        .ok()
        .context("no base64url")?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[tokio::test]
async fn a_clock_that_is_hours_wrong_gives_nothing_stale_and_recovers_when_it_is_right()
-> Result<()> {
    let (stage, mut faults) = faulty(Script::default()).await?;
    assert_eq!(ask(&stage, &evidence(&stage, 0)?).await?.status, 200);
    for ahead in [HOURS, -HOURS] {
        faults.clock(ahead)?;
        // Evidence of everybody else's time is from the wrong time.
        let reply = ask(&stage, &evidence(&stage, 0)?).await?;
        let expected = if ahead > 0 {
            "token-expired"
        } else {
            "token-not-yet-valid"
        };
        assert_eq!(
            (reply.status, reply.code()),
            (403, Some(expected)),
            "{ahead}"
        );
        // Evidence of its own time is good, and what is attached is fresh by that time, never what was kept from
        // another.
        let reply = ask(&stage, &evidence(&stage, ahead)?).await?;
        assert_eq!(reply.status, 200, "{ahead}: {reply:?}");
        let there = Timestamp::now().as_second() + ahead;
        let fresh = until("a token of that time", async || {
            let reply = ask(&stage, &evidence(&stage, ahead).ok()?).await.ok()?;
            let claims = injected(&stage).ok().filter(|_| reply.status == 200)?;
            let (from, to) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
            (from <= there + 60 && there < to).then_some(claims)
        });
        fresh.await?;
        faults.clock(0)?;
        let reply = ask(&stage, &evidence(&stage, 0)?).await?;
        assert_eq!(reply.status, 200, "{ahead}: {reply:?}");
        let now = Timestamp::now().as_second();
        ensure!(
            injected(&stage)?["exp"].as_i64() > Some(now),
            "expired after {ahead}"
        );
    }
    ensure!(stage.set.installation.run(&["status"])?.status.success());
    Ok(())
}

/// A cluster whose keys stand at a URL with a name in it.
fn named_provider(set: &Set) -> Result<()> {
    let keys = set.cluster.keys_url();
    let port = keys
        .split(':')
        .nth(2)
        .and_then(|rest| rest.split('/').next());
    let port = port.context("no port")?;
    let document = format!(
        "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: named }}\n\
         spec: {{ type: oidc, issuer: \"https://localhost:{port}\" }}\n"
    );
    set.installation.policy("named.yaml", &document)
}

async fn with_failing_names(names: Names) -> Result<()> {
    let set = Set::build(Script::default()).await?;
    named_provider(&set)?;
    let mut faults = Faults::none(set.installation.directory())?;
    faults.names(names)?;
    let mut attache: Attache = set.installation.launch_under(faults.environment())?;
    attache.ready().await?;
    let stage = set.open_with(attache).await?;
    // Providers whose addresses need no name server are not touched by it.
    for _ in 0..20 {
        assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    }
    let status = stage.set.installation.run(&["status"])?;
    let status = String::from_utf8(status.stdout)?;
    let line = status.lines().find(|line| line.contains("localhost"));
    let line = line.with_context(|| status.clone())?;
    ensure!(line.contains("no keys yet; last fetch failed"), "{line}");
    faults.names(Names::Answer)?;
    // The server's certificate is for its address: that the name is known again shows in the error.
    until("the name", async || {
        let status = stage.set.installation.run(&["status"]).ok()?;
        let status = String::from_utf8(status.stdout).ok()?;
        let line = status.lines().find(|line| line.contains("localhost"))?;
        line.contains("certificate").then_some(())
    })
    .await
}

#[tokio::test]
async fn name_servers_that_fail_stop_only_what_needs_them() -> Result<()> {
    with_failing_names(Names::Fail).await
}

#[tokio::test]
async fn name_servers_that_hang_stop_only_what_needs_them() -> Result<()> {
    with_failing_names(Names::Hang).await
}

#[tokio::test]
async fn without_files_to_open_calls_on_open_connections_go_on_and_others_follow_when_there_are_some()
-> Result<()> {
    let set = Set::build(Script::default()).await?;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 96 && ulimit -Hn 96 && exec \"$@\"", "sh"]);
    let mut attache = set.installation.launch_under(command)?;
    attache.ready().await?;
    let socket = set.installation.socket();
    let open = authorize::over_unix(&socket).await?;
    let token = set.cluster.token("production", "payment-svc")?;
    let permitted = async |channel: &Channel| {
        let answer = authorize::check(channel.clone(), authorize::charges(&token)).await;
        answer.is_ok_and(|answer| authorize::holds_a_token(&answer))
    };
    ensure!(permitted(&open).await);
    // Known peers that open all that there is, and say nothing.
    let hogs: Vec<_> = (0..200)
        .filter_map(|_| UnixStream::connect(&socket).ok())
        .collect();
    until("the files to run out", async || {
        attache
            .process
            .errors()
            .contains("Too many open files")
            .then_some(())
    })
    .await?;
    for _ in 0..20 {
        ensure!(permitted(&open).await);
    }
    drop(hogs);
    until("the commands to be answered", async || {
        let status = set.installation.run(&["status"]).ok()?;
        status.status.success().then_some(())
    })
    .await?;
    ensure!(permitted(&authorize::over_unix(&socket).await?).await);
    // Told, but not once for each connection that could not be taken.
    let told = attache
        .process
        .errors()
        .matches("Too many open files")
        .count();
    ensure!(told < 50, "{told} lines");
    Ok(())
}
