//! An object that records are written to: rows brought together, encoded, staged in parts.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::coalesce::BatchCoalescer;
use baler_format::Format;
use baler_format::codec::Compression;
use baler_format::encode::{Counts, EncodeError, EncodeOptions, Encoder};
use baler_format::schema::Schema;
use baler_model::Key;

use super::upload::{PartWriter, Steps, upload_failed};
use crate::error::TaskError;
use baler_model::ledger::Failure;

/// Rows that are written at a time: small batches are brought together.
pub(super) const ROWS: usize = 8_192;

/// How the records of an object are written.
pub(super) struct Style<'a> {
    pub(super) format: &'a Format,
    pub(super) compression: Compression,
    pub(super) schema: &'a Schema,
    pub(super) arrow: SchemaRef,
    pub(super) encoding: &'a EncodeOptions,
    /// So many rows are written at a time: [`ROWS`], or fewer where the size is to be known in smaller steps.
    pub(super) rows: usize,
}

/// An object that is being written.
pub(super) struct Object {
    key: Key,
    encoder: Encoder<PartWriter>,
    rows: BatchCoalescer,
    at_once: usize,
    /// Rows that were handed to the encoder.
    encoded: u64,
}

impl Object {
    /// Begins the object of this number among those of the attempt.
    pub(super) fn begin(steps: &Steps, number: usize, key: Key, style: &Style<'_>) -> Result<Self, TaskError> {
        let Style { format, compression, schema, arrow, encoding, rows } = style;
        let writer = PartWriter::begin(steps, number, key.clone(), content_type(format));
        let writer = writer.map_err(|error| upload_failed(&error))?;
        let encoder = Encoder::new(format, schema, *compression, encoding, writer);
        let encoder = encoder.map_err(|error| failed(&key, &error))?;
        let coalescer = BatchCoalescer::new(Arc::clone(arrow), *rows);
        Ok(Self { key, encoder, rows: coalescer, at_once: *rows, encoded: 0 })
    }

    /// Writes rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), TaskError> {
        if self.rows.is_empty() && batch.num_rows() * 2 >= self.at_once {
            self.encoded += batch.num_rows() as u64;
            return self.encoder.write(batch).map_err(|error| failed(&self.key, &error));
        }
        self.rows.push_batch(batch.clone()).map_err(|error| self.lost(&error))?;
        self.encode()
    }

    /// How many rows are written at a time.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// About the bytes that it would have if it ended now, those of rows that wait included; the same for the same rows.
    pub(super) fn size(&self) -> u64 {
        let (size, waiting) = (self.encoder.size(), self.rows.get_buffered_rows() as u64);
        size + size * waiting / self.encoded.max(1)
    }

    /// Ends the object; yields what the encoder says that it wrote.
    pub(super) fn finish(mut self) -> Result<Counts, TaskError> {
        self.rows.finish_buffered_batch().map_err(|error| self.lost(&error))?;
        self.encode()?;
        let (writer, counts) = self.encoder.finish().map_err(|error| failed(&self.key, &error))?;
        writer.end().map_err(|error| upload_failed(&error))?;
        Ok(counts)
    }

    fn encode(&mut self) -> Result<(), TaskError> {
        while let Some(batch) = self.rows.next_completed_batch() {
            self.encoded += batch.num_rows() as u64;
            self.encoder.write(&batch).map_err(|error| failed(&self.key, &error))?;
        }
        Ok(())
    }

    fn lost(&self, error: &ArrowError) -> TaskError {
        failed(&self.key, &EncodeError::Internal(error.to_string()))
    }
}

/// What the values of a batch take of memory, without what its buffers have room for besides.
pub(super) fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

fn failed(key: &Key, error: &EncodeError) -> TaskError {
    TaskError { kind: error.kind(), failure: Failure { error: format!("`{key}`: {error}"), hint: None } }
}

fn content_type(format: &Format) -> &'static str {
    match format {
        Format::JsonLines => "application/x-ndjson",
        Format::Json { .. } => "application/json",
        Format::Csv(_) => "text/csv",
        Format::Parquet => "application/vnd.apache.parquet",
        Format::Arrow(_) => "application/vnd.apache.arrow.stream",
    }
}
