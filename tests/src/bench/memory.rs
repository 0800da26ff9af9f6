//! The group `memory`: what runs take of memory, of disk and of time before they can be used.

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, by a clock finer than the runtime's"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use envoy_types::ext_authz::v3::pb::CheckRequest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{
    Plan,
    asker::{Expected, askers, connect, install},
    envoy, floor, load,
    progress::tell,
    proxy::{self, HOST, Proxy, Servers},
    results::{Metric, Samples},
    sets::{self, Target},
    usage::Memory,
};
use crate::{
    admin,
    attache::{Attache, EdgePlan, Installation},
    authority::Authority,
    authorize,
    client::EVIDENCE,
    cluster::Cluster,
    filter,
    wait::until_at,
};

const GROUP: &str = "memory";
/// Policies of the set.
const POLICIES: usize = 100;
/// Rounds at most: each of them makes as many requests as all rounds of the other groups together.
const MOST_ROUNDS: usize = 3;
/// How long a process may take to give back what a load left over.
const SETTLING: Duration = Duration::from_millis(500);
/// How often a process that starts is asked whether it is ready.
const PACE: Duration = Duration::from_millis(1);

/// The stage of the group.
pub struct Bench {
    authority: Authority,
    cluster: Cluster,
    calls: Arc<Vec<CheckRequest>>,
    two_headers: PathBuf,
    filter: PathBuf,
    directory: TempDir,
}

impl Bench {
    /// Prepares tokens and filters.
    pub async fn open(plan: &Plan) -> Result<Self> {
        tell("preparing tokens and filters");
        let authority = Authority::new("the benchmark's own authority")?;
        let cluster = Cluster::start(&authority).await?;
        let calls = sets::calls(&cluster, POLICIES, plan.workloads, Target::Own)?;
        Ok(Self {
            authority,
            cluster,
            calls: Arc::new(calls),
            two_headers: filter::built("attache-two-headers").await?,
            filter: filter::wasm().await?,
            directory: tempfile::tempdir()?,
        })
    }

    /// How often everything is measured.
    pub fn rounds(plan: &Plan) -> usize {
        plan.rounds.get().min(MOST_ROUNDS)
    }

    /// Measures everything once.
    pub async fn round(&self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        let edge = EdgePlan::default();
        let installation = install(&self.authority, &self.cluster, &edge, (POLICIES, "")).await?;
        self.starts(&installation, samples).await?;
        let attache = installation.start().await?;
        self.server(&attache, &installation, plan, samples).await?;
        self.filters(&installation, samples).await?;
        self.sizes(&installation, samples)
    }

    /// From nothing to ready: the very first time, when keys are made, and each time after it.
    async fn starts(&self, installation: &Arc<Installation>, samples: &mut Samples) -> Result<()> {
        let mut note = |name, floor, took: Duration| {
            let micros = took.as_secs_f64() * 1e6;
            samples.note((GROUP, name, floor), Metric::Time, micros);
        };
        let began = Instant::now();
        let printed = Command::new(installation.binary())
            .arg("--version")
            .output()?;
        note("start-version", None, began.elapsed());
        ensure!(printed.status.success(), "attache has no version");
        let floor = Some("start-version");
        note("start-first", floor, started(installation).await?);
        note("start", floor, started(installation).await?);
        Ok(())
    }

    /// The server: idle, with all workloads' credentials, and after many requests.
    async fn server(
        &self,
        attache: &Attache,
        installation: &Installation,
        plan: &Plan,
        samples: &mut Samples,
    ) -> Result<()> {
        let id = attache.process.id();
        let mut note = |[name, own]: [&str; 2], floor: Option<[&str; 2]>, held: Memory| {
            let [floor, floor_own] = floor.map_or([None, None], |floor| floor.map(Some));
            samples.note((GROUP, name, floor), Metric::Rss, held.resident);
            samples.note((GROUP, own, floor_own), Metric::Rss, held.own);
        };
        let idle = Memory::of(id)?;
        let channels = connect(&installation.socket()).await?;
        let empty = self.empty(&channels, plan).await?;
        let floor = ["empty", "empty-own"];
        note(floor, None, empty);
        note(["attache-idle", "attache-idle-own"], Some(floor), idle);
        let mut askers = askers(&channels, &Arc::default(), &self.calls, Expected::Token);
        load::each_once(&mut askers, plan.workloads as u64).await?;
        tokio::time::sleep(SETTLING).await;
        let warm = ["attache-warm", "attache-warm-own"];
        note(warm, Some(floor), Memory::of(id)?);
        load::each_once(&mut askers, plan.requests).await?;
        tokio::time::sleep(SETTLING).await;
        let loaded = ["attache-loaded", "attache-loaded-own"];
        note(loaded, Some(warm), Memory::of(id)?);
        Ok(())
    }

    /// The server that does nothing, after as many calls as warm the other.
    async fn empty(&self, channels: &[Channel], plan: &Plan) -> Result<Memory> {
        let channel = channels.first().context("no connection")?.clone();
        let call = self.calls.first().context("no call")?.clone();
        let answer = authorize::check(channel, call).await?;
        Expected::Token.hold(&answer)?;
        let socket = self.directory.path().join("empty.sock");
        let nothing = floor::Work::Nothing;
        let process = floor::start(&socket, &answer, nothing, self.directory.path()).await?;
        let channels = connect(&socket).await?;
        let mut askers = askers(&channels, &Arc::default(), &self.calls, Expected::Token);
        load::each_once(&mut askers, plan.workloads as u64).await?;
        let held = Memory::of(process.id())?;
        drop(process);
        fs::remove_file(&socket)?;
        Ok(held)
    }

    /// Envoys of one worker with and without a filter that answered some requests.
    async fn filters(&self, installation: &Installation, samples: &mut Samples) -> Result<()> {
        let target = Proxy::target().await?;
        let two_headers = proxy::wasm(&self.two_headers, "two-headers", &json!({}));
        let ours = proxy::wasm(&self.filter, "ours", &outbound());
        let socket = installation.socket();
        let mut held = Vec::new();
        for (filter, expected) in [
            (None, envoy::Expected::Untouched),
            (Some(two_headers), envoy::Expected::Untouched),
            (Some(ours), envoy::Expected::Attached),
        ] {
            let proxy = Proxy::before(target.address, filter, &Servers::all(&socket)).await?;
            let evidence = sets::token(&self.cluster, "team-0", "app-0")?;
            let mut asker = envoy::Asker {
                connection: filter::Connection::plaintext(proxy.address).await?,
                tokens: envoy::Tokens {
                    evidence: [evidence].into(),
                    svids: ["a-token-of-the-client".to_owned()].into(),
                },
                shown: envoy::Shown::Same,
                expected,
                before: 0,
            };
            load::each_once(std::slice::from_mut(&mut asker), 256).await?;
            held.push(Memory::of(proxy.id())?.resident);
        }
        let [none, two_headers, ours] = held.as_slice() else {
            anyhow::bail!("three Envoys were to be measured");
        };
        let mut note = |name, floor, value| samples.note((GROUP, name, floor), Metric::Rss, value);
        note("envoy", None, *none);
        note("two-headers-vm", None, two_headers - none);
        note("filter-vm", Some("two-headers-vm"), ours - none);
        Ok(())
    }

    fn sizes(&self, installation: &Installation, samples: &mut Samples) -> Result<()> {
        for (name, floor, path) in [
            ("two-headers-wasm", None, self.two_headers.as_path()),
            ("filter-wasm", Some("two-headers-wasm"), &self.filter),
            ("attache", None, installation.binary()),
        ] {
            samples.note((GROUP, name, floor), Metric::Size, kibibytes(path)?);
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the size of a program is far below 2^52"
)]
fn kibibytes(path: &Path) -> Result<f64> {
    let length = fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .len();
    Ok(length as f64 / 1024.0)
}

/// How long it takes to be ready. The process is ended then.
async fn started(installation: &Arc<Installation>) -> Result<Duration> {
    let began = Instant::now();
    let mut attache = installation.launch()?;
    let admin = installation.admin();
    let ready = async || {
        let answer = admin::ask(&admin, "/readyz").await.ok()?;
        (answer.status == 200).then_some(())
    };
    until_at(PACE, "Attaché to be ready", ready).await?;
    let took = began.elapsed();
    attache.process.stop().await?;
    Ok(took)
}

fn outbound() -> Value {
    json!({ "outbound": {
        "edge": { "cluster": "gateway" },
        "caller": { "request": { "headers": [EVIDENCE] } },
        "targets": [{ "cluster": proxy::CLUSTER, "target": format!("https://{HOST}") }],
        "inject": ["authorization"],
    } })
}
