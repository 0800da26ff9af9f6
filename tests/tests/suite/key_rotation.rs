//! The signing keys of a running server, as an operator handles them.

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{Installation, published},
    stage::Stage,
    wait::until,
};
use serde_json::Value;

/// `attache keys ARGUMENTS`, as JSON.
fn keys(installation: &Installation, arguments: &[&str]) -> Result<Value> {
    let mut all = vec!["keys"];
    all.extend(arguments);
    all.extend(["--output", "json"]);
    let output = installation.run(&all)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).context("no JSON")
}

/// The names of the keys in `state`, of one algorithm.
fn named(keys: &Value, algorithm: &str, state: &str) -> Vec<String> {
    let keys = keys["keys"].as_array().into_iter().flatten();
    let named = keys.filter(|key| key["algorithm"] == algorithm && key["state"] == state);
    named
        .filter_map(|key| key["key_id"].as_str().map(str::to_owned))
        .collect()
}

/// The `kid`s in a published document.
async fn kids(installation: &Installation, path: &str) -> Result<Vec<String>> {
    let document = published(installation.issuer_address(), path).await?;
    let keys = document.get("keys").and_then(Value::as_array);
    let keys = keys.context("no keys")?;
    Ok(keys
        .iter()
        .filter_map(|key| key["kid"].as_str().map(str::to_owned))
        .collect())
}

fn kid(token: &str) -> Result<String> {
    let header: Value = {
        use base64ct::Encoding as _;
        let first = token.split('.').next().context("no token")?;
        let bytes = base64ct::Base64UrlUnpadded::decode_vec(first);
        serde_json::from_slice(&bytes.map_err(|error| anyhow::anyhow!("{error}"))?)?
    };
    let kid = header.get("kid").and_then(Value::as_str);
    kid.map(str::to_owned).context("no kid")
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_once_and_its_tokens_are_not_used_again() -> Result<()> {
    let mut stage = Stage::open().await?;
    let evidence = stage.payment_token()?;
    let bearer = async |stage: &Stage| -> Result<String> {
        assert_eq!(stage.charges(&evidence).await?.status, 200);
        stage.set.stripe.last()?.bearer().context("no bearer token")
    };
    let first = bearer(&stage).await?;
    assert_eq!(
        bearer(&stage).await?,
        first,
        "a token is reused while it is good"
    );
    let installation = std::sync::Arc::clone(&stage.set.installation);
    let first_key = kid(&first)?;
    assert_eq!(
        named(&keys(&installation, &["list"])?, "RS256", "active"),
        std::slice::from_ref(&first_key)
    );

    let after = keys(&installation, &["revoke", &first_key])?;
    assert_eq!(
        named(&after, "RS256", "revoked"),
        std::slice::from_ref(&first_key)
    );
    for path in ["/keys", "/bundle"] {
        assert!(
            !kids(&installation, path).await?.contains(&first_key),
            "{path}"
        );
    }
    let second = bearer(&stage).await?;
    assert_ne!(kid(&second)?, first_key);
    assert!(kids(&installation, "/keys").await?.contains(&kid(&second)?));

    // A kill and a restart bring nothing back.
    stage.attache.process.kill()?;
    stage.attache = installation.start().await?;
    assert!(!kids(&installation, "/keys").await?.contains(&first_key));
    assert_eq!(
        named(&keys(&installation, &["list"])?, "RS256", "active"),
        [kid(&second)?]
    );
    let again = installation.run(&["keys", "revoke", &first_key])?;
    let errors = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1));
    assert!(errors.contains("is revoked already"), "{errors}");
    Ok(())
}

#[tokio::test]
async fn a_rotation_by_hand_outlives_a_kill_and_makes_no_verifier_meet_an_unknown_key() -> Result<()>
{
    let mut stage = Stage::open().await?;
    let installation = std::sync::Arc::clone(&stage.set.installation);
    let before = keys(&installation, &["list"])?;
    let signing = named(&before, "ES256", "active");
    let rotated = keys(&installation, &["rotate", "--algorithm", "ES256"])?;
    // Nobody knows the next key yet, so the one before goes on signing.
    assert_eq!(named(&rotated, "ES256", "active"), signing);
    assert_eq!(named(&rotated, "ES256", "prepared").len(), 1);
    let turns = |keys: &Value| {
        let all = keys["keys"].as_array().into_iter().flatten();
        let mut active = all.filter(|key| key["algorithm"] == "ES256" && key["state"] == "active");
        active.next().map(|key| key["next"].clone())
    };
    let planned = turns(&rotated).context("no key signs")?;
    assert_eq!(planned["state"], "retired", "{rotated:#}");

    stage.attache.process.kill()?;
    stage.attache = installation.start().await?;
    let after = keys(&installation, &["list"])?;
    assert_eq!(
        turns(&after),
        Some(planned),
        "what was asked for is still asked for"
    );
    assert_eq!(
        named(&after, "ES256", "prepared"),
        named(&rotated, "ES256", "prepared")
    );
    assert!(after["sequence"].as_u64() >= rotated["sequence"].as_u64());
    let text = installation.run(&["keys", "list"])?;
    let text = String::from_utf8(text.stdout)?;
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("ES256  active"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_next_keys_are_made_while_the_server_runs() -> Result<()> {
    let stage = Stage::open().await?;
    let installation = &stage.set.installation;
    let found = until("the next keys", async || {
        let list = keys(installation, &["list"]).ok()?;
        let both = ["RS256", "ES256"].map(|algorithm| named(&list, algorithm, "prepared").len());
        (both == [1, 1]).then_some(list)
    })
    .await?;
    assert_eq!(kids(installation, "/keys").await?.len(), 2, "{found:#}");
    Ok(())
}
