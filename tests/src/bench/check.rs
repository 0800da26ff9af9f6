//! The group `check`: `Check` calls to Attaché, and to a server that does nothing.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use super::{
    Plan,
    asker::{Asker, CONNECTIONS, Expected, askers, connect, install},
    floor,
    load::{self, per},
    progress::tell,
    results::{Metric, Samples},
    sets::{self, Target},
    turns::{TURNS, Turns, in_turn},
    usage::Since,
};
use crate::{
    admin,
    attache::{Attache, EdgePlan, Installation},
    authority::Authority,
    authorize,
    cluster::Cluster,
    process::Process,
    wait::until,
};

mod loads;

use loads::{COLD, FLOOR, Load, Server};

const GROUP: &str = "check";

/// One server under one kind of load.
struct Variant {
    name: String,
    /// What it is compared with; the floor itself with nothing.
    floor: Option<String>,
    /// Whose processor time counts, if it is ours to know.
    process: Option<u32>,
    askers: Vec<Asker>,
    turns: Turns,
}

impl Variant {
    fn new(
        (name, floor): (&str, Option<&str>),
        process: Option<u32>,
        askers: Vec<Asker>,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            floor: floor.map(str::to_owned),
            process,
            askers,
            turns: Turns::new()?,
        })
    }

    fn tag(&self) -> (&'static str, &str, Option<&str>) {
        (GROUP, &self.name, self.floor.as_deref())
    }

    /// Asks as fast as it is answered, or at `rate` calls a second, for one turn.
    async fn turn(&mut self, rate: Option<f64>, span: Duration) -> Result<()> {
        let (askers, process) = (&mut self.askers, self.process);
        let turn = self.turns.ask(askers, process, rate, span).await;
        turn.with_context(|| self.name.clone())?;
        Ok(())
    }

    /// Notes what it did with as many calls as it can answer; how many that are in a second.
    fn note_closed(&mut self, samples: &mut Samples) -> Result<f64> {
        let turns = self.turns.take()?;
        let throughput = turns.measured().throughput();
        samples.note(self.tag(), Metric::Throughput, throughput);
        let mut told = format!("{}: {throughput:.0} calls a second", self.name);
        if let Some(cpu) = turns.cpu() {
            samples.note(self.tag(), Metric::Cpu, cpu);
            told.push_str(&format!(", {cpu:.1} µs of processor time each"));
        }
        tell(&told);
        Ok(throughput)
    }

    /// Notes how long calls took that came at a fixed rate.
    fn note_open(&mut self, samples: &mut Samples) -> Result<()> {
        let turns = self.turns.take()?;
        samples.note_latencies(self.tag(), turns.measured());
        Ok(())
    }
}

/// A running Attaché with a set of its own.
struct Served {
    server: Server,
    attache: Attache,
    installation: Arc<Installation>,
    channels: Vec<Channel>,
    answered: Arc<AtomicU64>,
}

impl Served {
    async fn start(authority: &Authority, cluster: &Cluster, server: &Server) -> Result<Self> {
        let edge = EdgePlan {
            binary: server.binary.clone(),
            ..EdgePlan::default()
        };
        let installation = install(authority, cluster, &edge, (server.size, "")).await?;
        let mut wrapper = Command::new("env");
        if server.background {
            wrapper.arg("ATTACHE_AUDIT_DURABILITY=background");
        }
        let mut attache = installation.launch_under(wrapper)?;
        attache.ready().await?;
        let channels = connect(&installation.socket()).await?;
        Ok(Self {
            server: server.clone(),
            attache,
            installation,
            channels,
            answered: Arc::default(),
        })
    }

    /// How many accesses its journal tells of.
    async fn recorded(&self) -> Result<u64> {
        let (_status, metrics) = admin::text(&self.installation.admin(), "/metrics").await?;
        let events = metrics.lines().filter_map(|line| {
            let (labels, count) = line
                .strip_prefix("attache_audit_events_total{")?
                .split_once("} ")?;
            let counts = ["result=\"recorded\"", "result=\"coalesced\""].contains(&labels);
            counts.then_some(count.parse::<u64>())
        });
        Ok(events.sum::<Result<u64, _>>()?)
    }

    /// Asks it to end, and waits until it did.
    async fn end(&mut self) -> Result<()> {
        self.channels.clear();
        let ended = self.attache.process.stop().await?;
        ensure!(ended.success(), "Attaché ended with {ended}");
        Ok(())
    }

    fn variant(&self, load: &Load, calls: &Arc<Vec<CheckRequest>>) -> Result<Variant> {
        let process = Some(self.attache.process.id());
        let callers = askers(&self.channels, &self.answered, calls, load.expected);
        Variant::new((&load.name, Some(&load.floor)), process, callers)
    }
}

/// Starts what `loads` ask, each once.
async fn serve(
    authority: &Authority,
    cluster: &Cluster,
    loads: &[Load],
) -> Result<(Vec<Served>, Vec<Variant>)> {
    let (mut served, mut variants): (Vec<Served>, _) = (Vec::new(), Vec::new());
    for load in loads {
        let server = &load.server;
        if !served.iter().any(|known| known.server == *server) {
            tell(&format!("starting a server for {}", load.name));
            served.push(Served::start(authority, cluster, server).await?);
        }
        let mut all = served.iter();
        let known = all.find(|known| known.server == *server);
        let calls = sets::calls(cluster, server.size, load.workloads, load.target)?;
        let known = known.context("no server was started")?;
        variants.push(known.variant(load, &Arc::new(calls))?);
    }
    Ok((served, variants))
}

/// What Attaché answers.
async fn answer(authority: &Authority, cluster: &Cluster) -> Result<CheckResponse> {
    let server = Server {
        binary: None,
        size: 1,
        background: false,
    };
    let mut served = Served::start(authority, cluster, &server).await?;
    let channel = served.channels.first().context("no connection")?.clone();
    let calls = sets::calls(cluster, server.size, 1, Target::Own)?;
    let call = calls.into_iter().next().context("no call")?;
    let answer = authorize::check(channel, call).await?;
    Expected::Token.hold(&answer)?;
    served.end().await?;
    Ok(answer)
}

/// The stage of the group: who vouches, and who serves.
pub struct Bench {
    authority: Authority,
    cluster: Cluster,
    _directory: TempDir,
    served: Vec<Served>,
    variants: Vec<Variant>,
    /// Whether the first call of each workload is measured too.
    cold: bool,
    floor: Process,
    answered_by_floor: Arc<AtomicU64>,
}

impl Bench {
    /// Starts every server and warms it: after this, each workload's credential is in memory.
    pub async fn open(plan: &Plan) -> Result<Self> {
        let authority = Authority::new("the benchmark's own authority")?;
        let cluster = Cluster::start(&authority).await?;
        let directory = tempfile::tempdir()?;
        let (loads, cold) = Load::all(plan)?;
        let (served, mut variants) = serve(&authority, &cluster, &loads).await?;
        let greatest = plan.sizes.last().copied().context("no size is measured")?;
        let own = sets::calls(&cluster, greatest, plan.workloads, Target::Own)?;
        let own = Arc::new(own);
        let answer = answer(&authority, &cluster).await?;
        let socket = directory.path().join("empty.sock");
        let floor = floor::start(&socket, &answer, floor::Work::Nothing, directory.path()).await?;
        let process = Some(floor.id());
        let channels = connect(&socket).await?;
        let answered_by_floor = Arc::default();
        let callers = askers(&channels, &answered_by_floor, &own, Expected::Token);
        variants.insert(0, Variant::new((FLOOR, None), process, callers)?);
        for (name, address) in &plan.external {
            if !plan.variants.is_empty() && !plan.variants.contains(name) {
                continue;
            }
            let channels = vec![dial(address).await?; CONNECTIONS];
            let callers = askers(&channels, &Arc::default(), &own, Expected::Permit);
            variants.push(Variant::new((name, Some(FLOOR)), None, callers)?);
        }
        let mut bench = Self {
            authority,
            cluster,
            _directory: directory,
            served,
            variants,
            cold,
            floor,
            answered_by_floor,
        };
        bench.warm(plan).await?;
        Ok(bench)
    }

    async fn warm(&mut self, plan: &Plan) -> Result<()> {
        for variant in &mut self.variants {
            tell(&format!("warming {}", variant.name));
            let twice = plan.workloads as u64 * 2;
            let warmed = load::each_once(&mut variant.askers, twice).await;
            warmed.with_context(|| variant.name.clone())?;
        }
        Ok(())
    }

    /// Measures every variant: as fast as it answers, then all at half of what the floor can do.
    pub async fn round(&mut self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        self.turns(None, plan).await?;
        let mut rate = None;
        for variant in &mut self.variants {
            let throughput = variant.note_closed(samples)?;
            if variant.name == FLOOR {
                rate = Some(throughput / 2.0);
            }
        }
        let rate = rate.context("the floor was not measured")?;
        self.turns(Some(rate), plan).await?;
        for variant in &mut self.variants {
            variant.note_open(samples)?;
        }
        if self.cold {
            self.cold(plan, samples).await?;
        }
        Ok(())
    }

    async fn turns(&mut self, rate: Option<f64>, plan: &Plan) -> Result<()> {
        for turn in 0..TURNS {
            for variant in in_turn(&mut self.variants, turn) {
                variant.turn(rate, plan.span).await?;
            }
        }
        Ok(())
    }

    /// The first call of every workload to a server that was just started: its evidence is verified and its
    /// token minted.
    async fn cold(&self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        let size = plan.sizes.first().copied().context("no size is measured")?;
        let load = Load::of(COLD.to_owned(), size, plan.workloads);
        let mut served = Served::start(&self.authority, &self.cluster, &load.server).await?;
        let calls = sets::calls(&self.cluster, size, plan.workloads, Target::Own)?;
        let calls = Arc::new(calls);
        let mut variant = served.variant(&load, &calls)?;
        let since = Since::now(served.attache.process.id())?;
        // As many at a time as there are processors: waiting for one another is not what is measured.
        let askers = variant
            .askers
            .get_mut(..CONNECTIONS)
            .context("too few callers")?;
        let measured = load::each_once(askers, calls.len() as u64).await?;
        let a_call = since.used()?.as_secs_f64() * 1e6 / per(measured.calls);
        samples.note(variant.tag(), Metric::Cpu, a_call);
        samples.note_latencies(variant.tag(), &measured);
        samples.note(variant.tag(), Metric::Throughput, measured.throughput());
        drop(variant);
        served.end().await
    }

    /// Asks the floor what all others together were asked more. A profile tells what runs often by comparison: a floor
    /// that was asked seldom would be built as if it mattered little.
    pub async fn even_out(&mut self) -> Result<()> {
        let answered = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let theirs = self.served.iter().map(|served| answered(&served.answered));
        let more = theirs
            .sum::<u64>()
            .saturating_sub(answered(&self.answered_by_floor));
        let mut variants = self.variants.iter_mut();
        let floor = variants.find(|variant| variant.name == FLOOR);
        let floor = floor.context("there is no floor")?;
        load::each_once(&mut floor.askers, more).await?;
        Ok(())
    }

    /// Whether the servers recorded what they answered: each call is an event, or counted in one.
    pub async fn recorded(&self) -> Result<()> {
        for served in &self.served {
            let answered = served.answered.load(Ordering::Relaxed);
            // Background batches are written a moment later.
            let recorded = async || (served.recorded().await.ok()? >= answered).then_some(());
            until(&format!("{answered} calls to be recorded"), recorded).await?;
        }
        Ok(())
    }

    /// Asks everything that was started to end, and waits until it did.
    pub async fn close(mut self) -> Result<()> {
        self.variants.clear();
        for served in &mut self.served {
            served.end().await?;
        }
        let ended = self.floor.stop().await?;
        ensure!(ended.success(), "the floor ended with {ended}");
        Ok(())
    }
}

/// Another server: a path is a unix socket, anything else an address.
async fn dial(address: &str) -> Result<Channel> {
    if address.contains('/') && !address.contains("://") {
        return authorize::over_unix(Path::new(address)).await;
    }
    let url = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    Ok(Endpoint::from_shared(url)?.connect().await?)
}
