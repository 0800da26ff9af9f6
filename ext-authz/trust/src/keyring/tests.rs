//! Who causes a fetch, and when. Real issuers are in the integration tests.

use attache_core::{attestation::ProviderKind, spiffe_id::TrustDomain};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

fn install(ring: &Keyring, keys: KeySet, at: Timestamp) {
    let fetched = Fetched::of(keys, Duration::ZERO);
    ring.install(fetched, Some(at))
        .expect("keys that are taken");
}

/// A keyring whose fetches a test answers itself.
fn unattended() -> Arc<Keyring> {
    let config = ProviderConfig::new(
        "ci",
        ProviderKind::Oidc,
        "https://issuer.example",
        KeySource::Inline(r#"{"keys":[]}"#.to_owned()),
        TrustDomain::parse("td").expect("a trust domain"),
    );
    Keyring::start(
        Arc::new(config),
        None,
        &TrustSettings::new(Arc::new(|| NOW)),
        &mut JoinSet::new(),
    )
}

#[tokio::test(start_paused = true)]
async fn requests_share_the_fetch_that_is_under_way() {
    let ring = unattended();
    assert_eq!([ring.ask(), ring.ask(), ring.ask()], [2, 2, 2]);
    // However long it takes.
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(ring.ask(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_cause_one_fetch_in_ten_seconds() {
    let ring = unattended();
    assert_eq!(ring.ask(), 2);
    ring.answer(2, None);
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert_eq!(ring.ask(), 2, "the answer is known, nobody waits");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ring.ask(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_answer_or_at_its_bound() {
    let ring = unattended();
    let number = ring.ask();
    let started = Instant::now();
    ring.wait(number, Duration::from_secs(1)).await;
    assert_eq!(started.elapsed().as_secs(), 1);
    ring.answer(number, None);
    ring.wait(number, Duration::from_secs(1)).await;
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_set_that_did_not_change_keeps_its_epoch_and_grows_young() {
    let ring = unattended();
    let set = |text: &str| KeySet::parse(text.as_bytes()).expect("a set");
    let one = r#"{"keys":[{"kty":"OKP"}]}"#;
    let state = |now| {
        let status = ring.status(now);
        (status.keys.expect("keys").epoch, status.age)
    };
    let later = NOW.plus(Duration::from_mins(1));
    assert_eq!(state(NOW), (1, None));
    install(&ring, set(one), NOW);
    assert_eq!(state(later), (2, Some(Duration::from_mins(1))));
    install(&ring, set(one), later);
    assert_eq!(state(later), (2, Some(Duration::ZERO)));
    install(&ring, set(r#"{"keys":[]}"#), later);
    assert_eq!(state(later), (3, Some(Duration::ZERO)));
}

fn key(kid: &str) -> String {
    let coordinate = "A".repeat(43);
    format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{coordinate}","y":"{coordinate}"}}"#)
}

#[tokio::test]
async fn a_key_keeps_its_number_while_it_stays_and_never_gets_it_back() {
    let ring = unattended();
    let number = |ring: &Keyring, kid: &str| {
        let keys = ring.status(NOW).keys.expect("keys");
        let mut all = keys.set.keys().iter();
        let key = all.find(|key| key.key_id() == Some(kid)).expect(kid);
        keys.number(key).expect(kid)
    };
    let install = |kids: &[&str]| {
        let keys: Vec<_> = kids.iter().map(|kid| key(kid)).collect();
        let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        install(&ring, KeySet::parse(set.as_bytes()).expect("a set"), NOW);
    };
    install(&["a", "b"]);
    let (a, b) = (number(&ring, "a"), number(&ring, "b"));
    assert_ne!(a, b);
    install(&["c", "b"]);
    assert_eq!(number(&ring, "b"), b);
    install(&["b", "a"]);
    assert_eq!(number(&ring, "b"), b);
    assert!(![a, b].contains(&number(&ring, "a")));
}

#[tokio::test(start_paused = true)]
async fn only_the_first_fetch_is_waited_for() {
    let ring = unattended();
    ring.loaded.store(None);
    let started = Instant::now();
    assert!(
        ring.ready(NOW).await.is_none(),
        "the first fetch was answered"
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
    ring.progress.send_modify(|progress| progress.answered = 0);
    assert!(ring.ready(NOW).await.is_none());
    assert_eq!(started.elapsed(), COLD_WAIT);
}
