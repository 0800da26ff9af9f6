//! What somebody who proves nothing can do to the journal.

use super::*;

/// An access that no policy matches, of a caller that is not proven and varies what it can.
fn passed_stranger(number: u32) -> Event {
    Event {
        workload_svid: None,
        workload_type: None,
        trust_provider: None,
        request_method: format!("X{number}").into(),
        request_path: format!("/{number}").into(),
        source_address: Some(format!("10.6.6.6:{}", number % 60_000).into()),
        ..passed(number)
    }
}

/// The same where everything is observed.
fn observed_stranger(number: u32) -> Event {
    Event {
        code: Some("evidence-missing".into()),
        mode: Mode::Observe,
        would_be_outcome: Some(Outcome::Denied),
        ..passed_stranger(number)
    }
}

/// The same, denied.
fn denied_stranger(number: u32) -> Event {
    Event {
        code: Some("evidence-missing".into()),
        outcome: Outcome::Denied,
        ..passed_stranger(number)
    }
}

fn count(events: &[Event]) -> u64 {
    events.iter().map(|event| event.count).sum()
}

#[tokio::test]
async fn a_caller_that_proves_nothing_pushes_out_no_permit() {
    for stranger in [passed_stranger, observed_stranger, denied_stranger] {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention {
            segment_bytes: 16 << 10,
            permitted_bytes: 64 << 10,
            passed_bytes: 64 << 10,
            denied_bytes: 64 << 10,
            ..Retention::default()
        };
        // Not even where each of its requests is recorded.
        let flood = FloodRule {
            recorded: u32::MAX,
            from_one_source: u32::MAX,
            ..FloodRule::default()
        };
        let journal = Journal::open(JournalConfig {
            retention,
            flood,
            ..config(&dir)
        })
        .unwrap();
        for number in 0..20 {
            journal.record(permitted(number)).await.unwrap();
        }
        for number in 0..2500 {
            journal.record(stranger(number)).await.unwrap();
        }
        let (events, _) = everything(&dir.path().join("audit"));
        let permits = events.iter().filter(|event| event.token_issued).cloned();
        let expected: Vec<_> = (0..20).map(permitted).collect();
        assert_eq!(permits.collect::<Vec<_>>(), expected);
        assert!(events.len() > 40 && events.len() < 1000, "{}", events.len());
    }
}

#[tokio::test]
async fn a_caller_that_proves_nothing_is_coalesced_whatever_it_varies() {
    for stranger in [passed_stranger, observed_stranger, denied_stranger] {
        let dir = tempfile::tempdir().unwrap();
        let (config, _time) = with_time(&dir);
        let journal = Journal::open(config).unwrap();
        let mut told = BTreeSet::new();
        for number in 0..2500 {
            let recorded = journal.record(stranger(number)).await.unwrap();
            told.insert(recorded.event_id);
        }
        journal.close().await.unwrap();
        let (events, _) = everything(&dir.path().join("audit"));
        assert_eq!((events.len(), count(&events)), (21, 2500));
        let summary = events.last().unwrap();
        assert_eq!(summary.repeats, Some(stranger(19).event_id));
        let told_apart = (&*summary.target_service, &*summary.request_method);
        assert_eq!(told_apart, ("other", "other"));
        assert!(
            told.iter()
                .all(|id| events.iter().any(|event| event.event_id == *id)),
            "an id that a caller was told is not in the journal"
        );
    }
}

#[tokio::test]
async fn what_one_source_can_write_in_a_window_has_a_total() {
    let dir = tempfile::tempdir().unwrap();
    let (config, time) = with_time(&dir);
    let journal = Journal::open(config).unwrap();
    // A host that the route vouches for makes a difference, and so do the known methods and the code.
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X",
    ];
    let event = |number: u32| Event {
        target_service: format!("host-{}.example", number % 100).into(),
        request_method: methods[number as usize % methods.len()].into(),
        ..denied_stranger(number)
    };
    for number in 0..10_000 {
        let recorded = journal
            .record_to(Box::new(event(number)), Target::Vouched)
            .await;
        recorded.unwrap();
    }
    let proven = journal.record(denied_alone(0)).await.unwrap();
    assert!(!proven.coalesced, "another source has its own total");
    time.fetch_add(10_000, Ordering::SeqCst);
    assert!(!journal.record(event(0)).await.unwrap().coalesced);
    journal.close().await.unwrap();
    let (events, _) = everything(&dir.path().join("audit"));
    assert_eq!(count(&events), 10_002);
    let summaries = events.iter().filter(|event| event.repeats.is_some());
    let summaries = summaries.count();
    assert!(summaries >= 1);
    assert_eq!(events.len() - summaries, 200 + 2);
}

#[tokio::test]
async fn a_host_that_is_vouched_for_has_its_own_flood() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _time) = with_time(&dir);
    let journal = Journal::open(config).unwrap();
    for (target, recorded) in [(Target::Vouched, 40), (Target::Claimed, 20)] {
        let mut alone = 0;
        for number in 0..60 {
            let event = Event {
                target_service: ["one.example", "two.example"][number as usize % 2].into(),
                ..denied_stranger(number)
            };
            alone += usize::from(
                !journal
                    .record_to(Box::new(event), target)
                    .await
                    .unwrap()
                    .coalesced,
            );
        }
        assert_eq!(alone, recorded, "{target:?}");
    }
}

#[tokio::test]
async fn a_directory_from_before_there_was_a_family_of_passed_events_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    fs::create_dir(&audit).unwrap();
    let lines = |events: &[Event]| {
        let lines = events.iter().map(|event| {
            let mut line = serde_json::to_value(event).unwrap();
            // Fields that came later, too.
            let members = line.as_object_mut().unwrap();
            let later = [
                "would_be_policy",
                "conditions",
                "target_origin",
                "attributes",
                "attested_by",
            ];
            members.retain(|name, _| !later.contains(&name.as_str()));
            format!("{line}\n")
        });
        lines.collect::<String>()
    };
    let old = [permitted(0), passed_stranger(1), observed_stranger(2)];
    let permits = audit.join("permitted-20260614T034722.341Z.jsonl");
    fs::write(&permits, lines(&old)).unwrap();
    let denials = audit.join("denied-20260614T034722.341Z.jsonl");
    fs::write(denials, lines(&[denied(3)])).unwrap();

    let journal = Journal::open(config(&dir)).unwrap();
    let mut expected = [&old[..], &[denied(3)]].concat();
    assert_eq!(everything(&audit), (expected.clone(), 0));
    for event in [permitted(4), passed_stranger(5), denied(6)] {
        journal.record(event.clone()).await.unwrap();
        expected.push(event);
    }
    assert_eq!(everything(&audit), (expected, 0));
    let text = fs::read_to_string(permits).unwrap();
    assert_eq!(
        text.lines().count(),
        4,
        "a permit joins those that were there"
    );
}
