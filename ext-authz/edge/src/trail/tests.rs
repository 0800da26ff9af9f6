use super::*;
use crate::peer::Peer;

const NOW: Timestamp = Timestamp::from_seconds(1_781_000_000);

fn trail() -> Trail {
    let question = Question {
        method: "GET",
        target: "/",
        authority: "api.example.com",
        headers: Vec::new(),
        headers_are_known: true,
        vouched: None,
        source: None,
        address: None,
        peer: Peer::default(),
        given: None,
    };
    Trail::begin(NOW, Instant::now(), &question)
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_ends_while_its_credential_is_obtained_is_judged_again_as_it_is_then() {
    let mut trail = trail();
    trail.granted_until = Some(NOW.plus(Duration::from_secs(2)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!trail.is_outlived());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(trail.is_outlived());
    trail.judge_again();
    assert_eq!(trail.asked_at(), NOW.plus(Duration::from_secs(2)));
    assert!(!trail.is_outlived(), "nothing is granted yet");
    // The event is about the moment at which it was asked.
    assert_eq!(trail.event.timestamp, NOW);
}

#[tokio::test(start_paused = true)]
async fn a_grant_of_one_moment_is_not_outlived() {
    let mut trail = trail();
    trail.granted_until = Some(NOW);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!trail.is_outlived());
}
