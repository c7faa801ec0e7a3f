//! Cuts CSV into records, and records into fields (RFC 4180).
//!
//! A quote opens only at the beginning of a field; elsewhere it is an ordinary character. A quote that is opened and never
//! closed makes one rejected record of everything behind it: what looks like records there may be text.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2};

use super::Reason;
use super::feed::{Body, Cut, Feed};

/// A quote that goes on to the end of the object.
pub(crate) const UNCLOSED: Reason = Reason::Quotes("a quote is opened and not closed before the end");

/// Cuts records and counts lines.
#[derive(Debug)]
pub(crate) struct Records {
    delimiter: u8,
    quote: u8,
    lines: u64,
}

/// Follows quotes to the end of a record, whatever the pieces in which its bytes come.
#[derive(Debug)]
pub(crate) struct Quotes {
    delimiter: u8,
    quote: u8,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote within quotes: the field's end, or one half of a doubled quote.
    QuoteInQuotes,
}

impl Quotes {
    /// Begins at the beginning of a record.
    pub(crate) fn new(delimiter: u8, quote: u8) -> Self {
        Self { delimiter, quote, at: At::FieldStart }
    }

    /// Whether a quote is open.
    pub(crate) fn is_open(&self) -> bool {
        self.at == At::Quoted
    }

    /// Returns the length up to and with the line end that closes the record, and begins anew; nothing if it goes on.
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut n = 0;
        loop {
            match self.at {
                At::Quoted => {
                    n += memchr(self.quote, &bytes[n..])? + 1;
                    self.at = At::QuoteInQuotes;
                }
                At::QuoteInQuotes => {
                    let is_doubled = *bytes.get(n)? == self.quote;
                    n += usize::from(is_doubled);
                    self.at = if is_doubled { At::Quoted } else { At::Unquoted };
                }
                At::FieldStart | At::Unquoted => {
                    // Of what is not quoted, only what stands before a quote tells whether that opens.
                    let rest = &bytes[n..];
                    let begins = |before: Option<&u8>, at: At| match before {
                        Some(byte) => *byte == self.delimiter,
                        None => at == At::FieldStart,
                    };
                    let Some(place) = memchr2(self.quote, b'\n', rest) else {
                        self.at = if begins(rest.last(), self.at) { At::FieldStart } else { At::Unquoted };
                        return None;
                    };
                    n += place + 1;
                    if rest[place] == b'\n' {
                        self.at = At::FieldStart;
                        return Some(n);
                    }
                    self.at = if begins(rest[..place].last(), self.at) { At::Quoted } else { At::Unquoted };
                }
            }
        }
    }
}

impl Records {
    pub(crate) fn new(delimiter: u8, quote: u8) -> Self {
        Self { delimiter, quote, lines: 0 }
    }

    /// Begins on a line, at the beginning of a record.
    pub(crate) fn on_line(self, line: u64) -> Self {
        Self { lines: line.saturating_sub(1), ..self }
    }

    /// Returns the number of the line that comes next.
    pub(crate) fn next_line(&self) -> u64 {
        self.lines + 1
    }

    /// Counts lines that were consumed without a cut.
    pub(crate) fn pass(&mut self, lines: u64) {
        self.lines += lines;
    }

    /// Cuts the next record that is not a blank line; nothing at the end or where the bytes are damaged.
    pub(crate) fn cut(&mut self, feed: &mut Feed, record_bytes: usize, raw: usize) -> Option<Cut> {
        // Its line end is no part of a record.
        let limit = record_bytes.saturating_add(2);
        loop {
            let (line, offset) = (self.lines + 1, feed.offset());
            let mut quotes = Quotes::new(self.delimiter, self.quote);
            let (mut scanned, mut dropped) = (0, 0usize);
            let mut kept: Option<Vec<u8>> = None;
            let is_whole = loop {
                if let Some(n) = quotes.run(&feed.held()[scanned..]) {
                    scanned += n;
                    break true;
                }
                scanned = feed.held().len();
                if scanned + dropped > limit {
                    // Too long to hold; but only its end shows where the next record begins.
                    kept.get_or_insert_with(|| feed.held()[..raw.min(record_bytes)].to_vec());
                    self.step(feed, scanned);
                    dropped += scanned;
                    scanned = 0;
                }
                if !feed.more() {
                    break false;
                }
            };
            let length = scanned + dropped;
            if length == 0 {
                return None;
            }
            // Of what is too long no more is kept than is in hand however it arrives.
            let most = if length > limit { raw.min(record_bytes) } else { raw };
            let start = feed.held()[..scanned.min(most)].to_vec();
            let range = self.step(feed, scanned);
            let reason = if length > limit {
                Reason::TooLong(record_bytes)
            } else if !is_whole && feed.is_damaged() {
                Reason::CutOff
            } else if !is_whole && quotes.is_open() {
                UNCLOSED
            } else {
                match feed.bytes(range.clone()) {
                    b"\n" | b"\r\n" => continue,
                    _ => return Some(Cut { line, offset, body: Body::Record(range) }),
                }
            };
            return Some(Cut { line, offset, body: Body::Refused(reason, kept.unwrap_or(start)) });
        }
    }

    fn step(&mut self, feed: &mut Feed, n: usize) -> std::ops::Range<usize> {
        self.lines += memchr_iter(b'\n', &feed.held()[..n]).count() as u64;
        feed.consume(n)
    }
}

/// A field's text without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) is_quoted: bool,
}

/// Splits a record, with or without its line end, into fields.
pub(crate) fn split_fields<'a>(record: &'a str, delimiter: u8, quote: u8) -> Result<Vec<Field<'a>>, Reason> {
    let record = record.strip_suffix('\n').unwrap_or(record);
    let record = record.strip_suffix('\r').unwrap_or(record);
    let (delimiter, quote) = (char::from(delimiter), char::from(quote));
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, behind) = match rest.strip_prefix(quote) {
            None => {
                let end = rest.find(delimiter);
                let (text, behind) = end.map_or((rest, None), |end| (&rest[..end], Some(&rest[end + 1..])));
                (Field { text: Cow::Borrowed(text), is_quoted: false }, behind)
            }
            Some(inner) => {
                let (text, behind) = unquote(inner, quote)?;
                let behind = match behind.strip_prefix(delimiter) {
                    Some(behind) => Some(behind),
                    None if behind.is_empty() => None,
                    None => return Err(Reason::Quotes("text stands behind a closing quote")),
                };
                (Field { text, is_quoted: true }, behind)
            }
        };
        fields.push(field);
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(fields),
        }
    }
}

/// Returns the text up to the closing quote, and what stands behind that.
fn unquote(inner: &str, quote: char) -> Result<(Cow<'_, str>, &str), Reason> {
    let mut owned: Option<String> = None;
    let mut rest = inner;
    loop {
        let Some(end) = rest.find(quote) else { return Err(Reason::Quotes("a quote is opened and not closed")) };
        let (text, behind) = (&rest[..end], &rest[end + 1..]);
        match behind.strip_prefix(quote) {
            Some(behind) => {
                let owned = owned.get_or_insert_with(String::new);
                owned.push_str(text);
                owned.push(quote);
                rest = behind;
            }
            None => {
                let text = match owned {
                    Some(owned) => Cow::Owned(owned + text),
                    None => Cow::Borrowed(text),
                };
                return Ok((text, behind));
            }
        }
    }
}
