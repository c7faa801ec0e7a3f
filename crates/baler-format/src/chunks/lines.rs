//! Records of JSON lines, found.

use memchr::memchr_iter;

use super::Ending;
use super::assembly::Assembly;

/// Follows lines as [`decode`](crate::decode) does: blank ones do not count, unless they are longer than a record may be.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    /// The line that is not at its end.
    line: u64,
    start: u64,
    length: usize,
    is_blank: bool,
    /// Where the last record ended.
    last_end: u64,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, line: 1, start: 0, length: 0, is_blank: true, last_end: 0 }
    }

    pub(super) fn begin_at(&mut self, offset: u64) {
        self.start = offset;
    }

    pub(super) fn push(&mut self, block: &[u8], base: u64, chunks: &mut Assembly) {
        let mut from = 0;
        for feed in memchr_iter(b'\n', block) {
            self.add(&block[from..feed]);
            let end = base + feed as u64 + 1;
            self.end(end, chunks);
            (self.line, self.start, self.length, self.is_blank) = (self.line + 1, end, 0, true);
            from = feed + 1;
        }
        self.add(&block[from..]);
    }

    pub(super) fn finish(&mut self, ending: Ending, chunks: &mut Assembly) {
        let end = self.start + self.length as u64;
        match ending {
            Ending::CutOff if self.length > 0 => {
                chunks.begin(self.start, self.line);
                chunks.end(end, Ending::CutOff);
            }
            Ending::Whole | Ending::CutOff => self.end(end, chunks),
        }
        chunks.close(self.last_end, Ending::Whole);
    }

    #[inline]
    fn add(&mut self, piece: &[u8]) {
        self.length += piece.len();
        // Most lines show at once that they are not blank.
        self.is_blank &= piece.first().is_none_or(|byte| *byte <= b' ') && piece.trim_ascii().is_empty();
    }

    #[inline]
    fn end(&mut self, end: u64, chunks: &mut Assembly) {
        if !self.is_blank || self.length > self.limit {
            chunks.begin(self.start, self.line);
            chunks.end(end, Ending::Whole);
            self.last_end = end;
        }
    }
}
