//! The metrics: read by the reference parser, named as they are documented, counted as calls are made.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::Installation,
    client, peers,
    stage::{Script, Stage},
    workspace,
};
use serde_json::Value;
use tokio::net::UnixStream;

/// The value of the sample `name` with exactly these labels.
fn value(families: &Value, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let families = families.as_object()?.values();
    let mut samples =
        families.flat_map(|family| family["samples"].as_array().into_iter().flatten());
    let found = samples.find(|sample| {
        let its = sample["labels"].as_object();
        sample["name"] == name
            && its.is_some_and(|its| {
                its.len() == labels.len() && labels.iter().all(|(key, value)| its[*key] == *value)
            })
    })?;
    found["value"].as_f64()
}

async fn scrape(installation: &Installation) -> Result<Value> {
    let mut request = client::get("admin", "/metrics")?;
    let accepted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    request.headers_mut().insert("accept", accepted.parse()?);
    let stream = UnixStream::connect(installation.admin()).await?;
    let reply = client::http1_over(stream, request).await?;
    assert_eq!(reply.status, 200);
    let kind = reply.header("content-type").context("no content type")?;
    ensure!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    peers::metrics(std::str::from_utf8(&reply.body)?)
}

fn names(families: &Value) -> Result<BTreeSet<String>> {
    let families = families.as_object().context("no object")?;
    Ok(families.keys().cloned().collect())
}

/// The metrics of the users' page, by the names of their families.
fn documented() -> Result<BTreeSet<String>> {
    let page = fs::read_to_string(workspace::root().join("docs/metrics.md"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let names = names.filter(|name| name.starts_with("attache_") || name.starts_with("process_"));
    let names = names.map(|name| name.trim_end_matches("_total").trim_end_matches("_info"));
    Ok(names.map(str::to_owned).collect())
}

/// Of three permits and one denial.
fn stages_keys_and_process(families: &Value) -> Result<()> {
    let passed = |stage| {
        let name = "attache_stage_duration_seconds_count";
        value(families, name, &[("stage", stage)])
    };
    for stage in ["evidence", "decide", "audit"] {
        ensure!(passed(stage) >= Some(4.0), "{stage}: {:?}", passed(stage));
    }
    assert_eq!(passed("credential"), Some(3.0));
    let signs = &families["attache_signing_key_active_timestamp_seconds"]["samples"];
    assert_eq!(signs.as_array().map(Vec::len), Some(2), "{signs}");
    ensure!(value(families, "process_resident_memory_bytes", &[]) > Some(1e6));
    Ok(())
}

#[tokio::test]
async fn what_happens_is_counted_and_nothing_else_than_what_is_documented_is_told() -> Result<()> {
    let stage = Stage::play(Script::default()).await?;
    let installation = &stage.set.installation;
    let token = stage.payment_token()?;
    for _ in 0..3 {
        assert_eq!(stage.charges(&token).await?.status, 200);
    }
    let stranger = stage.set.cluster.token("staging", "payment-svc")?;
    let denied = stage.charges(&stranger).await?;
    let code = denied.code().context("no code")?.to_owned();
    installation.policy("broken.yaml", "kind: Nothing\n")?;
    ensure!(!installation.run(&["reload"])?.status.success());

    let families = scrape(installation).await?;
    let is = |name: &str, labels: &[(&str, &str)], wanted: f64| {
        assert_eq!(
            value(&families, name, labels),
            Some(wanted),
            "{name}{labels:?}"
        );
    };
    let decisions = "attache_decisions_total";
    let of = |outcome, code| [("listener", "egress"), ("outcome", outcome), ("code", code)];
    is(decisions, &of("permitted", "none"), 3.0);
    is(decisions, &of("denied", &code), 1.0);
    is(
        "attache_decision_duration_seconds_count",
        &[("outcome", "permitted")],
        3.0,
    );
    stages_keys_and_process(&families)?;
    is("attache_calls_in_flight", &[], 0.0);
    is("attache_policy_refused", &[], 1.0);
    is(
        "attache_policy_reloads_total",
        &[("result", "accepted")],
        1.0,
    );
    is("attache_audit_events_total", &[("result", "recorded")], 4.0);
    is("attache_ready", &[], 1.0);
    let refused = value(
        &families,
        "attache_policy_reloads_total",
        &[("result", "refused")],
    );
    ensure!(refused >= Some(1.0), "{refused:?}");
    let usable = &families["attache_trust_provider_usable"]["samples"][0];
    assert_eq!(usable["value"], 1.0, "{usable}");
    let last = installation.last_event()?;
    let revision = last["policy_revision"].as_str().context("no revision")?;
    is("attache_policy_info", &[("revision", revision)], 1.0);

    assert_eq!(names(&families)?, documented()?);
    let text = families.to_string();
    ensure!(
        !text.contains(&token) && !text.contains("eyJ"),
        "a token stands in {text}"
    );
    Ok(())
}
