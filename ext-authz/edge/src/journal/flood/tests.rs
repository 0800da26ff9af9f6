use super::*;
use crate::journal::tests::{START, denied, permitted};

const RULE: FloodRule = FloodRule {
    recorded: 3,
    window: Duration::from_secs(10),
    watched: 2,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// Admits and commits; the id of the event that stands for it, if it was only counted.
fn admit(floods: &mut Floods, event: Event, now: Timestamp) -> Option<String> {
    let admission = floods.admit(Box::new(event), now);
    floods.committed();
    match admission {
        Admission::Individually(_) => None,
        Admission::Coalesced(id) => Some(id),
        Admission::AwaitCommit(_) => panic!("everything is committed"),
    }
}

fn on(target: &str, number: u32) -> Event {
    Event {
        target_service: target.to_owned(),
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
fn permits_are_never_coalesced_and_faults_are() {
    let mut floods = Floods::new(RULE);
    let fault = |number| Event {
        outcome: Outcome::Error,
        code: Some("keys-unavailable".to_owned()),
        ..denied(number)
    };
    for number in 0..100 {
        assert_eq!(admit(&mut floods, permitted(number), at(0)), None);
        assert_eq!(
            admit(&mut floods, fault(number), at(0)).is_some(),
            number >= 3
        );
        assert!(floods.count(Box::new(permitted(number)), at(0)).is_err());
    }
}

#[test]
fn the_port_of_a_caller_makes_no_difference_and_everything_else_does() {
    let base = Event {
        workload_svid: None,
        ..denied(0)
    };
    let likeness = |event: &Event| Likeness::of(event);
    let other_port = Event {
        source_address: Some("10.1.2.3:1".to_owned()),
        ..base.clone()
    };
    assert!(likeness(&base) == likeness(&other_port));
    let text = |text: &str| Some(text.to_owned());
    let others = [
        Event {
            source_address: text("10.1.2.4:40312"),
            ..base.clone()
        },
        Event {
            workload_svid: text("spiffe://cluster.local/ns/a/sa/b"),
            ..base.clone()
        },
        Event {
            target_service: "other.example".to_owned(),
            ..base.clone()
        },
        Event {
            request_method: "POST".to_owned(),
            ..base.clone()
        },
        Event {
            code: text("attribute-mismatch"),
            ..base.clone()
        },
        Event {
            policy: text("prod/other"),
            ..base.clone()
        },
        Event {
            outcome: Outcome::Error,
            ..base.clone()
        },
        Event {
            mode: Mode::Observe,
            ..base.clone()
        },
    ];
    for other in others {
        assert!(likeness(&base) != likeness(&other), "{other:?}");
    }
}

#[test]
fn an_event_whose_write_may_still_fail_stands_for_no_other() {
    let mut floods = Floods::new(RULE);
    for number in 0..3 {
        assert!(matches!(
            floods.admit(Box::new(denied(number)), at(0)),
            Admission::Individually(_)
        ));
    }
    assert!(matches!(
        floods.admit(Box::new(denied(3)), at(0)),
        Admission::AwaitCommit(_)
    ));
    assert!(floods.count(Box::new(denied(3)), at(0)).is_err());
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
        floods.count(Box::new(denied(7)), at(0)),
        Ok(denied(5).event_id)
    );
    // A failure later on takes nothing away that was counted.
    floods.not_committed();
    floods.end_all();
    assert_eq!(floods.take_summaries()[0].count, 2);
}

#[test]
fn no_more_denials_are_watched_than_allowed_and_none_is_dropped() {
    let mut floods = Floods::new(RULE);
    let mut recorded = 0;
    for number in 0..1000 {
        let target = format!("host-{}.example", number % 100);
        recorded += u64::from(admit(&mut floods, on(&target, number), at(0)).is_none());
        assert!(floods.open.len() <= 2);
    }
    floods.end_all();
    let counted: u64 = floods
        .take_summaries()
        .iter()
        .map(|summary| summary.count)
        .sum();
    assert_eq!(recorded + counted, 1000);
    assert_eq!(counted, 2 * (10 - 3));
    // Ended windows make room for others.
    assert_eq!(admit(&mut floods, on("late.example", 0), at(20_000)), None);
    assert_eq!(floods.open.len(), 1);
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
    assert!(floods.count(Box::new(denied(4)), at(0)).is_err());
    assert_eq!(admit(&mut floods, denied(4), at(0)), None);
}
