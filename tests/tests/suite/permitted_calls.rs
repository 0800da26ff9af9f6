//! A call that policy permits reaches its target with a credential that anybody can verify.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use attache_tests::{
    client::{self, EVIDENCE, with_evidence},
    peers,
    quickstart::{INTERNAL, STRIPE},
    stage::{CHARGES, Script, Stage},
    target::Offers,
    verify,
};
use http::Version;
use serde_json::Value;

const AUDIENCE: &str = "https://api.stripe.com";

#[tokio::test]
async fn the_quick_start_attaches_a_token_that_the_published_keys_verify() -> Result<()> {
    let stage = Stage::open().await?;
    let reply = stage.charges(&stage.payment_token()?).await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    let received = stage.set.stripe.last()?;
    let token = received.bearer().context("no bearer token")?;
    let issuer = stage.set.installation.issuer();
    let claims = verify::claims(&token, &stage.published_keys().await?, &issuer, AUDIENCE)?;
    assert_eq!(
        claims["sub"],
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    let (issued, expires) = (claims["iat"].as_i64(), claims["exp"].as_i64());
    assert_eq!(
        expires
            .zip(issued)
            .map(|(expires, issued)| expires - issued),
        Some(300)
    );
    let id = claims["jti"].as_str().context("no jti")?;
    let digits = id
        .strip_prefix("tok_prod_")
        .context("a jti of another environment")?;
    assert_eq!(digits.len(), 32, "{id}");
    let event = stage.set.installation.last_event()?;
    assert_eq!(event["token_id"], id);
    Ok(())
}

#[tokio::test]
async fn the_target_sees_the_call_as_it_was_made_and_no_evidence() -> Result<()> {
    let stage = Stage::open().await?;
    let mut request = with_evidence(
        client::get(STRIPE, "/v1/charges?limit=3")?,
        &stage.payment_token()?,
    )?;
    request
        .headers_mut()
        .insert("accept", http::HeaderValue::from_static("text/plain"));
    assert_eq!(client::http1(stage.address, request).await?.status, 200);
    let received = stage.set.stripe.last()?;
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("GET", "/v1/charges?limit=3")
    );
    assert_eq!(received.authority, STRIPE);
    assert_eq!(received.values("accept"), ["text/plain"]);
    let names: BTreeSet<&str> = received
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        names.is_subset(&BTreeSet::from(["accept", "authorization", "host"])),
        "{names:?}"
    );
    Ok(())
}

#[tokio::test]
async fn http1_and_http2_callers_and_targets_are_served_alike() -> Result<()> {
    for offers in [Offers::Http1, Offers::Http2] {
        let stage = Stage::play(Script {
            stripe_offers: offers,
            ..Script::default()
        })
        .await?;
        let token = stage.payment_token()?;
        assert_eq!(stage.charges(&token).await?.status, 200);
        let request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
        assert_eq!(client::http2(stage.address, request).await?.status, 200);
        let expected = if offers == Offers::Http1 {
            Version::HTTP_11
        } else {
            Version::HTTP_2
        };
        let received = stage.set.stripe.received();
        assert_eq!(received.len(), 2);
        for request in received {
            assert_eq!(request.version, expected);
            assert!(request.bearer().is_some());
        }
    }
    Ok(())
}

/// The quick start's CredentialPolicy binds every method and path, so a gRPC call is covered too.
#[tokio::test]
async fn a_grpc_call_is_served_and_its_trailers_come_back() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let answer = client::grpc_health(stage.address, STRIPE, &[(EVIDENCE, &token)]).await?;
    assert_eq!(answer?.status, 1);
    let received = stage.set.stripe.last()?;
    assert_eq!(received.target, "/grpc.health.v1.Health/Check");
    assert!(received.bearer().is_some());
    let refused = client::grpc_health(stage.address, STRIPE, &[]).await?;
    let status = refused
        .err()
        .context("a call without evidence was served")?;
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert!(
        status.message().contains("evidence-missing"),
        "{}",
        status.message()
    );
    assert_eq!(stage.set.stripe.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn tokens_are_reused_for_one_caller_and_never_for_another() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    for _ in 0..3 {
        assert_eq!(stage.charges(&token).await?.status, 200);
    }
    let records = with_evidence(
        client::get(INTERNAL, "/api/v1/records")?,
        &stage.set.cluster.token("prod", "data-pipeline")?,
    )?;
    assert_eq!(client::http1(stage.address, records).await?.status, 200);
    let bearer = |received: Vec<attache_tests::target::Received>| {
        received
            .iter()
            .filter_map(|request| request.bearer())
            .collect::<BTreeSet<_>>()
    };
    let (stripe, internal) = (
        bearer(stage.set.stripe.received()),
        bearer(stage.set.internal.received()),
    );
    assert_eq!((stripe.len(), internal.len()), (1, 1));
    assert!(stripe.is_disjoint(&internal));
    Ok(())
}

#[tokio::test]
async fn a_certified_client_reads_our_discovery_document_and_verifies_our_token() -> Result<()> {
    let stage = Stage::open().await?;
    stage.charges(&stage.payment_token()?).await?;
    let token = stage
        .set
        .stripe
        .last()?
        .bearer()
        .context("no bearer token")?;
    let issuer = stage.set.installation.issuer();
    let found = peers::node("relying-party.mjs", &[&issuer, AUDIENCE, &token]).await?;
    assert_eq!(found["metadata"]["issuer"], Value::from(issuer.as_str()));
    assert_eq!(
        found["metadata"]["jwks_uri"],
        Value::from(format!("{issuer}/keys"))
    );
    assert_eq!(found["header"]["alg"], "RS256");
    assert_eq!(
        found["claims"]["sub"],
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    Ok(())
}

#[tokio::test]
async fn envoys_access_log_names_the_decision_that_the_audit_log_holds() -> Result<()> {
    let stage = Stage::open().await?;
    stage.charges(&stage.payment_token()?).await?;
    let line = stage
        .envoy
        .logged("the call", |line| line["status"] == 200)
        .await?;
    let event = stage.set.installation.last_event()?;
    assert_eq!(line["decision_id"], event["event_id"]);
    assert_eq!(line["workload"], event["workload_svid"]);
    assert_eq!(line["outcome"], "permitted");
    Ok(())
}
