//! Decodes one input on a thread of its own: bytes to batches of rows, with everything that was set aside.
//!
//! - A record that cannot be read or typed is set aside with its place, reason and text; the others go on.
//! - Behind damage nothing can be read: the rest of the object is set aside as one entry.
//! - Of a compressed member whose own checksum fails nothing is taken.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use baler_format::Format;
use baler_format::codec::{self, Codec, CodecError, CodecFault};
use baler_format::decode::{DecodeError, DecodeOptions, Decoded, Decoder, Position, Ranges, Source};
use baler_model::ledger::{DriftPolicy, Failure};
use baler_model::{InputVersion, Kind};
use baler_store::StoreError;
use bytes::Bytes;

use super::buffers::Buffers;
use super::feed::Body;
use super::job::{Job, scrub_failed};
use super::kinds;
use super::rejects::SetAside;
use super::scrub::{Identity, Scrubbed};
use crate::error::{TaskError, with_causes};

/// Compressed objects that grow to no more than this are decompressed at once, which is faster.
const AT_ONCE: usize = 48 << 20;
/// What no object may grow beyond, whatever its size. Units: bytes.
const LARGEST: u64 = 64 << 30;

/// What a step of decoding gave.
#[derive(Debug)]
pub(super) struct Piece {
    /// Rows as decoding hands them on.
    pub(super) batch: RecordBatch,
    pub(super) aside: Vec<SetAside>,
    /// Records that were read: rows, those set aside, and those left out.
    pub(super) read: u64,
    /// Of each row the second since 1970 of its time, where outputs are told apart by it.
    pub(super) seconds: Vec<i64>,
    /// The same rows with what tells records apart, where of several with one key one stays.
    pub(super) scrubbed: Option<Scrubbed>,
    /// What tells the rows apart, while it is learnt which of several stays.
    pub(super) identities: Vec<Option<Identity>>,
}

/// Why an input was not decoded to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The task fails.
    Failed(TaskError),
    /// Nobody takes the rows any more.
    Nobody,
    /// Rows were handed on of a member whose checksum fails in the end: the task begins anew without this input.
    Distrusted,
}

impl From<TaskError> for Stop {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}

/// Takes a step; says whether more are wanted.
pub(super) type Take<'a> = &'a mut dyn FnMut(Piece) -> bool;

/// Decodes an input, step by step.
pub(super) fn decode(
    job: &Job,
    number: usize,
    body: Result<Body, StoreError>,
    distrusted: bool,
    take: Take<'_>,
) -> Result<(), Stop> {
    let input = &job.inputs[number];
    let kind = kinds::planned_kind(&job.options, input.key.as_str())
        .map_err(|error| TaskError::data(error, Some("add `format` to the flow")))?;
    let mut body = body.map_err(TaskError::from)?;
    let codec = match (kind.codec, &mut body) {
        (Some(codec), _) => codec,
        (None, Body::Whole(bytes)) => Codec::sniff(bytes),
        (None, Body::Stream(chunks)) => Codec::sniff(chunks.peek().map_err(|error| of_io(input, &error))?),
        (None, Body::Remote(_)) => Codec::None,
    };
    if distrusted {
        let reason = format!("{codec}: a checksum fails, nothing of the object is taken");
        return set_aside(job, SetAside::stretch(None, reason), take);
    }
    let most = input.size.saturating_mul(job.options.max_expansion).min(LARGEST);
    let mut is_streamed = false;
    let source = match (codec, body) {
        (Codec::None, Body::Whole(bytes)) => Source::bytes(bytes),
        (Codec::None, Body::Stream(chunks)) => Source::stream(chunks),
        (_, Body::Remote(ranges)) => Source::Ranges(ranges),
        (codec, Body::Whole(bytes)) => match whole(codec, &bytes, most, &job.buffers) {
            Whole::Read(bytes) => Source::bytes(bytes),
            Whole::Damaged(damaged) => Source::stream(damaged),
            Whole::TooMuch if most > AT_ONCE as u64 => {
                is_streamed = true;
                Source::stream(Bounded::new(codec, Cursor::new(bytes), most))
            }
            Whole::TooMuch => return Err(bomb(job, input).into()),
            Whole::Distrusted(reason) => return set_aside(job, SetAside::stretch(None, reason), take),
        },
        (codec, Body::Stream(chunks)) => {
            is_streamed = true;
            Source::stream(Bounded::new(codec, chunks, most))
        }
    };
    let unreadable = |error: DecodeError| Unreadable { job, input, is_streamed }.of(error);
    let source = match (&kind.format, source) {
        // It is read from its end: what comes as a stream has to be there as a whole. A file without a name holds it.
        (Format::Parquet, Source::Stream(mut stream)) => match spooled(&mut stream) {
            Ok(source) => source,
            Err(error) => match CodecError::of(&error) {
                Some(fault) => return set_aside(job, unreadable(DecodeError::Codec(fault.clone()))?, take),
                None => return Err(of_io(input, &error).into()),
            },
        },
        (_, source) => source,
    };
    let decoding = DecodeOptions { expanded_bytes: most, ..job.decoding.clone() };
    let mut decoder = match Decoder::with(job.spares.take(), &kind.format, &job.decoded, &decoding, source) {
        Ok(decoder) => decoder,
        Err(error) => return set_aside(job, unreadable(error)?, take),
    };
    let mut last = None;
    loop {
        match decoder.next_batch() {
            Ok(Some(decoded)) => {
                last = decoded.positions.at(decoded.batch.num_rows().wrapping_sub(1)).or(last);
                if !take(job.piece(number, decoded)?) {
                    return Err(Stop::Nobody);
                }
            }
            Ok(None) => break,
            Err(error) => {
                let mut aside = unreadable(error)?;
                aside.position = aside.position.or(last);
                set_aside(job, aside, take)?;
                break;
            }
        }
    }
    let unknown: Vec<&str> = decoder.unknown().collect();
    if !unknown.is_empty() && job.refuses_unknown && job.options.drift == DriftPolicy::Fail {
        let names = unknown.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<String>>().join(", ");
        let error = format!("`{}` has columns that the schema lacks: {names}", input.key);
        let hint = "set `on_drift = \"widen\"` to take them, or `\"quarantine\"` to leave them out";
        return Err(TaskError::data(error, Some(hint)).into());
    }
    job.spares.put(decoder.into_spare());
    Ok(())
}

/// Hands on an entry for a stretch of an object: it counts as one record.
fn set_aside(job: &Job, aside: SetAside, take: Take<'_>) -> Result<(), Stop> {
    let piece = Piece {
        batch: RecordBatch::new_empty(Arc::clone(&job.handed)),
        aside: vec![aside],
        read: 1,
        seconds: Vec::new(),
        scrubbed: None,
        identities: Vec::new(),
    };
    if take(piece) { Ok(()) } else { Err(Stop::Nobody) }
}

/// Puts a stream aside as a whole, in a temporary file without a name.
fn spooled(stream: &mut dyn Read) -> io::Result<Source> {
    let mut file = tempfile::tempfile()?;
    io::copy(stream, &mut file)?;
    Source::file(file)
}

/// What became of an object that was decompressed at once.
enum Whole {
    /// Its bytes.
    Read(Bytes),
    /// Its bytes up to where they are damaged.
    Damaged(Damaged),
    /// It grows beyond what is done at once.
    TooMuch,
    /// A checksum fails: nothing may be taken.
    Distrusted(String),
}

/// Bytes that end in damage: a record that it cuts is not taken for a whole one.
struct Damaged {
    sound: Cursor<Vec<u8>>,
    fault: CodecError,
}

impl Read for Damaged {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.sound.read(into)? {
            0 if !into.is_empty() => Err(self.fault.clone().into()),
            n => Ok(n),
        }
    }
}

fn whole(codec: Codec, bytes: &[u8], most: u64, buffers: &Buffers) -> Whole {
    let limit = AT_ONCE.min(usize::try_from(most).unwrap_or(usize::MAX));
    let error = match codec::decode_whole_into(codec, bytes, limit, buffers.take()) {
        Ok(decoded) => return Whole::Read(buffers.lend(decoded)),
        Err(error) => error,
    };
    let Some(fault) = CodecError::of(&error) else {
        return Whole::Distrusted(error.to_string());
    };
    let before = match fault.fault {
        CodecFault::TooLarge(_) => return Whole::TooMuch,
        CodecFault::Corrupt(_) if fault.member == 1 => return Whole::Distrusted(error.to_string()),
        // Of the damaged member nothing is taken, those before it are sound.
        CodecFault::Corrupt(_) => fault.member,
        CodecFault::Truncated | CodecFault::Trailing(_) => u64::MAX,
    };
    Whole::Damaged(Damaged { sound: Cursor::new(members(codec, bytes, before, limit)), fault: fault.clone() })
}

/// What the members before this one hold, as far as they can be read.
fn members(codec: Codec, bytes: &[u8], before: u64, limit: usize) -> Vec<u8> {
    let mut reader = codec::reader(codec, bytes);
    let (mut sound, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    // The fault itself is known.
    while let Ok(n @ 1..) = reader.read(&mut buffer) {
        if reader.member() >= before || sound.len() + n > limit {
            break;
        }
        sound.extend_from_slice(&buffer[..n]);
    }
    sound
}

/// A decompressing reader that ends in an error beyond a size.
struct Bounded<R: Read> {
    inner: codec::Reader<R>,
    codec: Codec,
    left: u64,
    most: u64,
}

impl<R: Read> Bounded<R> {
    fn new(codec: Codec, inner: R, most: u64) -> Self {
        Self { inner: codec::reader(codec, inner), codec, left: most, most }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)? as u64;
        if n > self.left {
            let fault = CodecFault::TooLarge(self.most);
            return Err(CodecError { codec: self.codec, member: 1, offset: 0, fault }.into());
        }
        self.left -= n;
        Ok(n as usize)
    }
}

fn bomb(job: &Job, input: &InputVersion) -> TaskError {
    let times = job.options.max_expansion;
    let error = format!("`{}` expands beyond {times} times its size, or beyond 64 GiB", input.key);
    TaskError::data(error, Some("if it is sound, raise `max_expansion` of the flow"))
}

/// An error of the store that a reader handed on, or another one.
fn of_io(input: &InputVersion, error: &io::Error) -> TaskError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>()) {
        Some(error) => TaskError::from(error.clone()),
        None => TaskError {
            kind: Kind::Transient,
            failure: Failure { error: format!("`{}` cannot be read: {error}", input.key), hint: None },
        },
    }
}

/// What to do about an object that cannot be decoded.
struct Unreadable<'a> {
    job: &'a Job,
    input: &'a InputVersion,
    /// Rows may have been handed on before checksums were seen.
    is_streamed: bool,
}

impl Unreadable<'_> {
    /// What is set aside, or why the task fails.
    fn of(&self, error: DecodeError) -> Result<SetAside, Stop> {
        let aside = |error: &dyn std::error::Error| SetAside::stretch(None, with_causes(error));
        match &error {
            DecodeError::Codec(CodecError { fault: CodecFault::TooLarge(_), .. }) => {
                Err(bomb(self.job, self.input).into())
            }
            DecodeError::Codec(CodecError { fault: CodecFault::Corrupt(_), .. }) if self.is_streamed => {
                Err(Stop::Distrusted)
            }
            DecodeError::Read(inner) => Err(of_io(self.input, inner).into()),
            DecodeError::Column { .. } | DecodeError::Foreign(_) if self.job.options.drift == DriftPolicy::Fail => {
                let error = format!("`{}`: {}", self.input.key, with_causes(&error));
                let hint =
                    "declare the columns as they are, or set `on_drift = \"quarantine\"` to set the object aside";
                Err(TaskError::data(error, Some(hint)).into())
            }
            DecodeError::Usage(detail) => Err(TaskError::data(format!("`{}`: {detail}", self.input.key), None).into()),
            DecodeError::Codec(_)
            | DecodeError::Format { .. }
            | DecodeError::Header(_)
            | DecodeError::Column { .. }
            | DecodeError::Foreign(_) => Ok(aside(&error)),
        }
    }
}

impl Job {
    /// Scrubs rows and adds the columns that tell where they came from.
    fn piece(&self, number: usize, decoded: Decoded) -> Result<Piece, TaskError> {
        let input = &self.inputs[number];
        let Decoded { batch, positions, rejected } = decoded;
        let read = (batch.num_rows() + rejected.len()) as u64;
        let mut aside: Vec<SetAside> = rejected.into_iter().map(SetAside::from).collect();
        let (batch, positions, seconds) = match &self.routing {
            None => (batch, positions, Vec::new()),
            Some(routing) => routing.route(number, batch, positions, &mut aside)?,
        };
        let Some(scrubber) = &self.scrubber else {
            let batch = self.with_provenance(input, batch, |row| positions.at(row))?;
            return Ok(Piece { batch, aside, read, seconds, scrubbed: None, identities: Vec::new() });
        };
        if self.learning {
            let identities = scrubber.identities(&batch).map_err(|error| scrub_failed(&error))?;
            let batch = RecordBatch::new_empty(Arc::clone(&self.handed));
            return Ok(Piece { batch, aside: Vec::new(), read, seconds: Vec::new(), scrubbed: None, identities });
        }
        let mut scrubbed = scrubber.apply(&batch).map_err(|error| scrub_failed(&error))?;
        for (row, reason) in std::mem::take(&mut scrubbed.rejected) {
            aside.push(SetAside::stretch(positions.at(row as usize), reason));
        }
        let rows = scrubbed.rows.clone();
        let place = |row: usize| match &rows {
            None => positions.at(row),
            Some(rows) => rows.get(row).and_then(|row| positions.at(*row as usize)),
        };
        let seconds = match &rows {
            Some(rows) if !seconds.is_empty() => rows.iter().map(|row| seconds[*row as usize]).collect(),
            Some(_) | None => seconds,
        };
        scrubbed.batch = self.with_provenance(input, scrubbed.batch, place)?;
        let batch = scrubbed.batch.clone();
        let scrubbed = scrubber.keep().map(|_| scrubbed);
        Ok(Piece { batch, aside, read, seconds, scrubbed, identities: Vec::new() })
    }

    fn with_provenance(
        &self,
        input: &InputVersion,
        batch: RecordBatch,
        place: impl Fn(usize) -> Option<Position>,
    ) -> Result<RecordBatch, TaskError> {
        if self.options.provenance.is_nothing() {
            return Ok(batch);
        }
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        if self.options.provenance.key.is_some() {
            let key = input.key.as_str();
            columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(key, rows))));
        }
        if self.options.provenance.line.is_some() {
            let number = |row| match place(row) {
                Some(Position::Line { line, .. }) => i64::try_from(line).ok(),
                Some(Position::Row(row)) => i64::try_from(row).ok(),
                None => None,
            };
            columns.push(Arc::new((0..rows).map(number).collect::<Int64Array>()));
        }
        RecordBatch::try_new(Arc::clone(&self.handed), columns)
            .map_err(|error| TaskError::data(format!("`{}`: {error}", input.key), None))
    }
}

/// An object in a store, read in ranges by a thread that may block.
pub(crate) struct Remote {
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) store: Arc<dyn baler_store::Store>,
    pub(crate) input: InputVersion,
}

impl Ranges for Remote {
    fn len(&self) -> u64 {
        self.input.size
    }

    fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        use futures::TryStreamExt;
        let range = baler_store::ByteRange::new(start, start + length as u64);
        self.runtime.block_on(async {
            let version = self.input.version();
            let mut get =
                self.store.get(&self.input.key, Some(range), Some(&version)).await.map_err(io::Error::other)?;
            let mut bytes = Vec::with_capacity(length);
            while let Some(chunk) = get.body.try_next().await.map_err(io::Error::other)? {
                bytes.extend_from_slice(&chunk);
            }
            if bytes.len() == length { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }
}
