//! Looks for secrets wherever something is written down or told: logs, events, metrics, status, explanations, spans of
//! ours and of Envoy's, the store, Envoy's access log and messages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    admin,
    bootstrap::Bootstrap,
    collector::Collector,
    stage::{Set, Stage},
    workspace,
};

/// What secrets of tests hold.
pub const WORD: &str = "canary";

/// The same in base64, wherever it may begin.
const ENCODED: [&str; 3] = ["Y2FuYXJ5", "NhbmFye", "jYW5hcn"];

/// A program that runs the next one with a log at its finest level.
pub fn loudly() -> Command {
    let mut command = Command::new("env");
    command.arg("ATTACHE_LOG_LEVEL=trace");
    command
}

/// The setting that has the server send spans to `collector`.
pub fn traced(collector: &Collector) -> String {
    format!("traces: {{ endpoint: \"http://{}\" }}", collector.address())
}

/// A bootstrap whose Envoy traces to `collector`, as the page about traces says.
pub fn tracing(bootstrap: Bootstrap, collector: &Collector) -> Result<Bootstrap> {
    let page = fs::read_to_string(workspace::root().join("docs/traces.md"))?;
    let blocks = page.split("```yaml\n").skip(1);
    let examples = blocks.filter_map(|block| Some(block.split_once("```")?.0.to_owned()));
    let examples: Vec<String> = examples.collect();
    let [tracer, cluster] = &examples[..] else {
        anyhow::bail!("there are {} examples", examples.len());
    };
    let address = collector.address();
    let place = "address: collector.observability, port_value: 4317";
    ensure!(cluster.contains(place), "{cluster}");
    let here = format!("address: {}, port_value: {}", address.ip(), address.port());
    let cluster = cluster.replace(place, &here);
    bootstrap
        .replace(
            "          stat_prefix: egress\n",
            &format!("          stat_prefix: egress\n{tracer}"),
        )?
        .replace("  clusters:\n", &format!("  clusters:\n{cluster}"))
}

/// An error if a text holds one of the secrets; `WORD` in plain or in base64 is always one.
fn check(what: &str, bytes: &[u8], secrets: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(bytes);
    for secret in ENCODED.iter().chain(&[WORD]).chain(secrets) {
        let Some((before, after)) = text.split_once(secret) else {
            continue;
        };
        let before: String = before.chars().rev().take(200).collect();
        let before: String = before.chars().rev().collect();
        let after: String = after.chars().take(200).collect();
        anyhow::bail!("{what} holds {secret}: …{before}{secret}{after}…");
    }
    Ok(())
}

/// Looks everywhere, and stops the server for it. `kept` are the names of the files that hold secrets by right.
pub async fn are_nowhere(
    mut stage: Stage,
    collector: &Collector,
    secrets: &[&str],
    kept: &[&str],
) -> Result<()> {
    let events = stage.set.installation.events()?;
    ensure!(!events.is_empty(), "no call was recorded");
    told(&stage, &events, secrets).await?;
    spans(collector, &events, secrets).await?;
    let log = stage.envoy.access_log();
    ensure!(log.len() >= events.len(), "{log:?}");
    let log: Vec<String> = log.iter().map(ToString::to_string).collect();
    check("Envoy's access log", log.concat().as_bytes(), secrets)?;
    let messages = stage.envoy.messages();
    check("Envoy's messages", messages.as_bytes(), secrets)?;
    stage.attache.process.stop().await?;
    written(&stage.set, secrets, kept)
}

/// What the server tells whoever asks.
async fn told(stage: &Stage, events: &[Value], secrets: &[&str]) -> Result<()> {
    let installation = &stage.set.installation;
    let (_, metrics) = admin::text(&installation.admin(), "/metrics").await?;
    check("the metrics", metrics.as_bytes(), secrets)?;
    let mut ids: Vec<&str> = Vec::new();
    for code in [true, false] {
        let mut events = events.iter();
        let found = events.find(|event| event["code"].is_string() == code);
        ids.extend(found.and_then(|event| event["event_id"].as_str()));
    }
    let mut runs = vec![vec!["status"], vec!["audit", "--output", "json"]];
    for id in ids {
        runs.push(vec!["explain", "--event", id]);
        runs.push(vec!["explain", "--output", "json", "--event", id]);
    }
    for arguments in runs {
        let run = installation.run(&arguments)?;
        ensure!(!run.stdout.is_empty(), "{arguments:?} says nothing");
        check(arguments[0], &run.stdout, secrets)?;
        check(arguments[0], &run.stderr, secrets)?;
    }
    Ok(())
}

/// The spans of the last call, and all before.
async fn spans(collector: &Collector, events: &[Value], secrets: &[&str]) -> Result<()> {
    let last = events.last().and_then(|event| event["event_id"].as_str());
    let last = last.context("an id")?;
    let decision = collector
        .span("our span of the last call", |one| {
            one.span.name == "attache.decision"
                && crate::collector::text(&one.span.attributes, "attache.decision_id").as_deref()
                    == Some(last)
        })
        .await?
        .span;
    let of_trace = |one: &crate::collector::Received| {
        one.service == "envoy" && one.span.trace_id == decision.trace_id
    };
    // The request's own, which has the URL, comes when the request is over.
    let has_url = |one: &crate::collector::Received| {
        crate::collector::text(&one.span.attributes, "http.url").is_some()
    };
    collector
        .span("Envoy's span of the last request", |one| {
            of_trace(one) && has_url(one)
        })
        .await?;
    for one in collector.received() {
        let span = format!("{} {:?}", one.service, one.span);
        check("a span", span.as_bytes(), secrets)?;
    }
    Ok(())
}

/// Logs at their finest level, the audit journal, the store, and whatever else lies in the server's folder.
fn written(set: &Set, secrets: &[&str], kept: &[&str]) -> Result<()> {
    let mut files = Vec::new();
    below(set.installation.directory(), kept, &mut files)?;
    let names: Vec<_> = files.iter().filter_map(|path| path.file_name()).collect();
    for expected in ["attache.err", "attache.db"] {
        ensure!(names.iter().any(|name| *name == expected), "{names:?}");
    }
    let log = fs::read_to_string(set.installation.directory().join("attache.err"))?;
    ensure!(log.contains("TRACE"), "the log is not at its finest level");
    for path in files {
        let held = fs::read(&path)?;
        check(&path.display().to_string(), &held, secrets)?;
    }
    Ok(())
}

fn below(folder: &Path, kept: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if kept.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            below(&path, kept, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}
