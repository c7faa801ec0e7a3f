//! Decoding: bytes to record batches, with everything that was not taken set aside by name.
//!
//! - INV-ROW-1: a record is typed as a whole before any of its values goes into a batch: a bad record leaves no half row.
//! - INV-ROW-2: every record that was seen is either a row of a batch or a [`Rejected`], in the same or a later
//!   [`Decoded`].
//! - INV-ROW-3: where the bytes end in damage, every record that stands wholly before it is handed out before the error;
//!   a record that the damage cuts is never taken, even where its beginning reads as a record.
//!
//! Memory is bounded by one batch ([`DecodeOptions::batch_bytes`]) and one record ([`DecodeOptions::record_bytes`]) for
//! text, by one row group's page set for Parquet and one message for Arrow.

mod cell;
mod csv;
mod document;
mod elements;
mod feed;
mod fit;
mod instant;
mod ipc;
mod json;
mod lines;
mod offsets;
mod parquet;
mod scalar;
mod scan;
mod source;
mod text;
mod text_column;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use baler_model::Kind;

use crate::codec::CodecError;
use crate::format::Format;
use crate::schema::{ForeignType, Schema, TimeUnit};

pub(crate) use cell::{Cell, Reading};
pub(crate) use csv::{Quotes, UNCLOSED, split_fields};
pub(crate) use document::{Document, Step};
pub(crate) use feed::{Body, Cut, Feed};
pub(crate) use instant::YEARS;
pub(crate) use json::{Object, nested};
pub use offsets::Offsets;
pub(crate) use parquet::row_groups;
pub(crate) use scalar::{NumberText, bool as bool_text, number_text};
pub(crate) use scan::Scan;
pub use source::{Ranges, Source};
pub(crate) use text::{Cutter, Part, checked_names, header_names};
pub use text_column::TextColumn;

/// How records are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Rows of a batch; default 8,192.
    pub batch_rows: usize,
    /// A batch of text records closes behind so many bytes of them; default 16 MiB.
    pub batch_bytes: usize,
    /// The longest record of text that is read; longer ones are rejected. Default 16 MiB, at most 512 MiB.
    pub record_bytes: usize,
    /// The largest message or buffer of Arrow IPC that is taken; default 1 GiB.
    pub message_bytes: u64,
    /// What is compressed within Parquet or a message of Arrow IPC grows to no more than this; default no limit.
    pub expanded_bytes: u64,
    /// So much of a rejected record is kept; default 1 KiB.
    pub raw_bytes: usize,
    /// What numbers in timestamp columns count, since 1970; default seconds.
    pub epoch: TimeUnit,
    /// What a text column takes besides text in JSON; default nothing.
    pub text_from: TextFrom,
    /// CSV fields that stand for null, in a column of text only without quotes; default the empty one.
    pub null_literals: Vec<String>,
    /// What floats may be; default finite.
    pub floats: Floats,
    /// Blanks around CSV fields of columns that are not text; default kept, so that they are no values.
    pub blanks: Blanks,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            batch_rows: 8_192,
            batch_bytes: 16 << 20,
            record_bytes: 16 << 20,
            message_bytes: 1 << 30,
            expanded_bytes: u64::MAX,
            raw_bytes: 1 << 10,
            epoch: TimeUnit::Second,
            text_from: TextFrom::Text,
            null_literals: vec![String::new()],
            floats: Floats::Finite,
            blanks: Blanks::Keep,
        }
    }
}

impl DecodeOptions {
    /// Errors: they cannot be used.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        if self.batch_rows == 0 || !(1..=512 << 20).contains(&self.record_bytes) {
            return Err(DecodeError::Usage("batches have at least one row, records at most 512 MiB".to_owned()));
        }
        Ok(())
    }
}

/// What a text column takes in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextFrom {
    /// Strings only.
    #[default]
    Text,
    /// Anything, as it is written; for schemas that were inferred or widened.
    Anything,
}

/// What floats may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Floats {
    /// Finite numbers only.
    #[default]
    Finite,
    /// In CSV also `nan`, `inf` and `infinity` in any letter case, with a sign.
    Any,
}

/// What happens to blanks around CSV fields of columns that are not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Blanks {
    /// They belong to the value.
    #[default]
    Keep,
    /// They are taken off.
    Trim,
}

/// What one step of a decoder yields.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows, of the schema that was asked for; may have none.
    pub batch: RecordBatch,
    /// Where each row stood.
    pub positions: Positions,
    /// The records that were not taken, in their order.
    pub rejected: Vec<Rejected>,
}

/// Where the rows of a batch stood in the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Positions {
    /// In text: of each row the line, from 1, and the byte offset, both in the decompressed bytes.
    Lines {
        /// Line numbers.
        lines: Vec<u64>,
        /// Byte offsets.
        offsets: Vec<u64>,
    },
    /// In Parquet and Arrow: of each row its number in the object, from 1.
    Rows(Vec<u64>),
}

/// Where a record stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// In text.
    Line {
        /// The line on which the record begins, from 1.
        line: u64,
        /// Its first byte in the decompressed object.
        offset: u64,
    },
    /// The number of the row in the object, from 1.
    Row(u64),
}

impl Positions {
    /// Returns the position of a row of the batch; nothing behind its end.
    pub fn at(&self, row: usize) -> Option<Position> {
        match self {
            Self::Lines { lines, offsets } => {
                Some(Position::Line { line: *lines.get(row)?, offset: *offsets.get(row)? })
            }
            Self::Rows(rows) => rows.get(row).copied().map(Position::Row),
        }
    }
}

/// A record that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it stood.
    pub position: Position,
    /// Why it was not taken.
    pub reason: Reason,
    /// Its first bytes, as they stood there; empty for rows of Parquet and Arrow.
    pub raw: Vec<u8>,
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is not UTF-8.
    #[error("not UTF-8 at byte {at} of the record")]
    NotUtf8 {
        /// The first byte that is not, from 0.
        at: usize,
    },
    /// It is not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A key stands twice in one object.
    #[error("the key `{0}` stands twice")]
    DuplicateKey(String),
    /// It is longer than a record may be.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// It has not as many fields as the header or the schema.
    #[error("{found} fields instead of {wanted}")]
    FieldCount {
        /// Fields of the record.
        found: usize,
        /// Fields of the header or the schema.
        wanted: usize,
    },
    /// Its quotes are wrong.
    #[error("{0}")]
    Quotes(&'static str),
    /// A value does not fit its column.
    #[error("column `{column}`: {what}")]
    Value {
        /// The column.
        column: String,
        /// What is wrong with the value.
        what: String,
    },
    /// The bytes end in damage within it.
    #[error("cut off where the bytes are damaged")]
    CutOff,
}

/// Why decoding ended before the end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DecodeError {
    /// The compressed bytes are damaged.
    #[error("the compressed bytes cannot be read")]
    Codec(#[source] CodecError),
    /// The source could not be read.
    #[error("the source cannot be read")]
    Read(#[source] Arc<io::Error>),
    /// The bytes contradict the format, so that no further record can be found.
    #[error("not {format}: {what}")]
    Format {
        /// The format's name.
        format: &'static str,
        /// What is wrong, and where.
        what: String,
    },
    /// The header lacks a name, or has one twice.
    #[error("the header cannot be used: {0}")]
    Header(String),
    /// A column of the object has a type whose values the schema's column does not hold.
    #[error("column `{column}` is {declared}, the object has {found}")]
    Column {
        /// The column.
        column: String,
        /// The schema's type.
        declared: String,
        /// The object's type.
        found: String,
    },
    /// A column of the object has a type that cannot be taken.
    #[error(transparent)]
    Foreign(#[from] ForeignType),
    /// The options, the schema or the kind of source cannot be used.
    #[error("{0}")]
    Usage(String),
}

impl DecodeError {
    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Codec(_) | Self::Format { .. } | Self::Header(_) | Self::Column { .. } | Self::Foreign(_) => {
                Kind::Data
            }
            Self::Read(_) => Kind::Transient,
            Self::Usage(_) => Kind::Invalid,
        }
    }

    pub(crate) fn of_io(error: io::Error) -> Self {
        match CodecError::of(&error) {
            Some(fault) => Self::Codec(fault.clone()),
            None => Self::Read(Arc::new(error)),
        }
    }
}

/// Reads records, a batch at a time.
pub struct Decoder {
    inner: Inner,
    unknown: Unknown,
    /// The error that ended everything; it is given again and again.
    ended: Option<DecodeError>,
}

/// Memory of a decoder of text that has ended, for the next one.
#[derive(Debug, Default)]
pub struct Spare {
    columns: Option<crate::fast::Columns>,
    buffer: Vec<u8>,
}

enum Inner {
    Text(Box<text::TextDecoder>),
    Parquet(Box<parquet::ParquetDecoder>),
    Ipc(Box<ipc::IpcDecoder>),
}

/// Names of columns that records have and the schema lacks; the first thousand of them.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    names: BTreeSet<String>,
}

impl Unknown {
    pub(crate) fn note(&mut self, name: &str) {
        if self.names.len() < 1_000 && !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }
}

impl Decoder {
    /// Opens an object whose bytes are decompressed already (see [`crate::codec::reader`]).
    ///
    /// Text, and Arrow IPC, are read from any source; Parquet from [`Source::Ranges`] only. Columns of the object that the
    /// schema lacks are left out and told by [`Decoder::unknown`]; columns that the object lacks are null.
    /// Errors: options that cannot be used; for Parquet and Arrow everything that the object's own schema shows.
    pub fn new(format: &Format, schema: &Schema, options: &DecodeOptions, source: Source) -> Result<Self, DecodeError> {
        Self::with(Spare::default(), format, schema, options, source)
    }

    /// As [`Decoder::new`], in the memory that another decoder has left, so that of many small objects not each has to grow its
    /// own.
    pub fn with(
        spare: Spare,
        format: &Format,
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
    ) -> Result<Self, DecodeError> {
        options.check()?;
        let mut unknown = Unknown::default();
        let inner = match format {
            Format::JsonLines | Format::Json { .. } | Format::Csv(_) => {
                Inner::Text(Box::new(text::TextDecoder::open(spare, format, schema, options, source)?))
            }
            Format::Parquet => {
                Inner::Parquet(Box::new(parquet::ParquetDecoder::open(schema, options, source, None, &mut unknown)?))
            }
            Format::Arrow(_) => Inner::Ipc(Box::new(ipc::IpcDecoder::open(schema, options, source, &mut unknown)?)),
        };
        Ok(Self { inner, unknown, ended: None })
    }

    /// Opens a part of an object of text: see [`text::TextDecoder::open_part`].
    pub(crate) fn part(
        format: &Format,
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
        part: &Part<'_>,
    ) -> Result<Self, DecodeError> {
        options.check()?;
        let mut unknown = Unknown::default();
        let inner = text::TextDecoder::open_part(format, schema, options, source, part, &mut unknown)?;
        Ok(Self { inner: Inner::Text(Box::new(inner)), unknown, ended: None })
    }

    /// Opens some row groups of a Parquet object.
    pub(crate) fn groups(
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
        groups: Range<usize>,
    ) -> Result<Self, DecodeError> {
        options.check()?;
        let mut unknown = Unknown::default();
        let inner = parquet::ParquetDecoder::open(schema, options, source, Some(groups), &mut unknown)?;
        Ok(Self { inner: Inner::Parquet(Box::new(inner)), unknown, ended: None })
    }

    /// Reads on; nothing at the end.
    ///
    /// Errors: damage, behind everything that stands before it; called again, the same error.
    pub fn next_batch(&mut self) -> Result<Option<Decoded>, DecodeError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let next = match &mut self.inner {
            Inner::Text(decoder) => decoder.next_batch(&mut self.unknown),
            Inner::Parquet(decoder) => decoder.next_batch(),
            Inner::Ipc(decoder) => decoder.next_batch(),
        };
        next.inspect_err(|error| self.ended = Some(error.clone()))
    }

    /// Ends the decoder; what it has read and not yielded is lost.
    pub fn into_spare(self) -> Spare {
        match self.inner {
            Inner::Text(decoder) => decoder.into_spare(),
            Inner::Parquet(_) | Inner::Ipc(_) => Spare::default(),
        }
    }

    /// Returns the names of columns that the object has and the schema lacks, as far as it was read; at most 1,000.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.names.iter().map(String::as_str)
    }
}

/// Reads the schema that a Parquet or Arrow object states for itself.
///
/// Errors: as of [`Decoder::new`]; a format that states none.
pub fn stated_schema(format: &Format, options: &DecodeOptions, source: Source) -> Result<Schema, DecodeError> {
    match format {
        Format::Parquet => parquet::stated_schema(source),
        Format::Arrow(_) => ipc::stated_schema(options, source),
        Format::JsonLines | Format::Json { .. } | Format::Csv(_) => {
            Err(DecodeError::Usage(format!("{format} states no types; declare them or have them inferred")))
        }
    }
}

/// Boxes a reader as the source of text.
impl Source {
    /// Makes a source that is read from its beginning to its end.
    pub fn stream(reader: impl Read + Send + 'static) -> Self {
        Self::Stream(Box::new(reader))
    }
}
