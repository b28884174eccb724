//! The system's randomness, replaced in this test's process: the one place with `unsafe` here.
//!
//! The standard library seeds its hash maps with it, and Tokio the order in which `select!` looks at its branches. Both
//! decide the order of events, and neither can be given a seed on a stable toolchain, so `getrandom` of the C library is
//! defined here: on a thread that runs a simulation it yields bytes that follow from the seed. Every seed runs on a thread
//! of its own, so nothing is left over from the one before.
#![expect(unsafe_code, reason = "a function that C calls")]

use std::cell::RefCell;
use std::ffi::{c_uint, c_void};
use std::fs::File;
use std::io::Read;

use crate::chance::Chance;

thread_local! {
    static SEEDED: RefCell<Option<Chance>> = const { RefCell::new(None) };
}

/// From here on, this thread's randomness follows from `seed`.
pub(crate) fn seed_this_thread(seed: u64) {
    SEEDED.with(|seeded| *seeded.borrow_mut() = Some(Chance::of(seed, "entropy")));
}

/// What the C library's function of this name does: fills `len` bytes at `buffer`.
///
/// # Safety
/// `buffer` must be writable for `len` bytes, as for the function it stands for.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller's promise. Callers hand in buffers of bytes, for which any content is valid.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
    // Threads that are just starting or ending have no such variable; they get the system's.
    let seeded = SEEDED.try_with(|seeded| {
        let mut chance = seeded.try_borrow_mut().ok()?;
        Some(chance.as_mut()?.bytes(len))
    });
    match seeded {
        Ok(Some(bytes)) => buffer.copy_from_slice(&bytes),
        _ => {
            let filled = File::open("/dev/urandom").and_then(|mut file| file.read_exact(buffer));
            if filled.is_err() {
                return -1;
            }
        }
    }
    isize::try_from(len).unwrap_or(isize::MAX)
}
