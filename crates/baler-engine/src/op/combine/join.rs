//! Executes one `combine` task: stages one output (and its Redshift manifest) from inputs in their planned versions.
//!
//! What a crash leaves: an upload or temporary file that no mark names; `gc` removes it. Nothing is visible before the
//! seal. Every input is pinned to its planned version; one that changed fails the task (its group is given up).

mod appended;
mod parts;

use baler_model::ledger::{Account, CombineOptions, PlanHeader, Task, Work, redshift_manifest_key};
use baler_model::{AttemptId, Key, Staged, Stamp};
use baler_store::OutputAttributes;
use bytes::Bytes;

use crate::error::TaskError;
use crate::flow::Flow;
use crate::op::Done;
use crate::op::combine::decode;
use crate::op::redshift;

/// What joining inputs gave.
#[derive(Debug)]
struct Joined {
    staged: Staged,
    /// Inputs, and bytes of them, that were really taken: the seal holds them against the plan.
    objects: u64,
    bytes: u64,
    inserted: u64,
    removed: u64,
    copied: u64,
    through: u64,
}

/// Everything that joining needs to know.
#[derive(Clone, Copy)]
struct Job<'a> {
    flow: &'a Flow,
    options: &'a CombineOptions,
    task: &'a Task,
    stamp: &'a Stamp,
}

/// Executes a task.
pub(crate) async fn execute(
    flow: &Flow,
    header: &PlanHeader,
    options: &CombineOptions,
    task: &Task,
    attempt: &AttemptId,
) -> Result<Done, TaskError> {
    let began = flow.env.clock.now();
    let stamp = Stamp { flow: header.flow.clone(), run: header.run.clone(), task: task.task, attempt: attempt.clone() };
    if options.decode_check {
        decode::check_inputs(flow, task).await?;
    }
    let job = Job { flow, options, task, stamp: &stamp };
    let joined = match flow.target.appender(&task.key, &stamp, &*flow.source) {
        Some(appender) => appended::join(job, appender?).await?,
        None => parts::join(job).await?,
    };
    let account = Account {
        objects_in: joined.objects,
        objects_out: 1,
        bytes_in: joined.bytes,
        bytes_out: joined.staged.size,
        bytes_inserted: joined.inserted,
        bytes_removed: joined.removed,
        ..Account::default()
    };
    let mut outputs = vec![joined.staged];
    if options.redshift_manifest {
        outputs.push(stage_redshift_manifest(flow, &stamp, &task.key, account.bytes_out).await?);
    }
    let millis = flow.env.clock.now().duration_since(began).as_millis();
    let work =
        Work { bytes_copied: joined.copied, bytes_through: joined.through, millis: u64::try_from(millis).unwrap_or(0) };
    Ok(Done { outputs, account, work, records: Vec::new() })
}

/// Stages `{output}.manifest` for Redshift's COPY. It tells of the output alone: no source is read.
pub(crate) async fn stage_redshift_manifest(
    flow: &Flow,
    stamp: &Stamp,
    output: &Key,
    content_length: u64,
) -> Result<Staged, TaskError> {
    let body = Bytes::from(redshift::manifest(&flow.target.info().url, [(output, content_length)]));
    let attributes = OutputAttributes { content_type: Some("application/json".into()) };
    let crc = baler_store::Crc64::of(&body);
    let writer = flow.target.stage(&redshift_manifest_key(output), stamp, &attributes).await?;
    writer.write_part(1, vec![body]).await?;
    Ok(writer.finish(Some(crc)).await?)
}
