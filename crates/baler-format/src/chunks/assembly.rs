//! Records, as they are found one by one, into chunks.

use memchr::memchr_iter;

use super::{Chunk, Ending, Extent};

/// The chunk that grows, and those that are done.
#[derive(Debug)]
pub(super) struct Assembly {
    size: u64,
    /// Records that are done.
    records: u64,
    open: Option<Open>,
    done: Vec<Chunk>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    first: u64,
    start: u64,
    line: u64,
}

impl Assembly {
    pub(super) fn new(size: u64) -> Self {
        Self { size, records: 0, open: None, done: Vec::new() }
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.done)
    }

    /// Whether the next record belongs to a chunk that has records: then nobody asks for its line.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Begins a record at an offset, on a line.
    #[inline]
    pub(super) fn begin(&mut self, start: u64, line: u64) {
        if self.open.is_none() {
            self.open = Some(Open { first: self.records + 1, start, line });
        }
    }

    /// Ends the record that was begun.
    #[inline]
    pub(super) fn end(&mut self, end: u64, ending: Ending) {
        self.records += 1;
        let Some(open) = self.open else { return };
        if self.records + 1 - open.first == self.size || ending == Ending::CutOff {
            self.close(end, ending);
        }
    }

    /// Closes the last chunk, at the end of its last record.
    pub(super) fn close(&mut self, end: u64, ending: Ending) {
        if let Some(Open { first, start, line }) = self.open.take() {
            let extent = Extent::Bytes { start, end, line, ending };
            self.done.push(Chunk { first, records: self.records + 1 - first, extent });
        }
    }
}

/// Counts lines up to where somebody asks, in bytes that come in blocks.
#[derive(Debug, Default)]
pub(super) struct LineCount {
    /// Lines ended so far.
    ended: u64,
    counted_to: u64,
}

impl LineCount {
    /// Says on which line an offset of the block stands; later calls ask for later offsets.
    pub(super) fn line_at(&mut self, offset: u64, block: &[u8], base: u64) -> u64 {
        let from = self.counted_to.saturating_sub(base) as usize;
        let to = (offset - base) as usize;
        if let Some(piece) = block.get(from..to) {
            self.ended += memchr_iter(b'\n', piece).count() as u64;
            self.counted_to = offset;
        }
        self.ended + 1
    }
}
