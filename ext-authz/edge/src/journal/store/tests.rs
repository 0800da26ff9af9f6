use super::*;
use crate::journal::tests::START;

const LINE: &[u8] = &[b'\n'; 100];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn retention() -> Retention {
    Retention {
        segment_bytes: 1000,
        segment_age: Duration::from_secs(3600),
        permitted_bytes: 5000,
        passed_bytes: 3000,
        denied_bytes: 3000,
        max_age: Duration::from_secs(24 * 3600),
        reserve_bytes: 0,
    }
}

fn open(dir: &Path, retention: Retention, now: Timestamp) -> Store {
    let (store, full) = Store::open(dir, retention, now).unwrap();
    assert!(full.is_none());
    store
}

fn bytes(dir: &Path, family: Family) -> u64 {
    let segments = SegmentName::list(dir, family).unwrap();
    segments
        .iter()
        .map(|name| fs::metadata(dir.join(name.to_string())).unwrap().len())
        .sum()
}

#[test]
fn neither_denials_nor_what_passed_take_the_place_of_permits() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), retention(), at(0));
    for second in 0..30 {
        store.append(Family::Permitted, LINE, at(second)).unwrap();
        store.keep_to_budgets(at(second));
    }
    for second in 30..3000 {
        for family in [Family::Passed, Family::Denied] {
            store.append(family, LINE, at(second)).unwrap();
            store.keep_to_budgets(at(second));
            assert!(bytes(dir.path(), family) <= 3000);
        }
    }
    assert_eq!(bytes(dir.path(), Family::Permitted), 3000);
    assert!(bytes(dir.path(), Family::Passed) >= 2000);
    assert!(bytes(dir.path(), Family::Denied) >= 2000);
    let (segments, total) = store.size();
    let listed = Family::ALL.map(|family| SegmentName::list(dir.path(), family).unwrap().len());
    assert_eq!(segments, listed.iter().sum::<usize>());
    let sizes = Family::ALL.map(|family| bytes(dir.path(), family));
    assert_eq!(total, sizes.iter().sum::<u64>());
}

#[test]
fn a_full_segment_is_followed_by_a_new_one_and_no_segment_outgrows_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), retention(), at(0));
    for _ in 0..25 {
        // The clock stands still: names still differ.
        store.append(Family::Permitted, LINE, at(0)).unwrap();
    }
    let segments = SegmentName::list(dir.path(), Family::Permitted).unwrap();
    let lengths: Vec<_> = segments
        .iter()
        .map(|name| {
            fs::metadata(dir.path().join(name.to_string()))
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(lengths, [1000, 1000, 500]);
}

#[test]
fn a_segment_of_full_age_is_closed_and_an_old_one_deleted_while_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), retention(), at(0));
    store.append(Family::Permitted, LINE, at(0)).unwrap();
    store.tidy(at(3599)).unwrap();
    let count = || {
        SegmentName::list(dir.path(), Family::Permitted)
            .unwrap()
            .len()
    };
    assert_eq!(count(), 1);
    store.tidy(at(3600)).unwrap();
    assert_eq!(count(), 2);
    // An empty segment is not closed, however old.
    store.tidy(at(3600 + 24 * 3600)).unwrap();
    assert_eq!((count(), bytes(dir.path(), Family::Permitted)), (2, 100));
    store.tidy(at(3601 + 24 * 3600)).unwrap();
    assert_eq!((count(), bytes(dir.path(), Family::Permitted)), (1, 0));
    store
        .append(Family::Permitted, LINE, at(3602 + 24 * 3600))
        .unwrap();
    assert_eq!(bytes(dir.path(), Family::Permitted), 100);
}

#[test]
fn the_segment_in_use_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let tight = Retention {
        permitted_bytes: 2000,
        passed_bytes: 2000,
        denied_bytes: 2000,
        ..retention()
    };
    let mut store = open(dir.path(), tight, at(0));
    // A line that is larger than the whole budget still is written.
    store
        .append(Family::Permitted, &vec![b'\n'; 9000], at(0))
        .unwrap();
    store.tidy(at(1)).unwrap();
    assert_eq!(bytes(dir.path(), Family::Permitted), 9000);
    store.append(Family::Permitted, LINE, at(2)).unwrap();
    store.keep_to_budgets(at(2));
    assert_eq!(bytes(dir.path(), Family::Permitted), 100);
}

#[test]
fn only_permits_make_no_room_for_the_filesystems_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = Retention {
        reserve_bytes: u64::MAX,
        ..retention()
    };
    let mut store = open(dir.path(), reserve, at(0));
    for second in 0..25 {
        for family in Family::ALL {
            store.append(family, LINE, at(second)).unwrap();
            store.keep_to_budgets(at(second));
        }
    }
    assert_eq!(bytes(dir.path(), Family::Permitted), 2500);
    assert_eq!(bytes(dir.path(), Family::Passed), 500);
    assert_eq!(bytes(dir.path(), Family::Denied), 500);
}

#[test]
fn a_store_goes_on_with_the_segments_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), retention(), at(0));
    store.append(Family::Denied, LINE, at(0)).unwrap();
    drop(store);
    let mut store = open(dir.path(), retention(), at(50));
    store.append(Family::Denied, LINE, at(50)).unwrap();
    assert_eq!(
        SegmentName::list(dir.path(), Family::Denied).unwrap().len(),
        1
    );
    assert_eq!(bytes(dir.path(), Family::Denied), 200);
    // A budget that was made smaller holds from the start on.
    drop(store);
    fs::write(
        dir.path().join("denied-20200101T000000.000Z.jsonl"),
        vec![b'\n'; 5000],
    )
    .unwrap();
    drop(open(dir.path(), retention(), at(51)));
    assert_eq!(bytes(dir.path(), Family::Denied), 200);
}

#[test]
fn a_probe_tells_whether_the_directory_takes_anything_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, away) = (dir.path().join("audit"), dir.path().join("away"));
    let mut store = open(&audit, retention(), at(0));
    store.probe(at(1)).unwrap();
    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, b"").unwrap();
    store.probe(at(2)).unwrap_err();
    fs::remove_file(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    let files = || fs::read_dir(&audit).unwrap().count();
    let before = files();
    store.probe(at(3)).unwrap();
    assert_eq!(files(), before);
    // As appending does, it makes a directory that somebody removed.
    fs::remove_dir_all(&audit).unwrap();
    store.probe(at(4)).unwrap();
}
