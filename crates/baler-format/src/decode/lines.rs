//! Cuts JSON lines.

use memchr::memchr;

use super::Reason;
use super::feed::{Body, Cut, Feed};

/// Counts lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: u64,
}

impl Lines {
    /// Begins on a line.
    pub(crate) fn from_line(line: u64) -> Self {
        Self { line: line.saturating_sub(1) }
    }

    /// Returns the number of the line that comes next.
    pub(crate) fn next_line(&self) -> u64 {
        self.line + 1
    }

    /// Counts lines that were consumed without a cut.
    pub(crate) fn pass(&mut self, lines: u64) {
        self.line += lines;
    }

    /// Cuts the next line that is not blank; nothing at the end or where the bytes are damaged.
    pub(crate) fn cut(&mut self, feed: &mut Feed, limit: usize, raw: usize) -> Option<Cut> {
        loop {
            let mut scanned = 0;
            let length = loop {
                if let Some(n) = memchr(b'\n', &feed.held()[scanned..]) {
                    break Some(scanned + n);
                }
                scanned = feed.held().len();
                if scanned > limit || !feed.more() {
                    break None;
                }
            };
            let held = feed.held().len();
            if length.is_none() && held == 0 {
                return None;
            }
            self.line += 1;
            let (line, offset) = (self.line, feed.offset());
            let refuse = |feed: &Feed, reason: Reason| {
                let raw = feed.held()[..raw.min(length.unwrap_or(held))].to_vec();
                Some(Cut { line, offset, body: Body::Refused(reason, raw) })
            };
            if length.unwrap_or(held) > limit {
                // No more is kept than is in hand however it arrives.
                let raw = feed.held()[..raw.min(limit)].to_vec();
                let cut = Some(Cut { line, offset, body: Body::Refused(Reason::TooLong(limit), raw) });
                skip_line(feed);
                return cut;
            }
            if length.is_none() && feed.is_damaged() {
                let cut = refuse(feed, Reason::CutOff);
                feed.consume(held);
                return cut;
            }
            let range = feed.consume(length.map_or(held, |length| length + 1));
            if !feed.bytes(range.clone()).trim_ascii().is_empty() {
                return Some(Cut { line, offset, body: Body::Record(range) });
            }
        }
    }
}

/// Consumes the rest of a line without holding it.
fn skip_line(feed: &mut Feed) {
    loop {
        match memchr(b'\n', feed.held()) {
            Some(n) => {
                feed.consume(n + 1);
                return;
            }
            None => {
                feed.consume(feed.held().len());
                if !feed.more() {
                    return;
                }
            }
        }
    }
}
