//! Single values as text.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use jiff::civil;

/// Appends a scalar that is not text, as CSV has it and JSON has it within or without quotes.
///
/// Errors: dates and times beyond the years 0000 to 9999; what is not a scalar.
pub(super) fn push_scalar(out: &mut String, array: &ArrayRef, row: usize) -> Result<(), String> {
    // Writing into a String cannot fail.
    let written = match array.data_type() {
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        // The shortest digits that read back as the same float, with an exponent where that is shorter.
        DataType::Float64 => write!(out, "{:?}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(row)),
        DataType::Decimal128(_, scale) => {
            push_decimal(out, array.as_primitive::<Decimal128Type>().value(row), scale.unsigned_abs());
            Ok(())
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            let date =
                civil_day(i64::from(days)).ok_or_else(|| format!("day {days} is beyond the years 0000 to 9999"))?;
            write!(out, "{date}")
        }
        DataType::Timestamp(unit, zone) => {
            let (value, per_second, digits) = match unit {
                TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1, 0),
                TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1_000, 3),
                TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000, 6),
                TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000, 9),
            };
            let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
            let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
            let date = civil_day(day).ok_or_else(|| format!("the time {value} is beyond the years 0000 to 9999"))?;
            let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
            let mut written = write!(out, "{date}T{hour:02}:{minute:02}:{second:02}");
            if digits > 0 {
                written = written.and_then(|()| write!(out, ".{fraction:0digits$}"));
            }
            if zone.is_some() {
                out.push('Z');
            }
            written
        }
        other => return Err(format!("{other} is no scalar")),
    };
    written.map_err(|error| error.to_string())
}

fn civil_day(days: i64) -> Option<civil::Date> {
    let span = jiff::Span::new().try_days(days).ok()?;
    let date = civil::date(1970, 1, 1).checked_add(span).ok()?;
    (date.year() >= 0).then_some(date)
}

fn push_decimal(out: &mut String, value: i128, scale: u8) {
    let digits = format!("{:0width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
    if value < 0 {
        out.push('-');
    }
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    out.push_str(whole);
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
}
