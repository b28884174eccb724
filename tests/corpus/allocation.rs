//! Counts what a thread holds of the heap, so that an input that makes a reader take too much is found.
#![expect(
    unsafe_code,
    reason = "an allocator cannot be had otherwise; every call is handed on to the system's as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes allocated and not freed by this thread; negative where it freed what another one allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most since [`peak_of`] began.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
pub(crate) struct Counting;

fn grow(bytes: usize) {
    // A layout never has more than isize::MAX bytes.
    let held = HELD.get().wrapping_add_unsigned(bytes);
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

fn shrink(bytes: usize) {
    HELD.set(HELD.get().wrapping_sub_unsigned(bytes));
}

// SAFETY: every method hands its arguments to `System` and returns what that returns; the counters are plain cells
// without a destructor, so touching them allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract, and all memory came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // For a moment both may be there.
        grow(new_size);
        shrink(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract, and all memory came from `System`.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

/// The most bytes that `work` held at once on this thread.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    PEAK.get().wrapping_sub(before).unsigned_abs()
}
