//! The table `input` while a query runs: one batch at a time where it is read once, else all of them, kept.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{Stream, stream};
use parking_lot::Mutex;

/// How a query reads the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not at all.
    Never,
    /// Once, in their order: they pass through.
    Once,
    /// Several times: they are kept until all are there.
    Again,
}

/// The table, as a plan names it. Which records it has stands in the context of a query.
#[derive(Debug)]
pub(super) struct Records {
    schema: SchemaRef,
}

impl Records {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl PartitionStream for Records {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        match context.session_config().get_extension::<Source>() {
            Some(source) => source.open(),
            None => Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.schema))),
        }
    }
}

/// The records of one output, on their way into its query.
pub(super) struct Source {
    schema: SchemaRef,
    passing: Option<Mutex<Passing>>,
    kept: Mutex<Kept>,
}

/// Where a batch waits to be taken.
#[derive(Default)]
struct Passing {
    batch: Option<RecordBatch>,
    is_open: bool,
    is_closed: bool,
    /// The query has taken what there was, and wants more.
    wants_more: bool,
    /// Who reads.
    reader: Option<Waker>,
    /// Who brings.
    bringer: Option<Waker>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Source {
    /// Makes the records of an output; where they are kept, so many bytes are held in memory at most.
    pub(super) fn new(schema: &SchemaRef, reading: Reading, held: usize) -> Arc<Self> {
        let passing = match reading {
            Reading::Once => Some(Mutex::default()),
            Reading::Never | Reading::Again => None,
        };
        let kept = Mutex::new(Kept { batches: Vec::new(), bytes: 0, most: held, spilling: None, spilled: None });
        Arc::new(Self { schema: Arc::clone(schema), passing, kept })
    }

    /// Brings a batch that is taken once.
    pub(super) fn pass(&self, batch: RecordBatch) {
        let Some(passing) = &self.passing else { return };
        let mut passing = passing.lock();
        debug_assert!(passing.batch.is_none(), "the one before was taken");
        passing.batch = Some(batch);
        passing.wants_more = false;
        if let Some(reader) = passing.reader.take() {
            reader.wake();
        }
    }

    /// Says that no more come.
    pub(super) fn close(&self) {
        let Some(passing) = &self.passing else { return };
        let mut passing = passing.lock();
        passing.is_closed = true;
        passing.wants_more = false;
        if let Some(reader) = passing.reader.take() {
            reader.wake();
        }
    }

    /// Whether the query cannot go on without more.
    pub(super) fn wants_more(&self, context: &Context<'_>) -> bool {
        let Some(passing) = &self.passing else { return false };
        let mut passing = passing.lock();
        passing.bringer = Some(context.waker().clone());
        passing.wants_more
    }

    /// Keeps a batch.
    pub(super) fn keep(&self, batch: RecordBatch) -> Result<(), ArrowError> {
        self.kept.lock().add(batch)
    }

    /// Ends what is kept: from here on it is read.
    pub(super) fn seal(&self) -> Result<(), ArrowError> {
        self.kept.lock().seal()
    }

    pub(super) fn open(self: Arc<Self>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let Some(passing) = &self.passing else {
            let batches: Batches = match self.kept.lock().read() {
                Ok(batches) => batches,
                Err(error) => Box::new(std::iter::once(Err(error))),
            };
            let batches = batches.map(|batch| batch.map_err(DataFusionError::from));
            return Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches)));
        };
        if std::mem::replace(&mut passing.lock().is_open, true) {
            // Their beginning is gone: an error, never a part of them.
            let error = DataFusionError::Internal("records that pass once are read twice".to_owned());
            return Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([Err(error)])));
        }
        Box::pin(Reader(self))
    }
}

/// Reads records that pass once.
struct Reader(Arc<Source>);

impl Stream for Reader {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(passing) = &self.0.passing else { return Poll::Ready(None) };
        let mut passing = passing.lock();
        if let Some(batch) = passing.batch.take() {
            return Poll::Ready(Some(Ok(batch)));
        }
        if passing.is_closed {
            return Poll::Ready(None);
        }
        passing.wants_more = true;
        passing.reader = Some(context.waker().clone());
        if let Some(bringer) = passing.bringer.take() {
            bringer.wake();
        }
        Poll::Pending
    }
}

impl RecordBatchStream for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }
}

/// Records that are read several times: held up to a budget, then in a temporary file without a name.
struct Kept {
    batches: Vec<RecordBatch>,
    bytes: usize,
    most: usize,
    spilling: Option<StreamWriter<BufWriter<File>>>,
    spilled: Option<Arc<File>>,
}

impl Kept {
    fn add(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if let Some(spilling) = &mut self.spilling {
            return spilling.write(&batch);
        }
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        if self.bytes > self.most {
            let schema = self.batches[0].schema();
            let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
            let file = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
            let mut spilling = StreamWriter::try_new_with_options(file, &schema, options)?;
            for batch in self.batches.drain(..) {
                spilling.write(&batch)?;
            }
            self.bytes = 0;
            self.spilling = Some(spilling);
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), ArrowError> {
        let Some(mut spilling) = self.spilling.take() else { return Ok(()) };
        spilling.finish()?;
        let mut file = spilling.into_inner()?;
        file.flush()?;
        let file = file.into_inner().map_err(|error| ArrowError::from(error.into_error()))?;
        self.spilled = Some(Arc::new(file));
        Ok(())
    }

    fn read(&self) -> Result<Batches, ArrowError> {
        Ok(match &self.spilled {
            None => Box::new(self.batches.clone().into_iter().map(Ok)),
            Some(file) => {
                let at = At { file: Arc::clone(file), offset: 0 };
                Box::new(StreamReader::try_new(BufReader::with_capacity(1 << 20, at), None)?)
            }
        })
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Reads a file from its beginning, whoever else reads it.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(into, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}
