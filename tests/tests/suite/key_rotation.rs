//! The signing keys of a running server, as an operator handles them.

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{Installation, published},
    peers,
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

/// What a verifier knows and holds at one moment.
struct Moment {
    /// The key set as it was fetched.
    kids: Vec<String>,
    token: String,
}

/// A token that a target got, and the key set that a verifier fetched just before.
async fn moment(stage: &Stage, evidence: &str) -> Result<Moment> {
    let kids = kids(&stage.set.installation, "/keys").await?;
    assert_eq!(stage.charges(evidence).await?.status, 200);
    let token = stage.set.stripe.last()?.bearer().context("no token")?;
    Ok(Moment { kids, token })
}

/// Kills the server, makes its keys `seconds` older, and starts it again after starts that are killed as well,
/// each a little later.
async fn killed_and_older(stage: &mut Stage, seconds: u64) -> Result<()> {
    let installation = std::sync::Arc::clone(&stage.set.installation);
    stage.attache.process.kill()?;
    let store = installation.directory().join("data/attache.db");
    let store = store.to_str().context("not UTF-8")?;
    let aged = peers::python("age_keys.py", &[store, &seconds.to_string()]).await?;
    assert!(aged["keys"].as_u64() >= Some(2), "{aged}");
    for delay in [0, 50, 200, 600] {
        let mut attempt = installation.launch()?;
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        attempt.process.kill()?;
    }
    stage.attache = installation.start().await?;
    Ok(())
}

/// Waits until each algorithm has as many keys in each state as `wanted`.
async fn states(installation: &Installation, wanted: &[(&str, usize)]) -> Result<Value> {
    until(&format!("{wanted:?}"), async || {
        let list = keys(installation, &["list", "--all"]).ok()?;
        let holds = ["RS256", "ES256"].iter().all(|algorithm| {
            let count = |state| named(&list, algorithm, state).len();
            wanted.iter().all(|(state, many)| count(state) == *many)
        });
        holds.then_some(list)
    })
    .await
}

/// Keys of each algorithm that are prepared, published, active and retired.
type Ring = [(&'static str, usize); 4];

const fn ring(prepared: usize, published: usize, retired: usize) -> Ring {
    [
        ("prepared", prepared),
        ("published", published),
        ("active", 1),
        ("retired", retired),
    ]
}

/// How long the server was away, in seconds, and where the keys stand when it is back.
const LIFE: [(u64, Ring); 4] = [
    (1, ring(1, 0, 0)),
    (61, ring(0, 1, 0)),
    (30 * 86_400, ring(1, 0, 1)),
    // The last token of the retired key is over.
    (86_400 + 121, ring(0, 1, 0)),
];

#[tokio::test]
async fn a_server_that_is_killed_in_each_state_of_its_keys_signs_with_keys_that_are_known()
-> Result<()> {
    let mut stage = Stage::open().await?;
    let evidence = stage.payment_token()?;
    let installation = std::sync::Arc::clone(&stage.set.installation);
    states(&installation, &[("active", 1), ("prepared", 1)]).await?;
    let mut before = moment(&stage, &evidence).await?;
    let mut sequence = 0;
    for (seconds, wanted) in LIFE {
        killed_and_older(&mut stage, seconds).await?;
        let list = states(&installation, &wanted).await?;
        let now = moment(&stage, &evidence).await?;
        // A verifier that fetched its keys before the kill knows the key that signs after it.
        let signs = kid(&now.token)?;
        ensure!(before.kids.contains(&signs), "{wanted:?} {list:#}");
        // And one that fetches them now knows the key of the token from before.
        let signed = kid(&before.token)?;
        ensure!(now.kids.contains(&signed), "{wanted:?} {list:#}");
        let next = list["sequence"].as_u64().context("no sequence")?;
        ensure!(next >= sequence, "{next} after {sequence}");
        (before, sequence) = (now, next);
    }
    let all = keys(&installation, &["list", "--all"])?;
    assert_eq!(named(&all, "RS256", "removed").len(), 1, "{all:#}");
    Ok(())
}
