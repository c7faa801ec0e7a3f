//! Times in keys: `%Y/%m/%d` and its like, read and written.
//!
//! Codes, all in UTC with English names: `%Y` year (4 digits), `%y` year (2 digits, 69 to 99 are 19xx), `%m` month,
//! `%b` `Jan`, `%B` `January`, `%d` day, `%j` day of the year, `%H` hour (00 to 23), `%M` minute, `%S` second, `%f`
//! fraction of a second (1 to 9 digits; `%3f`, `%6f`, `%9f` that many), `%F` for `%Y-%m-%d`, `%T` for `%H:%M:%S`,
//! `%%` a percent sign. Numbers are zero-padded. Everything else stands for itself.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, tz::TimeZone};

use crate::text::SyntaxError;

/// The finest part of a time that a text gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A year.
    Year,
    /// A month.
    Month,
    /// A day.
    Day,
    /// An hour.
    Hour,
    /// A minute.
    Minute,
    /// A second.
    Second,
    /// A part of a second.
    Fraction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Literal(String),
    Year,
    ShortYear,
    Month,
    MonthAbbreviation,
    MonthName,
    Day,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Fraction,
    FixedFraction(usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const CODES_HINT: &str = "codes are `%Y %y %m %b %B %d %j %H %M %S %f %3f %6f %9f %F %T %%`";

/// A way to write a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeFormat {
    items: Vec<Item>,
}

impl TimeFormat {
    /// Reads a format such as `%Y/%m/%d`; `offset` is where it stands in the text around it.
    pub(crate) fn parse(text: &str, offset: usize) -> Result<Self, SyntaxError> {
        let mut items = Vec::new();
        let mut rest = text;
        while let Some(percent) = rest.find('%') {
            push_literal(&mut items, &rest[..percent]);
            let at = offset + text.len() - rest.len() + percent;
            let code = &rest[percent + 1..];
            let (parsed, length): (&[Item], usize) = match code.as_bytes() {
                [b'%', ..] => {
                    push_literal(&mut items, "%");
                    (&[], 1)
                }
                [b'F', ..] => {
                    let dash = || Item::Literal("-".to_owned());
                    items.extend([Item::Year, dash(), Item::Month, dash(), Item::Day]);
                    (&[], 1)
                }
                [b'T', ..] => {
                    let colon = || Item::Literal(":".to_owned());
                    items.extend([Item::Hour, colon(), Item::Minute, colon(), Item::Second]);
                    (&[], 1)
                }
                [b'Y', ..] => (&[Item::Year], 1),
                [b'y', ..] => (&[Item::ShortYear], 1),
                [b'm', ..] => (&[Item::Month], 1),
                [b'b', ..] => (&[Item::MonthAbbreviation], 1),
                [b'B', ..] => (&[Item::MonthName], 1),
                [b'd', ..] => (&[Item::Day], 1),
                [b'j', ..] => (&[Item::DayOfYear], 1),
                [b'H', ..] => (&[Item::Hour], 1),
                [b'M', ..] => (&[Item::Minute], 1),
                [b'S', ..] => (&[Item::Second], 1),
                [b'f', ..] => (&[Item::Fraction], 1),
                [b'3', b'f', ..] => (&[Item::FixedFraction(3)], 2),
                [b'6', b'f', ..] => (&[Item::FixedFraction(6)], 2),
                [b'9', b'f', ..] => (&[Item::FixedFraction(9)], 2),
                _ => {
                    let code: String = code.chars().take(1).collect();
                    return Err(SyntaxError::hinted(at, format!("unknown time code `%{code}`"), CODES_HINT));
                }
            };
            items.extend_from_slice(parsed);
            rest = &rest[percent + 1 + length..];
        }
        push_literal(&mut items, rest);
        Ok(Self { items })
    }

    /// Refuses a format from which no instant can be read: one without a year, or with a gap, as in `%Y %H`.
    pub(crate) fn check_readable(&self, offset: usize) -> Result<(), SyntaxError> {
        let has = |wanted: &[Item]| self.items.iter().filter(|item| wanted.contains(item)).count();
        let is_fraction = |item: &&Item| matches!(item, Item::Fraction | Item::FixedFraction(_));
        let counts = [
            ("year (`%Y`)", has(&[Item::Year, Item::ShortYear])),
            ("month (`%m`)", has(&[Item::Month, Item::MonthAbbreviation, Item::MonthName])),
            ("day (`%d`)", has(&[Item::Day])),
            ("day of the year (`%j`)", has(&[Item::DayOfYear])),
            ("hour (`%H`)", has(&[Item::Hour])),
            ("minute (`%M`)", has(&[Item::Minute])),
            ("second (`%S`)", has(&[Item::Second])),
            ("fraction (`%f`)", self.items.iter().filter(is_fraction).count()),
        ];
        if let Some((what, _)) = counts.iter().find(|(_, count)| *count > 1) {
            return Err(SyntaxError::new(offset, format!("the time format gives the {what} twice")));
        }
        let [year, month, day, day_of_year, hour, minute, second, fraction] = counts.map(|(_, count)| count == 1);
        let gap = match () {
            () if !year => Some(0),
            () if day && !month => Some(1),
            () if day_of_year && (day || month) => {
                return Err(SyntaxError::new(offset, "the time format gives the day in two ways, `%j` and `%m`"));
            }
            () if hour && !day && !day_of_year => Some(2),
            () if minute && !hour => Some(4),
            () if second && !minute => Some(5),
            () if fraction && !second => Some(6),
            () => None,
        };
        match gap {
            Some(n) => Err(SyntaxError::hinted(
                offset,
                format!("no time can be read from this format: it lacks the {}", counts[n].0),
                CODES_HINT,
            )),
            None => Ok(()),
        }
    }

    /// The finest part that the format gives.
    pub(crate) fn unit(&self) -> Unit {
        let unit = |item: &Item| match item {
            Item::Literal(_) | Item::Year | Item::ShortYear => Unit::Year,
            Item::Month | Item::MonthAbbreviation | Item::MonthName => Unit::Month,
            Item::Day | Item::DayOfYear => Unit::Day,
            Item::Hour => Unit::Hour,
            Item::Minute => Unit::Minute,
            Item::Second => Unit::Second,
            Item::Fraction | Item::FixedFraction(_) => Unit::Fraction,
        };
        self.items.iter().map(unit).max().unwrap_or(Unit::Year)
    }

    /// Reads a time from the beginning of a text; gives the length that it took.
    ///
    /// A `%f` takes as many digits as there are, nine at most.
    pub(crate) fn read(&self, text: &str) -> Option<(usize, Timestamp)> {
        let bytes = text.as_bytes();
        let mut at = 0;
        let (mut year, mut month, mut day, mut day_of_year) = (0i16, 1i8, 1i8, None);
        let (mut hour, mut minute, mut second, mut nanos) = (0i8, 0i8, 0i8, 0i32);
        let number = |at: usize, width: usize| -> Option<i32> {
            bytes.get(at..at + width)?.iter().try_fold(0i32, |sum, byte| match byte {
                b'0'..=b'9' => Some(sum * 10 + i32::from(byte - b'0')),
                _ => None,
            })
        };
        let short = |at: usize| number(at, 2).and_then(|n| i8::try_from(n).ok());
        for item in &self.items {
            at += match item {
                Item::Literal(literal) => {
                    if !bytes[at..].starts_with(literal.as_bytes()) {
                        return None;
                    }
                    literal.len()
                }
                Item::Year => {
                    year = i16::try_from(number(at, 4)?).ok()?;
                    4
                }
                Item::ShortYear => {
                    let n = i16::try_from(number(at, 2)?).ok()?;
                    year = if n >= 69 { 1900 + n } else { 2000 + n };
                    2
                }
                Item::Month => {
                    month = short(at)?;
                    2
                }
                Item::MonthAbbreviation => {
                    let index = MONTHS.iter().position(|name| bytes[at..].starts_with(&name.as_bytes()[..3]))?;
                    month = i8::try_from(index + 1).ok()?;
                    3
                }
                Item::MonthName => {
                    let index = MONTHS.iter().position(|name| bytes[at..].starts_with(name.as_bytes()))?;
                    month = i8::try_from(index + 1).ok()?;
                    MONTHS[index].len()
                }
                Item::Day => {
                    day = short(at)?;
                    2
                }
                Item::DayOfYear => {
                    day_of_year = Some(number(at, 3)?);
                    3
                }
                Item::Hour => {
                    hour = short(at)?;
                    2
                }
                Item::Minute => {
                    minute = short(at)?;
                    2
                }
                Item::Second => {
                    second = short(at)?;
                    2
                }
                Item::Fraction => {
                    let width = bytes[at..].iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
                    nanos = fraction_nanos(number(at, width).filter(|_| width > 0)?, width);
                    width
                }
                Item::FixedFraction(width) => {
                    nanos = fraction_nanos(number(at, *width)?, *width);
                    *width
                }
            };
        }
        let mut date = Date::new(year, month, day).ok()?;
        if let Some(n) = day_of_year {
            let n = i16::try_from(n).ok().filter(|n| (1..=date.days_in_year()).contains(n))?;
            date = date.with().day_of_year(n).build().ok()?;
        }
        let time = Time::new(hour, minute, second, nanos).ok()?;
        let instant = TimeZone::UTC.to_timestamp(DateTime::from_parts(date, time)).ok()?;
        Some((at, instant))
    }

    /// Writes a time.
    pub(crate) fn write(&self, instant: Timestamp, out: &mut String) {
        let at = TimeZone::UTC.to_datetime(instant);
        for item in &self.items {
            // Writing to a String cannot fail.
            let _written = match item {
                Item::Literal(literal) => out.write_str(literal),
                Item::Year => write!(out, "{:04}", at.year()),
                Item::ShortYear => write!(out, "{:02}", at.year().rem_euclid(100)),
                Item::Month => write!(out, "{:02}", at.month()),
                Item::MonthAbbreviation => out.write_str(&month_name(at.month())[..3]),
                Item::MonthName => out.write_str(month_name(at.month())),
                Item::Day => write!(out, "{:02}", at.day()),
                Item::DayOfYear => write!(out, "{:03}", at.date().day_of_year()),
                Item::Hour => write!(out, "{:02}", at.hour()),
                Item::Minute => write!(out, "{:02}", at.minute()),
                Item::Second => write!(out, "{:02}", at.second()),
                Item::Fraction => {
                    let digits = format!("{:09}", at.subsec_nanosecond());
                    let shortest = digits.trim_end_matches('0');
                    out.write_str(if shortest.is_empty() { "0" } else { shortest })
                }
                Item::FixedFraction(width) => out.write_str(&format!("{:09}", at.subsec_nanosecond())[..*width]),
            };
        }
    }

    /// A regular expression for the texts of this format; it knows the range of each number, not that of each month.
    pub(crate) fn regex(&self) -> String {
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Literal(literal) => out.push_str(&regex_syntax::escape(literal)),
                Item::Year => out.push_str("[0-9]{4}"),
                Item::ShortYear => out.push_str("[0-9]{2}"),
                Item::Month => out.push_str("(?:0[1-9]|1[0-2])"),
                Item::MonthAbbreviation => out.push_str(&format!("(?:{})", MONTHS.map(|name| &name[..3]).join("|"))),
                Item::MonthName => out.push_str(&format!("(?:{})", MONTHS.join("|"))),
                Item::Day => out.push_str("(?:0[1-9]|[12][0-9]|3[01])"),
                Item::DayOfYear => out.push_str("[0-3][0-9]{2}"),
                Item::Hour => out.push_str("(?:[01][0-9]|2[0-3])"),
                Item::Minute | Item::Second => out.push_str("[0-5][0-9]"),
                Item::Fraction => out.push_str("[0-9]{1,9}"),
                Item::FixedFraction(width) => out.push_str(&format!("[0-9]{{{width}}}")),
            }
        }
        out
    }
}

fn push_literal(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        _ if text.is_empty() => {}
        Some(Item::Literal(literal)) => literal.push_str(text),
        Some(_) | None => items.push(Item::Literal(text.to_owned())),
    }
}

fn fraction_nanos(number: i32, width: usize) -> i32 {
    (width..9).fold(number, |n, _| n * 10)
}

fn month_name(month: i8) -> &'static str {
    let index = usize::try_from(month - 1).unwrap_or(0);
    MONTHS[index.min(11)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(format: &str, text: &str) -> Option<String> {
        let format = TimeFormat::parse(format, 0).unwrap();
        format.read(text).filter(|(length, _)| *length == text.len()).map(|(_, instant)| instant.to_string())
    }

    #[test]
    fn times_are_read_by_their_format() {
        for (format, text, expected) in [
            ("%Y/%m/%d", "2021/06/15", "2021-06-15T00:00:00Z"),
            ("%Y-%m-01", "2021-06-01", "2021-06-01T00:00:00Z"),
            ("%Y%j", "2024366", "2024-12-31T00:00:00Z"),
            ("%d%b%y", "07Mar99", "1999-03-07T00:00:00Z"),
            ("%d %B %Y", "29 February 2024", "2024-02-29T00:00:00Z"),
            ("%F %T", "2021-06-15 20:00:01", "2021-06-15T20:00:01Z"),
            ("%Y%m%d%H%M%S%6f", "20210615200001123456", "2021-06-15T20:00:01.123456Z"),
            ("%F %T.%f", "2021-06-15 20:00:01.5", "2021-06-15T20:00:01.5Z"),
            ("%Y", "2021", "2021-01-01T00:00:00Z"),
        ] {
            assert_eq!(read(format, text).as_deref(), Some(expected), "{format} {text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_not_read() {
        for (format, text) in [
            ("%Y/%m/%d", "2021/02/29"),
            ("%Y/%m/%d", "2021/13/01"),
            ("%Y/%m/%d", "2021/1/1"),
            ("%Y%j", "2023366"),
            ("%Y%j", "2023000"),
            ("%Y-%m-%d %H", "2021-01-01 24"),
            ("%Y/%m", "2021"),
            ("%d%b%Y", "01jan2021"),
        ] {
            assert_eq!(read(format, text), None, "{format} {text}");
        }
    }

    #[test]
    fn formats_with_a_gap_cannot_be_read() {
        for format in ["%m/%d", "%Y/%d", "%Y/%H", "%Y%m%d%M", "%Y%Y", "%Y%m%j", "%F%y"] {
            assert!(TimeFormat::parse(format, 0).unwrap().check_readable(0).is_err(), "{format}");
        }
        for format in ["%Y", "%y%m", "%Y%j", "%F%H", "%F%T%f"] {
            assert!(TimeFormat::parse(format, 0).unwrap().check_readable(0).is_ok(), "{format}");
        }
    }

    #[test]
    fn an_unknown_code_is_found_where_it_stands() {
        let error = TimeFormat::parse("%Y-%q", 3).unwrap_err();
        assert_eq!((error.offset, error.message.as_str()), (6, "unknown time code `%q`"));
    }

    proptest! {
        #[test]
        fn a_written_time_is_read_again(seconds in -2_000_000_000i64..4_000_000_000, nanos in 0i32..1_000_000_000) {
            let instant = Timestamp::new(seconds, nanos).unwrap();
            for format in ["%Y-%m-%dT%H:%M:%S.%9f", "%F %T.%f", "%Y%j%H%M%S%9f", "%d %B %Y %T%9f"] {
                let format = TimeFormat::parse(format, 0).unwrap();
                let mut text = String::new();
                format.write(instant, &mut text);
                prop_assert_eq!(format.read(&text), Some((text.len(), instant)));
                let regex = regex::Regex::new(&format!("^(?:{})$", format.regex())).unwrap();
                prop_assert!(regex.is_match(&text));
            }
        }
    }
}
