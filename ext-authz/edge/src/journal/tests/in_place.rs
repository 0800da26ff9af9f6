//! Events that the threads write which answer: without the journal's thread, and as it writes them.

use std::mem;

use tokio::time::{sleep, timeout};

use super::*;

/// Records events on a thread that writes by itself, all at once.
async fn record(journal: &Arc<Journal>, events: Vec<Event>) -> Vec<Recorded> {
    let (_threads, seat) = writing();
    let journal = Arc::clone(journal);
    let recording =
        async move { join_all(events.into_iter().map(|event| journal.record(event))).await };
    let recorded = seat.runtime().spawn(recording).await.unwrap();
    recorded.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_thread_that_answers_writes_its_events_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(config(&dir)).unwrap();
    let (nobody, messages) = mpsc::channel();
    let _thread = mem::replace(&mut journal.inbox, nobody);
    let journal = Arc::new(journal);
    record(&journal, (0..3).map(permitted).collect()).await;
    let (events, skipped) = everything(&dir.path().join("audit"));
    assert_eq!((events, skipped), ((0..3).map(permitted).collect(), 0));
    assert!(messages.try_recv().is_err());
}

#[tokio::test]
async fn threads_that_write_at_once_leave_nothing_lying() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(config(&dir)).unwrap());
    let batch = |number: u32| {
        record(
            &journal,
            (10 * number..10 * number + 10).map(permitted).collect(),
        )
    };
    let all = timeout(Duration::from_secs(60), join_all((0..100).map(batch)));
    assert_eq!(all.await.unwrap().concat().len(), 1000);
    let (mut events, _) = everything(&dir.path().join("audit"));
    events.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    assert!(events.into_iter().eq((0..1000).map(permitted)));
}

#[tokio::test]
async fn a_flood_that_such_a_thread_saw_is_summed_up_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (config, time) = with_time(&dir);
    let journal = Arc::new(Journal::open(config).unwrap());
    let recorded = record(&journal, (0..25).map(denied).collect()).await;
    assert_eq!(recorded.iter().filter(|one| one.coalesced).count(), 5);
    time.fetch_add(11_000, Ordering::SeqCst);
    let audit = dir.path().join("audit");
    let summed_up = async {
        while everything(&audit).0.iter().all(|event| event.count != 5) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), summed_up).await.unwrap();
}

#[tokio::test]
async fn old_segments_are_deleted_also_where_such_a_thread_began_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        permitted_bytes: 32 << 10,
        ..small_segments()
    };
    let config = JournalConfig {
        retention,
        ..config(&dir)
    };
    let journal = Arc::new(Journal::open(config).unwrap());
    for number in 0..20 {
        record(
            &journal,
            (10 * number..10 * number + 10).map(permitted).collect(),
        )
        .await;
    }
    let audit = dir.path().join("audit");
    let bytes = || -> u64 {
        let files = segments(&audit).into_iter();
        files
            .map(|file| fs::metadata(audit.join(file)).map_or(0, |it| it.len()))
            .sum()
    };
    let within_budget = async {
        while bytes() > 32 << 10 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), within_budget)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_journal_that_is_closed_takes_nothing_from_such_a_thread() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(config(&dir)).unwrap());
    let (_threads, seat) = writing();
    let recording = |number| {
        let journal = Arc::clone(&journal);
        seat.runtime()
            .spawn(async move { journal.record(permitted(number)).await })
    };
    recording(0).await.unwrap().unwrap();
    journal.close().await.unwrap();
    assert_eq!(recording(1).await.unwrap(), Err(AuditUnavailable::Closed));
    // Whoever opens it next finds it whole, and nobody else there.
    Journal::open(config(&dir)).unwrap();
    assert_eq!(everything(&dir.path().join("audit")).0, [permitted(0)]);
}
