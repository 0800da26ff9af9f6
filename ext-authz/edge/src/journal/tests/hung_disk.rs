//! A disk that does not answer: a named pipe stands where the segment of permits would be, and nobody
//! reads it, so that a write to it waits as one to a hung disk does.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::mpsc,
    thread::JoinHandle,
};

use rustix::{
    fs::{CWD, FileType, Mode as FileMode, OFlags, mknodat},
    io::ioctl_fionread,
};
use tokio::time::timeout;

use super::{
    super::desk::{Bells, Desks, Waiting},
    *,
};

/// What a pipe is filled in steps of.
const PAGE: [u8; 4096] = [b'.'; 4096];
/// Less than any patience, of a clock that moves only when nobody can do anything.
const MOMENT: Duration = Duration::from_millis(1);

/// The journal's disk.
struct HungDisk {
    pipe: File,
    full: u64,
}

impl HungDisk {
    /// Puts the pipe in place, with room for less than one large event.
    fn under(audit: &Path) -> Self {
        fs::create_dir(audit).unwrap();
        let path = audit.join("permitted-20260614T034722.341Z.jsonl");
        mknodat(CWD, &path, FileType::Fifo, FileMode::from(0o600), 0).unwrap();
        let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let options = fs::OpenOptions::new().read(true).write(true).clone();
        let mut pipe = options.clone().custom_flags(no_wait).open(&path).unwrap();
        let mut full = 0;
        loop {
            match pipe.write(&PAGE) {
                Ok(bytes) => full += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        pipe.read_exact(&mut PAGE.clone()).unwrap();
        let pipe = options.open(&path).unwrap();
        Self { pipe, full }
    }

    /// Waits until the journal's thread is in the middle of a write.
    fn wait_until_it_hangs(&self) {
        while ioctl_fionread(&self.pipe).unwrap() < self.full {
            std::thread::yield_now();
        }
    }

    /// It answers again; what was written, until `end` was.
    fn recover(mut self, end: String) -> JoinHandle<String> {
        std::thread::spawn(move || {
            let mut text = String::new();
            let mut some = [0; 4096];
            while !text.contains(&end) {
                let bytes = self.pipe.read(&mut some).unwrap();
                text.push_str(str::from_utf8(&some[..bytes]).unwrap());
            }
            text
        })
    }
}

/// A permit larger than the room that is left on the disk.
fn large(number: u32) -> Event {
    let text = Some("x".repeat(text::MAX_FIELD_BYTES).into());
    Event {
        policy: text.clone(),
        expected: text.clone(),
        actual: text.clone(),
        attribute: text,
        ..permitted(number)
    }
}

/// The events in the family's one segment.
fn events_of(audit: &Path, family: Family) -> Vec<Event> {
    let names = segments(audit);
    let mut names = names.iter().filter(|name| name.starts_with(family.name()));
    let text = fs::read_to_string(audit.join(names.next().unwrap())).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    events.collect()
}

fn not_answered(event: Event) -> Event {
    Event {
        outcome: Outcome::Error,
        code: Some("not-answered".into()),
        token_issued: false,
        token_id: None,
        ttl_seconds: None,
        audience: None,
        ..event
    }
}

#[tokio::test(start_paused = true)]
async fn an_access_that_was_given_up_while_the_disk_hung_is_not_recorded_as_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let disk = HungDisk::under(&audit);
    let journal = Arc::new(Journal::open(config(&dir)).unwrap());
    let record = |event| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.record(event).await })
    };
    let stuck = record(large(0));
    tokio::time::sleep(MOMENT).await;
    disk.wait_until_it_hangs();

    let observed = Event {
        mode: Mode::Observe,
        ..permitted(4)
    };
    for event in [permitted(1), passed(2), denied(3), observed.clone()] {
        assert!(timeout(MOMENT, journal.record(event)).await.is_err());
    }
    assert_eq!(journal.status().refused, 4, "their callers were refused");
    let waiting = record(permitted(5));
    tokio::time::sleep(MOMENT).await;
    let written = disk.recover(permitted(5).event_id.into());
    stuck.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    journal.flush().await.unwrap();

    let written = written.join().unwrap();
    assert!(written.contains(large(0).event_id.as_str()));
    assert!(!written.contains(permitted(1).event_id.as_str()));
    assert_eq!(
        events_of(&audit, Family::Denied),
        [
            not_answered(permitted(1)),
            not_answered(passed(2)),
            // Nobody gets out of the journal by hanging up.
            denied(3)
        ]
    );
    // What is observed goes on whether or not it could be recorded.
    assert_eq!(events_of(&audit, Family::Passed), [observed]);
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_ever_for_a_disk_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let disk = HungDisk::under(&audit);
    let journal = Arc::new(Journal::open(config(&dir)).unwrap());
    let recording = {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.record(large(0)).await })
    };
    tokio::time::sleep(MOMENT).await;
    disk.wait_until_it_hangs();
    let began = tokio::time::Instant::now();
    let closed = timeout(Duration::from_secs(3600), journal.close()).await;
    let error = closed.expect("it waits for ever").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the disk of the audit journal did not answer within 5s; 1 events wait and may be lost"
    );
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    // When the disk comes back the journal still ends in order.
    let written = disk.recover(large(0).event_id.into());
    recording.await.unwrap().unwrap();
    written.join().unwrap();
}

#[tokio::test]
async fn an_access_that_is_given_up_after_its_line_was_made_is_not_recorded_as_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let now = Timestamp::from_millis(START);
    let (store, _) = Store::open(&audit, Retention::default(), now).unwrap();
    let mut writer = Writer {
        store,
        clock: Arc::new(move || now),
        floods: Arc::new(Floodgates::new(FloodRule::default())),
        counters: Arc::default(),
        pending: PerFamily::default(),
        promises: Arc::new(Promises::new(Arc::default())),
        bells: Bells::default(),
        tidied_at: now,
        hurries: false,
    };
    let places = Arc::new(Semaphore::new(10));
    let (desks, (inbox, _events)) = (Desks::default(), mpsc::channel());
    let desk = desks.here(&inbox).unwrap();
    let mut callers = Vec::new();
    for number in 0..3 {
        let (caller, answer) = oneshot::channel();
        callers.push(answer);
        let queued = Queued {
            event: Box::new(permitted(number)),
            target: Target::Claimed,
            caller: Waiting::at(Arc::clone(&desk), caller),
            place: Arc::clone(&places).acquire_owned().await.unwrap(),
        };
        writer.admit(queued, now);
    }
    drop(callers.remove(1));
    writer.commit_all(now);
    for answer in callers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(
        everything(&audit).0,
        [permitted(0), not_answered(permitted(1)), permitted(2)]
    );
    assert_eq!(places.available_permits(), 10);
}

#[tokio::test]
async fn where_a_thread_writes_by_itself_a_disk_that_hangs_holds_up_that_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let disk = HungDisk::under(&audit);
    let journal = Arc::new(Journal::open(config(&dir)).unwrap());
    let (one, other) = (writing(), writing());
    let ((_, one), (_, other)) = (&one, &other);
    let record = |event| {
        let journal = Arc::clone(&journal);
        async move { journal.record(event).await }
    };
    let stuck = one.runtime().spawn(record(large(0)));
    disk.wait_until_it_hangs();
    let asked = one.runtime().spawn(async {});

    // Elsewhere a call is refused in its time, and the journal still answers for itself.
    let late = record(permitted(1));
    let given_up = async { timeout(MOMENT, late).await.is_err() };
    assert!(other.runtime().spawn(given_up).await.unwrap());
    assert!(!asked.is_finished(), "its thread writes");
    assert_eq!(journal.status().failing, None);

    let written = disk.recover(large(0).event_id.into());
    stuck.await.unwrap().unwrap();
    asked.await.unwrap();
    journal.flush().await.unwrap();
    assert!(
        !written
            .join()
            .unwrap()
            .contains(permitted(1).event_id.as_str())
    );
    assert_eq!(
        events_of(&audit, Family::Denied),
        [not_answered(permitted(1))]
    );
}
