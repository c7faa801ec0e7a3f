//! Records of CSV, found.

use super::Ending;
use super::assembly::{Assembly, LineCount};
use crate::decode::{DecodeError, Quotes, Reason, UNCLOSED, checked_names};
use crate::format::Csv;

/// Follows quotes and line ends as [`decode`](crate::decode) does, and keeps the header.
#[derive(Debug)]
pub(super) struct Records {
    csv: Csv,
    quotes: Quotes,
    lines: LineCount,
    header: Header,
    /// The header, with its line end, may be so long.
    limit: usize,
    /// Where the record that is not at its end begins.
    start: u64,
    /// Its line, where that is asked for.
    line: u64,
    length: u64,
    first_byte: u8,
    last_end: u64,
}

#[derive(Debug)]
enum Header {
    /// So much of it was seen.
    Due(Vec<u8>),
    Seen(Vec<u8>),
    /// There is none.
    None,
}

impl Records {
    pub(super) fn new(csv: &Csv, record_bytes: usize) -> Self {
        Self {
            csv: csv.clone(),
            quotes: Quotes::new(csv.delimiter, csv.quote),
            lines: LineCount::default(),
            header: if csv.header { Header::Due(Vec::new()) } else { Header::None },
            limit: record_bytes.saturating_add(2),
            start: 0,
            line: 1,
            length: 0,
            first_byte: 0,
            last_end: 0,
        }
    }

    pub(super) fn header(&self) -> Option<&[u8]> {
        match &self.header {
            Header::Seen(header) => Some(header),
            Header::Due(_) | Header::None => None,
        }
    }

    pub(super) fn push(&mut self, block: &[u8], base: u64, chunks: &mut Assembly) -> Result<(), DecodeError> {
        let mut n = 0;
        while let Some(first_byte) = block.get(n) {
            if self.length == 0 {
                (self.start, self.first_byte) = (base + n as u64, *first_byte);
                if !chunks.is_open() {
                    self.line = self.lines.line_at(self.start, block, base);
                }
            }
            let rest = &block[n..];
            let length = self.quotes.run(rest);
            let piece = &rest[..length.unwrap_or(rest.len())];
            if let Header::Due(header) = &mut self.header {
                if header.len() + piece.len() > self.limit {
                    return Err(DecodeError::Header(Reason::TooLong(self.limit - 2).to_string()));
                }
                header.extend_from_slice(piece);
            }
            self.length += piece.len() as u64;
            n += piece.len();
            if length.is_some() {
                let is_blank = self.length == 1 || self.length == 2 && self.first_byte == b'\r';
                self.end(is_blank, base + n as u64, chunks)?;
            }
        }
        self.lines.line_at(base + n as u64, block, base);
        Ok(())
    }

    pub(super) fn finish(&mut self, ending: Ending, chunks: &mut Assembly) -> Result<(), DecodeError> {
        let end = self.start + self.length;
        if self.length > 0 {
            match (&self.header, ending) {
                // Damage has its own error.
                (Header::Due(_), Ending::CutOff) => {}
                (Header::Due(_), Ending::Whole) if self.quotes.is_open() => {
                    return Err(DecodeError::Header(UNCLOSED.to_string()));
                }
                (_, Ending::Whole) => self.end(false, end, chunks)?,
                (_, Ending::CutOff) => {
                    chunks.begin(self.start, self.line);
                    chunks.end(end, Ending::CutOff);
                }
            }
        }
        chunks.close(self.last_end, Ending::Whole);
        Ok(())
    }

    #[inline]
    fn end(&mut self, is_blank: bool, end: u64, chunks: &mut Assembly) -> Result<(), DecodeError> {
        self.length = 0;
        if let Header::Due(header) = &mut self.header {
            let header = std::mem::take(header);
            self.header = match is_blank {
                true => Header::Due(Vec::new()),
                false => {
                    // Who reads a chunk checks it as well; where all is taken for a header there is none.
                    let record = header.strip_suffix(b"\n").unwrap_or(&header);
                    checked_names(record.strip_suffix(b"\r").unwrap_or(record), &self.csv)?;
                    Header::Seen(header)
                }
            };
        } else if !is_blank {
            chunks.begin(self.start, self.line);
            chunks.end(end, Ending::Whole);
            self.last_end = end;
        }
        Ok(())
    }
}
