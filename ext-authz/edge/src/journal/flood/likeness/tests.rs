use super::*;
use crate::journal::tests::denied;

fn text(text: &str) -> Option<CompactString> {
    Some(text.into())
}

/// A denial of a caller that is not proven.
fn unproven() -> Event {
    Event {
        workload_svid: None,
        ..denied(0)
    }
}

#[test]
fn nothing_that_an_unproven_caller_can_vary_at_will_makes_a_difference() {
    let likeness = |event: &Event| Alike::of(event, Target::Claimed);
    let same = [
        Event {
            source_address: text("10.1.2.3:1"),
            ..unproven()
        },
        Event {
            target_service: "\u{1}no host at all".into(),
            ..unproven()
        },
        Event {
            request_path: "/elsewhere".into(),
            ..unproven()
        },
    ];
    for event in same {
        assert_eq!(likeness(&unproven()), likeness(&event), "{event:?}");
    }
    let method = |method: &str| {
        likeness(&Event {
            request_method: method.into(),
            ..unproven()
        })
    };
    assert_eq!(method("PROPFIND"), method("X0001"));
    assert_eq!(method("get"), method("X0001"), "methods are case-sensitive");
    for known in METHODS {
        assert_ne!(method(known), method("X0001"), "{known}");
    }
}

#[test]
fn what_the_edge_knows_for_certain_makes_a_difference() {
    let likeness = |event: &Event| Alike::of(event, Target::Claimed);
    for event in [
        Event {
            source_address: text("10.1.2.4:40312"),
            ..unproven()
        },
        Event {
            workload_svid: text("spiffe://cluster.local/ns/a/sa/b"),
            ..unproven()
        },
        // The word of a workload is not the word of an address that spells the same.
        Event {
            workload_svid: text("10.1.2.3"),
            ..unproven()
        },
        Event {
            code: text("attribute-mismatch"),
            ..unproven()
        },
        Event {
            policy: text("prod/other"),
            ..unproven()
        },
        Event {
            would_be_policy: text("allow:a:b:c"),
            ..unproven()
        },
        Event {
            outcome: Outcome::Error,
            ..unproven()
        },
        Event {
            mode: Mode::Observe,
            ..unproven()
        },
        Event {
            would_be_outcome: Some(Outcome::Denied),
            ..unproven()
        },
    ] {
        assert_ne!(likeness(&unproven()), likeness(&event), "{event:?}");
    }
}

#[test]
fn a_host_makes_a_difference_where_more_than_an_unproven_client_names_it() {
    let elsewhere = |event: &Event| Event {
        target_service: "elsewhere.example".into(),
        ..event.clone()
    };
    let by_policy = Event {
        policy: text("prod/closed"),
        ..unproven()
    };
    let rehearsed = Event {
        would_be_policy: text("allow:a:b:c"),
        ..unproven()
    };
    for (event, target, told) in [
        (unproven(), Target::Claimed, false),
        (unproven(), Target::Vouched, true),
        (by_policy, Target::Claimed, true),
        (rehearsed, Target::Claimed, true),
        (denied(0), Target::Claimed, true),
    ] {
        let differ = Alike::of(&event, target) != Alike::of(&elsewhere(&event), target);
        assert_eq!(differ, told, "{target:?} {event:?}");
    }
}

#[test]
fn a_method_of_a_proven_caller_makes_a_difference() {
    let method = |method: &str| {
        let event = Event {
            request_method: method.into(),
            ..denied(0)
        };
        Alike::of(&event, Target::Claimed)
    };
    assert_ne!(method("PROPFIND"), method("MKCOL"));
}

#[test]
fn what_stands_for_several_says_only_what_they_share() {
    let earlier = Event {
        policy: text("prod/one"),
        policy_matched: text("deny:a:b:c"),
        would_be_policy: text("allow:a:b:c"),
        target_origin: text("https://internal-data-api.prod.svc.cluster.local:443"),
        ..unproven()
    };
    let port = Event {
        source_address: text("10.1.2.3:7"),
        request_path: "/later".into(),
        ..earlier.clone()
    };
    let mut latest = port.clone();
    generalise(&mut latest, &earlier);
    assert_eq!(latest, port, "the port and the path stay the latest one's");

    let mut latest = Event {
        target_service: "elsewhere.example".into(),
        target_origin: text("https://elsewhere.example:443"),
        request_method: "POST".into(),
        code: text("evidence-missing"),
        source_address: text("10.1.2.4:7"),
        ..denied(1)
    };
    latest.workload_svid = None;
    generalise(&mut latest, &earlier);
    let (target, method) = (&*latest.target_service, &*latest.request_method);
    assert_eq!((target, method), ("other", "other"));
    assert_eq!(latest.code, text("other"));
    assert_eq!((latest.policy, latest.policy_matched), (None, None));
    let others = (
        latest.would_be_policy,
        latest.target_origin,
        latest.source_address,
    );
    assert_eq!(others, (None, None, None));
}
