use proptest::prelude::*;

use super::*;

#[test]
fn an_event_id_is_a_lower_case_ulid() {
    // The example of the ULID specification: 01ARZ3NDEKTSV4RRFFQ69G5FAV.
    let random = [0xd6, 0x76, 0x4c, 0x61, 0xef, 0xb9, 0x93, 0x02, 0xbd, 0x5b];
    let id = event_id(Timestamp::from_millis(1_469_922_850_259), random);
    assert_eq!(id, "evt_01arz3ndektsv4rrffq69g5fav");
}

#[test]
fn a_token_id_names_its_environment_and_128_bits() {
    let random = *b"\x00\x01\x02\x03\xfc\xfd\xfe\xff\x10\x20\x30\x40\x50\x60\x70\x80";
    assert_eq!(
        token_id("prod", random),
        "tok_prod_00010203fcfdfeff1020304050607080"
    );
}

proptest! {
    #[test]
    fn event_ids_sort_by_time(earlier in 0..0xffff_ffff_ffff_i64, random: [u8; 10], other: [u8; 10]) {
        let first = event_id(Timestamp::from_millis(earlier), random);
        let second = event_id(Timestamp::from_millis(earlier + 1), other);
        prop_assert!(first < second);
    }

    #[test]
    fn every_moment_gives_thirty_characters_of_the_alphabet(millis: i64, random: [u8; 10]) {
        let id = event_id(Timestamp::from_millis(millis), random);
        prop_assert_eq!(id.len(), 30);
        prop_assert!(id.bytes().skip(4).all(|byte| CROCKFORD.contains(&byte)));
    }
}
