//! The columns of a row group, dealt over threads.
//!
//! A lane takes the arrays of its columns in order, a few batches behind the caller. What decides where row groups end is
//! known exactly so many batches late, with and without threads: the bytes do not depend on how many there are.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};

use super::chunk::{Chunk, Closed};
use super::squeeze::Press;
use super::{EncodeError, of_parquet};
use crate::codec::Compression;

/// Batches in flight at most.
const AHEAD: usize = 4;

/// One of the schema's columns while it is written.
pub(super) enum Field {
    Plain(Box<Chunk>),
    /// A list or struct.
    Nested {
        field: FieldRef,
        leaves: Vec<ArrowColumnWriter>,
    },
}

/// One of the schema's columns, written.
pub(super) enum Written {
    Plain(Box<Closed>),
    Nested(Vec<ArrowColumnChunk>),
}

impl Field {
    fn push(&mut self, array: &ArrayRef, press: &mut Press) -> Result<(), EncodeError> {
        match self {
            Self::Plain(chunk) => chunk.push(array, press),
            Self::Nested { field, leaves } => {
                let columns = compute_leaves(field, array).map_err(of_parquet)?;
                leaves.iter_mut().zip(columns).try_for_each(|(leaf, column)| leaf.write(&column).map_err(of_parquet))
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Plain(chunk) => chunk.size(),
            Self::Nested { leaves, .. } => leaves.iter().map(ArrowColumnWriter::memory_size).sum(),
        }
    }

    fn close(self, press: &mut Press) -> Result<Written, EncodeError> {
        Ok(match self {
            Self::Plain(chunk) => Written::Plain(Box::new(chunk.close(press)?)),
            Self::Nested { leaves, .. } => {
                let chunks = leaves.into_iter().map(|leaf| leaf.close().map_err(of_parquet));
                Written::Nested(chunks.collect::<Result<_, _>>()?)
            }
        })
    }

    /// How long this column takes compared with others, roughly.
    fn weight(&self) -> usize {
        match self {
            Self::Plain(chunk) => chunk.weight(),
            Self::Nested { leaves, .. } => 8 * leaves.len(),
        }
    }
}

type Columns = Vec<(usize, Field)>;

/// Columns that one thread writes.
struct Share {
    columns: Columns,
    fault: Option<EncodeError>,
}

impl Share {
    fn push(&mut self, arrays: &[ArrayRef], press: &mut Press) -> usize {
        if self.fault.is_none() {
            let mut pairs = self.columns.iter_mut().zip(arrays);
            self.fault = pairs.try_for_each(|((_, column), array)| column.push(array, press)).err();
        }
        self.columns.iter().map(|(_, column)| column.size()).sum()
    }

    fn close(self, press: &mut Press) -> Result<Vec<(usize, Written)>, EncodeError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => self.columns.into_iter().map(|(place, column)| Ok((place, column.close(press)?))).collect(),
        }
    }
}

enum Job {
    Begin(Columns),
    Push(Vec<ArrayRef>),
    Close,
}

enum Reply {
    /// Bytes held behind a batch.
    Size(usize),
    Closed(Result<Vec<(usize, Written)>, EncodeError>),
}

struct Lane {
    jobs: Option<SyncSender<Job>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
}

/// Writes the columns of one row group after the other.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// The columns of each lane; without threads there is one share, here.
    places: Vec<Vec<usize>>,
    here: Option<Share>,
    press: Press,
    /// Sizes behind the last batches, without threads.
    sizes: VecDeque<usize>,
    /// Batches of this row group whose sizes are not known.
    ahead: usize,
}

fn work(jobs: &Receiver<Job>, replies: &Sender<Reply>, mut press: Press) {
    let mut share = Share { columns: Vec::new(), fault: None };
    for job in jobs {
        let reply = match job {
            Job::Begin(columns) => {
                share = Share { columns, fault: None };
                continue;
            }
            Job::Push(arrays) => Reply::Size(share.push(&arrays, &mut press)),
            Job::Close => {
                let closed = std::mem::replace(&mut share, Share { columns: Vec::new(), fault: None });
                Reply::Closed(closed.close(&mut press))
            }
        };
        if replies.send(reply).is_err() {
            return;
        }
    }
}

impl Lanes {
    /// Lanes for so many threads; none for one or less. Errors: Parquet has no such compression.
    pub(super) fn new(threads: usize, compression: Compression) -> Result<Self, EncodeError> {
        let mut lanes = Vec::new();
        for _ in 0..if threads > 1 { threads } else { 0 } {
            let (jobs, inbox) = sync_channel(AHEAD);
            let (outbox, replies) = channel();
            let press = Press::new(compression)?;
            let name = "baler-encode".to_owned();
            let thread = std::thread::Builder::new().name(name).spawn(move || work(&inbox, &outbox, press));
            let thread = thread.map_err(|error| EncodeError::Internal(format!("no thread can be started: {error}")))?;
            lanes.push(Lane { jobs: Some(jobs), replies, thread: Some(thread) });
        }
        let press = Press::new(compression)?;
        Ok(Self { lanes, places: Vec::new(), here: None, press, sizes: VecDeque::new(), ahead: 0 })
    }

    /// Begins a row group.
    pub(super) fn begin(&mut self, columns: Vec<Field>) -> Result<(), EncodeError> {
        self.ahead = 0;
        self.sizes.clear();
        let count = self.lanes.len().max(1);
        let mut shares: Vec<(usize, Columns)> = (0..count).map(|_| (0, Vec::new())).collect();
        for (place, column) in columns.into_iter().enumerate() {
            if let Some((weight, share)) = shares.iter_mut().min_by_key(|(weight, _)| *weight) {
                *weight += column.weight();
                share.push((place, column));
            }
        }
        self.places = shares.iter().map(|(_, share)| share.iter().map(|(place, _)| *place).collect()).collect();
        let mut shares = shares.into_iter().map(|(_, share)| share);
        if self.lanes.is_empty() {
            self.here = shares.next().map(|columns| Share { columns, fault: None });
            return Ok(());
        }
        self.lanes.iter().zip(shares).try_for_each(|(lane, share)| lane.send(Job::Begin(share)))
    }

    /// Writes a batch; says how many bytes were held some batches ago, once that many have been written.
    pub(super) fn push(&mut self, arrays: &[ArrayRef]) -> Result<Option<usize>, EncodeError> {
        for (lane, places) in self.lanes.iter().zip(&self.places) {
            lane.send(Job::Push(places.iter().map(|place| arrays[*place].clone()).collect()))?;
        }
        if let (Some(share), Some(places)) = (&mut self.here, self.places.first()) {
            let arrays: Vec<ArrayRef> = places.iter().map(|place| arrays[*place].clone()).collect();
            self.sizes.push_back(share.push(&arrays, &mut self.press));
        }
        self.ahead += 1;
        if self.ahead <= AHEAD {
            return Ok(None);
        }
        self.ahead -= 1;
        if self.lanes.is_empty() {
            return Ok(self.sizes.pop_front());
        }
        let mut size = 0;
        for lane in &self.lanes {
            size += lane.size()?;
        }
        Ok(Some(size))
    }

    /// Ends the row group; returns its columns in their order.
    pub(super) fn close(&mut self) -> Result<Vec<Written>, EncodeError> {
        let mut written = Vec::new();
        self.lanes.iter().try_for_each(|lane| lane.send(Job::Close))?;
        let mut fault = None;
        for lane in &self.lanes {
            match lane.closed() {
                Ok(columns) => written.extend(columns),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        if let Some(share) = self.here.take() {
            written = share.close(&mut self.press)?;
        }
        written.sort_by_key(|(place, _)| *place);
        Ok(written.into_iter().map(|(_, column)| column).collect())
    }
}

fn lost() -> EncodeError {
    EncodeError::Internal("a thread that encodes has ended".to_owned())
}

impl Lane {
    fn send(&self, job: Job) -> Result<(), EncodeError> {
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(lost)
    }

    fn size(&self) -> Result<usize, EncodeError> {
        match self.replies.recv() {
            Ok(Reply::Size(size)) => Ok(size),
            Ok(Reply::Closed(_)) | Err(_) => Err(lost()),
        }
    }

    fn closed(&self) -> Result<Vec<(usize, Written)>, EncodeError> {
        loop {
            match self.replies.recv() {
                Ok(Reply::Size(_)) => {}
                Ok(Reply::Closed(columns)) => return columns,
                Err(_) => return Err(lost()),
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Without jobs the thread ends.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was seen as a lost lane.
            drop(thread.join());
        }
    }
}
