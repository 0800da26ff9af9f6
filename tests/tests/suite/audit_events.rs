//! The audit events of real calls have the published format, field by field.

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    authorize::{asking, check, holds_a_token, over_unix},
    client::{self, with_evidence},
    process::Process,
    quickstart::INTERNAL,
    stage::Stage,
    wait::until,
};
use serde_json::{Value, json};

/// The product's sample event, word for word.
const PUBLISHED: &str = r#"{
  "event_id": "evt_01hx9k2z3m4n5p6q7r8s9t0u",
  "timestamp": "2026-06-14T03:47:22.341Z",
  "workload_svid": "spiffe://cluster.local/ns/prod/sa/data-pipeline",
  "workload_type": "kubernetes-pod",
  "target_service": "internal-data-api.prod.svc.cluster.local",
  "policy_matched": "allow:data-pipeline:internal-api:read",
  "token_issued": true,
  "token_id": "tok_prod_8a3f2c1e",
  "ttl_seconds": 900,
  "request_method": "GET",
  "request_path": "/api/v1/records",
  "outcome": "permitted",
  "latency_ms": 3.2
}"#;

/// The fields whose values differ from call to call; all others must be equal to the sample's.
const VARYING: [&str; 4] = ["event_id", "timestamp", "token_id", "latency_ms"];

const CROCKFORD: &str = "0123456789abcdefghjkmnpqrstvwxyz";

/// Asks the sample event's question.
async fn records(stage: &Stage, namespace: &str) -> Result<client::Reply> {
    let token = stage.set.cluster.token(namespace, "data-pipeline")?;
    let request = with_evidence(client::get(INTERNAL, "/api/v1/records?page=2")?, &token)?;
    client::http1(stage.address, request).await
}

fn is_timestamp(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|digit| if digit.is_ascii_digit() { '0' } else { digit })
        .collect();
    shape == "0000-00-00T00:00:00.000Z"
}

fn is_event_id(text: &str) -> bool {
    let digits = text.strip_prefix("evt_").unwrap_or_default();
    // A ULID has 26 digits; the sample's is two short.
    digits.len() == 26 && digits.chars().all(|digit| CROCKFORD.contains(digit))
}

fn is_token_id(text: &str) -> bool {
    let digits = text.strip_prefix("tok_prod_").unwrap_or_default();
    digits.len() == 32
        && digits
            .bytes()
            .all(|digit| b"0123456789abcdef".contains(&digit))
}

#[tokio::test]
async fn a_permitted_call_yields_the_published_event_field_by_field() -> Result<()> {
    let stage = Stage::open().await?;
    assert_eq!(records(&stage, "prod").await?.status, 200);
    let event = stage.set.installation.last_event()?;
    let event = event.as_object().context("no object")?;
    let sample: Value = serde_json::from_str(PUBLISHED)?;
    let sample = sample.as_object().context("no object")?;
    let first: Vec<&String> = event.keys().take(sample.len()).collect();
    assert_eq!(
        first,
        sample.keys().collect::<Vec<_>>(),
        "the published fields come first, in order"
    );
    for (name, published) in sample {
        if !VARYING.contains(&name.as_str()) {
            assert_eq!(&event[name], published, "{name}");
        }
    }
    assert!(
        event["event_id"].as_str().is_some_and(is_event_id),
        "{}",
        event["event_id"]
    );
    assert!(
        event["timestamp"].as_str().is_some_and(is_timestamp),
        "{}",
        event["timestamp"]
    );
    assert!(
        event["token_id"].as_str().is_some_and(is_token_id),
        "{}",
        event["token_id"]
    );
    let latency = event["latency_ms"]
        .as_f64()
        .context("latency_ms is no number")?;
    assert!((0.0..60_000.0).contains(&latency), "{latency}");
    Ok(())
}

#[tokio::test]
async fn our_own_fields_follow_and_say_how_it_was_decided() -> Result<()> {
    let stage = Stage::open().await?;
    assert_eq!(records(&stage, "prod").await?.status, 200);
    let event = stage.set.installation.last_event()?;
    assert_eq!(event["code"], Value::Null);
    assert_eq!(event["trust_provider"], "cluster");
    assert_eq!(event["credential_provider"], "internal-api-token");
    assert_eq!(
        event["audience"],
        "https://internal-data-api.prod.svc.cluster.local"
    );
    assert_eq!(event["mode"], "enforce");
    assert_eq!(event["would_be_outcome"], Value::Null);
    assert_eq!(event["edge"], "edge-1");
    assert_eq!(event["listener"], "egress");
    assert_eq!(event["count"], 1);
    assert!(
        event["policy_revision"]
            .as_str()
            .is_some_and(|revision| !revision.is_empty())
    );
    let source = event["source_address"].as_str().context("no source")?;
    assert!(source.starts_with("127.0.0.1:"), "{source}");
    Ok(())
}

#[tokio::test]
async fn a_denial_has_the_same_fields_with_null_for_what_it_cannot_know() -> Result<()> {
    let stage = Stage::open().await?;
    let unproven = client::http1(stage.address, client::get(INTERNAL, "/api/v1/records")?).await?;
    assert_eq!(unproven.status, 403);
    let event = stage.event_of(&unproven).await?;
    let sample: Value = serde_json::from_str(PUBLISHED)?;
    let names = |value: &Value| {
        let first = |members: &serde_json::Map<String, Value>| -> Vec<String> {
            members.keys().take(13).cloned().collect()
        };
        value.as_object().map(first).unwrap_or_default()
    };
    assert_eq!(names(&event), names(&sample));
    for name in [
        "workload_svid",
        "workload_type",
        "policy_matched",
        "token_id",
        "ttl_seconds",
    ] {
        assert_eq!(event[name], Value::Null, "{name}");
    }
    assert_eq!(event["token_issued"], false);
    assert_eq!(event["outcome"], "denied");
    assert_eq!(event["target_service"], INTERNAL);
    let known = records(&stage, "staging").await?;
    let event = stage.event_of(&known).await?;
    assert_eq!(
        event["workload_svid"],
        "spiffe://cluster.local/ns/staging/sa/data-pipeline"
    );
    assert_eq!(event["workload_type"], "kubernetes-pod");
    let mismatch = json!([event["attribute"], event["expected"], event["actual"]]);
    assert_eq!(mismatch, json!(["k8s.namespace", "prod", "staging"]));
    Ok(())
}

/// The ids that `attache audit ARGUMENTS` finds, and how it prints them to a person.
fn audit(stage: &Stage, arguments: &[&str]) -> Result<(Vec<Value>, Vec<u8>)> {
    let run = |output: &str| -> Result<Vec<u8>> {
        let mut all = vec!["audit", "--output", output];
        all.extend(arguments);
        let output = stage.set.installation.run(&all)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "attache {all:?}: {errors}");
        Ok(output.stdout)
    };
    let found = String::from_utf8(run("json")?)?;
    let found = found
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    Ok((found, run("text")?))
}

#[tokio::test]
async fn the_audit_command_finds_what_is_asked_for() -> Result<()> {
    let stage = Stage::open().await?;
    assert_eq!(records(&stage, "prod").await?.status, 200);
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    let denied = records(&stage, "staging").await?;
    let id = denied.header("x-attache-decision").context("no decision")?;
    let (all, _) = audit(&stage, &[])?;
    assert_eq!(all, stage.set.installation.events()?);
    assert_eq!(all.len(), 3);
    for (arguments, expected) in [
        (vec!["--workload", "payment-svc"], vec!["/v1/charges"]),
        (
            vec!["--target", INTERNAL, "--outcome", "permitted"],
            vec!["/api/v1/records"],
        ),
        (vec!["--outcome", "denied"], vec!["/api/v1/records"]),
        (
            vec!["--code", "attribute-mismatch"],
            vec!["/api/v1/records"],
        ),
        (vec!["--event", id], vec!["/api/v1/records"]),
        (
            vec!["--since", "1h", "--limit", "1"],
            vec!["/api/v1/records"],
        ),
        (vec!["--until", "1h"], vec![]),
    ] {
        let (found, text) = audit(&stage, &arguments)?;
        let paths: Vec<&Value> = found.iter().map(|event| &event["request_path"]).collect();
        assert_eq!(paths, expected, "{arguments:?}");
        assert_eq!(text.is_empty(), expected.is_empty(), "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_audit_command_follows() -> Result<()> {
    let stage = Stage::open().await?;
    let mut command = std::process::Command::new(stage.set.installation.binary());
    command.args(["audit", "--follow", "--output", "json", "--config"]);
    command.arg(stage.set.installation.config());
    let directory = tempfile::tempdir()?;
    let follower = Process::start("follower", &mut command, directory.path())?;
    for expected in 1..=2 {
        assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
        until("the follower to print the event", async || {
            (follower.output().lines().count() == expected).then_some(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_request_contained_cannot_steer_a_terminal() -> Result<()> {
    let stage = Stage::open().await?;
    let channel = over_unix(&stage.set.installation.socket()).await?;
    let token = stage.payment_token()?;
    // No Envoy lets these through; the edge does not rely on it.
    let hostile = "/v1/\u{1b}[2J\u{9b}31m\u{202e}\r\n2026-06-14 permitted";
    for (method, path) in [("GET", hostile), ("GE\u{1b}[2JT", "/v1/charges")] {
        let answer = check(channel.clone(), asking(method, path, &token)).await?;
        assert!(!holds_a_token(&answer), "{answer:?}");
    }
    let (events, text) = audit(&stage, &[])?;
    assert_eq!(events.len(), 2);
    let shown = String::from_utf8(text)?;
    let steering = |letter: char| {
        letter != '\n' && (letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter))
    };
    assert!(!shown.contains(steering), "{shown:?}");
    assert_eq!(
        shown
            .lines()
            .filter(|line| line.starts_with("2026-06-14"))
            .count(),
        0,
        "{shown}"
    );
    Ok(())
}
