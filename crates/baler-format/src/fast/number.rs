//! Numbers, from the text where they lie.
//!
//! Each kind has two ways. The plain one takes what nearly all numbers look like (a sign, up to 19 digits, a point
//! somewhere) and answers `None` for the rest; it looks at eight bytes at once and hardly branches on them. The general
//! one takes a whole token whose grammar was checked before.

use super::Unread;
use super::float;
use super::swar::{byte, digits, load8};

const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < 20 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// A number as written: `digits` without its point, `behind` of them behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain {
    negative: bool,
    digits: u64,
    behind: usize,
    /// The first byte that is no part of it.
    pub(super) next: usize,
}

/// Reads on behind eight digits: up to 19 in all.
#[inline(always)]
fn more_digits(text: &[u8], at: usize, value: u64) -> Option<(u64, usize)> {
    let (second, count) = digits(load8(text, at + 8));
    let value = value * POWERS[count] + second;
    if count < 8 {
        return Some((value, 8 + count));
    }
    let (third, count) = digits(load8(text, at + 16));
    (count <= 3).then(|| (value * POWERS[count] + third, 16 + count))
}

/// A number without a point or exponent, as JSON writes it.
#[inline(always)]
pub(super) fn integer(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = byte(text, at) == b'-';
    let start = at + usize::from(negative);
    let word = load8(text, start);
    let (mut value, mut count) = digits(word);
    if count == 0 || (word as u8 == b'0' && count > 1) {
        return None;
    }
    if count == 8 {
        (value, count) = more_digits(text, start, value)?;
    }
    let next = start + count;
    if matches!(byte(text, next), b'.' | b'e' | b'E') || value > i64::MAX as u64 {
        return None;
    }
    let sign = i64::from(negative);
    Some((((value as i64) ^ -sign) + sign, next))
}

/// A number with or without a point, without an exponent, as JSON writes it.
#[inline(always)]
pub(super) fn plain(text: &[u8], at: usize) -> Option<Plain> {
    let negative = byte(text, at) == b'-';
    let start = at + usize::from(negative);
    let word = load8(text, start);
    let (mut value, mut count) = digits(word);
    if count == 0 || (word as u8 == b'0' && count > 1) {
        return None;
    }
    let mut behind = 0;
    if count == 8 {
        (value, count) = more_digits(text, start, value)?;
    }
    let mut next = start + count;
    if byte(text, next) == b'.' {
        let (mut fraction, mut places) = digits(load8(text, next + 1));
        if places == 0 {
            return None;
        }
        if places == 8 {
            (fraction, places) = more_digits(text, next + 1, fraction)?;
        }
        if value == 0 {
            value = fraction;
        } else if count + places <= 19 {
            value = value * POWERS[places] + fraction;
        } else {
            return None;
        }
        behind = places;
        next += 1 + places;
    }
    if byte(text, next) | 0x20 == b'e' {
        return None;
    }
    Some(Plain { negative, digits: value, behind, next })
}

impl Plain {
    /// The nearest double.
    #[inline(always)]
    pub(super) fn to_float(self) -> Option<f64> {
        let value = float::nearest(self.digits, -(self.behind as i32))?;
        Some(if self.negative { -value } else { value })
    }

    /// The number times 10^`scale`, where that is a whole number below 10^`precision`.
    #[inline]
    pub(super) fn to_decimal(self, precision: u8, scale: i8) -> Option<i128> {
        let up = usize::try_from(scale).ok()?.checked_sub(self.behind)?;
        let value = i128::from(self.digits) * 10_i128.checked_pow(up as u32)?;
        (up <= 19 && value < 10_i128.pow(u32::from(precision))).then_some(if self.negative { -value } else { value })
    }
}

/// The end of the number that begins at `at`, written as JSON writes numbers.
pub(super) fn json_number(text: &[u8], at: usize) -> Result<usize, Unread> {
    let mut at = at + usize::from(byte(text, at) == b'-');
    match byte(text, at) {
        b'0' => at += 1,
        b'1'..=b'9' => at = skip_digits(text, at),
        _ => return Err(Unread),
    }
    if byte(text, at) == b'.' {
        let places = skip_digits(text, at + 1);
        if places == at + 1 {
            return Err(Unread);
        }
        at = places;
    }
    exponent(text, at)
}

/// Checks that all of `field` is a number as CSV files write them: also with `+`, leading zeros, `.5` and `5.`.
pub(super) fn csv_number(field: &[u8]) -> Result<(), Unread> {
    let start = usize::from(matches!(byte(field, 0), b'-' | b'+'));
    let whole = skip_digits(field, start);
    let mut at = whole;
    if byte(field, at) == b'.' {
        at = skip_digits(field, at + 1);
        if at == start + 1 {
            return Err(Unread);
        }
    } else if whole == start {
        return Err(Unread);
    }
    let end = exponent(field, at)?;
    if end == field.len() { Ok(()) } else { Err(Unread) }
}

fn exponent(text: &[u8], at: usize) -> Result<usize, Unread> {
    if byte(text, at) | 0x20 != b'e' {
        return Ok(at);
    }
    let start = at + 1 + usize::from(matches!(byte(text, at + 1), b'-' | b'+'));
    let end = skip_digits(text, start);
    if end == start { Err(Unread) } else { Ok(end) }
}

fn skip_digits(text: &[u8], mut at: usize) -> usize {
    while byte(text, at).is_ascii_digit() {
        at += 1;
    }
    at
}

/// `significand` · 10^`exponent`, without trailing zeros.
struct Exact {
    negative: bool,
    /// `None`: more digits than 128 bits hold.
    significand: Option<u128>,
    exponent: i64,
}

fn exact(token: &[u8]) -> Exact {
    let negative = token.first() == Some(&b'-');
    let mut significand = Some(0_u128);
    let (mut zeros, mut behind, mut written) = (0_i64, 0_i64, 0_i64);
    let mut point = false;
    for (at, &byte) in token.iter().enumerate() {
        match byte {
            b'.' => point = true,
            b'e' | b'E' => {
                let digits = &token[at + 1..];
                let below = digits.first() == Some(&b'-');
                // Far outside of any type, yet nowhere near the end of an i64.
                written = digits
                    .iter()
                    .filter(|byte| byte.is_ascii_digit())
                    .fold(0, |value: i64, byte| (value * 10 + i64::from(byte - b'0')).min(1 << 40));
                if below {
                    written = -written;
                }
                break;
            }
            b'0'..=b'9' => {
                behind += i64::from(point);
                zeros += 1;
                if byte != b'0' {
                    let up = u32::try_from(zeros).ok().and_then(|zeros| 10_u128.checked_pow(zeros));
                    significand = match (significand, up) {
                        (Some(0), _) => Some(u128::from(byte - b'0')),
                        (Some(value), Some(up)) => {
                            value.checked_mul(up).and_then(|value| value.checked_add(u128::from(byte - b'0')))
                        }
                        _ => None,
                    };
                    zeros = 0;
                }
            }
            _ => {}
        }
    }
    Exact { negative, significand, exponent: written - behind + zeros }
}

impl Exact {
    /// The value times 10^`scale`, if that is whole.
    fn scaled(&self, scale: i64) -> Result<i128, Unread> {
        if self.significand == Some(0) {
            return Ok(0);
        }
        let up = self.exponent + scale;
        if up < 0 {
            return Err(Unread);
        }
        let power = u32::try_from(up).ok().and_then(|up| 10_u128.checked_pow(up));
        let value = match (self.significand, power) {
            (Some(value), Some(power)) => value.checked_mul(power),
            _ => None,
        };
        let value = value.and_then(|value| i128::try_from(value).ok()).ok_or(Unread)?;
        Ok(if self.negative { -value } else { value })
    }
}

/// The integer that a number's text stands for; `3.0` and `3e2` are integers.
pub(super) fn integer_of(token: &[u8]) -> Result<i64, Unread> {
    i64::try_from(exact(token).scaled(0)?).map_err(|_| Unread)
}

/// The unscaled value of a number's text in a column of decimals.
pub(super) fn decimal_of(token: &[u8], precision: u8, scale: i8) -> Result<i128, Unread> {
    let value = exact(token).scaled(i64::from(scale))?;
    let bound = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    if value.unsigned_abs() < bound.unsigned_abs() { Ok(value) } else { Err(Unread) }
}

/// The double nearest to a number's text.
pub(super) fn float_of(token: &[u8]) -> Result<f64, Unread> {
    let text = std::str::from_utf8(token).map_err(|_| Unread)?;
    let value: f64 = text.parse().map_err(|_| Unread)?;
    if value.is_finite() { Ok(value) } else { Err(Unread) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_at_the_edges() {
        assert_eq!(integer(b"9223372036854775807,", 0), Some((i64::MAX, 19)));
        assert_eq!(integer(b"-9223372036854775807}", 0), Some((-i64::MAX, 20)));
        assert_eq!(integer(b"-9223372036854775808}", 0), None);
        assert_eq!(integer_of(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer_of(b"9223372036854775808"), Err(Unread));
        assert_eq!(integer_of(b"100000000000000000000000000000000000000000000000"), Err(Unread));
        assert_eq!(integer_of(b"1e400000000000000000000"), Err(Unread));
        assert_eq!(integer_of(b"0e400000000000000000000"), Ok(0));
        for not_plain in ["01", "1.0", "1e2", "-", "x", "", "12345678901234567890"] {
            assert_eq!(integer(not_plain.as_bytes(), 0), None, "{not_plain}");
        }
    }

    #[test]
    fn whole_numbers_with_a_point_are_integers() {
        assert_eq!(integer_of(b"3.000"), Ok(3));
        assert_eq!(integer_of(b"-12.50e1"), Ok(-125));
        assert_eq!(integer_of(b"1e18"), Ok(1_000_000_000_000_000_000));
        assert_eq!(integer_of(b"3.5"), Err(Unread));
        assert_eq!(integer_of(b"1e-1"), Err(Unread));
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        assert_eq!(decimal_of(b"-12.34", 10, 2), Ok(-1234));
        assert_eq!(decimal_of(b"12.3400", 10, 2), Ok(1234));
        assert_eq!(decimal_of(b"12.345", 10, 2), Err(Unread));
        assert_eq!(decimal_of(b"123.45", 4, 2), Err(Unread));
        assert_eq!(decimal_of(b"1200", 4, -2), Ok(12));
        assert_eq!(decimal_of(b"99999999999999999999999999999999999999", 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(plain(b"12.34,", 0).and_then(|plain| plain.to_decimal(10, 3)), Some(12_340));
        assert_eq!(plain(b"12.34,", 0).and_then(|plain| plain.to_decimal(4, 3)), None);
        assert_eq!(plain(b"12.34,", 0).and_then(|plain| plain.to_decimal(4, 1)), None);
    }

    #[test]
    fn grammar_of_json_numbers() {
        for (text, end) in [("0,", 1), ("-1.5e+3]", 7), ("10 ", 2), ("0.0", 3), ("01", 1)] {
            assert_eq!(json_number(text.as_bytes(), 0), Ok(end), "{text}");
        }
        for text in ["-", "+1", ".5", "1.", "1e", "1e+", "x"] {
            assert_eq!(json_number(text.as_bytes(), 0), Err(Unread), "{text}");
        }
        assert_eq!(json_number(b"-Infinity", 0), Err(Unread));
    }

    #[test]
    fn grammar_of_csv_numbers() {
        for text in ["007", "+1", ".5", "5.", "-1.5E-3", "1e5"] {
            assert_eq!(csv_number(text.as_bytes()), Ok(()), "{text}");
        }
        for text in ["", ".", "-", "-.", "1e", "1 ", " 1", "1,5", "0x10", "e5", "1.2.3", "inf"] {
            assert_eq!(csv_number(text.as_bytes()), Err(Unread), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn plain_numbers_are_what_the_standard_library_reads(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,21})?") {
            let token = text.as_bytes();
            prop_assert_eq!(json_number(token, 0), Ok(token.len()));
            prop_assert_eq!(csv_number(token), Ok(()));
            let expected: f64 = text.parse().unwrap();
            if let Some(plain) = plain(token, 0) {
                prop_assert_eq!(plain.next, token.len());
                if let Some(value) = plain.to_float() {
                    prop_assert_eq!(value.to_bits(), expected.to_bits());
                }
                if let Some(decimal) = plain.to_decimal(30, 10) {
                    prop_assert_eq!(Ok(decimal), decimal_of(token, 30, 10));
                }
            }
            prop_assert_eq!(float_of(token).unwrap().to_bits(), expected.to_bits());
            let whole = text.parse::<i64>().ok();
            if let Some((value, end)) = integer(token, 0) {
                prop_assert_eq!((Some(value), end), (whole, token.len()));
            }
            if whole.is_some() {
                prop_assert_eq!(integer_of(token).ok(), whole);
            }
        }
    }
}
