//! CSV of a known schema into record batches.
//!
//! Records without quotes are decoded in blocks, column by column (`block`). Others are decoded one by one: each field is
//! parsed by the type of its column where it lies; where the number, text or time ends, the delimiter or the line end has to
//! stand. Only a field that does not read so (quotes, nulls, unusual numbers, faults) is first cut out by the rules of
//! RFC 4180 and then read whole.
//!
//! Beyond RFC 4180: any single-byte delimiter, LF as well as CRLF, a byte order mark, blank lines (no records), quotes inside
//! unquoted fields (text). Refused are records with too few or too many fields and text behind a closing quote. A quoted
//! field that is never closed would swallow the rest: only its first line is rejected then, and decoding goes on behind it.
//!
//! An unquoted field that equals a null literal is null; a quoted one too, unless the column is of text: `""` is an empty
//! text. Integers take `3.0` and `3e2`, floats any number, dates and timestamps ISO 8601 and whole numbers (days;
//! [`CsvOptions::epoch`] units). Nothing is rounded but floats.

mod block;
mod field;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{SchemaRef, TimeUnit};

use self::block::{Block, Index};
use self::field::Field;
use super::column::{Column, Values};
use super::number;
use super::overlong::Overlong;
use super::rejected::{Reason, Rejected};
use super::swar::{byte, csv_field_stops, load8, load16};
use super::{DecodeError, time};

/// Bytes whose UTF-8 is checked at once: they are still in the nearest cache when they are decoded.
const WINDOW: usize = 32 << 10;

/// What the first record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Names: columns are found by them, in any order; those that are missing are null.
    Names,
    /// Names that do not matter: columns are in the schema's order.
    Ignored,
    /// A record like the others: columns are in the schema's order.
    Absent,
}

/// What becomes of `inf` and `NaN` in columns of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// The record is rejected.
    Reject,
    /// They are values: `inf`, `infinity`, `nan` in any case, with a sign.
    Accept,
}

/// How CSV is read.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// The byte between fields.
    pub delimiter: u8,
    /// What the first record is.
    pub header: Header,
    /// Fields that are null.
    pub nulls: Vec<String>,
    /// Fields that are true.
    pub trues: Vec<String>,
    /// Fields that are false.
    pub falses: Vec<String>,
    /// What becomes of `inf` and `NaN`.
    pub non_finite: NonFinite,
    /// The unit of numbers in timestamp columns; `None`: the column's.
    pub epoch: Option<TimeUnit>,
    /// Records in a batch.
    pub batch_rows: usize,
    /// Bytes of text after which a batch is full however few records it has.
    pub batch_bytes: usize,
    /// The longest record; longer ones are rejected.
    pub max_record_bytes: usize,
}

impl Default for CsvOptions {
    fn default() -> Self {
        let words = |words: [&str; 3]| words.map(str::to_owned).to_vec();
        Self {
            delimiter: b',',
            header: Header::Names,
            nulls: vec![String::new()],
            trues: words(["true", "True", "TRUE"]),
            falses: words(["false", "False", "FALSE"]),
            non_finite: NonFinite::Reject,
            epoch: None,
            batch_rows: 8192,
            batch_bytes: 64 << 20,
            max_record_bytes: 16 << 20,
        }
    }
}

/// A field whose column the schema does not have.
const SKIPPED: u32 = u32::MAX;

/// Decodes CSV, chunk by chunk.
#[derive(Debug)]
pub struct CsvDecoder {
    schema: SchemaRef,
    options: CsvOptions,
    columns: Vec<Column>,
    /// Each field's column.
    slots: Vec<u32>,
    /// Columns that no field fills.
    absent: Vec<usize>,
    unknown: Vec<String>,
    header_pending: bool,
    /// A bit for every length of a null literal; the highest for all from 63.
    null_lengths: u64,
    /// Whether `true` and `false` are among the literals.
    plain_bools: bool,
    rows: usize,
    batch_bytes: usize,
    /// Where the next byte to decode stands in the text.
    offset: u64,
    /// The line that it begins, from 1.
    line: u64,
    /// Up to where UTF-8 was checked, and whether that found a fault.
    checked: u64,
    clean: bool,
    overlong: Option<Overlong>,
    rejected: Vec<Rejected>,
    unquoted: Vec<u8>,
    index: Index,
    /// Records to decode one by one before blocks are tried again, and after the next block that is no good.
    pause: usize,
    next_pause: usize,
    /// Whether the record has a quoted field, which may hold line feeds.
    has_quotes: bool,
}

/// Why a record could not be read.
enum Stop {
    /// A quoted field is still open where the text ends.
    Open,
    /// Something is wrong with it.
    Fault { reason: Reason, at: usize, column: Option<usize> },
}

impl CsvDecoder {
    /// A decoder for `schema`.
    ///
    /// Errors: [`DecodeError::Unsupported`] for a schema that [`supports`](super::supports) denies,
    /// [`DecodeError::Delimiter`].
    pub fn try_new(schema: SchemaRef, options: CsvOptions) -> Result<Self, DecodeError> {
        if !options.delimiter.is_ascii() || matches!(options.delimiter, b'"' | b'\n' | b'\r') {
            return Err(DecodeError::Delimiter { delimiter: options.delimiter });
        }
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            columns.push(Column::new(field).ok_or_else(|| DecodeError::Unsupported {
                column: field.name().clone(),
                data_type: field.data_type().clone(),
            })?);
        }
        let null_lengths = options.nulls.iter().fold(0, |bits, null| bits | 1 << null.len().min(63));
        let plain_bools =
            options.trues.iter().any(|word| word == "true") && options.falses.iter().any(|word| word == "false");
        Ok(Self {
            slots: (0..columns.len() as u32).collect(),
            absent: Vec::new(),
            unknown: Vec::new(),
            header_pending: options.header != Header::Absent,
            schema,
            options,
            columns,
            null_lengths,
            plain_bools,
            rows: 0,
            batch_bytes: 0,
            offset: 0,
            line: 1,
            checked: 0,
            clean: true,
            overlong: None,
            rejected: Vec::new(),
            unquoted: Vec::new(),
            index: Index::default(),
            pause: 0,
            next_pause: 1,
            has_quotes: false,
        })
    }

    /// Decodes the records of `chunk` that are whole, until the batch is full; says how many bytes are done with.
    ///
    /// The next call's chunk begins with the bytes that were left. `last` says that none follow it: its last record may
    /// lack a line end. Zero bytes done with, and the batch not full, asks for a longer chunk.
    ///
    /// Errors: the header names a column twice, lacks one that may not be null, or is no record of text.
    pub fn decode(&mut self, chunk: &[u8], last: bool) -> Result<usize, DecodeError> {
        let mut at = self.pass_overlong(chunk, last);
        let base = self.offset - at as u64;
        let end = if last { chunk.len() } else { memchr::memrchr(b'\n', chunk).map_or(0, |feed| feed + 1) };
        let text = &chunk[..end.max(at)];
        if self.offset == 0 && text.starts_with(b"\xEF\xBB\xBF") {
            at = 3;
        }
        let mut checked = usize::try_from(self.checked.saturating_sub(base)).unwrap_or(usize::MAX);
        while at < text.len() && !self.is_full() {
            if at >= checked {
                checked = self.check_window(text, at);
            }
            let start = at;
            let blank = blank_line(text, at);
            if blank > 0 {
                at += blank;
                self.line += 1;
                continue;
            }
            if self.header_pending {
                let Some(next) = self.header(text, start, last)? else { break };
                at = next;
                self.header_pending = false;
                continue;
            }
            if self.pause > 0 {
                self.pause -= 1;
            } else if self.clean && checked.min(text.len()) - at <= self.options.max_record_bytes {
                let done = self.block(&text[at..checked.min(text.len())]);
                if done > 0 {
                    at += done;
                    continue;
                }
            }
            self.has_quotes = false;
            let mut outcome = self.record(text, start);
            if let Ok(next) = outcome {
                if (!self.clean || next > checked)
                    && let Err(error) = simdutf8::compat::from_utf8(&text[start..next])
                {
                    let at = start + error.valid_up_to();
                    outcome = Err(Stop::Fault { reason: Reason::NotUtf8, at, column: None });
                } else if next - start > self.options.max_record_bytes
                    && line_body(&text[start..next]).len() > self.options.max_record_bytes
                {
                    outcome = Err(Stop::Fault { reason: Reason::TooLong, at: start, column: None });
                }
            }
            match outcome {
                Ok(next) => {
                    self.rows += 1;
                    self.batch_bytes += next - start;
                    self.line += 1;
                    if self.has_quotes {
                        self.line += inner_feeds(&text[start..next]);
                    }
                    at = next;
                }
                Err(stop) => match self.reject(base, text, start, stop, last) {
                    Some(next) => at = next,
                    None => break,
                },
            }
            checked = checked.max(at);
        }
        self.offset = base + at as u64;
        self.checked = base + checked as u64;
        let rest = &chunk[at..];
        if !last && rest.len() > self.options.max_record_bytes + 1 && memchr::memchr(b'\n', rest).is_none() {
            self.overlong = Some(Overlong::new(self.line, self.offset));
            at += self.pass_overlong(rest, last);
        }
        Ok(at)
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

    /// Names in the header that no column has.
    pub fn unknown_columns(&self) -> &[String] {
        &self.unknown
    }

    /// Columns that the header does not name, by their place in the schema.
    pub fn absent_columns(&self) -> &[usize] {
        &self.absent
    }

    fn check_window(&mut self, text: &[u8], at: usize) -> usize {
        let end = match text.get(at + WINDOW..) {
            Some(rest) => memchr::memchr(b'\n', rest).map_or(text.len(), |feed| at + WINDOW + feed + 1),
            None => text.len(),
        };
        self.clean = simdutf8::basic::from_utf8(&text[at..end]).is_ok();
        end
    }

    /// Reads the names of the header and finds their columns; says where the records begin, if the header is whole.
    fn header(&mut self, text: &[u8], start: usize, last: bool) -> Result<Option<usize>, DecodeError> {
        let mut names: Vec<String> = Vec::new();
        let mut at = start;
        loop {
            let Some(field) = Field::read(text, at, self.options.delimiter, &mut self.unquoted) else {
                if last || text.len() - start > self.options.max_record_bytes {
                    return Err(DecodeError::Header { reason: Reason::OpenQuote });
                }
                return Ok(None);
            };
            if let Some(reason) = field.fault {
                return Err(DecodeError::Header { reason });
            }
            let name = std::str::from_utf8(field.bytes(text, &self.unquoted))
                .map_err(|_| DecodeError::Header { reason: Reason::NotUtf8 })?;
            names.push(name.to_owned());
            at = field.next;
            if field.ends_record {
                break;
            }
        }
        self.line += 1 + inner_feeds(&text[start..at]);
        if self.options.header == Header::Names {
            self.find_columns(names)?;
        }
        Ok(Some(at))
    }

    fn find_columns(&mut self, names: Vec<String>) -> Result<(), DecodeError> {
        let mut found = vec![false; self.columns.len()];
        self.slots.clear();
        for name in names {
            let Ok(index) = self.schema.index_of(&name) else {
                self.slots.push(SKIPPED);
                self.unknown.push(name);
                continue;
            };
            if std::mem::replace(&mut found[index], true) {
                return Err(DecodeError::HeaderRepeats { column: name });
            }
            self.slots.push(index as u32);
        }
        self.absent = (0..found.len()).filter(|&index| !found[index]).collect();
        match self.absent.iter().find(|&&index| !self.columns[index].nullable) {
            Some(&index) => Err(DecodeError::HeaderLacks { column: self.schema.field(index).name().clone() }),
            None => Ok(()),
        }
    }

    /// Takes back what a bad record left, notes it, and says where decoding goes on; `None`: the record is not whole yet.
    #[cold]
    fn reject(&mut self, base: u64, text: &[u8], start: usize, stop: Stop, last: bool) -> Option<usize> {
        for column in &mut self.columns {
            column.cut(self.rows);
        }
        let limit = self.options.max_record_bytes;
        let (mut at, mut found, mut quotes) = (start, 0_u32, None);
        let whole = loop {
            let Some(field) = Field::read(text, at, self.options.delimiter, &mut self.unquoted) else { break false };
            found += 1;
            quotes = quotes.or(field.fault.map(|reason| (reason, at)));
            at = field.next;
            if field.ends_record {
                break true;
            }
        };
        if !whole && !last && text.len() - start <= limit {
            return None;
        }
        let length = if whole { line_body(&text[start..at]).len() } else { text.len() - start };
        let (reason, fault, column, next) = if length > limit || !whole {
            // Of what quotes hold together only the first line is given up.
            let next = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |feed| start + feed + 1);
            let reason = if length > limit { Reason::TooLong } else { Reason::OpenQuote };
            (reason, if length > limit { start } else { at }, None, next)
        } else if let Some((reason, fault)) = quotes {
            (reason, fault, None, at)
        } else if found as usize != self.slots.len() {
            (Reason::FieldCount { found }, start, None, at)
        } else if let Stop::Fault { reason, at: fault, column } = stop {
            (reason, fault, column, at)
        } else {
            (Reason::OpenQuote, start, None, at)
        };
        let body = line_body(&text[start..next]);
        self.rejected.push(Rejected {
            line: self.line,
            offset: base + fault as u64,
            column,
            reason,
            raw: base + start as u64..base + (start + body.len()) as u64,
        });
        self.line += 1 + inner_feeds(&text[start..next]);
        Some(next)
    }

    fn pass_overlong(&mut self, chunk: &[u8], last: bool) -> usize {
        let Some(overlong) = self.overlong.take() else { return 0 };
        let passed = overlong.pass(chunk, last);
        self.offset += passed.bytes as u64;
        self.line += u64::from(passed.rejected.is_some());
        self.rejected.extend(passed.rejected);
        self.overlong = passed.open;
        passed.bytes
    }

    /// Decodes the plain records that `text` begins with; says how many bytes they were.
    fn block(&mut self, text: &[u8]) -> usize {
        let block = Block {
            text,
            slots: &self.slots,
            options: &self.options,
            null_lengths: self.null_lengths,
            plain_bools: self.plain_bools,
        };
        let room = self.options.batch_rows - self.rows;
        let (rows, bytes) = block.decode(&mut self.index, &mut self.columns, room);
        self.rows += rows;
        for column in &mut self.columns {
            column.cut(self.rows);
        }
        for &index in &self.absent {
            while self.columns[index].len() < self.rows {
                self.columns[index].push_null();
            }
        }
        self.line += rows as u64;
        self.batch_bytes += bytes;
        // Where blocks are short they do not pay: many quotes, or many records to reject.
        if rows < 16 && bytes < text.len() && rows < room {
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(256);
        } else {
            self.next_pause = 1;
        }
        bytes
    }

    /// Decodes the record that begins at `start`; says where the next one begins.
    #[inline]
    fn record(&mut self, text: &[u8], start: usize) -> Result<usize, Stop> {
        let mut at = start;
        let Some(last) = self.slots.len().checked_sub(1) else {
            return Err(Stop::Fault { reason: Reason::FieldCount { found: 0 }, at, column: None });
        };
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            let separator = if index == last { b'\n' } else { self.options.delimiter };
            let plain = match self.columns.get_mut(slot as usize) {
                Some(column) => plain_field(
                    column,
                    text,
                    at,
                    self.options.delimiter,
                    self.null_lengths,
                    self.plain_bools,
                    self.options.epoch,
                ),
                None => plain_skip(text, at, self.options.delimiter),
            };
            if let Some(next) = plain {
                let ending = line_or_field_end(text, next, separator, index == last);
                if ending > 0 {
                    at = next + ending;
                    continue;
                }
            }
            if let Some(column) = self.columns.get_mut(slot as usize) {
                column.cut(self.rows);
            }
            at = self.unusual_field(text, at, slot, index == last)?;
        }
        for &index in &self.absent {
            self.columns[index].push_null();
        }
        Ok(at)
    }

    /// Cuts a field out by the rules, and reads it whole.
    #[inline(never)]
    fn unusual_field(&mut self, text: &[u8], at: usize, slot: u32, is_last: bool) -> Result<usize, Stop> {
        let field = Field::read(text, at, self.options.delimiter, &mut self.unquoted).ok_or(Stop::Open)?;
        self.has_quotes |= field.quoted;
        let column = (slot != SKIPPED).then_some(slot as usize);
        let fault = |reason| Stop::Fault { reason, at, column };
        if field.ends_record != is_last {
            return Err(fault(Reason::FieldCount { found: 0 }));
        }
        if let Some(reason) = field.fault {
            return Err(fault(reason));
        }
        if let Some(index) = column {
            let column = &mut self.columns[index];
            let bytes = field.bytes(text, &self.unquoted);
            whole_field(column, bytes, &field, &self.options).map_err(fault)?;
        }
        Ok(field.next)
    }
}

/// The length of a blank line at `at`, its end included; 0 if there is none.
fn blank_line(text: &[u8], at: usize) -> usize {
    match byte(text, at) {
        b'\n' => 1,
        b'\r' if byte(text, at + 1) == b'\n' => 2,
        b'\r' if at + 1 == text.len() => 1,
        _ => 0,
    }
}

/// A record without its line end.
fn line_body(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

fn inner_feeds(record: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', record.strip_suffix(b"\n").unwrap_or(record)).count() as u64
}

/// The length of what ends a field, if that stands at `at`.
#[inline(always)]
fn line_or_field_end(text: &[u8], at: usize, separator: u8, is_last: bool) -> usize {
    if byte(text, at) == separator && at < text.len() {
        1
    } else if is_last && byte(text, at) == b'\r' && byte(text, at + 1) == b'\n' {
        2
    } else {
        0
    }
}

const TRUE: u64 = u32::from_le_bytes(*b"true") as u64;
const FALSE: u64 = u64::from_le_bytes(*b"false\0\0\0");

/// Appends the field at `at` to its column if it is written plainly; says where it ends. What follows is not looked at.
#[inline(always)]
fn plain_field(
    column: &mut Column,
    text: &[u8],
    at: usize,
    delimiter: u8,
    null_lengths: u64,
    plain_bools: bool,
    epoch: Option<TimeUnit>,
) -> Option<usize> {
    // What is as long as a null literal may be one.
    let may_be_null = |end: usize| null_lengths >> (end - at).min(63) & 1 == 1;
    match &mut column.values {
        Values::Integer(values) => {
            let (value, next) = number::integer(text, at)?;
            if may_be_null(next) {
                return None;
            }
            values.push(value);
            Some(next)
        }
        Values::Float(values) => {
            let plain = number::plain(text, at)?;
            let value = plain.to_float()?;
            if may_be_null(plain.next) {
                return None;
            }
            values.push(value);
            Some(plain.next)
        }
        Values::Bool(values) => {
            let word = load8(text, at);
            let (yes, no) = (word & 0xFFFF_FFFF == TRUE, word & 0xFF_FFFF_FFFF == FALSE);
            let next = at + 4 + usize::from(no);
            if !(yes | no) || !plain_bools || may_be_null(next) {
                return None;
            }
            values.push(yes);
            Some(next)
        }
        Values::Text(sink) => {
            if byte(text, at) == b'"' {
                return None;
            }
            let mut next = at;
            loop {
                let block = load16(text, next);
                let stops = csv_field_stops(block, delimiter);
                let count = stops.first();
                sink.store(block, count);
                next += count;
                if !stops.none() {
                    break;
                }
                if next >= text.len() {
                    return None;
                }
            }
            if may_be_null(next) {
                return None;
            }
            sink.end();
            Some(next)
        }
        Values::Decimal { values, precision, scale } => {
            let plain = number::plain(text, at)?;
            let value = plain.to_decimal(*precision, *scale)?;
            if may_be_null(plain.next) {
                return None;
            }
            values.push(value);
            Some(plain.next)
        }
        Values::Date { values, last } => {
            let moment = time::moment(text, at, last).ok()?;
            let value = moment.date().ok()?;
            if may_be_null(moment.next) {
                return None;
            }
            values.push(value);
            Some(moment.next)
        }
        Values::Time { values, unit, last, .. } => {
            let (value, next) = if byte(text, at + 4) == b'-' {
                let moment = time::moment(text, at, last).ok()?;
                (moment.since_epoch(*unit).ok()?, moment.next)
            } else {
                let (value, next) = number::integer(text, at)?;
                (time::change_unit(value, epoch.unwrap_or(*unit), *unit).ok()?, next)
            };
            if may_be_null(next) {
                return None;
            }
            values.push(value);
            Some(next)
        }
    }
}

/// The end of a field that no column takes.
#[inline(always)]
fn plain_skip(text: &[u8], at: usize, delimiter: u8) -> Option<usize> {
    if byte(text, at) == b'"' {
        return None;
    }
    let mut next = at;
    while next < text.len() {
        let stops = csv_field_stops(load16(text, next), delimiter);
        next += stops.first();
        if !stops.none() {
            return Some(next);
        }
    }
    None
}

/// Appends a field that was cut out.
fn whole_field(column: &mut Column, bytes: &[u8], field: &Field, options: &CsvOptions) -> Result<(), Reason> {
    let may_be_null = !(field.quoted && matches!(column.values, Values::Text(_)));
    if may_be_null && options.nulls.iter().any(|null| null.as_bytes() == bytes) {
        if !column.nullable {
            return Err(Reason::Null);
        }
        column.push_null();
        return Ok(());
    }
    let is = |words: &[String]| words.iter().any(|word| word.as_bytes() == bytes);
    match &mut column.values {
        Values::Integer(values) => values.push(whole_number(bytes)?),
        Values::Float(values) => values.push(match number::csv_number(bytes) {
            Ok(()) => number::float_of(bytes)?,
            Err(reason) => not_finite(bytes, options.non_finite).unwrap_or(Err(reason))?,
        }),
        Values::Bool(values) => values.push(match (is(&options.trues), is(&options.falses)) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err(Reason::WrongType),
        }),
        Values::Text(sink) => {
            sink.extend(bytes);
            sink.end();
        }
        Values::Decimal { values, precision, scale } => {
            number::csv_number(bytes)?;
            values.push(number::decimal_of(bytes, *precision, *scale)?);
        }
        Values::Date { values, last } => match time::moment(bytes, 0, last) {
            Ok(moment) if moment.next == bytes.len() => values.push(moment.date()?),
            _ => values.push(i32::try_from(count(bytes)?).map_err(|_| Reason::OutOfRange)?),
        },
        Values::Time { values, unit, last, .. } => match time::moment(bytes, 0, last) {
            Ok(moment) if moment.next == bytes.len() => values.push(moment.since_epoch(*unit)?),
            _ => values.push(time::change_unit(count(bytes)?, options.epoch.unwrap_or(*unit), *unit)?),
        },
    }
    Ok(())
}

fn whole_number(bytes: &[u8]) -> Result<i64, Reason> {
    match number::csv_number(bytes) {
        Ok(()) => number::integer_of(bytes),
        Err(reason) => Err(if not_finite(bytes, NonFinite::Accept).is_some() { Reason::NotFinite } else { reason }),
    }
}

/// The units or days that a field counts; what is no number was meant as a time.
fn count(bytes: &[u8]) -> Result<i64, Reason> {
    number::csv_number(bytes).map_err(|_| Reason::Time)?;
    number::integer_of(bytes)
}

/// The value of a field that writes an infinity or `NaN`.
fn not_finite(bytes: &[u8], accepted: NonFinite) -> Option<Result<f64, Reason>> {
    let (sign, word) = match bytes.split_first()? {
        (b'-', word) => (-1.0, word),
        (b'+', word) => (1.0, word),
        _ => (1.0, bytes),
    };
    let value = if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") {
        f64::INFINITY
    } else if word.eq_ignore_ascii_case(b"nan") {
        f64::NAN
    } else {
        return None;
    };
    Some(match accepted {
        NonFinite::Accept => Ok(sign * value),
        NonFinite::Reject => Err(Reason::NotFinite),
    })
}
