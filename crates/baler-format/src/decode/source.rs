//! Where a decoder's bytes come from.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Codec, one_member, reader};

/// The bytes of an object, decompressed.
pub enum Source {
    /// Read once, from the beginning to the end.
    Stream(Box<dyn Read + Send>),
    /// Read in ranges.
    Ranges(Arc<dyn Ranges>),
}

/// An object that can be read in ranges: what Parquet needs.
#[expect(clippy::len_without_is_empty, reason = "an object of no bytes is no special case")]
pub trait Ranges: Send + Sync {
    /// Returns the size of the object in bytes.
    fn len(&self) -> u64;

    /// Reads exactly `length` bytes from `start`. Errors: of the store; the range goes beyond the end.
    fn read(&self, start: u64, length: usize) -> io::Result<Bytes>;
}

impl Ranges for Bytes {
    fn len(&self) -> u64 {
        Self::len(self) as u64
    }

    fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let start = usize::try_from(start).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        match range {
            Some(range) if range.end <= Self::len(self) => Ok(self.slice(range)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A file of a size that does not change while it is read.
#[derive(Debug)]
pub(super) struct Whole {
    file: File,
    size: u64,
}

impl Ranges for Whole {
    fn len(&self) -> u64 {
        self.size
    }

    fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

impl Source {
    /// Makes a source of bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Ranges(Arc::new(bytes.into()))
    }

    /// Makes a source of a compressed object that is in memory.
    ///
    /// A gzip member of not more than `at_once` bytes is decoded here and now, through libdeflate; everything else while it is
    /// read, and so is what is damaged: what stands before the damage is not lost.
    /// Memory: up to `at_once` bytes besides the object's.
    pub fn compressed(codec: Codec, bytes: impl Into<Bytes>, at_once: usize) -> Self {
        let bytes = bytes.into();
        match codec {
            Codec::None => Self::bytes(bytes),
            Codec::Gzip => {
                let mut decoded = Vec::new();
                match one_member(&bytes, at_once, &mut decoded) {
                    true => Self::bytes(decoded),
                    false => Self::stream(reader(codec, Cursor::new(bytes))),
                }
            }
            Codec::Zstd | Codec::Brotli | Codec::Bzip2 | Codec::Lz4 | Codec::Snappy => {
                Self::stream(reader(codec, Cursor::new(bytes)))
            }
        }
    }

    /// Makes a source of a file. Errors: its size cannot be read.
    pub fn file(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self::Ranges(Arc::new(Whole { file, size })))
    }

    /// Returns a reader of the whole.
    pub(crate) fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::Stream(reader) => reader,
            Self::Ranges(ranges) => Box::new(Sequence { ranges, at: 0, held: Bytes::new(), step: 1 << 20 }),
        }
    }
}

/// Reads ranges one behind the other.
pub(super) struct Sequence {
    pub(super) ranges: Arc<dyn Ranges>,
    pub(super) at: u64,
    pub(super) held: Bytes,
    /// Bytes that are read at once.
    pub(super) step: u64,
}

impl Read for Sequence {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            let left = self.ranges.len().saturating_sub(self.at);
            if left == 0 {
                return Ok(0);
            }
            let length = left.min(self.step);
            self.held = self.ranges.read(self.at, length as usize)?;
            self.at += length;
        }
        let n = self.held.len().min(into.len());
        into[..n].copy_from_slice(&self.held.split_to(n));
        Ok(n)
    }
}
