//! The group `envoy`: the same requests through Envoys that differ in one filter, and what each costs.
//!
//! Every request carries a ServiceAccount token as evidence and a JWT-SVID as `authorization`, whoever reads them.
//! The target says what it got, so that each answer proves that the filter did its work.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Plan,
    asker::install,
    floor::{self, Work},
    load::{self, Caller, per},
    progress::tell,
    proxy::{HOST, Proxy, SEEN_AUTHORIZATION, SEEN_ID, Servers},
    results::{Metric, Samples},
    sets,
    turns::{TURNS, Turns, in_turn},
    usage::Since,
};
use crate::{
    attache::{Attache, EdgePlan, Installation},
    authority::Authority,
    authorize::{self, holds_a_token},
    client::EVIDENCE,
    cluster::Cluster,
    filter::Connection,
    process::Process,
    svid::SvidSigner,
    wait::until,
};

mod kinds;

use kinds::{Asked, Kind, chosen, kinds};
pub(super) use kinds::{Expected, Shown};

const GROUP: &str = "envoy";
/// No filter at all.
const NONE: &str = "none";
/// Connections of the load.
const CONNECTIONS: usize = 8;
/// Requests that warm a variant.
const WARMING: u64 = 256;
/// Tokens that differ: more than any cache of a variant that is to verify each of them holds.
const TOKENS: usize = 20_000;

const AUDIENCE: &str = "https://svc.example.com";
const CALLER: &str = "spiffe://cluster.local/ns/team-0/sa/app-0";

/// What callers show.
#[derive(Clone)]
pub(super) struct Tokens {
    /// The evidence of one workload each.
    pub(super) evidence: Arc<[String]>,
    /// JWT-SVIDs of one workload.
    pub(super) svids: Arc<[String]>,
}

/// One caller of one Envoy.
pub(super) struct Asker {
    pub(super) connection: Connection,
    pub(super) tokens: Tokens,
    pub(super) shown: Shown,
    pub(super) expected: Expected,
    /// How many calls came before the load that numbers them.
    pub(super) before: u64,
}

impl Caller for Asker {
    async fn call(&mut self, number: u64) -> Result<()> {
        let number = usize::try_from(self.before + number)?;
        let (workload, svid) = match self.shown {
            Shown::Same => (0, 0),
            Shown::DifferentTokens => (0, number),
            Shown::DifferentWorkloads => (number, 0),
        };
        let of = |tokens: &'_ [String], number: usize| {
            let token = tokens.get(number % tokens.len().max(1));
            token.cloned().context("no token")
        };
        let evidence = of(&self.tokens.evidence, workload)?;
        let bearer = format!("Bearer {}", of(&self.tokens.svids, svid)?);
        let request = Request::get(format!("http://{HOST}{}", sets::PATH))
            .header("host", HOST)
            .header("user-agent", "python-requests/2.32.3")
            .header("accept", "application/json")
            .header(EVIDENCE, evidence)
            .header("authorization", &bearer)
            .body(Full::<Bytes>::default())?;
        let reply = self.connection.ask(request).await?;
        let seen = reply.header(SEEN_AUTHORIZATION).unwrap_or_default();
        let right = match self.expected {
            Expected::Untouched => seen == bearer,
            Expected::Attached => seen.starts_with("Bearer ") && seen != bearer,
            Expected::Named => reply.header(SEEN_ID) == Some(CALLER),
        };
        let (status, expected) = (reply.status, self.expected);
        ensure!(
            status == 200 && right,
            "{expected:?} was expected: {status}, {:?}",
            reply.code()
        );
        Ok(())
    }
}

/// One Envoy with one filter.
struct Variant {
    name: &'static str,
    /// What its added processor time is compared with, or of first calls everything.
    floor: Option<&'static str>,
    shown: Shown,
    asked: Asked,
    proxy: Proxy,
    askers: Vec<Asker>,
    turns: Turns,
}

impl Variant {
    /// Starts its Envoy and asks it until it is warm.
    async fn start(
        kind: Kind,
        target: SocketAddr,
        servers: &Servers<'_>,
        tokens: &Tokens,
    ) -> Result<Self> {
        let proxy = Proxy::before(target, kind.filter, servers).await?;
        // First calls are asked one after another: waiting for one another's signatures is not what is measured.
        let connections = match kind.shown {
            Shown::Same | Shown::DifferentTokens => CONNECTIONS,
            Shown::DifferentWorkloads => 1,
        };
        let mut askers = Vec::with_capacity(connections);
        for _ in 0..connections {
            askers.push(Asker {
                connection: Connection::plaintext(proxy.address).await?,
                tokens: tokens.clone(),
                shown: kind.shown,
                expected: kind.expected,
                before: 0,
            });
        }
        if kind.asked == Asked::Warm {
            load::each_once(&mut askers, WARMING).await?;
            askers.iter_mut().for_each(|asker| asker.before = WARMING);
        }
        Ok(Self {
            name: kind.name,
            floor: kind.floor,
            shown: kind.shown,
            asked: kind.asked,
            proxy,
            askers,
            turns: Turns::new()?,
        })
    }

    /// Asks as fast as it is answered, or at `rate` requests a second, for one turn.
    async fn turn(&mut self, rate: Option<f64>, span: Duration) -> Result<()> {
        let (askers, process) = (&mut self.askers, Some(self.proxy.id()));
        let turn = self.turns.ask(askers, process, rate, span).await;
        let next = turn.context(self.name)?;
        // A token that is to be a new one was not shown yet.
        self.askers
            .iter_mut()
            .for_each(|asker| asker.before += next);
        Ok(())
    }

    /// What it is compared with, but for processor time that it adds.
    fn tag(&self) -> (&'static str, &'static str, Option<&'static str>) {
        let floor = (self.name != NONE).then_some(NONE);
        (GROUP, self.name, floor)
    }

    /// Calls of workloads that its server does not know yet, one after another.
    async fn first_calls(&mut self, workloads: u64, samples: &mut Samples) -> Result<()> {
        let asker = self.askers.first_mut().context("nobody asks")?;
        // The server was started a moment ago: Envoy connects with the call of the last workload, which is no
        // more than that.
        let others = workloads.saturating_sub(1);
        let mut refused = None;
        let connected = until("the server behind Envoy", async || {
            let asked = asker.call(others).await;
            asked.map_err(|error| refused = Some(error)).ok()
        });
        if let Err(late) = connected.await {
            return Err(refused.unwrap_or(late));
        }
        let since = Since::now(self.proxy.id())?;
        let measured = load::each_once(&mut self.askers, others).await?;
        let used = since.used()?;
        let tag = (GROUP, self.name, self.floor);
        let cpu = used.as_secs_f64() * 1e6 / per(measured.calls);
        samples.note(tag, Metric::Cpu, cpu);
        samples.note_latencies(tag, &measured);
        Ok(())
    }
}

/// The stage of the group.
pub struct Bench {
    kinds: Vec<Kind>,
    tokens: Tokens,
    target: Proxy,
    /// For callers that show evidence, and for one pod.
    attaches: [(Attache, Arc<Installation>); 2],
    /// The one that starts anew for each round, and what it runs on.
    started: (Option<Attache>, Arc<Installation>),
    /// The server that does nothing, and the one that signs.
    floors: [(Process, PathBuf); 2],
    /// Whoever starts anew fetches its keys.
    _cluster: Cluster,
    _directory: TempDir,
}

impl Bench {
    /// Starts every server.
    pub async fn open(plan: &Plan) -> Result<Self> {
        let authority = Authority::new("the benchmark's own authority")?;
        let cluster = Cluster::start(&authority).await?;
        let signer = SvidSigner::new("svid-1")?;
        tell("starting two Attachés, a target and the empty server");
        let evidence = sets::token(&cluster, "team-0", "app-0")?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("token");
        fs::write(&file, &evidence)?;
        let pod = EdgePlan {
            token_file: Some(file),
            ..EdgePlan::default()
        };
        let (gateway, gateway_at) = serve(&authority, &cluster, &EdgePlan::default()).await?;
        let (pod, pod_at) = serve(&authority, &cluster, &pod).await?;
        let call = sets::call(HOST, "http", &evidence);
        let answer =
            authorize::check(authorize::over_unix(&gateway_at.socket()).await?, call).await?;
        ensure!(
            holds_a_token(&answer),
            "Attaché gives no token: {:?}",
            answer.status
        );
        let empty = directory.path().join("empty.sock");
        let signing = directory.path().join("signing.sock");
        let does_nothing = floor::start(&empty, &answer, Work::Nothing, directory.path()).await?;
        let signs = floor::start(&signing, &answer, Work::Signature, directory.path()).await?;
        let (_first, started) = serve(&authority, &cluster, &EdgePlan::default()).await?;
        Ok(Self {
            kinds: chosen(kinds(&signer).await?, &plan.variants)?,
            tokens: tokens(&cluster, &signer, plan)?,
            target: Proxy::target().await?,
            attaches: [(gateway, gateway_at), (pod, pod_at)],
            started: (None, started),
            floors: [(does_nothing, empty), (signs, signing)],
            _cluster: cluster,
            _directory: directory,
        })
    }

    /// Starts an Envoy of each variant, and asks each of them until all is warm.
    async fn envoys(&self) -> Result<Vec<Variant>> {
        tell(&format!("envoy: starting {} of them", self.kinds.len()));
        let [(_, gateway), (_, pod)] = &self.attaches;
        let [(_, empty), (_, signing)] = &self.floors;
        let servers = Servers {
            gateway: &gateway.socket(),
            pod: &pod.socket(),
            empty,
            signing,
            started: &self.started.1.socket(),
        };
        let mut variants = Vec::new();
        for kind in &self.kinds {
            let name = kind.name;
            let variant =
                Variant::start(kind.clone(), self.target.address, &servers, &self.tokens).await;
            variants.push(variant.context(name)?);
        }
        Ok(variants)
    }

    /// Measures every variant, each by an Envoy of its own: where a process lies in memory makes as much difference as
    /// a small filter, and another start is another place.
    pub async fn round(&mut self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        let envoys = self.envoys().await?.into_iter();
        let (first_calls, mut warm): (Vec<_>, Vec<_>) =
            envoys.partition(|variant| variant.shown == Shown::DifferentWorkloads);
        turns(&mut warm, None, plan).await?;
        let (mut rate, mut bare) = (None, None);
        for variant in &mut warm {
            let turns = variant.turns.take()?;
            let (throughput, cpu) = (turns.measured().throughput(), turns.cpu());
            let cpu = cpu.context("no processor time was counted")?;
            samples.note(variant.tag(), Metric::Throughput, throughput);
            samples.note(variant.tag(), Metric::Cpu, cpu);
            // A sixth of what Envoy can do without any filter, so that the slowest variant keeps up.
            rate.get_or_insert(throughput / 6.0);
            let added = cpu - *bare.get_or_insert(cpu);
            if variant.name != NONE {
                samples.note((GROUP, variant.name, variant.floor), Metric::Added, added);
            }
        }
        let rate = rate.context("nothing was measured")?;
        turns(&mut warm, Some(rate), plan).await?;
        for variant in &mut warm {
            let turns = variant.turns.take()?;
            samples.note_latencies(variant.tag(), turns.measured());
        }
        for mut variant in first_calls {
            let (running, installation) = &mut self.started;
            if variant.asked == Asked::Started {
                // One at a time holds the journal.
                drop(running.take());
                *running = Some(installation.start().await?);
            }
            let measured = variant.first_calls(plan.workloads as u64, samples).await;
            measured.context(variant.name)?;
        }
        Ok(())
    }
}

async fn turns(variants: &mut [Variant], rate: Option<f64>, plan: &Plan) -> Result<()> {
    for turn in 0..TURNS {
        for variant in in_turn(variants, turn) {
            variant.turn(rate, plan.span).await?;
        }
    }
    Ok(())
}

fn tokens(cluster: &Cluster, signer: &SvidSigner, plan: &Plan) -> Result<Tokens> {
    let workloads = 0..plan.workloads;
    let evidence = workloads.map(|number| sets::token(cluster, "team-0", &format!("app-{number}")));
    // As many seconds as the run may take.
    let lifetime = 4 * 3600;
    let count = TOKENS.min(plan.workloads * 20);
    let svids = (0..count).map(|number| {
        let change = |_: &mut Value, claims: &mut Value| {
            claims["exp"] = json!(jiff::Timestamp::now().as_second() + lifetime);
            claims["jti"] = json!(number.to_string());
        };
        signer.svid(change, CALLER, AUDIENCE)
    });
    Ok(Tokens {
        evidence: evidence.collect::<Result<_>>()?,
        svids: svids.collect(),
    })
}

/// Starts Attaché with a small set, whose target may be reached in plaintext.
async fn serve(
    authority: &Authority,
    cluster: &Cluster,
    plan: &EdgePlan,
) -> Result<(Attache, Arc<Installation>)> {
    let set = (10, ", tls: plaintext-allowed");
    let installation = install(authority, cluster, plan, set).await?;
    let mut attache = installation.launch_under(Command::new("env"))?;
    attache.ready().await?;
    Ok((attache, installation))
}
