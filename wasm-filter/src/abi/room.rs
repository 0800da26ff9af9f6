//! Where Envoy writes what it is asked for: one piece of memory again and again, so that a request that is answered
//! from memory needs nothing of the allocator.

use core::{cell::Cell, mem, ptr};

/// What the piece holds at least, so that most headers fit, and at most, so that a large answer is not kept.
const LEAST: usize = 4096;
const MOST: usize = 64 * 1024;

thread_local! {
    /// The piece, unless somebody has it.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The last that was handed out, and its capacity.
    static HANDED: Cell<(*mut u8, usize)> = const { Cell::new((ptr::null_mut(), 0)) };
}

/// Hands out `length` bytes, for [`take`] to take back; null if there are none.
pub(super) fn hand(length: usize) -> *mut u8 {
    let mut room = SPARE.take();
    if room.capacity() < length || room.capacity() == 0 {
        room = Vec::new();
        // Nothing is gained by less than is kept anyway.
        if room.try_reserve_exact(length.max(LEAST)).is_err() {
            return ptr::null_mut();
        }
    }
    let data = room.as_mut_ptr();
    HANDED.set((data, room.capacity()));
    mem::forget(room);
    data
}

/// Takes back what was handed out last, with `length` bytes written; `None` if `data` is not that.
pub(super) fn take(data: *mut u8, length: usize) -> Option<Vec<u8>> {
    let (handed, capacity) = HANDED.get();
    if handed.is_null() || handed != data || length > capacity {
        return None;
    }
    // Nobody takes it twice.
    HANDED.set((ptr::null_mut(), 0));
    // SAFETY: the piece is a vector of that capacity, which nobody else has taken back, and Envoy filled it.
    Some(unsafe { Vec::from_raw_parts(handed, length, capacity) })
}

/// Keeps a piece for the next time.
pub(super) fn give_back(room: Vec<u8>) {
    if (LEAST..=MOST).contains(&room.capacity()) {
        SPARE.set(room);
    }
}
