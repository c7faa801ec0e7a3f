//! Records of a JSON document, found.

use super::Ending;
use super::assembly::{Assembly, LineCount};
use crate::decode::{DecodeError, Document, Scan, Step};

/// Goes through the document as [`decode`](crate::decode) does.
#[derive(Debug)]
pub(super) struct Records {
    document: Document,
    /// Follows the record that is not at its end.
    scan: Option<Scan>,
    lines: LineCount,
    last_end: u64,
}

impl Records {
    pub(super) fn new(path: Vec<String>) -> Self {
        Self { document: Document::new(path), scan: None, lines: LineCount::default(), last_end: 0 }
    }

    pub(super) fn push(&mut self, block: &[u8], base: u64, chunks: &mut Assembly) -> Result<(), DecodeError> {
        let mut n = 0;
        loop {
            if let Some(scan) = &mut self.scan {
                let Some(length) = scan.run(&block[n..]) else { break };
                n += length;
                self.end(base + n as u64, Ending::Whole, chunks);
                self.document.pass();
            }
            let (length, step) = self.document.walk(&block[n..]);
            n += length;
            match step {
                Ok(Step::Record) => {
                    if !chunks.is_open() {
                        chunks.begin(base + n as u64, self.lines.line_at(base + n as u64, block, base));
                    }
                    self.scan = Some(Scan::default());
                }
                Ok(Step::More) => break,
                Err(what) => {
                    let offset = base + n as u64;
                    let line = self.lines.line_at(offset, block, base);
                    return Err(self.fault(&what, line, offset, chunks));
                }
            }
        }
        self.lines.line_at(base + block.len() as u64, block, base);
        Ok(())
    }

    /// `end` is the size of the object.
    pub(super) fn finish(&mut self, end: u64, ending: Ending, chunks: &mut Assembly) -> Result<(), DecodeError> {
        let result = if self.scan.is_some() {
            self.end(end, Ending::CutOff, chunks);
            // Behind a record that is cut off the array is not at its end.
            self.document.pass();
            self.document.finish()
        } else {
            self.document.finish()
        };
        chunks.close(self.last_end, Ending::Whole);
        match result {
            Ok(_) => Ok(()),
            // Damage has its own error.
            Err(_) if ending == Ending::CutOff => Ok(()),
            Err(what) => {
                let line = self.lines.line_at(end, &[], end);
                Err(self.fault(&what, line, end, chunks))
            }
        }
    }

    fn end(&mut self, end: u64, ending: Ending, chunks: &mut Assembly) {
        self.scan = None;
        chunks.end(end, ending);
        self.last_end = end;
    }

    fn fault(&self, what: &str, line: u64, offset: u64, chunks: &mut Assembly) -> DecodeError {
        chunks.close(self.last_end, Ending::Whole);
        DecodeError::Format { format: "json", what: format!("{what} (line {line}, byte {offset})") }
    }
}
