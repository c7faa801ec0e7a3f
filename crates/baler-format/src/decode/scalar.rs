//! Single values from text.

use super::Floats;
use super::instant::{self, Zone, shown};
use crate::schema::TimeUnit;

/// Reads a whole number, however it is written: `3.0` and `3e2` are whole. Errors: it is none, or has more than 64 bits.
pub(crate) fn int(text: &str) -> Result<i64, String> {
    let beyond = || format!("`{}` is beyond 64 bits", shown(text));
    match number_text(text) {
        NumberText::Int => text.parse().map_err(|_| beyond()),
        NumberText::Fraction => match decimal(text, 38, 0) {
            Ok(value) => i64::try_from(value).map_err(|_| beyond()),
            Err(_) => Err(format!("`{}` is no whole number of 64 bits", shown(text))),
        },
        NumberText::None => Err(format!("`{}` is no whole number", shown(text))),
    }
}

/// Reads a floating point number, to the nearest that there is.
pub(crate) fn float(text: &str, floats: Floats) -> Result<f64, String> {
    let is_number = number_text(text) != NumberText::None;
    let is_other = floats == Floats::Any && {
        let word = text.strip_prefix(['+', '-']).unwrap_or(text);
        ["nan", "inf", "infinity"].iter().any(|other| word.eq_ignore_ascii_case(other))
    };
    match text.parse::<f64>() {
        Ok(float) if is_other || (is_number && float.is_finite()) => Ok(float),
        Ok(_) if is_number => Err(format!("`{}` is beyond 64-bit floats", shown(text))),
        Ok(_) | Err(_) => Err(format!("`{}` is no number", shown(text))),
    }
}

/// Reads a decimal exactly. Errors: more digits than it holds, other than zeros at the end.
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Result<i128, String> {
    if number_text(text) == NumberText::None {
        return Err(format!("`{}` is no number", shown(text)));
    }
    let beyond = || format!("`{}` is beyond decimal({precision},{scale})", shown(text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.is_empty() && fraction.is_empty() {
        return Ok(0);
    }
    let exponent: i64 = exponent.parse().map_err(|_| beyond())?;
    // The value is `digits` · 10^(exponent - fraction digits); it is wanted as a multiple of 10^-scale.
    let shift = exponent.saturating_sub(fraction.len() as i64).saturating_add(i64::from(scale));
    let mut value: i128 = 0;
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let (digits, shift) = match digits.trim_end_matches('0') {
        short if shift < 0 => (short, shift + (digits.len() - short.len()) as i64),
        _ => (digits, shift),
    };
    if shift < 0 {
        return Err(format!("`{}` has more than {scale} digits behind the point", shown(text)));
    }
    if digits.len() as i64 + shift > i64::from(precision) {
        return Err(beyond());
    }
    for digit in digits.bytes() {
        // At most 38 digits.
        value = value * 10 + i128::from(digit - b'0');
    }
    value *= 10i128.pow(shift as u32);
    Ok(if is_negative { -value } else { value })
}

/// Reads a time of a column: a number of `epoch` since 1970, or ISO 8601.
pub(crate) fn timestamp(text: &str, unit: TimeUnit, zone: &Zone, epoch: TimeUnit) -> Result<i64, String> {
    if number_text(text) == NumberText::None {
        return instant::timestamp(text, unit, zone);
    }
    let digits = match epoch {
        TimeUnit::Second => 9,
        TimeUnit::Millisecond => 6,
        TimeUnit::Microsecond => 3,
        TimeUnit::Nanosecond => 0,
    };
    let nanoseconds =
        decimal(text, 38, digits).map_err(|_| format!("`{}` is finer than nanoseconds or too large", shown(text)))?;
    instant::in_unit(nanoseconds, unit).map_err(|what| match epoch {
        // The commonest slip: a number that counts milliseconds.
        TimeUnit::Second => format!("`{}` {what}, as seconds since 1970", shown(text)),
        _ => format!("`{}` {what}", shown(text)),
    })
}

/// Reads `true` or `false`, as they are written by most: in small letters, in capitals, or with one.
pub(crate) fn bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("`{}` is neither true nor false", shown(text))),
    }
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberText {
    /// Digits, with or without a sign.
    Int,
    /// With a point or an exponent.
    Fraction,
    /// Not a number.
    None,
}

/// Says how a text writes a number: a sign, digits, a fraction, an exponent.
pub(crate) fn number_text(text: &str) -> NumberText {
    let bytes = text.as_bytes();
    let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    if whole > 0 && at == bytes.len() {
        return NumberText::Int;
    }
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return NumberText::None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at.min(bytes.len()));
        if exponent == 0 {
            return NumberText::None;
        }
        at += exponent;
    }
    if at == bytes.len() { NumberText::Fraction } else { NumberText::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_64_bits_and_no_fraction() {
        assert_eq!(int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int("-9223372036854775808.00"), Ok(i64::MIN));
        assert_eq!(int("3.0"), Ok(3));
        assert_eq!(int("3e2"), Ok(300));
        assert_eq!(int("-1.5E+1"), Ok(-15));
        assert_eq!(int("0e99999999999999999999999"), Ok(0));
        assert_eq!(int("9223372036854775808").unwrap_err(), "`9223372036854775808` is beyond 64 bits");
        for text in ["", "-", "1.5", "15e-1", "1e19", "1e99999999999999999999", " 1", "0x1", "1_0", "٣"] {
            assert!(int(text).is_err(), "{text}");
        }
    }

    #[test]
    fn floats_are_finite_unless_they_may_be_otherwise() {
        assert_eq!(float("-1e5", Floats::Finite), Ok(-100_000.0));
        assert_eq!(float(".5", Floats::Finite), Ok(0.5));
        for text in ["inf", "NaN", "1e999", "-infinity", "1e", ".", "e5", "1f"] {
            assert!(float(text, Floats::Finite).is_err(), "{text}");
        }
        assert_eq!(float("-Infinity", Floats::Any), Ok(f64::NEG_INFINITY));
        assert!(float("nan", Floats::Any).unwrap().is_nan());
        assert!(float("1e999", Floats::Any).is_err());
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal("12.5", 4, 2), Ok(1250));
        assert_eq!(decimal("-0.050", 4, 2), Ok(-5));
        assert_eq!(decimal("1.5e1", 4, 2), Ok(1500));
        assert_eq!(decimal("1500e-2", 4, 2), Ok(1500));
        assert!(decimal("0e99999999999", 4, 2).is_ok());
        assert_eq!(decimal("99.99", 4, 2), Ok(9999));
        assert_eq!(decimal("100", 4, 2).unwrap_err(), "`100` is beyond decimal(4,2)");
        assert_eq!(decimal("0.001", 4, 2).unwrap_err(), "`0.001` has more than 2 digits behind the point");
        assert_eq!(decimal(&"9".repeat(38), 38, 0), Ok(10i128.pow(38) - 1));
        assert!(decimal("1e400", 38, 0).is_err());
        assert!(decimal("1e-400", 38, 10).is_err());
        assert_eq!(decimal("120e-1", 2, 0), Ok(12));
    }

    #[test]
    fn numbers_in_timestamp_columns_count_the_epoch() {
        let s = |text, epoch| timestamp(text, TimeUnit::Millisecond, &Zone::None, epoch);
        assert_eq!(s("1577836800", TimeUnit::Second), Ok(1_577_836_800_000));
        assert_eq!(s("1577836800.25", TimeUnit::Second), Ok(1_577_836_800_250));
        assert_eq!(s("1577836800250", TimeUnit::Millisecond), Ok(1_577_836_800_250));
        assert!(s("1577836800.0001", TimeUnit::Second).is_err());
        assert!(s("1e30", TimeUnit::Second).is_err());
    }
}
