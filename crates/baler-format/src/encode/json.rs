//! Batches to JSON: objects, one a line or within an array.
//!
//! Null members of records are left out of them; the reader takes a missing member for null. Decimals are written as text,
//! because most readers of JSON take numbers for floats and round them.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Fields};

use super::EncodeError;
use super::values::push_scalar;

/// Writes one object a line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    out: Vec<u8>,
}

impl Lines {
    pub(super) fn encode(&mut self, batch: &RecordBatch, before: u64) -> Result<&[u8], EncodeError> {
        self.out = objects(batch, before, |_| "", "\n")?.into_bytes();
        Ok(&self.out)
    }
}

/// Writes one document with an array of objects.
#[derive(Debug)]
pub(super) struct Document {
    open: String,
    close: String,
    has_begun: bool,
    out: Vec<u8>,
}

impl Document {
    pub(super) fn new(path: &[String]) -> Self {
        let mut open = String::new();
        for key in path {
            open.push('{');
            push_text(&mut open, key);
            open.push(':');
        }
        open.push_str("[\n");
        let close = format!("\n]{}\n", "}".repeat(path.len()));
        Self { open, close, has_begun: false, out: Vec::new() }
    }

    pub(super) fn encode(&mut self, batch: &RecordBatch, before: u64) -> Result<&[u8], EncodeError> {
        let first = if self.has_begun { "" } else { self.open.as_str() };
        let rows = objects(batch, before, |row| if row == 0 { "" } else { ",\n" }, "")?;
        self.out = [first, &rows].concat().into_bytes();
        self.has_begun = true;
        Ok(&self.out)
    }

    pub(super) fn end(&mut self) -> Vec<u8> {
        let first = if self.has_begun { "" } else { self.open.as_str() };
        [first, &self.close].concat().into_bytes()
    }
}

fn objects(
    batch: &RecordBatch,
    before: u64,
    between: impl Fn(u64) -> &'static str,
    behind: &str,
) -> Result<String, EncodeError> {
    let mut out = String::new();
    let schema = batch.schema_ref();
    for row in 0..batch.num_rows() {
        out.push_str(between(before + row as u64));
        push_object(&mut out, schema.fields(), batch.columns(), row).map_err(|(column, what)| EncodeError::Value {
            column,
            row: before + row as u64 + 1,
            what,
        })?;
        out.push_str(behind);
    }
    Ok(out)
}

/// Errors: the member and what is wrong with it.
fn push_object(out: &mut String, fields: &Fields, columns: &[ArrayRef], row: usize) -> Result<(), (String, String)> {
    out.push('{');
    let mut is_first = true;
    for (field, column) in fields.iter().zip(columns).filter(|(_, column)| !column.is_null(row)) {
        if !is_first {
            out.push(',');
        }
        is_first = false;
        push_text(out, field.name());
        out.push(':');
        push_value(out, column, row).map_err(|what| (field.name().clone(), what))?;
    }
    out.push('}');
    Ok(())
}

pub(super) fn push_value(out: &mut String, array: &ArrayRef, row: usize) -> Result<(), String> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => push_text(out, array.as_string::<i32>().value(row)),
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            if !value.is_finite() {
                return Err(format!("JSON has no {value}"));
            }
            push_scalar(out, array, row)?;
        }
        DataType::Int64 | DataType::Boolean => push_scalar(out, array, row)?,
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for item in 0..items.len() {
                if item > 0 {
                    out.push(',');
                }
                push_value(out, &items, item)?;
            }
            out.push(']');
        }
        DataType::Struct(fields) => {
            let members = array.as_struct();
            push_object(out, fields, members.columns(), row).map_err(|(name, what)| format!("`{name}`: {what}"))?;
        }
        _ => {
            out.push('"');
            push_scalar(out, array, row)?;
            out.push('"');
        }
    }
    Ok(())
}

fn push_text(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(error) => unreachable!("text is always JSON: {error}"),
    }
}
