use std::os::unix::fs::symlink;

use super::*;
use crate::journal::tests::START;

fn name(millis: i64) -> SegmentName {
    SegmentName {
        family: Family::Permitted,
        started_at: Timestamp::from_millis(START + millis),
    }
}

#[test]
fn a_name_is_read_back_as_it_was_written_and_nothing_else_is_a_name() {
    assert_eq!(name(0).to_string(), "permitted-20260614T034722.341Z.jsonl");
    for millis in [0, 1, 659, 86_400_000] {
        assert_eq!(
            SegmentName::parse(&name(millis).to_string()),
            Some(name(millis))
        );
    }
    let others = [
        "journal.lock",
        "permitted-.jsonl",
        "permitted-20260614T034722.341Z.jsonl.gz",
        "permitted-20260614T034722.341Z",
        "permitted-20260614t034722.341z.jsonl",
        "permitted-20260614T034722.34100Z.jsonl",
        "permitted-20260614T034722Z.jsonl",
        "permitted-20261314T034722.341Z.jsonl",
        "allowed-20260614T034722.341Z.jsonl",
        "permitted-2026061\u{661}T034722.341Z.jsonl",
    ];
    for other in others {
        assert_eq!(SegmentName::parse(other), None, "{other}");
    }
}

#[test]
fn a_clock_that_was_set_back_still_gives_later_names() {
    let next = name(0).successor(Timestamp::from_millis(START - 3_600_000));
    assert_eq!(next, name(1));
    assert_eq!(
        name(0).successor(Timestamp::from_millis(START + 5)),
        name(5)
    );
}

#[test]
fn the_last_line_feed_is_found_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    for (whole, torn) in [
        (0, 0),
        (0, 1),
        (1, 0),
        (5, 16 * 1024),
        (16 * 1024, 1),
        (40_000, 40_000),
    ] {
        let mut text = vec![b'a'; whole];
        if let Some(last) = text.last_mut() {
            *last = b'\n';
        }
        text.extend(vec![b'b'; torn]);
        fs::write(dir.path().join(name(0).to_string()), &text).unwrap();
        let (segment, cut) = Segment::reopen(dir.path(), name(0)).unwrap();
        assert_eq!((segment.length, cut), (whole as u64, torn as u64));
        assert_eq!(segment.file.metadata().unwrap().len(), whole as u64);
    }
}

#[test]
fn what_follows_a_failed_append_begins_where_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let mut segment = Segment::create(dir.path(), name(0)).unwrap();
    assert_eq!(segment.append(b"one\n").unwrap(), Appended::InPlace);
    // As after a short write whose repair failed too.
    fs::OpenOptions::new()
        .append(true)
        .open(&segment.path)
        .unwrap()
        .write_all(b"tw")
        .unwrap();
    segment.torn = true;
    assert_eq!(segment.append(b"three\n").unwrap(), Appended::InPlace);
    assert_eq!(fs::read(&segment.path).unwrap(), b"one\nthree\n");
}

#[test]
fn an_append_to_a_file_that_was_moved_leaves_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut segment = Segment::create(dir.path(), name(0)).unwrap();
    segment.append(b"one\n").unwrap();
    let moved = dir.path().join("moved");
    fs::rename(&segment.path, &moved).unwrap();
    assert_eq!(segment.append(b"two\n").unwrap(), Appended::Elsewhere);
    assert_eq!(fs::read(&moved).unwrap(), b"one\n");
    fs::write(&segment.path, b"another file\n").unwrap();
    assert_eq!(segment.append(b"two\n").unwrap(), Appended::Elsewhere);
    assert_eq!(fs::read(&segment.path).unwrap(), b"another file\n");
}

#[test]
fn a_link_in_the_place_of_a_segment_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    fs::write(&target, b"keep\n").unwrap();
    symlink(&target, dir.path().join(name(0).to_string())).unwrap();
    assert!(Segment::reopen(dir.path(), name(0)).is_err());
    assert!(Segment::create(dir.path(), name(0)).is_err());
    assert_eq!(fs::read(&target).unwrap(), b"keep\n");
}
