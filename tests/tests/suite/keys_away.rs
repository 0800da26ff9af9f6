//! The issuer of the evidence is unreachable: warm keys go on serving, cold ones are a fault, not a denial.

use anyhow::Result;
use attache_tests::{
    client::{self, with_evidence},
    envoy::Envoy,
    quickstart::STRIPE,
    stage::{CHARGES, Script, Set, Stage},
    wait::until,
};

#[tokio::test]
async fn warm_keys_serve_while_the_issuer_is_away() -> Result<()> {
    let mut stage = Stage::open().await?;
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    stage.set.cluster.stop();
    // A token that was never seen: its signature has to be verified.
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn cold_keys_are_a_503_and_serve_as_soon_as_the_issuer_is_back() -> Result<()> {
    let mut set = Set::build(Script::default()).await?;
    set.cluster.stop();
    let attache = set.installation.launch()?;
    let envoy = Envoy::start(set.bootstrap()?).await?;
    let address = envoy.address("egress").await?;
    let token = set.cluster.token("production", "payment-svc")?;
    let ask = async || {
        let request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
        client::http1(address, request).await
    };
    // Until Attaché listens, the 503 is Envoy's.
    let refused = until("Attaché to answer", async || {
        ask().await.ok().filter(|reply| reply.code().is_some())
    })
    .await?;
    assert_eq!(
        (refused.status, refused.code()),
        (503, Some("keys-unavailable"))
    );
    let status = String::from_utf8(set.installation.run(&["status"])?.stdout)?;
    assert!(
        status.contains("no keys yet; last fetch failed"),
        "{status}"
    );
    assert!(set.stripe.received().is_empty());
    set.cluster.resume().await?;
    until("the keys to be fetched", async || {
        ask().await.ok().filter(|reply| reply.status == 200)
    })
    .await?;
    assert!(set.installation.run(&["status"])?.status.success());
    drop(attache);
    Ok(())
}

#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_reach_the_issuer() -> Result<()> {
    let stage = Stage::open().await?;
    let before = stage.set.cluster.key_fetches();
    for _ in 0..20 {
        let forged = stage.set.cluster.forge(
            attache_tests::forgery::Forgery::UnknownKey,
            "production",
            "payment-svc",
        )?;
        // Nobody waits for the one fetch that they cause together.
        let reply = stage.charges(&forged).await?;
        let codes = ["keys-unavailable", "token-key-unknown"];
        let code = reply.code().unwrap_or_default();
        assert!(codes.contains(&code), "{reply:?}");
    }
    let fetches = stage.set.cluster.key_fetches() - before;
    assert!(fetches <= 2, "{fetches} fetches for 20 unknown keys");
    Ok(())
}

#[tokio::test]
async fn attache_gone_is_a_503_and_back_again_is_served() -> Result<()> {
    let mut stage = Stage::open().await?;
    let token = stage.payment_token()?;
    assert_eq!(stage.charges(&token).await?.status, 200);
    stage.attache.process.kill()?;
    let reply = stage.charges(&token).await?;
    assert_eq!((reply.status, reply.code()), (503, None));
    assert_eq!(stage.set.stripe.received().len(), 1);
    stage.attache = stage.set.installation.start().await?;
    until("Envoy to reach Attaché again", async || {
        stage
            .charges(&token)
            .await
            .ok()
            .filter(|reply| reply.status == 200)
    })
    .await?;
    Ok(())
}
