use super::*;

fn id(listener: &str, epoch: usize) -> EpochId {
    EpochId {
        listener: listener.to_owned(),
        epoch: format!("{epoch:032x}"),
    }
}

fn recorded(sequences: &[u64]) -> Epoch {
    let mut epoch = Epoch::default();
    for sequence in sequences {
        epoch.record(*sequence);
    }
    epoch
}

#[test]
fn a_number_is_new_once() {
    let epoch = recorded(&[1, 2, 3]);
    assert_eq!(epoch.saw(3), Seen::Before);
    assert_eq!(epoch.saw(4), Seen::New);
    assert_eq!(epoch.jumped(4), None);
}

#[test]
fn numbers_that_were_jumped_over_are_told_and_taken_when_they_come() {
    let mut epoch = recorded(&[1, 2]);
    assert_eq!(epoch.jumped(6), Some(Gap { first: 3, last: 5 }));
    epoch.record(6);
    assert_eq!(epoch.saw(4), Seen::New);
    epoch.record(4);
    for (sequence, seen) in [
        (3, Seen::New),
        (4, Seen::Before),
        (5, Seen::New),
        (6, Seen::Before),
    ] {
        assert_eq!(epoch.saw(sequence), seen, "{sequence}");
    }
    // A gap that was told is told no more.
    assert_eq!(epoch.jumped(7), None);
}

#[test]
fn the_last_number_of_all_overflows_nothing() {
    let mut epoch = recorded(&[MAX_SEQUENCE]);
    assert_eq!(epoch.saw(MAX_SEQUENCE), Seen::Before);
    assert_eq!(
        epoch.jumped(u64::MAX).map(|gap| gap.last),
        Some(u64::MAX - 1)
    );
    epoch.record(u64::MAX);
    assert_eq!(epoch.saw(u64::MAX), Seen::Before);
    assert_eq!(epoch.jumped(u64::MAX), None);
}

#[test]
fn gaps_are_bounded_and_the_oldest_is_closed() {
    let every_other: Vec<u64> = (1..200).map(|number| number * 2).collect();
    let epoch = recorded(&every_other);
    assert_eq!(epoch.gaps.len(), MAX_GAPS);
    assert_eq!(epoch.saw(3), Seen::Before);
    assert_eq!(epoch.saw(397), Seen::New);
}

#[test]
fn what_the_journal_holds_is_known_again_after_a_restart() {
    let mut epoch = Epoch::default();
    for sequence in [40, 41, 44] {
        epoch.recover(sequence, sequence, false);
    }
    // What came before the first that is found was dealt with then.
    assert_eq!(epoch.saw(39), Seen::Before);
    assert_eq!(epoch.saw(41), Seen::Before);
    // Its event was not written before the end.
    assert_eq!(epoch.saw(42), Seen::New);
    assert_eq!(epoch.saw(45), Seen::New);
    epoch.recover(45, 50, true);
    assert_eq!(epoch.jumped(51), None);
    assert_eq!(epoch.saw(47), Seen::New);
}

#[tokio::test]
async fn ten_thousand_reporters_are_bounded_and_those_of_another_listener_stay() {
    let epochs = Epochs::default();
    epochs.turn(id("mine", 0)).await.record(7);
    for epoch in 0..10_000 {
        epochs.turn(id("theirs", epoch)).await.record(1);
    }
    assert_eq!(epochs.len(), MAX_EPOCHS + 1);
    assert_eq!(epochs.turn(id("mine", 0)).await.saw(7), Seen::Before);
    assert_eq!(epochs.turn(id("theirs", 9_999)).await.saw(1), Seen::Before);
}

#[tokio::test]
async fn an_epoch_at_work_is_not_forgotten() {
    let epochs = Epochs::default();
    let mut held = epochs.turn(id("mine", 0)).await;
    for epoch in 1..=MAX_EPOCHS * 2 {
        drop(epochs.turn(id("mine", epoch)).await);
    }
    held.record(3);
    drop(held);
    assert_eq!(epochs.turn(id("mine", 0)).await.saw(3), Seen::Before);
}

#[tokio::test]
async fn one_epoch_on_two_listeners_is_two() {
    let epochs = Epochs::default();
    epochs.turn(id("mine", 1)).await.record(1);
    assert_eq!(epochs.turn(id("theirs", 1)).await.saw(1), Seen::New);
}
