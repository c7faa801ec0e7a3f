//! Rows of text that is written as most text is, several times as fast as any text is read.
//!
//! What these decoders take they take as the rules of [`decode`](crate::decode) would; everything else they leave where it
//! stands, for the rules to judge: a fault, a quote over several lines, a number in an unusual form. So they give no reasons
//! and cut no records off.
//!
//! - [`JsonRows`]: one JSON object a line;
//! - [`CsvRows`]: RFC 4180, with what real files do beside it.
//!
//! Neither builds a tree first. Each value is parsed where it lies, by the type of its column, straight into the column's
//! vector; words of 8 and 16 bytes are looked at together (`swar`). `examples/decode_speed` measures both.
//!
//! What was tried, in MB/s of one core shared with others (compare the figures with each other, not with an idle machine):
//! JSON lines of 12 fields, 293 bytes: 441 with a loop over sixteen bytes left to the compiler, which makes no vector
//! instructions of it; 801 with vector comparisons. CSV of 9 short fields, 84 bytes: 352 field by field (2,100
//! instructions a record: the speed is bound by their number), 612 in blocks by column.

mod column;
mod columns;
mod csv;
mod float;
mod json;
mod number;
mod swar;
mod time;

pub(crate) use columns::Columns;
pub(crate) use csv::{CsvRows, Fields};
pub(crate) use json::JsonRows;

/// What stands here is none of what is read here: the rules say what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unread;

/// How much a batch still takes: a record begins only where there is room for a row and for a byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Where the rows of a batch stand.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) lines: Vec<u64>,
    pub(crate) offsets: Vec<u64>,
}

/// Where a stretch of text begins in the whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    /// The line that it begins, from 1.
    pub(crate) line: u64,
    pub(crate) offset: u64,
}

/// What was taken from the beginning of a stretch of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: usize,
    pub(crate) lines: u64,
}

/// UTF-8 is checked for so many bytes at once: they are still in the nearest cache when they are decoded.
const WINDOW: usize = 32 << 10;

/// Up to where a text was checked, and what that found.
#[derive(Debug)]
struct Checked {
    /// The end of the last window in the whole text.
    end: u64,
    clean: bool,
}

impl Checked {
    fn new() -> Self {
        Self { end: 0, clean: true }
    }

    /// Sees to it that the line at `at` is in a window; says where that ends in `text`, which begins at `base`.
    #[inline]
    fn reach(&mut self, text: &[u8], base: u64, at: usize) -> usize {
        let end = usize::try_from(self.end.saturating_sub(base)).unwrap_or(usize::MAX);
        if at < end {
            return end.min(text.len());
        }
        let end = match text.get(at + WINDOW..) {
            Some(rest) => memchr::memchr(b'\n', rest).map_or(text.len(), |feed| at + WINDOW + feed + 1),
            None => text.len(),
        };
        self.clean = simdutf8::basic::from_utf8(&text[at..end]).is_ok();
        self.end = base + end as u64;
        end
    }
}
