//! Partitions: the spans of time, and the values of columns, by which `convert` tells its outputs apart.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::Unit;

/// What stands in a path for a value that is missing, as Hive writes it.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// A span of time that a partition holds, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionSize {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl PartitionSize {
    /// All of them, the smallest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Month, Self::Year];

    /// Its name in `baler.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The first instant of the partition that an instant lies in.
    pub fn start_of(self, instant: Timestamp) -> Timestamp {
        let at = instant.to_zoned(TimeZone::UTC).datetime();
        let start = match self {
            Self::Hour => at.date().at(at.hour(), 0, 0, 0),
            Self::Day => at.date().at(0, 0, 0, 0),
            Self::Month => at.date().first_of_month().at(0, 0, 0, 0),
            Self::Year => at.date().first_of_year().at(0, 0, 0, 0),
        };
        // The start of a year of which an instant is a time is none only at the very end of the calendar.
        TimeZone::UTC.to_timestamp(start).unwrap_or(Timestamp::MIN)
    }

    /// The first instant behind a partition that begins at `start`.
    pub fn end_of(self, start: Timestamp) -> Timestamp {
        let at = start.to_zoned(TimeZone::UTC).datetime();
        let end = match self {
            Self::Hour => at.checked_add(1.hour()),
            Self::Day => at.checked_add(1.day()),
            Self::Month => at.checked_add(1.month()),
            Self::Year => at.checked_add(1.year()),
        };
        let end = end.unwrap_or(Date::MAX.at(23, 59, 59, 999_999_999));
        TimeZone::UTC.to_timestamp(end).unwrap_or(Timestamp::MAX)
    }

    /// The partition that a time of this precision covers by itself, if it is one of ours.
    pub fn of_unit(unit: Unit) -> Option<Self> {
        match unit {
            Unit::Year => Some(Self::Year),
            Unit::Month => Some(Self::Month),
            Unit::Day => Some(Self::Day),
            Unit::Hour => Some(Self::Hour),
            Unit::Minute | Unit::Second | Unit::Fraction => None,
        }
    }
}

impl fmt::Display for PartitionSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PartitionSize {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|size| size.name() == text).ok_or(())
    }
}

/// Writes a column's value as a piece of a path: missing and empty ones as Hive's word, what a path or a reader of Hive's
/// layout would misunderstand as `%XX`.
///
/// Source: Hive's `FileUtils.escapePathName`.
pub fn write_path_value(value: Option<&str>, out: &mut String) {
    use std::fmt::Write as _;
    match value {
        None | Some("") => out.push_str(NULL_PARTITION),
        Some(value) => {
            for c in value.chars() {
                match c {
                    '\u{0}'..='\u{1f}'
                    | '\u{7f}'
                    | '"'
                    | '#'
                    | '%'
                    | '\''
                    | '*'
                    | '/'
                    | ':'
                    | '='
                    | '?'
                    | '\\'
                    | '{'
                    | '}'
                    | '['
                    | ']'
                    | '^' => {
                        let _written = write!(out, "%{:02X}", u32::from(c));
                    }
                    c => out.push(c),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn partitions_begin_and_end_with_the_calendar() {
        let instant = at("2024-02-29T23:59:59.5Z");
        let bounds = |size: PartitionSize| {
            let start = size.start_of(instant);
            (start.to_string(), size.end_of(start).to_string())
        };
        assert_eq!(bounds(PartitionSize::Hour), ("2024-02-29T23:00:00Z".into(), "2024-03-01T00:00:00Z".into()));
        assert_eq!(bounds(PartitionSize::Day), ("2024-02-29T00:00:00Z".into(), "2024-03-01T00:00:00Z".into()));
        assert_eq!(bounds(PartitionSize::Month), ("2024-02-01T00:00:00Z".into(), "2024-03-01T00:00:00Z".into()));
        assert_eq!(bounds(PartitionSize::Year), ("2024-01-01T00:00:00Z".into(), "2025-01-01T00:00:00Z".into()));
        let before = at("1969-12-31T23:30:00Z");
        assert_eq!(PartitionSize::Day.start_of(before), at("1969-12-31T00:00:00Z"));
    }

    #[test]
    fn values_become_pieces_of_paths() {
        let written = |value: Option<&str>| {
            let mut out = String::new();
            write_path_value(value, &mut out);
            out
        };
        assert_eq!(written(None), NULL_PARTITION);
        assert_eq!(written(Some("")), NULL_PARTITION);
        assert_eq!(written(Some("a/b=c%")), "a%2Fb%3Dc%25");
        assert_eq!(written(Some("München 7")), "München 7");
    }
}
