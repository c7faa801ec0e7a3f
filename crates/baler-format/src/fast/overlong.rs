//! Lines longer than a record may be, passed over without being held.

use super::rejected::{Reason, Rejected};

/// A line longer than allowed whose end has not come yet.
#[derive(Debug)]
pub(super) struct Overlong {
    rejected: Rejected,
    last_byte: u8,
}

/// How much of a chunk an overlong line takes.
pub(super) struct Passed {
    pub(super) bytes: usize,
    /// The line, if it ends in the chunk.
    pub(super) rejected: Option<Rejected>,
    /// The line, if it goes on behind the chunk.
    pub(super) open: Option<Overlong>,
}

impl Overlong {
    /// Begins with the line that starts at `offset`.
    pub(super) fn new(line: u64, offset: u64) -> Self {
        let rejected = Rejected { line, offset, column: None, reason: Reason::TooLong, raw: offset..offset };
        Self { rejected, last_byte: 0 }
    }

    /// Passes over what `chunk` holds of the line; a text's end ends it as a line feed does.
    pub(super) fn pass(mut self, chunk: &[u8], last: bool) -> Passed {
        let feed = memchr::memchr(b'\n', chunk);
        let body = &chunk[..feed.unwrap_or(chunk.len())];
        self.last_byte = body.last().copied().unwrap_or(self.last_byte);
        self.rejected.raw.end += body.len() as u64;
        if feed.is_none() && !last {
            return Passed { bytes: chunk.len(), rejected: None, open: Some(self) };
        }
        self.rejected.raw.end -= u64::from(self.last_byte == b'\r');
        let bytes = feed.map_or(chunk.len(), |feed| feed + 1);
        Passed { bytes, rejected: Some(self.rejected), open: None }
    }
}
