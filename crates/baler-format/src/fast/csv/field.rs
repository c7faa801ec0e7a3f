//! Fields, cut out by the rules of RFC 4180.

use super::super::swar::{byte, csv_field_stops, load16};

/// A field and what ends it.
#[derive(Debug)]
pub(super) struct Field {
    content: Content,
    pub(super) quoted: bool,
    /// Where the next field or record begins.
    pub(super) next: usize,
    pub(super) ends_record: bool,
}

#[derive(Debug)]
enum Content {
    /// Bytes of the text.
    Lies { start: usize, end: usize },
    /// Bytes in which quotes were doubled.
    Unquoted,
}

impl Field {
    /// Reads the field at `at`; `None`: its quotes are still open where the text ends, or text stands behind them.
    pub(super) fn read(text: &[u8], at: usize, delimiter: u8, unquoted: &mut Vec<u8>) -> Option<Self> {
        if byte(text, at) == b'"' {
            return Self::read_quoted(text, at, delimiter, unquoted);
        }
        let end = plain_end(text, at, delimiter);
        Some(Self::ended(text, Content::Lies { start: at, end }, end, delimiter))
    }

    fn read_quoted(text: &[u8], at: usize, delimiter: u8, unquoted: &mut Vec<u8>) -> Option<Self> {
        let start = at + 1;
        let mut copied = start;
        let mut from = start;
        unquoted.clear();
        let end = loop {
            let quote = from + memchr::memchr(b'"', text.get(from..)?)?;
            if byte(text, quote + 1) != b'"' {
                break quote;
            }
            unquoted.extend_from_slice(&text[copied..=quote]);
            copied = quote + 2;
            from = copied;
        };
        let content = if copied == start {
            Content::Lies { start, end }
        } else {
            unquoted.extend_from_slice(&text[copied..end]);
            Content::Unquoted
        };
        let behind = plain_end(text, end + 1, delimiter);
        let mut field = Self::ended(text, content, behind, delimiter);
        field.quoted = true;
        (behind == end + 1).then_some(field)
    }

    fn ended(text: &[u8], content: Content, end: usize, delimiter: u8) -> Self {
        let (next, ends_record) = match text.get(end) {
            Some(&byte) if byte == delimiter => (end + 1, false),
            Some(b'\n') => (end + 1, true),
            Some(_) => ((end + 2).min(text.len()), true),
            None => (end, true),
        };
        Self { content, quoted: false, next, ends_record }
    }

    /// The field's bytes, without quotes.
    pub(super) fn bytes<'a>(&self, text: &'a [u8], unquoted: &'a [u8]) -> &'a [u8] {
        match self.content {
            Content::Lies { start, end } => &text[start..end],
            Content::Unquoted => unquoted,
        }
    }
}

/// The first delimiter or line end from `at` on, or the text's end. A carriage return ends a line before a line feed and
/// at the text's end; elsewhere it is text.
fn plain_end(text: &[u8], mut at: usize, delimiter: u8) -> usize {
    while at < text.len() {
        let stops = csv_field_stops(load16(text, at), delimiter);
        at += stops.first();
        if stops.none() {
            continue;
        }
        let stop = byte(text, at);
        if at < text.len()
            && (stop == delimiter || stop == b'\n' || at + 1 == text.len() || byte(text, at + 1) == b'\n')
        {
            return at;
        }
        at += 1;
    }
    text.len()
}
