//! The ways into a running mesh: an edge that only observes, and one that lets pass what no policy names.

use anyhow::Result;
use attache_tests::{
    attache::EdgePlan,
    client::{self, EVIDENCE, with_evidence},
    quickstart::STRIPE,
    stage::{CHARGES, Script, Stage},
};
use serde_json::Value;

#[tokio::test]
async fn an_observing_edge_denies_nothing_injects_nothing_and_records_everything() -> Result<()> {
    let plan = EdgePlan {
        observe: true,
        ..EdgePlan::default()
    };
    let stage = Stage::play(Script {
        plan,
        ..Script::default()
    })
    .await?;
    let strange = stage.set.cluster.token("staging", "payment-svc")?;
    for (token, would_be) in [(stage.payment_token()?, "permitted"), (strange, "denied")] {
        let mut request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
        request.headers_mut().insert(
            "authorization",
            http::HeaderValue::from_static("Bearer own"),
        );
        let reply = client::http1(stage.address, request).await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        let received = stage.set.stripe.last()?;
        assert_eq!(received.values("authorization"), ["Bearer own"]);
        assert!(received.values(EVIDENCE).is_empty());
        let event = stage.set.installation.last_event()?;
        assert_eq!(event["mode"], "observe");
        assert_eq!(event["outcome"], "permitted");
        assert_eq!(event["would_be_outcome"], would_be);
        assert_eq!(event["token_issued"], false);
    }
    Ok(())
}

#[tokio::test]
async fn what_no_policy_names_passes_untouched_where_the_edge_is_configured_so() -> Result<()> {
    let plan = EdgePlan {
        unmatched: "pass-without-credential",
        ..EdgePlan::default()
    };
    let stage = Stage::play(Script {
        plan,
        policies: Vec::new(),
        ..Script::default()
    })
    .await?;
    // No policy names the internal API: the call passes, with the client's own credential.
    let host = attache_tests::quickstart::INTERNAL;
    let mut request = client::get(host, "/api/v1/records")?;
    request.headers_mut().insert(
        "authorization",
        http::HeaderValue::from_static("Bearer own"),
    );
    let reply = client::http1(stage.address, request).await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        stage.set.internal.last()?.values("authorization"),
        ["Bearer own"]
    );
    let event = stage.set.installation.last_event()?;
    assert_eq!(event["outcome"], "permitted");
    assert_eq!(event["token_issued"], false);
    assert_eq!(event["policy_matched"], Value::Null);
    // A policy names Stripe: that call still needs its evidence, and gets its credential.
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    assert!(stage.set.stripe.last()?.bearer().is_some());
    Ok(())
}
