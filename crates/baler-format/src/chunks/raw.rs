//! The records of one chunk of JSON, as they are written.

use memchr::memchr2_iter;

use super::read::other_count;
use super::{Chunk, Ending, Extent};
use crate::decode::{Body, Cut, Cutter, DecodeError, DecodeOptions, Feed, Object, Position, Reason, Rejected, Source};
use crate::format::Format;

/// Reads the records of one chunk of JSON lines or of a JSON document as text.
///
/// What it takes is what a decoder takes whose columns fit: one JSON object with no key twice; and not more than
/// [`LEVELS`] levels deep, because what reads the text next builds trees.
pub struct RawRecords {
    feed: Feed,
    cutter: Cutter,
    options: DecodeOptions,
    format: &'static str,
    chunk: Chunk,
    given: u64,
    ended: Option<DecodeError>,
}

/// The deepest nesting that a raw record may have, its own braces counted.
pub const LEVELS: usize = 127;

/// One record.
#[derive(Debug)]
pub enum Raw<'a> {
    /// A JSON object.
    Record(RawRecord<'a>),
    /// Something else, with its number.
    Rejected(u64, Rejected),
}

/// The text of one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// The number of the record in the object, from 1.
    pub number: u64,
    /// Where it stands.
    pub position: Position,
    /// The object from brace to brace; may hold line ends between its values.
    pub text: &'a str,
}

impl RawRecord<'_> {
    /// Appends the record as one line of JSON lines.
    pub fn write_line(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(self.text.as_bytes());
        // Within strings line ends are escaped.
        into[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        into.push(b'\n');
    }
}

impl RawRecords {
    /// Opens a chunk, whose bytes and no others the source has. Errors: options that cannot be used; a chunk that is not JSON.
    pub fn new(format: &Format, options: &DecodeOptions, chunk: &Chunk, source: Source) -> Result<Self, DecodeError> {
        options.check()?;
        let (Format::JsonLines | Format::Json { .. }, Extent::Bytes { start, line, ending, .. }) =
            (format, chunk.extent)
        else {
            return Err(DecodeError::Usage(format!("records of {format} are no JSON text; decode them")));
        };
        Ok(Self {
            feed: Feed::part(source.into_reader(), start, ending == Ending::CutOff),
            cutter: Cutter::part(format, line)?,
            options: options.clone(),
            format: format.name(),
            chunk: *chunk,
            given: 0,
            ended: None,
        })
    }

    /// Reads the next record; nothing at the end.
    ///
    /// Errors: the source fails; more or fewer records than the chunk has. Called again, the same error.
    pub fn next_record(&mut self) -> Result<Option<Raw<'_>>, DecodeError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let cut = self.cutter.cut(&mut self.feed, &self.options);
        if cut.is_some() == (self.given == self.chunk.records) {
            let of_feed = self.feed.take_fault().map(DecodeError::of_io);
            let error = of_feed.unwrap_or_else(|| other_count(self.format, &self.chunk));
            self.ended = Some(error.clone());
            return Err(error);
        }
        let Some(Cut { line, offset, body }) = cut else { return Ok(None) };
        let number = self.chunk.first + self.given;
        self.given += 1;
        let position = Position::Line { line, offset };
        let (reason, raw) = match body {
            Body::Refused(reason, raw) => (reason, raw),
            Body::Record(range) => {
                let bytes = self.feed.bytes(range);
                match object(bytes) {
                    Ok(text) => return Ok(Some(Raw::Record(RawRecord { number, position, text }))),
                    Err(reason) => (reason, bytes[..bytes.len().min(self.options.raw_bytes)].to_vec()),
                }
            }
        };
        Ok(Some(Raw::Rejected(number, Rejected { position, reason, raw })))
    }
}

fn object(bytes: &[u8]) -> Result<&str, Reason> {
    let text = std::str::from_utf8(bytes).map_err(|fault| Reason::NotUtf8 { at: fault.valid_up_to() })?;
    Object::parse(text)?.sound()?;
    // Few records have so many brackets: only those are looked at.
    if memchr2_iter(b'{', b'[', bytes).nth(LEVELS).is_some() && levels(bytes) > LEVELS {
        return Err(Reason::NotJson(format!("nested deeper than {LEVELS} levels")));
    }
    Ok(text.trim_ascii())
}

/// How deep a text that is JSON is nested.
fn levels(bytes: &[u8]) -> usize {
    let (mut level, mut deepest) = (0, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => level += 1,
            b'}' | b']' if !in_string => level -= 1,
            _ => {}
        }
        deepest = deepest.max(level);
    }
    deepest
}
