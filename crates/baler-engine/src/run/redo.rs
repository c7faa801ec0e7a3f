//! Stages lost uploads again (protocol section 6): an upload that expired, or a temporary file that vanished.
//!
//! "Expired" and "published, then taken away by a consumer" look alike. The order in which things are read decides:
//! the upload, then the key, then the log, then `pub/…` last.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::ledger::{Failure, GroupId, Mark, Outcome, SealedOutput, Task};
use baler_model::{AttemptId, Staged, TaskId};
use baler_store::{Confirmation, DeleteOutcome};

use super::{DriveOptions, execute, known_run, seal};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{LostUpload, RedoDecision, may_redo};
use crate::ledger::{LedgerState, Marks, Plan, RunStatus};
use crate::op::combine::join;
use crate::report::FailureReport;

/// What became of lost uploads.
pub(super) enum Redone {
    /// None is lost.
    NothingLost,
    /// Marks changed: decide again.
    Again,
    /// An operator must decide.
    Blocked(Vec<FailureReport>),
}

/// Looks for lost uploads among the winning marks of groups that are not given up, and stages them again.
pub(super) async fn lost_uploads(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    released: &BTreeSet<GroupId>,
    options: DriveOptions,
) -> Result<Redone, EngineError> {
    let staged = plan.tasks.iter().filter(|t| !released.contains(&t.group)).flat_map(|task| {
        let mark = marks.get(&task.task);
        let outputs: Vec<SealedOutput> = match mark.map(|m| (&m.outcome, m.generation)) {
            Some((Outcome::Staged { outputs, .. }, generation)) => {
                (0u32..).zip(outputs).map(|(n, s)| seal::sealed_output(task, generation, n, s)).collect()
            }
            Some((Outcome::GivenUp { .. }, _)) | None => Vec::new(),
        };
        outputs
    });
    let lost = seal::missing(flow, staged.collect()).await?;
    redo(flow, state, plan, marks, lost, options).await
}

/// Decides about each lost output and stages again what has to be.
pub(super) async fn redo(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    lost: Vec<SealedOutput>,
    options: DriveOptions,
) -> Result<Redone, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let mut blocked = Vec::new();
    let mut again: BTreeMap<TaskId, BTreeSet<u32>> = BTreeMap::new();
    for output in lost {
        // In this order: the upload is gone; is our object there; what does the log say; did publishing ever begin.
        let ours_is_there = matches!(flow.target.confirm(&output.staged).await?, Confirmation::Ours { .. });
        flow.ledger.refresh(state).await.map_err(&wrap)?;
        let known = known_run(flow, state, run)?;
        let (status, released) = (known.status, known.released.contains(&output.group));
        let publishing_began =
            flow.ledger.publishing_began(run, output.task, output.generation, output.output).await.map_err(&wrap)?;
        let seen = LostUpload { ours_is_there, status, released, publishing_began, assume: options.assume };
        match may_redo(seen) {
            RedoDecision::Published | RedoDecision::Stop => {}
            RedoDecision::Redo => {
                again.entry(output.task).or_default().insert(output.output);
            }
            RedoDecision::Blocked => blocked.push(lost_or_consumed(&output, plan)),
        }
    }
    if !blocked.is_empty() {
        return Ok(Redone::Blocked(blocked));
    }
    if again.is_empty() {
        return Ok(Redone::NothingLost);
    }
    for (task, outputs) in again {
        let task = &plan.tasks[task.0 as usize];
        let Some(mark) = marks.get(&task.task).cloned() else { continue };
        if let Some(failure) = stage_again(flow, state, plan, marks, task, &mark, &outputs).await? {
            blocked.push(failure);
        }
    }
    match blocked.is_empty() {
        true => Ok(Redone::Again),
        false => Ok(Redone::Blocked(blocked)),
    }
}

/// Stages lost outputs of one task again and marks the next generation, which repeats the others.
async fn stage_again(
    flow: &Flow,
    state: &LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    task: &Task,
    mark: &Mark,
    lost: &BTreeSet<u32>,
) -> Result<Option<FailureReport>, EngineError> {
    let attempt = flow.env.ids.attempt_id();
    let Outcome::Staged { outputs: before, .. } = &mark.outcome else { return Ok(None) };
    flow.env.progress.note(&format!("`{}` is staged again: its upload was lost", task.key));
    let done = match join::execute(flow, &plan.header, task, &attempt).await {
        Ok(done) => done,
        Err(error) if known_run(flow, state, &plan.header.run)?.status == RunStatus::Sealed => {
            return give_up_sealed(flow, plan, marks, task, mark, before, &attempt, error.failure).await;
        }
        Err(error) => {
            let generation = mark.generation + 1;
            let theirs = execute::give_up(flow, plan, task, generation, &attempt, error.failure).await?;
            marks.insert(task.task, theirs);
            return Ok(None);
        }
    };
    let mut outputs = Vec::with_capacity(before.len());
    for ((number, old), new) in (0u32..).zip(before).zip(done.outputs) {
        if lost.contains(&number) {
            outputs.push(new);
        } else {
            flow.target.abort_staged(&new).await?;
            outputs.push(old.clone());
        }
    }
    let outcome = Outcome::Staged { outputs, account: done.account, work: done.work };
    let next = execute::new_mark(flow, plan, task, mark.generation + 1, &attempt, outcome);
    let winner = flow.ledger.create_mark(&next).await.map_err(flow.ledger_error())?.unwrap_or(next);
    marks.insert(task.task, winner);
    Ok(None)
}

/// After a seal, a group whose upload is lost and whose source is gone too.
///
/// All its uploads are aborted; if then none of its keys holds our object and publishing of none ever began, the group
/// is given up. Else only an operator can tell.
#[expect(clippy::too_many_arguments, reason = "one step of the protocol, with all that it looks at")]
async fn give_up_sealed(
    flow: &Flow,
    plan: &Plan,
    marks: &mut Marks,
    task: &Task,
    mark: &Mark,
    outputs: &[Staged],
    attempt: &AttemptId,
    failure: Failure,
) -> Result<Option<FailureReport>, EngineError> {
    let wrap = flow.ledger_error();
    for staged in outputs {
        flow.target.abort_staged(staged).await?;
    }
    for (number, staged) in (0u32..).zip(outputs) {
        let ours = matches!(flow.target.confirm(staged).await?, Confirmation::Ours { .. });
        let began = flow.ledger.publishing_began(&plan.header.run, task.task, mark.generation, number).await;
        if ours || began.map_err(&wrap)? {
            return Ok(Some(FailureReport {
                group: task.key.to_string(),
                error: format!("the upload of `{}` is lost and cannot be made again: {}", task.key, failure.error),
                hint: Some(retry_hint(plan)),
            }));
        }
    }
    let theirs = execute::give_up(flow, plan, task, mark.generation + 1, attempt, failure).await?;
    marks.insert(task.task, theirs);
    Ok(None)
}

fn lost_or_consumed(output: &SealedOutput, plan: &Plan) -> FailureReport {
    let key = &output.staged.key;
    FailureReport {
        group: key.to_string(),
        error: format!(
            "`{key}` is neither staged nor published, though publishing had begun: it expired, or somebody took it away"
        ),
        hint: Some(retry_hint(plan)),
    }
}

fn retry_hint(plan: &Plan) -> String {
    let run = &plan.header.run;
    format!(
        "if a consumer took it, `baler retry {run} --assume published`; if it never appeared, \
         `baler retry {run} --assume lost`"
    )
}

/// Deletes one of our own published outputs, only if it is still ours.
pub(super) async fn delete_own(flow: &Flow, staged: &Staged) -> Result<(), EngineError> {
    match flow.target.confirm(staged).await? {
        Confirmation::Ours { version, .. } | Confirmation::Corrupt { version, .. } => {
            match flow.target.delete_if(&staged.key, &version).await? {
                DeleteOutcome::Deleted | DeleteOutcome::Absent | DeleteOutcome::Changed { .. } => Ok(()),
            }
        }
        Confirmation::Foreign { .. } | Confirmation::Absent => Ok(()),
    }
}
