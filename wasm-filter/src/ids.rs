//! Tables by the numbers that Envoy gives.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

use crate::host::ContextId;

/// A table by contexts.
pub(crate) type ByContext<V> = HashMap<ContextId, V, BuildHasherDefault<Spread>>;

/// Spreads numbers that are given one after another. Nobody but Envoy chooses them, so it need not be a secret how.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Self::FACTOR);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(Self::FACTOR);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Spread {
    /// 2^64 by the golden ratio: products of neighbours lie far apart (Fibonacci hashing).
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
}
