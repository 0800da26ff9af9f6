//! `attache.access.v1.Access`: the decision for callers that are not Envoy.

use anyhow::{Result, ensure};
use attache_proto::access::v1::{
    BatchCheckRequest, Call, CheckRequest, CheckResponse, Decision, Evidence, Header, Headers,
    Transport, access_client::AccessClient, evidence::Kind,
};
use attache_tests::{
    attache::EdgePlan,
    authorize,
    quickstart::{STRIPE, no_debugging},
    stage::{CHARGES, Script, Set, Stage},
};
use tonic::{Code, transport::Channel};

async fn access(stage: &Stage) -> Result<AccessClient<Channel>> {
    Ok(AccessClient::new(
        authorize::over_unix(&stage.set.installation.socket()).await?,
    ))
}

fn evidence(token: &str) -> Option<Evidence> {
    Some(Evidence {
        kind: Some(Kind::Token(token.to_owned())),
    })
}

fn call(method: &str, path: &str) -> Call {
    Call {
        host: STRIPE.to_owned(),
        port: 0,
        transport: i32::from(Transport::Unspecified),
        method: method.to_owned(),
        path: path.to_owned(),
        headers: None,
        source_address: String::new(),
    }
}

/// A deny by address.
const NOT_FROM_OUTSIDE: &str = r#"apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: outside}
spec: {source: {ranges: [192.0.2.0/24]}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: not-from-outside}
spec:
  client: payment-service
  server: stripe
  effect: deny
  conditions: [outside]
  actions: [{name: patch, methods: [PATCH], paths: [/]}]
"#;

fn with_headers(call: Call, headers: &[(&str, &str)]) -> Call {
    let headers = headers.iter().map(|(name, value)| Header {
        name: (*name).to_owned(),
        value: value.as_bytes().to_vec(),
    });
    Call {
        headers: Some(Headers {
            headers: headers.collect(),
        }),
        ..call
    }
}

async fn check(stage: &Stage, token: &str, call: Call) -> Result<CheckResponse> {
    let asked = CheckRequest {
        evidence: evidence(token),
        call: Some(call),
    };
    Ok(access(stage).await?.check(asked).await?.into_inner())
}

#[tokio::test]
async fn an_allowed_call_is_told_and_audited_and_no_token_is_made_for_it() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let answer = check(&stage, &token, call("GET", "/v1/charges?limit=3")).await?;
    assert_eq!(
        (answer.decision(), answer.code.as_str()),
        (Decision::Allowed, "")
    );
    assert_eq!(answer.policy, "allow:payment-service:stripe-api:all");
    assert_eq!(
        answer.workload,
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    ensure!(
        answer.valid_until.is_some() && !answer.policy_revision.is_empty(),
        "{answer:?}"
    );
    let event = stage.set.installation.event(&answer.decision_id).await?;
    assert_eq!(
        (&event["outcome"], &event["token_issued"]),
        (&"permitted".into(), &false.into())
    );
    assert_eq!(
        (&event["target_service"], &event["request_path"]),
        (&STRIPE.into(), &CHARGES.into())
    );
    Ok(())
}

#[tokio::test]
async fn what_envoy_would_be_denied_is_denied_here_with_the_same_code() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let staging = stage.set.cluster.token("staging", "payment-svc")?;
    let plaintext = Call {
        port: 443,
        transport: i32::from(Transport::Plaintext),
        ..call("GET", CHARGES)
    };
    let other_port = Call {
        port: 8443,
        ..call("GET", CHARGES)
    };
    let no_host = Call {
        host: "a host".to_owned(),
        ..call("GET", CHARGES)
    };
    for (token, call, code) in [
        (staging.as_str(), call("GET", CHARGES), "attribute-mismatch"),
        ("not.a.token", call("GET", CHARGES), "token-malformed"),
        (&token, call("delete", CHARGES), "method-malformed"),
        (&token, call("GET", "/v1/../admin"), "path-ambiguous"),
        (&token, plaintext, "destination-plaintext"),
        (&token, other_port, "no-policy"),
        (&token, no_host, "host-ambiguous"),
    ] {
        let answer = check(&stage, token, call).await?;
        assert_eq!(
            (answer.decision(), answer.code.as_str()),
            (Decision::Denied, code)
        );
        ensure!(!answer.message.is_empty());
        stage.set.installation.event(&answer.decision_id).await?;
    }
    let asked = CheckRequest {
        evidence: None,
        call: Some(call("GET", CHARGES)),
    };
    let answer = access(&stage).await?.check(asked).await?.into_inner();
    assert_eq!(answer.code, "evidence-missing");
    Ok(())
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_bounded() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let mut client = access(&stage).await?;
    let batch = |calls| BatchCheckRequest {
        evidence: evidence(&token),
        calls,
    };
    let calls = vec![
        call("GET", CHARGES),
        call("GET", "/a/../b"),
        call("POST", CHARGES),
    ];
    let answers = client
        .batch_check(batch(calls))
        .await?
        .into_inner()
        .responses;
    let decisions: Vec<_> = answers.iter().map(CheckResponse::decision).collect();
    assert_eq!(
        decisions,
        [Decision::Allowed, Decision::Denied, Decision::Allowed]
    );
    for answer in &answers {
        stage.set.installation.event(&answer.decision_id).await?;
    }
    for calls in [vec![], vec![call("GET", CHARGES); 101]] {
        let refused = client.batch_check(batch(calls)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    Ok(())
}

#[tokio::test]
async fn a_listener_that_speaks_for_one_pod_takes_no_evidence_from_a_request() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Set::of_pod("payment-svc", folder.path())
        .await?
        .open()
        .await?;
    let token = stage.payment_token()?;
    let mut client = access(&stage).await?;
    let asked = |evidence| CheckRequest {
        evidence,
        call: Some(call("GET", CHARGES)),
    };
    let allowed = client.check(asked(None)).await?.into_inner();
    assert_eq!(allowed.decision(), Decision::Allowed);
    let refused = client.check(asked(evidence(&token))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    Ok(())
}

/// A deny whose condition cannot be evaluated applies: what is not told cannot lift it.
#[tokio::test]
async fn what_a_question_leaves_out_is_unknown_and_not_absent() -> Result<()> {
    let mut script = Script::default();
    let by_header = no_debugging("{name: put, methods: [PUT], paths: [/]}");
    script.policies.push(("by-header.yaml", by_header));
    script
        .policies
        .push(("by-address.yaml", NOT_FROM_OUTSIDE.to_owned()));
    let stage = Stage::play(script).await?;
    let token = stage.payment_token()?;
    let from = |address: &str| Call {
        source_address: address.to_owned(),
        ..call("PATCH", CHARGES)
    };
    let put = || call("PUT", CHARGES);
    for (call, code) in [
        (put(), "denied-by-policy"),
        (with_headers(put(), &[]), ""),
        (with_headers(put(), &[("accept", "*/*")]), ""),
        (with_headers(put(), &[("X-Debug", "1")]), "denied-by-policy"),
        (call("PATCH", CHARGES), "denied-by-policy"),
        (from("10.0.0.1"), ""),
        (from("192.0.2.7"), "denied-by-policy"),
        (from("::ffff:192.0.2.7"), "denied-by-policy"),
    ] {
        let shown = format!("{call:?}");
        let answer = check(&stage, &token, call).await?;
        assert_eq!(answer.code, code, "{shown}");
        assert_eq!(answer.decision() == Decision::Allowed, code.is_empty());
    }
    let overriding = with_headers(put(), &[("X-HTTP-Method-Override", "DELETE")]);
    let answer = check(&stage, &token, overriding).await?;
    assert_eq!(answer.code, "request-overridden");
    Ok(())
}

#[tokio::test]
async fn a_question_that_is_no_question_is_refused() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let get = || call("GET", CHARGES);
    let host = |host: &str| Call {
        host: host.to_owned(),
        ..get()
    };
    for (call, named) in [
        (
            Call {
                transport: 99,
                ..get()
            },
            "transport: 99",
        ),
        (host("api.stripe.com:443"), "host"),
        (host("[::1]:443"), "host"),
        (
            Call {
                source_address: "10.0.0.1:80".to_owned(),
                ..get()
            },
            "source_address",
        ),
    ] {
        let refused = check(&stage, &token, call).await.unwrap_err();
        let status = refused.downcast::<tonic::Status>()?;
        assert_eq!(status.code(), Code::InvalidArgument);
        ensure!(status.message().starts_with(named), "{status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_observing_edge_says_so_and_its_answer_is_not_kept() -> Result<()> {
    let plan = EdgePlan {
        observe: true,
        ..EdgePlan::default()
    };
    let stage = Stage::play(Script {
        plan,
        ..Script::default()
    })
    .await?;
    let token = stage.payment_token()?;
    for (token, would_be) in [(token.as_str(), "permitted"), ("not.a.token", "denied")] {
        let answer = check(&stage, token, call("GET", CHARGES)).await?;
        assert_eq!(answer.decision(), Decision::Allowed);
        ensure!(
            answer.observed && answer.valid_until.is_none(),
            "{answer:?}"
        );
        let event = stage.set.installation.event(&answer.decision_id).await?;
        assert_eq!(event["would_be_outcome"], would_be);
    }
    Ok(())
}
