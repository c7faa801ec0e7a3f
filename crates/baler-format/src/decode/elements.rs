//! Cuts the elements of the array in which a JSON document holds its records, without holding the document.
//!
//! Only strings and brackets are followed; whether an element is JSON is found out when it is read.

use memchr::memchr_iter;

use super::Reason;
use super::feed::{Body, Cut, Feed};

/// Follows the document.
#[derive(Debug)]
pub(crate) struct Elements {
    path: Vec<String>,
    at: At,
    /// Lines ended so far.
    lines: u64,
    /// Why no further element can be found.
    fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the document.
    Document,
    /// Behind the array's bracket.
    First,
    /// Behind an element.
    Behind,
    /// Behind the array.
    End,
}

/// Keys of the document are compared as far as this.
const KEY: usize = 64 << 10;

impl Elements {
    pub(crate) fn new(path: Vec<String>) -> Self {
        Self { path, at: At::Document, lines: 0, fault: None }
    }

    /// Takes the reason why no further element can be found.
    pub(crate) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// Cuts the next element; nothing behind the array, or where the document is broken.
    pub(crate) fn cut(&mut self, feed: &mut Feed, limit: usize, raw: usize) -> Option<Cut> {
        let cut = self.try_cut(feed, limit, raw);
        cut.unwrap_or_else(|what| {
            self.at = At::End;
            // Damage has its own error.
            if !feed.is_damaged() {
                self.fault = Some(format!("{what} (line {}, byte {})", self.lines + 1, feed.offset()));
            }
            None
        })
    }

    fn try_cut(&mut self, feed: &mut Feed, limit: usize, raw: usize) -> Result<Option<Cut>, String> {
        match self.at {
            At::Document => {
                self.descend(feed)?;
                self.at = At::First;
            }
            At::Behind => match self.byte(feed) {
                Some(b',') => {
                    self.step(feed, 1);
                }
                Some(b']') => return self.end(feed).map(|()| None),
                Some(_) => return Err("`,` or `]` is wanted behind a record".to_owned()),
                None => return Err("the document ends within the array of records".to_owned()),
            },
            At::First => {}
            At::End => return Ok(None),
        }
        if self.at == At::First && self.byte(feed) == Some(b']') {
            return self.end(feed).map(|()| None);
        }
        if self.byte(feed).is_none() {
            return Err("the document ends within the array of records".to_owned());
        }
        self.at = At::Behind;
        Ok(Some(self.element(feed, limit, raw)))
    }

    /// Cuts the element that begins here; an empty one where there is none.
    fn element(&mut self, feed: &mut Feed, limit: usize, raw: usize) -> Cut {
        let (line, offset) = (self.lines + 1, feed.offset());
        let mut scan = Scan::default();
        let (mut scanned, mut length) = (0, 0usize);
        let mut kept: Option<Vec<u8>> = None;
        let is_whole = loop {
            if let Some(n) = scan.run(&feed.held()[scanned..]) {
                scanned += n;
                break true;
            }
            scanned = feed.held().len();
            if scanned + length > limit {
                // Too long to hold: only its beginning is.
                kept.get_or_insert_with(|| feed.held()[..scanned.min(raw)].to_vec());
                self.step(feed, scanned);
                length += scanned;
                scanned = 0;
            }
            if !feed.more() {
                break false;
            }
        };
        let reason = if length + scanned > limit {
            Some(Reason::TooLong(limit))
        } else if is_whole {
            None
        } else {
            Some(Reason::CutOff)
        };
        let start = feed.held()[..scanned.min(raw)].to_vec();
        let range = self.step(feed, scanned);
        let body = match reason {
            None => Body::Record(range),
            Some(reason) => Body::Refused(reason, kept.unwrap_or(start)),
        };
        Cut { line, offset, body }
    }

    fn step(&mut self, feed: &mut Feed, n: usize) -> std::ops::Range<usize> {
        self.lines += memchr_iter(b'\n', &feed.held()[..n]).count() as u64;
        feed.consume(n)
    }

    /// Consumes blanks and returns the byte behind them.
    fn byte(&mut self, feed: &mut Feed) -> Option<u8> {
        loop {
            let held = feed.held();
            let blanks = held.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
            let next = held.get(blanks).copied();
            self.step(feed, blanks);
            if next.is_some() || !feed.more() {
                return next;
            }
        }
    }

    fn expect(&mut self, feed: &mut Feed, wanted: u8, place: &str) -> Result<(), String> {
        match self.byte(feed) {
            Some(byte) if byte == wanted => {
                self.step(feed, 1);
                Ok(())
            }
            Some(_) => Err(format!("`{}` is wanted {place}", char::from(wanted))),
            None => Err(format!("the document ends; `{}` is wanted {place}", char::from(wanted))),
        }
    }

    /// Goes along the path to the array and behind its bracket.
    fn descend(&mut self, feed: &mut Feed) -> Result<(), String> {
        for key in self.path.clone() {
            self.expect(feed, b'{', &format!("around `{key}`"))?;
            loop {
                if self.byte(feed) == Some(b'}') {
                    return Err(format!("the document has no `{key}`"));
                }
                let found = self.key(feed)?;
                self.expect(feed, b':', "behind a key")?;
                if found == key {
                    break;
                }
                self.byte(feed);
                self.skip_value(feed)?;
                if self.byte(feed) == Some(b',') {
                    self.step(feed, 1);
                }
            }
        }
        let place = match self.path.last() {
            Some(key) => format!("behind `{key}`"),
            None => "at the beginning; where the records lie deeper, `records` names the keys to them".to_owned(),
        };
        self.expect(feed, b'[', &place)
    }

    fn key(&mut self, feed: &mut Feed) -> Result<String, String> {
        self.expect(feed, b'"', "before a key")?;
        let mut scanned = 0;
        loop {
            let held = feed.held();
            let mut escaped = false;
            let end = held[scanned..].iter().position(|byte| {
                let ends = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                ends
            });
            if let Some(n) = end {
                let quoted = [b"\"", &held[..n], b"\""].concat();
                let key = serde_json::from_slice(&quoted).map_err(|_| "a key is not JSON".to_owned())?;
                self.step(feed, n + 1);
                return Ok(key);
            }
            // From the beginning again: an escape may be cut at the end of what is in hand.
            scanned = 0;
            if feed.held().len() > KEY || !feed.more() {
                return Err("a key has no end".to_owned());
            }
        }
    }

    fn skip_value(&mut self, feed: &mut Feed) -> Result<(), String> {
        let mut scan = Scan::default();
        loop {
            if let Some(n) = scan.run(feed.held()) {
                self.step(feed, n);
                return Ok(());
            }
            self.step(feed, feed.held().len());
            if !feed.more() {
                return Err("the document ends before the array of records".to_owned());
            }
        }
    }

    /// Goes from the array's closing bracket to the end of the document.
    fn end(&mut self, feed: &mut Feed) -> Result<(), String> {
        self.at = At::End;
        self.step(feed, 1);
        // Records that stand a second time under the same key would be lost unseen.
        for taken in self.path.clone().iter().rev() {
            while self.byte(feed) == Some(b',') {
                self.step(feed, 1);
                if self.key(feed)? == *taken {
                    return Err(format!("the key `{taken}` stands twice"));
                }
                self.expect(feed, b':', "behind a key")?;
                self.byte(feed);
                self.skip_value(feed)?;
            }
            self.expect(feed, b'}', "at the end of the document")?;
        }
        match self.byte(feed) {
            None if feed.is_damaged() => Err(String::new()),
            None => Ok(()),
            Some(_) => Err("something stands behind the document".to_owned()),
        }
    }
}

/// Follows strings and brackets of one value.
#[derive(Debug, Default)]
struct Scan {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Returns where the value ends, at the comma or bracket behind it; nothing if it goes on.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
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
