//! Brings what encoders write to staged outputs: from a thread that may block, in parts, to the store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use baler_model::ledger::Failure;
use baler_model::{Key, Kind, Staged, Stamp};
use baler_store::{Crc64, OutputAttributes, Store, StoreError};
use bytes::Bytes;
use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::error::TaskError;

/// The least part: what S3 asks for and a bit.
const PART: usize = 6 << 20;
/// Parts grow so that ten thousand of them hold the largest object.
const PARTS_OF_A_SIZE: u32 = 1_000;
/// Parts of one output that are on their way at a time.
const AT_ONCE: usize = 3;
/// Bytes of parts that wait or are on their way.
const ROOM: usize = 2 * PART;
/// Outputs that are made durable at a time.
const ENDING: usize = 16;

/// What a thread asks of the store.
pub(crate) enum Step {
    /// An output begins.
    Begin { output: usize, key: Key, content_type: &'static str },
    /// A part of it, numbered from 1.
    Part { output: usize, number: u32, bytes: Bytes },
    /// It ends.
    End { output: usize, crc64nvme: u64 },
}

/// Where steps go.
#[derive(Clone)]
pub(super) enum Steps {
    /// To the store, while the thread goes on; it waits when too many are on their way.
    ToStore(mpsc::Sender<Step>),
    /// They are kept until everything is done.
    Kept(Arc<Mutex<Vec<Step>>>),
}

impl Steps {
    fn send(&self, step: Step) -> io::Result<()> {
        match self {
            Self::ToStore(steps) => steps.blocking_send(step).map_err(|_| io::Error::other("the upload has ended")),
            Self::Kept(steps) => {
                steps.lock().push(step);
                Ok(())
            }
        }
    }
}

/// A staged output as a writer. Dropped without [`PartWriter::end`], what was staged is given up with its attempt.
pub(super) struct PartWriter {
    output: usize,
    steps: Steps,
    buffer: Vec<u8>,
    number: u32,
    crc: Crc64,
}

impl PartWriter {
    /// Begins an output.
    pub(super) fn begin(steps: &Steps, output: usize, key: Key, content_type: &'static str) -> io::Result<Self> {
        steps.send(Step::Begin { output, key, content_type })?;
        Ok(Self { output, steps: steps.clone(), buffer: Vec::new(), number: 1, crc: Crc64::new() })
    }

    /// Ends the output.
    pub(super) fn end(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() || self.number == 1 {
            self.part()?;
        }
        self.steps.send(Step::End { output: self.output, crc64nvme: self.crc.value() })
    }

    fn part(&mut self) -> io::Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        self.crc.update(&bytes);
        let number = self.number;
        self.number += 1;
        self.steps.send(Step::Part { output: self.output, number, bytes })
    }

    fn size(&self) -> usize {
        PART << (self.number / PARTS_OF_A_SIZE)
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.size() - self.buffer.len());
        if self.buffer.capacity() == 0 && n == self.size() {
            self.buffer.reserve_exact(n);
        }
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() >= self.size() {
            self.part()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Said by the thread that writes: why the store took no more is known to [`upload`].
pub(super) fn upload_failed(error: &io::Error) -> TaskError {
    TaskError {
        kind: Kind::Transient,
        failure: Failure { error: format!("an output cannot be staged: {error}"), hint: None },
    }
}

/// What the driver of one output is sent.
enum Sent {
    Part { number: u32, bytes: Bytes, _room: OwnedSemaphorePermit },
    End { crc64nvme: u64, _place: OwnedSemaphorePermit },
}

/// An output that has begun.
struct Begun {
    output: usize,
    key: Key,
    content_type: &'static str,
    sent: mpsc::UnboundedReceiver<Sent>,
}

/// Takes steps until the thread has no more; yields what was staged, by the number of the output.
///
/// Outputs are staged beside each other: while one is begun or made durable, parts of others are written. What waits is
/// bounded: parts by their bytes, outputs that are being ended by their number.
///
/// When it fails, or is dropped, outputs that were begun stay staged under this attempt, which no mark names: they are
/// given up where that can still be done, else left to `gc`.
pub(crate) async fn upload(
    target: Arc<dyn Store>,
    stamp: Stamp,
    steps: impl Stream<Item = Step> + Unpin,
) -> Result<BTreeMap<usize, Staged>, StoreError> {
    let failed = CancellationToken::new();
    let (begin, begun) = mpsc::unbounded_channel();
    let hand_on = async {
        // Dropped at its end: outputs without an end are given up then.
        failed.run_until_cancelled(hand_on(steps, begin)).await;
    };
    let drive = async {
        let begun = stream::unfold(begun, async |mut begun| Some((begun.recv().await?, begun)));
        let outputs = begun.map(|begun: Begun| async {
            let output = begun.output;
            let staged = stage(&*target, &stamp, begun).await;
            if staged.is_err() {
                failed.cancel();
            }
            (output, staged)
        });
        outputs.buffer_unordered(usize::MAX).collect::<Vec<_>>().await
    };
    let ((), outputs) = futures::join!(hand_on, drive);
    let (mut staged, mut fault, mut is_whole) = (BTreeMap::new(), None, true);
    for (output, ended) in outputs {
        match ended {
            Ok(Some(ended)) => drop(staged.insert(output, ended)),
            Ok(None) => is_whole = false,
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    if fault.is_some() || !is_whole {
        for staged in staged.values() {
            if let Err(error) = target.abort_staged(staged).await {
                tracing::debug!(%error, "a failed attempt's upload is left for gc");
            }
        }
    }
    fault.map_or(Ok(staged), Err)
}

/// Hands each step to the driver of its output.
async fn hand_on(mut steps: impl Stream<Item = Step> + Unpin, begin: mpsc::UnboundedSender<Begun>) {
    let (room, places) = (Arc::new(Semaphore::new(ROOM)), Arc::new(Semaphore::new(ENDING)));
    let mut outputs: BTreeMap<usize, mpsc::UnboundedSender<Sent>> = BTreeMap::new();
    while let Some(step) = steps.next().await {
        // A driver that takes nothing any more has failed, which ends this, too.
        let _gone = match step {
            Step::Begin { output, key, content_type } => {
                let (to, sent) = mpsc::unbounded_channel();
                outputs.insert(output, to);
                begin.send(Begun { output, key, content_type, sent }).is_err()
            }
            Step::Part { output, number, bytes } => {
                let needed = u32::try_from(bytes.len().clamp(1, ROOM)).unwrap_or(u32::MAX);
                let room = Arc::clone(&room).acquire_many_owned(needed).await.expect("nobody closes it");
                outputs[&output].send(Sent::Part { number, bytes, _room: room }).is_err()
            }
            Step::End { output, crc64nvme } => {
                let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
                let to = outputs.remove(&output);
                to.is_some_and(|to| to.send(Sent::End { crc64nvme, _place: place }).is_err())
            }
        };
    }
}

/// Stages one output; gives it up, and yields nothing, where its end never comes.
async fn stage(target: &dyn Store, stamp: &Stamp, begun: Begun) -> Result<Option<Staged>, StoreError> {
    let Begun { key, content_type, mut sent, .. } = begun;
    let attributes = OutputAttributes { content_type: Some(content_type.to_owned()) };
    let writer = Arc::new(target.stage(&key, stamp, &attributes).await?);
    let most = if writer.in_order() { 1 } else { AT_ONCE };
    let mut parts = FuturesUnordered::new();
    let mut end = None;
    let written = async {
        loop {
            // Parts are driven while the next is waited for: it may wait for the room that they hold.
            let step = tokio::select! {
                Some(part) = parts.next() => {
                    part?;
                    continue;
                }
                step = sent.recv(), if parts.len() < most => step,
            };
            match step {
                Some(Sent::Part { number, bytes, _room: room }) => {
                    let writer = Arc::clone(&writer);
                    parts.push(async move {
                        let _room = room;
                        writer.write_part(number, vec![bytes]).await
                    });
                }
                Some(Sent::End { crc64nvme, _place: place }) => {
                    end = Some((crc64nvme, place));
                    break;
                }
                None => break,
            }
        }
        while let Some(part) = parts.next().await {
            part?;
        }
        Ok::<(), StoreError>(())
    };
    let written = written.await;
    drop(parts);
    let writer = Arc::into_inner(writer).expect("no part is being written any more");
    match (written, end) {
        (Ok(()), Some((crc64nvme, _place))) => writer.finish(Some(crc64nvme)).await.map(Some),
        (written, _) => {
            if let Err(error) = writer.abort().await {
                tracing::debug!(%error, "a failed attempt's upload is left for gc");
            }
            written.map(|()| None)
        }
    }
}
