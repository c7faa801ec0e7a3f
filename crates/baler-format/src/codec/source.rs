//! The compressed bytes that a decoder reads from: buffered, counted, with a look ahead.

use std::io::{self, Read};

const CAPACITY: usize = 64 << 10;

/// Buffers a reader and counts what is consumed.
#[derive(Debug)]
pub(super) struct Source<R> {
    inner: R,
    buffer: Vec<u8>,
    filled: usize,
    start: usize,
    consumed: u64,
    failed: bool,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; CAPACITY], filled: 0, start: 0, consumed: 0, failed: false }
    }

    /// Returns the number of bytes consumed so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Says whether the reader itself failed, as opposed to its bytes being wrong.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Returns at least one byte unless the reader is at its end.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    /// Returns at least `n` bytes unless the reader ends before.
    pub(super) fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.filled - self.start < n {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.filled, 0);
                self.filled -= self.start;
                self.start = 0;
            }
            // Looks ahead are of few bytes: there is always room.
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        Ok(&self.buffer[self.start..self.filled])
    }

    /// Consumes bytes that [`Source::fill`] or [`Source::peek`] returned.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        self.consumed += n as u64;
    }

    /// Takes one byte. Errors: the end.
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.fill()?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.consume(1);
        Ok(byte)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let held = self.fill()?;
        let n = held.len().min(into.len());
        into[..n].copy_from_slice(&held[..n]);
        self.consume(n);
        Ok(n)
    }
}
