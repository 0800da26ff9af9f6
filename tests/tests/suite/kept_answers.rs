//! `attache.token.v1.Tokens`: what a client in the proxy may keep, for how long, and how it hears of changes.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_proto::token::v1::{
    BundlesRequest, Call, Caller, Decision, Details, FetchRequest, FetchResponse, Header, Place,
    Purpose, Transport, VerifyRequest,
};
use attache_tests::{
    attache::{Attache, EdgePlan},
    client::EVIDENCE,
    kept::{attaching, charges, evidence, fetch, next, now, revalidated, tokens, watch},
    quickstart::{STRIPE, no_debugging},
    stage::{CHARGES, Script, Set},
};
use tokio::{task::JoinSet, time::Instant};
use tonic::Code;

/// A deny of one path.
const NO_REFUNDS: &str = r#"apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: refunds}
spec: {host: api.stripe.com, paths: [PATH]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: no-refunds}
spec:
  client: payment-service
  server: refunds
  effect: deny
  actions: [all]
"#;

/// An edge without a proxy; a gateway's unless it has a pod's token.
struct Running {
    set: Set,
    attache: Attache,
    token: String,
}

impl Running {
    async fn gateway(policies: &[(&'static str, String)]) -> Result<Self> {
        Self::start(EdgePlan::default(), policies).await
    }

    async fn start(plan: EdgePlan, policies: &[(&'static str, String)]) -> Result<Self> {
        let mut script = Script {
            plan,
            ..Script::default()
        };
        script.policies.extend_from_slice(policies);
        let file = script.plan.token_file.clone();
        let set = Set::build(script).await?;
        let token = set.cluster.token("production", "payment-svc")?;
        if let Some(file) = file {
            fs::write(file, &token)?;
        }
        let attache = set.installation.start().await?;
        Ok(Self {
            set,
            attache,
            token,
        })
    }

    async fn charges(&self) -> Result<FetchResponse> {
        let client = tokens(&self.set.installation.socket()).await?;
        Ok(fetch(&client, attaching(evidence(&self.token), charges())).await?)
    }
}

#[tokio::test]
async fn an_answer_comes_with_its_token_and_with_all_that_it_holds_for() -> Result<()> {
    let edge = Running::gateway(&[]).await?;
    let answer = edge.charges().await?;
    assert_eq!(answer.decision(), Decision::Allowed);
    let [injection] = answer.inject.as_slice() else {
        anyhow::bail!("{:?}", answer.inject.len());
    };
    assert_eq!(
        (injection.place(), injection.name.as_str()),
        (Place::Header, "authorization")
    );
    ensure!(injection.value.starts_with("Bearer ey"));
    for name in [EVIDENCE, "authorization"] {
        ensure!(
            answer.remove.iter().any(|it| it == name),
            "{:?}",
            answer.remove
        );
    }
    let scope = answer.scope.context("no scope")?;
    assert_eq!(
        (scope.caller(), scope.host.as_str(), scope.port),
        (Caller::Evidence, STRIPE, 443)
    );
    assert_eq!((scope.transport(), scope.exactly), (Transport::Tls, false));
    ensure!(scope.from <= now() && scope.until > now(), "{scope:?}");
    ensure!(answer.refresh_at > scope.from && answer.refresh_at < scope.until);
    ensure!(answer.credential_expires_at > now());
    ensure!(!answer.lease.is_empty() && !answer.revision.is_empty());
    let event = edge.set.installation.event(&answer.decision_id).await?;
    assert_eq!(event["record"], "lease");
    assert_eq!(
        (&event["token_id"], &event["token_issued"]),
        (&answer.token_id.into(), &true.into())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_get_one_token() -> Result<()> {
    let edge = Running::gateway(&[]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let mut asking = JoinSet::new();
    for _ in 0..200 {
        let (client, asked) = (client.clone(), attaching(evidence(&edge.token), charges()));
        asking.spawn(async move { fetch(&client, asked).await });
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Some(answer) = asking.join_next().await {
        let answer = answer??;
        assert_eq!(answer.decision(), Decision::Allowed, "{}", answer.code);
        ids.insert(answer.token_id);
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    Ok(())
}

#[tokio::test]
async fn a_sidecar_is_answered_for_its_pod_and_for_nobody_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plan = EdgePlan {
        token_file: Some(folder.path().join("token")),
        ..EdgePlan::default()
    };
    let edge = Running::start(plan, &[]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let answer = fetch(&client, attaching(None, charges())).await?;
    assert_eq!(answer.decision(), Decision::Allowed, "{}", answer.code);
    assert_eq!(answer.scope.context("no scope")?.caller(), Caller::Listener);
    assert_eq!(
        answer.workload,
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    let shown = fetch(&client, attaching(evidence(&edge.token), charges())).await;
    assert_eq!(shown.unwrap_err().code(), Code::InvalidArgument);
    let judged = FetchRequest {
        purpose: i32::from(Purpose::Judge),
        ..attaching(None, charges())
    };
    let judged = fetch(&client, judged).await.unwrap_err();
    assert_eq!(judged.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_kept_for_five_seconds_at_most_and_a_question_of_no_sense_not_at_all()
-> Result<()> {
    let edge =
        Running::gateway(&[("no-refunds.yaml", NO_REFUNDS.replace("PATH", "/v1/refunds"))]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let refunds = Call {
        path: "/v1/refunds/1".to_owned(),
        ..charges()
    };
    let staging = edge.set.cluster.token("staging", "payment-svc")?;
    for (shown, call, code) in [
        (evidence(&edge.token), refunds, "denied-by-policy"),
        (evidence(&staging), charges(), "attribute-mismatch"),
        (evidence("not.a.token"), charges(), "token-malformed"),
        (None, charges(), "evidence-missing"),
    ] {
        let answer = fetch(&client, attaching(shown, call)).await?;
        assert_eq!(
            (answer.decision(), answer.code.as_str()),
            (Decision::Denied, code)
        );
        ensure!(answer.inject.is_empty() && !answer.decision_id.is_empty());
        let scope = answer.scope.context("no scope")?;
        ensure!(scope.until - scope.from <= 5000, "{scope:?}");
    }
    for call in [
        Call {
            target: String::new(),
            ..charges()
        },
        Call {
            authority: "api.evil.example".to_owned(),
            ..charges()
        },
        Call {
            path: "/v1/../admin".to_owned(),
            ..charges()
        },
    ] {
        let answer = fetch(&client, attaching(evidence(&edge.token), call)).await?;
        assert_eq!(answer.decision(), Decision::Denied);
        ensure!(
            answer.scope.is_none() && answer.lease.is_empty(),
            "{answer:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_header_decides_is_asked_for_each_request() -> Result<()> {
    let edge = Running::gateway(&[("by-header.yaml", no_debugging("all"))]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let answer = edge.charges().await?;
    assert_eq!(answer.decision(), Decision::DetailsNeeded);
    ensure!(answer.inject.is_empty() && answer.lease.is_empty());
    assert_eq!(edge.set.installation.events()?.len(), 0);
    for (header, decision) in [
        ("x-debug", Decision::Denied),
        ("x-trace", Decision::Allowed),
    ] {
        let lines = [(EVIDENCE, edge.token.as_str()), (header, "1")];
        let details = Details {
            headers: lines
                .map(|(name, value)| Header {
                    name: name.to_owned(),
                    value: value.as_bytes().to_vec(),
                })
                .to_vec(),
            ..Details::default()
        };
        let call = Call {
            details: Some(details),
            ..charges()
        };
        let answer = fetch(&client, attaching(evidence(&edge.token), call)).await?;
        assert_eq!(answer.decision(), decision, "{}", answer.code);
        ensure!(answer.scope.is_none() && answer.lease.is_empty());
        let event = edge.set.installation.event(&answer.decision_id).await?;
        ensure!(event.get("record").is_none(), "{event}");
    }
    Ok(())
}

#[tokio::test]
async fn a_change_of_policy_and_a_revoked_key_are_told_within_a_second() -> Result<()> {
    let edge = Running::gateway(&[]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let answer = edge.charges().await?;
    let mut states = watch(&client).await?;
    let first = next(&mut states).await?;
    assert_eq!(first.revision, answer.revision);
    let began = Instant::now();
    let beat = next(&mut states).await?;
    ensure!(began.elapsed() < Duration::from_secs(3), "no heartbeat");
    assert_eq!(beat.revision, first.revision);

    let deny = NO_REFUNDS.replace("PATH", "/v1/refunds");
    edge.set.installation.policy("no-refunds.yaml", &deny)?;
    let began = Instant::now();
    let mut state = next(&mut states).await?;
    while state.revision == first.revision {
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "no change was told"
        );
        state = next(&mut states).await?;
    }
    assert_ne!(state.policy_revision, first.policy_revision);

    let listed = edge
        .set
        .installation
        .run(&["keys", "list", "--output", "json"])?;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)?;
    let keys = listed["keys"].as_array().context("no keys")?;
    let active = keys.iter().find(|key| key["state"] == "active");
    let kid = active.and_then(|key| key["key_id"].as_str());
    let kid = kid.context("no active key")?;
    let revoked = edge.set.installation.run(&["keys", "revoke", kid])?;
    ensure!(revoked.status.success());
    let began = Instant::now();
    let before = state.clone();
    while state.generation == before.generation {
        ensure!(
            began.elapsed() < Duration::from_secs(5),
            "no revocation was told"
        );
        state = next(&mut states).await?;
    }
    assert_ne!(state.revision, before.revision);
    Ok(())
}

#[tokio::test]
async fn a_kept_answer_is_confirmed_if_a_fresh_one_would_be_the_same() -> Result<()> {
    let edge = Running::gateway(&[]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let first = edge.charges().await?;
    let mut states = watch(&client).await?;
    let before = next(&mut states).await?;
    let deny = NO_REFUNDS.replace("PATH", "/v1/refunds");
    edge.set.installation.policy("no-refunds.yaml", &deny)?;
    let changed = async |states: &mut _, before: &str| -> Result<String> {
        loop {
            let state = next(states).await?;
            if state.revision != before {
                return Ok(state.revision);
            }
        }
    };
    let after = changed(&mut states, &before.revision).await?;
    let again = revalidated(&client, &first.lease, evidence(&edge.token)).await?;
    ensure!(again.confirmed);
    // Narrower than before, and under a lease of its own.
    let scope = again.scope.context("no scope")?;
    assert_eq!(scope.except, ["/v1/refunds"]);
    ensure!(again.lease != first.lease && again.decision_id != first.decision_id);
    let event = edge.set.installation.event(&again.decision_id).await?;
    assert_eq!(event["token_id"], first.token_id);

    // Other evidence, a forged lease, another's call.
    let staging = edge.set.cluster.token("staging", "payment-svc")?;
    let mut forged = again.lease.clone();
    *forged.last_mut().context("empty")? ^= 1;
    for (lease, shown) in [
        (&again.lease, evidence(&staging)),
        (&again.lease, None),
        (&forged, evidence(&edge.token)),
        (&Vec::new(), evidence(&edge.token)),
    ] {
        ensure!(!revalidated(&client, lease, shown).await?.confirmed);
    }

    let deny = NO_REFUNDS.replace("PATH", CHARGES);
    edge.set.installation.policy("no-refunds.yaml", &deny)?;
    changed(&mut states, &after).await?;
    let refused = revalidated(&client, &again.lease, evidence(&edge.token)).await?;
    ensure!(!refused.confirmed && refused.lease.is_empty() && refused.scope.is_none());
    Ok(())
}

#[tokio::test]
async fn a_kept_answer_whose_credential_would_be_another_is_not_confirmed() -> Result<()> {
    let edge = Running::gateway(&[]).await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let first = edge.charges().await?;
    let mut states = watch(&client).await?;
    let before = next(&mut states).await?;
    let file = edge
        .set
        .installation
        .policies()
        .join("credential-policy.yaml");
    let text = fs::read_to_string(&file)?;
    let other = text.replace("https://api.stripe.com", "https://api.stripe.com/v2");
    ensure!(other != text, "{text}");
    fs::write(&file, other)?;
    while next(&mut states).await?.revision == before.revision {}
    ensure!(
        !revalidated(&client, &first.lease, evidence(&edge.token))
            .await?
            .confirmed
    );
    Ok(())
}

#[tokio::test]
async fn our_own_keys_are_handed_out_and_a_token_of_nobody_is_refused() -> Result<()> {
    let edge = Running::gateway(&[]).await?;
    let mut client = tokens(&edge.set.installation.socket()).await?;
    let asked = |version: &str| BundlesRequest {
        protocol: 1,
        version: version.to_owned(),
    };
    let bundles = client.bundles(asked("")).await?.into_inner();
    let own = bundles
        .bundles
        .iter()
        .find(|it| it.trust_domain == "cluster.local");
    let document: serde_json::Value =
        serde_json::from_slice(&own.context("no bundle of our own")?.document)?;
    let keys = document["keys"].as_array().context("no keys")?;
    ensure!(!keys.is_empty() && keys.iter().all(|key| key["use"] == "jwt-svid"));
    let again = client.bundles(asked(&bundles.version)).await?.into_inner();
    ensure!(again.unchanged && again.bundles.is_empty());
    let verify = |token: &str, audiences: &[&str]| VerifyRequest {
        protocol: 1,
        token: token.to_owned(),
        audiences: audiences.iter().map(|it| (*it).to_owned()).collect(),
    };
    let refused = client.verify(verify("a.b.c", &["api"])).await?.into_inner();
    assert_eq!(
        (refused.decision(), refused.code.as_str()),
        (Decision::Denied, "token-malformed")
    );
    let none = client.verify(verify("a.b.c", &[])).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_and_huge_fields_take_bounded_memory() -> Result<()> {
    let edge = Arc::new(Running::gateway(&[]).await?);
    let client = tokens(&edge.set.installation.socket()).await?;
    let memory = || -> Result<u64> {
        let status = format!("/proc/{}/status", edge.attache.process.id());
        let text = fs::read_to_string(status)?;
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.context("no VmRSS")?.parse()?)
    };
    edge.charges().await?;
    let before = memory()?;
    for batch in 0..100 {
        let mut asking = JoinSet::new();
        for caller in 0..100 {
            let client = client.clone();
            let shown = format!("{batch}.{caller}.{}", "x".repeat(8000));
            asking
                .spawn(async move { fetch(&client, attaching(evidence(&shown), charges())).await });
        }
        while let Some(answer) = asking.join_next().await {
            // A machine that does other things besides turns some away; none is let through.
            let decision = answer??.decision();
            ensure!([Decision::Denied, Decision::Unavailable].contains(&decision));
        }
    }
    let after = memory()?;
    ensure!(after < before + 96 * 1024, "{before} KiB, then {after} KiB");
    let huge = Call {
        path: format!("/{}", "x".repeat(900_000)),
        ..charges()
    };
    let answer = fetch(&client, attaching(evidence(&edge.token), huge)).await?;
    assert_eq!(answer.code, "path-ambiguous");
    let beyond = Call {
        path: format!("/{}", "x".repeat(2_000_000)),
        ..charges()
    };
    let refused = fetch(&client, attaching(evidence(&edge.token), beyond)).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(edge.charges().await?.decision(), Decision::Allowed);
    Ok(())
}
