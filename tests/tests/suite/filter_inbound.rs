//! The filter on the way in, in a real Envoy: who may pass, what the application sees, and what hostile callers
//! get.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use attache_proto::token::v1::{Bundle, BundlesResponse};
use attache_tests::{
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, Reply},
    envoy::Envoy,
    filter::{self, https},
    scripted_edge::ScriptedEdge,
    svid::SvidSigner,
    target::Target,
    wait::until,
};
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::json;
use tempfile::TempDir;

const HOST: &str = "orders.example";
const AUDIENCE: &str = "https://orders.example";
const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";

/// Everything running.
struct Stage {
    authority: Authority,
    signer: SvidSigner,
    _edge: ScriptedEdge,
    application: Target,
    envoy: Envoy,
    address: SocketAddr,
    _directory: TempDir,
}

impl Stage {
    async fn open() -> Result<Self> {
        Self::open_with(Ok).await
    }

    async fn open_with(change: impl FnOnce(Bootstrap) -> Result<Bootstrap>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::new("the tests' own authority")?;
        let signer = SvidSigner::new("jwt-1")?;
        let socket = directory.path().join("edge.sock");
        let edge = ScriptedEdge::start(&socket)?;
        edge.bundles(bundles(&signer));
        let application = Target::plaintext().await?;
        let own = authority
            .issue(&[HOST])?
            .write(directory.path(), "service")?;
        let wasm = filter::wasm().await?;
        let bootstrap = Bootstrap::filter_inbound(&wasm, &socket, &own, application.address())?;
        let envoy = Envoy::start(change(bootstrap)?).await?;
        let address = envoy.address("inbound").await?;
        let stage = Self {
            authority,
            signer,
            _edge: edge,
            application,
            envoy,
            address,
            _directory: directory,
        };
        Ok(stage)
    }

    /// The same, once every worker has the bundle.
    async fn ready() -> Result<Self> {
        let stage = Self::open().await?;
        stage.until_it_verifies().await?;
        Ok(stage)
    }

    async fn until_it_verifies(&self) -> Result<()> {
        let mut good = 0;
        until("the workers to have the bundle", async || {
            let reply = self.ask(&self.token()).await.ok()?;
            good = if reply.status == 200 { good + 1 } else { 0 };
            (good > 8).then_some(())
        })
        .await
    }

    fn token(&self) -> String {
        self.signer.good(CALLER, "https://orders.example")
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply> {
        https(self.address, &self.authority, request).await
    }

    async fn ask(&self, token: &str) -> Result<Reply> {
        self.ask_with(&[("authorization", format!("Bearer {token}").as_bytes())])
            .await
    }

    async fn ask_with(&self, headers: &[(&str, &[u8])]) -> Result<Reply> {
        let mut request = client::get(HOST, "/v1/orders")?;
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name)?;
            request
                .headers_mut()
                .append(name, HeaderValue::from_bytes(value)?);
        }
        self.send(request).await
    }

    /// Other callers are served as if nothing had been.
    async fn still_serves(&self) -> Result<()> {
        for _ in 0..6 {
            assert_eq!(self.ask(&self.token()).await?.status, 200);
        }
        Ok(())
    }
}

fn bundles(
    signer: &SvidSigner,
) -> impl Fn(&attache_proto::token::v1::BundlesRequest) -> Result<BundlesResponse, tonic::Status> + use<>
{
    let document = json!({"keys": [signer.jwk()]}).to_string().into_bytes();
    move |_| {
        Ok(BundlesResponse {
            protocol: 1,
            version: "1".to_owned(),
            bundles: vec![Bundle {
                trust_domain: "cluster.local".to_owned(),
                document: document.clone(),
                ..Bundle::default()
            }],
            refresh_after: 10,
            ..BundlesResponse::default()
        })
    }
}

fn refusal(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.code().unwrap_or_default())
}

#[tokio::test]
async fn a_caller_with_a_good_token_reaches_the_application_which_sees_who_it_is() -> Result<()> {
    let stage = Stage::ready().await?;
    let reply = stage
        .ask_with(&[
            (
                "authorization",
                format!("Bearer {}", stage.token()).as_bytes(),
            ),
            ("x-attache-spiffe-id", b"spiffe://cluster.local/forged"),
            ("x-attache-anything", b"forged"),
        ])
        .await?;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.code(),
        None,
        "the application cannot pretend to refuse"
    );
    let received = stage.application.last()?;
    assert_eq!(received.values("x-attache-spiffe-id"), [CALLER]);
    assert!(received.values("authorization").is_empty());
    assert!(received.values("x-attache-anything").is_empty());
    stage
        .envoy
        .logged("the caller", |line| line["caller"] == CALLER)
        .await?;
    assert_eq!(stage.envoy.messages(), "");
    Ok(())
}

#[tokio::test]
async fn refusals_have_their_codes_and_the_challenge_of_rfc_6750() -> Result<()> {
    let stage = Stage::ready().await?;
    let audience = "https://orders.example";
    let cases = [
        (
            stage
                .signer
                .svid(|_, claims| claims["aud"] = json!("other"), CALLER, audience),
            "token-audience-mismatch",
        ),
        (
            stage
                .signer
                .svid(|_, claims| claims["exp"] = json!(1), CALLER, audience),
            "token-expired",
        ),
        (
            stage
                .signer
                .svid(|header, _| header["kid"] = json!("other"), CALLER, audience),
            "token-key-unknown",
        ),
        (
            SvidSigner::new("jwt-1")?.good(CALLER, audience),
            "token-signature-invalid",
        ),
        (
            stage.signer.good("spiffe://other.example/a", audience),
            "trust-domain-unknown",
        ),
        ("a.b.c".to_owned(), "token-malformed"),
    ];
    for (token, code) in cases {
        let reply = stage.ask(&token).await?;
        assert_eq!(refusal(&reply), (401, code));
        let challenge = reply.header("www-authenticate").context("no challenge")?;
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\""),
            "{challenge}"
        );
        let logged = stage
            .envoy
            .logged(code, |line| line["details"] == code)
            .await?;
        assert_eq!(logged["status"], 401);
    }
    let missing = stage.ask_with(&[]).await?;
    assert_eq!(refusal(&missing), (401, "evidence-missing"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    let other = stage
        .signer
        .good("spiffe://cluster.local/ns/production/sa/other", audience);
    assert_eq!(refusal(&stage.ask(&other).await?), (403, "no-policy"));
    assert!(
        stage
            .application
            .received()
            .iter()
            .all(|received| { received.values("x-attache-spiffe-id") == [CALLER] })
    );
    Ok(())
}

#[tokio::test]
async fn without_a_bundle_nobody_passes() -> Result<()> {
    let stage = Stage::open_with(Ok).await?;
    stage.until_it_verifies().await?;
    drop(stage);
    let stage =
        Stage::open_with(|bootstrap| bootstrap.replace("/edge.sock", "/nobody.sock")).await?;
    assert_eq!(
        refusal(&stage.ask(&stage.token()).await?),
        (503, "keys-unavailable")
    );
    assert!(stage.application.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_configuration_with_problems_keeps_envoy_from_starting() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let authority = Authority::new("the tests' own authority")?;
    let own = authority
        .issue(&[HOST])?
        .write(directory.path(), "service")?;
    let wasm = filter::wasm().await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let bootstrap = Bootstrap::filter_inbound(&wasm, &directory.path().join("s"), &own, anywhere)?;
    Envoy::validate(&bootstrap)?;
    let bad = bootstrap
        .replace("\"token\": \"strip\"", "\"token\": \"keep\"")?
        .replace("\"paths\": [\"/v1/orders\"]", "\"pats\": []")?;
    let refused = Envoy::validate(&bad)
        .expect_err("it is refused")
        .to_string();
    for problem in [
        "`inbound.token`",
        "`inbound.allow[0].paths`: it is required",
        "`inbound.allow[0].pats`",
    ] {
        assert!(refused.contains(problem), "{problem}: {refused}");
    }
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_text_harm_nobody() -> Result<()> {
    let stage = Stage::ready().await?;
    for byte in 0x80..=0xff_u8 {
        let value = [b"Bearer ".as_slice(), &[byte], b"x.y.z"].concat();
        let reply = stage.ask_with(&[("authorization", &value)]).await?;
        assert_eq!(refusal(&reply), (401, "token-malformed"));
        let token = format!("Bearer {}", stage.token());
        let headers: [(&str, &[u8]); 2] =
            [("authorization", token.as_bytes()), ("x-other", &[byte])];
        assert_eq!(stage.ask_with(&headers).await?.status, 200);
    }
    stage.still_serves().await
}

#[tokio::test]
async fn hostile_headers_are_refused_and_harm_nobody() -> Result<()> {
    let stage = Stage::ready().await?;
    let bearer = format!("Bearer {}", stage.token());
    let good = bearer.as_bytes();
    let long = [b"Bearer ".as_slice(), &vec![b'a'; 17 * 1024]].concat();
    for (headers, expected) in [
        (
            vec![("authorization", good), ("authorization", good)],
            (400, "evidence-ambiguous"),
        ),
        (
            vec![("authorization", b"".as_slice())],
            (401, "evidence-missing"),
        ),
        (
            vec![("authorization", b"Bearer ".as_slice())],
            (401, "token-malformed"),
        ),
        (
            vec![("authorization", long.as_slice())],
            (401, "token-too-large"),
        ),
        (
            vec![
                ("authorization", good),
                ("x-http-method-override", b"DELETE"),
            ],
            (403, "request-overridden"),
        ),
    ] {
        let reply = stage.ask_with(&headers).await?;
        if expected.1 == "evidence-missing" || expected.1 == "token-malformed" {
            // Envoy trims what stands around a value.
            assert_eq!(reply.status, 401);
        } else {
            assert_eq!(refusal(&reply), expected);
        }
    }
    // More than Envoy takes at all.
    let huge = [b"Bearer ".as_slice(), &vec![b'a'; 61 * 1024]].concat();
    assert_eq!(
        stage.ask_with(&[("authorization", &huge)]).await?.status,
        431
    );
    stage.still_serves().await
}

#[tokio::test]
async fn huge_headers_that_envoy_is_told_to_take_are_refused_by_the_filter() -> Result<()> {
    let stage = Stage::open_with(|bootstrap| {
        bootstrap.replace(
            "stat_prefix: inbound\n",
            "stat_prefix: inbound\n          max_request_headers_kb: 8192\n",
        )
    })
    .await?;
    stage.until_it_verifies().await?;
    let huge = [b"Bearer ".as_slice(), &vec![b'a'; 4 << 20]].concat();
    let reply = stage.ask_with(&[("authorization", &huge)]).await?;
    assert_eq!(refusal(&reply), (401, "token-too-large"));
    stage.still_serves().await
}

#[tokio::test]
async fn paths_with_two_readings_pass_no_rule() -> Result<()> {
    let stage = Stage::ready().await?;
    for path in ["/v1/orders/%ff", "/v1/orders;/x", "/v1/orders//x", "/v2"] {
        let mut request = client::get(HOST, path)?;
        let bearer = format!("Bearer {}", stage.token());
        request
            .headers_mut()
            .insert("authorization", bearer.parse()?);
        let reply = stage.send(request).await?;
        assert!(
            [400, 403].contains(&reply.status),
            "{path}: {}",
            reply.status
        );
    }
    assert!(
        stage
            .application
            .received()
            .iter()
            .all(|received| received.target == "/v1/orders")
    );
    stage.still_serves().await
}

#[tokio::test]
async fn ten_thousand_tokens_take_no_more_memory_than_is_set() -> Result<()> {
    let stage = Stage::open_with(|bootstrap| {
        bootstrap.replace(
            "\"token\": \"strip\",",
            "\"token\": \"strip\", \"memory_bytes\": 65536,",
        )
    })
    .await?;
    stage.until_it_verifies().await?;
    let mut connection = filter::Connection::open(stage.address, &stage.authority, HOST).await?;
    let before = stage.envoy.stat("server.memory_allocated").await?;
    for number in 0..10_000 {
        let change = |_: &mut _, claims: &mut serde_json::Value| claims["jti"] = json!(number);
        let token = stage.signer.svid(change, CALLER, AUDIENCE);
        let mut request = client::get(HOST, "/v1/orders")?;
        let bearer = format!("Bearer {token}");
        request
            .headers_mut()
            .insert("authorization", bearer.parse()?);
        assert_eq!(connection.ask(request).await?.status, 200);
    }
    // The memory of VMs counts among Envoy's own only in part; what a leak of each token would take, 8 MiB, shows.
    let after = stage.envoy.stat("server.memory_allocated").await?;
    assert!(after < before + (6 << 20), "{before} {after}");
    stage.still_serves().await
}
