use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    sync::Arc,
};

use super::*;
use crate::journal::{
    FloodRule, Journal, JournalConfig, Retention,
    tests::{START, denied, denied_alone, passed, permitted},
};

fn found(query: &Query, dir: &Path) -> Vec<Event> {
    query.events(dir).unwrap().map(Result::unwrap).collect()
}

fn small(dir: &Path) -> JournalConfig {
    let budget = 1 << 30;
    let retention = Retention {
        segment_bytes: 4096,
        permitted_bytes: budget,
        passed_bytes: budget,
        denied_bytes: budget,
        ..Retention::default()
    };
    let flood = FloodRule {
        from_one_source: u32::MAX,
        ..FloodRule::default()
    };
    JournalConfig {
        retention,
        flood,
        ..JournalConfig::new(dir)
    }
}

#[tokio::test]
async fn all_families_come_merged_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path())).unwrap();
    let mut expected = Vec::new();
    for number in 0..200 {
        let event = match number % 3 {
            0 => denied_alone(number),
            1 => passed(number),
            _ => permitted(number),
        };
        journal.record(event.clone()).await.unwrap();
        expected.push(event);
    }
    assert!(journal.status().segments > 10);
    assert_eq!(found(&Query::default(), dir.path()), expected);
    let limit = Query {
        limit: Some(7),
        ..Query::default()
    };
    assert_eq!(found(&limit, dir.path()), expected[193..]);
    let nothing = Query {
        limit: Some(0),
        ..Query::default()
    };
    assert_eq!(found(&nothing, dir.path()), []);
}

/// A query with one field.
fn asking(field: &str, value: &str) -> Query {
    let mut query = Query::default();
    let text = Some(value.to_owned());
    let time = || {
        Some(Timestamp::from_millis(
            START + value.parse::<i64>().unwrap(),
        ))
    };
    match field {
        "since" => query.since = time(),
        "until" => query.until = time(),
        "workload" => query.workload = text,
        "target" => query.target = text,
        "outcome" if value == "permitted" => query.outcome = Some(Outcome::Permitted),
        "outcome" => query.outcome = Some(Outcome::Denied),
        "code" => query.code = text,
        "event_id" => query.event_id = text,
        other => panic!("{other}"),
    }
    query
}

#[test]
fn each_field_narrows_the_answer() {
    let event = Event {
        code: Some("attribute-mismatch".into()),
        repeats: Some("evt_first".into()),
        ..permitted(0)
    };
    let cases = [
        ("since", "0", true),
        ("since", "1", false),
        ("until", "0", true),
        ("until", "-1", false),
        (
            "workload",
            "spiffe://cluster.local/ns/prod/sa/data-pipeline",
            true,
        ),
        ("workload", "data-pipeline", true),
        ("workload", "prod/sa/data-pipeline", true),
        ("workload", "pipeline", false),
        ("workload", "internal-api", false),
        ("target", "Internal-Data-API.prod.svc.cluster.local", true),
        ("target", "internal-api", true),
        ("target", "data-pipeline", false),
        ("target", "prod.svc.cluster.local", false),
        ("outcome", "permitted", true),
        ("outcome", "denied", false),
        ("code", "attribute-mismatch", true),
        ("code", "attribute", false),
        ("event_id", &event.event_id, true),
        ("event_id", "evt_first", true),
        ("event_id", "evt_", false),
    ];
    for (field, value, matches) in cases {
        assert_eq!(
            asking(field, value).matches(&event),
            matches,
            "{field} {value}"
        );
    }
    let both = Query {
        code: Some("no-policy".to_owned()),
        ..asking("outcome", "permitted")
    };
    assert!(!both.matches(&event));
}

#[tokio::test]
async fn a_time_range_finds_what_a_whole_reading_finds() {
    let dir = tempfile::tempdir().unwrap();
    // The writer's clock follows the events, so that segments can be told apart by their names.
    let time = Arc::new(std::sync::atomic::AtomicI64::new(START));
    let read = Arc::clone(&time);
    let clock: crate::journal::Clock =
        Arc::new(move || Timestamp::from_millis(read.load(std::sync::atomic::Ordering::SeqCst)));
    let journal = Journal::open(JournalConfig {
        clock,
        ..small(dir.path())
    })
    .unwrap();
    let mut all = Vec::new();
    for minute in 0..200_i64 {
        let timestamp = Timestamp::from_millis(START + minute * 60_000);
        time.store(timestamp.as_millis(), std::sync::atomic::Ordering::SeqCst);
        let event = Event {
            timestamp,
            ..permitted(u32::try_from(minute).unwrap())
        };
        journal.record(event.clone()).await.unwrap();
        all.push(event);
    }
    for (since, until) in [(0, 10), (50, 60), (199, 300), (150, 150), (-20, -10)] {
        let at = |minute: i64| Some(Timestamp::from_millis(START + minute * 60_000));
        let query = Query {
            since: at(since),
            until: at(until),
            ..Query::default()
        };
        let expected: Vec<_> = all
            .iter()
            .filter(|event| query.matches(event))
            .cloned()
            .collect();
        assert_eq!(found(&query, dir.path()), expected, "{since} to {until}");
    }
    // Segments that ended before are not opened: one of them may even be unreadable.
    let names = SegmentName::list(dir.path(), Family::Permitted).unwrap();
    fs::remove_file(dir.path().join(names[0].to_string())).unwrap();
    fs::create_dir(dir.path().join(names[0].to_string())).unwrap();
    let late = Query {
        since: Some(Timestamp::from_millis(START + 100 * 60_000)),
        ..Query::default()
    };
    assert_eq!(found(&late, dir.path()), all[100..]);
    assert!(
        Query::default()
            .events(dir.path())
            .unwrap()
            .any(|event| event.is_err())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_across_rotations_sees_each_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path())).unwrap();
    for number in 0..20 {
        journal.record(permitted(number)).await.unwrap();
    }
    let newest = Query {
        limit: Some(5),
        ..Query::default()
    };
    let mut events = newest.events(dir.path()).unwrap();
    let follower = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < 2005 {
            seen.extend(events.by_ref().map(|event| event.unwrap().event_id));
            events.wait(Duration::from_secs(1));
            events.resume().unwrap();
        }
        seen.extend(events.by_ref().map(|event| event.unwrap().event_id));
        (seen, events.skipped())
    });
    let mut expected: Vec<_> = (15..20).map(|number| permitted(number).event_id).collect();
    for number in 20..2020 {
        let event = if number % 2 == 0 {
            denied_alone(number)
        } else {
            permitted(number)
        };
        expected.push(journal.record(event).await.unwrap().event_id);
    }
    assert!(journal.status().segments > 100);
    let (mut seen, skipped) = follower.join().unwrap();
    // The two families may be seen in turns; within one, order holds.
    assert!(
        seen.iter()
            .filter(|id| expected[5..].iter().step_by(2).any(|other| other == *id))
            .is_sorted()
    );
    seen.sort();
    assert_eq!((seen, skipped), (expected, 0));
}

#[tokio::test]
async fn a_hostile_file_is_made_printable_and_what_is_no_event_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path())).unwrap();
    journal.record(denied(1)).await.unwrap();
    journal.close().await.unwrap();
    let name = SegmentName::list(dir.path(), Family::Denied)
        .unwrap()
        .pop()
        .unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(dir.path().join(name.to_string()))
        .unwrap();
    let hostile = Event {
        event_id: "\x1b]0;owned\x07".into(),
        request_path: "\u{9b}2J\u{202e}".repeat(20_000).into(),
        repeats: Some("a\nb".into()),
        ..denied(2)
    };
    serde_json::to_writer(&mut file, &hostile).unwrap();
    file.write_all(b"\n\x1b[2J not json\n").unwrap();
    let mut events = Query::default().events(dir.path()).unwrap();
    assert_eq!(events.next().unwrap().unwrap(), denied(1));
    let shown = serde_json::to_string(&events.next().unwrap().unwrap()).unwrap();
    assert!(shown.chars().all(text::is_printable), "{shown}");
    assert!(shown.len() < 10_000);
    assert!(events.next().is_none());
    assert_eq!(events.skipped(), 1);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = Query::default()
        .events(Path::new("/nowhere/audit"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("the audit journal in /nowhere/audit cannot be read: "),
        "{error}"
    );
}
