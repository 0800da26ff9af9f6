use super::*;

/// Some of them too long to stand in an entry.
fn text(number: usize) -> String {
    format!("{}{number}", "long-".repeat(number % 12))
}

#[test]
fn every_text_is_found_again_however_long_it_is_and_however_many_came_after_it() {
    let mut table = Table::default();
    for number in 0..5_000 {
        table.insert(text(number).as_bytes(), number);
    }
    table.shrink_to_fit();
    for number in 0..5_000 {
        assert_eq!(table.get(text(number).as_bytes()), Some(&number));
    }
    assert_eq!(table.get(text(5_000).as_bytes()), None);
    assert_eq!(table.get(b""), None);
}

#[test]
fn what_is_put_under_a_known_text_replaces_what_stood_there() {
    let mut table = Table::with_room(1);
    table.insert(b"host", 1);
    table.insert(b"host", 2);
    assert_eq!(table.get(b"host"), Some(&2));
    *table.get_mut(b"host").unwrap() += 1;
    assert_eq!(table.get(b"host"), Some(&3));
    assert!(table.get_mut(b"hos").is_none());
}
