//! Pages: their headers, levels and packed numbers.
//!
//! Source: the Parquet format's `parquet.thrift`, "Encodings" and "Data Pages"; Thrift's compact protocol.

/// How the values of a data page are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Plain = 0,
    Indices = 8,
}

/// What stands in a page.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page {
    Dictionary { values: usize },
    Rows { values: usize, written: Values },
}

/// What no header is longer than: its fields are numbers of at most ten bytes each.
pub(super) const HEADER_BYTES: usize = 96;

const RLE: u64 = 3;
const TYPE_I32: u8 = 5;
const TYPE_STRUCT: u8 = 12;

/// Appends the header of a page.
pub(super) fn header(out: &mut Vec<u8>, page: Page, plain_bytes: usize, packed_bytes: usize) {
    let mut last = 0;
    let mut number = |out: &mut Vec<u8>, field: u8, value: u64| {
        out.push((field - last) << 4 | TYPE_I32);
        last = field;
        // Thrift writes signed numbers in zigzag; these are none below zero.
        varint(out, value << 1);
    };
    let kind = match page {
        Page::Rows { .. } => 0,
        Page::Dictionary { .. } => 2,
    };
    number(out, 1, kind);
    number(out, 2, plain_bytes as u64);
    number(out, 3, packed_bytes as u64);
    match page {
        Page::Rows { values, written } => {
            out.push((5 - 3) << 4 | TYPE_STRUCT);
            last = 0;
            let mut number = |value: u64, field: u8| {
                out.push((field - last) << 4 | TYPE_I32);
                last = field;
                varint(out, value << 1);
            };
            number(values as u64, 1);
            number(written as u64, 2);
            number(RLE, 3);
            number(RLE, 4);
        }
        Page::Dictionary { values } => {
            out.push((7 - 3) << 4 | TYPE_STRUCT);
            out.push(1 << 4 | TYPE_I32);
            varint(out, (values as u64) << 1);
            out.push(1 << 4 | TYPE_I32);
            varint(out, (Values::Plain as u64) << 1);
        }
    }
    // The end of the inner and of the outer struct.
    out.extend([0, 0]);
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the definition levels of a page of rows that may be null, with their length before them: one run where all are
/// there, else one bit a row; `bits` holds them, lowest first.
pub(super) fn levels(out: &mut Vec<u8>, rows: usize, bits: Option<&[u8]>) {
    let start = out.len();
    out.extend([0; 4]);
    match bits {
        None => {
            varint(out, (rows as u64) << 1);
            out.push(1);
        }
        Some(bits) => {
            let groups = rows.div_ceil(8);
            varint(out, (groups as u64) << 1 | 1);
            out.extend_from_slice(&bits[..groups]);
        }
    }
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Bits that numbers below `count` take, one at least.
pub(super) fn width(count: usize) -> u32 {
    (usize::BITS - count.saturating_sub(1).leading_zeros()).max(1)
}

/// Appends numbers of `width` bits in runs, long ones by their length and the others bit by bit.
pub(super) fn packed(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    let (mut at, mut literal) = (0, 0);
    while at < numbers.len() {
        let value = numbers[at];
        let run = numbers[at..].iter().take_while(|other| **other == value).count();
        // Numbers go bit by bit in groups of eight: the run fills up the group before it.
        let filled = (at - literal).next_multiple_of(8) - (at - literal);
        if run >= filled + 16 {
            literals(out, &numbers[literal..at + filled], width);
            varint(out, ((run - filled) as u64) << 1);
            out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
            literal = at + run;
        }
        at += run;
    }
    literals(out, &numbers[literal..], width);
}

fn literals(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(8);
    varint(out, (groups as u64) << 1 | 1);
    let end = out.len() + groups * width as usize;
    out.reserve(groups * width as usize + 8);
    let (mut word, mut bits) = (0_u64, 0);
    for &number in numbers {
        word |= u64::from(number) << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&word.to_le_bytes());
    // The last group is filled up with zeros.
    out.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    /// Reads runs the slow way.
    fn unpacked(mut bytes: &[u8], width: u32) -> Vec<u32> {
        let mut numbers = Vec::new();
        while !bytes.is_empty() {
            let head = read_varint(&mut bytes);
            if head & 1 == 0 {
                let size = width.div_ceil(8) as usize;
                let mut value = [0; 4];
                value[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                numbers.extend(std::iter::repeat_n(u32::from_le_bytes(value), (head >> 1) as usize));
            } else {
                let size = (head >> 1) as usize * width as usize;
                for number in 0..(head >> 1) as usize * 8 {
                    let bit = |n: usize| u32::from(bytes[n / 8] >> (n % 8) & 1);
                    let first = number * width as usize;
                    numbers.push((0..width as usize).map(|n| bit(first + n) << n).sum());
                }
                bytes = &bytes[size..];
            }
        }
        numbers
    }

    proptest! {
        #[test]
        fn packed_numbers_come_back(
            width in 1u32..=20,
            runs in prop::collection::vec((any::<u32>(), prop_oneof![1usize..4, 1usize..60]), 0..30),
        ) {
            let numbers: Vec<u32> = runs
                .iter()
                .flat_map(|(value, count)| std::iter::repeat_n(value & ((1 << width) - 1), *count))
                .collect();
            let mut out = Vec::new();
            packed(&mut out, &numbers, width);
            let back = unpacked(&out, width);
            prop_assert_eq!(&back[..numbers.len()], &numbers);
            prop_assert!(back.len() < numbers.len() + 8 && back[numbers.len()..].iter().all(|number| *number == 0));
        }
    }

    #[test]
    fn widths_hold_the_greatest_number() {
        assert_eq!([0, 1, 2, 3, 4, 5, 256, 257].map(width), [1, 1, 1, 2, 2, 3, 8, 9]);
    }
}
