//! Brings what encoders write to staged outputs: from a thread that may block, in parts, to the store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use baler_model::{Key, Staged, Stamp};
use baler_store::{Crc64, OutputAttributes, StagedWriter, Store, StoreError};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// The least part: what S3 asks for and a bit.
const PART: usize = 6 << 20;
/// Parts grow so that ten thousand of them hold the largest object.
const PARTS_OF_A_SIZE: u32 = 1_000;
/// Parts that are on their way at a time.
const AT_ONCE: usize = 3;

/// What a thread asks of the store.
pub(super) enum Step {
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

/// Takes steps until the thread has no more; yields what was staged, by the number of the output.
///
/// When it fails, or is dropped, outputs that were begun stay staged under this attempt, which no mark names: they are
/// given up where that can still be done, else left to `gc`.
pub(super) async fn upload(
    target: Arc<dyn Store>,
    stamp: Stamp,
    mut steps: impl Stream<Item = Step> + Unpin,
) -> Result<BTreeMap<usize, Staged>, StoreError> {
    let mut writers: BTreeMap<usize, Arc<Box<dyn StagedWriter>>> = BTreeMap::new();
    let mut staged = BTreeMap::new();
    let mut parts: FuturesUnordered<BoxFuture<'static, Result<(), StoreError>>> = FuturesUnordered::new();
    let done = async {
        while let Some(step) = steps.next().await {
            match step {
                Step::Begin { output, key, content_type } => {
                    let attributes = OutputAttributes { content_type: Some(content_type.to_owned()) };
                    writers.insert(output, Arc::new(target.stage(&key, &stamp, &attributes).await?));
                }
                Step::Part { output, number, bytes } => {
                    let writer = Arc::clone(&writers[&output]);
                    let most = if writer.in_order() { 1 } else { AT_ONCE };
                    while parts.len() >= most {
                        parts.next().await.transpose()?;
                    }
                    parts.push(Box::pin(async move { writer.write_part(number, vec![bytes]).await }));
                }
                Step::End { output, crc64nvme } => {
                    while let Some(part) = parts.next().await {
                        part?;
                    }
                    if let Some(writer) = writers.remove(&output).and_then(Arc::into_inner) {
                        staged.insert(output, writer.finish(Some(crc64nvme)).await?);
                    }
                }
            }
        }
        Ok::<(), StoreError>(())
    };
    let done = done.await;
    drop(parts);
    if done.is_err() || !writers.is_empty() {
        for writer in writers.into_values().filter_map(Arc::into_inner) {
            if let Err(error) = writer.abort().await {
                tracing::debug!(%error, "a failed attempt's upload is left for gc");
            }
        }
        for staged in staged.values() {
            if let Err(error) = target.abort_staged(staged).await {
                tracing::debug!(%error, "a failed attempt's upload is left for gc");
            }
        }
    }
    done.map(|()| staged)
}
