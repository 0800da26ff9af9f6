//! Health and metrics as kubelets and Prometheus meet them, and what the repository offers to watch them by.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    admin,
    attache::{EdgePlan, Installation},
    client::{self, Reply},
    peers,
    port::Reserved,
    stage::{Script, Stage},
    wait::until,
    workspace,
};
use regex::Regex;
use serde_json::json;

fn promtool() -> Command {
    Command::new(workspace::root().join("target/promtool"))
}

/// An edge that serves health and metrics on `listen`.
async fn monitored(listen: &str) -> Result<(Stage, SocketAddr)> {
    let port = Reserved::next()?;
    let place = format!("{listen}:{}", port.address().port());
    let plan = EdgePlan {
        settings: vec![format!("monitoring: {{ listen: \"{place}\" }}")],
        ..EdgePlan::default()
    };
    let script = Script {
        plan,
        ..Script::default()
    };
    let stage = Stage::play(script).await?;
    Ok((stage, port.address()))
}

async fn ask(address: SocketAddr, path: &str, accept: &str) -> Result<Reply> {
    let mut request = client::get("probe", path)?;
    request.headers_mut().insert("accept", accept.parse()?);
    client::http1(address, request).await
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// Every metric that `text` names.
fn named(text: &str) -> Result<BTreeSet<String>> {
    let names = Regex::new(r"\b(attache|process)_[a-z_]+")?;
    let found = names.find_iter(text).map(|found| found.as_str().to_owned());
    Ok(found.collect())
}

/// The families of a scrape, by the names of their samples.
fn families(scraped: &str) -> Vec<(&str, &str)> {
    let types = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split_once(' ')).collect()
}

/// Whether a metric named so has samples in a scrape of these families.
fn exists(name: &str, families: &[(&str, &str)]) -> bool {
    families.iter().any(|(family, kind)| {
        let part = name.strip_prefix(family);
        part == Some("")
            || *kind == "histogram" && matches!(part, Some("_bucket" | "_sum" | "_count"))
    })
}

#[tokio::test]
async fn an_address_of_its_own_serves_health_and_metrics_and_nothing_else() -> Result<()> {
    for listen in ["127.0.0.1", "0.0.0.0"] {
        let (_stage, address) = monitored(listen).await?;
        for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
            assert_eq!(ask(address, path, "*/*").await?.status, 200, "{path}");
        }
        let ready = ask(address, "/readyz", "application/json").await?.json()?;
        assert_eq!(ready, json!({"ready": true, "blockedBy": [], "notes": []}));
        for path in [
            "/status",
            "/reload",
            "/explain",
            "/keys",
            "/debug/pprof/heap",
            "/",
        ] {
            assert_eq!(ask(address, path, "*/*").await?.status, 404, "{path}");
            let mut post = client::get("probe", path)?;
            *post.method_mut() = http::Method::POST;
            assert_eq!(client::http1(address, post).await?.status, 404, "{path}");
        }
        let mut post = client::get("probe", "/readyz")?;
        *post.method_mut() = http::Method::POST;
        assert_eq!(client::http1(address, post).await?.status, 405);
    }
    Ok(())
}

#[tokio::test]
async fn what_blocks_readiness_is_named_and_the_rest_is_for_the_operator() -> Result<()> {
    let plan = EdgePlan {
        listener: vec!["trusted_hops: 0".to_owned()],
        ..EdgePlan::default()
    };
    let port = Reserved::next()?;
    let settings = vec![format!("monitoring: {{ listen: \"{}\" }}", port.address())];
    let installation = Installation::new(&EdgePlan { settings, ..plan }).await?;
    // Keys of a socket that never answers hold readiness until the first fetch has failed.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    installation.policy(
        "silent.yaml",
        &format!(
            "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: silent }}\n\
             spec: {{ type: oidc, issuer: \"http://{}\" }}\n",
            silent.local_addr()?
        ),
    )?;
    let mut attache = installation.launch()?;
    let blocked = until("the port", async || {
        let reply = ask(port.address(), "/readyz", "application/json")
            .await
            .ok()?;
        (reply.status == 503).then_some(reply)
    })
    .await?;
    let told = blocked.json()?;
    assert_eq!(told["ready"], false);
    let blocks = told["blockedBy"].to_string();
    ensure!(
        blocks.contains("trust-provider-keys") || blocks.contains("start"),
        "{told}"
    );
    assert_eq!(ask(port.address(), "/healthz", "*/*").await?.status, 200);
    attache.ready().await?;
    installation.policy("broken.yaml", "kind: Nothing\n")?;
    ensure!(!installation.run(&["reload"])?.status.success());
    let outside = ask(port.address(), "/readyz", "*/*").await?;
    assert_eq!((outside.status, text(&outside).as_str()), (200, "ready\n"));
    let (code, inside) = admin::text(&installation.admin(), "/readyz").await?;
    ensure!(
        code == 200 && inside.contains("policy directory is refused"),
        "{inside}"
    );
    Ok(())
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_of_the_metrics() -> Result<()> {
    let (stage, address) = monitored("127.0.0.1").await?;
    stage.charges(&stage.payment_token()?).await?;
    let scraped = ask(address, "/metrics", "*/*").await?;
    let kind = scraped.header("content-type").context("no content type")?;
    ensure!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let mut judge = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no target/promtool; `make peers` fetches it")?;
    judge
        .stdin
        .take()
        .context("no input")?
        .write_all(&scraped.body)?;
    let output = judge.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}

#[test]
fn the_alerts_tell_what_they_should_and_only_that() -> Result<()> {
    for arguments in [
        ["check", "rules", "monitoring/alerts.yaml"],
        ["test", "rules", "monitoring/alerts.test.yaml"],
    ] {
        let mut command = promtool();
        let output = command
            .args(arguments)
            .current_dir(workspace::root())
            .output();
        let output = output.context("no target/promtool; `make peers` fetches it")?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    Ok(())
}

#[tokio::test]
async fn whatever_dashboard_alerts_and_pages_name_is_scraped_and_whatever_is_scraped_is_shown()
-> Result<()> {
    let (stage, address) = monitored("127.0.0.1").await?;
    stage.charges(&stage.payment_token()?).await?;
    let scraped = text(&ask(address, "/metrics", "*/*").await?);
    let families = families(&scraped);
    let root = workspace::root();
    let read = |name: &str| fs::read_to_string(root.join(name));
    let dashboard = read("monitoring/dashboard.json")?;
    for name in [
        "monitoring/dashboard.json",
        "monitoring/alerts.yaml",
        "docs/metrics.md",
    ] {
        for metric in named(&read(name)?)? {
            ensure!(
                exists(&metric, &families),
                "{name} names {metric}, which is not scraped"
            );
        }
    }
    // No shorter name in a longer one: `named` finds whole ones.
    let (page, shown) = (named(&read("docs/metrics.md")?)?, named(&dashboard)?);
    for (family, kind) in &families {
        ensure!(
            page.contains(*family),
            "docs/metrics.md does not name {family}"
        );
        let shown = shown.contains(*family)
            || *kind == "histogram" && shown.contains(&format!("{family}_bucket"));
        ensure!(shown, "the dashboard does not show {family}");
    }
    // Both formats tell the same.
    let accept = "application/openmetrics-text; version=1.0.0";
    let open = text(&ask(address, "/metrics", accept).await?);
    let read = peers::metrics(&open)?;
    assert_eq!(
        read.as_object().map(serde_json::Map::len),
        Some(families.len())
    );
    Ok(())
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() -> Result<()> {
    let text = fs::read_to_string(workspace::root().join("monitoring/dashboard.json"))?;
    let dashboard: serde_json::Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<_> = panels
        .iter()
        .filter_map(|panel| panel["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let place = &panel["gridPos"];
        let right = place["x"]
            .as_u64()
            .zip(place["w"].as_u64())
            .map(|(x, w)| x + w);
        ensure!(right.is_some_and(|right| right <= 24), "{panel}");
        ensure!(panel["targets"][0]["expr"].is_string(), "{panel}");
    }
    Ok(())
}
