//! A provider under traffic: how often it is asked, and who waits for it. The clock is the test's.

use super::*;

const HOST: &str = "bearer.example.com";

/// What a call at the moment `began` is long ago sees, and whether it waited.
async fn timed(
    credentials: &Credentials,
    policies: &attache_policy::Compiled,
    began: Instant,
) -> Result<Held<Credential>, Fault> {
    let now = NOW.plus(began.elapsed());
    let before = Instant::now();
    let given = call(credentials, policies, PAYMENTS, HOST, now).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "a request waited");
    let given = given?.expect("a credential");
    let lifetime = given.lifetime().unwrap();
    assert!(
        now < lifetime.expires_at,
        "an expired credential was given out"
    );
    Ok(given)
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_steady_traffic_refresh_ahead_and_nobody_waits() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let first = call(&credentials, &policies, PAYMENTS, HOST, NOW).await;
    assert!(first.unwrap().is_some());
    // From here on each token takes a second to make.
    mint.takes(Duration::from_secs(1));
    let began = Instant::now();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..600 * 20 {
        let given = timed(&credentials, &policies, began).await.unwrap();
        seen.insert(given.token_id().unwrap().to_owned());
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    // Tokens of 300 s, refreshed at 75 to 80 %.
    assert!((3..=4).contains(&seen.len()), "{seen:?}");
    assert_eq!(mint.count(), seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_for_most_of_a_lifetime_fails_no_call_and_is_used_when_it_is_back()
{
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let first = call(&credentials, &policies, PAYMENTS, HOST, NOW).await;
    assert!(first.unwrap().is_some());
    let began = Instant::now();
    let away = MintFailed::Unavailable(Fault::CredentialUnavailable);
    let mut back_at = None;
    // Away from the 10th to the 290th of 300 seconds.
    for tenth in 0..310 * 10 {
        *mint.failure.lock().unwrap() = (100..2900).contains(&tenth).then_some(away);
        let given = timed(&credentials, &policies, began).await.unwrap();
        if given.token_id() != Some("tok_test_0") {
            back_at.get_or_insert(tenth);
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let back_at = back_at.expect("it is back");
    assert!((2900..2900 + 60).contains(&back_at), "{back_at}");
    // It was asked after pauses, not with every call: 60 seconds of 5 or fewer each, and the growing ones.
    assert!(mint.count() < 30, "{}", mint.count());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_gone_is_told_with_the_time_to_ask_again_and_never_by_an_old_token() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let away = MintFailed::Unavailable(Fault::CredentialUnavailable);
    *mint.failure.lock().unwrap() = Some(away);
    let first = call(&credentials, &policies, PAYMENTS, HOST, NOW).await;
    assert_eq!(first.err(), Some(Fault::CredentialUnavailable));
    for _ in 0..1000 {
        let refused = call(&credentials, &policies, PAYMENTS, HOST, NOW).await;
        assert_eq!(refused.err(), Some(Fault::CredentialUnavailable));
    }
    assert_eq!(mint.count(), 1);
    *mint.failure.lock().unwrap() = None;
    tokio::time::advance(Duration::from_secs(1)).await;
    let given = call(&credentials, &policies, PAYMENTS, HOST, NOW).await;
    assert!(given.unwrap().is_some());
}
