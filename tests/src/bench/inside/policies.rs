//! A decision alone, and what it takes to have a set to decide by.

use std::{
    collections::HashMap,
    env,
    hint::black_box,
    io::{self, Write as _},
    process,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use attache_core::{
    attestation::{Attestation, ProviderKind},
    evidence::Evidence,
    request::{Host, Request, RequestPath, Transport},
    secret::Secret,
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_policy::{Compiled, Context, Decision, Settings, Source, compile};
use attache_trust::{KeySource, ProviderConfig, Trust, TrustSettings};
use saphyr_parser::Parser;
use std::sync::Arc;
use tokio::process::Command;

use super::{Told, Work};
use crate::{
    bench::{Plan, sets, usage},
    forgery::RsaKey,
};

/// The argument by which the program holds a set of policies and says what that takes.
pub const HOLD: &str = "hold-policies";

const ISSUER: &str = "https://cluster.example";
/// Different calls that are decided in turn.
const CALLS: usize = 16;

/// Decisions by, and compilations of, a set of each size.
pub(super) async fn works(plan: &Plan) -> Result<Vec<Work>> {
    let mut works = Vec::new();
    for &size in &plan.sizes {
        let sources = Arc::new(sources(size)?);
        works.extend(decisions(size, &sources).await?);
        let text = Arc::clone(&sources);
        let events = named("yaml-events", size);
        works.push(Work::new(events, None, Told::Threads, move || {
            let events = text.iter().map(|source| {
                let text = str::from_utf8(&source.text)?;
                anyhow::Ok(Parser::new_from_str(text).filter(Result::is_ok).count())
            });
            let events = events.sum::<Result<usize>>()?;
            ensure!(events > size, "the text has {events} events");
            Ok(())
        }));
        let compiling = format!("compile-{size}");
        works.push(Work::new(
            compiling,
            Some(events),
            Told::Threads,
            move || compiled(&sources).map(drop),
        ));
    }
    Ok(works)
}

/// Names of floors live as long as the program.
fn named(what: &str, size: usize) -> &'static str {
    format!("{what}-{size}").leak()
}

fn sources(size: usize) -> Result<Vec<Source>> {
    let mut sources = vec![Source {
        name: "trust-provider.yaml".to_owned(),
        text: format!(
            "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: cluster }}\n\
             spec: {{ type: kubernetes-service-account, issuer: \"{ISSUER}\" }}\n"
        )
        .into_bytes(),
    }];
    for (name, text) in sets::files(size, "")? {
        let text = text.into_bytes();
        sources.push(Source { name, text });
    }
    Ok(sources)
}

fn compiled(sources: &[Source]) -> Result<Compiled> {
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local")?,
        trust_providers: Vec::new(),
    };
    compile(sources, &settings).map_err(|problems| anyhow!("{problems}"))
}

/// One call whose decision is known.
struct Call {
    caller: Attestation,
    key: String,
    host: Host,
    elsewhere: Host,
}

impl Call {
    fn request<'a>(&self, host: &'a Host) -> Result<Request<'a>> {
        Ok(Request {
            host,
            port: 443,
            transport: Transport::Tls,
            method: "GET",
            path: RequestPath::parse("/v1/charges").map_err(|_invalid| anyhow!("no path"))?,
        })
    }
}

async fn decisions(size: usize, sources: &[Source]) -> Result<Vec<Work>> {
    let set = Arc::new(compiled(sources)?);
    let calls: Arc<[Call]> = calls(size).await?.into();
    let names = (0..size).map(|index| (format!("spiffe://cluster.local/ns/team-{index}"), index));
    let names: HashMap<String, usize> = names.collect();
    let hosts: HashMap<String, usize> = (0..size).map(|index| (sets::host(index), index)).collect();
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let lookups = named("hash-lookups", size);
    let (of_lookups, of_misses) = (Arc::clone(&calls), Arc::clone(&calls));
    let misses_set = Arc::clone(&set);
    let mut turn = in_turn();
    let floor = Work::new(lookups, None, Told::Time, move || {
        let call = turn(&of_lookups)?;
        let name = names.get(black_box(&call.key));
        let host = hosts.get(black_box(call.host.as_str()));
        ensure!(name == host && name.is_some(), "a name is missing");
        Ok(())
    });
    let mut turn = in_turn();
    let hit = Work::new(
        format!("decide-{size}"),
        Some(lookups),
        Told::Time,
        move || {
            let call = turn(&calls)?;
            let request = call.request(&call.host)?;
            let decided = set.decide(&call.caller, black_box(&request), &Context::at(now));
            let allowed = matches!(decided.decision(), Decision::Allow(_));
            ensure!(allowed, "{} is denied", call.host.as_str());
            Ok(())
        },
    );
    let mut turn = in_turn();
    let miss = Work::new(
        format!("decide-{size}-denied"),
        Some(lookups),
        Told::Time,
        move || {
            let call = turn(&of_misses)?;
            let request = call.request(&call.elsewhere)?;
            let decided = misses_set.decide(&call.caller, black_box(&request), &Context::at(now));
            let denied = matches!(decided.decision(), Decision::Deny(_));
            ensure!(denied, "{} is allowed", call.elsewhere.as_str());
            Ok(())
        },
    );
    Ok(vec![floor, hit, miss])
}

fn in_turn() -> impl FnMut(&[Call]) -> Result<&Call> {
    let mut number = 0_usize;
    move |calls: &[Call]| {
        number = number.wrapping_add(1);
        calls.get(number % calls.len().max(1)).context("no call")
    }
}

/// Calls of callers that really were attested, spread over the whole set.
async fn calls(size: usize) -> Result<Vec<Call>> {
    let key = RsaKey::generate("cluster-key-1")?;
    let at = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let trust = Trust::new(TrustSettings::new(Arc::new(move || at)));
    trust.replace(vec![ProviderConfig::new(
        "cluster",
        ProviderKind::KubernetesServiceAccount,
        ISSUER,
        KeySource::Inline(serde_json::json!({ "keys": [key.jwk()] }).to_string()),
        TrustDomain::parse("cluster.local")?,
    )])?;
    let mut calls = Vec::new();
    for call in 0..CALLS {
        let index = call * size / CALLS;
        let namespace = format!("team-{index}");
        let token = key.sign(&sets::claims(ISSUER, &namespace, "app"))?;
        let evidence = Evidence::Token(Secret::new(token));
        let attested = trust.attest(&evidence, at).await;
        let host = |name: &str| Host::parse(name).map_err(|_invalid| anyhow!("no host"));
        calls.push(Call {
            caller: attested.map_err(|why| anyhow!("{namespace} is not attested: {why:?}"))?,
            key: format!("spiffe://cluster.local/ns/{namespace}"),
            host: host(&sets::host(index))?,
            elsewhere: host(&format!("svc-{index}.example.net"))?,
        });
    }
    Ok(calls)
}

/// What a process grows by that takes a set of `size` policies into force, in MiB: asked of this program, started
/// again, because memory that was used before hides what is used now.
pub(super) async fn held(size: usize) -> Result<f64> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.arg(HOLD).arg(size.to_string()).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{HOLD} {size}: {errors}");
    let text = String::from_utf8(output.stdout)?;
    text.trim()
        .parse()
        .with_context(|| format!("{HOLD}: {text}"))
}

/// Compiles `size` policies, gives their text back, and prints by how much the process grew.
pub fn hold(size: &str) -> Result<()> {
    let before = usage::Memory::of(process::id())?.resident;
    let set = compiled(&sources(size.parse()?)?)?;
    let after = usage::Memory::of(process::id())?.resident;
    black_box(&set);
    writeln!(io::stdout(), "{:.3}", after - before)?;
    Ok(())
}
