//! `Tokens/Report`: every access that a proxy answers from memory stands in the audit log once, whatever dies in
//! between, and nobody can put one there that no lease of ours covers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use attache_proto::token::v1::{Access, Call, EndedEpoch, ReportRequest};
use attache_tests::{
    attache::{Attache, EdgePlan},
    kept::{Reporter, attaching, charges, evidence, fetch, now, send, tokens, tokens_again},
    stage::{CHARGES, Script, Set},
    wait::until,
};
use serde_json::Value;
use tonic::Code;

/// An edge, and a lease of it.
struct Running {
    set: Set,
    attache: Attache,
    lease: Vec<u8>,
    decision: String,
}

impl Running {
    async fn start() -> Result<Self> {
        let set = Set::build(Script {
            plan: EdgePlan::default(),
            policies: vec![("no-refunds.yaml", NO_REFUNDS.to_owned())],
            ..Script::default()
        })
        .await?;
        let attache = set.installation.start().await?;
        let client = tokens(&set.installation.socket()).await?;
        let shown = evidence(&set.cluster.token("production", "payment-svc")?);
        let answer = fetch(&client, attaching(shown, charges())).await?;
        ensure!(!answer.lease.is_empty(), "{answer:?}");
        Ok(Self {
            set,
            attache,
            lease: answer.lease,
            decision: answer.decision_id,
        })
    }

    /// The events of what `reporter` reported, by kind.
    fn told(&self, reporter: &Reporter, record: &str) -> Result<Vec<Value>> {
        let mut events = self.set.installation.events()?;
        events.retain(|event| {
            event["record"] == record && event["reported"]["epoch"] == reporter.epoch()
        });
        Ok(events)
    }

    /// How often each number stands in the log.
    fn numbers(&self, reporter: &Reporter) -> Result<BTreeMap<u64, usize>> {
        let mut numbers = BTreeMap::new();
        for event in self.told(reporter, "cached")? {
            let number = event["reported"]["sequence"].as_u64();
            *numbers.entry(number.context("no number")?).or_default() += 1;
        }
        Ok(numbers)
    }
}

const NO_REFUNDS: &str = r#"apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: refunds}
spec: {host: api.stripe.com, paths: [/v1/refunds]}
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

fn once(numbers: std::ops::RangeInclusive<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|number| (number, 1)).collect()
}

#[tokio::test]
async fn a_reported_access_is_told_with_all_that_its_lease_says() -> Result<()> {
    let edge = Running::start().await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let reporter = Reporter::new(1);
    let answer = send(&client, reporter.report(&edge.lease, 1..=1)).await?;
    assert_eq!((answer.acknowledged, answer.epoch), (1, reporter.bytes()));
    let events = edge.told(&reporter, "cached")?;
    let [event] = events.as_slice() else {
        anyhow::bail!("{events:?}");
    };
    let lease = edge.set.installation.event(&edge.decision).await?;
    for field in [
        "workload_svid",
        "policy_matched",
        "token_id",
        "target_service",
        "policy_revision",
        "attested_by",
    ] {
        assert_eq!(event[field], lease[field], "{field}");
    }
    assert_eq!(event["lease"], edge.decision);
    assert_eq!(event["request_path"], format!("{CHARGES}/1"));
    assert_eq!(
        (&event["reported"]["status"], &event["latency_ms"]),
        (&200.into(), &1.5.into())
    );
    assert_eq!(event["source_address"], "10.0.0.7:4711");
    let id = event["event_id"].as_str().context("no id")?;
    let line = edge.set.installation.run(&["audit", "--event", id])?;
    let line = String::from_utf8(line.stdout)?;
    ensure!(
        line.contains("from the proxy's memory") && line.contains(&edge.decision),
        "{line}"
    );
    let explained = edge.set.installation.run(&["explain", "--event", id])?;
    let explained = String::from_utf8(explained.stdout)?;
    ensure!(explained.contains("from its memory"), "{explained}");
    Ok(())
}

#[tokio::test]
async fn each_access_is_in_the_log_once_with_the_edge_killed_in_between() -> Result<()> {
    let mut edge = Running::start().await?;
    let socket = edge.set.installation.socket();
    let reporter = Reporter::new(2);
    let client = tokens(&socket).await?;
    for batch in [1..=50, 30..=80] {
        let last = *batch.end();
        let answer = send(&client, reporter.report(&edge.lease, batch)).await?;
        assert_eq!(answer.acknowledged, last);
    }
    // Sent, and the answer is not waited for.
    let sending = {
        let (client, report) = (client.clone(), reporter.report(&edge.lease, 81..=300));
        tokio::spawn(async move { send(&client, report).await })
    };
    edge.attache.process.kill()?;
    let _ = sending.await?;
    edge.attache = edge.set.installation.start().await?;
    let client = tokens_again(&socket).await?;
    for batch in [60..=120, 100..=300, 290..=310] {
        let last = *batch.end();
        let answer = send(&client, reporter.report(&edge.lease, batch)).await?;
        assert_eq!((answer.acknowledged, answer.refused.len()), (last, 0));
    }
    assert_eq!(edge.numbers(&reporter)?, once(1..=310));
    assert_eq!(edge.told(&reporter, "lost")?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn what_a_trap_lost_is_told_once() -> Result<()> {
    let mut edge = Running::start().await?;
    let socket = edge.set.installation.socket();
    let reporter = Reporter::new(3);
    let client = tokens(&socket).await?;
    send(&client, reporter.report(&edge.lease, 1..=3)).await?;
    send(&client, reporter.report(&edge.lease, 10..=10)).await?;
    let next = Reporter::new(4);
    let ended = |last_sequence| ReportRequest {
        ended: vec![EndedEpoch {
            epoch: reporter.bytes(),
            last_sequence,
        }],
        ..next.report(&edge.lease, 1..=1)
    };
    send(&client, ended(14)).await?;
    edge.attache.process.kill()?;
    edge.attache = edge.set.installation.start().await?;
    let client = tokens_again(&socket).await?;
    send(&client, ended(14)).await?;
    let lost = edge.told(&reporter, "lost")?;
    let lost: Vec<_> = lost
        .iter()
        .map(|event| {
            let reported = &event["reported"];
            (
                reported["sequence"].as_u64(),
                reported["last_sequence"].as_u64(),
                event["count"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        lost,
        [(Some(4), Some(9), Some(6)), (Some(11), Some(14), Some(4))]
    );
    // It was late, not lost.
    send(&client, reporter.report(&edge.lease, 5..=5)).await?;
    assert_eq!(edge.numbers(&reporter)?.get(&5), Some(&1));
    Ok(())
}

#[tokio::test]
async fn what_a_reporter_gave_up_is_told_as_lost_and_its_life_goes_on() -> Result<()> {
    let edge = Running::start().await?;
    let reporter = Reporter::new(5);
    let client = tokens(&edge.set.installation.socket()).await?;
    send(&client, reporter.report(&edge.lease, 1..=2)).await?;
    // What the edge refuses for good, as a whole.
    let mut report = reporter.report(&edge.lease, [3, 3]);
    let refused = send(&client, report.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    report.accesses.clear();
    report.leases.clear();
    report.ended = vec![EndedEpoch {
        epoch: reporter.bytes(),
        last_sequence: 3,
    }];
    for _ in 0..2 {
        send(&client, report.clone()).await?;
    }
    send(&client, reporter.report(&edge.lease, 4..=5)).await?;
    let lost = edge.told(&reporter, "lost")?;
    let [lost] = lost.as_slice() else {
        anyhow::bail!("{lost:?}");
    };
    assert_eq!(
        (&lost["reported"]["sequence"], &lost["count"]),
        (&3.into(), &1.into())
    );
    assert_eq!(lost["code"], "reports-lost");
    let numbers: Vec<u64> = edge.numbers(&reporter)?.into_keys().collect();
    assert_eq!(numbers, [1, 2, 4, 5]);
    Ok(())
}

#[tokio::test]
async fn lies_about_leases_are_refused_and_told() -> Result<()> {
    let (edge, other) = (Running::start().await?, Running::start().await?);
    let client = tokens(&edge.set.installation.socket()).await?;
    let mut forged = edge.lease.clone();
    *forged.last_mut().context("empty")? ^= 1;
    let reporter = Reporter::new(5);
    let mut sequence = 0;
    let mut lie = |lease: &[u8], change: &dyn Fn(&mut Access)| {
        sequence += 1;
        let mut report = reporter.report(lease, sequence..=sequence);
        report.accesses.iter_mut().for_each(change);
        report
    };
    let hour = 3_600_000;
    let lies = [
        (lie(&forged, &|_| ()), "lease-unknown"),
        (lie(&other.lease, &|_| ()), "lease-unknown"),
        (lie(&[], &|_| ()), "lease-unknown"),
        (lie(&edge.lease, &|it| it.lease = 1), "report-malformed"),
        (
            lie(&edge.lease, &|it| it.path = "/v1/refunds/1".to_owned()),
            "outside-of-lease",
        ),
        (
            lie(&edge.lease, &|it| it.path = "/v1/../x".to_owned()),
            "outside-of-lease",
        ),
        (
            lie(&edge.lease, &|it| it.path = "x".repeat(100_000)),
            "outside-of-lease",
        ),
        (
            lie(&edge.lease, &|it| it.method = "CONNECT".to_owned()),
            "outside-of-lease",
        ),
        (lie(&edge.lease, &|it| it.at += hour), "outside-of-lease"),
        (lie(&edge.lease, &|it| it.at -= hour), "outside-of-lease"),
        (lie(&edge.lease, &|it| it.at = i64::MIN), "outside-of-lease"),
        (lie(&edge.lease, &|it| it.at = i64::MAX), "outside-of-lease"),
    ];
    let count = lies.len();
    for (report, code) in lies {
        let last = report.accesses.last().context("none")?.sequence;
        let answer = send(&client, report).await?;
        assert_eq!(answer.acknowledged, last);
        let codes: Vec<_> = answer.refused.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, [code], "{last}");
    }
    assert_eq!(edge.numbers(&reporter)?.len(), 0);
    let told = edge.told(&reporter, "unbelieved")?;
    assert_eq!(told.len(), count);
    Ok(())
}

#[tokio::test]
async fn a_lease_of_one_listener_is_of_no_use_on_another() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let second = folder.path().join("second.sock");
    let plan = EdgePlan {
        listener: vec![format!(
            "\n      - name: second\n        role: gateway\n        unix: {}\n        evidence: {{ header: x-attache-evidence }}\n        destination: vouched-by-route",
            second.display()
        )],
        ..EdgePlan::default()
    };
    let set = Set::build(Script {
        plan,
        ..Script::default()
    })
    .await?;
    let _attache = set.installation.start().await?;
    let shown = evidence(&set.cluster.token("production", "payment-svc")?);
    let client = tokens(&second).await?;
    let lease = fetch(&client, attaching(shown, charges())).await?.lease;
    let client = tokens(&set.installation.socket()).await?;
    let answer = send(&client, Reporter::new(6).report(&lease, 1..=2)).await?;
    let codes: Vec<_> = answer.refused.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["lease-of-another-listener"; 2]);
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_as_a_whole() -> Result<()> {
    let edge = Running::start().await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let reporter = Reporter::new(7);
    let sequences = |sequences: &[u64]| reporter.report(&edge.lease, sequences.iter().copied());
    let many: Vec<u64> = (1..=257).collect();
    for report in [
        sequences(&[0]),
        sequences(&[2, 2]),
        sequences(&[2, 1]),
        sequences(&[1 << 63]),
        sequences(&[u64::MAX]),
        sequences(&many),
        ReportRequest {
            epoch: vec![1; 15],
            ..sequences(&[1])
        },
        ReportRequest {
            protocol: 0,
            ..sequences(&[1])
        },
        ReportRequest {
            leases: vec![Vec::new(); 257],
            ..sequences(&[1])
        },
    ] {
        let refused = send(&client, report).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    // The very last number is one, and nothing comes after it.
    let last = (1 << 63) - 1;
    let answer = send(&client, sequences(&[last])).await?;
    assert_eq!(answer.acknowledged, last);
    // Another life with the same epoch would have its accesses taken for known ones.
    let reused = ReportRequest {
        epoch_started_at: now() + 1,
        ..sequences(&[1])
    };
    let refused = send(&client, reused).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    Ok(())
}

#[tokio::test]
async fn refusals_from_memory_are_reported_as_what_they_are() -> Result<()> {
    let edge = Running::start().await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let shown = evidence(&edge.set.cluster.token("production", "payment-svc")?);
    let call = Call {
        path: "/v1/refunds/1".to_owned(),
        ..charges()
    };
    let answer = fetch(&client, attaching(shown, call)).await?;
    let reporter = Reporter::new(8);
    let mut report = reporter.report(&answer.lease, 1..=3);
    for access in &mut report.accesses {
        "/v1/refunds/1".clone_into(&mut access.path);
        access.status = 403;
    }
    assert_eq!(send(&client, report).await?.acknowledged, 3);
    let told = until("the events", async || {
        let told = edge.told(&reporter, "cached").ok()?;
        (told.len() == 3).then_some(told)
    })
    .await?;
    ensure!(
        told.iter()
            .all(|event| { event["outcome"] == "denied" && event["code"] == "denied-by-policy" })
    );
    Ok(())
}
