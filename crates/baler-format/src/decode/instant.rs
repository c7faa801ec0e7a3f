//! Dates and times of ISO 8601 into counts since 1970, exactly or not at all.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::schema::TimeUnit;

/// In which zone a column shows its instants.
#[derive(Debug, Clone)]
pub(crate) enum Zone {
    /// In none: values are civil times.
    None,
    /// East of Greenwich, in seconds.
    Fixed(i32),
    /// By its rules.
    Named(TimeZone),
}

impl Zone {
    /// Finds a zone by `UTC`, an offset such as `+05:30`, or a name such as `Europe/Berlin`.
    ///
    /// Errors: no such zone on this machine.
    pub(crate) fn find(name: Option<&str>) -> Result<Self, String> {
        let Some(name) = name else { return Ok(Self::None) };
        if matches!(name, "UTC" | "Z" | "Etc/UTC" | "GMT") {
            return Ok(Self::Fixed(0));
        }
        if let Some(seconds) = offset(name) {
            return Ok(Self::Fixed(seconds));
        }
        TimeZone::get(name).map(Self::Named).map_err(|_| format!("the time zone `{name}` is not known on this machine"))
    }
}

/// A civil time, and its offset where the text gives one.
struct Civil {
    /// Since 1970, as if it were UTC.
    seconds: i64,
    nanoseconds: i64,
    offset: Option<i32>,
    at: civil::DateTime,
}

const PER_DAY: i64 = 86_400;

/// Reads `2026-11-21` as days since 1970.
pub(crate) fn date(text: &str) -> Result<i32, String> {
    let date = match text.len() {
        10 => civil_date(text),
        _ => None,
    };
    let date = date.ok_or_else(|| format!("`{}` is no date such as 2026-11-21", shown(text)))?;
    Ok(days(date))
}

fn days(date: civil::Date) -> i32 {
    let epoch = civil::date(1970, 1, 1);
    let seconds = date.to_datetime(civil::Time::midnight()).duration_since(epoch.to_datetime(civil::Time::midnight()));
    // Years of four digits: far below 32 bits of days.
    (seconds.as_secs() / PER_DAY) as i32
}

/// Reads a time such as `2026-11-21T10:00:00.25+01:00` in a column's unit and zone.
///
/// Without an offset it is a time of the column's zone; one that the zone skips or has twice is refused. Errors: no time,
/// finer than the unit, an offset where the column has no zone, beyond what the unit holds.
pub(crate) fn timestamp(text: &str, unit: TimeUnit, zone: &Zone) -> Result<i64, String> {
    let time = civil_time(text).ok_or_else(|| format!("`{}` is no time such as 2026-11-21T10:00:00Z", shown(text)))?;
    let offset = match (time.offset, zone) {
        (Some(_), Zone::None) => return Err(format!("`{}` has an offset, the column has no zone", shown(text))),
        (None, Zone::None) => 0,
        (Some(offset), Zone::Fixed(_) | Zone::Named(_)) => offset,
        (None, Zone::Fixed(offset)) => *offset,
        (None, Zone::Named(zone)) => match zone.to_ambiguous_timestamp(time.at).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
            AmbiguousOffset::Gap { .. } => return Err(format!("`{}` is skipped in the column's zone", shown(text))),
            AmbiguousOffset::Fold { .. } => {
                return Err(format!("`{}` happens twice in the column's zone, and has no offset", shown(text)));
            }
        },
    };
    let nanoseconds = i128::from(time.seconds - i64::from(offset)) * 1_000_000_000 + i128::from(time.nanoseconds);
    in_unit(nanoseconds, unit).map_err(|what| format!("`{}` {what}", shown(text)))
}

/// The seconds since 1970 of the years that ISO 8601 writes with four digits: text has no others.
pub(crate) const YEARS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

/// Turns nanoseconds into a unit. Errors: they are finer, too many, or of no year from 0 to 9999.
pub(crate) fn in_unit(nanoseconds: i128, unit: TimeUnit) -> Result<i64, &'static str> {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    if seconds < i128::from(YEARS.start) || seconds >= i128::from(YEARS.end) {
        return Err("is no time of the years 0 to 9999");
    }
    let size = i128::from(nanoseconds_of(unit));
    if nanoseconds % size != 0 {
        return Err("is finer than the column's unit");
    }
    i64::try_from(nanoseconds / size).map_err(|_| "is beyond what the column's unit holds")
}

/// Returns the nanoseconds of a unit.
pub(crate) fn nanoseconds_of(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn civil_date(text: &str) -> Option<civil::Date> {
    let bytes = text.as_bytes();
    let year = digits(bytes.get(0..4)?)?;
    let (month, day) = (digits(bytes.get(5..7)?)?, digits(bytes.get(8..10)?)?);
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

/// `YYYY-MM-DD`, then `T` or a blank, `HH:MM`, `:SS`, a fraction of one to nine digits, and `Z` or an offset; the last three
/// may be left out, and so may everything behind the date.
fn civil_time(text: &str) -> Option<Civil> {
    let date = civil_date(text)?;
    let bytes = text.as_bytes();
    let (mut hour, mut minute, mut second, mut nanoseconds) = (0, 0, 0, 0);
    let mut at = 10;
    let mut zone = None;
    if bytes.len() > 10 {
        if !matches!(bytes[10], b'T' | b't' | b' ') || bytes.get(13) != Some(&b':') {
            return None;
        }
        hour = digits(bytes.get(11..13)?)?;
        minute = digits(bytes.get(14..16)?)?;
        at = 16;
        if bytes.get(at) == Some(&b':') {
            second = digits(bytes.get(17..19)?)?;
            at = 19;
            if matches!(bytes.get(at), Some(b'.' | b',')) {
                let fraction = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if !(1..=9).contains(&fraction) {
                    return None;
                }
                // At most nine digits.
                nanoseconds = i64::from(digits(&bytes[at + 1..at + 1 + fraction])?) * 10i64.pow(9 - fraction as u32);
                at += 1 + fraction;
            }
        }
        let rest = text.get(at..)?;
        zone = match rest {
            "" => None,
            "Z" | "z" => Some(0),
            rest => Some(offset(rest)?),
        };
    }
    debug_assert!(at <= bytes.len());
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds =
        i64::from(days(date)) * PER_DAY + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    // The fraction does not decide which offset a zone has.
    let time = civil::Time::new(hour as i8, minute as i8, second as i8, 0).ok()?;
    Some(Civil { seconds, nanoseconds, offset: zone, at: date.to_datetime(time) })
}

/// Reads `+01:00`, `-0130` or `+01` in seconds.
fn offset(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match bytes.len() {
        3 => (digits(&bytes[1..3])?, 0),
        5 => (digits(&bytes[1..3])?, digits(&bytes[3..5])?),
        6 if bytes[3] == b':' => (digits(&bytes[1..3])?, digits(&bytes[4..6])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| sign * (hours * 3_600 + minutes * 60) as i32)
}

/// A value as an error shows it: not all of a long one.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offsets() {
        let utc = Zone::find(Some("UTC")).unwrap();
        let ms = |text| timestamp(text, TimeUnit::Millisecond, &utc);
        assert_eq!(ms("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(ms("1970-01-01"), Ok(0));
        assert_eq!(ms("1969-12-31 23:59:59.999"), Ok(-1));
        assert_eq!(ms("2020-02-29T12:00+01:30"), Ok(1_582_972_200_000));
        assert_eq!(ms("2020-02-29T10:30:00.000000Z"), Ok(1_582_972_200_000));
        assert_eq!(ms("0000-01-01T00:00:00Z"), Ok(-62_167_219_200_000));
        assert_eq!(ms("9999-12-31T23:59:59.999Z"), Ok(253_402_300_799_999));
    }

    #[test]
    fn what_is_no_time_or_does_not_fit_is_refused() {
        let utc = Zone::find(Some("UTC")).unwrap();
        for text in [
            "",
            "2020",
            "2020-13-01",
            "2021-02-29",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:00:60Z",
            "2020-01-01T00",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00.1234567890Z",
            "2020-01-01T00:00:00+1:00",
            "2020-01-01T00:00:00ZZ",
            "2020-01-01é",
            "+020-01-01T00:00:00Z",
            "2020-01-01T00:00:00+24:00",
            "20200101T000000Z",
        ] {
            assert!(timestamp(text, TimeUnit::Nanosecond, &utc).is_err(), "{text}");
        }
        let fault = timestamp("2020-01-01T00:00:00.0001Z", TimeUnit::Millisecond, &utc).unwrap_err();
        assert!(fault.ends_with("is finer than the column's unit"), "{fault}");
        assert!(timestamp("2300-01-01T00:00:00Z", TimeUnit::Nanosecond, &utc).is_err());
        assert!(timestamp("2020-01-01T00:00:00Z", TimeUnit::Second, &Zone::None).is_err());
        assert_eq!(timestamp("2020-01-01T00:00:00", TimeUnit::Second, &Zone::None), Ok(1_577_836_800));
    }

    #[test]
    fn civil_times_of_a_zone_follow_its_rules() {
        let berlin = Zone::find(Some("Europe/Berlin")).unwrap();
        let s = |text| timestamp(text, TimeUnit::Second, &berlin);
        assert_eq!(s("2020-01-01T01:00:00"), Ok(1_577_836_800));
        assert_eq!(s("2020-07-01T02:00:00"), Ok(1_593_561_600));
        assert_eq!(s("2020-07-01T02:00:00Z"), Ok(1_593_568_800));
        assert!(s("2020-03-29T02:30:00").unwrap_err().contains("skipped"));
        assert!(s("2020-10-25T02:30:00").unwrap_err().contains("twice"));
        assert_eq!(s("2020-10-25T02:30:00+02:00"), Ok(1_603_585_800));
        assert!(Zone::find(Some("Europe/Atlantis")).is_err());
    }

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(date("1970-01-02"), Ok(1));
        assert_eq!(date("2000-02-29"), Ok(11_016));
        assert!(date("1999-02-29").is_err());
        assert!(date("1970-01-02T00:00").is_err());
    }
}
