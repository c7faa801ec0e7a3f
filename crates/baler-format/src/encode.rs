//! Encoding: record batches to bytes.
//!
//! An encoder that is dropped without [`Encoder::finish`] leaves an object without its end, which readers refuse. Values that
//! a format cannot hold are errors, never other values.

mod csv;
mod json;
mod parquet;
mod value_text;
mod values;

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, SchemaRef};
use baler_model::Kind;

use crate::codec::{Codec, Compression, Writer, writer};
use crate::format::{Format, Ipc};
use crate::schema::{Schema, Type};

pub use value_text::push_text;

/// How records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Rows of a row group of Parquet at most; default 1,048,576.
    pub group_rows: usize,
    /// A row group of Parquet closes at about so many encoded bytes, which are held in memory until then; default 128 MiB.
    pub group_bytes: usize,
    /// Threads that encode the columns of Parquet beside the one that calls; default 0. One is as good as none. The bytes
    /// are the same with any number of them.
    pub threads: usize,
    /// What is written for null in CSV; default nothing, where empty text is written as `""`.
    pub null_literal: String,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { group_rows: 1 << 20, group_bytes: 128 << 20, threads: 0, null_literal: String::new() }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Bytes of the object, compressed.
    pub bytes: u64,
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The target could not be written.
    #[error("the target cannot be written")]
    Write(#[source] io::Error),
    /// A value is none that the format can hold.
    #[error("row {row} of column `{column}`: {what}")]
    Value {
        /// The column.
        column: String,
        /// The row's number in the object, from 1.
        row: u64,
        /// What is wrong with the value.
        what: String,
    },
    /// The format, schema, compression and options do not go together.
    #[error("{0}")]
    Usage(String),
    /// A batch is not of the encoder's schema, or the library failed.
    #[error("{0}")]
    Internal(String),
}

impl EncodeError {
    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Write(_) => Kind::Transient,
            Self::Value { .. } => Kind::Data,
            Self::Usage(_) => Kind::Invalid,
            Self::Internal(_) => Kind::Internal,
        }
    }

    fn of_arrow(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => Self::Write(error),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<io::Error> for EncodeError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes records into one object.
pub struct Encoder<W: Write + Send> {
    inner: Inner<W>,
    schema: SchemaRef,
    rows: u64,
}

enum Inner<W: Write + Send> {
    Lines(json::Lines, Writer<Counted<W>>),
    Document(json::Document, Writer<Counted<W>>),
    Csv(csv::Rows, Writer<Counted<W>>),
    Stream(Box<StreamWriter<Writer<Counted<W>>>>),
    File(Box<FileWriter<Writer<Counted<W>>>>),
    Parquet(Box<parquet::Groups<Counted<W>>>),
}

impl<W: Write + Send> Encoder<W> {
    /// Begins an object. For Parquet the compression is the one within, and LZ4 is its `LZ4_RAW`.
    ///
    /// Memory: one batch and the codec's ([`Compression::memory`]); for Parquet a row group besides.
    /// Errors: the format cannot hold a column, or has no such compression within.
    pub fn new(
        format: &Format,
        schema: &Schema,
        compression: Compression,
        options: &EncodeOptions,
        inner: W,
    ) -> Result<Self, EncodeError> {
        let inner = Counted { inner, bytes: 0 };
        let arrow = schema.to_arrow();
        let inner = match format {
            Format::JsonLines => Inner::Lines(json::Lines::default(), writer(compression, inner)?),
            Format::Json { records } => Inner::Document(json::Document::new(records), writer(compression, inner)?),
            Format::Csv(csv) => Inner::Csv(csv::Rows::new(csv, schema, options)?, writer(compression, inner)?),
            Format::Arrow(Ipc::Stream) => {
                let writer = StreamWriter::try_new(writer(compression, inner)?, &arrow);
                Inner::Stream(Box::new(writer.map_err(EncodeError::of_arrow)?))
            }
            Format::Arrow(Ipc::File) => {
                let writer = FileWriter::try_new(writer(compression, inner)?, &arrow);
                Inner::File(Box::new(writer.map_err(EncodeError::of_arrow)?))
            }
            Format::Parquet => {
                if let Some(fault) = parquet::fault(schema, compression) {
                    return Err(EncodeError::Usage(fault));
                }
                Inner::Parquet(Box::new(parquet::Groups::new(inner, &arrow, compression, options)?))
            }
        };
        Ok(Self { inner, schema: arrow, rows: 0 })
    }

    /// Writes rows of the encoder's schema.
    ///
    /// Errors: a value that the format cannot hold, in which case nothing of the batch was written as text; the target.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(EncodeError::Internal("a batch has another schema than its encoder".to_owned()));
        }
        match &mut self.inner {
            Inner::Lines(lines, writer) => writer.write_all(lines.encode(batch, self.rows)?)?,
            Inner::Document(document, writer) => writer.write_all(document.encode(batch, self.rows)?)?,
            Inner::Csv(rows, writer) => writer.write_all(rows.encode(batch, self.rows)?)?,
            Inner::Stream(writer) => writer.write(batch).map_err(EncodeError::of_arrow)?,
            Inner::File(writer) => writer.write(batch).map_err(EncodeError::of_arrow)?,
            Inner::Parquet(groups) => groups.write(batch)?,
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Estimates the bytes that the object would have if it ended now, for closing it at a size: those handed on, and for
    /// Parquet those of the open row group.
    pub fn size(&self) -> u64 {
        match &self.inner {
            Inner::Lines(_, writer) | Inner::Document(_, writer) | Inner::Csv(_, writer) => writer.written(),
            Inner::Stream(writer) => writer.get_ref().written(),
            Inner::File(writer) => writer.get_ref().written(),
            Inner::Parquet(groups) => groups.size(),
        }
    }

    /// Ends the object and hands back the target, flushed. Errors: of the target.
    pub fn finish(self) -> Result<(W, Counts), EncodeError> {
        let mut inner = match self.inner {
            Inner::Lines(_, writer) => writer.finish()?,
            Inner::Document(mut document, mut writer) => {
                writer.write_all(&document.end())?;
                writer.finish()?
            }
            Inner::Csv(mut rows, mut writer) => {
                writer.write_all(&rows.end())?;
                writer.finish()?
            }
            Inner::Stream(writer) => writer.into_inner().map_err(EncodeError::of_arrow)?.finish()?,
            Inner::File(writer) => writer.into_inner().map_err(EncodeError::of_arrow)?.finish()?,
            Inner::Parquet(groups) => groups.finish()?,
        };
        inner.flush()?;
        Ok((inner.inner, Counts { rows: self.rows, bytes: inner.bytes }))
    }
}

/// Says why a format cannot be written with a compression, or a schema cannot be written in it, if so.
///
/// What this allows, [`Encoder::new`] takes.
pub fn fault(format: &Format, schema: &Schema, compression: Compression) -> Option<String> {
    match format {
        Format::Parquet => parquet::fault(schema, compression),
        Format::Csv(csv) => csv.fault().or_else(|| {
            let nested = schema.columns().iter().find(|column| matches!(column.kind, Type::List(_) | Type::Struct(_)));
            nested.map(|column| format!("column `{}` is {}, which CSV cannot hold", column.name, column.kind))
        }),
        Format::JsonLines | Format::Json { .. } | Format::Arrow(_) => None,
    }
}

/// Says whether a format and a codec go together.
pub fn goes_with(format: &Format, codec: Codec) -> bool {
    !matches!((format, codec), (Format::Parquet, Codec::Bzip2))
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
