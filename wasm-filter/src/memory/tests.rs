//! What is remembered, and that it never grows beyond its bound.

use proptest::prelude::*;

use super::Memory;

fn of(most: usize) -> Memory<Vec<u8>, u32> {
    Memory::of_bytes(most)
}

fn get(memory: &mut Memory<Vec<u8>, u32>, key: &[u8]) -> Option<u32> {
    memory.look(key, |value| *value)
}

#[test]
fn what_was_put_in_is_found_by_its_whole_key() {
    let mut memory = of(10_000);
    let long = |first: u8| [vec![first], vec![7; 64]].concat();
    memory.insert(long(1), 1, 65);
    // The same tail, and so the same hash.
    memory.insert(long(2), 2, 65);
    assert_eq!(get(&mut memory, &long(1)), Some(1));
    assert_eq!(get(&mut memory, &long(2)[..]), Some(2));
    assert_eq!(get(&mut memory, &long(3)[..]), None);
}

#[test]
fn what_is_used_outlives_what_is_not() {
    let mut memory = of(10_000);
    memory.insert(b"used".to_vec(), 1, 100);
    memory.insert(b"unused".to_vec(), 2, 100);
    for number in 0..200_u32 {
        memory.insert(number.to_le_bytes().to_vec(), number, 100);
        assert_eq!(get(&mut memory, &b"used"[..]), Some(1), "{number}");
    }
    assert_eq!(get(&mut memory, &b"unused"[..]), None);
}

#[test]
fn what_is_too_large_is_not_kept() {
    let mut memory = of(8_000);
    memory.insert(b"large".to_vec(), 1, 1_000);
    assert_eq!(get(&mut memory, &b"large"[..]), None);
    assert_eq!(memory.bytes(), 0);
}

#[test]
fn a_key_is_replaced_and_can_be_forgotten() {
    let mut memory = of(10_000);
    memory.insert(b"key".to_vec(), 1, 100);
    memory.insert(b"key".to_vec(), 2, 200);
    assert_eq!(get(&mut memory, &b"key"[..]), Some(2));
    assert_eq!(memory.bytes(), 264);
    memory.remove(&b"key"[..]);
    assert_eq!(get(&mut memory, &b"key"[..]), None);
    assert_eq!(memory.bytes(), 0);
}

proptest! {
    #[test]
    fn it_never_grows_beyond_its_bound(keys: Vec<(u8, u16)>) {
        let mut memory = of(20_000);
        for (key, size) in keys {
            memory.insert(vec![key], 0, usize::from(size));
            let _ = get(&mut memory, &[key / 2]);
            prop_assert!(memory.bytes() <= 20_000);
        }
    }
}
