//! The filter on the way out, in a real Envoy with two workers: one call for all who wait, none for those who come
//! later, and nothing that outlives its end or its policy.

use std::time::Duration;

use anyhow::{Context as _, Result};
use attache_proto::token::v1::{
    Decision, EndedEpoch, FetchResponse, RevalidateResponse, Revalidated,
};
use attache_tests::{
    client::{self, Reply},
    filter,
    outbound_stage::{OutboundStage, allowed, allowing, request},
    quickstart::STRIPE,
    scripted_edge::acknowledged,
    wait::until,
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

fn refusal(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.code().unwrap_or_default())
}

/// Asks many at once, each on a connection of its own.
async fn burst(stage: &OutboundStage, count: usize) -> Result<Vec<Reply>> {
    let mut asking = JoinSet::new();
    for number in 0..count {
        let (address, request) = (
            stage.address,
            client::get(STRIPE, &format!("/v1/{number}"))?,
        );
        asking.spawn(async move { client::http1(address, request).await });
    }
    asking.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn a_cold_burst_makes_one_call_and_ten_thousand_more_make_none() -> Result<()> {
    let stage = OutboundStage::open().await?;
    stage.edge.delay(Duration::from_millis(300));
    // One of them goes away while it waits; perhaps the very one that asked.
    let mut leaving = TcpStream::connect(stage.address).await?;
    let head = format!("GET /v1/gone HTTP/1.1\r\nhost: {STRIPE}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut leaving, head.as_bytes()).await?;
    sleep(Duration::from_millis(100)).await;
    drop(leaving);
    for reply in burst(&stage, 200).await? {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(stage.edge.asked().fetches.len(), 1);
    let mut tasks = JoinSet::new();
    for mut connection in stage.connections(8).await? {
        tasks.spawn(async move {
            for _ in 0..1250 {
                let reply = connection.ask(client::get(STRIPE, "/v1/warm")?).await?;
                anyhow::ensure!(reply.status == 200, "{}", reply.status);
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect::<Result<()>>()?;
    assert_eq!(stage.edge.asked().fetches.len(), 1);
    let received = stage.stripe.received();
    assert!(received.len() >= 10_200);
    assert!(
        received
            .iter()
            .all(|request| request.bearer().as_deref() == Some("token-1"))
    );
    let logged = stage
        .envoy
        .logged("a warm request", |line| line["path"] == "/v1/warm")
        .await?;
    let audit = logged["audit"].as_str().context("no audit")?;
    assert!(audit.contains("\"token_id\":\"token-1\""), "{audit}");
    assert_eq!(stage.envoy.messages(), "");
    Ok(())
}

#[tokio::test]
async fn a_successor_comes_ahead_and_no_request_waits_for_it() -> Result<()> {
    let stage = OutboundStage::open().await?;
    stage.edge.fetch(allowing("short", Duration::from_secs(4)));
    stage.warm("/v1/x").await?;
    // From here on a call that waited for the edge would take this long.
    stage.edge.delay(Duration::from_millis(400));
    let mut connections = stage.connections(4).await?;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(11) {
        for connection in &mut connections {
            let asked = Instant::now();
            let reply = connection.ask(client::get(STRIPE, "/v1/x")?).await?;
            assert_eq!(reply.status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(slowest < Duration::from_millis(390), "{slowest:?}");
    let fetches = stage.edge.asked().fetches.len();
    assert!(
        (3..=6).contains(&fetches),
        "{fetches} fetches: one for each successor, by one worker"
    );
    Ok(())
}

#[tokio::test]
async fn warm_requests_go_on_without_the_edge_until_the_credential_ends() -> Result<()> {
    let mut stage = OutboundStage::open().await?;
    stage.edge.fetch(allowing("short", Duration::from_secs(4)));
    stage.warm("/v1/x").await?;
    stage.edge.close()?;
    let cold = stage.ask("/v2/cold").await?;
    assert_eq!(refusal(&cold), (503, "edge-unavailable"));
    assert_eq!(stage.ask("/v1/x").await?.status, 200);
    let ended = until("the credential to end", async || {
        let reply = stage.ask("/v1/x").await.ok()?;
        (reply.status != 200).then_some(reply)
    })
    .await?;
    assert_eq!(refusal(&ended), (503, "edge-unavailable"));
    assert!(
        stage
            .stripe
            .received()
            .iter()
            .all(|request| request.bearer().is_some())
    );
    stage.edge.open()?;
    until("the edge to count again", async || {
        stage
            .ask("/v1/x")
            .await
            .ok()
            .filter(|reply| reply.status == 200)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_revoked_policy_ends_on_every_worker_within_two_seconds() -> Result<()> {
    for confirms in [true, false] {
        let stage = OutboundStage::open().await?;
        stage.warm("/v1/x").await?;
        until("both workers to watch", async || {
            (stage.edge.asked().watches >= 2).then_some(())
        })
        .await?;
        // An edge that says no, or one that says nothing.
        if confirms {
            stage.edge.revalidate(|request| {
                Ok(RevalidateResponse {
                    protocol: 1,
                    revision: "revision-2".to_owned(),
                    answers: request
                        .kept
                        .iter()
                        .map(|_| Revalidated::default())
                        .collect(),
                })
            });
        }
        stage.edge.fetch(|request| {
            Ok(FetchResponse {
                decision: Decision::Denied.into(),
                code: "no-policy".to_owned(),
                inject: Vec::new(),
                ..allowed(request, "none", Duration::from_secs(5), "revision-2")
            })
        });
        let mut connections = stage.connections(8).await?;
        let changed = Instant::now();
        stage.edge.revision("revision-2");
        let mut last_permitted = Duration::ZERO;
        while changed.elapsed() < Duration::from_secs(4) {
            for connection in &mut connections {
                let reply = connection.ask(client::get(STRIPE, "/v1/x")?).await?;
                if reply.status == 200 {
                    last_permitted = changed.elapsed();
                } else {
                    assert_eq!(refusal(&reply), (403, "no-policy"));
                }
            }
        }
        assert!(
            last_permitted < Duration::from_secs(2),
            "{last_permitted:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_confirmed_answer_serves_on_without_a_call() -> Result<()> {
    let stage = OutboundStage::open().await?;
    stage.warm("/v1/x").await?;
    until("both workers to watch", async || {
        (stage.edge.asked().watches >= 2).then_some(())
    })
    .await?;
    let scope = allowed(
        &stage.edge.asked().fetches[0],
        "x",
        Duration::from_secs(300),
        "",
    )
    .scope;
    stage.edge.revalidate(move |request| {
        let confirmed = Revalidated {
            confirmed: true,
            scope: scope.clone(),
            lease: b"another".to_vec(),
            ..Revalidated::default()
        };
        Ok(RevalidateResponse {
            protocol: 1,
            revision: "revision-2".to_owned(),
            answers: vec![confirmed; request.kept.len()],
        })
    });
    stage.edge.revision("revision-2");
    until("the answer to be confirmed", async || {
        (!stage.edge.asked().revalidations.is_empty()).then_some(())
    })
    .await?;
    sleep(Duration::from_millis(1500)).await;
    stage.warm("/v1/x").await?;
    assert_eq!(stage.edge.asked().fetches.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_edge_that_is_late_or_talks_nonsense_lets_nothing_pass_and_breaks_nothing() -> Result<()>
{
    let stage = OutboundStage::open().await?;
    stage.edge.delay(Duration::from_secs(3));
    let asked = Instant::now();
    assert_eq!(
        refusal(&stage.ask("/v1/x").await?),
        (503, "edge-unavailable")
    );
    assert!(
        asked.elapsed() < Duration::from_millis(2500),
        "{:?}",
        asked.elapsed()
    );
    stage.edge.delay(Duration::ZERO);
    let nonsense: [fn(&mut FetchResponse); 6] = [
        |response| response.decision = 77,
        |response| response.decision = Decision::Unspecified.into(),
        |response| response.inject[0].place = 99,
        |response| response.inject[0].name = "host".to_owned(),
        |response| response.inject[0].value = "a\r\nx-evil: b".to_owned(),
        |response| response.inject[0].value = "\u{ff}".repeat(70_000),
    ];
    for change in nonsense {
        stage.edge.fetch(move |request| {
            let mut response = allowed(request, "token", Duration::from_secs(300), "revision-1");
            response.scope = None;
            change(&mut response);
            Ok(response)
        });
        let reply = stage.ask("/v1/x").await?;
        assert_eq!(reply.status, 503, "{:?}", reply.code());
    }
    stage.edge.fetch(|_| Err(tonic::Status::internal("broken")));
    assert_eq!(
        refusal(&stage.ask("/v1/x").await?),
        (503, "edge-unavailable")
    );
    assert!(stage.stripe.received().is_empty());
    stage.edge.fetch(allowing("good", Duration::from_secs(300)));
    stage.warm("/v1/x").await?;
    assert!(stage.stripe.received().len() >= 16);
    Ok(())
}

#[tokio::test]
async fn a_credential_goes_only_where_the_cluster_leads() -> Result<()> {
    let stage = OutboundStage::open().await?;
    stage.warm("/v1/x").await?;
    let before = stage.stripe.received().len();
    stage.edge.fetch(|request| {
        Ok(FetchResponse {
            decision: Decision::Denied.into(),
            code: "destination-not-vouched".to_owned(),
            scope: None,
            lease: Vec::new(),
            inject: Vec::new(),
            ..allowed(request, "none", Duration::from_secs(5), "revision-1")
        })
    });
    for host in [
        "evil.example",
        "api.stripe.com.evil.example",
        "api.stripe.com:8443",
        "API.stripe.com:1",
    ] {
        let reply = client::http1(stage.address, request(host, "/v1/x", &[])?).await?;
        assert_eq!(refusal(&reply), (403, "destination-not-vouched"), "{host}");
    }
    // What the caller brings is removed, and imitations are refused by Envoy.
    let reply = stage
        .ask_with(
            "/v1/x",
            &[
                ("authorization", b"Bearer mine"),
                ("authorization", b"Bearer two"),
                ("x-attache-x", b"y"),
            ],
        )
        .await?;
    assert_eq!(reply.status, 200);
    assert_eq!(stage.stripe.last()?.bearer().as_deref(), Some("token-1"));
    let imitated = stage
        .ask_with("/v1/x", &[("x_attache_evidence", b"y")])
        .await?;
    assert_eq!(imitated.status, 400);
    assert_eq!(stage.stripe.received().len(), before + 1);
    Ok(())
}

#[tokio::test]
async fn the_targets_cluster_by_another_name_gets_nothing() -> Result<()> {
    let stage = OutboundStage::open_with(|bootstrap| {
        // What our bootstraps do not do: every host leads to the target.
        bootstrap.replace(
            "- match: { prefix: / }\n                direct_response: { status: 404 }",
            "- match: { prefix: / }\n                route: { cluster: \"outbound|443||api.stripe.com\", timeout: 5s }",
        )
    })
    .await?;
    stage.warm("/v1/x").await?;
    stage.edge.fetch(|request| {
        Ok(FetchResponse {
            decision: Decision::Denied.into(),
            code: "destination-mismatch".to_owned(),
            scope: None,
            lease: Vec::new(),
            ..allowed(request, "none", Duration::from_secs(5), "revision-1")
        })
    });
    let reply = client::http1(stage.address, request("other.example", "/v1/x", &[])?).await?;
    assert_eq!(refusal(&reply), (403, "destination-mismatch"));
    Ok(())
}

#[tokio::test]
async fn hostile_requests_find_no_kept_answer_and_harm_nobody() -> Result<()> {
    let stage = OutboundStage::open().await?;
    stage.warm("/v1/x").await?;
    let cold = stage.edge.asked().fetches.len();
    stage.edge.fetch(|request| {
        Ok(FetchResponse {
            decision: Decision::Denied.into(),
            code: "path-ambiguous".to_owned(),
            scope: None,
            lease: Vec::new(),
            inject: Vec::new(),
            ..allowed(request, "none", Duration::from_secs(5), "revision-1")
        })
    });
    for path in [
        "/v1/%ff",
        "/v1/x;y",
        "/v1//x",
        "/v1/%C0%AE%C0%AE/x",
        "/v10",
        "/",
    ] {
        let reply = stage.ask(path).await?;
        assert!(
            [400, 403].contains(&reply.status),
            "{path} {}",
            reply.status
        );
    }
    for byte in 0x80..=0xff_u8 {
        assert_eq!(
            stage
                .ask_with("/v1/x", &[("x-other", &[byte])])
                .await?
                .status,
            200
        );
    }
    let override_method: [(&str, &[u8]); 1] = [("x-http-method-override", b"DELETE")];
    assert_eq!(stage.ask_with("/v1/x", &override_method).await?.status, 403);
    assert!(stage.edge.asked().fetches.len() > cold);
    let details = stage
        .edge
        .asked()
        .fetches
        .last()
        .and_then(|fetch| fetch.call.clone()?.details);
    let details = details.context("without details")?;
    assert!(
        details
            .headers
            .iter()
            .any(|header| header.name == "x-http-method-override")
    );
    for _ in 0..8 {
        assert_eq!(stage.ask("/v1/x").await?.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn every_warm_access_is_reported_once_although_the_edge_comes_and_goes() -> Result<()> {
    let mut stage = OutboundStage::open().await?;
    stage.warm("/v1/x").await?;
    let mut tasks = JoinSet::new();
    for mut connection in stage.connections(8).await? {
        tasks.spawn(async move {
            for _ in 0..2500 {
                let reply = connection.ask(client::get(STRIPE, "/v1/warm")?).await?;
                anyhow::ensure!(reply.status == 200, "{}", reply.status);
            }
            Ok(())
        });
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(1500)).await;
        stage.edge.close()?;
        sleep(Duration::from_millis(500)).await;
        stage.edge.open()?;
    }
    tasks.join_all().await.into_iter().collect::<Result<()>>()?;
    let total = stage.stripe.received().len();
    until("every access to be reported", async || {
        let mut seen = std::collections::BTreeSet::new();
        for report in stage.edge.asked().reports {
            for access in report.accesses {
                seen.insert((report.epoch.clone(), access.sequence));
            }
        }
        (seen.len() == total).then_some(())
    })
    .await
    .with_context(|| format!("{total} accesses"))?;
    Ok(())
}

#[tokio::test]
async fn a_worker_whose_vm_traps_comes_back_and_what_it_answered_is_not_forgotten() -> Result<()> {
    let wasm = filter::wasm_for_tests().await?;
    let stage = OutboundStage::open_by(&wasm, |_, _, bootstrap| Ok(bootstrap)).await?;
    stage.edge.fetch(|request| {
        let mut response = allowed(request, "token", Duration::from_secs(300), "revision-1");
        response.refresh_at = response
            .scope
            .as_ref()
            .map_or(0, |scope| scope.from + 12_000);
        Ok(response)
    });
    stage.warm("/v1/x").await?;
    for _ in 0..6 {
        assert_eq!(
            stage.ask_with("/v1/x", &[("x-trap", b"1")]).await?.status,
            503
        );
    }
    // The other requests of that worker wait for nothing but the reload.
    until("every worker to serve again", async || {
        for _ in 0..16 {
            if stage.ask("/v1/x").await.ok()?.status != 200 {
                return None;
            }
        }
        Some(())
    })
    .await?;
    // What was kept before serves on, for it stands in shared data.
    assert_eq!(stage.edge.asked().fetches.len(), 1);
    // Ticks, streams and leases of the new VMs work: a revision is heard, and a successor comes.
    until("the new VMs to watch, after the old ones", async || {
        let _ = stage.ask("/v1/x").await;
        (stage.edge.asked().watches > 2).then_some(())
    })
    .await?;
    until("a successor", async || {
        let _ = stage.ask("/v1/x").await;
        (stage.edge.asked().fetches.len() > 1).then_some(())
    })
    .await?;
    // Lives that ended are told of.
    until("the lives that ended", async || {
        let _ = stage.ask("/v1/x").await;
        let reports = stage.edge.asked().reports;
        reports
            .iter()
            .any(|report| !report.ended.is_empty())
            .then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_report_that_is_refused_for_one_access_loses_that_one_alone() -> Result<()> {
    let stage = OutboundStage::open().await?;
    let taken = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&taken);
    stage.edge.report(move |report| {
        if report.accesses.iter().any(|it| it.path == "/v1/bad") {
            return Err(tonic::Status::invalid_argument("one of them is none"));
        }
        let mut sink = sink
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sink.push(report.clone());
        Ok(acknowledged(report))
    });
    stage.warm("/v1/x").await?;
    for number in 0..60 {
        let path = if number == 30 {
            "/v1/bad".to_owned()
        } else {
            format!("/v1/{number}")
        };
        assert_eq!(stage.ask(&path).await?.status, 200);
    }
    let reports = until("every other access, and word of the one", async || {
        let reports = taken.lock().ok()?.clone();
        let accesses: usize = reports.iter().map(|report| report.accesses.len()).sum();
        let told = reports.iter().any(|report| {
            let own = |ended: &EndedEpoch| ended.epoch == report.epoch;
            report.ended.iter().any(own)
        });
        (accesses == 16 + 59 && told).then_some(reports)
    })
    .await?;
    let paths = reports.iter().flat_map(|report| &report.accesses);
    assert!(paths.clone().all(|access| access.path != "/v1/bad"));
    let lost = until("the count", async || {
        let name = "wasmcustom.attache_outbound_accesses_lost";
        stage.envoy.stat(name).await.ok().filter(|count| *count > 0)
    })
    .await?;
    assert_eq!(lost, 1);
    assert_eq!(stage.ask("/v1/y").await?.status, 200);
    Ok(())
}
