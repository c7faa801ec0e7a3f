//! Which fault is switched on. Written into the mutated copy by `tools/mutate`, never into Baler.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 256;

static ACTIVE: LazyLock<u32> =
    LazyLock::new(|| std::env::var("BALER_MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or(u32::MAX));
static TRACE: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("BALER_MUTANT_TRACE")?;
    OpenOptions::new().create(true).append(true).open(path).ok()
});
static REACHED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Whether this fault is switched on; with `BALER_MUTANT_TRACE`, keeps that it was asked.
#[inline(never)]
pub fn on(id: u32) -> bool {
    if let Some(mut trace) = TRACE.as_ref() {
        let bit = 1u64 << (id % 64);
        if REACHED[id as usize / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            trace.write_all(format!("{id}\n").as_bytes()).ok();
        }
    }
    id == *ACTIVE
}
