//! Seeds that once failed. A seed names a schedule only as long as nothing draws differently: a fault of the engine that was
//! found here gets a test of its own beside its seed.

use super::schedule::holds;

/// An operator moved away the object that was to be replaced, and was not asked again: the watcher's operators now see it.
const MOVED_AWAY: u64 = 134;
/// A consumer took the Redshift manifest of an output whose upload and source were lost: the group can only be given up.
const DANGLING_MANIFEST: u64 = 1207;
/// An operator had looked, and spoke only when another process had made the output anew: `OPERATORS_SPEAK_AT_ONCE`.
const SPOKE_LATE: u64 = 5806;

#[test]
fn seeds_that_once_failed_hold() {
    for seed in [MOVED_AWAY, DANGLING_MANIFEST, SPOKE_LATE] {
        holds(seed);
    }
}
