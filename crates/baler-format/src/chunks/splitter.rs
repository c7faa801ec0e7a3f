//! The pass over an object of text that finds its chunks.

use super::assembly::Assembly;
use super::lines::Lines;
use super::{Chunk, Ending, csv, document};
use crate::decode::{DecodeError, DecodeOptions};
use crate::format::Format;

/// Finds the chunks of an object of JSON lines, CSV or JSON, whose decompressed bytes are pushed in blocks of any size.
///
/// Memory: the header of CSV, and the chunks that nobody took.
///
/// ```
/// # use baler_format::{Format, chunks::{Ending, Splitter}, decode::DecodeOptions};
/// let mut splitter = Splitter::new(&Format::JsonLines, &DecodeOptions::default(), 1_000)?;
/// for block in [&b"{\"itemNo\":1}\n{\"item"[..], b"No\":2}\n"] {
///     splitter.push(block)?;
/// }
/// splitter.finish(Ending::Whole)?;
/// assert_eq!(splitter.take()[0].records, 2);
/// # Ok::<(), baler_format::decode::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Splitter {
    records: Records,
    chunks: Assembly,
    /// Bytes that were given to `records`.
    offset: u64,
    /// Bytes of a byte order mark seen, while it is not decided whether it is one.
    mark: Option<usize>,
    fault: Option<DecodeError>,
}

#[derive(Debug)]
enum Records {
    Lines(Lines),
    Csv(csv::Records),
    Document(document::Records),
}

const MARK: [u8; 3] = *b"\xef\xbb\xbf";

impl Splitter {
    /// Begins at the beginning of an object; chunks get `size` records each, the last one what is left.
    ///
    /// The options are those that the chunks will be decoded with: what is longer than a record may be counts. Errors: options or
    /// marks of CSV that cannot be used; chunks of no records; a format that is not text.
    pub fn new(format: &Format, options: &DecodeOptions, size: u64) -> Result<Self, DecodeError> {
        options.check()?;
        if size == 0 {
            return Err(DecodeError::Usage("chunks have at least one record".to_owned()));
        }
        let records = match format {
            Format::JsonLines => Records::Lines(Lines::new(options.record_bytes)),
            Format::Json { records } => Records::Document(document::Records::new(records.clone())),
            Format::Csv(csv) => match csv.fault() {
                Some(fault) => return Err(DecodeError::Usage(fault)),
                None => Records::Csv(csv::Records::new(csv, options.record_bytes)),
            },
            Format::Parquet => {
                return Err(DecodeError::Usage("Parquet is split by its metadata, not in a pass".to_owned()));
            }
            Format::Arrow(_) => {
                return Err(DecodeError::Usage(
                    "Arrow IPC is not split; convert it to Parquet or JSON lines".to_owned(),
                ));
            }
        };
        Ok(Self { records, chunks: Assembly::new(size), offset: 0, mark: Some(0), fault: None })
    }

    /// Takes the next bytes.
    ///
    /// Errors: no further record can be found; the chunks up to there are good. Called again, the same error.
    pub fn push(&mut self, block: &[u8]) -> Result<(), DecodeError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut block = block;
        if let Some(seen) = self.mark {
            let more = MARK[seen..].iter().zip(block).take_while(|(wanted, found)| wanted == found).count();
            if seen + more == MARK.len() {
                self.mark = None;
                self.offset = MARK.len() as u64;
                if let Records::Lines(lines) = &mut self.records {
                    lines.begin_at(self.offset);
                }
            } else if more == block.len() {
                self.mark = Some(seen + more);
                return Ok(());
            } else {
                self.mark = None;
                self.give(&MARK[..seen + more])?;
            }
            block = &block[more..];
        }
        self.give(block)
    }

    /// Says that all bytes were pushed, or that they end in damage; a record that this cuts is in the last chunk.
    ///
    /// Errors: the end stands where none may be. Where the bytes end in damage that is the error to tell, and none comes from here.
    pub fn finish(&mut self, ending: Ending) -> Result<(), DecodeError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if let Some(seen) = self.mark.take() {
            self.give(&MARK[..seen])?;
        }
        let result = match &mut self.records {
            Records::Lines(lines) => {
                lines.finish(ending, &mut self.chunks);
                Ok(())
            }
            Records::Csv(records) => records.finish(ending, &mut self.chunks),
            Records::Document(records) => records.finish(self.offset, ending, &mut self.chunks),
        };
        result.inspect_err(|fault| self.fault = Some(fault.clone()))
    }

    /// Takes the chunks that were found since the last call.
    pub fn take(&mut self) -> Vec<Chunk> {
        self.chunks.take()
    }

    /// Returns how many records were found so far.
    pub fn records(&self) -> u64 {
        self.chunks.records()
    }

    /// Returns the record that heads a CSV object, as it stands there, once it was seen.
    pub fn header(&self) -> Option<&[u8]> {
        match &self.records {
            Records::Csv(records) => records.header(),
            Records::Lines(_) | Records::Document(_) => None,
        }
    }

    fn give(&mut self, block: &[u8]) -> Result<(), DecodeError> {
        let base = self.offset;
        let result = match &mut self.records {
            Records::Lines(lines) => {
                lines.push(block, base, &mut self.chunks);
                Ok(())
            }
            Records::Csv(records) => records.push(block, base, &mut self.chunks),
            Records::Document(records) => records.push(block, base, &mut self.chunks),
        };
        self.offset += block.len() as u64;
        result.inspect_err(|fault| self.fault = Some(fault.clone()))
    }
}
