//! Memory that stays flat: after many calls, and under more of them than are taken at once. Ratios, so that they
//! hold on any machine; `make soak` makes a million calls.

use std::{fs, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{EdgePlan, Installation},
    authority::Authority,
    authorize,
    cluster::Cluster,
    quickstart,
    wait::until,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::transport::Channel;

/// How many callers there are; each is a workload with its own token.
const CALLERS: usize = 16;

struct Edge {
    installation: Arc<Installation>,
    attache: attache_tests::attache::Attache,
    tokens: Vec<String>,
    _cluster: Cluster,
}

impl Edge {
    async fn start(environment: &[&str]) -> Result<Self> {
        let authority = Authority::new("the soak's authority")?;
        let cluster = Cluster::start(&authority).await?;
        let installation = Installation::new(&EdgePlan::default()).await?;
        let roots = installation.directory().join("ca.crt");
        authority.write(&roots)?;
        quickstart::write(&installation.policies(), &cluster, &roots)?;
        let mut command = Command::new("env");
        command.args(environment);
        let mut attache = installation.launch_under(command)?;
        attache.ready().await?;
        let token = |number| {
            let mut claims = cluster.claims("production", "payment-svc");
            claims["jti"] = format!("token-{number}").into();
            claims["exp"] = (jiff::Timestamp::now().as_second() + 86_000).into();
            cluster.sign(&claims)
        };
        let tokens = (0..CALLERS).map(token).collect::<Result<_>>()?;
        Ok(Self {
            installation,
            attache,
            tokens,
            _cluster: cluster,
        })
    }

    async fn channel(&self) -> Result<Channel> {
        let socket = self.installation.socket();
        until("the socket", async || {
            authorize::over_unix(&socket).await.ok()
        })
        .await
    }

    /// In kilobytes (proc(5), `VmRSS`).
    fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.attache.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("no VmRSS")?.parse()?)
    }

    /// Makes `calls` calls, `at_once` at a time; how many were permitted and how many turned away.
    async fn call(&self, calls: usize, at_once: usize) -> Result<(usize, usize)> {
        let channel = self.channel().await?;
        let leave = Arc::new(Semaphore::new(at_once));
        let mut tasks = JoinSet::new();
        let (mut permitted, mut turned_away) = (0, 0);
        let mut count = |answer: Result<bool>| {
            match answer? {
                true => permitted += 1,
                false => turned_away += 1,
            }
            anyhow::Ok(())
        };
        for number in 0..calls {
            let leave = Arc::clone(&leave).acquire_owned().await?;
            while let Some(done) = tasks.try_join_next() {
                count(done?)?;
            }
            let token = self.tokens.get(number % CALLERS).context("a token")?;
            let question = authorize::asking("GET", &format!("/v1/charges?n={number}"), token);
            let channel = channel.clone();
            tasks.spawn(async move {
                let _leave = leave;
                let answer = authorize::check(channel, question).await?;
                Ok(authorize::holds_a_token(&answer))
            });
        }
        while let Some(done) = tasks.join_next().await {
            count(done?)?;
        }
        Ok((permitted, turned_away))
    }
}

/// Whether `later` is at most a tenth above `before`, and a megabyte, which is what an allocator keeps.
fn flat(before: u64, later: u64) -> bool {
    later <= before + before / 10 + 1024
}

#[tokio::test]
async fn memory_after_many_calls_is_what_it_was_after_the_first_of_them() -> Result<()> {
    let many = std::env::var("ATTACHE_SOAK_CALLS").ok();
    let many: usize = many.map_or(Ok(12_000), |text| text.parse())?;
    let first = (many / 3).min(10_000);
    // However busy the machine is: none of them is to be answered for want of time.
    let edge = Edge::start(&["ATTACHE_EDGE_ANSWER_WITHIN=30s"]).await?;
    assert_eq!(edge.call(first, 32).await?, (first, 0));
    let before = edge.resident()?;
    assert_eq!(edge.call(many - first, 32).await?, (many - first, 0));
    let after = edge.resident()?;
    ensure!(
        flat(before, after),
        "{before} kB after {first} calls, {after} kB after {many}"
    );
    Ok(())
}

#[tokio::test]
async fn memory_does_not_grow_with_the_calls_that_are_turned_away() -> Result<()> {
    let edge = Edge::start(&["ATTACHE_EDGE_MAX_CALLS_IN_FLIGHT=8"]).await?;
    let (permitted, _) = edge.call(4_000, 24).await?;
    ensure!(permitted > 0);
    let before = edge.resident()?;
    let (permitted, turned_away) = edge.call(8_000, 24).await?;
    ensure!(permitted > 0 && permitted + turned_away == 8_000);
    let after = edge.resident()?;
    ensure!(flat(before, after), "{before} kB, then {after} kB");
    Ok(())
}
