//! Cuts CSV into records, and records into fields (RFC 4180).
//!
//! A quote opens only at the beginning of a field; elsewhere it is an ordinary character. A quote that is opened and never
//! closed makes one rejected record of everything behind it: what looks like records there may be text.

use std::borrow::Cow;

use memchr::memchr_iter;

use super::Reason;
use super::feed::{Body, Cut, Feed};

/// Follows quotes and counts lines.
#[derive(Debug)]
pub(crate) struct Records {
    delimiter: u8,
    quote: u8,
    lines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote within quotes: the field's end, or one half of a doubled quote.
    QuoteInQuotes,
}

impl Records {
    pub(crate) fn new(delimiter: u8, quote: u8) -> Self {
        Self { delimiter, quote, lines: 0 }
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
            let mut at = At::FieldStart;
            let (mut scanned, mut dropped) = (0, 0usize);
            let mut kept: Option<Vec<u8>> = None;
            let is_whole = loop {
                if let Some(n) = self.follow(&mut at, &feed.held()[scanned..]) {
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
            } else if !is_whole && at == At::Quoted {
                Reason::Quotes("a quote is opened and not closed before the end")
            } else {
                match feed.bytes(range.clone()) {
                    b"\n" | b"\r\n" => continue,
                    _ => return Some(Cut { line, offset, body: Body::Record(range) }),
                }
            };
            return Some(Cut { line, offset, body: Body::Refused(reason, kept.unwrap_or(start)) });
        }
    }

    /// Returns the length up to and with the line end that closes the record.
    fn follow(&self, at: &mut At, bytes: &[u8]) -> Option<usize> {
        let mut n = 0;
        while n < bytes.len() {
            let byte = bytes[n];
            match *at {
                At::Quoted => {
                    // Most of a text is neither quote nor end.
                    let skip = memchr::memchr(self.quote, &bytes[n..])?;
                    n += skip;
                    *at = At::QuoteInQuotes;
                }
                At::QuoteInQuotes if byte == self.quote => *at = At::Quoted,
                At::FieldStart if byte == self.quote => *at = At::Quoted,
                At::FieldStart | At::Unquoted | At::QuoteInQuotes => {
                    if byte == b'\n' {
                        return Some(n + 1);
                    }
                    *at = if byte == self.delimiter { At::FieldStart } else { At::Unquoted };
                }
            }
            n += 1;
        }
        None
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
