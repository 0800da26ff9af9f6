use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::AsFd as _,
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    sync::atomic::AtomicI64,
    time::Duration,
};

use attache_core::{
    event::{Mode, Outcome},
    id,
};
use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::threads::{Risk, Seat, Threads};

mod hung_disk;
mod in_place;
mod strangers;

/// The directory that a child process of a test works in.
const CHILD_DIR: &str = "ATTACHE_TEST_JOURNAL_DIR";

/// 2026-06-14T03:47:22.341Z, as in the published example.
pub(super) const START: i64 = 1_781_408_842_341;

/// A permit; `number` makes it unique.
pub(super) fn permitted(number: u32) -> Event {
    let timestamp = Timestamp::from_millis(START + i64::from(number));
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number.to_be_bytes());
    let text = |text: &str| Some(text.into());
    Event {
        event_id: id::event_id(timestamp, random).into(),
        timestamp,
        workload_svid: text("spiffe://cluster.local/ns/prod/sa/data-pipeline"),
        workload_type: text("kubernetes-pod"),
        target_service: "internal-data-api.prod.svc.cluster.local".into(),
        policy_matched: text("allow:data-pipeline:internal-api:read"),
        token_issued: true,
        token_id: text("tok_prod_8a3f2c1e8a3f2c1e8a3f2c1e8a3f2c1e"),
        ttl_seconds: Some(900),
        request_method: "GET".into(),
        request_path: "/api/v1/records".into(),
        outcome: Outcome::Permitted,
        latency_ms: 3.2,
        code: None,
        policy: text("prod/pipeline-to-internal-api"),
        trust_provider: text("cluster"),
        credential_provider: text("internal-api-token"),
        audience: text("https://internal-data-api"),
        attribute: None,
        expected: None,
        actual: None,
        mode: Mode::Enforce,
        would_be_outcome: None,
        would_be_policy: None,
        conditions: Vec::new(),
        policy_revision: "5f3c".into(),
        edge: "edge-1".into(),
        listener: "outbound".into(),
        source_address: text("10.1.2.3:40312"),
        count: 1,
        repeats: None,
        target_origin: None,
        attributes: None,
        attested_by: Vec::new(),
        record: attache_core::event::Record::Access,
        lease: None,
        reported: None,
        token_request: None,
    }
}

/// A denial, equal to every other one of its kind but for its number.
pub(super) fn denied(number: u32) -> Event {
    Event {
        policy_matched: None,
        token_issued: false,
        token_id: None,
        ttl_seconds: None,
        outcome: Outcome::Denied,
        code: Some("no-policy".into()),
        policy: None,
        credential_provider: None,
        audience: None,
        ..permitted(number)
    }
}

/// A denial unlike every other.
pub(super) fn denied_alone(number: u32) -> Event {
    Event {
        target_service: format!("host-{number}.example").into(),
        ..denied(number)
    }
}

/// An access that no policy matches and that the edge lets pass, unlike every other.
pub(super) fn passed(number: u32) -> Event {
    Event {
        outcome: Outcome::Permitted,
        code: Some("unmatched-passed".into()),
        ..denied_alone(number)
    }
}

/// Everything in the journal, and how many lines were skipped.
pub(super) fn everything(dir: &Path) -> (Vec<Event>, u64) {
    let mut events = Query::default().events(dir).unwrap();
    let found = events.by_ref().map(Result::unwrap).collect();
    (found, events.skipped())
}

fn config(dir: &TempDir) -> JournalConfig {
    JournalConfig::new(dir.path().join("audit"))
}

/// A configuration whose clock stands still until the test moves it.
fn with_time(dir: &TempDir) -> (JournalConfig, Arc<AtomicI64>) {
    let time = Arc::new(AtomicI64::new(START));
    let read = Arc::clone(&time);
    let clock: Clock = Arc::new(move || Timestamp::from_millis(read.load(Ordering::SeqCst)));
    (
        JournalConfig {
            clock,
            ..config(dir)
        },
        time,
    )
}

/// A thread that writes its events by itself, and a place on it.
fn writing() -> (Threads, Seat) {
    let threads = Threads::start(Risk::Taken).unwrap();
    let (connection, _peer) = UnixStream::pair().unwrap();
    let seat = threads.seat(connection.as_fd()).unwrap();
    (threads, seat)
}

fn small_segments() -> Retention {
    let (segment_bytes, budget) = (16 << 10, 1 << 30);
    Retention {
        segment_bytes,
        permitted_bytes: budget,
        passed_bytes: budget,
        denied_bytes: budget,
        ..Retention::default()
    }
}

fn segments(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".jsonl")).collect();
    names.sort();
    names
}

/// The segment of permits in a directory that has one.
fn segment_of_permits(audit: &Path) -> PathBuf {
    let names = segments(audit);
    let permits = names.iter().filter(|name| name.starts_with("permitted-"));
    let [one] = permits.collect::<Vec<_>>()[..] else {
        panic!("{names:?}")
    };
    audit.join(one)
}

/// The test `name` of this program, alone, in a process of its own.
fn child(name: &str) -> Vec<String> {
    let module = module_path!().split_once("::").unwrap().1;
    let filter = format!("{module}::{name}");
    vec![
        env::current_exe()
            .unwrap()
            .into_os_string()
            .into_string()
            .unwrap(),
        "--exact".to_owned(),
        filter,
        "--ignored".to_owned(),
        "--nocapture".to_owned(),
        "--test-threads=1".to_owned(),
    ]
}

#[tokio::test]
async fn a_recorded_event_is_in_the_file_when_record_returns() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(&dir)).unwrap();
    let recorded = journal.record(permitted(1)).await.unwrap();
    assert_eq!(
        recorded,
        Recorded {
            event_id: permitted(1).event_id,
            coalesced: false
        }
    );

    let text = fs::read_to_string(segment_of_permits(&dir.path().join("audit"))).unwrap();
    let published = r#""timestamp":"2026-06-14T03:47:22.342Z","workload_svid":"spiffe://cluster.local/ns/prod/sa/data-pipeline","workload_type":"kubernetes-pod","target_service":"internal-data-api.prod.svc.cluster.local","policy_matched":"allow:data-pipeline:internal-api:read","token_issued":true,"token_id":"tok_prod_8a3f2c1e8a3f2c1e8a3f2c1e8a3f2c1e","ttl_seconds":900,"request_method":"GET","request_path":"/api/v1/records","outcome":"permitted","latency_ms":3.2,"#;
    let begin = format!(r#"{{"event_id":"{}",{published}"#, recorded.event_id);
    assert!(text.starts_with(&begin) && text.ends_with("}\n"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn only_the_owner_can_read_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    fs::create_dir(&audit).unwrap();
    fs::set_permissions(&audit, fs::Permissions::from_mode(0o755)).unwrap();
    let journal = Journal::open(config(&dir)).unwrap();
    journal.record(permitted(1)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&audit), 0o700);
    for entry in fs::read_dir(&audit).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn events_stand_in_the_order_in_which_they_were_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(&dir)).unwrap();
    let journal = Arc::new(journal);
    // One thread runs these tasks, in the order in which they were spawned.
    let record = |number| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.record(permitted(number)).await })
    };
    for call in (0..3000).map(record).collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let expected: Vec<_> = (0..3000).map(permitted).collect();
    assert_eq!(everything(&dir.path().join("audit")), (expected, 0));
    assert_eq!(journal.status().written, 3000);
    assert_eq!(journal.status().queued, 0);
}

#[tokio::test]
async fn more_callers_than_the_queue_has_places_all_get_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig {
        queue: 3,
        ..config(&dir)
    })
    .unwrap();
    let all = (0..500).map(|number| journal.record(permitted(number)));
    assert!(join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(journal.status().written, 500);
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(config(&dir)).unwrap();
    let refused = Journal::open(config(&dir)).err().unwrap().to_string();
    assert!(
        refused.contains(&format!("in use by process {}", std::process::id())),
        "{refused}"
    );
    first.close().await.unwrap();
    Journal::open(config(&dir)).unwrap();
}

#[tokio::test]
async fn a_closed_journal_refuses_events() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::BeforeAnswer, Durability::Background] {
        let flood = FloodRule {
            recorded: 1,
            ..FloodRule::default()
        };
        let journal = Journal::open(JournalConfig {
            durability,
            flood,
            ..config(&dir)
        })
        .unwrap();
        journal.record(denied(1)).await.unwrap();
        journal.close().await.unwrap();
        assert_eq!(
            journal.record(permitted(2)).await,
            Err(AuditUnavailable::Closed)
        );
        assert_eq!(
            journal.record(denied(2)).await,
            Err(AuditUnavailable::Closed)
        );
        assert_eq!(journal.close().await, Err(AuditUnavailable::Closed));
        assert_eq!((journal.status().refused, journal.status().lost), (2, 0));
    }
    assert_eq!(everything(&dir.path().join("audit")).0.len(), 2);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_away_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let journal = Journal::open(config(&dir)).unwrap();
    journal.record(permitted(1)).await.unwrap();
    journal.record(denied(2)).await.unwrap();
    journal.close().await.unwrap();
    let names = segments(&audit);
    // Longer than one look backwards, and as short as one byte.
    for (name, torn) in names
        .iter()
        .zip([vec![b'x'; 70_000], vec![b'{'], vec![b'"']])
    {
        let path = audit.join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [whole, torn].concat()).unwrap();
    }
    let journal = Journal::open(config(&dir)).unwrap();
    assert_eq!(journal.status().repaired, 3);
    journal.record(permitted(3)).await.unwrap();
    assert_eq!(
        everything(&audit),
        (vec![permitted(1), denied(2), permitted(3)], 0)
    );
    assert_eq!(segments(&audit), names);
}

#[tokio::test]
async fn a_line_in_the_middle_that_is_no_event_is_kept_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let journal = Journal::open(config(&dir)).unwrap();
    journal.record(permitted(1)).await.unwrap();
    journal.close().await.unwrap();
    let path = segment_of_permits(&audit);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"\x00\x00\xff garbage\n{\"event_id\":1}\n\n");
    text.extend(std::iter::repeat_n(b'y', 1 << 20));
    text.push(b'\n');
    fs::write(&path, &text).unwrap();
    let journal = Journal::open(config(&dir)).unwrap();
    journal.record(permitted(2)).await.unwrap();
    assert_eq!(everything(&audit), (vec![permitted(1), permitted(2)], 4));
    assert!(fs::read(&path).unwrap().starts_with(&text));
    assert_eq!(journal.status().repaired, 0);
}

#[tokio::test]
async fn the_journal_recovers_when_its_files_or_its_directory_vanish() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let journal = Journal::open(config(&dir)).unwrap();
    journal.record(permitted(1)).await.unwrap();

    fs::remove_file(segment_of_permits(&audit)).unwrap();
    journal.record(permitted(2)).await.unwrap();
    assert_eq!(everything(&audit).0, [permitted(2)]);

    fs::remove_dir_all(&audit).unwrap();
    fs::create_dir(&audit).unwrap();
    journal.record(permitted(3)).await.unwrap();
    assert_eq!(everything(&audit).0, [permitted(3)]);
    assert!(matches!(
        Journal::open(config(&dir)),
        Err(JournalNotOpened::InUse { .. })
    ));

    // The whole path vanishes: denied until somebody puts it back.
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    let refused = journal.record(permitted(4)).await.unwrap_err();
    assert!(
        matches!(refused, AuditUnavailable::NotWritten(_)),
        "{refused}"
    );
    assert_eq!(journal.status().failing, journal.status().last_error);
    assert!(journal.status().failing.is_some());
    fs::rename(&away, dir.path()).unwrap();
    journal.record(permitted(5)).await.unwrap();
    assert_eq!(journal.status().failing, None);
    let found = everything(&audit).0;
    assert!(found.contains(&permitted(3)) && found.contains(&permitted(5)));
}

#[tokio::test]
async fn a_journal_that_somebody_emptied_goes_on_without_holes() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let journal = Journal::open(config(&dir)).unwrap();
    journal.record(permitted(1)).await.unwrap();
    fs::write(segment_of_permits(&audit), b"").unwrap();
    journal.record(permitted(2)).await.unwrap();
    assert_eq!(everything(&audit), (vec![permitted(2)], 0));
}

#[tokio::test]
async fn equal_denials_are_coalesced_and_their_counts_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let (config, time) = with_time(&dir);
    let journal = Journal::open(config).unwrap();
    let mut answered = BTreeMap::new();
    for number in 0..137 {
        let recorded = journal.record(denied(number)).await.unwrap();
        assert_eq!(recorded.coalesced, number >= 20);
        *answered.entry(recorded.event_id).or_insert(0) += 1;
    }
    // The window ends by itself, with no further event.
    time.fetch_add(10_000, Ordering::SeqCst);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while journal.status().written < 21 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (events, _) = everything(&dir.path().join("audit"));
    assert_eq!(events.len(), 21);
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 137);
    let summary = events.last().unwrap();
    assert_eq!(
        summary.repeats.as_deref(),
        Some(denied(19).event_id.as_str())
    );
    assert_eq!(
        (summary.count, &summary.event_id),
        (117, &denied(136).event_id)
    );
    // Every id that a caller was told stands in the journal.
    let ids: BTreeSet<_> = events.iter().map(|event| &event.event_id).collect();
    assert!(answered.keys().all(|id| ids.contains(id)));
    assert_eq!(journal.status().coalesced, 117);

    let next_window = journal.record(denied(200)).await.unwrap();
    assert!(!next_window.coalesced);
}

#[tokio::test]
async fn a_million_equal_denials_leave_every_permit_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        segment_bytes: 16 << 10,
        permitted_bytes: 256 << 10,
        denied_bytes: 64 << 10,
        ..Retention::default()
    };
    // Its clock stands still, so that all of them fall into one window however long they take.
    let (config, _time) = with_time(&dir);
    let journal = Journal::open(JournalConfig {
        retention,
        ..config
    })
    .unwrap();
    let mut told: u64 = 0;
    let one = denied(0);
    for round in 0..200_u32 {
        journal.record(permitted(round)).await.unwrap();
        // Most alike, and some unlike each other, which cannot be coalesced.
        let alike = (0..4950).map(|_| journal.record(one.clone()));
        let unlike = (0..50).map(|number| journal.record(denied_alone(round * 50 + number)));
        let alike = join_all(alike).await;
        told += alike
            .into_iter()
            .map(|answer| u64::from(answer.unwrap().coalesced))
            .sum::<u64>();
        assert!(join_all(unlike).await.iter().all(Result::is_ok));
    }
    journal.close().await.unwrap();
    // All but the first twenty.
    assert_eq!(told, 200 * 4950 - 20);
    let audit = dir.path().join("audit");
    let permits = Query {
        outcome: Some(Outcome::Permitted),
        ..Query::default()
    };
    let kept: Vec<_> = permits
        .events(&audit)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kept, (0..200).map(permitted).collect::<Vec<_>>());
    let denied_bytes: u64 = segments(&audit)
        .iter()
        .filter(|name| name.starts_with("denied-"))
        .map(|name| fs::metadata(audit.join(name)).unwrap().len())
        .sum();
    assert!(denied_bytes <= 64 << 10, "{denied_bytes}");
}

#[tokio::test]
async fn the_background_mode_counts_what_waits_and_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let background = JournalConfig {
        durability: Durability::Background,
        queue: 10,
        ..config(&dir)
    };
    let journal = Journal::open(background).unwrap();
    for number in 0..5 {
        journal.record(permitted(number)).await.unwrap();
    }
    journal.flush().await.unwrap();
    assert_eq!((journal.status().written, journal.status().queued), (5, 0));

    // A file where the directory was: nothing can be written, also by root.
    let away = dir.path().join("away");
    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, b"").unwrap();
    for number in 5..15 {
        journal.record(permitted(number)).await.unwrap();
    }
    assert_eq!(
        journal.record(permitted(15)).await,
        Err(AuditUnavailable::QueueFull(10))
    );
    assert!(journal.flush().await.is_err());
    let status = journal.status();
    assert_eq!((status.queued, status.refused, status.lost), (10, 1, 0));
    assert!(status.failing.is_some());

    fs::remove_file(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    journal.flush().await.unwrap();
    assert_eq!(
        (journal.status().queued, journal.status().failing),
        (0, None)
    );
    let ids = |events: Vec<Event>| {
        events
            .into_iter()
            .map(|event| event.event_id)
            .collect::<BTreeSet<_>>()
    };
    let accepted: BTreeSet<_> = (0..15).map(|number| permitted(number).event_id).collect();
    assert_eq!(ids(everything(&audit).0), accepted);

    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, b"").unwrap();
    for number in 20..23 {
        journal.record(permitted(number)).await.unwrap();
    }
    assert!(journal.close().await.is_err());
    assert_eq!(journal.status().lost, 3);
}

#[tokio::test]
async fn the_background_mode_coalesces_too_and_every_answered_id_is_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _time) = with_time(&dir);
    let journal = Journal::open(JournalConfig {
        durability: Durability::Background,
        ..config
    })
    .unwrap();
    let mut told = BTreeSet::new();
    for number in 0..1000 {
        told.insert(journal.record(denied(number)).await.unwrap().event_id);
    }
    journal.close().await.unwrap();
    let (events, _) = everything(&dir.path().join("audit"));
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 1000);
    assert_eq!(events.len(), 21);
    assert!(
        told.iter()
            .all(|id| events.iter().any(|event| event.event_id == *id))
    );
}

#[tokio::test]
async fn a_flood_on_a_broken_disk_is_never_answered_with_an_event_that_was_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, away) = (dir.path().join("audit"), dir.path().join("away"));
    let (config, _time) = with_time(&dir);
    let journal = Journal::open(config).unwrap();
    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, b"").unwrap();
    let refused = join_all((0..100).map(|number| journal.record(denied(number)))).await;
    assert!(refused.iter().all(Result::is_err), "{refused:?}");

    fs::remove_file(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    let answers = join_all((100..200).map(|number| journal.record(denied(number)))).await;
    let told: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        told.iter().filter(|recorded| recorded.coalesced).count(),
        80
    );
    journal.close().await.unwrap();
    let (events, _) = everything(&audit);
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 100);
    assert!(told.iter().all(|recorded| {
        events
            .iter()
            .any(|event| event.event_id == recorded.event_id)
    }));
}

#[tokio::test]
async fn a_journal_that_failed_notices_that_it_works_again_although_no_event_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, away) = (dir.path().join("audit"), dir.path().join("away"));
    let journal = Journal::open(config(&dir)).unwrap();
    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, b"").unwrap();
    journal.record(permitted(1)).await.unwrap_err();
    assert!(journal.status().failing.is_some());
    fs::remove_file(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    let working = async {
        while journal.status().failing.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), working).await.unwrap();
    journal.record(permitted(2)).await.unwrap();
    assert_eq!(everything(&audit).0, [permitted(2)]);
    assert!(!audit.join("probe").exists());
}

#[tokio::test]
async fn hostile_text_never_reaches_the_file_raw() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(&dir)).unwrap();
    let hostile = "/\x1b[2J\n{\"event_id\":\"evt_forged\"}\u{202e}".repeat(60 * 1024 / 35);
    journal
        .record(Event {
            request_path: hostile.into(),
            ..denied(1)
        })
        .await
        .unwrap();
    let (events, skipped) = everything(&dir.path().join("audit"));
    assert_eq!((events.len(), skipped), (1, 0));
    assert!(events[0].request_path.len() <= text::MAX_FIELD_BYTES);
    assert!(
        events[0]
            .request_path
            .starts_with("/\\u{1b}[2J\\u{a}{\"event_id\"")
    );
}

#[tokio::test]
async fn budgets_that_cannot_hold_two_segments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        denied_bytes: (32 << 20) - 1,
        ..Retention::default()
    };
    let refused = Journal::open(JournalConfig {
        retention,
        ..config(&dir)
    })
    .err()
    .unwrap();
    assert_eq!(
        refused.to_string(),
        "audit segments of 16777216 bytes need budgets of at least 33554432 bytes each"
    );
}

#[test]
fn a_hundred_kills_lose_no_acknowledged_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..100 {
        let command = child("child_that_records_until_it_is_killed");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        let mut line = String::new();
        // After a different number of answers each time, the first one included.
        while seen < (round * 37) % 300 + 1 {
            line.clear();
            assert!(
                lines.read_line(&mut line).unwrap() > 0,
                "the child ended by itself"
            );
            seen += i32::from(acknowledge(&line, &mut acknowledged));
        }
        child.kill().unwrap();
        loop {
            line.clear();
            if lines.read_line(&mut line).unwrap() == 0 {
                break;
            }
            acknowledge(&line, &mut acknowledged);
        }
        child.wait().unwrap();
    }
    Journal::open(config(&dir)).unwrap();
    let (events, skipped) = everything(&dir.path().join("audit"));
    assert_eq!(skipped, 0);
    let recorded: BTreeSet<_> = events.iter().map(|event| event.event_id.clone()).collect();
    assert_eq!(recorded.len(), events.len(), "an event stands twice");
    assert!(acknowledged.len() > 10_000, "{}", acknowledged.len());
    assert_eq!(acknowledged.difference(&recorded).count(), 0);
    assert!(segments(&dir.path().join("audit")).len() > 4);
}

/// Takes the id of an acknowledgement; a line that the kill cut short is none.
fn acknowledge(line: &str, acknowledged: &mut BTreeSet<CompactString>) -> bool {
    let id = line
        .strip_suffix('\n')
        .and_then(|line| line.split_once("recorded "))
        .map(|(_, id)| id);
    id.is_some_and(|id| acknowledged.insert(id.into()))
}

#[test]
#[ignore = "run by a_hundred_kills_lose_no_acknowledged_event as the process that it kills"]
fn child_that_records_until_it_is_killed() {
    let dir = env::var_os(CHILD_DIR).expect("the parent test names the directory");
    let retention = small_segments();
    let flood = FloodRule {
        from_one_source: u32::MAX,
        ..FloodRule::default()
    };
    let config = JournalConfig {
        retention,
        flood,
        ..JournalConfig::new(Path::new(&dir).join("audit"))
    };
    let journal = Arc::new(Journal::open(config).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = std::process::id().wrapping_mul(100_000);
    runtime.block_on(join_all((0..8_u32).map(|task| {
        let journal = Arc::clone(&journal);
        runtime.spawn(async move {
            for number in (first + task..).step_by(8) {
                let event = if task % 2 == 0 {
                    permitted(number)
                } else {
                    denied_alone(number)
                };
                let recorded = journal.record(event).await.unwrap();
                // One write to the pipe; a kill may cut it short, never mix it with another.
                let line = format!("recorded {}\n", recorded.event_id);
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        })
    })));
}

#[test]
fn a_full_disk_refuses_and_the_journal_recovers_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=192k,mode=0700 none "$1" && shift && exec "$@""#;
    // A mount name space of its own, so that the tiny disk goes away with the child.
    let root = rustix::process::geteuid().is_root();
    let output = Command::new("unshare")
        .args(if root {
            ["--mount"].as_slice()
        } else {
            ["--mount", "--map-root-user"].as_slice()
        })
        .args(["sh", "-c", script, "sh"])
        .arg(dir.path())
        .args(child("child_that_fills_its_disk"))
        .env(CHILD_DIR, dir.path())
        .output()
        .expect("`unshare` of util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{errors}"
    );
}

#[tokio::test]
#[ignore = "run by a_full_disk_refuses_and_the_journal_recovers_when_there_is_room on a disk of 192 KiB"]
async fn child_that_fills_its_disk() {
    let root = env::var_os(CHILD_DIR).expect("the parent test names the directory");
    let (audit, ballast) = (
        Path::new(&root).join("audit"),
        Path::new(&root).join("ballast"),
    );
    fs::write(&ballast, vec![0; 96 << 10]).unwrap();
    let config = JournalConfig {
        retention: small_segments(),
        ..JournalConfig::new(&audit)
    };
    let journal = Journal::open(config.clone()).unwrap();

    let (mut recorded, refused) = record_batches(&journal).await;
    assert!(
        recorded.len() > 20 && refused.len() > 20,
        "{} {}",
        recorded.len(),
        refused.len()
    );
    assert!(
        refused[0].contains("No space left on device"),
        "{}",
        refused[0]
    );
    assert!(journal.status().failing.is_some());
    let ids = || {
        everything(&audit)
            .0
            .into_iter()
            .map(|event| event.event_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(), recorded);
    assert_eq!(everything(&audit).1, 0);
    for name in segments(&audit) {
        let text = fs::read(audit.join(name)).unwrap();
        assert!(
            text.is_empty() || text.ends_with(b"\n"),
            "a refused line was left behind"
        );
    }

    fs::remove_file(&ballast).unwrap();
    recorded.push(journal.record(permitted(1000)).await.unwrap().event_id);
    assert_eq!(journal.status().failing, None);
    assert_eq!(ids(), recorded);
    journal.close().await.unwrap();

    // A start on a full disk refuses too, and needs no second start.
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let journal = Journal::open(config).unwrap();
    let mut number = 2000;
    while let Ok(done) = journal.record(permitted(number)).await {
        recorded.push(done.event_id);
        number += 1;
        assert!(number < 2100, "the disk is not full");
    }
    fs::remove_file(&ballast).unwrap();
    recorded.push(journal.record(permitted(3000)).await.unwrap().event_id);
    assert_eq!(ids(), recorded);
}

/// Records 400 permits in batches of 10; the ids of the recorded ones, and why the rest was refused.
async fn record_batches(journal: &Journal) -> (Vec<CompactString>, Vec<String>) {
    let (mut recorded, mut refused) = (Vec::new(), Vec::new());
    for batch in 0..40 {
        let events = (0..10).map(|number| journal.record(permitted(batch * 10 + number)));
        for answer in join_all(events).await {
            match answer {
                Ok(done) => recorded.push(done.event_id),
                Err(error) => refused.push(error.to_string()),
            }
        }
    }
    (recorded, refused)
}

#[test]
fn the_users_page_documents_every_field_in_its_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit.md");
    let page = fs::read_to_string(page).unwrap();
    let fields = |line: &str| -> Vec<String> {
        // Without what stands inside of a field.
        let mut depth = 0;
        let outer = line.chars().filter(|character| {
            depth += i32::from(*character == '{') - i32::from(*character == '}');
            depth == 1
        });
        let line = outer.collect::<String>();
        let line = line
            .split("\":")
            .map(|part| part.rsplit('"').next().unwrap().to_owned());
        let mut names: Vec<_> = line.collect();
        names.pop();
        names
    };
    let example = page
        .lines()
        .find(|line| line.starts_with("{\"event_id\""))
        .unwrap();
    serde_json::from_str::<Event>(example).unwrap();
    let written = fields(&serde_json::to_string(&permitted(1)).unwrap());
    assert_eq!(fields(example).join(" "), written.join(" "));
    let table = page
        .lines()
        .skip_while(|line| !line.starts_with("| field |"))
        .skip(2);
    let rows = table.take_while(|line| line.starts_with("| `"));
    let documented: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(documented.join(" "), written.join(" "));
}
