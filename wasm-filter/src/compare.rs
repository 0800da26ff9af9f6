//! Comparing bytes, eight at a time. The C library of the target compares them one by one, and names, keys and whole
//! tokens are compared on every request.

#[cfg(test)]
mod tests;

/// Which of two pieces of the same length comes first, as C's `memcmp` tells it.
///
/// It is what the compiler calls to compare slices, so it compares none itself.
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) fn order(one: &[u8], other: &[u8]) -> i32 {
    let ((ours, our_rest), (theirs, their_rest)) = (one.as_chunks(), other.as_chunks());
    for (ours, theirs) in ours.iter().zip(theirs) {
        if u64::from_ne_bytes(*ours) != u64::from_ne_bytes(*theirs) {
            // The first byte counts most.
            let less = u64::from_be_bytes(*ours) < u64::from_be_bytes(*theirs);
            return if less { -1 } else { 1 };
        }
    }
    for (ours, theirs) in our_rest.iter().zip(their_rest) {
        if ours != theirs {
            return if ours < theirs { -1 } else { 1 };
        }
    }
    0
}
