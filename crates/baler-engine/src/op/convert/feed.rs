//! Brings the bytes of a task's inputs to its decoders, in their order, a bounded number of them at a time.
//!
//! Small objects come whole, several requests at once; large ones flow through a channel while they are decoded. Every
//! read is pinned to the planned version.

use std::io::{self, Read};
use std::sync::Arc;

use baler_model::InputVersion;
use baler_store::{ByteRange, Store, StoreError, StoreKind};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::decoding::Remote;
use crate::env::Limits;

/// Objects up to this many bytes are brought whole.
pub(crate) const WHOLE: u64 = 8 << 20;
/// Bytes of whole objects that wait or are being decompressed at a time.
const WINDOW: u64 = 2 * WHOLE;
/// Objects of a directory that are read at once: each is read by a thread, and a disk has no more to give.
const FILES_AT_ONCE: usize = 8;
/// Chunks of a large object that wait for its decoder.
const CHUNKS: usize = 16;
/// As [`CHUNKS`], of a directory, whose chunks are large and soon there.
const CHUNKS_OF_FILE: usize = 4;
/// As that, where one thread reads the whole object in turn.
const CHUNKS_IN_PASSING: usize = 1;

/// The bytes of an input.
pub(super) enum Body {
    /// All of them.
    Whole(Bytes),
    /// They come while they are read.
    Stream(Chunks),
    /// They are asked for in ranges.
    Remote(Arc<Remote>),
}

/// An input on its way to a decoder.
pub(super) struct Fetched {
    /// Its number within the task.
    pub(super) number: usize,
    pub(super) body: Result<Body, StoreError>,
    /// What it may hold of the window; given back when its bytes are let go of.
    pub(super) _window: OwnedSemaphorePermit,
}

/// Sends every input to `to`, in order; ends early when nobody takes them any more. Large ones that are `ranged` are asked for
/// in ranges when they are decoded.
pub(super) async fn feed(
    source: Arc<dyn Store>,
    limits: Limits,
    inputs: Arc<[InputVersion]>,
    ranged: Vec<bool>,
    to: mpsc::Sender<Fetched>,
) {
    let window = Arc::new(Semaphore::new(usize::try_from(WINDOW).unwrap_or(usize::MAX)));
    let at_once = if is_directory(&*source) { limits.concurrency.min(FILES_AT_ONCE) } else { limits.concurrency };
    let fetched = ranged.into_iter().enumerate().map(|(number, ranged)| {
        let (inputs, source, limits, window) =
            (Arc::clone(&inputs), Arc::clone(&source), limits.clone(), Arc::clone(&window));
        async move {
            let input = &inputs[number];
            let room = u32::try_from(input.size.clamp(1, WHOLE)).unwrap_or(u32::MAX);
            // Granted in the order of the inputs: the first in line is never kept waiting by a later one.
            let window = window.acquire_many_owned(room).await.expect("the semaphore is never closed");
            let body = match (input.size > WHOLE, ranged) {
                (false, _) => whole(&*source, &limits, input).await.map(Body::Whole),
                (true, false) => {
                    // Granted in the order of the inputs, too: were a later one to hold the last permit, it would wait for the
                    // first in line, and that for the permit.
                    let permit = limits.request().await;
                    Ok(Body::Stream(flow(source, permit, input.clone())))
                }
                (true, true) => {
                    let runtime = tokio::runtime::Handle::current();
                    Ok(Body::Remote(Arc::new(Remote { runtime, store: source, input: input.clone() })))
                }
            };
            Fetched { number, body, _window: window }
        }
    });
    let mut fetched = stream::iter(fetched).buffered(at_once);
    while let Some(input) = fetched.next().await {
        if to.send(input).await.is_err() {
            return;
        }
    }
}

pub(crate) async fn whole(source: &dyn Store, limits: &Limits, input: &InputVersion) -> Result<Bytes, StoreError> {
    let _permit = limits.request().await;
    let mut get = source.get(&input.key, None, Some(&input.version())).await?;
    let mut first = get.body.try_next().await?.unwrap_or_default();
    if first.len() as u64 == input.size {
        return Ok(first);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(input.size).unwrap_or(0));
    while !first.is_empty() {
        bytes.extend_from_slice(&first);
        first = get.body.try_next().await?.unwrap_or_default();
    }
    match bytes.len() as u64 == input.size {
        true => Ok(bytes.into()),
        false => Err(of_another_size(source, input, bytes.len() as u64)),
    }
}

/// An object that gave more or fewer bytes than were listed: another one stands there, or the store lost some.
fn of_another_size(source: &dyn Store, input: &InputVersion, bytes: u64) -> StoreError {
    StoreError::Changed {
        store: source.info().name.clone(),
        key: input.key.clone(),
        planned: format!("{} with {} bytes", input.etag, input.size),
        found: format!("{bytes} bytes"),
    }
}

fn is_directory(source: &dyn Store) -> bool {
    match source.info().kind {
        StoreKind::Directory => true,
        StoreKind::S3 | StoreKind::Azure | StoreKind::Gcs | StoreKind::Memory => false,
    }
}

/// Lets a large object flow into a channel under this permit; it stops when the reader is dropped.
pub(super) fn flow(source: Arc<dyn Store>, permit: OwnedSemaphorePermit, input: InputVersion) -> Chunks {
    flowing(source, Some(permit), input, None, CHUNKS_OF_FILE)
}

/// Lets an object, or a range of it, flow into a channel for one thread that reads it in turn; it stops when the reader is dropped.
pub(crate) fn flow_range(source: Arc<dyn Store>, input: InputVersion, range: Option<ByteRange>) -> Chunks {
    flowing(source, None, input, range, CHUNKS_IN_PASSING)
}

fn flowing(
    source: Arc<dyn Store>,
    permit: Option<OwnedSemaphorePermit>,
    input: InputVersion,
    range: Option<ByteRange>,
    of_file: usize,
) -> Chunks {
    let (to, chunks) = mpsc::channel(if is_directory(&*source) { of_file } else { CHUNKS });
    let wanted = range.map_or(input.size, ByteRange::len);
    tokio::spawn(async move {
        let _permit = permit;
        let mut get = match source.get(&input.key, range, Some(&input.version())).await {
            Ok(get) => get,
            Err(error) => return drop(to.send(Err(error)).await),
        };
        let mut bytes = 0;
        loop {
            let chunk = match get.body.try_next().await {
                Ok(Some(chunk)) => {
                    bytes += chunk.len() as u64;
                    Ok(chunk)
                }
                Ok(None) if bytes == wanted => return,
                Ok(None) => Err(of_another_size(&*source, &input, bytes)),
                Err(error) => Err(error),
            };
            let failed = chunk.is_err();
            if to.send(chunk).await.is_err() || failed {
                return;
            }
        }
    });
    Chunks { chunks, held: Bytes::new() }
}

/// The bytes of a large object, read by a thread that may block.
pub(crate) struct Chunks {
    chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
    held: Bytes,
}

impl Chunks {
    /// The first bytes, which are read again.
    pub(crate) fn peek(&mut self) -> io::Result<&[u8]> {
        while self.held.is_empty() {
            match self.chunks.blocking_recv() {
                Some(Ok(chunk)) => self.held = chunk,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => break,
            }
        }
        Ok(&self.held)
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.peek()?.len().min(into.len());
        into[..n].copy_from_slice(&self.held.split_to(n));
        Ok(n)
    }
}
