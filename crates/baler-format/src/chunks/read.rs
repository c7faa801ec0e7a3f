//! The records of one chunk as batches, with their numbers.

use super::{Chunk, Ending, Extent};
use crate::decode::{DecodeError, DecodeOptions, Decoded, Decoder, Part, Position, Source};
use crate::format::Format;
use crate::schema::Schema;

/// Reads one chunk: see INV-CHUNK-3 in [`chunks`](super).
pub struct ChunkDecoder {
    decoder: Decoder,
    format: &'static str,
    chunk: Chunk,
    /// Records that were handed out.
    given: u64,
    ended: Option<DecodeError>,
}

/// What one step yields, and the numbers of its records in the object, from 1.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// The rows, and the records that were not taken.
    pub decoded: Decoded,
    /// The number of each row.
    pub rows: Vec<u64>,
    /// The number of each rejected record.
    pub rejected: Vec<u64>,
}

impl ChunkDecoder {
    /// Opens a chunk; `header` is what the [`Splitter`](super::Splitter) kept of CSV, and nothing for other formats.
    ///
    /// Of text the source has the chunk's bytes and no others; of Parquet it has the whole object. Errors: as of
    /// [`Decoder::new`]; a chunk of another format.
    pub fn new(
        format: &Format,
        schema: &Schema,
        options: &DecodeOptions,
        chunk: &Chunk,
        header: &[u8],
        source: Source,
    ) -> Result<Self, DecodeError> {
        let decoder = match (format, chunk.extent) {
            (Format::JsonLines | Format::Json { .. } | Format::Csv(_), Extent::Bytes { start, line, ending, .. }) => {
                let part = Part { header, line, offset: start, is_cut: ending == Ending::CutOff };
                Decoder::part(format, schema, options, source, &part)?
            }
            (Format::Parquet, Extent::Groups { start, end }) => Decoder::groups(schema, options, source, start..end)?,
            (Format::Arrow(_), _) | (Format::Parquet, _) | (_, Extent::Groups { .. }) => {
                return Err(DecodeError::Usage(format!("the chunk is none of {format}")));
            }
        };
        Ok(Self { decoder, format: format.name(), chunk: *chunk, given: 0, ended: None })
    }

    /// Reads on; nothing at the end.
    ///
    /// Errors: damage; more or fewer records than the chunk has, behind those that there are. Called again, the same error.
    pub fn next_batch(&mut self) -> Result<Option<Numbered>, DecodeError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        self.step().inspect_err(|error| self.ended = Some(error.clone()))
    }

    fn step(&mut self) -> Result<Option<Numbered>, DecodeError> {
        let next = self.decoder.next_batch()?;
        if let Some(decoded) = &next {
            self.given += (decoded.batch.num_rows() + decoded.rejected.len()) as u64;
        }
        let records = self.chunk.records;
        if self.given > records || next.is_none() && self.given < records {
            return Err(other_count(self.format, &self.chunk));
        }
        let Some(decoded) = next else { return Ok(None) };
        let first = self.chunk.first + self.given - (decoded.batch.num_rows() + decoded.rejected.len()) as u64;
        let (rows, rejected) = numbers(&decoded, first);
        Ok(Some(Numbered { decoded, rows, rejected }))
    }

    /// Returns the names of columns that the chunk has and the schema lacks, as far as it was read; at most 1,000.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.decoder.unknown()
    }
}

pub(super) fn other_count(format: &'static str, chunk: &Chunk) -> DecodeError {
    let what = format!("the chunk has not the {} records that were found in it; did the object change?", chunk.records);
    DecodeError::Format { format, what }
}

/// Numbers rows and rejected records in the order in which they stand.
fn numbers(decoded: &Decoded, first: u64) -> (Vec<u64>, Vec<u64>) {
    let place = |position: Position| match position {
        Position::Line { offset, .. } => offset,
        Position::Row(row) => row,
    };
    let mut rejected = decoded.rejected.iter().map(|rejected| place(rejected.position)).peekable();
    let (mut of_rows, mut of_rejected) = (Vec::new(), Vec::new());
    let mut next = first;
    for row in 0..decoded.batch.num_rows() {
        let Some(at) = decoded.positions.at(row).map(place) else { continue };
        while rejected.next_if(|rejected| *rejected < at).is_some() {
            of_rejected.push(next);
            next += 1;
        }
        of_rows.push(next);
        next += 1;
    }
    of_rejected.extend(rejected.zip(next..).map(|(_, number)| number));
    (of_rows, of_rejected)
}
