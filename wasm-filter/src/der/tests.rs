//! DER, byte by byte.

use attache_core::jwks::{Curve, Material};
use proptest::prelude::*;

use super::{public_key, signature};

#[test]
fn a_signature_is_two_integers_without_needless_zeros() {
    let mut fixed = vec![0; 64];
    fixed[31] = 1;
    fixed[32] = 0x80;
    let mut expected = vec![0x30, 3 + 2 + 33, 2, 1, 1, 2, 33, 0, 0x80];
    expected.extend([0; 31]);
    assert_eq!(signature(&fixed, 32), Some(expected));
    // Zero is one byte.
    assert_eq!(
        signature(&[0; 64], 32),
        Some(vec![0x30, 6, 2, 1, 0, 2, 1, 0])
    );
}

#[test]
fn a_signature_of_another_length_is_none() {
    for length in [0, 1, 63, 65, 96, 128] {
        assert_eq!(signature(&vec![1; length], 32), None, "{length}");
    }
}

#[test]
fn keys_have_the_lengths_of_their_kinds() {
    let ec = |curve: Curve| {
        let coordinate = vec![7; curve.coordinate_bytes()];
        public_key(&Material::Ec {
            curve,
            x: coordinate.clone(),
            y: coordinate,
        })
        .len()
    };
    assert_eq!(
        [ec(Curve::P256), ec(Curve::P384), ec(Curve::P521)],
        [91, 120, 158]
    );
    let rsa = Material::Rsa {
        n: vec![0xff; 256],
        e: vec![1, 0, 1],
    };
    assert_eq!(public_key(&rsa).len(), 294);
}

proptest! {
    #[test]
    fn no_signature_panics(bytes: Vec<u8>, coordinate in 0..200_usize) {
        let _ = signature(&bytes, coordinate);
    }
}
