use attache_core::event::Outcome;

use super::*;
use crate::journal::tests::{START, denied};

const RULE: FloodRule = FloodRule {
    recorded: 3,
    from_one_source: 10,
    window: Duration::from_secs(10),
    watched: 8,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// Admits and commits; the id of the event that stands for it, if it was only counted.
fn admit(floods: &mut Floods, event: Event, now: Timestamp) -> Option<CompactString> {
    let admission = floods.admit(Box::new(event), Target::Claimed, now);
    floods.committed();
    match admission {
        Admission::Individually(_) => None,
        Admission::Coalesced(id) => Some(id),
        Admission::AwaitCommit(_) => panic!("everything is committed"),
    }
}

fn on(target: &str, number: u32) -> Event {
    Event {
        target_service: target.into(),
        ..denied(number)
    }
}

#[test]
fn the_first_ones_of_a_window_are_recorded_and_the_rest_named_after_the_last_of_them() {
    let mut floods = Floods::new(RULE);
    for number in 0..3 {
        assert_eq!(admit(&mut floods, denied(number), at(0)), None);
    }
    for number in 3..50 {
        assert_eq!(
            admit(&mut floods, denied(number), at(9_999)),
            Some(denied(2).event_id)
        );
    }
    // The next window begins with its own first ones.
    assert_eq!(admit(&mut floods, denied(50), at(10_000)), None);
    let summaries = floods.take_summaries();
    assert_eq!(
        summaries,
        [Event {
            count: 47,
            repeats: Some(denied(2).event_id),
            ..denied(49)
        }]
    );
    floods.end_all();
    assert!(
        floods.is_quiet(),
        "a window without repeats needs no summary"
    );
}

#[test]
fn only_permits_have_no_floods() {
    let gates = Floodgates::new(RULE);
    assert!(gates.of(Family::Permitted).is_none());
    for family in [Family::Passed, Family::Denied] {
        let mut floods = gates.of(family).unwrap();
        let counted = (0..50).filter(|number| admit(&mut floods, denied(*number), at(0)).is_some());
        assert_eq!(counted.count(), 47);
    }
}

#[test]
fn beyond_its_total_a_source_is_counted_however_unlike_its_accesses_are() {
    let mut floods = Floods::new(RULE);
    let unlike = |number: u32| on(&format!("host-{number}.example"), number);
    for number in 0..10 {
        // So many that none of them makes a flood of equal ones.
        let event = on(&format!("host-{}.example", number / 3), number);
        assert_eq!(admit(&mut floods, event, at(0)), None);
    }
    for number in 10..100 {
        assert_eq!(
            admit(&mut floods, unlike(number), at(0)),
            Some(unlike(9).event_id)
        );
    }
    // Another source is not concerned, nor is the same one when it ends in another way.
    let other = Event {
        workload_svid: Some("spiffe://cluster.local/ns/a/sa/b".into()),
        ..unlike(100)
    };
    let fault = Event {
        outcome: Outcome::Error,
        ..unlike(101)
    };
    for event in [other, fault] {
        assert_eq!(admit(&mut floods, event, at(0)), None);
    }
    floods.end_all();
    let summaries = floods.take_summaries();
    // What they do not share, the summary does not say.
    assert_eq!(
        summaries,
        [Event {
            count: 90,
            repeats: Some(unlike(9).event_id),
            target_service: "other".into(),
            ..denied(99)
        }]
    );
}

#[test]
fn a_window_of_a_source_begins_anew_when_it_is_over() {
    let mut floods = Floods::new(RULE);
    for number in 0..20 {
        admit(&mut floods, on(&format!("host-{number}"), number), at(0));
    }
    let next = on("late.example", 20);
    assert_eq!(admit(&mut floods, next, at(10_000)), None);
}

#[test]
fn an_event_whose_write_may_still_fail_stands_for_no_other() {
    let mut floods = Floods::new(RULE);
    for number in 0..3 {
        assert!(matches!(
            floods.admit(Box::new(denied(number)), Target::Claimed, at(0)),
            Admission::Individually(_)
        ));
    }
    assert!(matches!(
        floods.admit(Box::new(denied(3)), Target::Claimed, at(0)),
        Admission::AwaitCommit(_)
    ));
    assert!(
        floods
            .count(Box::new(denied(3)), Target::Claimed, at(0))
            .is_err()
    );
    floods.not_committed();
    // The write failed: the window begins anew.
    for number in 3..6 {
        assert_eq!(admit(&mut floods, denied(number), at(0)), None);
    }
    assert_eq!(
        admit(&mut floods, denied(6), at(0)),
        Some(denied(5).event_id)
    );
    assert_eq!(
        floods.count(Box::new(denied(7)), Target::Claimed, at(0)),
        Ok(denied(5).event_id)
    );
    // A failure later on takes nothing away that was counted.
    floods.not_committed();
    floods.end_all();
    assert_eq!(floods.take_summaries()[0].count, 2);
}

/// A denial of a caller that is not proven, from an address of its own.
fn stranger(number: u32) -> Event {
    Event {
        workload_svid: None,
        source_address: Some(format!("[2001:db8::{number:x}]:40312").into()),
        ..denied(number)
    }
}

#[test]
fn strangers_who_are_too_many_to_be_watched_count_as_one_and_none_is_dropped() {
    let mut floods = Floods::new(RULE);
    let mut recorded = 0;
    for number in 0..1000 {
        recorded += u64::from(admit(&mut floods, stranger(number), at(0)).is_none());
        assert!(floods.open.len() <= RULE.watched + 1);
    }
    // Two windows for each of the first four, then all the others together.
    assert_eq!(recorded, 4 + 10);
    floods.end_all();
    let summaries = floods.take_summaries();
    let [summary] = &summaries[..] else {
        panic!("{summaries:?}")
    };
    assert_eq!(summary.count + recorded, 1000);
    assert_eq!(summary.source_address, None, "it speaks of many");
    // Ended windows make room for others.
    assert_eq!(admit(&mut floods, stranger(0), at(20_000)), None);
    assert_eq!(floods.open.len(), 2);
}

#[test]
fn strangers_who_are_too_many_hide_no_proven_caller() {
    let mut floods = Floods::new(RULE);
    for number in 0..1000 {
        admit(&mut floods, stranger(number), at(0));
    }
    for number in 0..100 {
        assert_eq!(admit(&mut floods, denied(number), at(0)), None);
    }
}

#[test]
fn a_clock_that_is_set_back_ends_the_windows() {
    let mut floods = Floods::new(RULE);
    for number in 0..5 {
        admit(&mut floods, denied(number), at(3_600_000));
    }
    floods.end_windows(at(0));
    assert_eq!(floods.take_summaries()[0].count, 2);
    assert!(floods.is_quiet());
}

#[test]
fn an_event_that_already_stands_for_several_counts_as_many() {
    let mut floods = Floods::new(RULE);
    for number in 0..3 {
        admit(&mut floods, denied(number), at(0));
    }
    admit(
        &mut floods,
        Event {
            count: 40,
            ..denied(3)
        },
        at(0),
    );
    admit(
        &mut floods,
        Event {
            count: 2,
            ..denied(4)
        },
        at(0),
    );
    floods.end_all();
    assert_eq!(floods.take_summaries()[0].count, 42);
}

#[test]
fn a_closed_journal_counts_nothing_more() {
    let mut floods = Floods::new(RULE);
    for number in 0..4 {
        admit(&mut floods, denied(number), at(0));
    }
    floods.close();
    assert!(
        floods
            .count(Box::new(denied(4)), Target::Claimed, at(0))
            .is_err()
    );
    assert_eq!(admit(&mut floods, denied(4), at(0)), None);
}
