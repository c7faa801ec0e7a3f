//! Batches to CSV.
//!
//! Null is the null literal without quotes; text that equals it is quoted, so that both are told apart.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use super::values::push_scalar;
use super::{EncodeError, EncodeOptions};
use crate::format::{Csv, Format};
use crate::schema::Schema;

/// Writes rows.
#[derive(Debug)]
pub(super) struct Rows {
    csv: Csv,
    null: String,
    /// The names, until they are written.
    header: Option<Vec<String>>,
    out: Vec<u8>,
}

impl Rows {
    pub(super) fn new(csv: &Csv, schema: &Schema, options: &EncodeOptions) -> Result<Self, EncodeError> {
        if let Some(fault) = super::fault(&Format::Csv(csv.clone()), schema, crate::codec::Compression::NONE) {
            return Err(EncodeError::Usage(fault));
        }
        if schema.columns().is_empty() {
            return Err(EncodeError::Usage("CSV needs at least one column".to_owned()));
        }
        let marks = [char::from(csv.delimiter), char::from(csv.quote), '\n', '\r'];
        if options.null_literal.contains(marks) {
            return Err(EncodeError::Usage(
                "the null literal of CSV may hold no delimiter, quote or line end".to_owned(),
            ));
        }
        let header = csv.header.then(|| schema.columns().iter().map(|column| column.name.clone()).collect());
        Ok(Self { csv: csv.clone(), null: options.null_literal.clone(), header, out: Vec::new() })
    }

    /// Returns the rows of a batch, and before the first the header.
    pub(super) fn encode(&mut self, batch: &RecordBatch, before: u64) -> Result<&[u8], EncodeError> {
        let mut out = String::from_utf8(self.header_line()).unwrap_or_default();
        let only = batch.num_columns() == 1;
        for row in 0..batch.num_rows() {
            for (n, column) in batch.columns().iter().enumerate() {
                if n > 0 {
                    out.push(char::from(self.csv.delimiter));
                }
                let fault = |what: String| EncodeError::Value {
                    column: batch.schema_ref().field(n).name().clone(),
                    row: before + row as u64 + 1,
                    what,
                };
                if column.is_null(row) {
                    if only && self.null.is_empty() {
                        let what = "null in the only column would be a blank line; set a null literal".to_owned();
                        return Err(fault(what));
                    }
                    out.push_str(&self.null);
                } else {
                    self.push(&mut out, column, row).map_err(fault)?;
                }
            }
            out.push('\n');
        }
        self.header = None;
        self.out = out.into_bytes();
        Ok(&self.out)
    }

    /// Returns what is still due: the header of an object without rows.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let line = self.header_line();
        self.header = None;
        line
    }

    fn header_line(&self) -> Vec<u8> {
        let Some(names) = &self.header else { return Vec::new() };
        let mut line = String::new();
        for (n, name) in names.iter().enumerate() {
            if n > 0 {
                line.push(char::from(self.csv.delimiter));
            }
            self.push_text(&mut line, name);
        }
        line.push('\n');
        line.into_bytes()
    }

    fn push(&self, out: &mut String, column: &ArrayRef, row: usize) -> Result<(), String> {
        if *column.data_type() == DataType::Utf8 {
            self.push_text(out, column.as_string::<i32>().value(row));
            return Ok(());
        }
        let start = out.len();
        push_scalar(out, column, row)?;
        // A delimiter such as `-` or a null literal such as `0` may be what a number is written with.
        let text = &out[start..];
        if self.needs_quotes(text) {
            let text = text.to_owned();
            out.truncate(start);
            self.push_text(out, &text);
        }
        Ok(())
    }

    /// Marks need them; so do what would be taken for null, blanks that may be trimmed, and a byte order mark.
    fn needs_quotes(&self, text: &str) -> bool {
        let (delimiter, quote) = (self.csv.delimiter, self.csv.quote);
        let is_mark = |byte: u8| byte == delimiter || byte == quote || byte == b'\n' || byte == b'\r';
        text.is_empty()
            || text == self.null
            || text.bytes().any(is_mark)
            || text.trim().len() != text.len()
            || text.starts_with('\u{feff}')
    }

    fn push_text(&self, out: &mut String, text: &str) {
        if !self.needs_quotes(text) {
            out.push_str(text);
            return;
        }
        let quote = char::from(self.csv.quote);
        out.push(quote);
        for (n, part) in text.split(quote).enumerate() {
            if n > 0 {
                out.push(quote);
                out.push(quote);
            }
            out.push_str(part);
        }
        out.push(quote);
    }
}
