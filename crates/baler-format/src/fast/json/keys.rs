//! Keys of JSON objects, and guesses at what follows them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::super::Unread;
use super::super::column::Text;
use super::super::swar::{byte, load16};
use super::scan::{skip_space, skip_string, string};

/// Unknown keys that are remembered by name. Objects whose keys are values (ids, dates) have no end of them; what
/// comes later is compared within its record only.
pub(super) const MAX_UNKNOWN: usize = 1000;

/// The place before the first key.
pub(super) const START: u32 = 0;
/// Any key beyond those that are remembered.
pub(super) const OTHER: u32 = 1;
/// The place behind the object and its line.
pub(super) const END: u32 = u32::MAX;

/// What becomes of a key's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Column(u32),
    Skip,
}

/// The bytes that once led from one value to the next, and the key that they name.
#[derive(Debug, Clone, Default)]
struct Guess {
    /// The first 32 bytes, zero where the guess is shorter; and ones where it is not.
    head: [u128; 2],
    mask: [u128; 2],
    /// What is behind them.
    rest: Box<[u8]>,
    /// 0: no guess.
    length: usize,
    key: u32,
}

impl Guess {
    fn new(bytes: &[u8], key: u32) -> Self {
        let mut guess = Self { length: bytes.len(), key, ..Self::default() };
        for (at, &byte) in bytes.iter().take(32).enumerate() {
            guess.head[at / 16] |= u128::from(byte) << (at % 16 * 8);
            guess.mask[at / 16] |= 0xFF << (at % 16 * 8);
        }
        guess.rest = bytes.get(32..).unwrap_or_default().into();
        guess
    }

    #[inline(always)]
    fn fits(&self, text: &[u8], at: usize) -> bool {
        if (u128::from_le_bytes(load16(text, at)) ^ self.head[0]) & self.mask[0] != 0 {
            return false;
        }
        if self.length <= 16 {
            return self.length > 0;
        }
        (u128::from_le_bytes(load16(text, at + 16)) ^ self.head[1]) & self.mask[1] == 0
            && (self.length <= 32 || text.get(at + 32..at + self.length) == Some(&self.rest))
    }
}

#[derive(Debug)]
struct Entry {
    target: Target,
    /// The record that had it last.
    seen: u64,
    /// What followed it: two, since optional keys come and go.
    guesses: [Guess; 2],
}

impl Entry {
    fn new(target: Target) -> Self {
        Self { target, seen: 0, guesses: [Guess::default(), Guess::default()] }
    }
}

/// The keys that columns have, and those that records had beside them.
#[derive(Debug)]
pub(super) struct Keys {
    entries: Vec<Entry>,
    names: HashMap<Box<[u8]>, u32, BuildHasherDefault<NameHasher>>,
    unknown: Vec<Box<[u8]>>,
    /// How many of them records before this one had.
    kept: usize,
    /// Keys of this record beyond those that are remembered.
    others: HashSet<Box<[u8]>>,
    /// Counts records, good and bad, from 1.
    record: u64,
    unescaped: Text,
}

impl Keys {
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut keys = Self {
            entries: vec![Entry::new(Target::Skip), Entry::new(Target::Skip)],
            names: HashMap::default(),
            unknown: Vec::new(),
            kept: 0,
            others: HashSet::new(),
            record: 0,
            unescaped: Text::new(),
        };
        for (index, name) in columns.enumerate() {
            keys.add(name, Target::Column(index as u32));
        }
        keys
    }

    fn add(&mut self, name: &[u8], target: Target) -> u32 {
        let key = self.entries.len() as u32;
        self.entries.push(Entry::new(target));
        self.names.insert(name.into(), key);
        key
    }

    pub(super) fn unknown(&self) -> &[Box<[u8]>] {
        &self.unknown
    }

    /// Forgets the unknown keys that only the record in hand had.
    #[cold]
    pub(super) fn withdraw(&mut self) {
        let new = self.unknown.len() - self.kept;
        if new == 0 {
            return;
        }
        for name in self.unknown.drain(self.kept..) {
            self.names.remove(&name);
        }
        // Unknown keys stand behind the columns' in the order in which they came.
        self.entries.truncate(self.entries.len() - new);
        let end = self.entries.len() as u32;
        for guess in self.entries.iter_mut().flat_map(|entry| &mut entry.guesses) {
            if guess.key >= end && guess.key != END {
                *guess = Guess::default();
            }
        }
    }

    /// Begins a record.
    #[inline(always)]
    pub(super) fn begin(&mut self) {
        self.record += 1;
        self.kept = self.unknown.len();
        if !self.others.is_empty() {
            self.others.clear();
        }
    }

    #[inline(always)]
    pub(super) fn target(&self, key: u32) -> Target {
        self.entries[key as usize].target
    }

    /// Notes that the record has this key; tells whether it had not before.
    #[inline(always)]
    pub(super) fn first_time(&mut self, key: u32) -> bool {
        let entry = &mut self.entries[key as usize];
        let first = entry.seen != self.record;
        entry.seen = self.record;
        first || key == OTHER
    }

    /// The key behind the value that ends at `at`, and where its value begins, if that is what came there before.
    #[inline(always)]
    pub(super) fn guess(&mut self, after: u32, text: &[u8], at: usize) -> Option<(u32, usize)> {
        let [first, second] = &mut self.entries[after as usize].guesses;
        if first.fits(text, at) {
            return Some((first.key, at + first.length));
        }
        if second.fits(text, at) {
            std::mem::swap(first, second);
            return Some((first.key, at + first.length));
        }
        None
    }

    /// The same, read by the rules of JSON and remembered as a guess.
    #[inline(never)]
    pub(super) fn read(&mut self, after: u32, text: &[u8], start: usize) -> Result<(u32, usize), Unread> {
        let mut at = skip_space(text, start);
        match (byte(text, at), after) {
            (b'{', START) => {
                at = skip_space(text, at + 1);
                if byte(text, at) == b'}' {
                    return self.end(after, text, start, at);
                }
            }
            (_, START) => return Err(Unread),
            (b',', _) => at = skip_space(text, at + 1),
            (b'}', _) => return self.end(after, text, start, at),
            _ => return Err(Unread),
        }
        if byte(text, at) != b'"' {
            return Err(Unread);
        }
        let name = at + 1;
        let behind = skip_string(text, name)?;
        at = skip_space(text, behind);
        if byte(text, at) != b':' {
            return Err(Unread);
        }
        at = skip_space(text, at + 1);
        let key = self.look_up(&text[name..behind - 1])?;
        if key != OTHER {
            self.learn(after, Guess::new(&text[start..at], key));
        }
        Ok((key, at))
    }

    /// The end of an object whose brace is at `at`, and of its line.
    fn end(&mut self, after: u32, text: &[u8], start: usize, at: usize) -> Result<(u32, usize), Unread> {
        let at = skip_space(text, at + 1);
        if at >= text.len() {
            return Ok((END, at));
        }
        if text[at] != b'\n' {
            return Err(Unread);
        }
        self.learn(after, Guess::new(&text[start..=at], END));
        Ok((END, at + 1))
    }

    fn learn(&mut self, after: u32, guess: Guess) {
        let [first, second] = &mut self.entries[after as usize].guesses;
        *(if first.length == 0 { first } else { second }) = guess;
    }

    fn look_up(&mut self, written: &[u8]) -> Result<u32, Unread> {
        if memchr::memchr(b'\\', written).is_some() {
            let mut quoted = written.to_vec();
            quoted.push(b'"');
            self.unescaped.forget();
            string(&quoted, 0, &mut self.unescaped)?;
            let name: Box<[u8]> = self.unescaped.begun().into();
            return self.of_name(&name);
        }
        self.of_name(written)
    }

    fn of_name(&mut self, name: &[u8]) -> Result<u32, Unread> {
        if let Some(&key) = self.names.get(name) {
            return Ok(key);
        }
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.push(name.into());
            return Ok(self.add(name, Target::Skip));
        }
        if self.others.insert(name.into()) { Ok(OTHER) } else { Err(Unread) }
    }
}

/// Mixes words of eight bytes. Only few names are ever held, so that no text can make the table slow.
#[derive(Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
