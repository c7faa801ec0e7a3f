//! One object split into chunks of records, without being rewritten.
//!
//! - INV-CHUNK-1: chunks follow each other: each begins with the record behind the last of the one before, and every record
//!   that a [`Decoder`](crate::decode::Decoder) of the whole object sees is in exactly one of them.
//! - INV-CHUNK-2: where chunks begin and end does not depend on the pieces in which the bytes come.
//! - INV-CHUNK-3: a chunk decoded by itself ([`ChunkDecoder`]) gives the rows, the rejected records, the lines and the offsets
//!   that the whole object would; it gives as many records as it has, or an error.
//!
//! [`Splitter`] finds the chunks of text in one pass and holds nothing of it but the header of CSV; [`row_groups`] finds those of
//! Parquet in its metadata. [`RawRecords`] gives the records of JSON as they are written.

mod assembly;
mod csv;
mod document;
mod lines;
mod raw;
mod read;
mod splitter;

use crate::decode::{self, DecodeError, Source};

pub use raw::{LEVELS, Raw, RawRecord, RawRecords};
pub use read::{ChunkDecoder, Numbered};
pub use splitter::Splitter;

/// A stretch of records of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// The number of the first record in the object, from 1; the header of CSV is none.
    pub first: u64,
    /// How many records there are; at least one.
    pub records: u64,
    /// Where they stand.
    pub extent: Extent,
}

/// Where the records of a chunk stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// In the decompressed bytes `[start, end)` of an object of text.
    ///
    /// These are whole lines for JSON lines and CSV; for a JSON document elements of its array, with commas and white space
    /// between them.
    Bytes {
        /// The first byte of the first record.
        start: u64,
        /// The byte behind the last record.
        end: u64,
        /// The line on which the first record begins, from 1.
        line: u64,
        /// How the last record ends.
        ending: Ending,
    },
    /// In the row groups `[start, end)` of a Parquet object.
    Groups {
        /// The first.
        start: usize,
        /// The one behind the last.
        end: usize,
    },
}

/// How bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ending {
    /// Where they should.
    #[default]
    Whole,
    /// Within a record, by damage or because the document is not at its end; that record is rejected.
    CutOff,
}

/// Splits a Parquet object between its row groups, from its metadata alone.
///
/// A chunk has as many whole row groups as hold `size` records at most, or the one that is larger. Errors: as of
/// [`Decoder::new`](crate::decode::Decoder::new).
pub fn row_groups(source: Source, size: u64) -> Result<Vec<Chunk>, DecodeError> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut before = 0;
    for (n, rows) in decode::row_groups(source)?.into_iter().enumerate() {
        match chunks.last_mut() {
            Some(Chunk { records, extent: Extent::Groups { end, .. }, .. }) if *records + rows <= size => {
                *records += rows;
                *end = n + 1;
            }
            _ if rows == 0 => {}
            _ => {
                chunks.push(Chunk { first: before + 1, records: rows, extent: Extent::Groups { start: n, end: n + 1 } })
            }
        }
        before += rows;
    }
    Ok(chunks)
}
