//! Dates and times as ISO 8601 writes them.
//!
//! `2026-03-01`, `2026-03-01T12:30`, `2026-03-01 12:30:59.123456789+01:00`: a `T` or a space between, seconds optional, a
//! fraction of up to nine digits, `Z` or an offset. What is finer than the column's unit is not read, nor an offset for a
//! column without a zone.

use arrow_schema::TimeUnit;

use super::Unread;
use super::swar::{above_nine, byte, digits, load8};
use crate::decode::YEARS;

/// A date, and the time on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 1970-01-01.
    days: i32,
    /// Seconds since that day began in UTC: outside of a day where an offset takes it there.
    seconds: i32,
    nanoseconds: u32,
    /// Whether only a date was written.
    date_only: bool,
    /// Whether `Z` or an offset was written.
    has_offset: bool,
    /// The first byte behind it.
    pub(super) next: usize,
}

/// The last date that was read, and its days: neighbouring records mostly share it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastDate {
    written: (u64, u16),
    days: i32,
}

impl Default for LastDate {
    fn default() -> Self {
        // No text begins so: not even the zeros behind its end.
        Self { written: (u64::MAX, 0), days: 0 }
    }
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Two-digit numbers at every byte and its successor.
#[inline(always)]
fn pairs(nibbles: u64) -> u64 {
    nibbles.wrapping_mul(10).wrapping_add(nibbles >> 8)
}

/// Reads the date or time that begins at `at`.
#[inline(always)]
pub(super) fn moment(text: &[u8], at: usize, last: &mut LastDate) -> Result<Moment, Unread> {
    // "2026-03-" then "01T12:30" then ":59.123Z"
    let (first, second) = (load8(text, at), load8(text, at + 8));
    let written = (first, second as u16);
    let days = if written == last.written {
        last.days
    } else {
        let days = date(first, second)?;
        *last = LastDate { written, days };
        days
    };
    if !matches!((second >> 16) as u8, b'T' | b' ' | b't') {
        return Ok(Moment { days, seconds: 0, nanoseconds: 0, date_only: true, has_offset: false, next: at + 10 });
    }
    // The day's two digits and the letter are done with: read them as zeros.
    let clock = second & !0xFF_FFFF | 0x30_3030;
    let nibbles = clock ^ (ZEROS & !(0xFF << 40) | u64::from(b':') << 40);
    if above_nine(nibbles) != 0 || (nibbles >> 40) as u8 != 0 {
        return Err(Unread);
    }
    let numbers = pairs(nibbles);
    let (hour, minute) = ((numbers >> 24) as u8, (numbers >> 48) as u8);
    let mut next = at + 16;
    let mut seconds = i32::from(hour) * 3600 + i32::from(minute) * 60;
    let mut nanoseconds = 0;
    let third = load8(text, next);
    if third as u8 == b':' {
        let (tens, ones) = ((third >> 8) as u8 ^ b'0', (third >> 16) as u8 ^ b'0');
        if tens > 5 || ones > 9 {
            return Err(Unread);
        }
        seconds += i32::from(tens * 10 + ones);
        next += 3;
        if (third >> 24) as u8 == b'.' {
            (nanoseconds, next) = fraction(text, next + 1)?;
        }
    }
    if hour > 23 || minute > 59 {
        return Err(Unread);
    }
    let has_offset = match byte(text, next) {
        b'Z' | b'z' => {
            next += 1;
            true
        }
        sign @ (b'+' | b'-') => {
            let (offset, end) = offset(text, next + 1)?;
            seconds += if sign == b'-' { offset } else { -offset };
            next = end;
            true
        }
        _ => false,
    };
    Ok(Moment { days, seconds, nanoseconds, date_only: false, has_offset, next })
}

/// Days since 1970-01-01 of "yyyy-mm-" and "dd".
fn date(first: u64, second: u64) -> Result<i32, Unread> {
    const DASHES: u64 = 0xFF00_00FF_0000_0000;
    const WRITTEN: u64 = (0x2D00_002D << 32) | (ZEROS & !DASHES);
    let nibbles = first ^ WRITTEN;
    let (tens, ones) = (second as u8 ^ b'0', (second >> 8) as u8 ^ b'0');
    if above_nine(nibbles) != 0 || nibbles & DASHES != 0 || tens > 9 || ones > 9 {
        return Err(Unread);
    }
    let numbers = pairs(nibbles);
    let year = i32::from(numbers as u8) * 100 + i32::from((numbers >> 16) as u8);
    let month = i32::from((numbers >> 40) as u8);
    let day = i32::from(tens * 10 + ones);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i32::from(leap),
        _ => return Err(Unread),
    };
    if day == 0 || day > length {
        return Err(Unread);
    }
    // Years from March, so that a leap day is a year's last; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    Ok(era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468)
}

fn fraction(text: &[u8], at: usize) -> Result<(u32, usize), Unread> {
    const UP: [u32; 9] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100, 10];
    let (value, count) = digits(load8(text, at));
    if count == 0 {
        return Err(Unread);
    }
    let mut nanoseconds = value as u32 * UP[count];
    let mut next = at + count;
    if count == 8 && byte(text, next).is_ascii_digit() {
        nanoseconds += u32::from(byte(text, next) - b'0');
        next += 1;
        if byte(text, next).is_ascii_digit() {
            return Err(Unread);
        }
    }
    Ok((nanoseconds, next))
}

/// Seconds of `hh:mm`, `hhmm` or `hh`.
fn offset(text: &[u8], at: usize) -> Result<(i32, usize), Unread> {
    let two = |at: usize| {
        let (tens, ones) = (byte(text, at) ^ b'0', byte(text, at + 1) ^ b'0');
        (tens <= 9 && ones <= 9).then(|| i32::from(tens) * 10 + i32::from(ones))
    };
    let hours = two(at).ok_or(Unread)?;
    let colon = usize::from(byte(text, at + 2) == b':');
    let (minutes, next) = match two(at + 2 + colon) {
        Some(minutes) => (minutes, at + 4 + colon),
        None if colon == 0 => (0, at + 2),
        None => return Err(Unread),
    };
    if hours > 23 || minutes > 59 {
        return Err(Unread);
    }
    Ok((hours * 3600 + minutes * 60, next))
}

/// A count of units since 1970 began, in another unit that holds it, within the years that text can write.
pub(super) fn change_unit(value: i64, from: TimeUnit, to: TimeUnit) -> Result<i64, Unread> {
    let (from, to) = (per_second(from), per_second(to));
    if !YEARS.contains(&value.div_euclid(from)) {
        return Err(Unread);
    }
    if to >= from {
        return value.checked_mul(to / from).ok_or(Unread);
    }
    let fine = from / to;
    if value % fine == 0 { Ok(value / fine) } else { Err(Unread) }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

impl Moment {
    /// Units since 1970 began, for a column with or without a zone.
    #[inline(always)]
    pub(super) fn since_epoch(self, unit: TimeUnit, has_zone: bool) -> Result<i64, Unread> {
        if self.has_offset && !has_zone {
            return Err(Unread);
        }
        let seconds = i64::from(self.days) * 86_400 + i64::from(self.seconds);
        // An offset may lead out of the years that can be written.
        if !YEARS.contains(&seconds) {
            return Err(Unread);
        }
        let nanoseconds = i64::from(self.nanoseconds);
        let whole = |size: i64| if nanoseconds % size == 0 { Ok(nanoseconds / size) } else { Err(Unread) };
        Ok(match unit {
            TimeUnit::Second => seconds + whole(1_000_000_000)?,
            TimeUnit::Millisecond => seconds * 1000 + whole(1_000_000)?,
            TimeUnit::Microsecond => seconds * 1_000_000 + whole(1000)?,
            TimeUnit::Nanosecond => {
                // Before 1970 the sum may fit where the product does not: the edge of the range is in 1677.
                let value = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
                i64::try_from(value).map_err(|_| Unread)?
            }
        })
    }

    /// Days since 1970-01-01, if only a date was written.
    pub(super) fn date(self) -> Result<i32, Unread> {
        if self.date_only { Ok(self.days) } else { Err(Unread) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<i64, Unread> {
        let moment = moment(text.as_bytes(), 0, &mut LastDate::default())?;
        if moment.next == text.len() { moment.since_epoch(TimeUnit::Second, true) } else { Err(Unread) }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_last() {
        let mut expected = -141_427; // 1582-10-15
        for year in 1582..=2100 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    if (year, month, day) < (1582, 10, 15) {
                        continue;
                    }
                    if let Ok(moment) = moment(text.as_bytes(), 0, &mut LastDate::default()) {
                        assert_eq!(moment.date(), Ok(expected), "{text}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected, 47_847); // 2101-01-01
    }

    #[test]
    fn forms_of_one_time() {
        for text in [
            "2026-03-01T12:30:59Z",
            "2026-03-01 12:30:59",
            "2026-03-01t12:30:59.000z",
            "2026-03-01T13:30:59+01:00",
            "2026-03-01T13:30:59.0+0100",
            "2026-03-01T13:30:59+01",
            "2026-02-28T23:00:59-13:30",
        ] {
            assert_eq!(seconds(text), Ok(1_772_368_259), "{text}");
        }
        assert_eq!(seconds("2026-03-01T12:30"), Ok(1_772_368_200));
        assert_eq!(seconds("2026-03-01"), Ok(1_772_323_200));
        assert_eq!(seconds("0000-01-01"), Ok(-62_167_219_200));
    }

    #[test]
    fn what_no_calendar_or_clock_has_is_refused() {
        for text in [
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2026-04-31",
            "1900-02-29",
            "2026-1-1",
            "2026/01/01",
            "2026-01-01T24:00:00",
            "2026-01-01T12:60:00",
            "2026-01-01T12:00:60",
            "2026-01-01T12:00:00+24:00",
            "2026-01-01T12:00:00+1",
            "2026-01-01T12:00:00+01:",
            "2026-01-01T12:00:00.",
            "2026-01-01T1:00",
            "2026-01-01T",
            "20260101",
            "",
            "x026-01-01",
            "2026-01-01T12-30",
            "2026-01-01T1x:30",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_are_read_where_the_unit_holds_them() {
        let at = |text: &str, unit| moment(text.as_bytes(), 0, &mut LastDate::default())?.since_epoch(unit, false);
        let text = "1970-01-01T00:00:01.123456789";
        assert_eq!(at(text, TimeUnit::Nanosecond), Ok(1_123_456_789));
        assert_eq!(at(text, TimeUnit::Microsecond), Err(Unread));
        assert_eq!(at("1970-01-01T00:00:01.1234567890", TimeUnit::Nanosecond), Err(Unread));
        assert_eq!(at("1970-01-01T00:00:01.123456000", TimeUnit::Microsecond), Ok(1_123_456));
        assert_eq!(at("1970-01-01T00:00:01.123456", TimeUnit::Millisecond), Err(Unread));
        assert_eq!(at("1970-01-01T00:00:01.5", TimeUnit::Second), Err(Unread));
        assert_eq!(at("1969-12-31T23:59:59.999", TimeUnit::Millisecond), Ok(-1));
        assert_eq!(at("1970-01-01T00:00:00.12345678", TimeUnit::Nanosecond), Ok(123_456_780));
        assert_eq!(at("2300-01-01", TimeUnit::Nanosecond), Err(Unread));
        assert_eq!(at("1677-09-21T00:12:43.145224193", TimeUnit::Nanosecond), Ok(i64::MIN + 1));
        assert_eq!(at("1970-01-01T00:00:01Z", TimeUnit::Second), Err(Unread));
    }

    #[test]
    fn epochs_change_their_unit_without_loss() {
        assert_eq!(change_unit(-1000, TimeUnit::Millisecond, TimeUnit::Second), Ok(-1));
        assert_eq!(change_unit(-1, TimeUnit::Millisecond, TimeUnit::Second), Err(Unread));
        assert_eq!(change_unit(1999, TimeUnit::Millisecond, TimeUnit::Second), Err(Unread));
        assert_eq!(change_unit(3, TimeUnit::Second, TimeUnit::Microsecond), Ok(3_000_000));
        assert_eq!(change_unit(i64::MAX, TimeUnit::Second, TimeUnit::Millisecond), Err(Unread));
    }

    #[test]
    fn a_remembered_date_is_the_date_read() {
        let mut last = LastDate::default();
        for text in ["2026-03-01T00:00", "2026-03-01T00:00", "2026-03-02T00:00", "2027-03-02"] {
            let fresh = moment(text.as_bytes(), 0, &mut LastDate::default());
            assert_eq!(moment(text.as_bytes(), 0, &mut last), fresh);
        }
        assert!(moment(b"2027-02-30", 0, &mut last).is_err());
        assert!(moment(b"2027-02-30", 0, &mut last).is_err());
    }
}
