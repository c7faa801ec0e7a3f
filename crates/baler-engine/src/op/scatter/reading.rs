//! Brings the bytes of chunks to those who take them. Of a small object all of them are there at once. A large one is read in
//! one sequential pass, decompressing, in which chunks that are done already are passed over; where it is not compressed only
//! what is wanted is read.
//!
//! Memory: the chunks that wait or are being worked at are granted by the budget, until their part of the result is put, though
//! their bytes go once their records are taken; one that is larger than [`HELD`] lies in a
//! file without a name. Besides that some buffers are kept for the next chunk (`spare`).

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use baler_format::Format;
use baler_format::codec::{self, Codec};
use baler_format::decode::{Ranges, Source};
use baler_model::ledger::{ChunkExtent, ChunkTask};
use baler_model::{InputVersion, Kind};
use baler_store::{ByteRange, Store, StoreError};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::convert::decoding::Remote;
use super::super::convert::feed::{self, Chunks, WHOLE};
use super::super::convert::kinds::InputKind;
use super::spare::Spares;
use crate::env::Limits;
use crate::error::TaskError;
use crate::flow::Flow;

/// What no object may grow beyond, whatever its size. Units: bytes.
pub(crate) const LARGEST: u64 = 64 << 30;
/// A chunk of more bytes is not held in memory.
const HELD: u64 = 32 << 20;
/// Chunks that wait for whoever takes them.
const WAITING: usize = 1;
/// What working at a chunk takes of memory, as a multiple of its bytes.
const GROWS: u64 = 6;
/// Where the bytes between the chunks that are wanted are more than these, each is asked for by itself.
const GAP: u64 = 8 << 20;

/// An object that is about to be read.
pub(crate) enum Input {
    /// All of it.
    Whole(Bytes),
    /// It comes while it is read.
    Stream(Chunks),
    /// It is asked for in ranges.
    Ranges(Arc<Remote>),
}

/// Opens an object: a small one is read here and now.
pub(crate) async fn open(flow: &Flow, input: &InputVersion, kind: &InputKind) -> Result<Input, StoreError> {
    if input.size <= WHOLE {
        return feed::whole(&*flow.source, &flow.env.limits, input).await.map(Input::Whole);
    }
    let compressed = kind.codec.is_some_and(|codec| codec != Codec::None);
    Ok(match (kind.format == Format::Parquet, compressed) {
        (true, false) => {
            let runtime = tokio::runtime::Handle::current();
            Input::Ranges(Arc::new(Remote { runtime, store: Arc::clone(&flow.source), input: input.clone() }))
        }
        (true, true) | (false, _) => Input::Stream(feed::flow_range(Arc::clone(&flow.source), input.clone(), None)),
    })
}

impl Input {
    /// The compressed bytes, and the codec that the key or they themselves tell.
    pub(crate) fn sniffed(self, known: Option<Codec>) -> io::Result<(Codec, Box<dyn Read + Send>)> {
        Ok(match self {
            Self::Whole(bytes) => (known.unwrap_or_else(|| Codec::sniff(&bytes)), Box::new(Cursor::new(bytes))),
            Self::Stream(mut chunks) => {
                let codec = match known {
                    Some(codec) => codec,
                    None => Codec::sniff(chunks.peek()?),
                };
                (codec, Box::new(chunks))
            }
            Self::Ranges(_) => return Err(io::Error::other("it is read in ranges")),
        })
    }

    /// What is read in ranges; of a compressed object the whole, in a file without a name.
    ///
    /// Errors: what expands beyond `most` bytes.
    pub(crate) fn ranges(self, codec: Option<Codec>, most: u64) -> io::Result<Arc<dyn Ranges>> {
        match (self, codec) {
            (Self::Ranges(ranges), _) => Ok(ranges),
            (Self::Whole(bytes), None | Some(Codec::None)) => Ok(Arc::new(bytes)),
            (input, codec) => {
                let (codec, reader) = input.sniffed(codec)?;
                let ranges = spooled(&mut codec::reader(codec, reader).take(most.saturating_add(1)))?;
                match ranges.len() > most {
                    true => Err(io::Error::other(format!("it expands beyond {most} bytes: `max_expansion`"))),
                    false => Ok(ranges),
                }
            }
        }
    }
}

/// Puts bytes into a file without a name.
fn spooled(reader: &mut dyn Read) -> io::Result<Arc<dyn Ranges>> {
    let mut file = tempfile::tempfile()?;
    io::copy(reader, &mut file)?;
    match Source::file(file)? {
        Source::Ranges(ranges) => Ok(ranges),
        Source::Stream(_) => Err(io::Error::other("a file is read in ranges")),
    }
}

/// The bytes of one chunk.
#[derive(Clone)]
pub(crate) enum Body {
    /// All of them.
    Held(Bytes),
    /// They lie in a file; of Parquet they are the whole object.
    Ranges(Arc<dyn Ranges>),
}

impl Body {
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Held(bytes) => Source::bytes(bytes.clone()),
            Self::Ranges(ranges) => Source::Ranges(Arc::clone(ranges)),
        }
    }
}

/// A chunk on its way, by its number among those that were asked for.
pub(crate) struct Brought {
    pub(crate) number: usize,
    pub(crate) body: Body,
    pub(crate) memory: Memory,
}

/// What is granted of the budget; given back when chunks are done.
pub(crate) enum Memory {
    /// For this chunk.
    Own(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit),
    /// For all chunks of an object.
    Shared(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>),
}

/// Brings chunks, which come in the order of the object. After an error nothing comes any more.
pub(crate) async fn bring(
    flow: &Flow,
    input: &InputVersion,
    kind: &InputKind,
    max_expansion: u64,
    spares: &Arc<Spares>,
    chunks: Vec<ChunkTask>,
) -> Result<mpsc::Receiver<Result<Brought, TaskError>>, TaskError> {
    if let Some(brought) = at_once(flow, input, kind, &chunks).await? {
        return Ok(brought);
    }
    let (to, brought) = mpsc::channel(WAITING);
    let line = Line {
        runtime: tokio::runtime::Handle::current(),
        source: Arc::clone(&flow.source),
        limits: flow.env.limits.clone(),
        input: input.clone(),
        kind: kind.clone(),
        chunks,
        most: input.size.saturating_mul(max_expansion).min(LARGEST),
        spares: Arc::clone(spares),
        to,
    };
    tokio::task::spawn_blocking(move || line.run());
    Ok(brought)
}

/// Brings all chunks of a small object of text at once: they are pieces of its bytes. Nothing of another.
async fn at_once(
    flow: &Flow,
    input: &InputVersion,
    kind: &InputKind,
    chunks: &[ChunkTask],
) -> Result<Option<mpsc::Receiver<Result<Brought, TaskError>>>, TaskError> {
    if input.size > WHOLE || kind.format == Format::Parquet {
        return Ok(None);
    }
    let most = usize::try_from(HELD).unwrap_or(usize::MAX);
    let memory = Arc::new(flow.env.limits.memory((input.size * GROWS).min(flow.env.limits.memory / 2)).await);
    let bytes = feed::whole(&*flow.source, &flow.env.limits, input).await?;
    let codec = kind.codec.unwrap_or_else(|| Codec::sniff(&bytes));
    let text = match codec {
        Codec::None => bytes,
        codec => {
            let decoded = tokio::task::spawn_blocking(move || codec::decode_whole(codec, &bytes, most)).await;
            match decoded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                Ok(text) => text.into(),
                // Too large, or damaged behind the last chunk: a pass finds what is before that.
                Err(_) => return Ok(None),
            }
        }
    };
    let (to, brought) = mpsc::channel(chunks.len().max(1));
    for (number, chunk) in chunks.iter().enumerate() {
        let ChunkExtent::Bytes { start, end, .. } = chunk.extent else { return Ok(None) };
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let Some((start, end)) = range.filter(|(_, end)| *end <= text.len()) else {
            return Err(of_io(input, &io::ErrorKind::UnexpectedEof.into()));
        };
        let body = Body::Held(text.slice(start..end));
        let _there_is_room = to.try_send(Ok(Brought { number, body, memory: Memory::Shared(Arc::clone(&memory)) }));
    }
    Ok(Some(brought))
}

struct Line {
    runtime: tokio::runtime::Handle,
    source: Arc<dyn Store>,
    limits: Limits,
    input: InputVersion,
    kind: InputKind,
    chunks: Vec<ChunkTask>,
    /// The object may grow to so many bytes.
    most: u64,
    spares: Arc<Spares>,
    to: mpsc::Sender<Result<Brought, TaskError>>,
}

impl Line {
    fn run(self) {
        let ended = match self.kind.format {
            Format::Parquet => self.groups(),
            Format::JsonLines | Format::Json { .. } | Format::Csv(_) | Format::Arrow(_) => self.text(),
        };
        if let Err(error) = ended {
            let error = of_io(&self.input, &error);
            // Nobody may be there any more, who then has a reason of his own.
            let _gone = self.to.blocking_send(Err(error)).is_err();
        }
    }

    fn flow(&self, range: Option<ByteRange>) -> Chunks {
        let _entered = self.runtime.enter();
        feed::flow_range(Arc::clone(&self.source), self.input.clone(), range)
    }

    /// Says whether more are wanted.
    fn send(&self, number: usize, body: Body, memory: OwnedSemaphorePermit) -> bool {
        self.to.blocking_send(Ok(Brought { number, body, memory: Memory::Own(memory) })).is_ok()
    }

    fn memory(&self, bytes: u64) -> OwnedSemaphorePermit {
        let most = self.limits.memory / 2;
        self.runtime.block_on(self.limits.memory(bytes.min(HELD).saturating_mul(GROWS).min(most)))
    }

    fn groups(&self) -> io::Result<()> {
        let compressed = self.kind.codec.is_some_and(|codec| codec != Codec::None);
        let input = if self.input.size <= WHOLE {
            let whole = self.runtime.block_on(feed::whole(&*self.source, &self.limits, &self.input));
            Input::Whole(whole.map_err(io::Error::other)?)
        } else if compressed {
            Input::Stream(self.flow(None))
        } else {
            let (runtime, store) = (self.runtime.clone(), Arc::clone(&self.source));
            Input::Ranges(Arc::new(Remote { runtime, store, input: self.input.clone() }))
        };
        let ranges = input.ranges(self.kind.codec, self.most)?;
        let bytes = self.input.size / (self.chunks.len() as u64).max(1);
        for number in 0..self.chunks.len() {
            if !self.send(number, Body::Ranges(Arc::clone(&ranges)), self.memory(bytes)) {
                break;
            }
        }
        Ok(())
    }

    fn text(&self) -> io::Result<()> {
        let extents: Vec<(usize, u64, u64)> = self
            .chunks
            .iter()
            .enumerate()
            .filter_map(|(number, chunk)| match chunk.extent {
                ChunkExtent::Bytes { start, end, .. } => Some((number, start, end)),
                ChunkExtent::Groups { .. } => None,
            })
            .collect();
        let Some((_, first, _)) = extents.first().copied() else { return Ok(()) };
        // Only its first bytes tell whether an object is compressed whose key does not say.
        let codec = match self.kind.codec {
            Some(codec) => codec,
            None => Codec::sniff(self.flow(Some(ByteRange::new(0, self.input.size.min(16)))).peek()?),
        };
        if codec == Codec::None {
            for run in extents.chunk_by(|one, next| next.1 - one.2 <= GAP) {
                let (from, until) = (run[0].1, run[run.len() - 1].2);
                let mut reader = self.flow(Some(ByteRange::new(from, until)));
                if !self.pass(&mut reader, from, run)? {
                    break;
                }
            }
            return Ok(());
        }
        let mut reader = codec::reader(codec, self.flow(None));
        let skipped = io::copy(&mut (&mut reader).take(first), &mut io::sink())?;
        self.pass(&mut reader, skipped, &extents).map(|_| ())
    }

    /// Reads chunks one behind the other; says whether more are wanted.
    fn pass(&self, reader: &mut dyn Read, mut at: u64, extents: &[(usize, u64, u64)]) -> io::Result<bool> {
        for &(number, start, end) in extents {
            let length = end - start;
            let memory = self.memory(length);
            at += io::copy(&mut reader.take(start - at), &mut io::sink())?;
            let body = if length <= HELD {
                let mut bytes = self.spares.take(usize::try_from(length).unwrap_or(0));
                at += reader.take(length).read_to_end(&mut bytes)? as u64;
                Body::Held(Bytes::from_owner(bytes))
            } else {
                let ranges = spooled(&mut reader.take(length))?;
                at += ranges.len();
                Body::Ranges(ranges)
            };
            if at != end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !self.send(number, body, memory) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// An error of the store that a reader handed on, or another one.
fn of_io(input: &InputVersion, error: &io::Error) -> TaskError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>()) {
        Some(error) => TaskError::from(error.clone()),
        None => TaskError {
            kind: Kind::Transient,
            failure: baler_model::ledger::Failure {
                error: format!("`{}` cannot be read: {error}", input.key),
                hint: None,
            },
        },
    }
}
