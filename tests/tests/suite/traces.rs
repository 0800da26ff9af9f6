//! Traces: ours below Envoy's, Envoy's below the caller's; nothing without a sampled parent.

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::EdgePlan,
    authority::Authority,
    canaries::{traced, tracing},
    client,
    collector::{Collector, Received, text},
    quickstart::STRIPE,
    stage::{CHARGES, Script, Set, Stage},
    wait::until,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

async fn stage(collector: &Collector) -> Result<Stage> {
    let plan = EdgePlan {
        settings: vec![traced(collector)],
        ..EdgePlan::default()
    };
    let script = Script {
        plan,
        ..Script::default()
    };
    let set = Set::build(script).await?;
    let attache = set.installation.start().await?;
    let bootstrap = tracing(set.bootstrap()?, collector)?;
    set.open_behind(bootstrap, attache).await
}

async fn ask(stage: &Stage, flags: &str) -> Result<u16> {
    let request = client::get(STRIPE, CHARGES)?;
    let mut request = client::with_evidence(request, &stage.payment_token()?)?;
    let parent = format!("00-{TRACE}-{CALLER}-{flags}");
    request.headers_mut().insert("traceparent", parent.parse()?);
    Ok(client::http1(stage.address, request).await?.status)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn our_spans_stand_below_envoys_call_which_stands_below_the_callers_span() -> Result<()> {
    let collector = Collector::start().await?;
    let stage = stage(&collector).await?;
    assert_eq!(ask(&stage, "01").await?, 200);
    let ours = |name: &'static str| {
        move |one: &Received| one.service == "attache" && one.span.name == name
    };
    let decision = collector
        .span("our span", ours("attache.decision"))
        .await?
        .span;
    assert_eq!(hex(&decision.trace_id), TRACE);
    let parent = decision.parent_span_id.clone();
    // Envoy's span of its call to us, and that of the request, whose parent is the caller's.
    let of = |id: Vec<u8>| move |one: &Received| one.service == "envoy" && one.span.span_id == id;
    let check = collector.span("envoy's call", of(parent)).await?.span;
    let request = collector
        .span("envoy's request", of(check.parent_span_id.clone()))
        .await?
        .span;
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(hex(&request.trace_id), TRACE);

    let token = stage.payment_token()?;
    for name in ["evidence", "decide", "credential", "audit"] {
        let name = format!("attache.{name}");
        let part = collector
            .span(&name, |one| one.span.name == name)
            .await?
            .span;
        assert_eq!(part.parent_span_id, decision.span_id, "{name}");
        ensure!(
            decision.start_time_unix_nano <= part.start_time_unix_nano
                && part.start_time_unix_nano <= part.end_time_unix_nano
                && part.end_time_unix_nano <= decision.end_time_unix_nano,
            "{part:?} {decision:?}"
        );
    }
    let id = text(&decision.attributes, "attache.decision_id").context("no decision")?;
    assert_eq!(
        stage.set.installation.event(&id).await?["outcome"],
        "permitted"
    );
    let attributes = format!("{:?}", collector.received());
    let own = collector
        .received()
        .into_iter()
        .filter(|one| one.service == "attache");
    let own = format!("{:?}", own.collect::<Vec<_>>());
    ensure!(
        !attributes.contains(&token) && !attributes.contains("eyJ"),
        "a token"
    );
    ensure!(!own.contains(STRIPE) && !own.contains(CHARGES), "{own}");
    Ok(())
}

#[tokio::test]
async fn what_nobody_samples_and_what_has_no_parent_is_not_traced() -> Result<()> {
    let collector = Collector::start().await?;
    let plan = EdgePlan {
        settings: vec![traced(&collector)],
        ..EdgePlan::default()
    };
    let script = Script {
        plan,
        ..Script::default()
    };
    // An Envoy that traces nothing: the context of the request itself counts.
    let stage = Stage::play(script).await?;
    assert_eq!(ask(&stage, "00").await?, 200);
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    assert_eq!(ask(&stage, "01").await?, 200);
    let decision = collector
        .span("our span", |one| one.span.name == "attache.decision")
        .await?
        .span;
    assert_eq!(hex(&decision.parent_span_id), CALLER);
    let decisions = collector.received().into_iter();
    let decisions = decisions.filter(|one| one.span.name == "attache.decision");
    assert_eq!(decisions.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_receiver_over_tls_is_believed_by_its_certificate_alone() -> Result<()> {
    let authority = Authority::new("the collector's authority")?;
    let folder = tempfile::tempdir()?;
    let roots = folder.path().join("ca.pem");
    authority.write(&roots)?;
    let identity = authority
        .issue(&["127.0.0.1"])?
        .write(folder.path(), "collector")?;
    let collector = Collector::start_with(&identity).await?;
    let plan = |ca: &str| EdgePlan {
        settings: vec![format!(
            "traces: {{ endpoint: \"https://{}\"{ca} }}",
            collector.address()
        )],
        ..EdgePlan::default()
    };
    let script = |plan| Script {
        plan,
        ..Script::default()
    };
    let strict = Stage::play(script(plan(""))).await?;
    assert_eq!(ask(&strict, "01").await?, 200);
    until("the loss", async || {
        let log = strict.attache.process.errors();
        log.contains("traces cannot be sent").then_some(())
    })
    .await?;
    ensure!(collector.received().is_empty());
    drop(strict);
    let ca = format!(", ca_file: {}", roots.display());
    let stage = Stage::play(script(plan(&ca))).await?;
    assert_eq!(ask(&stage, "01").await?, 200);
    let ours = |one: &Received| one.span.name == "attache.decision";
    collector.span("our span", ours).await?;
    Ok(())
}

#[tokio::test]
async fn without_a_receiver_calls_go_on_and_the_loss_is_told() -> Result<()> {
    let plan = EdgePlan {
        settings: vec!["traces: { endpoint: \"http://127.0.0.1:1\" }".to_owned()],
        ..EdgePlan::default()
    };
    let script = Script {
        plan,
        ..Script::default()
    };
    let stage = Stage::play(script).await?;
    assert_eq!(ask(&stage, "01").await?, 200);
    let installation = &stage.set.installation;
    until("the loss", async || {
        let status = installation.run(&["status"]).ok()?;
        let text = String::from_utf8(status.stdout).ok()?;
        text.contains("traces           0 spans sent, 5 lost")
            .then_some(())
    })
    .await?;
    let log = stage.attache.process.errors();
    assert_eq!(log.matches("traces cannot be sent").count(), 1, "{log}");
    Ok(())
}
