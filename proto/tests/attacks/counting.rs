//! An allocator that counts, so that "bounded memory" is a number.
//!
//! The only unsafe code of this test: [`GlobalAlloc`] is an unsafe trait. Each call is handed on to [`System`] as it
//! is; what is added are two numbers of the calling thread.
#![expect(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn more(bytes: usize) {
    // Fails only while a thread ends, when nobody measures.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

fn less(bytes: usize) {
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

// SAFETY: every method hands its arguments to `System` unchanged, under the same contract, and returns its result.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promise about `layout` is the one `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: `at` came from `System` by the methods here, with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        // Both may exist at once.
        more(new);
        less(layout.size());
        // SAFETY: as for `dealloc`; `new` is the caller's promise.
        unsafe { System.realloc(at, layout, new) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` returns, and the most bytes this thread held for it at once.
pub(crate) fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let done = work();
    (done, PEAK.get().saturating_sub(before))
}

#[test]
fn what_is_held_at_once_is_counted() {
    let (_, peak) = peak_bytes(|| {
        drop(vec![1_u8; 3_000_000]);
        vec![1_u8; 1_000_000]
    });
    assert!((3_000_000..3_100_000).contains(&peak), "{peak}");
}
