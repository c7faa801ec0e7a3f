//! CSV of a known schema into columns.
//!
//! Records without quotes are decoded in blocks, column by column (`block`). Others are decoded one by one: each field is
//! parsed by the type of its column where it lies; where the number, text or time ends, the delimiter or the line end has to
//! stand. Only a field that does not read so (quotes, nulls, unusual numbers) is first cut out by the rules of RFC 4180 and
//! then read whole.
//!
//! Beyond RFC 4180: any single-byte delimiter, LF as well as CRLF, quotes inside unquoted fields (text). Not read here:
//! headers, blank lines, quoted fields that the text at hand leaves open, records with too few or too many fields.

mod block;
mod field;

use arrow_schema::TimeUnit;

use self::block::{Block, Index};
use self::field::Field;
use super::column::{Column, Values};
use super::columns::Columns;
use super::swar::{byte, csv_field_stops, load8, load16};
use super::{Begin, Checked, Places, Room, Taken, Unread, number, time};

/// A field whose column the schema does not have.
const SKIPPED: u32 = u32::MAX;

/// How fields are read.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    /// The byte between fields: ASCII, no quote, no line end.
    pub(crate) delimiter: u8,
    /// Fields that are null; a quoted one only where the column is not of text.
    pub(crate) nulls: Vec<String>,
    /// What numbers in timestamp columns count.
    pub(crate) epoch: TimeUnit,
    /// The longest record that is read.
    pub(crate) record_bytes: usize,
}

/// Reads records of CSV.
#[derive(Debug)]
pub(crate) struct CsvRows {
    fields: Fields,
    /// Each field's column.
    slots: Vec<u32>,
    /// Columns that no field fills.
    absent: Vec<usize>,
    /// A bit for every length of a null literal; the highest for all from 63.
    null_lengths: u64,
    checked: Checked,
    unquoted: Vec<u8>,
    index: Index,
    /// Records to decode one by one before blocks are tried again, and after the next block that is no good.
    pause: usize,
    next_pause: usize,
}

impl CsvRows {
    /// Reads records whose fields belong to the columns at `places`; nothing for those that the schema lacks.
    pub(crate) fn new(fields: Fields, places: &[Option<usize>], columns: usize) -> Self {
        let null_lengths = fields.nulls.iter().fold(0, |bits, null| bits | 1 << null.len().min(63));
        Self {
            fields,
            slots: places.iter().map(|place| place.map_or(SKIPPED, |place| place as u32)).collect(),
            absent: (0..columns).filter(|column| !places.contains(&Some(*column))).collect(),
            null_lengths,
            checked: Checked::new(),
            unquoted: Vec::new(),
            index: Index::default(),
            pause: 0,
            next_pause: 1,
        }
    }

    /// Appends the records that `text` begins with, up to one that is not read here or to the end of the room.
    ///
    /// The text is of whole lines.
    pub(crate) fn take(
        &mut self,
        columns: &mut Columns,
        text: &[u8],
        begin: Begin,
        room: Room,
        places: &mut Places,
    ) -> Taken {
        let end = columns.rows + room.rows;
        let (mut at, mut lines) = (0, 0);
        while at < text.len() && columns.rows < end && at < room.bytes {
            let checked = self.checked.reach(text, begin.offset, at);
            let here = Begin { line: begin.line + lines, offset: begin.offset + at as u64 };
            if self.pause > 0 {
                self.pause -= 1;
            } else if self.checked.clean && checked - at <= self.fields.record_bytes {
                let stretch = &text[at..checked.min(room.bytes)];
                let (rows, bytes) = self.block(columns, stretch, here, end - columns.rows, places);
                if rows > 0 {
                    at += bytes;
                    lines += rows as u64;
                    continue;
                }
            }
            match self.sound_record(columns, text, at, checked) {
                Ok((next, feeds)) => {
                    places.lines.push(here.line);
                    places.offsets.push(here.offset);
                    columns.rows += 1;
                    lines += 1 + feeds;
                    at = next;
                }
                Err(Unread) => {
                    columns.cut();
                    break;
                }
            }
        }
        Taken { bytes: at, lines }
    }

    /// Decodes the plain records that `text` begins with; says how many, and how many bytes they were.
    fn block(
        &mut self,
        columns: &mut Columns,
        text: &[u8],
        begin: Begin,
        room: usize,
        places: &mut Places,
    ) -> (usize, usize) {
        let block = Block { text, slots: &self.slots, fields: &self.fields, null_lengths: self.null_lengths };
        let (rows, bytes) = block.decode(&mut self.index, &mut columns.columns, room);
        columns.rows += rows;
        columns.cut();
        for &index in &self.absent {
            while columns.columns[index].len() < columns.rows {
                columns.columns[index].push_null();
            }
        }
        places.lines.extend(begin.line..begin.line + rows as u64);
        let starts = self.index.line_starts(self.slots.len()).take(rows);
        places.offsets.extend(starts.map(|start| begin.offset + u64::from(start)));
        // Where blocks are short they do not pay: many quotes, or many records that are not read here.
        if rows < 16 && bytes < text.len() && rows < room {
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(256);
        } else {
            self.next_pause = 1;
        }
        (rows, bytes)
    }

    /// Reads the record at `start` and checks it; says where the next one begins, and how many line feeds are within.
    #[inline]
    fn sound_record(
        &mut self,
        columns: &mut Columns,
        text: &[u8],
        start: usize,
        checked: usize,
    ) -> Result<(usize, u64), Unread> {
        if blank_line(text, start) {
            return Err(Unread);
        }
        let (next, has_quotes) = self.record(columns, text, start)?;
        let is_checked = self.checked.clean && next <= checked;
        if next - start > self.fields.record_bytes
            || (!is_checked && simdutf8::basic::from_utf8(&text[start..next]).is_err())
        {
            return Err(Unread);
        }
        let feeds = match has_quotes {
            true => memchr::memchr_iter(b'\n', &text[start..next - 1]).count() as u64,
            false => 0,
        };
        Ok((next, feeds))
    }

    /// Decodes the record that begins at `start`; says where the next one begins, and whether a field has quotes.
    #[inline]
    fn record(&mut self, columns: &mut Columns, text: &[u8], start: usize) -> Result<(usize, bool), Unread> {
        let mut at = start;
        let mut has_quotes = false;
        let last = self.slots.len().checked_sub(1).ok_or(Unread)?;
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            let separator = if index == last { b'\n' } else { self.fields.delimiter };
            let plain = match columns.columns.get_mut(slot as usize) {
                Some(column) => plain_field(column, text, at, &self.fields, self.null_lengths),
                None => plain_skip(text, at, self.fields.delimiter),
            };
            if let Some(next) = plain {
                let ending = line_or_field_end(text, next, separator, index == last);
                if ending > 0 {
                    at = next + ending;
                    continue;
                }
            }
            let column = columns.columns.get_mut(slot as usize);
            let field = self.unusual_field(column, text, at, index == last, columns.rows)?;
            has_quotes |= field.quoted;
            at = field.next;
        }
        for &index in &self.absent {
            columns.columns[index].push_null();
        }
        Ok((at, has_quotes))
    }

    /// Cuts a field out by the rules, and reads it whole.
    #[inline(never)]
    fn unusual_field(
        &mut self,
        column: Option<&mut Column>,
        text: &[u8],
        at: usize,
        is_last: bool,
        rows: usize,
    ) -> Result<Field, Unread> {
        let field = Field::read(text, at, self.fields.delimiter, &mut self.unquoted).ok_or(Unread)?;
        if field.ends_record != is_last {
            return Err(Unread);
        }
        if let Some(column) = column {
            column.cut(rows);
            whole_field(column, field.bytes(text, &self.unquoted), field.quoted, &self.fields)?;
        }
        Ok(field)
    }
}

/// Whether a blank line is at `at`.
fn blank_line(text: &[u8], at: usize) -> bool {
    byte(text, at) == b'\n' || (byte(text, at) == b'\r' && byte(text, at + 1) == b'\n')
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
fn plain_field(column: &mut Column, text: &[u8], at: usize, fields: &Fields, null_lengths: u64) -> Option<usize> {
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
            if !(yes | no) || may_be_null(next) {
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
                let stops = csv_field_stops(block, fields.delimiter);
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
        Values::Time { values, unit, zone, last } => {
            let (value, next) = if byte(text, at + 4) == b'-' {
                let moment = time::moment(text, at, last).ok()?;
                (moment.since_epoch(*unit, zone.is_some()).ok()?, moment.next)
            } else {
                let (value, next) = number::integer(text, at)?;
                (time::change_unit(value, fields.epoch, *unit).ok()?, next)
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
fn whole_field(column: &mut Column, bytes: &[u8], is_quoted: bool, fields: &Fields) -> Result<(), Unread> {
    let may_be_null = !(is_quoted && matches!(column.values, Values::Text(_)));
    if may_be_null && fields.nulls.iter().any(|null| null.as_bytes() == bytes) {
        if !column.nullable {
            return Err(Unread);
        }
        column.push_null();
        return Ok(());
    }
    match &mut column.values {
        Values::Integer(values) => values.push(whole_number(bytes)?),
        Values::Float(values) => {
            number::csv_number(bytes)?;
            values.push(number::float_of(bytes)?);
        }
        Values::Bool(values) => values.push(match bytes {
            b"true" | b"True" | b"TRUE" => true,
            b"false" | b"False" | b"FALSE" => false,
            _ => return Err(Unread),
        }),
        Values::Text(sink) => {
            sink.extend(bytes);
            sink.end();
        }
        Values::Decimal { values, precision, scale } => {
            number::csv_number(bytes)?;
            values.push(number::decimal_of(bytes, *precision, *scale)?);
        }
        Values::Date { values, last } => {
            let moment = time::moment(bytes, 0, last)?;
            let is_whole = moment.next == bytes.len();
            values.push(if is_whole { moment.date()? } else { return Err(Unread) });
        }
        Values::Time { values, unit, zone, last } => match time::moment(bytes, 0, last) {
            Ok(moment) if moment.next == bytes.len() => values.push(moment.since_epoch(*unit, zone.is_some())?),
            _ => values.push(time::change_unit(whole_number(bytes)?, fields.epoch, *unit)?),
        },
    }
    Ok(())
}

fn whole_number(bytes: &[u8]) -> Result<i64, Unread> {
    number::csv_number(bytes)?;
    number::integer_of(bytes)
}
