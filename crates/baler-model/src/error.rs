//! What to do about an error.

/// Says what a caller should do about an error; every public error of Baler has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The same call may succeed later: retry with backoff.
    Transient,
    /// Somebody else moved first: read again, decide again.
    Contended,
    /// The configuration, the command line or the set-up must change first.
    Invalid,
    /// The data itself is at fault: set it aside or give up its group.
    Data,
    /// A promise of ours was broken: a bug in Baler.
    Internal,
}
