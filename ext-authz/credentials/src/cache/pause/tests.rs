use attache_core::decision::Fault;

use super::*;

#[test]
fn pauses_grow_to_a_few_seconds_and_differ() {
    let pauses = [1, 2, 3, 4, 5, 60, u32::MAX].map(|count| growing(count).as_millis());
    assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000, 5000]);
    assert_eq!(jittered(LONGEST, 0), LONGEST);
    let shortest = jittered(LONGEST, u8::MAX);
    assert!(shortest >= LONGEST * 4 / 5 && shortest < LONGEST * 41 / 50);
    let drawn: std::collections::BTreeSet<u8> = (0..100).map(|_| random()).collect();
    assert!(drawn.len() > 20, "{drawn:?}");
}

#[test]
fn a_refresh_is_due_at_75_to_80_percent() {
    let begin = Timestamp::from_seconds(1000);
    for seconds in [10, 300, 86_400] {
        let lifetime = Lifetime::starting(begin, Duration::from_secs(seconds));
        let at = |random| refresh_with(lifetime, random).since(begin).as_secs_f64();
        let whole = f64::from(u32::try_from(seconds).unwrap());
        assert!((at(0) - whole * 0.8).abs() < 0.01);
        assert!((at(255) - whole * 0.75).abs() < 0.01);
        assert!(at(128) > whole * 0.75 && at(128) < whole * 0.8);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_asks_for_is_waited_for_within_bounds() {
    let asked = |seconds| NotObtained {
        retry_after: Some(Duration::from_secs(seconds)),
        ..NotObtained::broken(Fault::CredentialUnavailable)
    };
    for (seconds, expected) in [(30, 30), (3600, 60)] {
        let failing = Failing::after(None, asked(seconds));
        assert_eq!(failing.pause_left(), Some(Duration::from_secs(expected)));
    }
    let failing = Failing::after(None, NotObtained::broken(Fault::CredentialUnavailable));
    let left = failing.pause_left().unwrap();
    assert!(left <= SHORTEST && left >= SHORTEST * 4 / 5);
    tokio::time::advance(SHORTEST).await;
    assert_eq!(failing.pause_left(), None);
    assert_eq!(failing.why(left).retry_after, Some(left));
}
