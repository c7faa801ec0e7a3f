//! JSON lines of a known schema into record batches.
//!
//! Records of one source mostly write the same keys in the same order with the same spaces. So after each value the bytes
//! up to the next value (`,"amount":`) are guessed: they are compared with what followed that key before, and only where
//! they differ is punctuation read and the key looked up. Since a guess was read by the rules once, equal bytes are as
//! valid. A missing or moved key costs one look-up, not the record's speed. Values are then parsed by the type of
//! their column; no tape or index is built.
//!
//! What is checked is all of JSON: punctuation, escapes and surrogates, UTF-8 (a window at a time), numbers, control
//! characters, nesting (128 deep), keys that stand twice in a record; inside values of unknown keys all but the last. A key
//! that no column has is skipped and remembered ([`JsonDecoder::unknown_keys`]). A missing key is null.
//!
//! By type: integers take `3.0` and `3e2`, floats any number, decimals numbers and strings, dates and timestamps ISO 8601
//! strings and whole numbers (days; [`JsonOptions::epoch`] units), text strings only. Nothing is rounded but floats.

mod keys;
mod scan;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{SchemaRef, TimeUnit};

use self::keys::{END, Keys, START, Target};
use self::scan::{skip_value, string};
use super::column::{Column, Values};
use super::number;
use super::overlong::Overlong;
use super::rejected::{Reason, Rejected};
use super::swar::{byte, load8};
use super::{DecodeError, time};

/// Bytes whose UTF-8 is checked at once: they are still in the nearest cache when they are decoded.
const WINDOW: usize = 32 << 10;

/// How JSON lines are read.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    /// Records in a batch.
    pub batch_rows: usize,
    /// Bytes of text after which a batch is full however few records it has.
    pub batch_bytes: usize,
    /// The longest line that is a record; longer ones are rejected.
    pub max_record_bytes: usize,
    /// The unit of numbers in timestamp columns; `None`: the column's.
    pub epoch: Option<TimeUnit>,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { batch_rows: 8192, batch_bytes: 64 << 20, max_record_bytes: 16 << 20, epoch: None }
    }
}

/// Decodes JSON lines, chunk by chunk.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    options: JsonOptions,
    columns: Vec<Column>,
    keys: Keys,
    rows: usize,
    batch_bytes: usize,
    /// Where the next byte to decode stands in the text.
    offset: u64,
    /// The line that it begins, from 1.
    line: u64,
    /// Up to where UTF-8 was checked, and whether that found a fault.
    checked: u64,
    clean: bool,
    /// A line longer than allowed whose end has not come yet.
    overlong: Option<Overlong>,
    rejected: Vec<Rejected>,
}

/// Why and where a record stopped.
struct Fault {
    reason: Reason,
    at: usize,
    column: Option<usize>,
}

impl JsonDecoder {
    /// A decoder for `schema`.
    ///
    /// Errors: [`DecodeError::Unsupported`] for a schema that [`supports`](super::supports) denies.
    pub fn try_new(schema: SchemaRef, options: JsonOptions) -> Result<Self, DecodeError> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            columns.push(Column::new(field).ok_or_else(|| DecodeError::Unsupported {
                column: field.name().clone(),
                data_type: field.data_type().clone(),
            })?);
        }
        let keys = Keys::new(schema.fields().iter().map(|field| field.name().as_bytes()));
        Ok(Self {
            schema,
            options,
            columns,
            keys,
            rows: 0,
            batch_bytes: 0,
            offset: 0,
            line: 1,
            checked: 0,
            clean: true,
            overlong: None,
            rejected: Vec::new(),
        })
    }

    /// Decodes the records of `chunk` that are whole, until the batch is full; says how many bytes are done with.
    ///
    /// The next call's chunk begins with the bytes that were left. `last` says that none follow it: its last line may lack
    /// a line feed. Zero bytes done with, and the batch not full, asks for a longer chunk.
    pub fn decode(&mut self, chunk: &[u8], last: bool) -> usize {
        let end = if last { chunk.len() } else { memchr::memrchr(b'\n', chunk).map_or(0, |feed| feed + 1) };
        let mut at = self.pass_overlong(chunk, last);
        let base = self.offset - at as u64;
        if self.offset == 0 && chunk.starts_with(b"\xEF\xBB\xBF") && end > 0 {
            at = 3;
        }
        let text = &chunk[..end];
        let mut checked = usize::try_from(self.checked.saturating_sub(base)).unwrap_or(usize::MAX);
        while at < end && !self.is_full() {
            if at >= checked {
                checked = self.check_window(text, at);
            }
            let start = at;
            let outcome = match self.clean {
                true => self.record(text, start),
                false => self.suspicious_record(text, start),
            };
            match outcome {
                Ok(next) => {
                    at = next;
                    if next - start > self.options.max_record_bytes && self.is_too_long(&text[start..next]) {
                        self.reject(base, text, start, Fault { reason: Reason::TooLong, at: start, column: None });
                    } else {
                        self.rows += 1;
                        self.batch_bytes += next - start;
                    }
                }
                Err(fault) => at = self.reject(base, text, start, fault),
            }
            self.line += 1;
        }
        self.offset = base + at as u64;
        self.checked = base + checked as u64;
        if end == 0 && chunk.len() - at > self.options.max_record_bytes + 1 {
            self.overlong = Some(Overlong::new(self.line, self.offset));
            at += self.pass_overlong(&chunk[at..], last);
        }
        at
    }

    /// Whether the batch has to be taken before more is decoded.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows >= self.options.batch_rows || self.batch_bytes >= self.options.batch_bytes
    }

    /// Records in the batch so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes the records decoded so far as a batch; `None` if there are none.
    ///
    /// Errors: [`DecodeError::Batch`] if the columns do not fit the schema, which would be a fault of the decoder.
    pub fn flush(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        if self.rows == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.batch_bytes = 0;
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?))
    }

    /// Takes the records rejected so far.
    pub fn take_rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    /// Keys that records had and no column has, each once, in the order in which they came; no more than
    /// [`MAX_UNKNOWN_KEYS`](Self::MAX_UNKNOWN_KEYS).
    pub fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        self.keys.unknown().filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// How many unknown keys are remembered.
    pub const MAX_UNKNOWN_KEYS: usize = keys::MAX_UNKNOWN;

    /// Checks UTF-8 from `at` on for a window of whole lines; says where it ends.
    fn check_window(&mut self, text: &[u8], at: usize) -> usize {
        let end = match text.get(at + WINDOW..) {
            Some(rest) => memchr::memchr(b'\n', rest).map_or(text.len(), |feed| at + WINDOW + feed + 1),
            None => text.len(),
        };
        self.clean = simdutf8::basic::from_utf8(&text[at..end]).is_ok();
        end
    }

    /// A record in a window where some bytes are not UTF-8.
    #[cold]
    fn suspicious_record(&mut self, text: &[u8], start: usize) -> Result<usize, Fault> {
        let end = line_end(text, start);
        match simdutf8::compat::from_utf8(&text[start..end]) {
            Ok(_) => self.record(text, start),
            Err(error) => Err(Fault { reason: Reason::NotUtf8, at: start + error.valid_up_to(), column: None }),
        }
    }

    /// Takes back what a bad record left, notes it, and says where the next line begins.
    ///
    /// A line of nothing but white space is no record.
    #[cold]
    fn reject(&mut self, base: u64, text: &[u8], start: usize, fault: Fault) -> usize {
        for column in &mut self.columns {
            column.cut(self.rows);
        }
        let end = line_end(text, start);
        let line = without_line_end(&text[start..end]);
        if !line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            let long = self.is_too_long(line);
            self.rejected.push(Rejected {
                line: self.line,
                offset: base + fault.at.min(end) as u64,
                column: fault.column,
                reason: if long { Reason::TooLong } else { fault.reason },
                raw: base + start as u64..base + (start + line.len()) as u64,
            });
        }
        (end + 1).min(text.len())
    }

    /// Passes over the rest of a line that is longer than allowed; says how much of `chunk` that was.
    fn pass_overlong(&mut self, chunk: &[u8], last: bool) -> usize {
        let Some(overlong) = self.overlong.take() else { return 0 };
        let passed = overlong.pass(chunk, last);
        self.offset += passed.bytes as u64;
        self.line += u64::from(passed.rejected.is_some());
        self.rejected.extend(passed.rejected);
        self.overlong = passed.open;
        passed.bytes
    }

    fn is_too_long(&self, line: &[u8]) -> bool {
        without_line_end(line).len() > self.options.max_record_bytes
    }

    /// Decodes the record that begins at `start`; says where the next one begins.
    #[inline]
    fn record(&mut self, text: &[u8], start: usize) -> Result<usize, Fault> {
        self.keys.begin();
        let mut at = start;
        let mut key = START;
        let mut filled = 0;
        loop {
            let (next, value) = match self.keys.guess(key, text, at) {
                Some(guessed) => guessed,
                None => self.keys.read(key, text, at).map_err(|(reason, at)| Fault { reason, at, column: None })?,
            };
            if next == END {
                at = value;
                break;
            }
            let target = self.keys.target(next);
            if !self.keys.first_time(next) {
                return Err(Fault { reason: Reason::DuplicateKey, at, column: target.column() });
            }
            at = match target {
                Target::Column(index) => {
                    filled += 1;
                    let column = &mut self.columns[index as usize];
                    decode_value(column, text, value, self.options.epoch)
                }
                Target::Skip => skip_value(text, value),
            }
            .map_err(|reason| Fault { reason, at: value, column: target.column() })?;
            key = next;
        }
        if filled < self.columns.len() {
            self.fill_missing(start)?;
        }
        Ok(at)
    }

    /// Appends nulls for the keys that the record lacks.
    fn fill_missing(&mut self, start: usize) -> Result<(), Fault> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if column.len() == self.rows {
                if !column.nullable {
                    return Err(Fault { reason: Reason::Null, at: start, column: Some(index) });
                }
                column.push_null();
            }
        }
        Ok(())
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn line_end(text: &[u8], start: usize) -> usize {
    memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |feed| start + feed)
}

const NULL: u64 = u32::from_le_bytes(*b"null") as u64;
const TRUE: u64 = u32::from_le_bytes(*b"true") as u64;
const FALSE: u64 = u64::from_le_bytes(*b"false\0\0\0");

/// Appends the value at `at` to its column; says where it ends.
#[inline(always)]
fn decode_value(column: &mut Column, text: &[u8], at: usize, epoch: Option<TimeUnit>) -> Result<usize, Reason> {
    match &mut column.values {
        Values::Integer(values) => {
            if let Some((value, next)) = number::integer(text, at) {
                values.push(value);
                return Ok(next);
            }
        }
        Values::Float(values) => {
            if let Some(plain) = number::plain(text, at)
                && let Some(value) = plain.to_float()
            {
                values.push(value);
                return Ok(plain.next);
            }
        }
        Values::Bool(values) => {
            let word = load8(text, at);
            let (yes, no) = (word & 0xFFFF_FFFF == TRUE, word & 0xFF_FFFF_FFFF == FALSE);
            if yes | no {
                values.push(yes);
                return Ok(at + 4 + usize::from(no));
            }
        }
        Values::Text(sink) => {
            if byte(text, at) == b'"' {
                let next = string(text, at + 1, sink)?;
                sink.end();
                return Ok(next);
            }
        }
        Values::Decimal { values, precision, scale } => {
            if let Some(plain) = number::plain(text, at)
                && let Some(value) = plain.to_decimal(*precision, *scale)
            {
                values.push(value);
                return Ok(plain.next);
            }
        }
        Values::Date { values, last } => {
            if byte(text, at) == b'"' {
                let moment = time::moment(text, at + 1, last)?;
                values.push(moment.date()?);
                return closing_quote(text, moment.next);
            }
        }
        Values::Time { values, unit, last, .. } => {
            if byte(text, at) == b'"' {
                let moment = time::moment(text, at + 1, last)?;
                values.push(moment.since_epoch(*unit)?);
                return closing_quote(text, moment.next);
            }
        }
    }
    decode_unusual(column, text, at, epoch)
}

#[inline(always)]
fn closing_quote(text: &[u8], at: usize) -> Result<usize, Reason> {
    if byte(text, at) == b'"' { Ok(at + 1) } else { Err(Reason::Time) }
}

/// Appends a null or a value that is written in an unusual way, or says what is wrong with it.
#[inline(never)]
fn decode_unusual(column: &mut Column, text: &[u8], at: usize, epoch: Option<TimeUnit>) -> Result<usize, Reason> {
    match byte(text, at) {
        // A guess ended with the colon, and this time there is a space behind it.
        b' ' | b'\t' | b'\r' => decode_value(column, text, scan::skip_space(text, at), epoch),
        b'n' if load8(text, at) & 0xFFFF_FFFF == NULL => {
            if !column.nullable {
                return Err(Reason::Null);
            }
            column.push_null();
            Ok(at + 4)
        }
        b'-' | b'0'..=b'9' | b'N' | b'I' => {
            let end = number::json_number(text, at)?;
            let token = &text[at..end];
            match &mut column.values {
                Values::Integer(values) => values.push(number::integer_of(token)?),
                Values::Float(values) => values.push(number::float_of(token)?),
                Values::Decimal { values, precision, scale } => {
                    values.push(number::decimal_of(token, *precision, *scale)?);
                }
                Values::Date { values, .. } => {
                    values.push(i32::try_from(number::integer_of(token)?).map_err(|_| Reason::OutOfRange)?);
                }
                Values::Time { values, unit, .. } => {
                    values.push(time::change_unit(number::integer_of(token)?, epoch.unwrap_or(*unit), *unit)?);
                }
                Values::Bool(_) | Values::Text(_) => return Err(Reason::WrongType),
            }
            Ok(end)
        }
        b'"' => match &mut column.values {
            Values::Decimal { values, precision, scale } => {
                let end = number::json_number(text, at + 1)?;
                values.push(number::decimal_of(&text[at + 1..end], *precision, *scale)?);
                if byte(text, end) == b'"' { Ok(end + 1) } else { Err(Reason::Number) }
            }
            _ => Err(Reason::WrongType),
        },
        b't' | b'f' | b'{' | b'[' => Err(Reason::WrongType),
        b'\n' => Err(Reason::Truncated),
        _ if at >= text.len() => Err(Reason::Truncated),
        _ => Err(Reason::Syntax),
    }
}
