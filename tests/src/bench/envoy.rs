//! The group `envoy`: the same requests through Envoys that differ in one filter, and what each costs.
//!
//! Every request carries a ServiceAccount token as evidence and a JWT-SVID as `authorization`, whoever reads them.
//! The target says what it got, so that each answer proves that the filter did its work.

use std::{fs, net::SocketAddr, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Plan, floor,
    load::{self, Caller, per},
    progress::tell,
    proxy::{self, HOST, Proxy, SEEN_AUTHORIZATION, SEEN_ID, Servers},
    results::{Metric, Samples},
    sets, usage,
};
use crate::{
    attache::{Attache, EdgePlan, Installation},
    authority::Authority,
    authorize::{self, holds_a_token},
    client::EVIDENCE,
    cluster::Cluster,
    filter::{self, Connection},
    process::Process,
    quickstart,
    svid::SvidSigner,
};

const GROUP: &str = "envoy";
/// No filter at all.
const NONE: &str = "none";
/// The floor of wasm.
const TWO_HEADERS: &str = "wasm-two-headers";

/// Connections of the load.
const CONNECTIONS: usize = 8;
/// Requests that warm a variant.
const WARMING: u64 = 256;
/// Tokens that differ: more than any cache of a variant that is to verify each of them holds.
const TOKENS: usize = 20_000;

const AUDIENCE: &str = "https://svc.example.com";
const CALLER: &str = "spiffe://cluster.local/ns/team-0/sa/app-0";

/// What the target must have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The client's own token.
    Untouched,
    /// Another credential in its place.
    Attached,
    /// The caller's name in place of the token.
    Named,
}

/// Which tokens the callers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// One, again and again.
    Same,
    /// Each of many in turn.
    Different,
}

struct Asker {
    connection: Connection,
    evidence: Arc<str>,
    tokens: Arc<Vec<String>>,
    shown: Shown,
    expected: Expected,
}

impl Caller for Asker {
    async fn call(&mut self, number: u64) -> Result<()> {
        let number = match self.shown {
            Shown::Same => 0,
            Shown::Different => usize::try_from(number)? % self.tokens.len(),
        };
        let bearer = format!("Bearer {}", self.tokens.get(number).context("no token")?);
        let request = Request::get(format!("http://{HOST}{}", sets::PATH))
            .header("host", HOST)
            .header("user-agent", "python-requests/2.32.3")
            .header("accept", "application/json")
            .header(EVIDENCE, &*self.evidence)
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
    /// What its added processor time is compared with.
    floor: Option<&'static str>,
    proxy: Proxy,
    askers: Vec<Asker>,
}

impl Variant {
    /// Starts its Envoy and asks it until it is warm.
    async fn start(
        kind: Kind,
        target: SocketAddr,
        servers: &Servers<'_>,
        (evidence, tokens): &(&str, Arc<Vec<String>>),
    ) -> Result<Self> {
        let proxy = Proxy::before(target, kind.filter, servers).await?;
        let mut askers = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            askers.push(Asker {
                connection: Connection::plaintext(proxy.address).await?,
                evidence: Arc::from(*evidence),
                tokens: Arc::clone(tokens),
                shown: kind.shown,
                expected: kind.expected,
            });
        }
        load::each_once(&mut askers, WARMING).await?;
        Ok(Self {
            name: kind.name,
            floor: kind.floor,
            proxy,
            askers,
        })
    }
}

/// What a variant is made of.
struct Kind {
    name: &'static str,
    floor: Option<&'static str>,
    filter: Option<Value>,
    shown: Shown,
    expected: Expected,
}

/// The stage of the group.
pub struct Bench {
    variants: Vec<Variant>,
    _target: Proxy,
    _attaches: [Attache; 2],
    _floor: Process,
    _directory: TempDir,
}

impl Bench {
    /// Starts every server and every Envoy, and asks each of them until all is warm.
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
        let floor = floor::start(&empty, &answer, directory.path()).await?;
        let target = Proxy::target().await?;
        let servers = Servers {
            gateway: &gateway_at.socket(),
            pod: &pod_at.socket(),
            empty: &empty,
        };
        let shown = (evidence.as_str(), Arc::new(tokens(&signer, plan)));
        let mut variants = Vec::new();
        for kind in kinds(&signer).await? {
            tell(&format!("starting Envoy with {}", kind.name));
            let name = kind.name;
            let variant = Variant::start(kind, target.address, &servers, &shown).await;
            variants.push(variant.context(name)?);
        }
        Ok(Self {
            variants,
            _target: target,
            _attaches: [gateway, pod],
            _floor: floor,
            _directory: directory,
        })
    }

    /// Measures every variant once, in turn.
    pub async fn round(&mut self, plan: &Plan, samples: &mut Samples) -> Result<()> {
        let (mut rate, mut bare) = (None, None);
        for variant in &mut self.variants {
            let floor = (variant.name != NONE).then_some(NONE);
            let tag = (GROUP, variant.name, floor);
            let before = usage::processor(variant.proxy.id())?;
            let measured = load::closed(&mut variant.askers, plan.span).await;
            let measured = measured.with_context(|| variant.name)?;
            let used = usage::processor(variant.proxy.id())?.saturating_sub(before);
            let cpu = used.as_secs_f64() * 1e6 / per(measured.calls);
            samples.note(tag, Metric::Throughput, measured.throughput());
            samples.note(tag, Metric::Cpu, cpu);
            let bare = *bare.get_or_insert(cpu);
            if variant.name != NONE {
                samples.note(
                    (GROUP, variant.name, variant.floor),
                    Metric::Added,
                    cpu - bare,
                );
            }
            // A third of what Envoy can do without any filter, so that the slowest variant keeps up.
            let rate = *rate.get_or_insert(measured.throughput() / 6.0);
            let measured = load::open(&mut variant.askers, rate, plan.span).await;
            let measured = measured.with_context(|| variant.name)?;
            samples.note(tag, Metric::P50, measured.percentile(50.0));
            samples.note(tag, Metric::P99, measured.percentile(99.0));
        }
        Ok(())
    }
}

fn tokens(signer: &SvidSigner, plan: &Plan) -> Vec<String> {
    // As many seconds as the run may take.
    let lifetime = 4 * 3600;
    let count = TOKENS.min(plan.workloads * 20);
    let tokens = (0..count).map(|number| {
        let change = |_: &mut Value, claims: &mut Value| {
            claims["exp"] = json!(jiff::Timestamp::now().as_second() + lifetime);
            claims["jti"] = json!(number.to_string());
        };
        signer.svid(change, CALLER, AUDIENCE)
    });
    tokens.collect()
}

/// All variants, floors before those that are compared with them.
async fn kinds(signer: &SvidSigner) -> Result<Vec<Kind>> {
    use Expected::{Attached, Named, Untouched};
    use Shown::{Different, Same};
    let two_headers = filter::built("attache-two-headers").await?;
    let two_headers = proxy::wasm(&two_headers, "two-headers", &json!({}));
    let ours = filter::wasm().await?;
    let keys = json!({ "keys": [signer.jwk()] });
    let inbound = inbound(&keys);
    let verify = |id| Some(proxy::wasm(&ours, id, &inbound));
    let attach = Some(proxy::wasm(&ours, "attach", &outbound()));
    let jwt_authn = |cached| Some(proxy::jwt_authn(&keys, AUDIENCE, cached));
    let injector = Some(proxy::credential_injector());
    let ext_authz = |server| Some(proxy::ext_authz(server));
    let (first, empty) = ("jwt_authn-first", "ext_authz-empty");
    Ok([
        (NONE, None, None, Same, Untouched),
        ("credential_injector", None, injector, Same, Attached),
        (first, None, jwt_authn(false), Different, Untouched),
        ("jwt_authn-cached", None, jwt_authn(true), Same, Untouched),
        (TWO_HEADERS, None, Some(two_headers), Same, Untouched),
        ("filter-attach", Some(TWO_HEADERS), attach, Same, Attached),
        (
            "filter-verify-cached",
            Some(TWO_HEADERS),
            verify("cached"),
            Same,
            Named,
        ),
        (
            "filter-verify-first",
            Some(first),
            verify("first"),
            Different,
            Named,
        ),
        (empty, None, ext_authz("empty"), Same, Attached),
        (
            "ext_authz-attache",
            Some(empty),
            ext_authz("gateway"),
            Same,
            Attached,
        ),
    ]
    .map(|(name, floor, filter, shown, expected)| Kind {
        name,
        floor,
        filter,
        shown,
        expected,
    })
    .into())
}

fn outbound() -> Value {
    json!({ "outbound": {
        "edge": { "cluster": "pod" },
        "caller": { "pod": {} },
        "targets": [{ "cluster": proxy::CLUSTER, "target": format!("http://{HOST}") }],
        "inject": ["authorization"],
    } })
}

fn inbound(keys: &Value) -> Value {
    json!({ "inbound": {
        "audience": AUDIENCE,
        "trust_domains": [{ "name": "cluster.local", "inline": keys }],
        "allow": [{ "spiffe_ids": [CALLER], "methods": ["GET"], "paths": ["/v1"] }],
    } })
}

/// Starts Attaché with a small set, whose target may be reached in plaintext.
async fn serve(
    authority: &Authority,
    cluster: &Cluster,
    plan: &EdgePlan,
) -> Result<(Attache, Arc<Installation>)> {
    let installation = Installation::new(plan).await?;
    let roots = installation.directory().join("ca.crt");
    authority.write(&roots)?;
    let trust = quickstart::trust_provider(cluster, &roots);
    installation.policy(quickstart::TRUST_PROVIDER, &trust)?;
    sets::write(&installation.policies(), 10, ", tls: plaintext-allowed")?;
    let mut attache = installation.launch_under(Command::new("env"))?;
    attache.ready().await?;
    Ok((attache, installation))
}
