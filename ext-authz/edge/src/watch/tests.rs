use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind, RemoveKind, RenameMode},
};
use tokio::time::{Instant, timeout};

use super::{Activity, Folders, POLL, QUIET, WRITING, Watch};

/// Less than a poll, so that only what the kernel told can be the reason.
const TOLD: Duration = Duration::from_secs(5);

fn everything_in(folder: &Path) -> Folders {
    let mut folders = Folders::default();
    folders.add(folder.canonicalize().unwrap());
    folders
}

fn following(folders: Folders) -> Watch {
    let mut watch = Watch::new();
    watch.follow(folders);
    watch
}

async fn is_told(watch: &mut Watch) -> bool {
    timeout(TOLD, watch.settled()).await.is_ok()
}

#[tokio::test]
async fn a_file_that_is_written_renamed_or_removed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = following(everything_in(folder.path()));
    let (file, other) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&file, "1").unwrap();
    assert!(is_told(&mut watch).await);
    fs::rename(&file, &other).unwrap();
    assert!(is_told(&mut watch).await);
    fs::remove_file(&other).unwrap();
    assert!(is_told(&mut watch).await);
    assert!(!watch.is_disturbed());
}

#[tokio::test]
async fn reading_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    fs::write(&file, "1").unwrap();
    let mut watch = following(everything_in(folder.path()));
    fs::read(&file).unwrap();
    fs::read_dir(folder.path()).unwrap().count();
    // The kernel tells in order, so the first thing told is the write.
    fs::write(&file, "2").unwrap();
    assert!(is_told(&mut watch).await);
    fs::read(&file).unwrap();
    assert!(timeout(QUIET * 3, watch.settled()).await.is_err());
}

#[tokio::test]
async fn a_folder_of_one_entry_tells_of_that_entry_alone() {
    let folder = tempfile::tempdir().unwrap();
    let entry = folder.path().join("policies");
    let mut folders = Folders::default();
    folders.add_entry(&entry);
    let mut watch = following(folders);
    fs::write(folder.path().join("log"), "1").unwrap();
    assert!(timeout(QUIET * 3, watch.settled()).await.is_err());
    fs::create_dir(&entry).unwrap();
    assert!(is_told(&mut watch).await);
}

#[tokio::test]
async fn a_folder_that_took_the_name_of_another_is_followed() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("policies");
    fs::create_dir(&folder).unwrap();
    let mut watch = following(everything_in(&folder));
    fs::rename(&folder, parent.path().join("old")).unwrap();
    fs::create_dir(&folder).unwrap();
    watch.follow(everything_in(&folder));
    while watch.is_disturbed() {
        watch.settled().await;
    }
    fs::write(folder.join("a"), "1").unwrap();
    assert!(is_told(&mut watch).await);
}

#[tokio::test]
async fn a_change_is_held_back_while_its_file_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = following(everything_in(folder.path()));
    let mut file = File::create(folder.path().join("a")).unwrap();
    file.write_all(b"half").unwrap();
    file.flush().unwrap();
    assert!(timeout(QUIET * 5, watch.settled()).await.is_err());
    drop(file);
    assert!(is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_tells_of_is_looked_at_all_the_same() {
    let mut watch = following(Folders::default());
    let began = Instant::now();
    watch.settled().await;
    assert_eq!(began.elapsed(), POLL + QUIET);
}

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(PathBuf::from(path))
}

const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

#[test]
fn a_write_holds_until_it_is_closed_removed_or_renamed() {
    let now = Instant::now();
    for end in [
        CLOSE,
        EventKind::Remove(RemoveKind::File),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)),
    ] {
        let mut activity = Activity::default();
        assert!(activity.note(&event(EventKind::Create(CreateKind::File), "/a"), now));
        assert_eq!(activity.held_until(), None);
        assert!(activity.note(&event(WRITE, "/a"), now));
        assert!(activity.note(&event(WRITE, "/b"), now));
        assert_eq!(activity.held_until(), Some(now + WRITING));
        assert!(activity.note(&event(end, "/a"), now));
        assert!(activity.note(&event(CLOSE, "/b"), now));
        assert_eq!(activity.held_until(), None, "{end:?}");
    }
}

#[test]
fn a_write_that_nobody_closes_holds_for_a_while_and_not_for_ever() {
    let now = Instant::now();
    let mut activity = Activity::default();
    activity.note(&event(WRITE, "/a"), now);
    activity.note(&event(WRITE, "/a"), now + WRITING / 2);
    assert_eq!(activity.held_until(), Some(now + WRITING));
    activity.note(&event(CLOSE, "/b"), now + WRITING);
    assert_eq!(activity.held_until(), None);
}

#[test]
fn opening_and_reading_are_not_told() {
    let mut activity = Activity::default();
    for kind in [
        AccessKind::Open(AccessMode::Any),
        AccessKind::Close(AccessMode::Read),
        AccessKind::Read,
    ] {
        assert!(!activity.note(&event(EventKind::Access(kind), "/a"), Instant::now()));
    }
}
