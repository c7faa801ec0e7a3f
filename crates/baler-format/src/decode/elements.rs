//! Cuts the elements of the array in which a JSON document holds its records, without holding the document.
//!
//! Only strings and brackets are followed; whether an element is JSON is found out when it is read.

use memchr::memchr_iter;

use super::Reason;
use super::document::{Document, Step};
use super::feed::{Body, Cut, Feed};
use super::scan::Scan;

/// Follows the document and counts lines.
#[derive(Debug)]
pub(crate) struct Elements {
    document: Document,
    /// Lines ended so far.
    lines: u64,
    is_over: bool,
    /// Why no further element can be found.
    fault: Option<String>,
}

impl Elements {
    pub(crate) fn new(path: Vec<String>) -> Self {
        Self { document: Document::new(path), lines: 0, is_over: false, fault: None }
    }

    /// Begins at an element, on a line, in bytes that hold some elements and what stands between them.
    pub(crate) fn part(line: u64) -> Self {
        Self { document: Document::part(), lines: line.saturating_sub(1), is_over: false, fault: None }
    }

    /// Takes the reason why no further element can be found.
    pub(crate) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// Cuts the next element; nothing behind the array, or where the document is broken.
    pub(crate) fn cut(&mut self, feed: &mut Feed, limit: usize, raw: usize) -> Option<Cut> {
        if self.is_over {
            return None;
        }
        loop {
            let (length, step) = self.document.walk(feed.held());
            self.step(feed, length);
            let step = match step {
                Ok(Step::More) if feed.more() => continue,
                Ok(Step::More) => self.document.finish(),
                Ok(Step::Record) => Ok(Some(Step::Record)),
                Err(what) => Err(what),
            };
            match step {
                Ok(Some(_)) => {
                    self.document.pass();
                    return Some(self.element(feed, limit, raw));
                }
                // Damage has its own error.
                Err(what) if !feed.is_damaged() => {
                    self.fault = Some(format!("{what} (line {}, byte {})", self.lines + 1, feed.offset()));
                }
                Ok(None) | Err(_) => {}
            }
            self.is_over = true;
            return None;
        }
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
                break self.document.is_part() && scan.is_level() && !feed.is_damaged();
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
}
