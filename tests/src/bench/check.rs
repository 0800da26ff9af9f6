//! The group `check`: `Check` calls to Attaché, and to a server that does nothing.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use envoy_types::ext_authz::v3::pb::CheckRequest;
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

const GROUP: &str = "check";
const FLOOR: &str = "empty";
const COLD: &str = "cold";

/// One server under one kind of load.
struct Variant {
    name: String,
    /// Whose processor time counts, if it is ours to know.
    process: Option<u32>,
    askers: Vec<Asker>,
}

impl Variant {
    fn new(
        name: &str,
        process: Option<u32>,
        (channels, answered): (&[Channel], &Arc<AtomicU64>),
        calls: &Arc<Vec<CheckRequest>>,
        expected: Expected,
    ) -> Self {
        Self {
            name: name.to_owned(),
            process,
            askers: askers(channels, answered, calls, expected),
        }
    }

    fn tag(&self) -> (&'static str, &str, Option<&str>) {
        let floor = (self.name != FLOOR).then_some(FLOOR);
        (GROUP, &self.name, floor)
    }

    /// Measures it under as many calls as it can answer; how many that are in a second.
    async fn closed(&mut self, plan: &Plan, samples: &mut Samples) -> Result<f64> {
        let since = self.process.map(Since::now).transpose()?;
        let measured = load::closed(&mut self.askers, plan.span).await?;
        let throughput = measured.throughput();
        samples.note(self.tag(), Metric::Throughput, throughput);
        let mut told = format!("{}: {throughput:.0} calls a second", self.name);
        if let Some(since) = since {
            let a_call = since.used()?.as_secs_f64() * 1e6 / per(measured.calls);
            samples.note(self.tag(), Metric::Cpu, a_call);
            told.push_str(&format!(", {a_call:.1} µs of processor time each"));
        }
        tell(&told);
        Ok(throughput)
    }
}

/// A running Attaché with a set of its own.
struct Served {
    attache: Attache,
    installation: Arc<Installation>,
    channels: Vec<Channel>,
    answered: Arc<AtomicU64>,
}

impl Served {
    async fn start(
        authority: &Authority,
        cluster: &Cluster,
        size: usize,
        environment: &[&str],
    ) -> Result<Self> {
        let installation = install(authority, cluster, &EdgePlan::default(), (size, "")).await?;
        let mut wrapper = Command::new("env");
        wrapper.args(environment);
        let mut attache = installation.launch_under(wrapper)?;
        attache.ready().await?;
        let channels = connect(&installation.socket()).await?;
        Ok(Self {
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

    fn variant(&self, name: &str, calls: &Arc<Vec<CheckRequest>>, expected: Expected) -> Variant {
        Variant::new(
            name,
            Some(self.attache.process.id()),
            (&self.channels, &self.answered),
            calls,
            expected,
        )
    }
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
    _floor: Process,
}

impl Bench {
    /// Starts every server and warms it: after this, each workload's credential is in memory.
    pub async fn open(plan: &Plan) -> Result<Self> {
        let authority = Authority::new("the benchmark's own authority")?;
        let cluster = Cluster::start(&authority).await?;
        let directory = tempfile::tempdir()?;
        let (mut served, mut variants) = (Vec::new(), Vec::new());
        for &size in &plan.sizes {
            tell(&format!("starting Attaché with {size} policies"));
            let attache = Served::start(&authority, &cluster, size, &[]).await?;
            let calls = |workloads, target| {
                let calls = sets::calls(&cluster, size, workloads, target)?;
                anyhow::Ok(Arc::new(calls))
            };
            let own = calls(plan.workloads, Target::Own)?;
            variants.push(attache.variant(&format!("attache-{size}"), &own, Expected::Token));
            let one = calls(1, Target::Own)?;
            let name = format!("attache-{size}-one-workload");
            variants.push(attache.variant(&name, &one, Expected::Token));
            if size == plan.sizes.get(1).copied().unwrap_or(size) {
                let others = calls(plan.workloads, Target::Others)?;
                variants.push(attache.variant("denied", &others, Expected::Denial));
            }
            served.push(attache);
        }
        let greatest = plan.sizes.last().copied().context("no size is measured")?;
        tell("starting Attaché with audit in background batches");
        let background = ["ATTACHE_AUDIT_DURABILITY=background"];
        let background = Served::start(&authority, &cluster, greatest, &background).await?;
        let own = Arc::new(sets::calls(
            &cluster,
            greatest,
            plan.workloads,
            Target::Own,
        )?);
        let name = format!("attache-{greatest}-background");
        variants.push(background.variant(&name, &own, Expected::Token));
        served.push(background);
        let floor = Self::floor(directory.path(), &served, &own, &mut variants).await?;
        for (name, address) in &plan.external {
            let channels = vec![dial(address).await?; CONNECTIONS];
            variants.push(Variant::new(
                name,
                None,
                (&channels, &Arc::default()),
                &own,
                Expected::Permit,
            ));
        }
        let cold = only(&plan.variants, &mut variants)?;
        let mut bench = Self {
            authority,
            cluster,
            _directory: directory,
            served,
            variants,
            cold,
            _floor: floor,
        };
        bench.warm(plan).await?;
        Ok(bench)
    }

    /// The floor answers what Attaché answered.
    async fn floor(
        directory: &Path,
        served: &[Served],
        calls: &Arc<Vec<CheckRequest>>,
        variants: &mut Vec<Variant>,
    ) -> Result<Process> {
        let last = served.last().context("nobody serves")?;
        let channel = last.channels.first().context("no connection")?.clone();
        let call = calls.first().context("no call")?.clone();
        let answer = authorize::check(channel, call).await?;
        Expected::Token.hold(&answer)?;
        let socket = directory.join("empty.sock");
        let process = floor::start(&socket, &answer, floor::Work::Nothing, directory).await?;
        let channels = connect(&socket).await?;
        let variant = Variant::new(
            FLOOR,
            Some(process.id()),
            (&channels, &Arc::default()),
            calls,
            Expected::Token,
        );
        variants.insert(0, variant);
        Ok(process)
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

    /// Measures every variant once, in turn. Another one is the first in each round: what a server did before, and
    /// how long ago, is not the same for all.
    pub async fn round(&mut self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        let mut rate = None;
        for variant in &mut self.variants {
            let throughput = variant.closed(plan, samples).await;
            let throughput = throughput.with_context(|| variant.name.clone())?;
            if variant.name == FLOOR {
                // Half of what the floor can do, for all of them.
                rate = Some(throughput / 2.0);
            }
        }
        let rate = rate.context("the floor was not measured")?;
        for variant in &mut self.variants {
            let measured = load::open(&mut variant.askers, rate, plan.span).await;
            let measured = measured.with_context(|| variant.name.clone())?;
            samples.note(variant.tag(), Metric::P50, measured.percentile(50.0));
            samples.note(variant.tag(), Metric::P99, measured.percentile(99.0));
        }
        self.variants.rotate_left(1);
        if self.cold {
            self.cold(plan, samples).await?;
        }
        Ok(())
    }

    /// The first call of every workload to a server that was just started: its evidence is verified and its
    /// token minted.
    async fn cold(&self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        let size = plan.sizes.first().copied().context("no size is measured")?;
        let served = Served::start(&self.authority, &self.cluster, size, &[]).await?;
        let calls = Arc::new(sets::calls(
            &self.cluster,
            size,
            plan.workloads,
            Target::Own,
        )?);
        let mut variant = served.variant(COLD, &calls, Expected::Token);
        let since = Since::now(served.attache.process.id())?;
        // As many at a time as there are processors: waiting for one another is not what is measured.
        let askers = variant
            .askers
            .get_mut(..CONNECTIONS)
            .context("too few callers")?;
        let measured = load::each_once(askers, calls.len() as u64).await?;
        let a_call = since.used()?.as_secs_f64() * 1e6 / per(measured.calls);
        samples.note(variant.tag(), Metric::Cpu, a_call);
        samples.note(variant.tag(), Metric::P50, measured.percentile(50.0));
        samples.note(variant.tag(), Metric::P99, measured.percentile(99.0));
        samples.note(variant.tag(), Metric::Throughput, measured.throughput());
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
}

/// Leaves those of `wanted` and the floor, or all if none is wanted; whether `cold` is among them.
fn only(wanted: &[String], variants: &mut Vec<Variant>) -> Result<bool> {
    if wanted.is_empty() {
        return Ok(true);
    }
    let names: Vec<_> = variants
        .iter()
        .map(|variant| variant.name.as_str())
        .collect();
    for name in wanted {
        let known = name == COLD || names.contains(&name.as_str());
        let all = names.join(", ");
        ensure!(known, "{name}: no such variant; there are {all}, {COLD}");
    }
    variants.retain(|variant| variant.name == FLOOR || wanted.contains(&variant.name));
    Ok(wanted.iter().any(|name| name == COLD))
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
