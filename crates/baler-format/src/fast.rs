//! Decoders of JSON lines and CSV into Arrow for a schema that is known, several times as fast as general ones.
//!
//! Both decoders are fed chunks of text and hand out record batches. A record that cannot be decoded or typed becomes a
//! [`Rejected`]; the good records around it go on: accepted plus rejected records are the records of the text.
//!
//! - [`JsonDecoder`]: one JSON object a line;
//! - [`CsvDecoder`]: RFC 4180, with what real files do beside it.
//!
//! Neither builds a tree first. Each value is parsed where it lies, by the type of its column, straight into the column's
//! vector; words of 8 and 16 bytes are looked at together (`swar`). `examples/decode_speed` measures both.
//!
//! What was tried, in MB/s of one core shared with others (compare the figures with each other, not with an idle machine):
//! JSON lines of 12 fields, 293 bytes: 441 with a loop over sixteen bytes left to the compiler, which makes no vector
//! instructions of it; 801 with vector comparisons. CSV of 9 short fields, 84 bytes: 352 field by field (2,100
//! instructions a record: the speed is bound by their number), 612 in blocks by column.

mod column;
mod csv;
mod float;
mod json;
mod number;
mod overlong;
mod rejected;
mod swar;
mod time;

use arrow_schema::{DataType, Schema};

pub use csv::{CsvDecoder, CsvOptions, Header, NonFinite};
pub use json::{JsonDecoder, JsonOptions};
pub use rejected::{Reason, Rejected};

/// Why a decoder cannot be made, or cannot go on at all.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The schema has a column of a type that these decoders do not build.
    #[error("column `{column}` has type {data_type}, which the fast decoders do not build")]
    Unsupported {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The header of a CSV names a column twice.
    #[error("the header names column `{column}` twice")]
    HeaderRepeats {
        /// The repeated name.
        column: String,
    },
    /// The header of a CSV lacks a column that may not be null.
    #[error("the header lacks column `{column}`, which may not be null")]
    HeaderLacks {
        /// The missing name.
        column: String,
    },
    /// The header of a CSV is not a record of UTF-8 text.
    #[error("the header cannot be read: {reason}")]
    Header {
        /// What is wrong with it.
        reason: Reason,
    },
    /// A delimiter that could not be told from text, quotes or line ends.
    #[error("byte {delimiter:#04x} cannot delimit fields: choose an ASCII character other than a quote or line end")]
    Delimiter {
        /// The byte.
        delimiter: u8,
    },
    /// A batch could not be made of the columns.
    #[error("the columns do not make a batch")]
    Batch(#[from] arrow_schema::ArrowError),
}

/// Tells whether the fast decoders build every column of `schema`; what they do not is for a general reader.
#[must_use]
pub fn supports(schema: &Schema) -> bool {
    schema.fields().iter().all(|field| column::supports(field.data_type()))
}
