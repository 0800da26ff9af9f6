//! The same order as that of slices.

use core::cmp::Ordering;

use proptest::prelude::*;

use super::order;

fn told(one: &[u8], other: &[u8]) -> Ordering {
    order(one, other).cmp(&0)
}

#[test]
fn pieces_of_any_length_differ_by_any_of_their_bytes() {
    for length in 0..40 {
        let one = vec![0x80; length];
        assert_eq!(told(&one, &one), Ordering::Equal, "{length}");
        for at in 0..length {
            for byte in [0, 0x7f, 0x81, 0xff] {
                let mut other = one.clone();
                other[at] = byte;
                assert_eq!(told(&one, &other), one.cmp(&other), "{length} {at}");
                assert_eq!(told(&other, &one), other.cmp(&one), "{length} {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_the_order_of_slices(pairs: Vec<(u8, u8)>) {
        let (one, other): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
        prop_assert_eq!(told(&one, &other), one.cmp(&other));
    }
}
