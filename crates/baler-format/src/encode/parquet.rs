//! Batches to Parquet.
//!
//! A row group is held in memory, encoded and compressed, until it closes at the options' rows or bytes.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression as Within, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{EncodeError, EncodeOptions};
use crate::codec::{Codec, Compression};
use crate::schema::{Schema, TimeUnit, Type};

/// Writes row groups.
pub(super) struct Groups<W: Write + Send> {
    writer: ArrowWriter<W>,
    group_bytes: usize,
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

impl<W: Write + Send> Groups<W> {
    pub(super) fn new(
        inner: W,
        schema: &SchemaRef,
        within: Compression,
        options: &EncodeOptions,
    ) -> Result<Self, EncodeError> {
        let properties = WriterProperties::builder()
            .set_compression(compression(within)?)
            .set_max_row_group_row_count(Some(options.group_rows.max(1)))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_dictionary_enabled(true)
            .set_created_by(format!("baler {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = ArrowWriter::try_new(inner, schema.clone(), Some(properties)).map_err(of_parquet)?;
        Ok(Self { writer, group_bytes: options.group_bytes })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        self.writer.write(batch).map_err(of_parquet)?;
        if self.writer.in_progress_size() >= self.group_bytes || self.writer.memory_size() >= self.group_bytes {
            self.writer.flush().map_err(of_parquet)?;
        }
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    pub(super) fn finish(self) -> Result<W, EncodeError> {
        self.writer.into_inner().map_err(of_parquet)
    }
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
