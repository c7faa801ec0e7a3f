//! Follows strings and brackets of one JSON value to its end, 64 bytes at a time.
//!
//! Whether the value is JSON is found out when it is read: brackets are counted, not matched, and a backslash escapes within
//! strings only. Where a value ends does not depend on the pieces in which its bytes come.

use wide::u8x16;

/// Where in a value the bytes so far end.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

/// The bytes of a stretch of 64 that have a meaning, a bit for each.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
    commas: u64,
}

impl Scan {
    /// Returns where the value ends, at the comma or bracket behind it; nothing if it goes on.
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        // Numbers and words end within a few bytes.
        let is_short =
            self.depth == 0 && !self.in_string && !matches!(bytes.first(), Some(b'{' | b'[' | b'"' | b'}' | b']'));
        if !is_short {
            while let Some(stretch) = bytes.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
                if let Some(n) = self.stretch(stretch) {
                    return Some(at + n);
                }
                at += 64;
            }
        }
        self.bytewise(&bytes[at..]).map(|n| at + n)
    }

    /// Whether no string and no bracket is open.
    pub(crate) fn is_level(&self) -> bool {
        self.depth == 0 && !self.in_string
    }

    #[inline]
    fn stretch(&mut self, stretch: &[u8; 64]) -> Option<usize> {
        let mut marks = marks(stretch);
        let mut escaping = 0;
        if marks.backslashes != 0 || self.escaped {
            let mut escaped = u64::from(self.escaped);
            let mut left = marks.backslashes & !escaped;
            while left != 0 {
                let backslash = left & left.wrapping_neg();
                escaping |= backslash;
                escaped |= backslash << 1;
                left &= !(backslash | backslash << 1);
            }
            marks.quotes &= !escaped;
        }
        let strings = within(marks.quotes) ^ if self.in_string { u64::MAX } else { 0 };
        if escaping & !strings != 0 {
            // Outside of strings a backslash escapes nothing: this is no JSON.
            return self.bytewise(stretch);
        }
        let (opens, closes) = (marks.opens & !strings, marks.closes & !strings);
        if self.depth > u64::from(closes.count_ones()) {
            self.depth = self.depth + u64::from(opens.count_ones()) - u64::from(closes.count_ones());
        } else {
            let mut left = opens | closes | (marks.commas & !strings);
            while left != 0 {
                let mark = left & left.wrapping_neg();
                if opens & mark != 0 {
                    self.depth += 1;
                } else if self.depth == 0 {
                    (self.in_string, self.escaped) = (false, false);
                    return Some(mark.trailing_zeros() as usize);
                } else if closes & mark != 0 {
                    self.depth -= 1;
                }
                left &= left - 1;
            }
        }
        self.in_string = strings >> 63 == 1;
        self.escaped = escaping >> 63 == 1;
        None
    }

    fn bytewise(&mut self, bytes: &[u8]) -> Option<usize> {
        for (n, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b',' | b'}' | b']' if self.depth == 0 => return Some(n),
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
        None
    }
}

#[inline(always)]
fn marks(stretch: &[u8; 64]) -> Marks {
    let mut found = Marks::default();
    for (at, block) in stretch.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::from(*block);
        // Both kinds of brackets differ in this bit alone.
        let folded = bytes | u8x16::splat(0x20);
        let bits = |mask: u8x16| u64::from(mask.to_bitmask()) << (16 * at);
        found.quotes |= bits(bytes.simd_eq(u8x16::splat(b'"')));
        found.backslashes |= bits(bytes.simd_eq(u8x16::splat(b'\\')));
        found.commas |= bits(bytes.simd_eq(u8x16::splat(b',')));
        found.opens |= bits(folded.simd_eq(u8x16::splat(b'{')));
        found.closes |= bits(folded.simd_eq(u8x16::splat(b'}')));
    }
    found
}

/// Bits from each quote that opens up to the one that closes, that one not counted.
#[inline(always)]
fn within(quotes: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(quotes, |bits, shift| bits ^ (bits << shift))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_have_no_other_byte_beside_them() {
        for byte in 0..=255_u8 {
            let mut stretch = [b'x'; 64];
            stretch[63] = byte;
            let found = marks(&stretch);
            assert_eq!(found.opens >> 63 == 1, matches!(byte, b'{' | b'['), "{byte}");
            assert_eq!(found.closes >> 63 == 1, matches!(byte, b'}' | b']'), "{byte}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_value_ends_where_byte_for_byte_it_does(
            parts in prop::collection::vec(prop::sample::select(
                vec!["{", "}", "[", "]", ",", "\"", "\\", "\\\"", "\\\\", "text of some length", "\"a\"", "{\"k\":[", "é", " ", "[[[[[["]
            ), 0..60),
            cut in 1usize..200,
        ) {
            let text = parts.concat();
            let text = text.as_bytes();
            let mut slow = Scan::default();
            let end = slow.bytewise(text);
            let mut fast = Scan::default();
            let mut at = 0;
            let mut found = None;
            for piece in text.chunks(cut) {
                found = fast.run(piece).map(|n| at + n);
                at += piece.len();
                if found.is_some() {
                    break;
                }
            }
            prop_assert_eq!(found, end);
            if end.is_none() {
                prop_assert_eq!((fast.depth, fast.in_string, fast.escaped), (slow.depth, slow.in_string, slow.escaped));
            }
        }
    }
}
