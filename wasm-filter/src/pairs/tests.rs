//! Header maps, whole and cut.

use proptest::prelude::*;

use super::{Pair, write};

/// The headers that were shown, and the same when they are asked for again.
fn read(bytes: &[u8]) -> Option<Vec<Pair<'_>>> {
    let mut shown = Vec::new();
    let pairs = super::read(bytes, |pair| shown.push(pair))?;
    assert_eq!(pairs.iter().collect::<Vec<_>>(), shown);
    Some(shown)
}

#[test]
fn what_is_written_is_read() {
    let map: &[(&str, &[u8])] = &[(":path", b"/a"), ("x", b""), ("y", b"\xff\0\x80")];
    let bytes = write(map);
    let read = read(&bytes).expect("a map");
    let expected: Vec<_> = map
        .iter()
        .map(|(name, value)| (name.as_bytes(), *value))
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn no_bytes_are_no_headers() {
    assert_eq!(read(b""), Some(Vec::new()));
    assert_eq!(read(&0_u32.to_le_bytes()), Some(Vec::new()));
}

#[test]
fn a_map_that_is_cut_anywhere_is_no_map() {
    let bytes = write(&[("name", b"value"), ("other", b"one")]);
    for length in 1..bytes.len() {
        assert_eq!(read(&bytes[..length]), None, "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }
}
