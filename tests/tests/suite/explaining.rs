//! `attache explain` and `attache test` against real servers: what is explained is what is decided.

use std::{
    fs,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{EdgePlan, Installation},
    authorize::{asking, check, over_unix},
    quickstart::STRIPE,
    stage::{CHARGES, Script, Set, Stage},
    workspace,
};
use envoy_types::ext_authz::v3::pb::{CheckResponse, HttpResponse};
use serde_json::Value;
use tonic::transport::Channel;

const PRODUCTION: [&str; 4] = [
    "--attribute",
    "k8s.namespace=production",
    "--attribute",
    "k8s.serviceAccount=payment-svc",
];

/// A policy beside the quick start's: nobody may see the archive.
const NO_ARCHIVE: &str = "\
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: archive }
spec: { host: api.stripe.com, paths: [/v1/archive] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: no-archive }
spec: { effect: deny, client: payment-service, server: archive, actions: [all] }
";

fn told(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(errors)
    )
}

/// What `attache explain ARGUMENTS --output json --config FILE` says.
fn explain(installation: &Installation, arguments: &[&str]) -> Result<Value> {
    let mut all = vec!["explain", "--output", "json"];
    all.extend(arguments);
    let output = installation.run(&all)?;
    ensure!(output.status.success(), "{arguments:?}: {}", told(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Outcome and code of an explanation.
fn verdict(explained: &Value) -> (&str, Option<&str>) {
    let verdict = &explained["verdict"];
    (
        verdict["outcome"].as_str().unwrap_or_default(),
        verdict["code"].as_str(),
    )
}

/// Outcome and code of a real answer.
fn answered(answer: &CheckResponse) -> (&'static str, Option<String>) {
    match &answer.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => {
            let headers = denied
                .headers
                .iter()
                .filter_map(|option| option.header.as_ref());
            let code = headers
                .clone()
                .find(|header| header.key == "x-attache-code");
            let code = code.map(|header| header.value.clone());
            let status = denied.status.as_ref().map_or(0, |status| status.code);
            (if status == 403 { "denied" } else { "error" }, code)
        }
        _ => ("permitted", None),
    }
}

/// One call of Stripe, explained and then made: both end alike. How it ended, and its code.
async fn explained_as_answered(
    set: &Set,
    channel: &Channel,
    token: &str,
    (method, path): (&str, &str),
) -> Result<(&'static str, Option<String>)> {
    let file = set.installation.directory().join("token.jwt");
    fs::write(&file, token)?;
    let evidence = file.to_str().context("a path")?;
    let caller = ["--evidence", evidence, "--host", STRIPE];
    let asked = ["--method", method, "--path", path];
    let explained = explain(&set.installation, &[caller, asked].concat())?;
    let real = check(channel.clone(), asking(method, path, token)).await?;
    let (outcome, code) = answered(&real);
    assert_eq!(
        verdict(&explained),
        (outcome, code.as_deref()),
        "{method} {path}: {explained}"
    );
    // Neither the token nor its signature is repeated.
    let signature = token.rsplit('.').next().unwrap_or_default();
    for part in [token, signature].iter().filter(|part| part.len() > 20) {
        ensure!(!explained.to_string().contains(*part), "{explained}");
    }
    Ok((outcome, code))
}

#[tokio::test]
async fn a_running_edge_explains_what_it_answers() -> Result<()> {
    let script = Script {
        policies: vec![("no-archive.yaml", NO_ARCHIVE.to_owned())],
        ..Script::default()
    };
    let set = Set::build(script).await?;
    let _attache = set.installation.start().await?;
    let channel = over_unix(&set.installation.socket()).await?;
    let callers = [
        set.cluster.token("production", "payment-svc")?,
        set.cluster.token("staging", "payment-svc")?,
        "no.token.atall".to_owned(),
    ];
    let calls = [
        ("GET", CHARGES),
        ("POST", "/v1/archive/2020?page=2"),
        ("GET", "/v1/archives"),
        ("GET", "/v1/..%2farchive"),
        ("TRACE", CHARGES),
    ];
    let mut outcomes = Vec::new();
    for token in &callers {
        for call in calls {
            outcomes.push(explained_as_answered(&set, &channel, token, call).await?);
        }
    }
    for code in [
        None,
        Some("denied-by-policy"),
        Some("attribute-mismatch"),
        Some("path-ambiguous"),
        Some("method-refused"),
    ] {
        let mut seen = outcomes.iter().map(|(_, seen)| seen.as_deref());
        ensure!(seen.any(|seen| seen == code), "{code:?}: {outcomes:?}");
    }
    // Explaining is no access: each real question left one event, and no explanation left any.
    assert_eq!(
        set.installation.events()?.len(),
        callers.len() * calls.len()
    );
    Ok(())
}

#[tokio::test]
async fn the_way_to_a_decision_names_policy_checks_and_credential() -> Result<()> {
    let stage = Stage::open().await?;
    let installation = &stage.set.installation;
    let mut permitted = vec!["--host", STRIPE, "--path", CHARGES];
    permitted.extend(PRODUCTION);
    let explained = explain(installation, &permitted)?;
    assert_eq!(verdict(&explained), ("permitted", None));
    assert_eq!(explained["verdict"]["policy"], "payment-to-stripe");
    assert_eq!(
        explained["verdict"]["credential"]["header"],
        "authorization"
    );
    assert_eq!(
        explained["verdict"]["credential"]["audience"],
        "https://api.stripe.com"
    );
    assert_eq!(explained["policy"]["policies"][0]["part"], "decides");
    let notes = explained["notes"].to_string();
    ensure!(notes.contains("nothing of it was verified"), "{notes}");

    let denied = [
        "--host",
        STRIPE,
        "--attribute",
        "k8s.namespace=staging",
        "--attribute",
        "k8s.serviceAccount=payment-svc",
    ];
    let explained = explain(installation, &denied)?;
    assert_eq!(verdict(&explained), ("denied", Some("attribute-mismatch")));
    let mismatch = &explained["verdict"]["mismatch"];
    assert_eq!(
        (&mismatch["expected"], &mismatch["actual"]),
        (&"production".into(), &"staging".into())
    );
    let nearest = &explained["policy"]["policies"][0];
    assert_eq!(
        (&nearest["policy"], &nearest["part"]),
        (&"payment-to-stripe".into(), &"nearest".into())
    );

    let mut arguments = vec!["explain"];
    arguments.extend(denied);
    let text = told(&installation.run(&arguments)?);
    for part in [
        "DENIED attribute-mismatch",
        "NO  k8s.namespace",
        "expected production, actual staging",
    ] {
        ensure!(text.contains(part), "{part} is missing in\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_curl_command_line_is_explained_with_the_evidence_that_it_carries() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let through_envoy = format!(
        "curl -sS -H 'x-attache-evidence: Bearer {token}' -x http://{} 'http://{STRIPE}{CHARGES}?limit=3' -d amount=5",
        stage.address
    );
    // The configuration is named before the words that are curl's.
    let output = Command::new(stage.set.installation.binary())
        .args(["explain", "--output", "json", "--config"])
        .arg(stage.set.installation.config())
        .args(["--", &through_envoy])
        .output()?;
    ensure!(output.status.success(), "{}", told(&output));
    let explained: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(verdict(&explained), ("permitted", None), "{explained}");
    assert_eq!(explained["caller"]["proof"], "verified");
    assert_eq!(explained["call"]["method"], "POST");
    assert_eq!(explained["call"]["port"], 443);
    ensure!(!explained.to_string().contains(&token), "{explained}");
    Ok(())
}

// The cluster answers for its keys while the command runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_verifies_evidence_by_its_own_trust_providers() -> Result<()> {
    let set = Set::build(Script::default()).await?;
    let policies = set.installation.policies();
    let file = set.installation.directory().join("token.jwt");
    let explain = |token: &str, more: &[&str]| -> Result<Value> {
        fs::write(&file, token)?;
        let output = Command::new(set.installation.binary())
            .args(["explain", "--output", "json", "--policies"])
            .arg(&policies)
            .arg("--evidence")
            .arg(&file)
            .args(more)
            .args(["--", "curl", &format!("https://{STRIPE}{CHARGES}")])
            .output()?;
        ensure!(output.status.success(), "{}", told(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let good = set.cluster.token("production", "payment-svc")?;
    let explained = explain(&good, &[])?;
    assert_eq!(verdict(&explained), ("permitted", None), "{explained}");
    assert_eq!(explained["caller"]["proof"], "verified");

    let (unsigned, _) = good.rsplit_once('.').context("a signature")?;
    let forged = format!("{unsigned}.{}", "A".repeat(342));
    let explained = explain(&forged, &[])?;
    assert_eq!(
        verdict(&explained),
        ("denied", Some("token-signature-invalid"))
    );
    assert_eq!(
        (&explained["stage"], &explained["policy"]),
        (&"evidence".into(), &Value::Null)
    );

    let explained = explain(&forged, &["--unverified"])?;
    assert_eq!(
        (verdict(&explained).0, &explained["caller"]["proof"]),
        ("permitted", &"unverified".into())
    );
    ensure!(
        explained["notes"]
            .to_string()
            .contains("NOTHING of the evidence was verified"),
        "{explained}"
    );
    Ok(())
}

#[tokio::test]
async fn an_access_of_the_audit_log_is_explained_and_held_against_todays_policies() -> Result<()> {
    let stage = Stage::open().await?;
    let installation = &stage.set.installation;
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    let permitted = installation.last_event()?;
    let denied = stage
        .charges(&stage.set.cluster.token("staging", "payment-svc")?)
        .await?;
    let denied = stage.event_of(&denied).await?;
    assert_eq!(permitted["target_origin"], "https://api.stripe.com:443");
    assert_eq!(permitted["attributes"]["k8s.namespace"], "production");
    // What no policy asks about is not kept.
    assert_eq!(permitted["attributes"]["k8s.podName"], Value::Null);

    let id = |event: &Value| event["event_id"].as_str().unwrap_or_default().to_owned();
    for (event, expected) in [
        (&permitted, ("permitted", None)),
        (&denied, ("denied", Some("attribute-mismatch"))),
    ] {
        let explained = explain(installation, &["--event", &id(event)])?;
        assert_eq!(verdict(&explained), expected, "{explained}");
        assert_eq!(explained["event"]["differs"], false, "{explained}");
        assert_eq!(explained["call"]["at"], event["timestamp"]);
        assert_eq!(explained["caller"]["proof"], "recorded");
    }

    let closed = NO_ARCHIVE.replace("[/v1/archive]", "[/v1]");
    installation.policy("closed.yaml", &closed)?;
    ensure!(
        installation.run(&["reload"])?.status.success(),
        "not reloaded"
    );
    let explained = explain(installation, &["--event", &id(&permitted)])?;
    assert_eq!(
        verdict(&explained),
        ("denied", Some("denied-by-policy")),
        "{explained}"
    );
    assert_eq!(explained["event"]["differs"], true);
    assert_eq!(
        explained["event"]["policy_matched"],
        permitted["policy_matched"]
    );
    let explained = explain(installation, &["--event", &id(&denied)])?;
    assert_eq!(explained["event"]["differs"], false, "{explained}");
    let text = told(&installation.run(&["explain", "--event", &id(&permitted)])?);
    ensure!(
        text.contains("today's policies would decide otherwise"),
        "{text}"
    );

    let unknown = installation.run(&["explain", "--event", "evt_00000000000000000000000000"])?;
    assert_eq!(unknown.status.code(), Some(1));
    ensure!(
        told(&unknown).contains("holds no event"),
        "{}",
        told(&unknown)
    );
    Ok(())
}

#[tokio::test]
async fn an_access_whose_caller_was_not_proven_says_so() -> Result<()> {
    let stage = Stage::open().await?;
    let forged = stage.charges("no.token.atall").await?;
    let event = stage.event_of(&forged).await?;
    let id = event["event_id"].as_str().context("an id")?;
    let explained = explain(&stage.set.installation, &["--event", id])?;
    assert_eq!(verdict(&explained), ("denied", event["code"].as_str()));
    assert_eq!(
        (&explained["event"]["differs"], &explained["policy"]),
        (&Value::Null, &Value::Null)
    );
    Ok(())
}

#[tokio::test]
async fn wrong_usage_and_a_server_that_is_away_have_exit_codes_of_their_own() -> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    for (arguments, expected) in [
        (&["explain"][..], 2),
        (&["explain", "--unverified", "--host", "a.test"], 2),
        (&["explain", "--event", "evt_1", "--host", "a.test"], 2),
        (&["explain", "--host", "a.test", "--port", "0x"], 2),
        (&["explain", "--host", "a.test"], 1),
    ] {
        let output = installation.run(arguments)?;
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{arguments:?}: {}",
            told(&output)
        );
        ensure!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
    Ok(())
}

/// Runs `attache test` on the quick start with `expect` for its one case.
fn tested(installation: &Installation, expect: &str, more: &[&str]) -> Result<Output> {
    let documents = workspace::root().join("tests/quickstart");
    for document in ["credential-policy.yaml", "workload-registration.yaml"] {
        fs::copy(
            documents.join(document),
            installation.policies().join(document),
        )?;
    }
    installation.policy(
        "cluster.yaml",
        "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: { name: cluster }\n\
         spec: { type: kubernetes-service-account, issuer: https://cluster.example }\n",
    )?;
    let test = format!(
        "\
apiVersion: attache.dev/v1
kind: PolicyTest
metadata: {{ name: payments }}
spec:
  cases:
    - name: the payment service charges
      attributes: {{ k8s.namespace: production, k8s.serviceAccount: payment-svc }}
      request: {{ host: api.stripe.com, method: POST, path: /v1/charges }}
      expect: {{ {expect} }}
"
    );
    installation.policy("payments.test.yaml", &test)?;
    Ok(Command::new(installation.binary())
        .arg("test")
        .arg(installation.policies())
        .args(more)
        .output()?)
}

#[tokio::test]
async fn expectations_beside_the_policies_are_held_against_them_in_ci() -> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    let met = "outcome: permitted, policy: payment-to-stripe";
    let passed = tested(&installation, met, &[])?;
    assert_eq!(passed.status.code(), Some(0), "{}", told(&passed));
    let summary = String::from_utf8(passed.stdout)?;
    ensure!(summary.ends_with("1 passed, 0 failed\n"), "{summary}");

    let failed = tested(&installation, "outcome: denied", &[])?;
    assert_eq!(failed.status.code(), Some(1), "{}", told(&failed));
    for part in [
        "FAIL payments: the payment service charges",
        "expected denied, actual permitted",
        "PERMITTED by",
    ] {
        ensure!(
            told(&failed).contains(part),
            "{part} is missing in\n{}",
            told(&failed)
        );
    }
    let json = tested(&installation, "outcome: denied", &["--output", "json"])?;
    let json: Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!((&json["passed"], &json["failed"]), (&0.into(), &1.into()));
    let junit = tested(&installation, "outcome: denied", &["--output", "junit"])?;
    let junit = String::from_utf8(junit.stdout)?;
    ensure!(junit.contains("tests=\"1\" failures=\"1\""), "{junit}");

    let broken = tested(&installation, "outcome: maybe", &[])?;
    assert_eq!(broken.status.code(), Some(2));
    ensure!(
        told(&broken).contains("payments.test.yaml:"),
        "{}",
        told(&broken)
    );
    Ok(())
}
