//! What a decision costs beside one lookup in a standard `HashMap` of as many keys, and how much memory a set
//! takes. `cargo bench -p attache-policy --bench decisions`
//!
//! Each set has one client workload, one server workload and one policy for every policy counted, so that
//! one policy matches a call, however many there are.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

#[path = "sets/large.rs"]
mod large;

use std::{
    alloc::System,
    collections::HashMap,
    hint::black_box,
    sync::LazyLock,
    time::{Duration, Instant},
};

use attache_core::{
    attestation::{Attestation, Proven, ProviderKind},
    attributes::Attributes,
    request::{Host, Request, RequestPath, Transport},
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};
use attache_policy::{Compiled, Context, Decision, Settings, Source, compile};
use divan::{Bencher, counter::ItemsCount};
use large::documents;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// How many different calls are made in turn: those of the workloads that one edge serves at a time.
const CALLS: usize = 16;
/// As many that the processor's caches do not hold what they touch.
const MANY_CALLS: usize = 4096;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn main() {
    report_memory();
    divan::main();
}

struct Site {
    set: Compiled,
    names: HashMap<String, usize>,
    hosts: HashMap<String, usize>,
    calls: Vec<Call>,
}

struct Call {
    caller: Attestation,
    host: Host,
    elsewhere: Host,
    key: String,
}

fn compiled(sources: &[Source]) -> Compiled {
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").expect("a trust domain"),
        trust_providers: Vec::new(),
    };
    compile(sources, &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a decision starts from an attestation, and no evidence is read here"
)]
fn caller(index: usize) -> Attestation {
    let (namespace, account) = (format!("team-{}", index % 1000), format!("app-{index}"));
    let domain = TrustDomain::parse("cluster.local").expect("a trust domain");
    let segments = ["ns", &namespace, "sa", &account];
    let mut attributes = Attributes::new();
    attributes.set("k8s.namespace", &namespace);
    attributes.set("k8s.serviceAccount", &account);
    attributes.set(
        "k8s.serviceAccountUid",
        "5f3c9d0a-0000-4000-8000-000000000000",
    );
    attributes.set("k8s.podName", &format!("{account}-7d4b9c-x2x9k"));
    Attestation::attested(Proven {
        provider: "cluster".into(),
        kind: ProviderKind::KubernetesServiceAccount,
        spiffe_id: SpiffeId::of(&domain, segments).expect("a SPIFFE ID"),
        attributes,
        expires_at: Timestamp::from_seconds(1_800_003_600),
    })
}

static SITES: LazyLock<Vec<Site>> = LazyLock::new(|| SIZES.map(site).into());

fn site(size: usize) -> Site {
    let set = compiled(&documents(size));
    let key = |index: usize| {
        format!(
            "spiffe://cluster.local/ns/team-{}/sa/app-{index}",
            index % 1000
        )
    };
    let names = (0..size).map(|index| (key(index), index)).collect();
    let hosts = (0..size).map(|index| (format!("svc-{index}.example.com"), index));
    let hosts = hosts.collect();
    // Spread over the whole set.
    let spread = (0..MANY_CALLS).map(|call| call.wrapping_mul(7919) % size);
    let calls = spread.map(|index| Call {
        caller: caller(index),
        host: Host::parse(&format!("svc-{index}.example.com")).expect("a host"),
        elsewhere: Host::parse(&format!("svc-{index}.example.net")).expect("a host"),
        key: key(index),
    });
    let calls = calls.collect();
    Site {
        set,
        names,
        hosts,
        calls,
    }
}

fn site_of(size: usize) -> &'static Site {
    let place = SIZES.iter().position(|known| *known == size);
    &SITES[place.expect("a known size")]
}

fn request(host: &Host) -> Request<'_> {
    Request {
        host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/v1/records").expect("a path"),
    }
}

/// Runs `decide` for each of `count` calls.
fn each(
    bencher: Bencher<'_, '_>,
    (size, count): (usize, usize),
    decide: impl Fn(&Site, &Call) + Sync,
) {
    let site = site_of(size);
    bencher.counter(ItemsCount::new(count)).bench(|| {
        for call in site.calls.iter().take(count) {
            decide(site, call);
        }
    });
}

fn look_up(site: &Site, call: &Call) {
    black_box(site.names.get(black_box(&call.key)));
}

fn look_up_both(site: &Site, call: &Call) {
    look_up(site, call);
    black_box(site.hosts.get(black_box(call.host.as_str())));
}

fn allow(site: &Site, call: &Call) {
    let request = request(&call.host);
    let decided = site
        .set
        .decide(&call.caller, black_box(&request), &Context::at(NOW));
    assert!(matches!(decided.decision(), Decision::Allow(_)));
}

/// As [`allow`], and what an audit event tells of it.
fn allow_and_tell(site: &Site, call: &Call) {
    let request = request(&call.host);
    let decided = site
        .set
        .decide(&call.caller, black_box(&request), &Context::at(NOW));
    let Decision::Allow(grant) = decided.decision() else {
        panic!("it is allowed");
    };
    black_box(grant.policy_matched().len());
}

fn deny(site: &Site, call: &Call) {
    let request = request(&call.elsewhere);
    let decided = site
        .set
        .decide(&call.caller, black_box(&request), &Context::at(NOW));
    assert!(matches!(decided.decision(), Decision::Deny(_)));
}

#[divan::bench(args = SIZES)]
fn a_hash_map_lookup(bencher: Bencher<'_, '_>, size: usize) {
    each(bencher, (size, CALLS), look_up);
}

#[divan::bench(args = SIZES)]
fn a_hit(bencher: Bencher<'_, '_>, size: usize) {
    each(bencher, (size, CALLS), allow);
}

#[divan::bench(args = SIZES)]
fn a_miss(bencher: Bencher<'_, '_>, size: usize) {
    each(bencher, (size, CALLS), deny);
}

/// Out of the caches.
mod cold {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn a_hash_map_lookup(bencher: Bencher<'_, '_>, size: usize) {
        each(bencher, (size, MANY_CALLS), look_up);
    }

    #[divan::bench(args = SIZES)]
    fn a_hit(bencher: Bencher<'_, '_>, size: usize) {
        each(bencher, (size, MANY_CALLS), allow);
    }

    #[divan::bench(args = SIZES)]
    fn a_hit_with_its_name(bencher: Bencher<'_, '_>, size: usize) {
        each(bencher, (size, MANY_CALLS), allow_and_tell);
    }

    /// Floor: one lookup of the caller, one of the host.
    #[divan::bench(args = SIZES)]
    fn two_hash_map_lookups(bencher: Bencher<'_, '_>, size: usize) {
        each(bencher, (size, MANY_CALLS), look_up_both);
    }

    #[divan::bench(args = SIZES)]
    fn a_miss(bencher: Bencher<'_, '_>, size: usize) {
        each(bencher, (size, MANY_CALLS), deny);
    }
}

/// A CEL condition as long as they come, and one as people write them.
#[divan::bench(args = ["written", "longest"])]
fn a_cel_condition(bencher: Bencher<'_, '_>, which: &str) {
    let written = "request.method == \"GET\" && \"team-1\" == attributes[\"k8s.namespace\"] && request.path.startsWith(\"/v1/\")";
    let part = "request.headers[\"x-long\"].contains(\"zzzzzzzzzz\") || ";
    let longest = format!("{}true", part.repeat(35));
    let expression = if which == "written" {
        written
    } else {
        &longest
    };
    let policies = format!(
        "---\napiVersion: attache.dev/v1\nkind: AccessCondition\nmetadata: {{name: it}}\nspec: {{cel: '{expression}'}}\n---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{name: no}}\nspec: {{effect: deny, client: app-1, server: svc-1, actions: [all], conditions: [it]}}\n"
    );
    let mut sources = documents(10);
    sources.push(Source {
        name: "cel.yaml".to_owned(),
        text: policies.into_bytes(),
    });
    let set = compiled(&sources);
    let (caller, host) = (caller(1), Host::parse("svc-1.example.com").expect("a host"));
    let long = "y".repeat(8192);
    let headers = [("x-long", long.as_bytes())];
    let context = Context {
        headers: Some(&headers),
        ..Context::at(NOW)
    };
    bencher.bench(|| {
        let request = request(&host);
        let decided = set.decide(&caller, black_box(&request), &context);
        assert!(matches!(decided.decision(), Decision::Deny(_)));
    });
}

/// Resident bytes, and allocations of a decision.
#[expect(clippy::disallowed_methods, reason = "a stopwatch for people")]
fn report_memory() {
    for size in SIZES {
        let sources = documents(size);
        let text: usize = sources.iter().map(|source| source.text.len()).sum();
        let region = Region::new(ALLOCATOR);
        let began = Instant::now();
        let set = compiled(&sources);
        let took: Duration = began.elapsed();
        let change = region.change();
        let resident = change.bytes_allocated - change.bytes_deallocated;
        let (caller, host) = (caller(1), Host::parse("svc-1.example.com").expect("a host"));
        let request = request(&host);
        let region = Region::new(ALLOCATOR);
        let allowed = matches!(
            set.decide(&caller, &request, &Context::at(NOW)).decision(),
            Decision::Allow(_)
        );
        let allocations = region.change().allocations;
        println!(
            "{size} policies: compiled in {took:.2?} from {text} bytes; {} bytes a policy resident, {} allocations each while compiling; a decision (allowed: {allowed}) allocates {allocations} times",
            resident / size,
            change.allocations / size,
        );
    }
}
