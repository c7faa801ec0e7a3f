//! JSON lines of a known schema into columns.
//!
//! Records of one source mostly write the same keys in the same order with the same spaces. So after each value the bytes
//! up to the next value (`,"amount":`) are guessed: they are compared with what followed that key before, and only where
//! they differ is punctuation read and the key looked up. Since a guess was read by the rules once, equal bytes are as
//! valid. A missing or moved key costs one look-up, not the record's speed. Values are then parsed by the type of
//! their column; no tape or index is built.
//!
//! What is checked is all of JSON: punctuation, escapes and surrogates, UTF-8 (a window at a time), numbers, control
//! characters, nesting (128 deep), keys that stand twice in a record; inside values of unknown keys all but the last. A key
//! that no column has is skipped and remembered ([`JsonRows::unknown`]). A missing key is null.

mod keys;
mod scan;

use arrow_schema::TimeUnit;

use self::keys::{END, Keys, START, Target};
use self::scan::{skip_value, string};
use super::column::{Column, Values};
use super::columns::Columns;
use super::swar::{byte, load8};
use super::{Begin, Checked, Places, Room, Taken, Unread, number, time};

/// Reads JSON lines.
#[derive(Debug)]
pub(crate) struct JsonRows {
    keys: Keys,
    /// What numbers in timestamp columns count.
    epoch: TimeUnit,
    /// The longest line that is read.
    record_bytes: usize,
    checked: Checked,
    /// How many unknown keys were told.
    told: usize,
}

impl JsonRows {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>, epoch: TimeUnit, record_bytes: usize) -> Self {
        Self { keys: Keys::new(names.map(str::as_bytes)), epoch, record_bytes, checked: Checked::new(), told: 0 }
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
        let before = columns.rows;
        let mut at = 0;
        while at < text.len() && columns.rows - before < room.rows && at < room.bytes {
            self.checked.reach(text, begin.offset, at);
            let next = match self.checked.clean {
                true => self.record(columns, text, at),
                false => self.suspicious_record(columns, text, at),
            };
            match next {
                Ok(next) if next - at <= self.record_bytes => {
                    places.offsets.push(begin.offset + at as u64);
                    columns.rows += 1;
                    at = next;
                }
                // Line ends count for the rules, which are asked where it is close.
                Ok(_) | Err(Unread) => {
                    columns.cut();
                    self.keys.withdraw();
                    break;
                }
            }
        }
        let lines = (columns.rows - before) as u64;
        places.lines.extend(begin.line..begin.line + lines);
        Taken { bytes: at, lines }
    }

    /// Keys of the records taken since the last call that no column has, each told once.
    pub(crate) fn unknown(&mut self) -> impl Iterator<Item = &str> {
        let told = std::mem::replace(&mut self.told, self.keys.unknown().len());
        self.keys.unknown()[told..].iter().filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// A record in a window where some bytes are not UTF-8.
    #[cold]
    fn suspicious_record(&mut self, columns: &mut Columns, text: &[u8], start: usize) -> Result<usize, Unread> {
        let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |feed| start + feed);
        match simdutf8::basic::from_utf8(&text[start..end]) {
            Ok(_) => self.record(columns, text, start),
            Err(_) => {
                // Nothing of it is there to be withdrawn.
                self.keys.begin();
                Err(Unread)
            }
        }
    }

    /// Reads the record that begins at `start`; says where the next one begins.
    #[inline]
    fn record(&mut self, columns: &mut Columns, text: &[u8], start: usize) -> Result<usize, Unread> {
        self.keys.begin();
        let mut at = start;
        let mut key = START;
        let mut filled = 0;
        loop {
            let (next, value) = match self.keys.guess(key, text, at) {
                Some(guessed) => guessed,
                None => self.keys.read(key, text, at)?,
            };
            if next == END {
                at = value;
                break;
            }
            if !self.keys.first_time(next) {
                return Err(Unread);
            }
            at = match self.keys.target(next) {
                Target::Column(index) => {
                    filled += 1;
                    decode_value(&mut columns.columns[index as usize], text, value, self.epoch)?
                }
                Target::Skip => skip_value(text, value)?,
            };
            key = next;
        }
        if filled < columns.columns.len() {
            fill_missing(columns)?;
        }
        Ok(at)
    }
}

/// Appends nulls for the keys that the record lacks.
fn fill_missing(columns: &mut Columns) -> Result<(), Unread> {
    for column in &mut columns.columns {
        if column.len() == columns.rows {
            if !column.nullable {
                return Err(Unread);
            }
            column.push_null();
        }
    }
    Ok(())
}

const NULL: u64 = u32::from_le_bytes(*b"null") as u64;
const TRUE: u64 = u32::from_le_bytes(*b"true") as u64;
const FALSE: u64 = u64::from_le_bytes(*b"false\0\0\0");

/// Appends the value at `at` to its column; says where it ends.
#[inline(always)]
fn decode_value(column: &mut Column, text: &[u8], at: usize, epoch: TimeUnit) -> Result<usize, Unread> {
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
        Values::Time { values, unit, zone, last } => {
            if byte(text, at) == b'"' {
                let moment = time::moment(text, at + 1, last)?;
                values.push(moment.since_epoch(*unit, zone.is_some())?);
                return closing_quote(text, moment.next);
            }
        }
    }
    decode_unusual(column, text, at, epoch)
}

#[inline(always)]
fn closing_quote(text: &[u8], at: usize) -> Result<usize, Unread> {
    if byte(text, at) == b'"' { Ok(at + 1) } else { Err(Unread) }
}

/// Appends a null or a value that is written in an unusual way.
#[inline(never)]
fn decode_unusual(column: &mut Column, text: &[u8], at: usize, epoch: TimeUnit) -> Result<usize, Unread> {
    match byte(text, at) {
        // A guess ended with the colon, and this time there is a space behind it.
        b' ' | b'\t' | b'\r' => decode_value(column, text, scan::skip_space(text, at), epoch),
        b'n' if load8(text, at) & 0xFFFF_FFFF == NULL && column.nullable => {
            column.push_null();
            Ok(at + 4)
        }
        b'-' | b'0'..=b'9' => {
            let end = number::json_number(text, at)?;
            let token = &text[at..end];
            match &mut column.values {
                Values::Integer(values) => values.push(number::integer_of(token)?),
                Values::Float(values) => values.push(number::float_of(token)?),
                Values::Decimal { values, precision, scale } => {
                    values.push(number::decimal_of(token, *precision, *scale)?);
                }
                Values::Time { values, unit, .. } => {
                    values.push(time::change_unit(number::integer_of(token)?, epoch, *unit)?);
                }
                Values::Date { .. } | Values::Bool(_) | Values::Text(_) => return Err(Unread),
            }
            Ok(end)
        }
        b'"' => match &mut column.values {
            Values::Decimal { values, precision, scale } => {
                let end = number::json_number(text, at + 1)?;
                values.push(number::decimal_of(&text[at + 1..end], *precision, *scale)?);
                closing_quote(text, end)
            }
            _ => Err(Unread),
        },
        _ => Err(Unread),
    }
}
