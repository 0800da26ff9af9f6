//! What a client says in headers, paths and methods moves no credential, and nothing of ours leaks.

use std::convert::Infallible;

use anyhow::{Context as _, Result};
use attache_tests::{
    client::{self, Reply, with_evidence},
    quickstart::STRIPE,
    stage::{CHARGES, Stage},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::StreamBody;
use hyper::body::Frame;

/// A request of raw bytes with good evidence; `more` are header lines, each ended by CRLF.
async fn raw(stage: &Stage, line: &str, more: &str) -> Result<Reply> {
    let token = stage.payment_token()?;
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {STRIPE}\r\nx-attache-evidence: {token}\r\n{more}connection: close\r\n\r\n"
    );
    client::raw(stage.address, request.as_bytes()).await
}

#[tokio::test]
async fn a_clients_own_authorization_never_survives() -> Result<()> {
    let stage = Stage::open().await?;
    for more in [
        "authorization: Bearer mine\r\n",
        "AUTHORIZATION: Bearer mine\r\n",
        "authorization: Bearer mine\r\nAuthorization: Basic bWluZQ==\r\n",
    ] {
        assert_eq!(raw(&stage, "GET /v1/charges", more).await?.status, 200);
        let received = stage.set.stripe.last()?;
        let values = received.values("authorization");
        assert_eq!(values.len(), 1, "{more:?}");
        assert!(
            received.bearer().is_some_and(|token| token != "mine"),
            "{more:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn our_own_headers_from_outside_never_survive() -> Result<()> {
    let stage = Stage::open().await?;
    let more = "X-Attache-Spiffe-Id: spiffe://cluster.local/ns/a/sa/admin\r\n\
                x-attache-decision: evt_1\r\nx-attache-decision: evt_2\r\nx-ATTACHE-code: none\r\n";
    assert_eq!(raw(&stage, "GET /v1/charges", more).await?.status, 200);
    let received = stage.set.stripe.last()?;
    let ours = received
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-attache"));
    assert_eq!(ours.count(), 0, "{:?}", received.headers);
    Ok(())
}

#[tokio::test]
async fn trailers_of_a_request_never_reach_the_target() -> Result<()> {
    let stage = Stage::open().await?;
    let mut trailers = HeaderMap::new();
    for name in [
        "authorization",
        "x-attache-evidence",
        "x-attache-spiffe-id",
        "checksum",
    ] {
        trailers.insert(name, HeaderValue::from_static("mine"));
    }
    let frames: [Result<_, Infallible>; 2] = [
        Ok(Frame::data(Bytes::from_static(b"a"))),
        Ok(Frame::trailers(trailers)),
    ];
    let token = stage.payment_token()?;
    let (head, _) = with_evidence(client::get(STRIPE, CHARGES)?, &token)?.into_parts();
    let request = Request::from_parts(head, StreamBody::new(tokio_stream::iter(frames)));
    assert_eq!(client::http2(stage.address, request).await?.status, 200);
    assert_eq!(stage.set.stripe.last()?.trailers, []);
    Ok(())
}

#[tokio::test]
async fn a_method_in_another_case_goes_around_no_policy() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    for method in ["get", "Delete", "trace", "track"] {
        let mut request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
        *request.method_mut() = Method::from_bytes(method.as_bytes())?;
        let reply = client::http2(stage.address, request).await?;
        assert_eq!(
            (reply.status, reply.code()),
            (403, Some("method-malformed")),
            "{method}"
        );
    }
    let mut request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
    *request.method_mut() = Method::from_bytes(b"TRACK")?;
    let reply = client::http2(stage.address, request).await?;
    assert_eq!((reply.status, reply.code()), (403, Some("method-refused")));
    assert_eq!(stage.set.stripe.received().len(), 0);
    Ok(())
}

#[tokio::test]
async fn headers_with_underscores_are_refused() -> Result<()> {
    let stage = Stage::open().await?;
    for name in [
        "x_attache_evidence",
        "X-Attache_Evidence",
        "x_attache_spiffe_id",
        "any_header",
    ] {
        let reply = raw(&stage, "GET /v1/charges", &format!("{name}: value\r\n")).await?;
        assert_eq!(reply.status, 400, "{name}");
    }
    // HTTP/2 spells it in lower case and says the same.
    let mut request = with_evidence(client::get(STRIPE, CHARGES)?, &stage.payment_token()?)?;
    request.headers_mut().insert(
        "x_attache_evidence",
        http::HeaderValue::from_static("value"),
    );
    let answer = client::http2(stage.address, request).await;
    assert!(answer.is_err() || answer.is_ok_and(|reply| reply.status == 400));
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn trace_connect_and_upgrades_are_refused() -> Result<()> {
    let stage = Stage::open().await?;
    let trace = raw(&stage, "TRACE /v1/charges", "").await?;
    assert_eq!((trace.status, trace.code()), (403, Some("method-refused")));
    assert!(!String::from_utf8_lossy(&trace.body).contains("Bearer"));
    assert_eq!(stage.event_of(&trace).await?["request_method"], "TRACE");
    let connect = raw(&stage, "CONNECT api.stripe.com:443", "").await?;
    assert!((400..600).contains(&connect.status), "{connect:?}");
    let token = stage.payment_token()?;
    let upgrade = format!(
        "GET {CHARGES} HTTP/1.1\r\nhost: {STRIPE}\r\nx-attache-evidence: {token}\r\n\
         upgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    );
    let upgrade = client::raw(stage.address, upgrade.as_bytes()).await?;
    assert_eq!(upgrade.status, 403);
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_application_that_speaks_tls_itself_gets_an_error_and_no_way_through() -> Result<()> {
    let stage = Stage::open().await?;
    // The first bytes of a TLS 1.2 ClientHello.
    let reply = client::raw(
        stage.address,
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\r\n\r\n",
    )
    .await?;
    assert_eq!(reply.status, 400);
    assert_eq!(stage.set.stripe.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn paths_with_two_readings_are_refused_and_dot_segments_are_resolved_first() -> Result<()> {
    let stage = Stage::open().await?;
    for (path, status) in [
        ("/v1//charges", 403),
        ("/v1/charges;a=b", 403),
        ("/v1/ch%61rges%00", 400),
        ("/v1%2fcharges", 400),
        ("/v1\\charges", 200),
        ("/v1/x/../charges", 200),
        ("/v1/x/%2e%2e/charges", 200),
    ] {
        let reply = raw(&stage, &format!("GET {path}"), "").await?;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
    let targets: Vec<String> = stage
        .set
        .stripe
        .received()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets, [CHARGES, CHARGES, CHARGES]);
    for event in stage.set.installation.events()? {
        if event["outcome"] == "permitted" {
            assert_eq!(event["request_path"], CHARGES);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_no_route_names_leads_nowhere() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    for host in [
        "evil.example",
        "api.stripe.com:8443",
        "api.stripe.com.evil.example",
        "127.0.0.1",
    ] {
        let request = with_evidence(client::get(host, CHARGES)?, &token)?;
        let reply = client::http1(stage.address, request).await?;
        let told = (reply.status, reply.code());
        assert_eq!(told, (403, Some("destination-not-vouched")), "{host}");
    }
    assert_eq!(
        stage.set.stripe.connections() + stage.set.internal.connections(),
        0
    );
    Ok(())
}

#[tokio::test]
async fn no_secret_stands_in_any_log() -> Result<()> {
    let stage = Stage::open().await?;
    let evidence = stage.payment_token()?;
    let mut request = with_evidence(
        client::get(STRIPE, "/v1/charges?key=s3cret-query")?,
        &evidence,
    )?;
    request.headers_mut().insert(
        "authorization",
        http::HeaderValue::from_static("Bearer s3cret-own"),
    );
    assert_eq!(client::http1(stage.address, request).await?.status, 200);
    let token = stage
        .set
        .stripe
        .last()?
        .bearer()
        .context("no bearer token")?;
    stage
        .envoy
        .logged("the call", |line| line["status"] == 200)
        .await?;
    let everything = [
        stage.attache.process.output(),
        stage.attache.process.errors(),
        stage.envoy.messages(),
        stage
            .envoy
            .access_log()
            .iter()
            .map(ToString::to_string)
            .collect(),
        stage
            .set
            .installation
            .events()?
            .iter()
            .map(ToString::to_string)
            .collect(),
    ];
    let signature = |jwt: &str| jwt.rsplit('.').next().unwrap_or_default().to_owned();
    for secret in [
        signature(&evidence),
        signature(&token),
        "s3cret-query".into(),
        "s3cret-own".into(),
    ] {
        for text in &everything {
            assert!(!text.contains(&secret), "{secret} stands in {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_quick_starts_three_log_lines_appear_with_the_token_redacted() -> Result<()> {
    let stage = Stage::open().await?;
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    let log = stage.attache.process.errors() + &stage.attache.process.output();
    let plain = strip_colours(&log);
    for expected in [
        "workload attested via kubernetes-service-account",
        "oidc token issued, audience=https://api.stripe.com ttl=300s",
        "header injected: Authorization: Bearer ",
    ] {
        assert!(plain.contains(expected), "no {expected:?} in {plain}");
    }
    let injected = plain
        .lines()
        .find(|line| line.contains("header injected"))
        .context("no line")?;
    let shown = injected.split("Bearer ").nth(1).context("no token")?;
    assert!(shown.len() < 60, "the token is not redacted: {shown}");
    Ok(())
}

/// The text without ANSI escapes.
fn strip_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}
