//! Identifiers of events and tokens, made from time and randomness that the caller brings.

use alloc::{format, string::String};
use core::fmt::Write as _;

use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// Crockford's base 32 in lower case, the alphabet of a ULID.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `evt_` and a lower-case ULID: 48 bits of milliseconds, then 80 random bits, so that identifiers
/// sort by time.
pub fn event_id(now: Timestamp, random: [u8; 10]) -> String {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    let entropy = random
        .iter()
        .fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let value = (u128::from(millis) << 80) | entropy;
    let mut id = String::with_capacity(30);
    id.push_str("evt_");
    for digit in (0..26_u32).rev() {
        let index = usize::try_from((value >> digit.saturating_mul(5)) & 31).unwrap_or(0);
        id.push(char::from(CROCKFORD.get(index).copied().unwrap_or(b'0')));
    }
    id
}

/// `tok_<environment>_<128-bit hex>`: the `jti` of a token and the `token_id` of its event.
pub fn token_id(environment: &str, random: [u8; 16]) -> String {
    let mut id = format!("tok_{environment}_");
    for byte in random {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
