//! The distinct values of a column, numbered in the order in which they came.

/// A table from hashes to numbers, which its owner compares.
#[derive(Debug)]
struct Slots {
    /// Upper half of the hash, and the number from 1; 0 is none.
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Slots {
    fn new() -> Self {
        Self { slots: vec![(0, 0); 1024], used: 0 }
    }

    /// Finds the number of what `is_same` recognises, or gives it the next one; says whether it is new.
    #[inline(always)]
    fn find(&mut self, hash: u64, mut is_same: impl FnMut(u32) -> bool) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = (hash >> 20) as usize & mask;
        loop {
            let (found, number) = self.slots[at];
            if number == 0 {
                self.slots[at] = (tag, self.used as u32 + 1);
                self.used += 1;
                return (self.used as u32 - 1, true);
            }
            if found == tag && is_same(number - 1) {
                return (number - 1, false);
            }
            at = (at + 1) & mask;
        }
    }

    /// Makes room before it gets crowded; `hash` gives each number's.
    #[inline]
    fn grow(&mut self, hash: impl Fn(u32) -> u64) {
        if self.used * 2 > self.slots.len() {
            let mask = self.slots.len() * 2 - 1;
            self.slots = vec![(0, 0); mask + 1];
            for number in 0..self.used as u32 {
                let hash = hash(number);
                let mut at = (hash >> 20) as usize & mask;
                while self.slots[at].1 != 0 {
                    at = (at + 1) & mask;
                }
                self.slots[at] = ((hash >> 32) as u32, number + 1);
            }
        }
    }
}

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline(always)]
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x2545_F491_4F6C_DD1D) * u128::from(FACTOR);
    (product >> 64) as u64 ^ product as u64
}

/// Distinct numbers, by their bits.
#[derive(Debug)]
pub(super) struct Numbers {
    slots: Slots,
    pub(super) values: Vec<u64>,
    last: Option<(u64, u32)>,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self { slots: Slots::new(), values: Vec::new(), last: None }
    }

    #[inline(always)]
    pub(super) fn number(&mut self, value: u64) -> u32 {
        if let Some((last, number)) = self.last
            && last == value
        {
            return number;
        }
        let values = &self.values;
        let (number, is_new) = self.slots.find(mix(value), |number| values[number as usize] == value);
        if is_new {
            self.values.push(value);
            let values = &self.values;
            self.slots.grow(|number| mix(values[number as usize]));
        }
        self.last = Some((value, number));
        number
    }
}

/// Distinct texts.
#[derive(Debug)]
pub(super) struct Texts {
    slots: Slots,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

#[inline(always)]
fn hash(text: &[u8]) -> u64 {
    let word =
        |at: usize| text.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|word| u64::from_le_bytes(*word));
    let mut hash = mix(text.len() as u64);
    match text.len() {
        0 => {}
        1..=7 => {
            let mut last = [0; 8];
            last[..text.len()].copy_from_slice(text);
            hash = mix(hash ^ u64::from_le_bytes(last));
        }
        length => {
            let mut at = 0;
            while at + 8 < length {
                hash = mix(hash ^ word(at).unwrap_or(0));
                at += 8;
            }
            // The last eight bytes, some of them a second time.
            hash = mix(hash.rotate_left(29) ^ word(length - 8).unwrap_or(0));
        }
    }
    hash
}

impl Texts {
    pub(super) fn new() -> Self {
        Self { slots: Slots::new(), bytes: Vec::new(), ends: vec![0] }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn get(&self, number: u32) -> &[u8] {
        text(&self.bytes, &self.ends, number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len() as u32).map(|number| self.get(number))
    }

    #[inline(always)]
    pub(super) fn number(&mut self, value: &[u8]) -> u32 {
        let (bytes, ends) = (&self.bytes, &self.ends);
        let (number, is_new) = self.slots.find(hash(value), |number| text(bytes, ends, number) == value);
        if is_new {
            self.bytes.extend_from_slice(value);
            // Dictionaries are given up long before 4 GiB.
            self.ends.push(self.bytes.len() as u32);
            let (bytes, ends) = (&self.bytes, &self.ends);
            self.slots.grow(|number| hash(text(bytes, ends, number)));
        }
        number
    }
}

#[inline(always)]
fn text<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    &bytes[ends[number as usize] as usize..ends[number as usize + 1] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_the_number_that_they_got_first() {
        let mut numbers = Numbers::new();
        for _ in 0..3 {
            for value in 0..50_000_u64 {
                assert_eq!(u64::from(numbers.number(value * 1_000)), value);
            }
        }
        assert_eq!(numbers.values.len(), 50_000);
        let mut texts = Texts::new();
        for _ in 0..2 {
            for value in 0..20_000_usize {
                let value = "x".repeat(value % 40) + &value.to_string();
                let number = texts.number(value.as_bytes());
                assert_eq!(texts.get(number), value.as_bytes());
            }
        }
        assert_eq!(texts.len(), 20_000);
        assert_eq!(texts.iter().next(), Some(&b"0"[..]));
    }
}
