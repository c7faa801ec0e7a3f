//! The stitch planner: joins pieces of objects in their order by one multipart upload, server-side wherever possible.
//!
//! Given are pieces in a fixed order: ranges of objects that the store can copy by itself ([`Source::Copyable`]) and
//! bytes that this machine makes or holds ([`Source::Local`]: separators, headers). A multipart upload joins parts;
//! each part is a range of *one* piece copied server-side, or bytes uploaded from here, which may come from several
//! pieces. Every part but the last has at least `min_part` bytes, no part more than `max_part`, and an upload at most
//! `max_parts` parts.
//!
//! [`plan`] finds the exact optimum, in this order: fewest bytes of copyable pieces read into this machine, then fewest
//! requests. Requests are copied parts, uploaded parts, and one GET per contiguous range of a copyable piece that is
//! read. An uploaded part holds at most `target_read_part` bytes, so a run of `L` bytes that pass through this machine
//! costs `ceil(L / target_read_part)` uploaded parts. Where a run is cut into several parts, the cuts fall between
//! pieces if the limits allow; a cut inside a copyable range costs one more GET, which [`Requests::get`] reports but
//! which the optimum does not weigh.
//!
//! How the optimum is found, and why it is one, is said in `optimum.rs`. It needs `max_part >= 3 * min_part` and
//! `2 * min_part <= target_read_part <= max_part`; S3 is far from these bounds.
//!
//! Promises of every result, which the tests check against all ways of cutting:
//!
//! 1. the parts, one after the other, are the pieces, one after the other: each byte once, none else;
//! 2. all parts keep the limits, and none is empty: pieces without bytes leave no trace, and a join of nothing has no
//!    parts (the caller puts an empty object);
//! 3. each byte is read at most once.
//!
//! Everything here is pure: nothing is read, nothing written, and equal inputs give equal plans.

mod optimum;
#[cfg(test)]
mod tests;

use std::ops::AddAssign;

use baler_model::Kind;
use baler_store::{ByteRange, PartLimits};

use optimum::Fate;

/// Where the bytes of a piece are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// In an object that the store can copy by ranges; they may be read and uploaded as well.
    Copyable,
    /// On this machine: they are uploaded in any case and cost nothing to read.
    Local,
}

/// One piece of what is joined: a range of an object, or local bytes. Units: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Its length; may be zero.
    pub len: u64,
    /// Where its bytes are.
    pub source: Source,
}

impl Piece {
    /// A range of `len` bytes of an object that the store can copy.
    pub fn copyable(len: u64) -> Self {
        Self { len, source: Source::Copyable }
    }

    /// A number of bytes that this machine has: a separator, a header.
    pub fn local(len: u64) -> Self {
        Self { len, source: Source::Local }
    }
}

/// The sizes that parts may have. Units: bytes, parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Least size of every part but the last; at least 1.
    pub min_part: u64,
    /// Greatest size of a part; at least `3 * min_part`.
    pub max_part: u64,
    /// Most parts of one upload; at least 1.
    pub max_parts: u64,
    /// Greatest size of a part that is uploaded from here, and so the memory that one takes; at least `2 * min_part`,
    /// at most `max_part`.
    pub target_read_part: u64,
}

impl Limits {
    /// Takes the limits of a store and the wanted size of uploaded parts, brought into the bounds that the store sets.
    pub fn new(parts: &PartLimits, target_read_part: u64) -> Self {
        let min_part = parts.min.max(1);
        let least = min_part.saturating_mul(2);
        Self {
            min_part,
            max_part: parts.max,
            max_parts: u64::from(parts.count),
            target_read_part: target_read_part.min(parts.max).max(least),
        }
    }

    fn check(&self) -> Result<(), StitchError> {
        let refuse = |reason| Err(StitchError::Limits { limits: *self, reason });
        if self.min_part == 0 || self.max_parts == 0 {
            refuse("parts need a size and a number of at least 1")
        } else if self.max_part / 3 < self.min_part {
            refuse("the greatest part must have at least three times the size of the least")
        } else if self.target_read_part / 2 < self.min_part || self.target_read_part > self.max_part {
            refuse("uploaded parts must be at least twice the least part and at most the greatest")
        } else {
            Ok(())
        }
    }
}

/// A range of one piece, named by its place in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Index of the piece.
    pub piece: usize,
    /// Range within the piece, never empty.
    pub range: ByteRange,
}

/// One part of a multipart upload; part numbers are their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// Copied server-side from one range of one copyable piece.
    Copy(Segment),
    /// Uploaded from here: ranges of consecutive pieces, in order. At least one segment.
    Upload {
        /// What it is made of.
        segments: Vec<Segment>,
    },
}

impl Part {
    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Copy(segment) => segment.range.len(),
            Self::Upload { segments } => segments.iter().map(|segment| segment.range.len()).sum(),
        }
    }

    /// Whether it has no bytes, which no planned part is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Requests by kind, retries not counted. Units: requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// Ranged reads: one per copyable segment of an uploaded part.
    pub get: u64,
    /// Uploaded parts.
    pub put: u64,
    /// Parts copied server-side.
    pub copy: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.get + self.put + self.copy
    }
}

impl AddAssign for Requests {
    fn add_assign(&mut self, other: Self) {
        self.get += other.get;
        self.put += other.put;
        self.copy += other.copy;
    }
}

/// What a join costs, for people and for prices. Units: bytes, requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Estimate {
    /// Multipart uploads: each costs two more requests, to create and to complete it.
    pub uploads: u64,
    /// Bytes that the store copies by itself; what two passes copy is counted twice.
    pub bytes_server_side: u64,
    /// Bytes read from copyable pieces.
    pub bytes_read: u64,
    /// Bytes uploaded: those read, and the local ones.
    pub bytes_through_client: u64,
    /// Requests for parts.
    pub requests: Requests,
}

impl AddAssign for Estimate {
    fn add_assign(&mut self, other: Self) {
        self.uploads += other.uploads;
        self.bytes_server_side += other.bytes_server_side;
        self.bytes_read += other.bytes_read;
        self.bytes_through_client += other.bytes_through_client;
        self.requests += other.requests;
    }
}

/// The parts that make one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stitch {
    /// The parts in order.
    pub parts: Vec<Part>,
    estimate: Estimate,
}

impl Stitch {
    fn of(parts: Vec<Part>, pieces: &[Piece]) -> Self {
        let mut estimate = Estimate { uploads: u64::from(!parts.is_empty()), ..Estimate::default() };
        for part in &parts {
            match part {
                Part::Copy(segment) => {
                    estimate.requests.copy += 1;
                    estimate.bytes_server_side += segment.range.len();
                }
                Part::Upload { segments } => {
                    estimate.requests.put += 1;
                    for segment in segments {
                        estimate.bytes_through_client += segment.range.len();
                        match pieces[segment.piece].source {
                            Source::Copyable => {
                                estimate.requests.get += 1;
                                estimate.bytes_read += segment.range.len();
                            }
                            Source::Local => {}
                        }
                    }
                }
            }
        }
        Self { parts, estimate }
    }

    /// The size of the joined object in bytes.
    pub fn len(&self) -> u64 {
        self.bytes_server_side() + self.bytes_through_client()
    }

    /// Whether nothing is joined: there is no part, and no multipart upload can make the object.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes that the store copies by itself.
    pub fn bytes_server_side(&self) -> u64 {
        self.estimate.bytes_server_side
    }

    /// Bytes uploaded from this machine: those read from copyable pieces, and the local ones.
    pub fn bytes_through_client(&self) -> u64 {
        self.estimate.bytes_through_client
    }

    /// Bytes read from copyable pieces: what the plan makes as few as possible.
    pub fn bytes_read(&self) -> u64 {
        self.estimate.bytes_read
    }

    /// Requests for its parts.
    pub fn requests(&self) -> Requests {
        self.estimate.requests
    }

    /// All figures together.
    pub fn estimate(&self) -> Estimate {
        self.estimate
    }
}

/// How pieces become one object when they may be more than one upload can join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passes {
    /// One upload suffices.
    One(Stitch),
    /// First private intermediate objects, then all of them in order into the object, server-side.
    Two {
        /// What each intermediate is made of, in order; their segments name the given pieces.
        intermediates: Vec<Stitch>,
        /// How the intermediates are joined; its segments name intermediates, and all its parts are copied.
        join: Stitch,
    },
}

impl Passes {
    /// All figures over both passes. Bytes of intermediates are copied server-side once more.
    pub fn estimate(&self) -> Estimate {
        match self {
            Self::One(stitch) => stitch.estimate(),
            Self::Two { intermediates, join } => {
                let mut sum = join.estimate();
                for stitch in intermediates {
                    sum += stitch.estimate();
                }
                sum
            }
        }
    }
}

/// Why pieces cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StitchError {
    /// The limits contradict each other, or leave too little room between least and greatest.
    #[error(
        "cannot plan with parts of `{}` to `{}` bytes, uploaded in `{}`, at most `{}`: {reason}",
        limits.min_part, limits.max_part, limits.target_read_part, limits.max_parts
    )]
    Limits {
        /// The limits given.
        limits: Limits,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The pieces sum up to more bytes than any store holds (2^63).
    #[error("`{pieces}` pieces hold more than 2^63 bytes together")]
    TooLong {
        /// Number of pieces.
        pieces: usize,
    },
    /// The best plan has more parts than allowed.
    #[error("joining needs `{parts}` parts, and an upload may have `{max}`")]
    TooManyParts {
        /// Parts of the best plan.
        parts: u64,
        /// Parts allowed.
        max: u64,
    },
}

impl StitchError {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Limits { .. } | Self::TooLong { .. } | Self::TooManyParts { .. } => Kind::Invalid,
        }
    }

    /// What a user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooManyParts { .. } | Self::TooLong { .. } => {
                Some("make smaller outputs: set or lower `batch.max_objects` or `batch.max_bytes`".into())
            }
            Self::Limits { .. } => None,
        }
    }
}

/// Plans the join of `pieces` in one upload.
///
/// Errors: [`StitchError::Limits`], [`StitchError::TooLong`], and [`StitchError::TooManyParts`] when the optimum does
/// not fit into one upload (then [`plan_passes`] does).
/// Cost: no request; time and memory linear in the number of pieces and parts.
pub fn plan(pieces: &[Piece], limits: &Limits) -> Result<Stitch, StitchError> {
    let parts = best_parts(pieces, limits)?;
    fits(parts.len() as u64, limits)?;
    Ok(Stitch::of(parts, pieces))
}

/// Plans the join of `pieces` in one upload or, where that has too many parts, in two passes.
///
/// The parts of the optimum are dealt evenly, in order, to as few intermediates as possible. Each of their parts but
/// the very last has at least `min_part` bytes, so each intermediate is a valid upload and, but for the last, large
/// enough to be copied; no byte is read that one upload without a limit of parts would not read, and none twice.
///
/// Errors: [`StitchError::Limits`], [`StitchError::TooLong`], and [`StitchError::TooManyParts`] when even the join of
/// the intermediates has too many parts.
/// Cost: no request; time and memory linear in the number of pieces and parts.
pub fn plan_passes(pieces: &[Piece], limits: &Limits) -> Result<Passes, StitchError> {
    let parts = best_parts(pieces, limits)?;
    let count = parts.len() as u64;
    if count <= limits.max_parts {
        return Ok(Passes::One(Stitch::of(parts, pieces)));
    }
    let groups = count.div_ceil(limits.max_parts);
    let mut intermediates = Vec::with_capacity(groups as usize);
    let mut rest = parts.into_iter();
    for group in 0..groups {
        // The first `count % groups` groups take one part more.
        let share = count / groups + u64::from(group < count % groups);
        intermediates.push(Stitch::of(rest.by_ref().take(share as usize).collect(), pieces));
    }
    let joined: Vec<Piece> = intermediates.iter().map(|stitch| Piece::copyable(stitch.len())).collect();
    let join = plan(&joined, limits)?;
    Ok(Passes::Two { intermediates, join })
}

fn fits(parts: u64, limits: &Limits) -> Result<(), StitchError> {
    if parts > limits.max_parts {
        return Err(StitchError::TooManyParts { parts, max: limits.max_parts });
    }
    Ok(())
}

/// The parts of the optimum, however many.
fn best_parts(pieces: &[Piece], limits: &Limits) -> Result<Vec<Part>, StitchError> {
    limits.check()?;
    let total = pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.len));
    if total.is_none_or(|total| total > i64::MAX as u64) {
        return Err(StitchError::TooLong { pieces: pieces.len() });
    }
    let mut parts = Vec::new();
    let mut run = Vec::new();
    let mut fates = optimum::fates(pieces, limits).into_iter().peekable();
    for (index, piece) in pieces.iter().enumerate() {
        let segment = |start, end| Segment { piece: index, range: ByteRange::new(start, end) };
        let read = |run: &mut Vec<Segment>, start, end| {
            if start < end {
                run.push(segment(start, end));
            }
        };
        match fates.next_if(|(anchor, _)| *anchor == index) {
            None | Some((_, Fate::Read)) => read(&mut run, 0, piece.len),
            Some((_, Fate::Copy { head, tail })) => {
                read(&mut run, 0, head);
                flush(pieces, std::mem::take(&mut run), limits, &mut parts);
                copy(segment(head, piece.len - tail), limits, &mut parts);
                read(&mut run, piece.len - tail, piece.len);
            }
        }
    }
    flush(pieces, run, limits, &mut parts);
    Ok(parts)
}

/// Copies a range in as few parts as possible, evenly: with `max_part >= 2 * min_part` none is too small.
fn copy(segment: Segment, limits: &Limits, parts: &mut Vec<Part>) {
    let Segment { piece, range } = segment;
    let count = range.len().div_ceil(limits.max_part);
    let mut start = range.start;
    for left in (1..=count).rev() {
        let end = start + (range.end - start).div_ceil(left);
        parts.push(Part::Copy(Segment { piece, range: ByteRange::new(start, end) }));
        start = end;
    }
}

/// Uploads a run in as few parts of at most `target_read_part` as possible, cut between pieces where the limits allow.
fn flush(pieces: &[Piece], run: Vec<Segment>, limits: &Limits, parts: &mut Vec<Part>) {
    let total: u64 = run.iter().map(|segment| segment.range.len()).sum();
    let count = total.div_ceil(limits.target_read_part);
    let mut done = 0;
    let mut segments = run.into_iter().peekable();
    for left in (0..count).rev() {
        // What is left behind this part must make `left` parts that keep the limits. `target >= 2 * min` keeps the
        // window from being empty.
        let most = limits.target_read_part.min(total - done - left * limits.min_part);
        let least = limits.min_part.max((total - done).saturating_sub(left * limits.target_read_part));
        let (mut size, mut taken) = (0, Vec::new());
        while let Some(next) = segments.peek_mut() {
            let (start, room) = (next.range.start, most - size);
            if next.range.len() <= room {
                size += next.range.len();
                taken.extend(segments.next());
                continue;
            }
            // Local bytes may be cut anywhere; a copyable range only where the part would be too small without.
            let cut = match pieces[next.piece].source {
                Source::Local => room,
                Source::Copyable => least.saturating_sub(size).min(room),
            };
            if cut > 0 {
                taken.push(Segment { piece: next.piece, range: ByteRange::new(start, start + cut) });
                next.range.start += cut;
                size += cut;
            }
            break;
        }
        done += size;
        parts.push(Part::Upload { segments: taken });
    }
}
