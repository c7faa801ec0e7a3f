//! Parquet into batches.
//!
//! The library decodes row groups as it goes; pages with a checksum are checked. A panic within it on damaged bytes becomes
//! an error.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::fit::Fit;
use super::source::Sequence;
use super::{DecodeError, DecodeOptions, Decoded, Ranges, Source, Unknown};
use crate::schema::Schema;

/// The first and the last bytes of every object.
const MAGIC: &[u8] = b"PAR1";

/// Decodes Parquet.
pub(super) struct ParquetDecoder {
    reader: ParquetRecordBatchReader,
    chunks: Chunks,
    fit: Fit,
    rows: u64,
    wanted_rows: u64,
}

impl ParquetDecoder {
    pub(super) fn open(
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
        groups: Option<Range<usize>>,
        unknown: &mut Unknown,
    ) -> Result<Self, DecodeError> {
        let (builder, chunks) = open(source)?;
        let rows = group_rows(&builder);
        let groups = groups.unwrap_or(0..rows.len());
        let Some(wanted_rows) = rows.get(groups.clone()).map(|rows| rows.iter().sum()) else {
            let what = format!("it has {} row groups, {} to {} are wanted", rows.len(), groups.start, groups.end);
            return Err(DecodeError::Format { format: "parquet", what });
        };
        let mut fit = Fit::new(schema, builder.schema(), unknown)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), fit.wanted());
        fit.project();
        fit.begin_behind(rows[..groups.start].iter().sum());
        let at_once = batch_rows(&builder.metadata().row_groups()[groups.clone()], &mask, options)?;
        let build = || builder.with_row_groups(groups.collect()).with_projection(mask).with_batch_size(at_once).build();
        let reader = guarded(&chunks, build)?;
        Ok(Self { reader, chunks, fit, rows: 0, wanted_rows })
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<Decoded>, DecodeError> {
        let reader = &mut self.reader;
        let next = guarded(&self.chunks, || reader.next().transpose().map_err(ParquetError::from))?;
        match next {
            Some(batch) => {
                self.rows += batch.num_rows() as u64;
                self.fit.apply(&batch).map(Some)
            }
            None if self.rows != self.wanted_rows => {
                let what = format!("it states {} rows and has {}", self.wanted_rows, self.rows);
                Err(DecodeError::Format { format: "parquet", what })
            }
            None => Ok(None),
        }
    }
}

/// Returns how many rows make a batch that is not much larger than asked for, as far as the footer tells.
///
/// Errors: pages that grow beyond what is allowed.
fn batch_rows(
    groups: &[RowGroupMetaData],
    mask: &ProjectionMask,
    options: &DecodeOptions,
) -> Result<usize, DecodeError> {
    let (mut pages, mut of_row) = (0u64, 1u64);
    for group in groups {
        let mut bytes = 0u64;
        for (_, chunk) in group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf)) {
            let size = chunk.uncompressed_size().max(0) as u64;
            pages = pages.saturating_add(size);
            // Texts that a dictionary holds once are longer as values.
            let values = chunk.unencoded_byte_array_data_bytes().unwrap_or(0).max(0) as u64;
            bytes = bytes.saturating_add(size.max(values));
        }
        of_row = of_row.max(bytes / group.num_rows().max(1) as u64);
    }
    if pages > options.expanded_bytes {
        let what = format!("its pages expand beyond {} bytes", options.expanded_bytes);
        return Err(DecodeError::Format { format: "parquet", what });
    }
    let rows = usize::try_from(options.batch_bytes as u64 / of_row).unwrap_or(usize::MAX);
    Ok(rows.clamp(1, options.batch_rows))
}

/// Reads how many rows each row group has.
pub(crate) fn row_groups(source: Source) -> Result<Vec<u64>, DecodeError> {
    open(source).map(|(builder, _)| group_rows(&builder))
}

fn group_rows(builder: &ParquetRecordBatchReaderBuilder<Chunks>) -> Vec<u64> {
    builder.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect()
}

/// Reads the object's own schema.
pub(super) fn stated_schema(source: Source) -> Result<Schema, DecodeError> {
    let (builder, _) = open(source)?;
    Ok(Schema::of_arrow(builder.schema())?)
}

fn open(source: Source) -> Result<(ParquetRecordBatchReaderBuilder<Chunks>, Chunks), DecodeError> {
    let Source::Ranges(ranges) = source else {
        return Err(DecodeError::Usage("Parquet is read from its end: it needs a source of ranges".to_owned()));
    };
    let chunks = Chunks { ranges, fault: Arc::default() };
    let builder = guarded(&chunks, || {
        let size = chunks.ranges.len();
        if size < 12 || chunks.bytes(0, 4)? != MAGIC {
            return Err(ParquetError::General("the first bytes are not `PAR1`".to_owned()));
        }
        ParquetRecordBatchReaderBuilder::try_new(chunks.clone())
    })?;
    Ok((builder, chunks))
}

/// Runs the library: a fault of the source is one, everything else is damage.
fn guarded<T>(chunks: &Chunks, run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DecodeError> {
    let damaged = |what: String| DecodeError::Format { format: "parquet", what };
    let result = catch_unwind(AssertUnwindSafe(run)).map_err(|_| damaged("the reader gave up on it".to_owned()))?;
    result.map_err(|error| {
        let fault = chunks.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault.map_or_else(|| damaged(error.to_string()), DecodeError::of_io)
    })
}

/// Hands ranges to the library and keeps the source's own errors.
#[derive(Clone)]
struct Chunks {
    ranges: Arc<dyn Ranges>,
    fault: Arc<Mutex<Option<io::Error>>>,
}

impl Chunks {
    fn bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Before anything is read or allocated: damaged metadata may ask for anything.
        if start.checked_add(length as u64).is_none_or(|end| end > self.ranges.len()) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are beyond the end")));
        }
        self.ranges.read(start, length).map_err(|error| ParquetError::General(keep(&self.fault, error).to_string()))
    }
}

/// Keeps a source's error and returns one like it.
fn keep(place: &Mutex<Option<io::Error>>, error: io::Error) -> io::Error {
    let like = io::Error::new(error.kind(), error.to_string());
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    like
}

/// Reads on from one place.
struct Headers {
    sequence: Sequence,
    fault: Arc<Mutex<Option<io::Error>>>,
}

impl io::Read for Headers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.sequence.read(into).map_err(|error| keep(&self.fault, error))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.ranges.len()
    }
}

impl ChunkReader for Chunks {
    type T = Headers;

    /// The library reads the headers of pages in this way, which are small; everything else in ranges.
    fn get_read(&self, start: u64) -> Result<Headers, ParquetError> {
        let sequence = Sequence { ranges: Arc::clone(&self.ranges), at: start, held: Bytes::new(), step: 4 << 10 };
        Ok(Headers { sequence, fault: Arc::clone(&self.fault) })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.bytes(start, length)
    }
}
