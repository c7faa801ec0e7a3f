//! Records of a chunk, as JSON and one by one, a window of them at a time: memory does not grow with the chunk.

use std::ops::Range;

use arrow_array::RecordBatch;
use baler_format::Format;
use baler_format::chunks::{Chunk, ChunkDecoder, Ending, Extent, Raw, RawRecords};
use baler_format::codec::Compression;
use baler_format::decode::{DecodeError, DecodeOptions, Decoder, Position, Rejected, Source, TextFrom};
use baler_format::encode::{EncodeError, EncodeOptions, Encoder};
use baler_format::schema::Schema;
use baler_model::ledger::{ChunkExtent, ChunkTask, Failure};
use baler_model::{InputVersion, Kind};

use super::spare::Spare;
use crate::error::{TaskError, with_causes};

/// So much of a reason is kept. Units: characters.
const REASON: usize = 500;

/// A window closes behind so many records.
const RECORDS: usize = 16_384;
/// The last record of a window is seldom longer.
const LAST: usize = 64 << 10;

/// Records that are taken together.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Their texts, a line each.
    pub(crate) text: Spare,
    /// In the order of the object.
    pub(crate) items: Vec<Item>,
}

/// A record and what has become of it so far.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its place among the records of the batch, from 0.
    pub(crate) index: u64,
    pub(crate) position: Position,
    pub(crate) request: Request,
    /// What a step made of it, which the next one takes.
    pub(crate) changed: Option<Vec<u8>>,
    pub(crate) verdict: Verdict,
}

/// A record as it came.
#[derive(Debug)]
pub(crate) enum Request {
    /// JSON: the bytes of the window's text.
    Json(Range<usize>),
    /// The beginning of what is none.
    Other(Vec<u8>),
}

/// What a record is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It went through everything so far; a step may have said something about it.
    Passed(Option<String>),
    /// It did not, and goes no further.
    Failed(String),
    /// A step left it out; it goes no further, and nothing is wrong with it.
    LeftOut,
}

impl Item {
    pub(crate) fn is_in(&self) -> bool {
        matches!(self.verdict, Verdict::Passed(_))
    }

    /// Its text for the next step; nothing of what goes no further.
    pub(crate) fn text<'a>(&'a self, text: &'a [u8]) -> Option<&'a [u8]> {
        match (&self.verdict, &self.changed, &self.request) {
            (Verdict::Failed(_) | Verdict::LeftOut, _, _) | (_, None, Request::Other(_)) => None,
            (_, Some(changed), _) => Some(changed),
            (_, None, Request::Json(range)) => Some(&text[range.clone()]),
        }
    }
}

/// Rows of a window, and of which items they are.
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    /// For each row the number of its item.
    pub(crate) items: Vec<usize>,
}

impl Window {
    /// Fails a record. Reasons stand in marks, and are counted: a long one is cut.
    pub(crate) fn fail(&mut self, item: usize, mut reason: String) {
        if let Some((end, _)) = reason.char_indices().nth(REASON) {
            reason.truncate(end);
            reason.push('…');
        }
        self.items[item].verdict = Verdict::Failed(reason);
    }

    /// The records that are still in as rows of these columns; those that do not fit into them fail.
    ///
    /// Errors: columns that were inferred and are not all that there are.
    pub(crate) fn rows(&mut self, schema: &Schema, decoding: &DecodeOptions) -> Result<Vec<Rows>, TaskError> {
        let (mut lines, mut members) = (Vec::with_capacity(self.text.len()), Vec::new());
        for (number, item) in self.items.iter().enumerate() {
            if let Some(record) = item.text(&self.text) {
                lines.extend_from_slice(record);
                lines.push(b'\n');
                members.push(number);
            }
        }
        let mut all = Vec::new();
        if members.is_empty() {
            return Ok(all);
        }
        let source = Source::bytes(lines);
        let decoder = Decoder::new(&Format::JsonLines, schema, decoding, source);
        let mut decoder = decoder.map_err(|error| unexpected(&error))?;
        let member = |position: Option<Position>| match position {
            Some(Position::Line { line, .. }) => {
                usize::try_from(line - 1).ok().and_then(|line| members.get(line)).copied()
            }
            Some(Position::Row(_)) | None => None,
        };
        while let Some(decoded) = decoder.next_batch().map_err(|error| unexpected(&error))? {
            for rejected in decoded.rejected {
                if let Some(item) = member(Some(rejected.position)) {
                    self.fail(item, rejected.reason.to_string());
                }
            }
            let items: Vec<usize> =
                (0..decoded.batch.num_rows()).filter_map(|row| member(decoded.positions.at(row))).collect();
            if items.len() != decoded.batch.num_rows() {
                return Err(unexpected(&DecodeError::Usage("a row is of no record".to_owned())));
            }
            if !items.is_empty() {
                all.push(Rows { batch: decoded.batch, items });
            }
        }
        refuse_unknown(decoder.unknown(), decoding)?;
        Ok(all)
    }
}

/// The records of one chunk.
pub(crate) enum Records {
    /// JSON as it is written.
    Raw(Box<RawRecords>),
    /// Rows, which are written as JSON here.
    Typed(Box<ChunkDecoder>, Box<Schema>),
}

impl Records {
    /// Opens a chunk. Errors: one that the plan cannot mean.
    pub(crate) fn open(
        format: &Format,
        schema: Option<&Schema>,
        options: &DecodeOptions,
        chunk: &ChunkTask,
        header: Option<&str>,
        source: Source,
    ) -> Result<Self, DecodeError> {
        let chunk = as_found(chunk);
        match (format, schema) {
            (Format::JsonLines | Format::Json { .. }, _) => {
                RawRecords::new(format, options, &chunk, source).map(|records| Self::Raw(Box::new(records)))
            }
            (Format::Csv(_) | Format::Parquet | Format::Arrow(_), Some(schema)) => {
                let header = header.unwrap_or_default().as_bytes();
                let decoder = ChunkDecoder::new(format, schema, options, &chunk, header, source)?;
                Ok(Self::Typed(Box::new(decoder), Box::new(schema.clone())))
            }
            (Format::Csv(_) | Format::Parquet | Format::Arrow(_), None) => {
                Err(DecodeError::Usage(format!("records of {format} need columns")))
            }
        }
    }

    /// Refuses, behind the last window, columns that nobody takes.
    pub(crate) fn refuse_unknown(&self, decoding: &DecodeOptions) -> Result<(), TaskError> {
        match self {
            Self::Raw(_) => Ok(()),
            Self::Typed(decoder, _) => refuse_unknown(decoder.unknown(), decoding),
        }
    }

    /// The next window, whose texts go into a buffer; nothing at the end. It closes behind `most` bytes at the latest, if they
    /// are JSON.
    pub(crate) fn next_window(&mut self, text: Spare, most: usize) -> Result<Option<Window>, DecodeError> {
        let mut window = Window { text, items: Vec::new() };
        match self {
            Self::Raw(records) => {
                while window.items.len() < RECORDS && window.text.len() < most {
                    match records.next_record()? {
                        Some(Raw::Record(record)) => {
                            let start = window.text.len();
                            record.write_line(&mut window.text);
                            let request = Request::Json(start..window.text.len() - 1);
                            window.items.push(item(record.number, record.position, request, None));
                        }
                        Some(Raw::Rejected(number, rejected)) => window.items.push(refused(number, rejected)),
                        None => break,
                    }
                }
            }
            Self::Typed(decoder, schema) => {
                while window.items.is_empty() {
                    let Some(numbered) = decoder.next_batch()? else { break };
                    let baler_format::chunks::Numbered { decoded, rows, rejected } = numbered;
                    let (mut text, requests) = requests(schema, &decoded.batch)?;
                    for (row, (number, request)) in rows.iter().zip(requests).enumerate() {
                        let position = decoded.positions.at(row).unwrap_or(Position::Row(*number));
                        window.items.push(match request {
                            Ok(range) => item(*number, position, Request::Json(range), None),
                            Err(reason) => item(*number, position, Request::Other(Vec::new()), Some(reason)),
                        });
                    }
                    window.text.append(&mut text);
                    let aside = rejected.iter().zip(decoded.rejected);
                    window.items.extend(aside.map(|(number, rejected)| refused(*number, rejected)));
                    window.items.sort_by_key(|item| item.index);
                }
            }
        }
        Ok((!window.items.is_empty()).then_some(window))
    }
}

/// The room that the texts of a window of `most` bytes of this chunk need; more where the last of them is long. Units: bytes.
pub(super) fn room(chunk: &ChunkTask, most: usize) -> usize {
    match chunk.extent {
        ChunkExtent::Bytes { start, end, .. } => {
            usize::try_from(end - start + chunk.records).unwrap_or(usize::MAX).min(most + LAST)
        }
        ChunkExtent::Groups { .. } => 0,
    }
}

/// Where a row lies among lines of JSON, or why JSON cannot hold it.
pub(super) type Written = Result<Range<usize>, String>;

/// Rows as lines of JSON.
pub(super) fn requests(schema: &Schema, batch: &RecordBatch) -> Result<(Vec<u8>, Vec<Written>), DecodeError> {
    let unexpected = |error: EncodeError| DecodeError::Usage(with_causes(&error));
    let mut requests = Vec::with_capacity(batch.num_rows());
    match lines(schema, batch) {
        Ok(text) => {
            let mut start = 0;
            for end in memchr::memchr_iter(b'\n', &text) {
                requests.push(Ok(start..end));
                start = end + 1;
            }
            Ok((text, requests))
        }
        // One of them is to blame, or several.
        Err(EncodeError::Value { .. }) => {
            let mut text = Vec::new();
            for row in 0..batch.num_rows() {
                requests.push(match lines(schema, &batch.slice(row, 1)) {
                    Ok(line) => {
                        text.extend_from_slice(&line);
                        Ok(text.len() - line.len()..text.len() - 1)
                    }
                    Err(EncodeError::Value { column, what, .. }) => Err(format!("column `{column}`: {what}")),
                    Err(error) => return Err(unexpected(error)),
                });
            }
            Ok((text, requests))
        }
        Err(error) => Err(unexpected(error)),
    }
}

fn lines(schema: &Schema, batch: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
    let mut encoder =
        Encoder::new(&Format::JsonLines, schema, Compression::NONE, &EncodeOptions::default(), Vec::new())?;
    encoder.write(batch)?;
    encoder.finish().map(|(lines, _)| lines)
}

fn item(number: u64, position: Position, request: Request, failed: Option<String>) -> Item {
    let verdict = failed.map_or(Verdict::Passed(None), Verdict::Failed);
    Item { index: number - 1, position, request, changed: None, verdict }
}

fn refused(number: u64, rejected: Rejected) -> Item {
    let Rejected { position, reason, raw } = rejected;
    item(number, position, Request::Other(raw), Some(reason.to_string()))
}

fn as_found(chunk: &ChunkTask) -> Chunk {
    let extent = match chunk.extent {
        ChunkExtent::Bytes { start, end, line, cut_off } => {
            Extent::Bytes { start, end, line, ending: if cut_off { Ending::CutOff } else { Ending::Whole } }
        }
        ChunkExtent::Groups { start, end } => {
            let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            Extent::Groups { start: number(start), end: number(end) }
        }
    };
    Chunk { first: chunk.first, records: chunk.records, extent }
}

/// Records that were read before cannot be read now.
pub(super) fn unexpected(error: &DecodeError) -> TaskError {
    TaskError { kind: Kind::Internal, failure: Failure { error: with_causes(error), hint: None } }
}

/// Refuses columns beyond those that were inferred: left out, they would be lost unseen. Declared ones are what is wanted.
pub(super) fn refuse_unknown<'a>(
    unknown: impl Iterator<Item = &'a str>,
    decoding: &DecodeOptions,
) -> Result<(), TaskError> {
    let names: Vec<String> = unknown.take(5).map(|name| format!("`{name}`")).collect();
    match decoding.text_from {
        TextFrom::Anything if !names.is_empty() => {
            let error =
                format!("records have columns that were not there when they were inferred: {}", names.join(", "));
            let hint = "declare the columns that you want: `schema = { columns = { … } }`; declared ones are all that is taken";
            Err(TaskError::data(error, Some(hint)))
        }
        TextFrom::Anything | TextFrom::Text => Ok(()),
    }
}

/// Why a chunk cannot be read that could be when the run was planned.
pub(super) fn unreadable(input: &InputVersion, error: &DecodeError) -> TaskError {
    let kind = match error {
        DecodeError::Read(_) => Kind::Transient,
        DecodeError::Usage(_)
        | DecodeError::Codec(_)
        | DecodeError::Format { .. }
        | DecodeError::Header(_)
        | DecodeError::Column { .. }
        | DecodeError::Foreign(_) => Kind::Data,
    };
    TaskError { kind, failure: Failure { error: format!("`{}`: {}", input.key, with_causes(error)), hint: None } }
}
