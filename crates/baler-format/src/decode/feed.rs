//! The bytes of text that a decoder has in hand, and the records cut out of them.

use std::io::{self, Read};
use std::ops::Range;

use super::Reason;

const STEP: usize = 256 << 10;

/// Buffers a reader; knows where in the whole it stands.
pub(crate) struct Feed {
    reader: Box<dyn Read + Send>,
    /// Bytes of the whole up to `filled`, behind which there is room.
    buffer: Vec<u8>,
    filled: usize,
    start: usize,
    /// Offset of the buffer's first byte in the whole.
    base: u64,
    end: End,
    /// The end of the bytes cuts the record before it.
    is_cut: bool,
}

enum End {
    NotYet,
    Reached,
    /// What comes last is cut off.
    Cut,
    Fault(io::Error),
}

/// A record's place, and its bytes or why it has none.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) line: u64,
    pub(crate) offset: u64,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    /// A range for [`Feed::bytes`], good until the next cut.
    Record(Range<usize>),
    /// Not to be read, with its first bytes.
    Refused(Reason, Vec<u8>),
}

impl Feed {
    /// Begins behind a byte order mark, if there is one.
    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self::with(Vec::new(), reader)
    }

    /// The same in a buffer that another has left.
    pub(crate) fn with(buffer: Vec<u8>, reader: Box<dyn Read + Send>) -> Self {
        let mut feed = Self { reader, buffer, filled: 0, start: 0, base: 0, end: End::NotYet, is_cut: false };
        while feed.held().len() < 3 && feed.more() {}
        if feed.held().starts_with(b"\xef\xbb\xbf") {
            feed.consume(3);
        }
        feed
    }

    /// Begins at an offset of the whole; `is_cut` says that the end of these bytes cuts the record before it.
    pub(crate) fn part(reader: Box<dyn Read + Send>, offset: u64, is_cut: bool) -> Self {
        Self { reader, buffer: Vec::new(), filled: 0, start: 0, base: offset, end: End::NotYet, is_cut }
    }

    /// Ends it; returns its buffer, unless a long record has made that large.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        if self.buffer.len() > STEP { Vec::new() } else { self.buffer }
    }

    /// Returns what is in hand and not consumed.
    pub(crate) fn held(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    /// Returns the offset of the first byte that is not consumed.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Consumes bytes in hand and returns their range.
    pub(crate) fn consume(&mut self, n: usize) -> Range<usize> {
        let range = self.start..self.start + n;
        self.start = range.end;
        range
    }

    /// Returns consumed bytes, as long as nothing more was read.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Reads on; says whether there is more in hand now.
    pub(crate) fn more(&mut self) -> bool {
        if !matches!(self.end, End::NotYet) {
            return false;
        }
        if self.filled == self.buffer.len() {
            self.make_room();
        }
        loop {
            match self.reader.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.end = if self.is_cut { End::Cut } else { End::Reached },
                Ok(n) => {
                    self.filled += n;
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.end = End::Fault(error),
            }
            return false;
        }
    }

    /// Moves what is in hand to the buffer's beginning, and doubles the buffer where that frees too little: so reading a
    /// long record stays linear.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.base += self.start as u64;
        self.filled -= self.start;
        self.start = 0;
        if self.buffer.len() - self.filled < STEP / 2 {
            let size = (self.buffer.len() * 2).max(STEP);
            self.buffer.resize(size, 0);
        } else if self.buffer.len() > STEP && self.filled < STEP / 2 {
            // A long record has passed.
            self.buffer.truncate(STEP);
            self.buffer.shrink_to_fit();
        }
    }

    /// Says whether the bytes ended within a record.
    pub(crate) fn is_damaged(&self) -> bool {
        matches!(self.end, End::Fault(_) | End::Cut)
    }

    /// Takes the fault in which the bytes ended.
    pub(crate) fn take_fault(&mut self) -> Option<io::Error> {
        match std::mem::replace(&mut self.end, End::Reached) {
            End::Fault(error) => Some(error),
            end @ (End::NotYet | End::Reached | End::Cut) => {
                self.end = end;
                None
            }
        }
    }
}
