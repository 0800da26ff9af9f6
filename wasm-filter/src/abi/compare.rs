//! The name that the compiler calls where slices and texts are compared.

use crate::compare::order;

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    if length == 0 {
        // They may point anywhere then.
        return 0;
    }
    // SAFETY: whoever calls has `length` bytes to read at both.
    let (one, other) = unsafe {
        (
            core::slice::from_raw_parts(one, length),
            core::slice::from_raw_parts(other, length),
        )
    };
    order(one, other)
}
