//! Executes one task of `convert`: stages its outputs, and what is set aside, from inputs in their planned versions.
//!
//! What a crash leaves: uploads or temporary files that no mark names; `gc` removes them. Nothing is visible before the
//! seal.

use std::sync::Arc;

use baler_model::ledger::{Account, ConvertOptions, Failure, PlanHeader, Task, Work};
use baler_model::scrub::Keep;
use baler_model::{AttemptId, Kind, Stamp};
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::feed;
use super::job::{Broken, Counted, Job};
use super::scrub::Dedupe;
use super::upload::{self, Steps};
use crate::error::TaskError;
use crate::flow::Flow;
use crate::op::Done;

/// Inputs that wait for a thread to decode them.
const INPUTS: usize = 4;
/// Parts that wait to be taken to the store.
const PARTS: usize = 1;
/// What a task holds beside its inputs: batches on their way, open outputs, parts.
const BASE: u64 = 16 << 20;

/// Executes a task.
pub(crate) async fn execute(
    flow: &Flow,
    header: &PlanHeader,
    options: &ConvertOptions,
    task: &Task,
    attempt: &AttemptId,
) -> Result<Done, TaskError> {
    let Some(convert) = &task.convert else {
        let error = format!("task {} has no outputs", task.task);
        return Err(TaskError { kind: Kind::Internal, failure: Failure { error, hint: None } });
    };
    let began = flow.env.clock.now();
    let stamp = Stamp { flow: header.flow.clone(), run: header.run.clone(), task: task.task, attempt: attempt.clone() };
    let limits = &flow.env.limits;
    // Two tasks of any size may run at once; of small ones as many as there is memory for.
    // A query may hold all records of an output, which are larger than their objects.
    let (times, base) = if options.sql.is_some() { (16, BASE + (32 << 20)) } else { (4, BASE) };
    let grant = task.bytes().saturating_mul(times).saturating_add(base).min(limits.memory / 2);
    let _memory = limits.memory(grant).await;
    let mut job = Job::new(options, convert, &task.inputs, &flow.target.info().url, &*flow.env.secrets, grant)?;
    let (staged, counted) = loop {
        let made;
        (job, made) = make(flow, job, &stamp).await;
        match made {
            Ok(made) => break made,
            Err(Broken::Failed(error)) => return Err(error),
            Err(Broken::Distrusted(input)) => drop(job.distrusted.insert(input)),
        }
    };
    let account = Account {
        objects_in: counted.objects,
        objects_out: staged.len() as u64,
        bytes_in: counted.bytes,
        bytes_out: staged.iter().map(|staged| staged.size).sum(),
        records_in: Some(counted.records_in),
        records_out: Some(counted.records_out),
        quarantined: Some(counted.quarantined),
        filtered: Some(counted.filtered),
        sql_in: counted.sql_in,
        sql_out: counted.sql_in.map(|_| counted.records_out),
        ..Account::default()
    };
    flow.env.progress.advance(task.inputs.len() as u64, task.bytes());
    let millis = flow.env.clock.now().duration_since(began).as_millis();
    let work = Work { bytes_copied: 0, bytes_through: counted.bytes, millis: u64::try_from(millis).unwrap_or(0) };
    Ok(Done { outputs: staged, account, work, records: counted.records })
}

/// What an attempt staged and counted, or why it did not.
type Made = Result<(Vec<baler_model::Staged>, Counted), Broken>;

/// Does everything once; where the last of several records is to stay, everything is read before, to learn which that is.
async fn make(flow: &Flow, mut job: Job, stamp: &Stamp) -> (Job, Made) {
    let mut dedupe = job.keep().map(Dedupe::new);
    if job.keep() == Some(Keep::Last) {
        job.learning = true;
        let learnt;
        (job, learnt) = attempt_once(flow, job, stamp, dedupe).await;
        job.learning = false;
        match learnt {
            Ok((_, counted)) => dedupe = counted.learnt,
            Err(broken) => return (job, Err(broken)),
        }
    }
    attempt_once(flow, job, stamp, dedupe).await
}

fn feeding(flow: &Flow, job: &Job, to: mpsc::Sender<feed::Fetched>) -> impl Future<Output = ()> + use<> {
    let (source, limits) = (Arc::clone(&flow.source), flow.env.limits.clone());
    feed::feed(source, limits, Arc::clone(&job.inputs), job.ranged(), to)
}

/// Does everything without a thread: first all inputs are read, then they are converted, then the outputs are staged.
async fn attempt_here(flow: &Flow, job: &Job, stamp: &Stamp, dedupe: Option<Dedupe>) -> Made {
    let (to, mut fetched) = mpsc::channel(job.inputs.len().max(1));
    feeding(flow, job, to).await;
    let mut inputs = Vec::with_capacity(job.inputs.len());
    while let Some(input) = fetched.recv().await {
        inputs.push(input);
    }
    let steps = Arc::new(Mutex::new(Vec::new()));
    let counted = job.run_here(inputs, &Steps::Kept(Arc::clone(&steps)), dedupe)?;
    let steps = std::mem::take(&mut *steps.lock());
    let staged = upload::upload(Arc::clone(&flow.target), stamp.clone(), stream::iter(steps)).await;
    let staged = staged.map_err(TaskError::from)?;
    Ok((staged.into_values().collect(), counted))
}

/// Reads, converts and stages everything once.
async fn attempt_once(flow: &Flow, job: Job, stamp: &Stamp, dedupe: Option<Dedupe>) -> (Job, Made) {
    if job.is_small() {
        let made = attempt_here(flow, &job, stamp, dedupe).await;
        return (job, made);
    }
    let (to_threads, fetched) = mpsc::channel(INPUTS);
    let (steps, mut to_upload) = mpsc::channel(PARTS);
    let job = Arc::new(job);
    let thread = {
        let job = Arc::clone(&job);
        tokio::task::spawn_blocking(move || job.run(fetched, &Steps::ToStore(steps), dedupe))
    };
    let feeding = feeding(flow, &job, to_threads);
    let steps = stream::poll_fn(move |context| to_upload.poll_recv(context));
    let uploading = upload::upload(Arc::clone(&flow.target), stamp.clone(), steps);
    let ((), staged, counted) = futures::join!(feeding, uploading, thread);
    let job = Arc::into_inner(job).expect("the thread has ended");
    let made = match (counted, staged) {
        // A store that fails is the reason why the thread was cut off.
        (_, Err(error)) => Err(TaskError::from(error).into()),
        (Err(panic), _) => std::panic::resume_unwind(panic.into_panic()),
        (Ok(Err(broken)), Ok(staged)) => {
            for staged in staged.values() {
                if let Err(error) = flow.target.abort_staged(staged).await {
                    tracing::debug!(%error, "a failed attempt's upload is left for gc");
                }
            }
            Err(broken)
        }
        (Ok(Ok(counted)), Ok(staged)) => Ok((staged.into_values().collect(), counted)),
    };
    (job, made)
}
