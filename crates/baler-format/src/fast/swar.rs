//! Eight and sixteen bytes at a time, in safe code.
//!
//! Loads read as zeros behind the end of the text: a zero is no digit, no quote and no separator, so that callers need
//! no second path near the end. Searches compare sixteen bytes with one instruction.

use wide::u8x16;

/// The eight bytes at `at`, the first in the lowest bits.
#[inline(always)]
pub(super) fn load8(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => u64::from_le_bytes(tail(text, at)),
    }
}

/// The sixteen bytes at `at`.
#[inline(always)]
pub(super) fn load16(text: &[u8], at: usize) -> [u8; 16] {
    match text.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(bytes) => *bytes,
        None => tail(text, at),
    }
}

#[cold]
#[inline(never)]
fn tail<const N: usize>(text: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(rest) = text.get(at..) {
        let length = rest.len().min(N);
        bytes[..length].copy_from_slice(&rest[..length]);
    }
    bytes
}

/// The byte at `at`, zero behind the end.
#[inline(always)]
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// High bits at bytes of `word` that are not 0 to 9; exact up to and including the lowest such byte.
#[inline(always)]
pub(super) fn above_nine(word: u64) -> u64 {
    (word.wrapping_add(LOW * 0x76) | word) & HIGH
}

/// How many of the eight bytes of `word`, from the lowest, are digits; and their value.
#[inline(always)]
pub(super) fn digits(word: u64) -> (u64, usize) {
    let nibbles = word ^ (LOW * 0x30);
    let bits = above_nine(nibbles).trailing_zeros() & !7;
    // Digits go to the high end, zeros lead.
    let aligned = nibbles.checked_shl(64 - bits).unwrap_or(0);
    let aligned = if bits == 64 { nibbles } else { aligned };
    (eight_nibbles(aligned), (bits / 8) as usize)
}

/// The number that the first `length` bytes of `word` make, 8 at most; `None` if one of them is no digit.
#[inline(always)]
pub(super) fn digits_of_length(word: u64, length: usize) -> Option<u64> {
    let nibbles = (word ^ (LOW * 0x30)).checked_shl(64 - 8 * length as u32).unwrap_or(0);
    (above_nine(nibbles) == 0).then(|| eight_nibbles(nibbles))
}

/// The same with a point among the bytes, if there is one: the number without it, and how many digits are behind it.
#[inline(always)]
pub(super) fn digits_around_point(word: u64, length: usize) -> Option<(u64, usize)> {
    let nibbles = word ^ (LOW * 0x30);
    // The lowest byte that equals a point: those above it may be marked wrongly, none below.
    let points = nibbles ^ (LOW * u64::from(b'.' ^ b'0'));
    let mark = points.wrapping_sub(LOW) & !points & HIGH;
    let before = (mark.trailing_zeros() / 8) as usize;
    if before >= length {
        return digits_of_length(word, length).map(|value| (value, 0));
    }
    // Close the gap that the point leaves.
    let low = nibbles & ((1 << (8 * before)) - 1);
    let high = (nibbles >> 8) & !((1_u64 << (8 * before)) - 1);
    let closed = (low | high).checked_shl(64 - 8 * (length as u32 - 1)).unwrap_or(0);
    let behind = length - 1 - before;
    (above_nine(closed) == 0 && before > 0 && behind > 0).then(|| (eight_nibbles(closed), behind))
}

/// The number that eight decimal digits (as 0 to 9, the first in the lowest byte) make.
#[inline(always)]
fn eight_nibbles(nibbles: u64) -> u64 {
    const PAIR: u64 = 0x0000_00FF_0000_00FF;
    let pairs = nibbles.wrapping_mul(10).wrapping_add(nibbles >> 8);
    let high = (pairs & PAIR).wrapping_mul(100 + (1_000_000 << 32));
    let low = ((pairs >> 16) & PAIR).wrapping_mul(1 + (10_000 << 32));
    high.wrapping_add(low) >> 32
}

/// The bytes of a block at which a search stops: a bit for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stops(u32);

impl Stops {
    /// Whether there is none.
    #[inline(always)]
    pub(super) fn none(self) -> bool {
        self.0 == 0
    }

    /// Bytes before the first; 16 if there is none.
    #[inline(always)]
    pub(super) fn first(self) -> usize {
        (self.0 | 1 << 16).trailing_zeros() as usize
    }
}

/// Where a plain stretch of a JSON string stops: quote, backslash, control character.
#[inline(always)]
pub(super) fn json_string_stops(block: [u8; 16]) -> Stops {
    let bytes = u8x16::from(block);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    Stops((bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control).to_bitmask())
}

/// Where an unquoted CSV field stops: the delimiter, a line feed, a carriage return.
#[inline(always)]
pub(super) fn csv_field_stops(block: [u8; 16], delimiter: u8) -> Stops {
    let bytes = u8x16::from(block);
    let ends = bytes.simd_eq(u8x16::splat(b'\n')) | bytes.simd_eq(u8x16::splat(b'\r'));
    Stops((bytes.simd_eq(u8x16::splat(delimiter)) | ends).to_bitmask())
}

/// The bytes of a stretch of 64 that end CSV fields and lines, and whether any is a quote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Separators {
    /// A bit for each delimiter and line feed.
    pub(super) all: u64,
    /// A bit for each line feed.
    pub(super) feeds: u64,
    /// A bit for each quote.
    pub(super) quotes: u64,
}

/// Looks for separators in 64 bytes.
#[inline(always)]
pub(super) fn csv_separators(stretch: &[u8; 64], delimiter: u8) -> Separators {
    let mut found = Separators { all: 0, feeds: 0, quotes: 0 };
    for (at, block) in stretch.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::from(*block);
        let feeds = bytes.simd_eq(u8x16::splat(b'\n'));
        let all = feeds | bytes.simd_eq(u8x16::splat(delimiter));
        let quotes = bytes.simd_eq(u8x16::splat(b'"'));
        found.feeds |= u64::from(feeds.to_bitmask()) << (16 * at);
        found.all |= u64::from(all.to_bitmask()) << (16 * at);
        found.quotes |= u64::from(quotes.to_bitmask()) << (16 * at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_and_valued() {
        for (text, value, count) in
            [("", 0, 0), ("7", 7, 1), ("12a45678", 12, 2), ("12345678", 12_345_678, 8), ("1234567,", 1_234_567, 7)]
        {
            assert_eq!(digits(load8(text.as_bytes(), 0)), (value, count), "{text}");
        }
        for other in 0..=255_u8 {
            let text = [b'4', b'2', other, b'9', 0xff, 0, b'1', b'1'];
            let (value, count) = digits(u64::from_le_bytes(text));
            if other.is_ascii_digit() {
                assert_eq!((value, count), (4209 + 10 * u64::from(other - b'0'), 4), "{other}");
            } else {
                assert_eq!((value, count), (42, 2), "{other}");
            }
        }
    }

    #[test]
    fn numbers_of_known_length() {
        for (text, length, value) in [
            ("12345678", 8, Some(12_345_678)),
            ("123x", 3, Some(123)),
            ("12x4", 4, None),
            ("0", 1, Some(0)),
            ("-1", 2, None),
        ] {
            assert_eq!(digits_of_length(load8(text.as_bytes(), 0), length), value, "{text}");
        }
        for (text, length, value) in [
            ("12.5,", 4, Some((125, 1))),
            ("1.234567", 8, Some((1_234_567, 6))),
            ("123456.7", 8, Some((1_234_567, 1))),
            ("0.0", 3, Some((0, 1))),
            ("42,1.5", 2, Some((42, 0))),
            ("12345678.5", 8, Some((12_345_678, 0))),
            ("5.", 2, None),
            (".5", 2, None),
            ("1.2.3", 5, None),
            ("1/.5", 4, None),
            ("1./5", 4, None),
            (".", 1, None),
        ] {
            assert_eq!(digits_around_point(load8(text.as_bytes(), 0), length), value, "{text}");
        }
    }

    #[test]
    fn separators_are_found_at_every_byte() {
        for at in 0..64 {
            for (other, expected) in [(b';', [1, 0, 0]), (b'\n', [1, 1, 0]), (b'"', [0, 0, 1]), (b',', [0; 3])] {
                let mut stretch = [b'x'; 64];
                stretch[at] = other;
                let found = csv_separators(&stretch, b';');
                assert_eq!([found.all, found.feeds, found.quotes], expected.map(|bit: u64| bit << at));
            }
        }
    }

    #[test]
    fn loads_read_zeros_behind_the_end() {
        assert_eq!(load8(b"abc", 1), u64::from_le_bytes(*b"bc\0\0\0\0\0\0"));
        assert_eq!(load8(b"abc", 9), 0);
        assert_eq!(load16(b"0123456789abcdefg", 1), *b"123456789abcdefg");
        assert_eq!(byte(b"a", 1), 0);
    }

    #[test]
    fn stops_are_found_for_every_byte() {
        for at in 0..16 {
            for other in 0..=255_u8 {
                let mut block = [b'x'; 16];
                block[at] = other;
                let json = other == b'"' || other == b'\\' || other < 0x20;
                let stops = json_string_stops(block);
                assert_eq!((stops.none(), stops.first()), (!json, if json { at } else { 16 }), "{other} at {at}");
                let csv = matches!(other, b';' | b'\n' | b'\r');
                let stops = csv_field_stops(block, b';');
                assert_eq!((stops.none(), stops.first()), (!csv, if csv { at } else { 16 }), "{other} at {at}");
            }
        }
    }
}
