//! Credentials of a slow provider, through the real Envoy and the real edge: asked for once, refreshed before anybody
//! waits, not missed while the provider is away, decided again when policy changed meanwhile, and no more of them at
//! once than the edge is to take.
//!
//! `make soak` makes a burst of a thousand (`ATTACHE_BURST_CALLS`) and ten minutes of traffic
//! (`ATTACHE_STEADY_SECONDS`); `make test` makes less.

use std::{fs, process::Command, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    admin,
    attache::{EdgePlan, PATIENT},
    client::{self, Reply, with_evidence},
    quickstart::STRIPE,
    stage::{Script, Set, Stage},
    target::Offers,
    token_server::{Manner, TokenServer},
    wait::until,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, sleep},
};

/// Anybody of the namespace may call, with a token of the server.
fn policies(server: &TokenServer) -> String {
    format!(
        "apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: anybody }}
spec: {{ match: [ {{ k8s.namespace: production }} ] }}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{ name: slow }}
spec:
  type: oauth2-client-credentials
  hosts: [{STRIPE}]
  tokenEndpoint: {url}
  clientId: shop
  clientAuthentication: {{ method: client-secret-basic, secret: \"file:secrets/slow\" }}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: slow }}
spec: {{ host: {STRIPE}, paths: [/slow], authentication: {{ method: bearer }} }}
---
{POLICY}",
        url = server.url()
    )
}

const POLICY: &str = "apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: slow }
spec: { effect: allow, client: anybody, server: slow, trustProviders: [cluster], credentialProvider: slow, actions: [all] }
";

/// An edge that waits for a moment only, and for no disk.
const HASTY: [&str; 2] = [
    "ATTACHE_EDGE_ANSWER_WITHIN=400ms",
    "ATTACHE_AUDIT_DURABILITY=background",
];

/// A stage before the server.
async fn stage(server: &TokenServer, environment: &[&str]) -> Result<Stage> {
    let set = Set::build(Script {
        plan: EdgePlan {
            settings: vec!["outbound: { allow_networks: [127.0.0.0/8] }".to_owned()],
            ..EdgePlan::default()
        },
        policies: vec![("slow.yaml", policies(server))],
        // A thousand streams at once are more than the target takes over HTTP/2.
        stripe_offers: Offers::Http1,
        ..Script::default()
    })
    .await?;
    let secrets = set.installation.directory().join("secrets");
    fs::create_dir(&secrets)?;
    fs::write(secrets.join("slow"), "secret")?;
    let bootstrap = set.patient_bootstrap()?;
    let mut command = Command::new("env");
    command.args(environment);
    let mut attache = set.installation.launch_under(command)?;
    attache.ready().await?;
    set.open_behind(bootstrap, attache).await
}

/// How much of something is wanted.
fn number<N: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    variable: &str,
    usual: N,
) -> Result<N> {
    let wanted = std::env::var(variable).ok();
    Ok(wanted.map_or(Ok(usual), |text| text.parse())?)
}

fn request(token: &str) -> Result<Request<Full<Bytes>>> {
    with_evidence(client::get(STRIPE, "/slow")?, token)
}

async fn call(stage: &Stage, token: &str) -> Result<Reply> {
    client::http1(stage.address, request(token)?).await
}

/// A counter of the provider's.
async fn counted(stage: &Stage, metric: &str, result: &str) -> Result<u64> {
    let (_, text) = admin::text(&stage.set.installation.admin(), "/metrics").await?;
    let line =
        format!("attache_credential_{metric}_total{{provider=\"slow\",result=\"{result}\"}} ");
    let value = text.lines().find_map(|found| found.strip_prefix(&line));
    Ok(value
        .with_context(|| format!("no {line} in {text}"))?
        .parse()?)
}

/// `count` calls at once over a few connections; their statuses.
async fn burst(
    stage: &Stage,
    token: &str,
    connections: usize,
    count: usize,
) -> Result<Vec<(u16, String)>> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let stream = TokioIo::new(TcpStream::connect(stage.address).await?);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        for _ in 0..count / connections {
            let (mut sender, mut request) = (sender.clone(), request(token)?);
            request.headers_mut().remove("host");
            tasks.spawn(async move {
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let code = answer.headers().get("x-attache-code");
                anyhow::Ok((answer.status().as_u16(), format!("{code:?}")))
            });
        }
    }
    tasks.join_all().await.into_iter().collect()
}

// The provider answers on a thread of its own, whatever the callers do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_cold_requests_of_one_workload_is_one_call_to_the_provider() -> Result<()> {
    let count = number("ATTACHE_BURST_CALLS", 300)?;
    let manner = Manner {
        takes: Duration::from_millis(300),
        lives: 600,
    };
    let server = TokenServer::start(manner, 64).await?;
    let stage = stage(&server, &[PATIENT]).await?;
    let statuses = burst(&stage, &stage.payment_token()?, 10, count).await?;
    let others: Vec<_> = statuses
        .iter()
        .filter(|(status, _)| *status != 200)
        .collect();
    if let Some(other) = others.first() {
        let log = stage.envoy.access_log().into_iter();
        let lines: Vec<_> = log.filter(|line| line["status"] != 200).take(3).collect();
        anyhow::bail!("{} answers such as {other:?}: {lines:?}", others.len());
    }
    assert_eq!(statuses.len(), count);
    assert_eq!(server.asked(), 1);
    for received in stage.set.stripe.received() {
        assert_eq!(received.bearer().as_deref(), Some("token-0"));
    }
    Ok(())
}

/// Calls at a steady pace until `done`; every one must be permitted.
async fn steady(
    stage: &Stage,
    what: &str,
    mut done: impl AsyncFnMut() -> Result<bool>,
) -> Result<usize> {
    let mut token = String::new();
    let mut pace = interval(Duration::from_millis(25));
    for number in 1.. {
        pace.tick().await;
        // Evidence of this cluster lives ten minutes.
        if number % 1000 == 1 {
            token = stage.payment_token()?;
        }
        let reply = call(stage, &token).await?;
        ensure!(reply.status == 200, "{what}, call {number}: {reply:?}");
        if done().await? {
            return Ok(number);
        }
    }
    anyhow::bail!("it ended")
}

#[tokio::test]
async fn steady_traffic_over_refreshes_waits_once_for_the_first_credential_and_never_again()
-> Result<()> {
    let seconds: u64 = number("ATTACHE_STEADY_SECONDS", 14)?;
    let manner = Manner {
        takes: Duration::from_millis(150),
        lives: 6,
    };
    let server = TokenServer::start(manner, 64).await?;
    let stage = stage(&server, &[PATIENT]).await?;
    let began = Instant::now();
    let over = async || Ok(began.elapsed() >= Duration::from_secs(seconds));
    let calls = steady(&stage, "steadily", over).await?;
    assert_eq!(counted(&stage, "requests", "awaited").await?, 1);
    assert_eq!(counted(&stage, "requests", "failed").await?, 0);
    let kept = counted(&stage, "requests", "kept").await?;
    assert_eq!(usize::try_from(kept)?, calls - 1);
    assert_eq!(counted(&stage, "fetches", "obtained").await?, 1);
    let refreshes = counted(&stage, "refreshes", "obtained").await?;
    let least = seconds.div_euclid(6).max(1);
    ensure!(refreshes >= least, "{refreshes} refreshes in {seconds} s");
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_away_for_most_of_a_lifetime_fails_no_call() -> Result<()> {
    let manner = Manner {
        takes: Duration::ZERO,
        lives: 16,
    };
    let mut server = TokenServer::start(manner, 64).await?;
    let stage = stage(&server, &[PATIENT]).await?;
    let began = Instant::now();
    assert_eq!(call(&stage, &stage.payment_token()?).await?.status, 200);
    server.stop();
    let late = async || Ok(began.elapsed() >= Duration::from_secs(13));
    steady(&stage, "while the provider is away", late).await?;
    ensure!(counted(&stage, "refreshes", "failed").await? > 0);
    server.resume().await?;
    let stripe = &stage.set.stripe;
    let renewed = async || {
        let bearer = stripe.last()?.bearer();
        Ok(bearer.is_some_and(|token| token != "token-0"))
    };
    steady(&stage, "when it is back", renewed).await?;
    assert_eq!(counted(&stage, "requests", "failed").await?, 0);
    assert_eq!(counted(&stage, "requests", "awaited").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_call_whose_policy_goes_while_its_provider_is_slow_is_decided_again() -> Result<()> {
    let manner = Manner {
        takes: Duration::from_secs(3),
        lives: 600,
    };
    let server = TokenServer::start(manner, 64).await?;
    let stage = stage(&server, &[PATIENT]).await?;
    // Nothing else allows this caller anything.
    let token = stage.set.cluster.token("production", "another")?;
    let (address, asking) = (stage.address, request(&token)?);
    let waiting = tokio::spawn(async move { client::http1(address, asking).await });
    until("the provider to be asked", async || {
        (server.asked() == 1).then_some(())
    })
    .await?;
    let without = policies(&server).replace(&format!("---\n{POLICY}"), "");
    stage.set.installation.policy("slow.yaml", &without)?;
    let reloaded = stage.set.installation.run(&["reload"])?;
    ensure!(reloaded.status.success(), "{reloaded:?}");
    let reply = waiting.await??;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(reply.code(), Some("attribute-mismatch"), "{reply:?}");
    assert_eq!(stage.event_of(&reply).await?["outcome"], "denied");
    ensure!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_first_call_that_a_slow_provider_keeps_waiting_has_the_providers_code() -> Result<()> {
    let manner = Manner {
        takes: Duration::from_secs(1),
        lives: 600,
    };
    let mut server = TokenServer::start(manner, 64).await?;
    let stage = stage(&server, &HASTY).await?;
    let token = stage.payment_token()?;
    let reply = call(&stage, &token).await?;
    let code = Some("provider-timeout");
    assert_eq!((reply.status, reply.code()), (503, code), "{reply:?}");
    // It was fetched all the same.
    until("the credential", async || {
        let reply = call(&stage, &token).await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await?;
    assert_eq!(server.asked(), 1);
    server.stop();
    let other = stage.set.cluster.token("production", "another")?;
    let reply = call(&stage, &other).await?;
    assert_eq!(reply.code(), Some("provider-unreachable"), "{reply:?}");
    ensure!(reply.header("retry-after").is_some(), "{reply:?}");
    Ok(())
}

/// What the edge takes at once, which is what the provider serves at once.
const CAPACITY: usize = 8;

/// In kilobytes (proc(5), `VmRSS`).
fn resident(stage: &Stage) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", stage.attache.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmRSS")?.parse()?)
}

/// What was answered, and how long it took.
#[derive(Default)]
struct Load {
    taken: Vec<Duration>,
    turned_away: usize,
}

impl Load {
    fn p99(&mut self) -> Result<Duration> {
        self.taken.sort_unstable();
        let at = self.taken.len() * 99 / 100;
        self.taken.get(at).copied().context("nothing was taken")
    }
}

/// `callers` at once, each asking `calls` times, each time for a workload that nobody asked for before.
async fn load(stage: &Arc<Stage>, name: &str, callers: usize, calls: usize) -> Result<Load> {
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (stage, name) = (Arc::clone(stage), name.to_owned());
        tasks.spawn(async move {
            let mut load = Load::default();
            for number in 0..calls {
                let account = format!("{name}-{caller}-{number}");
                let token = stage.set.cluster.token("production", &account)?;
                let began = Instant::now();
                let reply = call(&stage, &token).await?;
                match (reply.status, reply.code()) {
                    (200, _) => load.taken.push(began.elapsed()),
                    (503, Some("overloaded")) => {
                        load.turned_away += 1;
                        sleep(Duration::from_millis(100)).await;
                    }
                    other => anyhow::bail!("{other:?}: {reply:?}"),
                }
            }
            Ok(load)
        });
    }
    let mut all = Load::default();
    for one in tasks.join_all().await {
        let one = one?;
        all.taken.extend(one.taken);
        all.turned_away += one.turned_away;
    }
    Ok(all)
}

#[tokio::test]
async fn at_three_times_capacity_before_a_slow_provider_the_rest_is_turned_away_and_nothing_grows()
-> Result<()> {
    let manner = Manner {
        takes: Duration::from_millis(500),
        lives: 600,
    };
    let server = TokenServer::start(manner, CAPACITY).await?;
    let limit = format!("ATTACHE_EDGE_MAX_CALLS_IN_FLIGHT={CAPACITY}");
    let stage = Arc::new(stage(&server, &[PATIENT, &limit]).await?);
    let mut unloaded = load(&stage, "unloaded", CAPACITY, 8).await?;
    assert_eq!(unloaded.turned_away, 0);
    let before = resident(&stage)?;
    let mut loaded = load(&stage, "loaded", 3 * CAPACITY, 24).await?;
    ensure!(loaded.taken.len() > 50, "{} taken", loaded.taken.len());
    ensure!(loaded.turned_away > loaded.taken.len());
    let (usual, under_load) = (unloaded.p99()?, loaded.p99()?);
    ensure!(
        under_load <= usual * 2,
        "{usual:?} unloaded, {under_load:?} under load"
    );
    let after = resident(&stage)?;
    ensure!(
        after <= before + before / 10 + 2048,
        "{before} kB before, {after} kB after"
    );
    Ok(())
}
