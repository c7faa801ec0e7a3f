//! Goes through a JSON document to the array of its records, from one record to the next, and behind them to its end.
//!
//! Bytes come in pieces of any size and are not kept. Only strings and brackets are followed; of what stands beside the array
//! nothing is looked at but the keys. A key of the path that stands a second time, behind the records, is a fault: records that
//! stand there would be lost unseen.

use super::scan::Scan;

/// Follows the document between its records.
#[derive(Debug)]
pub(crate) struct Document {
    path: Vec<String>,
    at: At,
    /// Objects of the path that are open.
    level: usize,
    is_behind_records: bool,
    /// The bytes are some of the records only.
    is_part: bool,
    key: Vec<u8>,
    scan: Scan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the bracket that opens the next object of the path, or the array.
    Open,
    /// Before a key of an object of the path.
    Member,
    /// In a key.
    Key { escaped: bool },
    /// Behind a key that is not to be followed.
    Colon,
    /// Behind a key of the path.
    PathColon,
    /// Before a value that is skipped.
    Value,
    /// In a value that is skipped.
    Skip,
    /// Behind a value that was skipped, before the array.
    Comma,
    /// Behind the array's bracket.
    First,
    /// Behind a comma in the array, or at the beginning of a part of it.
    Next,
    /// Behind a record.
    Behind,
    /// Behind the array or a value, in objects of the path.
    Close,
    /// Behind the document.
    End,
}

/// What was come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The end of the bytes: more are wanted.
    More,
    /// The first byte of a record, which may be empty; call [`Document::pass`] behind it.
    Record,
}

/// Keys of the document are compared as far as this.
const KEY: usize = 64 << 10;

impl Document {
    /// Begins before a whole document.
    pub(crate) fn new(path: Vec<String>) -> Self {
        let at = At::Open;
        Self { path, at, level: 0, is_behind_records: false, is_part: false, key: Vec::new(), scan: Scan::default() }
    }

    /// Begins at a record, in bytes that hold some records and what stands between them.
    pub(crate) fn part() -> Self {
        Self { at: At::Next, is_part: true, ..Self::new(Vec::new()) }
    }

    /// Whether the bytes are some of the records only, so that their end ends a record.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Says that the record that was come to is passed.
    pub(crate) fn pass(&mut self) {
        self.at = At::Behind;
    }

    /// Goes on to the next record; says how many bytes that took.
    ///
    /// Errors: why no further record can be found, in words; the fault stands behind the bytes that were taken.
    pub(crate) fn walk(&mut self, bytes: &[u8]) -> (usize, Result<Step, String>) {
        let mut n = 0;
        loop {
            let is_on = match self.at {
                At::Key { escaped } => {
                    let (length, result) = self.key(&bytes[n..], escaped);
                    n += length;
                    result.map(|()| matches!(self.at, At::Key { .. }))
                }
                At::Skip => {
                    let length = self.scan.run(&bytes[n..]);
                    n += length.unwrap_or(bytes.len() - n);
                    if length.is_some() {
                        self.at = if self.is_behind_records { At::Close } else { At::Comma };
                    }
                    Ok(length.is_none())
                }
                _ => {
                    n += blanks(&bytes[n..]);
                    match bytes.get(n) {
                        None => Ok(true),
                        Some(byte) => match self.mark(*byte) {
                            Ok(Found::Record) => return (n, Ok(Step::Record)),
                            Ok(Found::Taken) => {
                                n += 1;
                                Ok(false)
                            }
                            Ok(Found::Left) => Ok(false),
                            Err(what) => Err(what),
                        },
                    }
                }
            };
            match is_on {
                Ok(true) => return (n, Ok(Step::More)),
                Ok(false) => {}
                Err(what) => return (n, Err(what)),
            }
        }
    }

    /// Says what the end of the bytes means: nothing, or a record that is empty.
    ///
    /// Errors: the document is not at its end.
    pub(crate) fn finish(&mut self) -> Result<Option<Step>, String> {
        let wanted = |mark: char, place: &str| Err(format!("the document ends; `{mark}` is wanted {place}"));
        match self.at {
            At::End => Ok(None),
            At::Behind if self.is_part => Ok(None),
            At::Next if self.is_part => Ok(Some(Step::Record)),
            At::First | At::Next | At::Behind => Err("the document ends within the array of records".to_owned()),
            At::Open => {
                let (mark, place) = self.opening();
                wanted(mark, &place)
            }
            At::Member | At::Comma => wanted('"', "before a key"),
            At::Key { .. } => Err("a key has no end".to_owned()),
            At::Colon | At::PathColon => wanted(':', "behind a key"),
            At::Value | At::Skip if self.is_behind_records => Err("the document ends within a value".to_owned()),
            At::Value | At::Skip => Err("the document ends before the array of records".to_owned()),
            At::Close => wanted('}', "at the end of the document"),
        }
    }

    /// Takes a byte that is no blank.
    fn mark(&mut self, byte: u8) -> Result<Found, String> {
        let (at, found) = match (self.at, byte) {
            (At::Open, _) => {
                let (mark, place) = self.opening();
                if char::from(byte) != mark {
                    return Err(format!("`{mark}` is wanted {place}"));
                }
                (if mark == '[' { At::First } else { At::Member }, Found::Taken)
            }
            (At::Member, b'}') if !self.is_behind_records => {
                return Err(format!("the document has no `{}`", self.path[self.level]));
            }
            (At::Member, b'"') => {
                self.key.clear();
                (At::Key { escaped: false }, Found::Taken)
            }
            (At::Member, _) => return Err("`\"` is wanted before a key".to_owned()),
            (At::Colon, b':') => (At::Value, Found::Taken),
            (At::PathColon, b':') => {
                self.level += 1;
                (At::Open, Found::Taken)
            }
            (At::Colon | At::PathColon, _) => return Err("`:` is wanted behind a key".to_owned()),
            (At::Value, _) => {
                self.scan = Scan::default();
                (At::Skip, Found::Left)
            }
            (At::Comma, b',') => (At::Member, Found::Taken),
            (At::Comma, _) => (At::Member, Found::Left),
            (At::First, b']') | (At::Behind, b']') if !self.is_part => {
                self.is_behind_records = true;
                (if self.level == 0 { At::End } else { At::Close }, Found::Taken)
            }
            (At::First | At::Next, _) => (self.at, Found::Record),
            (At::Behind, b',') => (At::Next, Found::Taken),
            (At::Behind, _) => return Err("`,` or `]` is wanted behind a record".to_owned()),
            (At::Close, b',') => (At::Member, Found::Taken),
            (At::Close, b'}') => {
                self.level -= 1;
                (if self.level == 0 { At::End } else { At::Close }, Found::Taken)
            }
            (At::Close, _) => return Err("`}` is wanted at the end of the document".to_owned()),
            (At::End, _) => return Err("something stands behind the document".to_owned()),
            (At::Key { .. } | At::Skip, _) => unreachable!("these take their bytes themselves"),
        };
        self.at = at;
        Ok(found)
    }

    /// The bracket that is wanted, and where.
    fn opening(&self) -> (char, String) {
        match (self.path.get(self.level), self.path.last()) {
            (Some(key), _) => ('{', format!("around `{key}`")),
            (None, Some(key)) => ('[', format!("behind `{key}`")),
            (None, None) => {
                ('[', "at the beginning; where the records lie deeper, `records` names the keys to them".to_owned())
            }
        }
    }

    /// Takes bytes of a key; says how many.
    fn key(&mut self, bytes: &[u8], mut escaped: bool) -> (usize, Result<(), String>) {
        let end = bytes.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        let room = KEY - self.key.len();
        if piece.len() > room {
            return (room, Err("a key has no end".to_owned()));
        }
        self.key.extend_from_slice(piece);
        let Some(end) = end else {
            self.at = At::Key { escaped };
            return (bytes.len(), Ok(()));
        };
        let quoted = [b"\"", self.key.as_slice(), b"\""].concat();
        let Ok(key) = serde_json::from_slice::<String>(&quoted) else {
            return (end, Err("a key is not JSON".to_owned()));
        };
        let taken = self.level.checked_sub(1).and_then(|level| self.path.get(level));
        if self.is_behind_records && taken == Some(&key) {
            return (end, Err(format!("the key `{key}` stands twice")));
        }
        let is_followed = !self.is_behind_records && self.path.get(self.level) == Some(&key);
        self.at = if is_followed { At::PathColon } else { At::Colon };
        (end + 1, Ok(()))
    }
}

enum Found {
    /// The byte is taken.
    Taken,
    /// It is for the next place.
    Left,
    /// It is a record's first.
    Record,
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}
