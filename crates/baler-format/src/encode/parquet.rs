//! Batches to Parquet.
//!
//! A row group is held in memory, encoded and compressed, until it closes at the options' rows or bytes. Columns of plain
//! values are written here (`chunk`), lists and structs by the library; so is everything around the columns.

mod chunk;
mod distinct;
mod lanes;
mod page;
mod pieces;
mod squeeze;

use std::io::Write;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory};
use parquet::basic::{BrotliLevel, Compression as Within, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use self::chunk::Chunk;
use self::lanes::{Field, Lanes, Written};

use super::{EncodeError, EncodeOptions};
use crate::codec::{Codec, Compression};
use crate::schema::{Schema, TimeUnit, Type};

/// Writes row groups.
pub(super) struct Groups<W: Write + Send> {
    file: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    columns: Vec<ColumnDescPtr>,
    schema: SchemaRef,
    compression: Compression,
    lanes: Lanes,
    group_rows: usize,
    group_bytes: usize,
    /// Row groups before the open one.
    groups: usize,
    open: Open,
}

/// The open row group.
#[derive(Debug, Default)]
struct Open {
    rows: usize,
    /// Bytes of its batches in memory.
    raw: u64,
    /// Bytes of its columns and of its batches in memory some batches ago.
    known: Option<(u64, u64)>,
    /// `raw` behind each of the last batches.
    behind: std::collections::VecDeque<u64>,
}

/// Says why Parquet cannot hold the schema or has no such compression, if so.
pub(super) fn fault(schema: &Schema, within: Compression) -> Option<String> {
    let seconds = schema.columns().iter().find(|column| has_seconds(&column.kind)).map(|column| {
        // The library would write bare integers, whose meaning only Arrow's readers know.
        let name = &column.name;
        format!("column `{name}` is {}: Parquet has no times in seconds; declare `ms`, `us` or `ns`", column.kind)
    });
    seconds.or_else(|| compression(within).err().map(|error| error.to_string()))
}

fn has_seconds(kind: &Type) -> bool {
    match kind {
        Type::Timestamp { unit, .. } => *unit == TimeUnit::Second,
        Type::List(item) => has_seconds(item),
        Type::Struct(columns) => columns.iter().any(|column| has_seconds(&column.kind)),
        Type::Int64 | Type::Float64 | Type::Bool | Type::Text | Type::Decimal { .. } | Type::Date => false,
    }
}

/// Returns Parquet's own compression. Errors: it has none such.
pub(super) fn compression(compression: Compression) -> Result<Within, EncodeError> {
    let level = i32::from(compression.level());
    let refused = |error: ParquetError| EncodeError::Usage(error.to_string());
    Ok(match compression.codec() {
        Codec::None => Within::UNCOMPRESSED,
        Codec::Snappy => Within::SNAPPY,
        Codec::Lz4 => Within::LZ4_RAW,
        Codec::Gzip => Within::GZIP(GzipLevel::try_new(u32::from(compression.level())).map_err(refused)?),
        Codec::Zstd => Within::ZSTD(ZstdLevel::try_new(level).map_err(refused)?),
        Codec::Brotli => Within::BROTLI(BrotliLevel::try_new(u32::from(compression.level())).map_err(refused)?),
        Codec::Bzip2 => {
            return Err(EncodeError::Usage(
                "Parquet has no bzip2; its compressions are none, snappy, zstd, gzip, lz4 and brotli".to_owned(),
            ));
        }
    })
}

impl Open {
    /// Bytes of its columns, at the rate of what is known of them; before that, of its batches in memory.
    fn size(&self) -> u64 {
        match self.known {
            Some((held, raw)) => (u128::from(held) * u128::from(self.raw) / u128::from(raw.max(1))) as u64,
            None => self.raw,
        }
    }
}

impl<W: Write + Send> Groups<W> {
    pub(super) fn new(
        inner: W,
        schema: &SchemaRef,
        within: Compression,
        options: &EncodeOptions,
    ) -> Result<Self, EncodeError> {
        let properties = WriterProperties::builder()
            .set_compression(compression(within)?)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_created_by(format!("baler {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = ArrowWriter::try_new(inner, schema.clone(), Some(properties)).map_err(of_parquet)?;
        let (file, factory) = writer.into_serialized_writer().map_err(of_parquet)?;
        Ok(Self {
            columns: file.schema_descr().columns().to_vec(),
            file,
            factory,
            schema: schema.clone(),
            compression: within,
            lanes: Lanes::new(options.threads, within)?,
            group_rows: options.group_rows.max(1),
            group_bytes: options.group_bytes,
            groups: 0,
            open: Open::default(),
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let mut at = 0;
        while at < batch.num_rows() {
            if self.open.rows == 0 {
                let fields = self.fields()?;
                self.lanes.begin(fields)?;
            }
            let rows = (self.group_rows - self.open.rows).min(batch.num_rows() - at);
            let part = batch.slice(at, rows);
            at += rows;
            self.open.rows += rows;
            self.open.raw += raw_bytes(&part);
            self.open.behind.push_back(self.open.raw);
            if let Some(held) = self.lanes.push(part.columns())? {
                self.open.known = self.open.behind.pop_front().map(|raw| (held as u64, raw));
            }
            if self.open.rows >= self.group_rows || self.open.size() >= self.group_bytes as u64 {
                self.close_group()?;
            }
        }
        Ok(())
    }

    /// Bytes written, and those of the open row group.
    pub(super) fn size(&self) -> u64 {
        self.file.bytes_written() as u64 + self.open.size()
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        if self.open.rows > 0 {
            self.close_group()?;
        }
        self.file.into_inner().map_err(of_parquet)
    }

    fn fields(&self) -> Result<Vec<Field>, EncodeError> {
        let nested = self.factory.create_column_writers(self.groups).map_err(of_parquet)?;
        let mut leaves = nested.into_iter().zip(&self.columns);
        let mut fields = Vec::new();
        for field in self.schema.fields() {
            let count = leaves_of(field.data_type());
            let own: Vec<_> = leaves.by_ref().take(count).collect();
            let plain = own.first().filter(|_| chunk::supports(field.data_type())).map(|(_, column)| (*column).clone());
            fields.push(match plain {
                Some(column) => {
                    let within = compression(self.compression)?;
                    Field::Plain(Box::new(Chunk::new(column, within)?))
                }
                None => {
                    let leaves: Vec<ArrowColumnWriter> = own.into_iter().map(|(leaf, _)| leaf).collect();
                    Field::Nested { field: field.clone(), leaves }
                }
            });
        }
        Ok(fields)
    }

    fn close_group(&mut self) -> Result<(), EncodeError> {
        let written = self.lanes.close()?;
        let mut group = self.file.next_row_group().map_err(of_parquet)?;
        for column in written {
            match column {
                Written::Plain(closed) => group.append_column(&closed.pages, closed.result).map_err(of_parquet)?,
                Written::Nested(chunks) => {
                    for chunk in chunks {
                        chunk.append_to_row_group(&mut group).map_err(of_parquet)?;
                    }
                }
            }
        }
        group.close().map_err(of_parquet)?;
        self.groups += 1;
        self.open = Open::default();
        Ok(())
    }
}

/// How many columns of Parquet a column of Arrow has.
fn leaves_of(kind: &DataType) -> usize {
    match kind {
        DataType::List(item) => leaves_of(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves_of(field.data_type())).sum(),
        _ => 1,
    }
}

/// Bytes that a batch takes, of its own rows only.
fn raw_bytes(batch: &RecordBatch) -> u64 {
    let size = |array: &dyn Array| array.to_data().get_slice_memory_size().unwrap_or(0) as u64;
    batch.columns().iter().map(|array| size(array.as_ref())).sum()
}

fn of_parquet(error: ParquetError) -> EncodeError {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => EncodeError::Write(*error),
            Err(error) => EncodeError::Internal(error.to_string()),
        },
        error => EncodeError::Internal(error.to_string()),
    }
}
