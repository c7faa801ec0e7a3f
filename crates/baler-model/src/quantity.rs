//! Sizes and durations as people write them: `64MiB`, `15m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Kind;

/// A text that is no size or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}")]
pub struct QuantityError {
    what: &'static str,
    text: String,
    hint: &'static str,
}

impl QuantityError {
    /// What to do about it: change the text.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// What such a quantity looks like.
    pub fn hint(&self) -> Option<&str> {
        Some(self.hint)
    }
}

/// A number of bytes, written `64MiB`, `1GiB`, `100MB`, `1.5GiB` or `4096`.
///
/// Units: `B`, `KiB MiB GiB TiB` (powers of 1,024), `kB MB GB TB` (powers of 1,000); upper or lower case alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Takes a number of bytes.
    pub fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fault = || QuantityError {
            what: "size",
            text: text.to_owned(),
            hint: "write a size as `64MiB`, `1GiB`, `100MB` or a number of bytes",
        };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = (trimmed[..split].trim_end(), &trimmed[split..]);
        let factor = match unit {
            "" => 1,
            unit => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(fault)?.1,
        };
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (number, None),
        };
        let mut bytes = parse_digits(whole).and_then(|n| n.checked_mul(factor)).ok_or_else(fault)?;
        if let Some(fraction) = fraction {
            // `1.5GiB` is exact or refused: a size that is silently rounded surprises somebody later.
            if fraction.len() > 9 {
                return Err(fault());
            }
            let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
            let numerator = u128::from(parse_digits(fraction).ok_or_else(fault)?) * u128::from(factor);
            if numerator % scale != 0 {
                return Err(fault());
            }
            bytes = u64::try_from(numerator / scale).ok().and_then(|n| bytes.checked_add(n)).ok_or_else(fault)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) if *factor > 1 => write!(f, "{}{name}", self.0 / factor),
            Some(_) | None => write!(f, "{}B", self.0),
        }
    }
}

/// A length of time, written `0s`, `10m`, `1h30m`, `7d`, `250ms`; a day has 24 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// Longest first, which is also the order in which they may be written.
const SPAN_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(Duration::ZERO);

    /// Takes a duration; what is finer than a millisecond is cut off.
    pub fn new(duration: Duration) -> Self {
        Self(Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000))
    }

    /// The duration.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Whether it is no time at all.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Span {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fault = || QuantityError {
            what: "duration",
            text: text.to_owned(),
            hint: "write a duration as `30s`, `10m`, `1h30m` or `7d`",
        };
        let mut rest = text.trim();
        let mut units = SPAN_UNITS.iter();
        let mut millis = 0u64;
        if rest.is_empty() {
            return Err(fault());
        }
        while !rest.is_empty() {
            let split = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(fault)?;
            let end = rest[split..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |n| split + n);
            let count = parse_digits(rest[..split].trim()).ok_or_else(fault)?;
            // Units are taken from the iterator, so that `30m1h` and `1h1h` are refused as the slips they are.
            let (_, factor) = units.find(|(name, _)| *name == &rest[split..end]).ok_or_else(fault)?;
            millis = count.checked_mul(*factor).and_then(|n| millis.checked_add(n)).ok_or_else(fault)?;
            rest = rest[end..].trim_start();
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in SPAN_UNITS.iter().filter(|(name, _)| *name != "w") {
            let count = millis / u128::from(*factor);
            if count > 0 {
                write!(f, "{count}{name}")?;
                millis %= u128::from(*factor);
            }
        }
        Ok(())
    }
}

/// Reads digits with `_` between them.
pub(crate) fn parse_digits(text: &str) -> Option<u64> {
    let well_formed = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    match well_formed {
        true if text.contains('_') => text.replace('_', "").parse().ok(),
        true => text.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("100MB", 100_000_000),
            ("1.5GiB", 3 << 29),
            ("5 mib", 5 << 20),
            ("10_000", 10_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<ByteSize>().map(ByteSize::bytes), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_unclear_are_refused() {
        for text in ["", "MiB", "-1", "1XB", "1.3B", "1e9", "99999999TiB", "1 2MiB", "_1", "1_", "1MiB2"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("10m", 600), ("0s", 0), ("1h30m", 5400), ("7d", 604_800), ("1w", 604_800), ("1h 5s", 3605)]
        {
            assert_eq!(text.parse::<Span>().map(Span::duration), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn durations_that_are_unclear_are_refused() {
        for text in ["", "5", "m", "5x", "30m1h", "1h1h", "-5m", "1.5h", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_survives_its_text(bytes: u64, shift in 0u32..41) {
            let size = ByteSize::new((bytes >> shift) << shift);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
        }

        #[test]
        fn a_duration_survives_its_text(millis in 0u64..100_000_000_000) {
            let span = Span::new(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
    }
}
