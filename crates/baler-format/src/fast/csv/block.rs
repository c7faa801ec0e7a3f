//! Many plain records at once: an index of their fields, then column by column.
//!
//! Read one after the other, a field begins where the one before was found to end, and every field takes another branch.
//! With the fields of some hundred records indexed first, each column is a loop over values of one type and known length.
//! A block ends before the first quote, and before a record with too few or too many fields or with a field that does not
//! read: those are for `CsvRows::record`.

use super::super::Unread;
use super::super::column::{Column, Values};
use super::super::number;
use super::super::swar::{Separators, byte, csv_separators, digits_around_point, digits_of_length, load8, load16};
use super::super::{float, time};
use super::{Fields, SKIPPED, whole_field};

/// Where fields begin in a stretch of text.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The first byte of each field; the byte before is the separator that ends the field before.
    starts: Vec<u32>,
    /// How many fields had begun when each line ended: the first of the next line not counted.
    ends: Vec<u32>,
}

impl Index {
    /// Indexes `text` up to its first quote, or until `rows` lines have ended.
    fn fill(&mut self, text: &[u8], delimiter: u8, rows: usize) {
        self.ends.clear();
        self.starts.clear();
        self.starts.push(0);
        let (stretches, rest) = text.as_chunks::<64>();
        let mut base = 0;
        for stretch in stretches {
            if !self.add(csv_separators(stretch, delimiter), base) || self.ends.len() >= rows {
                return;
            }
            base += 64;
        }
        let mut last = [0; 64];
        last[..rest.len()].copy_from_slice(rest);
        let mut found = csv_separators(&last, delimiter);
        found.all &= (1 << rest.len()) - 1;
        self.add(found, base);
    }

    /// Notes the separators before the first quote; tells whether there was none.
    #[inline(always)]
    fn add(&mut self, found: Separators, base: u32) -> bool {
        let before = if found.quotes == 0 { u64::MAX } else { (found.quotes & found.quotes.wrapping_neg()) - 1 };
        let mut all = found.all & before;
        let begun = self.starts.len() as u32;
        let mut feeds = found.feeds & before;
        while feeds != 0 {
            let below = (feeds & feeds.wrapping_neg()) - 1;
            self.ends.push(begun + (all & below).count_ones());
            feeds &= feeds - 1;
        }
        while all != 0 {
            self.starts.push(base + all.trailing_zeros() + 1);
            all &= all - 1;
        }
        found.quotes == 0
    }

    /// The first bytes of the lines, where each has `fields` fields.
    pub(super) fn line_starts(&self, fields: usize) -> impl Iterator<Item = u32> {
        self.starts.iter().copied().step_by(fields.max(1))
    }

    /// How many of the first lines have `fields` fields each.
    fn even_rows(&self, fields: usize) -> usize {
        let mut expected = 0;
        self.ends
            .iter()
            .take_while(|&&end| {
                expected += fields as u32;
                end == expected
            })
            .count()
    }
}

/// What every field of a block is read by.
pub(super) struct Block<'a> {
    pub(super) text: &'a [u8],
    pub(super) slots: &'a [u32],
    pub(super) fields: &'a Fields,
    pub(super) null_lengths: u64,
}

impl Block<'_> {
    /// Appends the first records of the text that are plain, `rows` at most; says how many, and how many bytes they were.
    ///
    /// The columns may hold values of more records: the caller cuts them.
    pub(super) fn decode(&self, index: &mut Index, columns: &mut [Column], rows: usize) -> (usize, usize) {
        let fields = self.slots.len();
        index.fill(self.text, self.fields.delimiter, rows);
        let mut rows = index.even_rows(fields).min(rows);
        if fields == 1 {
            // A blank line is no record.
            let blank = index
                .starts
                .windows(2)
                .take(rows)
                .position(|line| self.end(line[0], line[1], true) == line[0] as usize);
            rows = blank.unwrap_or(rows);
        }
        for (at, &slot) in self.slots.iter().enumerate() {
            if slot == SKIPPED {
                continue;
            }
            let is_last = at + 1 == fields;
            let bounds = index.starts.get(at..).unwrap_or_default().windows(2).step_by(fields).take(rows);
            rows = match is_last {
                true => self.column::<true>(&mut columns[slot as usize], bounds),
                false => self.column::<false>(&mut columns[slot as usize], bounds),
            };
        }
        (rows, index.starts[rows * fields] as usize)
    }

    /// The end of the field that begins at `start`, where the one behind it begins at `next`.
    #[inline(always)]
    fn end(&self, start: u32, next: u32, is_last: bool) -> usize {
        let end = next as usize - 1;
        end - usize::from(is_last && end > start as usize && byte(self.text, end.wrapping_sub(1)) == b'\r')
    }

    /// Appends fields to their column; says how many, up to the first that does not read.
    fn column<'i, const LAST: bool>(&self, column: &mut Column, bounds: impl Iterator<Item = &'i [u32]>) -> usize {
        let text = self.text;
        let mut done = 0;
        macro_rules! each {
            (|$values:ident, $start:ident, $end:ident| $read:expr) => {{
                for bound in bounds {
                    let ($start, $end) = (bound[0] as usize, self.end(bound[0], bound[1], LAST));
                    let plain = self.null_lengths >> ($end - $start).min(63) & 1 == 0;
                    let Values::$values(values) = &mut column.values else { unreachable!("the column keeps its type") };
                    match if plain { $read } else { None } {
                        Some(value) => values.push(value),
                        None => {
                            if self.unusual(column, $start, $end).is_err() {
                                return done;
                            }
                        }
                    }
                    done += 1;
                }
            }};
        }
        match &mut column.values {
            Values::Integer(_) => each!(|Integer, start, end| integer(text, start, end)),
            Values::Float(_) => each!(|Float, start, end| float(text, start, end)),
            Values::Bool(_) => each!(|Bool, start, end| match &text[start..end] {
                b"true" => Some(true),
                b"false" => Some(false),
                _ => None,
            }),
            Values::Text(_) => {
                for bound in bounds {
                    let (mut at, end) = (bound[0] as usize, self.end(bound[0], bound[1], LAST));
                    let Values::Text(sink) = &mut column.values else { unreachable!("the column keeps its type") };
                    if self.null_lengths >> (end - at).min(63) & 1 == 0 {
                        while at < end {
                            let count = (end - at).min(16);
                            sink.store(load16(text, at), count);
                            at += count;
                        }
                        sink.end();
                    } else if self.unusual(column, at, end).is_err() {
                        return done;
                    }
                    done += 1;
                }
            }
            Values::Decimal { .. } | Values::Date { .. } | Values::Time { .. } => {
                for bound in bounds {
                    let (start, end) = (bound[0] as usize, self.end(bound[0], bound[1], LAST));
                    let plain = self.null_lengths >> (end - start).min(63) & 1 == 0;
                    if !(plain && self.other(column, start, end)) && self.unusual(column, start, end).is_err() {
                        return done;
                    }
                    done += 1;
                }
            }
        }
        done
    }

    /// Appends a decimal, date or time if it is written plainly.
    #[inline(always)]
    fn other(&self, column: &mut Column, start: usize, end: usize) -> bool {
        let text = self.text;
        match &mut column.values {
            Values::Decimal { values, precision, scale } => {
                let plain = number::plain(text, start).filter(|plain| plain.next == end);
                let value = plain.and_then(|plain| plain.to_decimal(*precision, *scale));
                values.extend(value);
                value.is_some()
            }
            Values::Date { values, last } => {
                let moment = time::moment(text, start, last).ok().filter(|moment| moment.next == end);
                let value = moment.and_then(|moment| moment.date().ok());
                values.extend(value);
                value.is_some()
            }
            Values::Time { values, unit, zone, last } => {
                let value = if byte(text, start + 4) == b'-' {
                    let moment = time::moment(text, start, last).ok().filter(|moment| moment.next == end);
                    moment.and_then(|moment| moment.since_epoch(*unit, zone.is_some()).ok())
                } else {
                    let unit = *unit;
                    let count = integer(text, start, end);
                    count.and_then(|count| time::change_unit(count, self.fields.epoch, unit).ok())
                };
                values.extend(value);
                value.is_some()
            }
            _ => false,
        }
    }

    /// Appends a null or a value that is written in an unusual way.
    #[inline(never)]
    fn unusual(&self, column: &mut Column, start: usize, end: usize) -> Result<(), Unread> {
        if start == end && self.null_lengths & 1 == 1 && column.nullable {
            column.push_null();
            return Ok(());
        }
        whole_field(column, &self.text[start..end], false, self.fields)
    }
}

/// An integer of up to sixteen digits that is all of the field.
#[inline(always)]
fn integer(text: &[u8], start: usize, end: usize) -> Option<i64> {
    let negative = byte(text, start) == b'-';
    let start = start + usize::from(negative);
    let length = end - start;
    let value = match length {
        1..=8 => digits_of_length(load8(text, start), length)?,
        9..=16 => {
            let low = digits_of_length(load8(text, end - 8), 8)?;
            digits_of_length(load8(text, start), length - 8)? * 100_000_000 + low
        }
        _ => {
            return number::integer(text, end - length - usize::from(negative))
                .filter(|&(_, next)| next == end)
                .map(|(value, _)| value);
        }
    };
    let sign = i64::from(negative);
    Some((value as i64 ^ -sign) + sign)
}

/// A number without exponent that is all of the field.
#[inline(always)]
fn float(text: &[u8], start: usize, end: usize) -> Option<f64> {
    let negative = byte(text, start) == b'-';
    let first = start + usize::from(negative);
    let length = end - first;
    if length.wrapping_sub(1) < 8 {
        let (digits, behind) = digits_around_point(load8(text, first), length)?;
        let value = float::nearest_of_few(digits, behind);
        return Some(if negative { -value } else { value });
    }
    number::plain(text, start).filter(|plain| plain.next == end)?.to_float()
}
