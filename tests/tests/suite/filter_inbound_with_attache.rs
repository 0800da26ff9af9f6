//! The way in with a real edge: its policies say what callers may do, and it verifies what Envoy cannot.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_proto::token::v1::{Decision, VerifyRequest};
use attache_tests::{
    authority::Authority,
    filter::https,
    kept::tokens,
    service::{AUDIENCE, Plan, Service, may_ask},
    svid::SvidSigner,
    wait::until,
};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;
use tokio::time::Instant;

const DOMAIN: &str = "partner.example";
const CALLER: &str = "spiffe://partner.example/ns/shop/sa/web";
const STRANGER: &str = "spiffe://partner.example/ns/shop/sa/stranger";
const PATH: &str = "/v1/orders/7";

async fn service(signer: &SvidSigner) -> Result<(Authority, Service)> {
    let authority = Authority::new("the tests' own authority")?;
    let plan = Plan {
        name: "orders.example",
        authority: &authority,
        domain: DOMAIN,
        bundle: &json!({"keys": [signer.jwk()]}),
        policies: &may_ask(CALLER),
    };
    let service = Service::start(plan, Ok).await?;
    Ok((authority, service))
}

#[tokio::test]
async fn the_edges_policies_let_a_caller_in_and_every_access_stands_in_its_log() -> Result<()> {
    let signer = SvidSigner::new("jwt-1")?;
    let (authority, service) = service(&signer).await?;
    let token = signer.good(CALLER, AUDIENCE);
    service.ready(&authority, "/v1/orders/warm", &token).await?;
    for _ in 0..20 {
        assert_eq!(service.ask(&authority, PATH, &token).await?.status, 200);
    }
    let received = service.application.last()?;
    assert_eq!(received.values("x-attache-spiffe-id"), [CALLER]);
    assert!(received.values("authorization").is_empty());
    let events = until("every access in the log", async || {
        service
            .events(PATH)
            .ok()
            .filter(|events| events.len() >= 20)
    })
    .await?;
    assert_eq!(events.len(), 20);
    for event in &events {
        assert_eq!(event["workload_svid"], CALLER);
        assert_eq!(event["outcome"], "permitted");
        assert_eq!(event["target_service"], "orders.example");
        assert_eq!(event["token_issued"], false);
    }
    // One answer of the edge is for all of them.
    let leases = service.installation.events()?;
    let leases = leases.iter().filter(|event| event["record"] == "lease");
    ensure!(leases.clone().count() <= 4, "{}", leases.count());
    // What policy does not say is refused, as RFC 6750 says.
    for (path, id) in [("/v1/other", CALLER), (PATH, STRANGER)] {
        let token = signer.good(id, AUDIENCE);
        let refused = service.ask(&authority, path, &token).await?;
        assert_eq!(refused.status, 403, "{refused:?}");
        let challenge = refused.header("www-authenticate").context("no challenge")?;
        ensure!(challenge.contains("insufficient_scope"), "{challenge}");
        let id = refused.header("x-attache-decision").context("no event")?;
        assert_eq!(service.installation.event(id).await?["outcome"], "denied");
    }
    let stale = signer.svid(|_, claims| claims["exp"] = json!(1), CALLER, AUDIENCE);
    let refused = service.ask(&authority, PATH, &stale).await?;
    assert_eq!(
        (refused.status, refused.code()),
        (401, Some("token-expired"))
    );
    Ok(())
}

#[tokio::test]
async fn a_body_that_comes_before_the_edges_verdict_lets_nobody_in() -> Result<()> {
    let signer = SvidSigner::new("jwt-1")?;
    let (authority, service) = service(&signer).await?;
    let caller = signer.good(CALLER, AUDIENCE);
    service
        .ready(&authority, "/v1/orders/warm", &caller)
        .await?;
    for number in 0..6 {
        // Nobody was asked about this token yet.
        let change =
            |_: &mut serde_json::Value, claims: &mut serde_json::Value| claims["n"] = json!(number);
        let stranger = signer.svid(change, STRANGER, AUDIENCE);
        let mut request = http::Request::post("http://orders.example/v1/orders/new")
            .header("host", "orders.example")
            .header("content-type", "application/x-www-form-urlencoded");
        request = request.header("authorization", format!("Bearer {stranger}"));
        let request = request.body(Full::new(Bytes::from("a=1&b=2")))?;
        let refused = https(service.address, &authority, request).await?;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    ensure!(service.application.last_of("/v1/orders/new").is_none());
    Ok(())
}

#[tokio::test]
async fn a_policy_that_goes_shuts_the_caller_out_within_two_seconds() -> Result<()> {
    let signer = SvidSigner::new("jwt-1")?;
    let (authority, service) = service(&signer).await?;
    let token = signer.good(CALLER, AUDIENCE);
    service.ready(&authority, PATH, &token).await?;
    fs::remove_file(service.installation.policies().join("policies.yaml"))?;
    let changed = Instant::now();
    let mut last_permitted = Duration::ZERO;
    while changed.elapsed() < Duration::from_secs(5) {
        if service.ask(&authority, PATH, &token).await?.status == 200 {
            last_permitted = changed.elapsed();
        }
    }
    // One second until the change is in force, which the server promises, and two from there.
    ensure!(
        last_permitted < Duration::from_secs(3),
        "{last_permitted:?}"
    );
    assert_eq!(service.ask(&authority, PATH, &token).await?.status, 403);
    Ok(())
}

#[tokio::test]
async fn a_token_that_envoy_cannot_verify_is_verified_by_the_edge() -> Result<()> {
    let signer = SvidSigner::pss("rsa-1")?;
    let (authority, service) = service(&signer).await?;
    let token = signer.good(CALLER, AUDIENCE);
    service.ready(&authority, PATH, &token).await?;
    let received = service.application.last()?;
    assert_eq!(received.values("x-attache-spiffe-id"), [CALLER]);
    let forged = SvidSigner::pss("rsa-1")?.good(CALLER, AUDIENCE);
    let refused = service.ask(&authority, PATH, &forged).await?;
    assert_eq!(
        (refused.status, refused.code()),
        (401, Some("token-signature-invalid"))
    );

    let mut client = tokens(&service.installation.socket()).await?;
    let asked = |token: &str, audience: &str| VerifyRequest {
        protocol: 1,
        token: token.to_owned(),
        audiences: vec!["https://other.example".to_owned(), audience.to_owned()],
    };
    let good = client.verify(asked(&token, AUDIENCE)).await?.into_inner();
    assert_eq!(good.decision(), Decision::Allowed, "{good:?}");
    assert_eq!(good.spiffe_id, CALLER);
    ensure!(good.until > jiff::Timestamp::now().as_millisecond());
    for (token, audience, code) in [
        (
            token.as_str(),
            "https://books.example",
            "token-audience-mismatch",
        ),
        (forged.as_str(), AUDIENCE, "token-signature-invalid"),
    ] {
        let bad = client.verify(asked(token, audience)).await?.into_inner();
        assert_eq!(
            (bad.decision(), bad.code.as_str()),
            (Decision::Denied, code)
        );
        ensure!(bad.spiffe_id.is_empty());
    }
    Ok(())
}
