//! Rows in the binary format of PostgreSQL's COPY.
//!
//! Source: PostgreSQL, "COPY", binary format; `numeric_send`, `timestamptz_send`, `date_send`.

use arrow_array::RecordBatch;
use baler_format::schema::{Schema, Type};
use bytes::{BufMut, BytesMut};

use super::super::values::{Typed, Values, columns};

/// Seconds and days from 1970 to 2000, where PostgreSQL begins to count.
const SECONDS: i64 = 946_684_800;
const DAYS: i32 = 10_957;
/// What PostgreSQL takes: microseconds and days since 2000.
const TIMES: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// The type that a column has on its way into the table.
pub(super) fn kind(kind: &Type) -> &'static str {
    match kind {
        Type::Int64 => "bigint",
        Type::Float64 => "double precision",
        Type::Bool => "boolean",
        Type::Text => "text",
        Type::Decimal { .. } => "numeric",
        Type::Date => "date",
        Type::Timestamp { zone: Some(_), .. } => "timestamptz",
        Type::Timestamp { zone: None, .. } => "timestamp",
        Type::List(_) | Type::Struct(_) => "jsonb",
    }
}

/// Begins a stream.
pub(super) fn begin(out: &mut BytesMut) {
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.put_i32(0);
    out.put_i32(0);
}

/// Ends it.
pub(super) fn end(out: &mut BytesMut) {
    out.put_i16(-1);
}

/// Writes the rows of a batch.
pub(super) struct Rows<'a> {
    columns: Vec<Values<'a>>,
    text: String,
}

impl<'a> Rows<'a> {
    pub(super) fn new(schema: &'a Schema, records: &'a RecordBatch) -> Self {
        Self { columns: columns(schema, records), text: String::new() }
    }

    /// Appends a row, its number last. Errors: why it cannot be written; then nothing was appended.
    pub(super) fn push(&mut self, out: &mut BytesMut, row: usize, number: i64) -> Result<(), String> {
        let start = out.len();
        let result = self.push_row(out, row, number);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn push_row(&mut self, out: &mut BytesMut, row: usize, number: i64) -> Result<(), String> {
        out.put_i16(self.columns.len() as i16 + 1);
        for column in &self.columns {
            if column.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            // The length is known behind the value.
            let at = out.len();
            out.put_i32(0);
            match &column.typed {
                Typed::Int(array) => out.put_i64(array.value(row)),
                Typed::Float(array) => out.put_f64(array.value(row)),
                Typed::Bool(array) => out.put_u8(array.value(row).into()),
                Typed::Text(array) => {
                    let text = array.value(row).as_bytes();
                    if memchr::memchr(0, text).is_some() {
                        return Err(column.fault("PostgreSQL has no text with a zero byte"));
                    }
                    out.put_slice(text);
                }
                Typed::Decimal(array, scale) => push_numeric(out, array.value(row), *scale),
                Typed::Date(array) => {
                    let days = array.value(row).checked_sub(DAYS).filter(|days| DATES.contains(days));
                    out.put_i32(days.ok_or_else(|| column.fault("the date is beyond those of PostgreSQL"))?);
                }
                Typed::Timestamp(values, per_second) => {
                    out.put_i64(micros(values[row], *per_second).map_err(|what| column.fault(what))?);
                }
                Typed::Nested => {
                    self.text.clear();
                    column.push_text(&mut self.text, row)?;
                    if has_zero(&self.text) {
                        return Err(column.fault("PostgreSQL has no text with a zero byte"));
                    }
                    out.put_u8(1);
                    out.put_slice(self.text.as_bytes());
                }
            }
            let length =
                i32::try_from(out.len() - at - 4).map_err(|_| column.fault("the value has more than 2 GiB"))?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        out.put_i32(8);
        out.put_i64(number);
        Ok(())
    }
}

/// Whether JSON has a zero byte in a text: its escape, and no backslash that is escaped itself before `u0000`.
fn has_zero(json: &str) -> bool {
    let backslashes = |at: usize| json.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
    json.match_indices("\\u0000").any(|(at, _)| backslashes(at) % 2 == 0)
}

fn micros(value: i64, per_second: i64) -> Result<i64, &'static str> {
    let beyond = "the time is beyond those of PostgreSQL";
    let micros = match per_second {
        1_000_000_000 if value % 1_000 != 0 => return Err("PostgreSQL has no parts of a microsecond"),
        1_000_000_000 => value / 1_000,
        _ => value.checked_mul(1_000_000 / per_second).ok_or(beyond)?,
    };
    micros.checked_sub(SECONDS * 1_000_000).filter(|micros| TIMES.contains(micros)).ok_or(beyond)
}

/// Groups of four decimal digits, the first `weight` of them before the point.
fn push_numeric(out: &mut BytesMut, value: i128, scale: u8) {
    let scale = usize::from(scale);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let whole = format!("{whole:0>width$}", width = whole.len().next_multiple_of(4));
    let fraction = format!("{fraction:0<width$}", width = fraction.len().next_multiple_of(4));
    let group = |four: &[u8]| four.iter().fold(0, |number, digit| number * 10 + i16::from(digit - b'0'));
    let groups: Vec<i16> = whole.as_bytes().chunks(4).chain(fraction.as_bytes().chunks(4)).map(group).collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups[leading..].iter().rev().take_while(|group| **group == 0).count();
    let groups = &groups[leading..groups.len() - trailing];
    let weight = if groups.is_empty() { 0 } else { (whole.len() / 4) as i16 - 1 - leading as i16 };
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_u16(scale as u16);
    groups.iter().for_each(|group| out.put_i16(*group));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_zero_byte_is_told_from_its_six_characters() {
        for (json, is_zero) in [
            (r#"["\u0000"]"#, true),
            (r#"["\\u0000"]"#, false),
            (r#"["\\\u0000"]"#, true),
            (r#"["\\u0000","\u0000"]"#, true),
            (r#"["\u0001", "u0000"]"#, false),
        ] {
            assert_eq!(has_zero(json), is_zero, "{json}");
        }
    }
}
