//! The allocator of the binary, and when it gives freed memory back to the system.
//!
//! A crate of its own because setting mimalloc's options is a call into C: everything else forbids `unsafe` (ADR 0015).

use std::ffi::{c_int, c_long};
use std::time::Duration;

pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, whose numbers stay with their meaning; in milliseconds.
const PURGE_DELAY: c_int = 15;

/// For work that takes and frees the same memory again and again.
pub const SOON: Duration = Duration::from_millis(10);
/// What mimalloc has by itself.
pub const LATER: Duration = Duration::from_secs(1);

/// From now on pages that were freed go back to the system once they stayed unused for `delay`, in whole milliseconds.
///
/// What whoever runs the program says by `MIMALLOC_PURGE_DELAY` is left as it is.
pub fn give_back_after(delay: Duration) {
    let milliseconds = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    #[expect(unsafe_code, reason = "C; it takes any option and any number, and stores the number")]
    // SAFETY: both are plain numbers; mimalloc ignores options that it does not have. It stores an aligned word of its own table,
    // without a lock: this relies on the machine, where another thread that reads it meanwhile finds the old or the new number.
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, milliseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay() -> c_long {
        #[expect(unsafe_code, reason = "C; it reads a number")]
        // SAFETY: as above.
        unsafe {
            libmimalloc_sys::mi_option_get(PURGE_DELAY)
        }
    }

    /// That mimalloc begins with a second tells that it is this option, by this number.
    #[test]
    fn the_delay_is_set() {
        assert_eq!(delay(), 1_000, "mimalloc's default, unless `MIMALLOC_PURGE_DELAY` is set");
        give_back_after(SOON);
        assert_eq!(delay(), 10);
        give_back_after(LATER);
        assert_eq!(delay(), 1_000);
    }
}
