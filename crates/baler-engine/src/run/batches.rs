//! Executes the batches of `scatter`: the chunks of one object are read in one pass and taken beside each other; whoever finds
//! all of them marked gathers them.
//!
//! Completion is told by marks alone: a chunk's mark and a gathering task's are each created once (INV-MARK-1), so that one
//! gathering counts, however many processes finish last, and whatever is delivered twice.

use std::sync::Arc;

use baler_model::ledger::{ChunkDone, Failure, GroupId, Mark, Outcome, ScatterOptions, Task};
use baler_model::{AttemptId, Kind};
use baler_store::StoreKind;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc};

use super::execute::{self, ATTEMPTS, PAUSE, Tried};
use crate::error::{EngineError, TaskError};
use crate::flow::Flow;
use crate::ledger::{Marks, Plan};
use crate::op::scatter::reading::{self, Brought};
use crate::op::scatter::work::{self, Batch, Job};

/// Batches that are worked at beside each other.
const BATCHES: usize = 4;

/// What is left to do of one batch.
struct Rest<'a> {
    chunks: Vec<&'a Task>,
    gather: &'a Task,
}

/// Executes tasks that have no mark yet; adds their marks.
pub(super) async fn tasks(
    flow: &Flow,
    plan: &Plan,
    options: &ScatterOptions,
    todo: &[&Task],
    marks: &mut Marks,
) -> Result<(), EngineError> {
    let mut rest: Vec<Rest<'_>> = Vec::new();
    for batch in todo.chunk_by(|one, next| one.group == next.group) {
        let Some((gather, chunks)) = batch.split_last().filter(|(last, _)| last.gather().is_some()) else {
            // Its gathering task is marked, and so were all of its chunks before: marks are never taken back.
            return Err(broken(flow, plan, format!("a chunk of `{}` is not done, and is gathered", batch[0].key)));
        };
        rest.push(Rest { chunks: chunks.to_vec(), gather });
    }
    // Opened once for all batches, and only where a chunk is left to take.
    let job = match rest.iter().any(|rest| !rest.chunks.is_empty()) {
        true => Some(open(flow, plan, options).await?),
        false => None,
    };
    let known: &Marks = marks;
    let made = rest.iter().map(|rest| one(flow, plan, options, job.as_ref(), rest, known));
    let made: Vec<Marks> = stream::iter(made).buffer_unordered(BATCHES).try_collect().await?;
    marks.extend(made.into_iter().flatten());
    Ok(())
}

/// Makes ready what chunks go through; a database that is busy is tried again.
///
/// The outer error is of what only its owner can mend, and leaves the run open: its batches are not given up for that.
async fn open(flow: &Flow, plan: &Plan, options: &ScatterOptions) -> Result<Result<Arc<Job>, TaskError>, EngineError> {
    let mut pause = PAUSE;
    for tries in 1.. {
        // Opening may wait for a server for a while.
        let opened = tokio::select! {
            opened = Job::open(flow, options) => opened,
            () = flow.env.cancel.cancelled() => return Err(EngineError::Interrupted),
        };
        let error = match opened {
            Ok(job) => return Ok(Ok(Arc::new(job))),
            Err(error) => error,
        };
        match error.kind {
            Kind::Invalid => {
                let Failure { error, hint } = error.failure;
                let run = &plan.header.run;
                let give_up = format!("`baler abort {run}` gives it up");
                return Err(EngineError::Unfit {
                    store: flow.name().to_owned(),
                    role: "as planned",
                    detail: format!("run `{run}` cannot be executed here: {error}"),
                    hint: hint.map_or_else(|| give_up.clone(), |hint| format!("{hint}; {give_up}")),
                });
            }
            Kind::Transient if tries < ATTEMPTS => {}
            Kind::Transient | Kind::Contended | Kind::Data | Kind::Internal => return Ok(Err(error)),
        }
        flow.env.clock.sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the last try returns")
}

/// Takes what is left of a batch, then gathers it; yields the marks that count.
async fn one(
    flow: &Flow,
    plan: &Plan,
    options: &ScatterOptions,
    job: Option<&Result<Arc<Job>, TaskError>>,
    rest: &Rest<'_>,
    known: &Marks,
) -> Result<Marks, EngineError> {
    let Rest { chunks, gather } = rest;
    let group = gather.group;
    let mut marks: Marks = Marks::new();
    if !chunks.is_empty() {
        let run = &plan.header.run;
        let batch = match job {
            Some(Ok(job)) => Batch::new(job, flow, run, options, gather),
            Some(Err(error)) => Err(error.clone()),
            None => Err(TaskError::data("nothing was made ready for it", None)),
        };
        let ended = match batch {
            Ok(batch) => take(flow, plan, &Arc::new(batch), chunks, &mut marks).await?,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            if error.kind == Kind::Internal {
                return Err(broken(flow, plan, error.failure.error));
            }
            // One mark gives the whole batch up: that of the first chunk that has none, else of the gathering task.
            let lost = chunks.iter().copied().find(|chunk| !marks.contains_key(&chunk.task)).unwrap_or(gather);
            let attempt = flow.env.ids.attempt_id();
            let mark = execute::give_up(flow, plan, lost, 0, &attempt, error.failure).await?;
            marks.insert(mark.task, Box::new(mark));
        }
    }
    if !is_given_up(&marks, plan, group) {
        let before = known.iter().filter(|(task, _)| plan.tasks[task.0 as usize].group == group);
        marks.extend(before.map(|(task, mark)| (*task, mark.clone())));
        let is_whole = plan.tasks[..gather.task.0 as usize]
            .iter()
            .rev()
            .take_while(|task| task.group == group)
            .all(|chunk| marks.contains_key(&chunk.task));
        if is_whole {
            // Gathering has buffers of its own; other batches that are still taken make theirs anew.
            if let Some(Ok(job)) = job {
                job.spares.clear();
            }
            let mark = execute::execute(flow, plan, &marks, gather).await?;
            marks.insert(mark.task, Box::new(mark));
        }
    }
    Ok(marks)
}

fn is_given_up(marks: &Marks, plan: &Plan, group: GroupId) -> bool {
    let mut of_group = marks.values().filter(|mark| plan.tasks[mark.task.0 as usize].group == group);
    of_group.any(|mark| matches!(mark.outcome, Outcome::GivenUp { .. }))
}

/// Takes chunks until each is marked, or the batch is given up; what a pass does not bring is read again.
///
/// The inner error is why the batch cannot be done.
async fn take(
    flow: &Flow,
    plan: &Plan,
    batch: &Arc<Batch>,
    chunks: &[&Task],
    marks: &mut Marks,
) -> Result<Result<(), TaskError>, EngineError> {
    let mut pause = PAUSE;
    for tries in 1.. {
        let left: Vec<&Task> = chunks
            .iter()
            .copied()
            .filter(|chunk| !marks.contains_key(&chunk.task) && chunk.chunk().is_some())
            .collect();
        if left.is_empty() {
            break;
        }
        let error = match pass(flow, plan, batch, &left, marks).await? {
            Ok(()) => break,
            Err(error) => error,
        };
        if flow.env.cancel.is_cancelled() {
            return Err(EngineError::Interrupted);
        }
        let again = match error.kind {
            Kind::Transient | Kind::Contended => tries < ATTEMPTS,
            Kind::Data | Kind::Invalid | Kind::Internal => false,
        };
        if !again {
            return Ok(Err(error));
        }
        flow.env.clock.sleep(pause).await;
        pause *= 2;
    }
    Ok(Ok(()))
}

/// One pass over the object: chunks are taken as they come, a few beside each other.
async fn pass(
    flow: &Flow,
    plan: &Plan,
    batch: &Arc<Batch>,
    left: &[&Task],
    marks: &mut Marks,
) -> Result<Result<(), TaskError>, EngineError> {
    let wanted = left.iter().filter_map(|task| task.chunk().copied()).collect();
    let Batch { job, input, kind, .. } = &**batch;
    let mut brought = match reading::bring(flow, input, kind, job.max_expansion, &job.spares, wanted).await {
        Ok(brought) => brought,
        Err(error) => return Ok(Err(error)),
    };
    let at_once = flow.env.limits.concurrency.min(chunks_at_once(flow, job));
    // More than are worked at would only lie there; one whose part is put needs its bytes no more, and one that is tried again
    // keeps its room through the pause.
    let rooms = Arc::new(Semaphore::new(job.places().unwrap_or(at_once)));
    let mut working = FuturesUnordered::new();
    let mut is_done = false;
    let mut fault = None;
    while !is_done || !working.is_empty() {
        // Chunks are worked at while the next is waited for: its memory may be that of one that is not done.
        tokio::select! {
            biased;
            Some(mark) = working.next() => {
                let mark: Mark = mark?;
                if matches!(mark.outcome, Outcome::GivenUp { .. }) {
                    marks.insert(mark.task, Box::new(mark));
                    return Ok(Ok(()));
                }
                marks.insert(mark.task, Box::new(mark));
            }
            () = flow.env.cancel.cancelled() => return Err(EngineError::Interrupted),
            next = next_chunk(&rooms, &mut brought), if !is_done && working.len() < at_once => match next {
                None => is_done = true,
                Some(Ok((chunk, room))) => {
                    let task = left[chunk.number];
                    working.push(one_chunk(flow, plan, batch, task, chunk, room));
                }
                Some(Err(error)) => {
                    fault = Some(error);
                    is_done = true;
                }
            },
        }
    }
    Ok(fault.map_or(Ok(()), Err))
}

/// The next chunk, once there is room for its bytes beside those that are worked at.
async fn next_chunk(
    rooms: &Arc<Semaphore>,
    brought: &mut mpsc::Receiver<Result<Brought, TaskError>>,
) -> Option<Result<(Brought, OwnedSemaphorePermit), TaskError>> {
    let room = Arc::clone(rooms).acquire_owned().await.expect("the semaphore is never closed");
    let chunk = brought.recv().await?;
    Some(chunk.map(|chunk| (chunk, room)))
}

/// Chunks that are worked at, and those whose part and mark are on their way. A disk takes few at once, and takes them soon.
fn chunks_at_once(flow: &Flow, job: &Job) -> usize {
    match (flow.target.info().kind, job.places()) {
        (StoreKind::Directory, Some(places)) => places + 3,
        (StoreKind::S3 | StoreKind::Azure | StoreKind::Gcs | StoreKind::Memory, Some(places)) => places + 13,
        // As many as may wait for a program or a server.
        (_, None) => 16,
    }
}

/// Attempts a chunk whose bytes are there, until a mark says what became of it. They go once its records are taken: where it is
/// the putting that fails, only that is done again.
async fn one_chunk(
    flow: &Flow,
    plan: &Plan,
    batch: &Arc<Batch>,
    task: &Task,
    brought: Brought,
    room: OwnedSemaphorePermit,
) -> Result<Mark, EngineError> {
    let run = &plan.header.run;
    let chunk = *task.chunk().ok_or_else(|| broken(flow, plan, format!("task {} is no chunk", task.task)))?;
    let Brought { body, memory, .. } = brought;
    let (held, unput) = (Mutex::new(Some((body, room))), OnceCell::new());
    let take = async |attempt: AttemptId| -> Result<Box<ChunkDone>, TaskError> {
        let records = async || {
            let body = held.lock().as_ref().map(|(body, _)| body.clone());
            let unput = work::take(batch, chunk, body.expect("it goes when its records are taken")).await?;
            drop(held.lock().take());
            Ok::<_, TaskError>(unput)
        };
        unput.get_or_try_init(records).await?.put(flow, run, task, &attempt).await
    };
    let tried = execute::attempts_at(flow, plan, task, take).await?;
    // The mark needs nothing of it.
    drop((held, unput, memory));
    match tried {
        Tried::Done(attempt, done) => {
            let mark = execute::new_mark(flow, plan, task, 0, &attempt, Outcome::Taken(done));
            execute::mark(flow, mark, &[]).await
        }
        Tried::Failed(attempt, error) => {
            let TaskError { failure: Failure { error, hint }, .. } = error;
            let last = chunk.first + chunk.records - 1;
            let error = format!("records {} to {last} of `{}`: {error}", chunk.first, batch.input.key);
            execute::give_up(flow, plan, task, 0, &attempt, Failure { error, hint }).await
        }
    }
}

fn broken(flow: &Flow, plan: &Plan, detail: String) -> EngineError {
    EngineError::Broken { flow: flow.config.name.clone(), run: plan.header.run.clone(), detail }
}
