//! Gathers what the chunks of a batch made: their members are stitched in the order of records, without being decoded, between a
//! beginning and an end of their own; beside the result go its summary, and the records that failed.
//!
//! What a crash leaves: uploads or temporary files that no mark names; `gc` removes them, and private objects of runs that have
//! ended.

use std::sync::Arc;

use baler_format::codec::{self, Compression};
use baler_model::ledger::{
    Account, ChunkDone, Failure, GatherTask, Mark, Outcome, OutputRecords, PrivateObject, ResultShape, ScatterOptions,
    Task, Work,
};
use baler_model::{AttemptId, Key, Kind, Stamp};
use baler_store::{ByteRange, Crc64, StoreKind};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::super::convert::rejects::{SetAside, write_line};
use super::super::convert::upload::{self, Step};
use super::spare::{Spare, Spares};
use super::summary;
use super::work::{self, Asked, private_key, write_response};
use crate::error::TaskError;
use crate::flow::Flow;
use crate::ledger::{Marks, Plan};
use crate::op::Done;

/// Bytes of a part, at least; as many as the store asks for where that is more, and more where there would be too many parts.
const PART: usize = 1 << 20;
/// As that, of a directory, where a part costs nothing and there may be any number.
const PART_OF_FILES: usize = 256 << 10;
const PARTS_OF_A_SIZE: u32 = 1_000;
/// Parts that wait to be taken to the store.
const PARTS: usize = 1;
/// Private objects that are asked for at a time.
const AHEAD: usize = 8;
/// As that, of a directory, which has them at once.
const AHEAD_OF_FILES: usize = 2;

/// A task and the mark that counts, of each chunk in the order of records.
type Chunks<'a> = Vec<(&'a Task, &'a Mark, &'a ChunkDone)>;

/// Executes a gathering task. Cost: a GET for each chunk, and one more where records of it failed.
pub(crate) async fn execute(
    flow: &Flow,
    plan: &Plan,
    options: &ScatterOptions,
    marks: &Marks,
    task: &Task,
    attempt: &AttemptId,
) -> Result<Done, TaskError> {
    let internal = |error: String| TaskError { kind: Kind::Internal, failure: Failure { error, hint: None } };
    let Some(gather) = task.gather() else {
        return Err(internal(format!("task {} gathers nothing", task.task)));
    };
    let began = flow.env.clock.now();
    let chunks = done_chunks(plan, marks, task, gather).map_err(internal)?;
    let compression = work::compression(options).map_err(internal)?;
    let header = &plan.header;
    let stamp = Stamp { flow: header.flow.clone(), run: header.run.clone(), task: task.task, attempt: attempt.clone() };
    let (to, mut steps) = mpsc::channel(PARTS);
    let writing = async {
        let ended = write(flow, plan, options.result.shape, compression, task, gather, &chunks, &to, began).await;
        drop(to);
        ended
    };
    let steps = stream::poll_fn(move |context| steps.poll_recv(context));
    let uploading = upload::upload(Arc::clone(&flow.target), stamp, steps);
    let (written, staged) = futures::join!(writing, uploading);
    let staged = staged?;
    if let Err(error) = written {
        for staged in staged.values() {
            if let Err(error) = flow.target.abort_staged(staged).await {
                tracing::debug!(%error, "a failed attempt's upload is left for gc");
            }
        }
        return Err(error);
    }
    let outputs: Vec<_> = staged.into_values().collect();
    let failed_in_chunks: u64 = chunks.iter().map(|(_, _, done)| done.failed()).sum();
    let damaged = u64::from(gather.damage.is_some());
    let failed = failed_in_chunks + damaged;
    // The chunks' marks account for their records, this one for what cannot be read.
    let account = Account {
        objects_in: task.inputs.len() as u64,
        objects_out: outputs.len() as u64,
        bytes_in: task.bytes(),
        bytes_out: outputs.iter().map(|staged| staged.size).sum(),
        records_in: Some(damaged),
        records_out: Some(0),
        quarantined: Some(damaged),
        filtered: Some(0),
        ..Account::default()
    };
    let holds = |records| OutputRecords { records, records_in: records, quarantined: 0, filtered: 0, queried: None };
    let mut records = vec![holds(gather.records), holds(0)];
    if failed > 0 {
        records.push(holds(failed));
    }
    flow.env.progress.advance(task.inputs.len() as u64, 0);
    let millis = flow.env.clock.now().duration_since(began).as_millis();
    let work = Work { bytes_copied: 0, bytes_through: task.bytes(), millis: u64::try_from(millis).unwrap_or(0) };
    Ok(Done { outputs, account, work, records })
}

/// The marks of a batch's chunks, which stand right before the task that gathers them.
fn done_chunks<'a>(plan: &'a Plan, marks: &'a Marks, task: &Task, gather: &GatherTask) -> Result<Chunks<'a>, String> {
    let end = task.task.0 as usize;
    let tasks = end.checked_sub(gather.chunks as usize).and_then(|start| plan.tasks.get(start..end));
    let tasks = tasks.ok_or_else(|| format!("task {} has not {} chunks before it", task.task, gather.chunks))?;
    let done = |chunk: &'a Task| match marks.get(&chunk.task).map(|mark| (&**mark, &mark.outcome)) {
        Some((mark, Outcome::Taken(done))) if chunk.group == task.group => Ok((chunk, mark, &**done)),
        _ => Err(format!("the chunk of task {} is not done", chunk.task)),
    };
    tasks.iter().map(done).collect()
}

/// How large parts are.
#[derive(Clone, Copy)]
struct Sizes {
    least: usize,
    /// Whether later ones are larger, since there may not be any number.
    grow: bool,
}

impl Sizes {
    fn of(self, number: u32) -> usize {
        if self.grow { self.least << (number / PARTS_OF_A_SIZE) } else { self.least }
    }
}

/// Sends one output in parts.
struct Parts<'a> {
    to: &'a mpsc::Sender<Step>,
    output: usize,
    sizes: Sizes,
    spares: &'a Arc<Spares>,
    buffer: Spare,
    number: u32,
    crc: Crc64,
}

/// The upload has ended, for a reason that it tells by itself.
fn ended<T>(_: mpsc::error::SendError<T>) -> TaskError {
    TaskError { kind: Kind::Transient, failure: Failure { error: "an output cannot be staged".to_owned(), hint: None } }
}

impl<'a> Parts<'a> {
    async fn begin(
        to: &'a mpsc::Sender<Step>,
        sizes: Sizes,
        spares: &'a Arc<Spares>,
        output: usize,
        key: Key,
        content_type: &'static str,
    ) -> Result<Self, TaskError> {
        to.send(Step::Begin { output, key, content_type }).await.map_err(ended)?;
        Ok(Self { to, output, sizes, spares, buffer: Spare::default(), number: 1, crc: Crc64::new() })
    }

    async fn push(&mut self, bytes: &[u8]) -> Result<(), TaskError> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let size = self.sizes.of(self.number);
            if self.buffer.is_empty() {
                self.buffer = self.spares.take(size);
            }
            let (now, later) = bytes.split_at(bytes.len().min(size - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= size {
                self.part().await?;
            }
        }
        Ok(())
    }

    async fn part(&mut self) -> Result<(), TaskError> {
        let bytes = Bytes::from_owner(std::mem::take(&mut self.buffer));
        self.crc.update(&bytes);
        let step = Step::Part { output: self.output, number: self.number, bytes };
        self.number += 1;
        self.to.send(step).await.map_err(ended)
    }

    async fn end(mut self) -> Result<(), TaskError> {
        if !self.buffer.is_empty() || self.number == 1 {
            self.part().await?;
        }
        self.to.send(Step::End { output: self.output, crc64nvme: self.crc.value() }).await.map_err(ended)
    }
}

#[expect(clippy::too_many_arguments, reason = "what a batch is, and where its outputs go")]
async fn write(
    flow: &Flow,
    plan: &Plan,
    shape: ResultShape,
    compression: Compression,
    task: &Task,
    gather: &GatherTask,
    chunks: &Chunks<'_>,
    to: &mpsc::Sender<Step>,
    began: jiff::Timestamp,
) -> Result<(), TaskError> {
    let run = &plan.header.run;
    let content_type = match shape {
        ResultShape::Document => "application/json",
        ResultShape::Lines => "application/x-ndjson",
    };
    let spares = Arc::default();
    let (least, ahead) = match flow.target.info().kind {
        StoreKind::Directory => (PART_OF_FILES, AHEAD_OF_FILES),
        StoreKind::S3 | StoreKind::Azure | StoreKind::Gcs | StoreKind::Memory => {
            (usize::try_from(flow.target.info().parts.min).unwrap_or(PART).max(PART), AHEAD)
        }
    };
    let sizes = Sizes { least, grow: flow.target.info().parts.count < u32::MAX };
    let mut result = Parts::begin(to, sizes, &spares, 0, task.key.clone(), content_type).await?;
    match shape {
        ResultShape::Document => result.push(&member(compression, &beginning(&gather.batch))?).await?,
        // Of no records there is a member, too: nothing at all is no object of a codec.
        ResultShape::Lines if gather.records == 0 => result.push(&member(compression, &[])?).await?,
        ResultShape::Lines => {}
    }
    let parts = chunks.iter().map(|(chunk, mark, done)| {
        let key = private_key(&plan.header.flow, run, chunk, &mark.attempt);
        read(flow, &spares, key, 0, done.result)
    });
    let mut parts = stream::iter(parts).buffered(ahead);
    while let Some(part) = parts.next().await {
        result.push(&part?).await?;
    }
    let mut end = Vec::new();
    if let Some(damage) = &gather.damage {
        write_response(shape, gather.records - 1, Asked::Nothing, false, damage, &mut end);
    }
    match shape {
        ResultShape::Document => end.extend_from_slice(b"\n]}\n"),
        ResultShape::Lines => {}
    }
    if !end.is_empty() {
        result.push(&member(compression, &end)?).await?;
    }
    result.end().await?;
    let marks: Vec<&Mark> = chunks.iter().map(|(_, mark, _)| *mark).collect();
    let gathering = flow.env.clock.now().duration_since(began);
    let summary = summary::of(run, task, gather, &marks, gathering);
    let mut text = serde_json::to_vec_pretty(&summary).expect("a summary is plain data");
    text.push(b'\n');
    let mut parts = Parts::begin(to, sizes, &spares, 1, gather.summary.clone(), "application/json").await?;
    parts.push(&text).await?;
    parts.end().await?;
    let set_aside: Vec<_> = chunks
        .iter()
        .filter_map(|(chunk, mark, done)| Some((*chunk, *mark, done.result.size, done.failures.as_ref()?.aside)))
        .collect();
    if set_aside.is_empty() && gather.damage.is_none() {
        return Ok(());
    }
    let mut quarantine = Parts::begin(to, sizes, &spares, 2, gather.quarantine.clone(), "application/x-ndjson").await?;
    let lines = set_aside.iter().map(|(chunk, mark, behind, aside)| {
        let key = private_key(&plan.header.flow, run, chunk, &mark.attempt);
        read(flow, &spares, key, *behind, *aside)
    });
    let mut lines = stream::iter(lines).buffered(ahead);
    while let Some(lines) = lines.next().await {
        quarantine.push(&lines?).await?;
    }
    if let (Some(damage), Some(input)) = (&gather.damage, task.inputs.first()) {
        let mut line = Vec::new();
        write_line(input, &SetAside::stretch(None, damage.clone()), &mut line);
        quarantine.push(&line).await?;
    }
    quarantine.end().await
}

/// A member of its own.
fn member(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, TaskError> {
    codec::encode_whole(compression, bytes).map_err(|error| TaskError {
        kind: Kind::Transient,
        failure: Failure { error: format!("the result cannot be compressed: {error}"), hint: None },
    })
}

fn beginning(batch: &str) -> Vec<u8> {
    let batch = serde_json::to_string(batch).expect("a text is JSON");
    format!("{{\"batchId\":{batch},\"records\":[\n").into_bytes()
}

/// Reads a stretch of a private object.
async fn read(
    flow: &Flow,
    spares: &Arc<Spares>,
    key: Key,
    start: u64,
    object: PrivateObject,
) -> Result<Spare, TaskError> {
    let _permit = flow.env.limits.request().await;
    let range = ByteRange::new(start, start + object.size);
    let mut get = flow.target.get(&key, Some(range), None).await?;
    let mut bytes = spares.take(usize::try_from(object.size).unwrap_or(0));
    while let Some(chunk) = get.body.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as u64 != object.size || Crc64::of(&bytes) != object.crc64nvme {
        let hint = "something else wrote under `_baler_tmp/`, or the store lost it: run again";
        return Err(TaskError::data(format!("`{key}` is not what was written"), Some(hint)));
    }
    Ok(bytes)
}
