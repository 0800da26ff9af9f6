use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use tempfile::TempDir;

use super::*;

/// A directory with two documents and something else.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("one.yaml"), "one").unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    fs::write(directory.path().join("below/two.yaml"), "two").unwrap();
    fs::write(directory.path().join("README"), "no document").unwrap();
    directory
}

/// So long after the last change that it is certain.
fn later(directory: &TempDir, seconds: i64) -> Timestamp {
    let changed = fs::metadata(directory.path().join("one.yaml")).unwrap();
    Timestamp::from_seconds(changed.ctime() + 10 + seconds)
}

#[test]
fn a_directory_that_nobody_touched_stands_as_it_did_for_a_minute() {
    let directory = directory();
    let stamps = |seconds| Stamps::of(directory.path(), later(&directory, seconds)).unwrap();
    assert!(stamps(0).still_hold(&stamps(0)));
    assert!(stamps(0).still_hold(&stamps(59)));
    assert!(!stamps(0).still_hold(&stamps(60)));
    assert!(
        !stamps(1).still_hold(&stamps(0)),
        "a clock that was set back"
    );
}

#[test]
fn what_changed_a_moment_before_it_was_read_is_read_again() {
    let directory = directory();
    let stamps = |seconds| Stamps::of(directory.path(), later(&directory, seconds)).unwrap();
    assert!(!stamps(-9).still_hold(&stamps(0)));
    assert!(!stamps(-20).still_hold(&stamps(0)), "a change to come");
}

type Change = fn(&Path);

/// Until the file system's clock has gone on, which ticks every few milliseconds.
fn rewrite(directory: &Path) {
    let one = directory.join("one.yaml");
    let before = Stamp::of(&one);
    while Stamp::of(&one) == before {
        fs::write(&one, "two").unwrap();
    }
}

#[test]
fn every_change_of_a_document_is_seen() {
    let changes: [(&str, Change); 6] = [
        ("as long a text", rewrite),
        ("a new document", |path| {
            fs::write(path.join("new.json"), "{}").unwrap()
        }),
        ("one less", |path| {
            fs::remove_file(path.join("below/two.yaml")).unwrap()
        }),
        ("another name", |path| {
            fs::rename(path.join("one.yaml"), path.join("other.yaml")).unwrap();
        }),
        ("another file of that name", |path| {
            fs::write(path.join("new"), "one").unwrap();
            fs::rename(path.join("new"), path.join("one.yaml")).unwrap();
        }),
        ("a link", |path| {
            symlink("README", path.join("linked.yaml")).unwrap()
        }),
    ];
    for (change, make) in changes {
        let directory = directory();
        let now = later(&directory, 0);
        let before = Stamps::of(directory.path(), now).unwrap();
        make(directory.path());
        let after = Stamps::of(directory.path(), now).unwrap();
        assert!(!before.still_hold(&after), "{change}");
    }
}

#[test]
fn what_is_no_document_may_change() {
    let directory = directory();
    let now = later(&directory, 0);
    let before = Stamps::of(directory.path(), now).unwrap();
    fs::write(directory.path().join("README"), "still no document").unwrap();
    fs::write(directory.path().join(".hidden.yaml"), "hidden").unwrap();
    assert!(before.still_hold(&Stamps::of(directory.path(), now).unwrap()));
}

#[test]
fn a_directory_that_cannot_be_looked_at_has_no_stamps() {
    assert!(Stamps::of(Path::new("/nowhere"), Timestamp::from_seconds(0)).is_none());
}
