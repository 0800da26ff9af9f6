//! Bodies in a real Envoy: forms of token requests are rewritten, whole and once, and no body lets a request go that
//! nobody decided about.

use std::time::Duration;

use anyhow::{Context as _, Result};
use attache_proto::token::v1::{AssertionResponse, Decision, FetchRequest, FetchResponse, Scope};
use attache_tests::{
    client,
    login_server::token_request,
    outbound_stage::{OutboundStage, allowed},
    quickstart::STRIPE,
    target::Received,
    wait::{until, within},
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};
use tonic::Status;

const FORM: [(&str, &str); 4] = [
    ("grant_type", "client_credentials"),
    ("client_id", "a"),
    ("client_secret", "placeholder"),
    ("scope", "x y"),
];
const BODY: &str = "grant_type=client_credentials&client_id=a&client_secret=placeholder&scope=x+y";

/// Everything under `/token` takes an assertion, everything else a token.
fn answer(request: &FetchRequest) -> Result<FetchResponse, Status> {
    let life = Duration::from_secs(300);
    let answer = allowed(request, "token", life, "revision-1");
    let path = request.call.as_ref().map_or("", |call| &call.path);
    if !path.starts_with("/token") {
        return Ok(answer);
    }
    let scope = answer.scope.clone().map(|scope| Scope {
        path: "/token".to_owned(),
        ..scope
    });
    Ok(FetchResponse {
        decision: Decision::AssertionNeeded.into(),
        inject: Vec::new(),
        lease: Vec::new(),
        scope: scope.filter(|_| {
            request
                .call
                .as_ref()
                .is_some_and(|call| call.details.is_none())
        }),
        ..answer
    })
}

async fn stage() -> Result<OutboundStage> {
    let stage = OutboundStage::open().await?;
    stage.edge.fetch(answer);
    let made = std::sync::atomic::AtomicU64::new(0);
    stage.edge.assertion(move |asked| {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        Ok(AssertionResponse {
            protocol: 1,
            decision: Decision::Allowed.into(),
            decision_id: "evt_1".to_owned(),
            assertion: format!("a.{number}.{}", asked.client_id),
            assertion_type: "urn:jwt".to_owned(),
            expires_at: Timestamp::now().as_millisecond() + 60_000,
            remove: vec!["authorization".to_owned()],
            ..AssertionResponse::default()
        })
    });
    Ok(stage)
}

fn expected(number: u64) -> String {
    format!(
        "grant_type=client_credentials&client_id=a&scope=x+y&client_assertion_type=urn%3Ajwt&client_assertion=a.{number}.a"
    )
}

fn text(received: &Received) -> String {
    String::from_utf8_lossy(&received.body).into_owned()
}

/// `POST` of a body with headers.
fn post(path: &str, body: &str, headers: &[(&str, &str)]) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::post(format!("http://{STRIPE}{path}")).header("host", STRIPE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(Full::new(Bytes::from(body.to_owned())))?)
}

/// The statuses of all answers that a connection gets until it is silent.
async fn statuses(stream: &mut TcpStream, count: usize) -> Result<Vec<u16>> {
    let mut text = Vec::new();
    within("the answers", async {
        loop {
            let found: Vec<u16> = String::from_utf8_lossy(&text)
                .split("HTTP/1.1 ")
                .skip(1)
                .filter_map(|rest| rest.get(..3)?.parse().ok())
                .collect();
            if found.len() >= count || stream.read_buf(&mut text).await? == 0 {
                return Ok(found);
            }
        }
    })
    .await?
}

#[tokio::test]
async fn a_body_that_comes_before_the_edges_answer_lets_no_request_go() -> Result<()> {
    let stage = stage().await?;
    stage.edge.delay(Duration::from_millis(400));
    let json = ("content-type", "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (number, kind) in [json, form].into_iter().enumerate() {
        let path = format!("/v{}/x", number + 1);
        let reply = client::http1(
            stage.address,
            post(&path, "a=1&client_secret=mine", &[kind])?,
        );
        assert_eq!(reply.await?.status, 200);
        let received = stage.stripe.last()?;
        // What was sent stands there as it was, and with the credential.
        assert_eq!(text(&received), "a=1&client_secret=mine");
        assert!(received.bearer().is_some(), "{received:?}");
        assert_eq!(stage.stripe.received().len(), number + 1);
    }
    // Parts of a body that come while the edge takes its time, and trailers.
    stage.edge.fetch(|_| Err(Status::internal("broken")));
    for kind in ["application/json", "application/x-www-form-urlencoded"] {
        let mut stream = TcpStream::connect(stage.address).await?;
        let head = format!(
            "POST /v9/x HTTP/1.1\r\nhost: {STRIPE}\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\ntrailer: x-a\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        for part in ["1\r\na\r\n", "1\r\nb\r\n", "0\r\nx-a: b\r\n\r\n"] {
            sleep(Duration::from_millis(50)).await;
            stream.write_all(part.as_bytes()).await?;
        }
        assert_eq!(statuses(&mut stream, 1).await?, [503], "{kind}");
    }
    assert_eq!(stage.stripe.received().len(), 2);
    Ok(())
}

#[tokio::test]
async fn every_token_request_gets_an_assertion_of_its_own_and_the_right_length() -> Result<()> {
    let stage = stage().await?;
    for number in 1..=4 {
        let reply = client::http1(stage.address, token_request(STRIPE, &FORM)?).await?;
        assert_eq!(reply.status, 200, "{:?}", reply.code());
        let received = stage.stripe.last()?;
        assert_eq!(text(&received), expected(number));
        let length = expected(number).len().to_string();
        assert_eq!(received.values("content-length"), [length]);
        assert!(received.values("authorization").is_empty());
    }
    let asked = stage.edge.asked();
    assert_eq!(asked.fetches.len(), 1, "what is known is not asked again");
    assert_eq!(asked.assertions.len(), 4);
    // Basic authentication goes, and its client moves.
    let basic = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", "Basic YTpwbGFjZWhvbGRlcg=="),
    ];
    let request = post("/token", "grant_type=client_credentials", &basic)?;
    assert_eq!(client::http1(stage.address, request).await?.status, 200);
    let received = stage.stripe.last()?;
    assert_eq!(
        text(&received),
        "grant_type=client_credentials&client_id=a&client_assertion_type=urn%3Ajwt&client_assertion=a.5.a"
    );
    assert!(received.values("authorization").is_empty());
    // Over HTTP/2, without a length of its own.
    let reply = client::http2(stage.address, token_request(STRIPE, &FORM)?).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(text(&stage.stripe.last()?), expected(6));
    Ok(())
}

#[tokio::test]
async fn a_form_in_chunks_of_one_byte_is_rewritten_and_what_follows_it_is_another_request()
-> Result<()> {
    let stage = stage().await?;
    for number in 1..=2 {
        let mut stream = TcpStream::connect(stage.address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: {STRIPE}\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        for byte in BODY.chars() {
            stream
                .write_all(format!("1\r\n{byte}\r\n").as_bytes())
                .await?;
        }
        // Another request in the same breath.
        let next = format!("0\r\n\r\nGET /v1/next HTTP/1.1\r\nhost: {STRIPE}\r\n\r\n");
        stream.write_all(next.as_bytes()).await?;
        assert_eq!(statuses(&mut stream, 2).await?, [200, 200]);
        let received = stage.stripe.received();
        let [.., form, next] = received.as_slice() else {
            anyhow::bail!("{received:?}");
        };
        assert_eq!(text(form), expected(number));
        assert_eq!(
            form.values("content-length"),
            [expected(number).len().to_string()]
        );
        assert!(form.values("transfer-encoding").is_empty());
        assert_eq!(
            (next.method.as_str(), next.target.as_str()),
            ("GET", "/v1/next")
        );
        assert!(next.bearer().is_some());
        assert_eq!(received.len() as u64, 2 * number);
    }
    Ok(())
}

/// Path, headers and body of a request, and what its caller is told.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn what_can_be_smuggled_in_a_form_is_refused_and_nothing_hangs() -> Result<()> {
    let stage = stage().await?;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let long = format!("client_id=a&x={}", "y".repeat(70_000));
    let two = "client_id=a&client_secret=b&client_secret=c";
    let cases: [Case<'_>; 9] = [
        ("/token", &[form], "", 400, "token-request-malformed"),
        ("/token", &[], "client_id=a", 400, "token-request-malformed"),
        ("/token", &[form], two, 400, "token-request-malformed"),
        (
            "/token",
            &[form],
            "client_id=a&client_id=b",
            400,
            "token-request-malformed",
        ),
        (
            "/token",
            &[form],
            "client_id=a;client_secret=b",
            400,
            "token-request-malformed",
        ),
        (
            "/token?client_id=b",
            &[form],
            "client_id=a",
            400,
            "token-request-malformed",
        ),
        ("/token", &[form], "grant_type=x", 400, "client-id-missing"),
        (
            "/token",
            &[form, ("content-encoding", "gzip")],
            BODY,
            415,
            "token-request-encoded",
        ),
        ("/token", &[form], &long, 413, "token-request-too-large"),
    ];
    // Cold and warm.
    for round in 0..2 {
        for (path, headers, body, status, code) in cases {
            let reply = client::http1(stage.address, post(path, body, headers)?).await?;
            assert_eq!(
                (reply.status, reply.code().unwrap_or_default()),
                (status, code),
                "{round} {path} {headers:?} {} bytes",
                body.len()
            );
        }
    }
    assert!(stage.stripe.received().is_empty());
    // Others are served as ever.
    let reply = client::http1(stage.address, token_request(STRIPE, &FORM)?).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(text(&stage.stripe.last()?), expected(1));
    Ok(())
}

#[tokio::test]
async fn a_form_without_a_length_and_one_with_two_are_no_way_around_the_limit() -> Result<()> {
    let stage = stage().await?;
    let mut stream = TcpStream::connect(stage.address).await?;
    let head = format!(
        "POST /token HTTP/1.1\r\nhost: {STRIPE}\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("4000\r\n{}\r\n", "y".repeat(0x4000));
    for _ in 0..5 {
        // It may end the connection before all of it is there.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    assert_eq!(statuses(&mut stream, 1).await?, [413]);
    // Both ways of telling a length.
    let both = format!(
        "POST /token HTTP/1.1\r\nhost: {STRIPE}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nb\r\nclient_id=a\r\n0\r\n\r\n"
    );
    assert_eq!(
        client::raw(stage.address, both.as_bytes()).await?.status,
        400
    );
    assert!(stage.stripe.received().is_empty());
    // Others are served as ever.
    let reply = client::http1(stage.address, token_request(STRIPE, &FORM)?).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(text(&stage.stripe.last()?), expected(1));
    Ok(())
}

#[tokio::test]
async fn an_edge_that_makes_no_assertion_lets_no_form_go() -> Result<()> {
    let mut stage = stage().await?;
    stage.edge.assertion(|_| {
        Ok(AssertionResponse {
            decision: Decision::Denied.into(),
            code: "client-id-mismatch".to_owned(),
            decision_id: "evt_7".to_owned(),
            ..AssertionResponse::default()
        })
    });
    let denied = client::http1(stage.address, token_request(STRIPE, &FORM)?).await?;
    assert_eq!(
        (
            denied.status,
            denied.code(),
            denied.header("x-attache-decision")
        ),
        (403, Some("client-id-mismatch"), Some("evt_7"))
    );
    stage.edge.close()?;
    let silent = client::http1(stage.address, token_request(STRIPE, &FORM)?).await?;
    assert_eq!(
        (silent.status, silent.code()),
        (503, Some("edge-unavailable"))
    );
    assert!(stage.stripe.received().is_empty());
    let refused = until("the count", async || {
        let name = "wasmcustom.attache_refused_client_id_mismatch";
        stage.envoy.stat(name).await.ok().filter(|count| *count > 0)
    });
    assert_eq!(refused.await.context("no count")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_gives_no_bodies_to_the_filter_refuses_token_requests_and_serves_the_rest()
-> Result<()> {
    let stage = OutboundStage::open_with(|bootstrap| {
        // As Istio's WasmPlugin has it.
        let set = "allow_on_headers_stop_iteration: true";
        bootstrap.replace(set, "allow_on_headers_stop_iteration: false")
    })
    .await?;
    stage.edge.fetch(answer);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = client::http1(stage.address, post("/v1/x", "a=1", &form)?).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(text(&stage.stripe.last()?), "a=1");
    assert!(stage.stripe.last()?.bearer().is_some());
    let refused = client::http1(stage.address, token_request(STRIPE, &FORM)?).await?;
    assert_eq!(
        (refused.status, refused.code()),
        (408, Some("token-request-incomplete"))
    );
    assert_eq!(stage.stripe.received().len(), 1);
    Ok(())
}
