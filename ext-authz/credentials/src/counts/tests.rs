use tokio::task::yield_now;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[tokio::test]
async fn what_is_at_hand_what_is_awaited_and_what_fails_are_told_apart() {
    let counts = Counts::default();
    let at_once = async { Ok::<_, ()>(1) };
    assert_eq!(counts.of_call("a", at_once).await, Ok(1));
    let later = async {
        yield_now().await;
        Ok::<_, ()>(2)
    };
    assert_eq!(counts.of_call("a", later).await, Ok(2));
    assert_eq!(counts.of_call("a", async { Err::<(), _>(3) }).await, Err(3));
    counts.fetched("a", Occasion::Awaited, true, NOW);
    counts.fetched("a", Occasion::Ahead, true, NOW);
    counts.fetched("a", Occasion::Ahead, false, NOW);
    let expected = ProviderCounts {
        kept: 1,
        awaited: 1,
        failed: 1,
        fetches: Fetches {
            obtained: 1,
            failed: 0,
        },
        refreshes: Fetches {
            obtained: 1,
            failed: 1,
        },
        failing: true,
        obtained_at: Some(NOW),
    };
    assert_eq!(counts.all(), [("a".to_owned(), expected)]);
}

#[test]
fn names_of_providers_that_come_and_go_take_no_memory_for_ever() {
    let counts = Counts::default();
    for number in 0..MAX_PROVIDERS + 10 {
        counts.fetched(&format!("provider-{number}"), Occasion::Awaited, true, NOW);
    }
    assert_eq!(counts.all().len(), MAX_PROVIDERS);
}
