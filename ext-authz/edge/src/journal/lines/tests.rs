use std::{fs::OpenOptions, io::Write as _};

use super::*;
use crate::journal::tests::permitted;

fn line(number: u32) -> Vec<u8> {
    let mut line = serde_json::to_vec(&permitted(number)).unwrap();
    line.push(b'\n');
    line
}

#[test]
fn a_line_that_grows_is_read_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let mut lines = Lines::open(&path).unwrap();
    let line = line(1);
    for byte in &line {
        assert_eq!(lines.next_event().unwrap(), None);
        file.write_all(&[*byte]).unwrap();
    }
    assert_eq!(lines.next_event().unwrap(), Some(permitted(1)));
    assert_eq!(lines.next_event().unwrap(), None);
    assert_eq!(lines.skipped, 0);
}

#[test]
fn a_beginning_that_is_cut_away_again_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    std::fs::write(&path, line(1)).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let mut lines = Lines::open(&path).unwrap();
    assert_eq!(lines.next_event().unwrap(), Some(permitted(1)));
    let end = file.metadata().unwrap().len();
    file.write_all(&line(2)[..200]).unwrap();
    assert_eq!(lines.next_event().unwrap(), None);
    assert!(lines.has_torn_end());
    file.set_len(end).unwrap();
    assert!(!lines.has_torn_end());
    file.write_all(&line(3)).unwrap();
    assert_eq!(lines.next_event().unwrap(), Some(permitted(3)));
    assert_eq!(lines.skipped, 0);
}

#[test]
fn a_file_that_was_emptied_is_read_from_its_new_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    std::fs::write(&path, [line(1), line(2)].concat()).unwrap();
    let mut lines = Lines::open(&path).unwrap();
    assert_eq!(lines.by_ref_all(), [permitted(1), permitted(2)]);
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    assert_eq!(lines.next_event().unwrap(), None);
    file.write_all(&line(3)).unwrap();
    assert_eq!(lines.by_ref_all(), [permitted(3)]);
}

#[test]
fn a_line_without_end_is_skipped_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let endless = vec![b'{'; 5 * MAX_LINE_BYTES];
    std::fs::write(&path, [line(1), endless, b"\n".to_vec(), line(2)].concat()).unwrap();
    let mut lines = Lines::open(&path).unwrap();
    assert_eq!(lines.by_ref_all(), [permitted(1), permitted(2)]);
    assert_eq!(lines.skipped, 1);
    assert!(lines.buffer.capacity() <= 4 * MAX_LINE_BYTES);
}

impl Lines {
    fn by_ref_all(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next_event().unwrap()).collect()
    }
}
