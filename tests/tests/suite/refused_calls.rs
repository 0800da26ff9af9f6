//! A call that is not proven or not permitted ends with a code of its own, and the target hears nothing.

use anyhow::{Context as _, Result};
use attache_tests::{
    client::{self, Reply, with_evidence},
    forgery::Forgery,
    quickstart::{INTERNAL, STRIPE},
    stage::{CHARGES, Script, Stage},
    wait::until,
};
use serde_json::{Value, json};

/// A refusal says what it must to the caller, and is recorded as it was answered.
async fn check_refusal(stage: &Stage, reply: &Reply, status: u16, code: &str) -> Result<Value> {
    assert_eq!(
        (reply.status, reply.code()),
        (status, Some(code)),
        "{reply:?}"
    );
    let body = reply.json()?;
    assert_eq!(body["code"], code);
    assert_eq!(
        body["decision"].as_str(),
        reply.header("x-attache-decision")
    );
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|message| message.len() > 10),
        "{body}"
    );
    let event = stage.event_of(reply).await?;
    assert_eq!(event["code"], code);
    assert_eq!(
        event["outcome"],
        if status == 403 { "denied" } else { "error" }
    );
    assert_eq!(event["token_issued"], false);
    Ok(event)
}

#[tokio::test]
async fn a_workload_that_no_policy_names_is_denied() -> Result<()> {
    let stage = Stage::open().await?;
    // Known to a policy, but for another target.
    let reply = stage
        .charges(&stage.set.cluster.token("prod", "data-pipeline")?)
        .await?;
    assert_eq!(reply.status, 403);
    let request = client::get(INTERNAL, "/api/v1/records")?;
    let reply = client::http1(
        stage.address,
        with_evidence(request, &stage.payment_token()?)?,
    )
    .await?;
    assert_eq!(reply.status, 403);
    assert!(stage.set.stripe.received().is_empty() && stage.set.internal.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_method_or_path_that_no_policy_allows_is_denied() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    for (method, path) in [
        (http::Method::POST, "/api/v1/records"),
        (http::Method::GET, "/api/v10/records"),
        (http::Method::GET, "/admin"),
    ] {
        let mut request = with_evidence(client::get(INTERNAL, path)?, &token)?;
        *request.method_mut() = method;
        let reply = client::http1(stage.address, request).await?;
        check_refusal(&stage, &reply, 403, "no-policy").await?;
    }
    assert!(stage.set.internal.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_wrong_namespace_is_denied_and_the_audit_says_which_was_expected() -> Result<()> {
    let stage = Stage::open().await?;
    let reply = stage
        .charges(&stage.set.cluster.token("staging", "payment-svc")?)
        .await?;
    let event = check_refusal(&stage, &reply, 403, "attribute-mismatch").await?;
    assert_eq!(event["attribute"], "k8s.namespace");
    assert_eq!(event["expected"], "production");
    assert_eq!(event["actual"], "staging");
    assert_eq!(
        event["workload_svid"],
        "spiffe://cluster.local/ns/staging/sa/payment-svc"
    );
    let told = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(
        !told.contains("production"),
        "the caller learns what policy asks for: {told}"
    );
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn forged_tokens_are_denied_each_with_its_own_code() -> Result<()> {
    let stage = Stage::open().await?;
    for (forgery, code) in [
        (Forgery::ForeignKey, "token-signature-invalid"),
        (Forgery::ClaimsChanged, "token-signature-invalid"),
        (Forgery::UnknownKey, "token-key-unknown"),
        (Forgery::None, "token-algorithm-not-allowed"),
        (Forgery::HmacWithPublicKey, "token-algorithm-not-allowed"),
        (Forgery::OtherAlgorithm, "token-key-mismatch"),
        (Forgery::EmbeddedKey, "token-header-not-allowed"),
        (Forgery::KeySetUrl, "token-header-not-allowed"),
        (Forgery::Critical, "token-header-not-allowed"),
    ] {
        let token = stage
            .set
            .cluster
            .forge(forgery, "production", "payment-svc")?;
        // An unknown key is looked for, and no request waits for that.
        let reply = until("a verdict", async || {
            let reply = stage.charges(&token).await.ok()?;
            (reply.code() != Some("keys-unavailable")).then_some(reply)
        })
        .await?;
        let event = check_refusal(&stage, &reply, 403, code)
            .await
            .with_context(|| format!("{forgery:?}"))?;
        assert_eq!(event["workload_svid"], Value::Null, "{forgery:?}");
    }
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn tokens_with_wrong_claims_are_denied_each_with_its_own_code() -> Result<()> {
    let stage = Stage::open().await?;
    let honest = stage.set.cluster.claims("production", "payment-svc");
    let now = honest["iat"].as_i64().context("no iat")?;
    let day = 24 * 60 * 60;
    for (change, code) in [
        (
            json!({ "exp": now - 300, "iat": now - 900, "nbf": now - 900 }),
            "token-expired",
        ),
        (json!({ "nbf": now + 3600 }), "token-not-yet-valid"),
        (json!({ "exp": null }), "token-claim-missing"),
        (json!({ "exp": "soon" }), "token-claim-malformed"),
        (
            json!({ "aud": ["https://kubernetes.default.svc.cluster.local"] }),
            "token-audience-mismatch",
        ),
        (json!({ "aud": null }), "token-claim-missing"),
        (json!({ "exp": now + day + 600 }), "token-lives-too-long"),
        (
            json!({ "iss": "https://another.example" }),
            "issuer-unknown",
        ),
    ] {
        let mut claims = honest.clone();
        for (name, value) in change.as_object().context("no object")? {
            if value.is_null() {
                claims
                    .as_object_mut()
                    .context("no object")?
                    .shift_remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let reply = stage.charges(&stage.set.cluster.sign(&claims)?).await?;
        check_refusal(&stage, &reply, 403, code)
            .await
            .with_context(|| change.to_string())?;
    }
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_no_token_is_denied() -> Result<()> {
    let stage = Stage::open().await?;
    let long = "a".repeat(17 * 1024);
    for (evidence, code) in [
        ("no token at all", "token-malformed"),
        ("a.b.c", "token-malformed"),
        (long.as_str(), "token-too-large"),
    ] {
        let reply = stage.charges(evidence).await?;
        check_refusal(&stage, &reply, 403, code).await?;
    }
    let bare = client::http1(stage.address, client::get(STRIPE, CHARGES)?).await?;
    check_refusal(&stage, &bare, 403, "evidence-missing").await?;
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn two_pieces_of_evidence_are_denied_even_if_both_are_good() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    let request = format!(
        "GET {CHARGES} HTTP/1.1\r\nhost: {STRIPE}\r\nx-attache-evidence: {token}\r\n\
         X-Attache-Evidence: {token}\r\nconnection: close\r\n\r\n"
    );
    let reply = client::raw(stage.address, request.as_bytes()).await?;
    check_refusal(&stage, &reply, 403, "evidence-ambiguous").await?;
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_target_whose_certificate_is_for_another_name_receives_nothing() -> Result<()> {
    let script = Script {
        stripe_certificate: "evil.example",
        ..Script::default()
    };
    let stage = Stage::play(script).await?;
    let reply = stage.charges(&stage.payment_token()?).await?;
    // Envoy's answer, not Attaché's.
    assert_eq!((reply.status, reply.code()), (503, None));
    assert!(stage.set.stripe.connections() > 0);
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_route_that_does_not_vouch_for_its_destination_gets_no_credential() -> Result<()> {
    let set = attache_tests::stage::Set::build(Script::default()).await?;
    let silent = set.bootstrap()?.replace(
        "context_extensions: { attache.target: \"https://api.stripe.com\" }",
        "context_extensions: { somebody.else: \"https://api.stripe.com\" }",
    )?;
    let _attache = set.installation.start().await?;
    let envoy = attache_tests::envoy::Envoy::start(silent).await?;
    let token = set.cluster.token("production", "payment-svc")?;
    let request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
    let reply = client::http1(envoy.address("egress").await?, request).await?;
    assert_eq!(
        (reply.status, reply.code()),
        (403, Some("destination-not-vouched"))
    );
    assert!(set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_route_that_leads_elsewhere_than_the_host_says_is_denied() -> Result<()> {
    let set = attache_tests::stage::Set::build(Script::default()).await?;
    let crossed = set.bootstrap()?.replace(
        "attache.target: \"https://internal-data-api.prod.svc.cluster.local\"",
        "attache.target: \"https://api.stripe.com\"",
    )?;
    let _attache = set.installation.start().await?;
    let envoy = attache_tests::envoy::Envoy::start(crossed).await?;
    let token = set.cluster.token("prod", "data-pipeline")?;
    let request = with_evidence(client::get(INTERNAL, "/api/v1/records")?, &token)?;
    let reply = client::http1(envoy.address("egress").await?, request).await?;
    assert_eq!(
        (reply.status, reply.code()),
        (403, Some("destination-mismatch"))
    );
    assert!(set.internal.received().is_empty());
    Ok(())
}
