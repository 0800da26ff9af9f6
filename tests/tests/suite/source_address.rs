//! Where a call comes from: what Envoy tells of it, and what conditions on addresses and countries make of that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::EdgePlan,
    authority::Authority,
    authorizer::Listening,
    bootstrap::Bootstrap,
    client::{self, Reply, with_evidence},
    envoy::Envoy,
    peers,
    quickstart::{DATA_PIPELINE, INTERNAL, STRIPE},
    stage::{CHARGES, Script, Stage},
    wait::until,
};
use envoy_types::pb::envoy::config::core::v3::address::Address;
use http::Request;
use tokio::net::TcpSocket;

/// A peer of Envoy: not where Envoy listens.
const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the bootstraps say on addresses.
const HARDENED: &str = "use_remote_address: true\n          skip_xff_append: true";

/// Sends `request` from `peer`, with the fields `forwarded` of `x-forwarded-for`.
async fn send(
    address: SocketAddr,
    peer: Ipv4Addr,
    mut request: Request<http_body_util::Full<bytes::Bytes>>,
    forwarded: &[&str],
) -> Result<Reply> {
    for value in forwarded {
        let headers = request.headers_mut();
        headers.append("x-forwarded-for", value.parse()?);
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(peer), 0))?;
    client::http1_over(socket.connect(address).await?, request).await
}

/// What Envoy told the authorizer: the source, and the fields of `x-forwarded-for`.
fn told(authorizer: &Listening) -> Result<(String, Vec<String>)> {
    let told = authorizer.last()?;
    let source = told.source.and_then(|peer| peer.address?.address);
    let Some(Address::SocketAddress(source)) = source else {
        anyhow::bail!("no address of a socket: {source:?}")
    };
    let http = told.request.and_then(|request| request.http);
    let headers = http.and_then(|http| http.header_map);
    let forwarded = headers
        .context("no headers")?
        .headers
        .into_iter()
        .filter(|header| header.key == "x-forwarded-for")
        .map(|header| String::from_utf8_lossy(&header.raw_value).into_owned());
    Ok((source.address, forwarded.collect()))
}

#[tokio::test]
async fn envoy_tells_the_peer_of_its_connection_whatever_it_takes_for_the_client() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("ext_authz.sock");
    let authorizer = Listening::start(&socket)?;
    let roots = directory.path().join("ca.crt");
    Authority::new("nobody")?.write(&roots)?;
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    // What Envoy appends itself stands on the right, so that the proxy before it is the second.
    let (as_sent, appended) = (
        "198.51.100.9,203.0.113.5",
        "198.51.100.9,203.0.113.5,127.0.0.2",
    );
    for (settings, forwarded) in [
        (HARDENED, as_sent),
        ("use_remote_address: true", appended),
        (
            "use_remote_address: true\n          xff_num_trusted_hops: 1",
            appended,
        ),
        ("use_remote_address: false", as_sent),
        (
            "use_remote_address: false\n          xff_num_trusted_hops: 1",
            as_sent,
        ),
    ] {
        let bootstrap = Bootstrap::egress_gateway(&socket, &roots, nowhere, nowhere)?;
        let envoy = Envoy::start(bootstrap.replace(HARDENED, settings)?).await?;
        let request = client::get(STRIPE, CHARGES)?;
        let fields = ["198.51.100.9", "203.0.113.5"];
        send(envoy.address("egress").await?, PEER, request, &fields).await?;
        let wanted = (PEER.to_string(), vec![forwarded.to_owned()]);
        assert_eq!(told(&authorizer)?, wanted, "{settings}");
    }
    Ok(())
}

/// The data pipeline's policies, which apply only where `condition` holds.
fn conditional(condition: &str) -> String {
    format!(
        "{}  conditions: [somewhere]\n---\napiVersion: attache.dev/v1\nkind: AccessCondition\nmetadata: {{ name: somewhere }}\nspec: {condition}\n",
        DATA_PIPELINE
    )
}

/// A stage whose one policy has `condition`, on a listener and an edge with more settings.
async fn stage(condition: &str, listener: &str, settings: &str) -> Result<Stage> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    let plan = EdgePlan {
        listener: lines(listener),
        settings: lines(settings),
        ..EdgePlan::default()
    };
    Stage::play(Script {
        plan,
        policies: vec![("data-pipeline.yaml", conditional(condition))],
        ..Script::default()
    })
    .await
}

async fn record(stage: &Stage, peer: Ipv4Addr, forwarded: &[&str]) -> Result<Reply> {
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    let request = with_evidence(client::get(INTERNAL, "/api/v1/records")?, &token)?;
    send(stage.address, peer, request, forwarded).await
}

async fn answers(
    stage: &Stage,
    peer: Ipv4Addr,
    forwarded: &[&str],
) -> Result<(u16, Option<String>)> {
    let reply = record(stage, peer, forwarded).await?;
    Ok((reply.status, reply.code().map(str::to_owned)))
}

const PERMITTED: (u16, Option<String>) = (200, None);

fn denied(code: &str) -> (u16, Option<String>) {
    (403, Some(code.to_owned()))
}

#[tokio::test]
async fn a_range_is_held_against_the_connections_peer_and_not_against_what_the_client_says()
-> Result<()> {
    let stage = stage("{ source: { ranges: [127.0.0.2/32] } }", "", "").await?;
    assert_eq!(answers(&stage, PEER, &[]).await?, PERMITTED);
    let event = stage.set.installation.last_event()?;
    let source = event["source_address"].as_str().context("no source")?;
    ensure!(source.starts_with("127.0.0.2:"), "{source}");
    let stranger = Ipv4Addr::LOCALHOST;
    for forwarded in [&[][..], &["127.0.0.2"], &["127.0.0.2", "127.0.0.2"]] {
        let answer = answers(&stage, stranger, forwarded).await?;
        assert_eq!(answer, denied("condition-not-met"), "{forwarded:?}");
    }
    Ok(())
}

#[tokio::test]
async fn behind_trusted_hops_a_range_is_held_against_what_those_wrote() -> Result<()> {
    let condition = "{ source: { ranges: [203.0.113.0/24, \"2001:db8::/32\"] } }";
    let stage = stage(condition, "trusted_hops: 2", "").await?;
    for (forwarded, answer) in [
        (&["203.0.113.5, 10.0.0.1"][..], PERMITTED),
        (&["198.51.100.9", "203.0.113.5", "10.0.0.1"], PERMITTED),
        (&["2001:DB8::1,10.0.0.1"], PERMITTED),
        // What stands further left is the client's own word.
        (
            &["203.0.113.5, 198.51.100.9, 10.0.0.1"],
            denied("condition-not-met"),
        ),
        // The connection's peer does not take the place of what is missing.
        (&[], denied("condition-unavailable")),
        (&["203.0.113.5"], denied("condition-unavailable")),
        (&["unknown, 10.0.0.1"], denied("condition-unavailable")),
        (
            &["203.0.113.5:443, 10.0.0.1"],
            denied("condition-unavailable"),
        ),
    ] {
        assert_eq!(
            answers(&stage, PEER, forwarded).await?,
            answer,
            "{forwarded:?}"
        );
    }
    // No x-forwarded-for leaves, whoever wrote it.
    let received = stage.set.internal.last()?;
    ensure!(
        received.values("x-forwarded-for").is_empty(),
        "{received:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_country_is_looked_up_in_a_database_that_is_read_again_when_it_is_replaced() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("countries.mmdb");
    peers::write_countries(&file, &[("127.0.0.2/32", "DE"), ("127.0.0.3/32", "FR")])?;
    let settings = format!("geography: {{ database: {} }}", file.display());
    let stage = stage("{ geography: { countries: [DE] } }", "", &settings).await?;
    let (third, fourth) = (Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 4));
    assert_eq!(answers(&stage, PEER, &[]).await?, PERMITTED);
    assert_eq!(
        answers(&stage, third, &[]).await?,
        denied("condition-not-met")
    );
    // In no country, as far as the database knows.
    assert_eq!(
        answers(&stage, fourth, &[]).await?,
        denied("condition-unavailable")
    );

    let next = folder.path().join("next");
    peers::write_countries(&next, &[("127.0.0.3/32", "DE")])?;
    std::fs::rename(&next, &file)?;
    until("the new database", async || {
        let answer = answers(&stage, third, &[]).await.ok()?;
        (answer == PERMITTED).then_some(())
    })
    .await?;
    assert_eq!(
        answers(&stage, PEER, &[]).await?,
        denied("condition-unavailable")
    );
    Ok(())
}

#[tokio::test]
async fn without_a_database_no_country_is_known() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("countries.mmdb");
    let set = "{ geography: { countries: [DE] } }";
    let settings = format!("geography: {{ database: {} }}", file.display());
    for settings in ["", &settings] {
        let stage = stage(set, "", settings).await?;
        let answer = answers(&stage, PEER, &[]).await?;
        assert_eq!(answer, denied("condition-unavailable"), "{settings}");
        let status = stage.set.installation.run(&["status"])?;
        let told = String::from_utf8_lossy(&status.stdout).into_owned();
        let tells = told.contains("no country is known") && told.contains("countries.mmdb");
        assert_eq!(tells, !settings.is_empty(), "{told}");
    }
    Ok(())
}
