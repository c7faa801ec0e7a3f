//! Stages lost uploads again (protocol section 6): an upload that expired, or a temporary file that vanished.
//!
//! "Expired" and "published, then taken away by a consumer" look alike. The order in which things are read decides:
//! the upload, then the key, then the log, then `pub/…` last.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::ledger::{GroupId, Mark, Outcome, SealedOutput, Task};
use baler_model::{AttemptId, Kind, ObjectVersion, Staged, Stamp, TaskId};
use baler_store::{AbortOutcome, Confirmation, DeleteOutcome};

use super::{Said, execute, known_run, seal};
use crate::error::{EngineError, TaskError};
use crate::flow::Flow;
use crate::ledger::decide::{Assume, LostUpload, RedoDecision, may_redo};
use crate::ledger::{LedgerState, Marks, Plan, RunStatus};
use crate::op::Done;
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
    said: &Said,
) -> Result<Redone, EngineError> {
    let staged = plan.tasks.iter().filter(|t| !released.contains(&t.group)).flat_map(|task| {
        let mark = marks.get(&task.task);
        let outputs: Vec<SealedOutput> = match mark.map(|m| (&m.outcome, m.generation)) {
            Some((Outcome::Staged { outputs, .. }, generation)) => {
                (0u32..).zip(outputs).map(|(n, s)| seal::sealed_output(task, generation, n, s)).collect()
            }
            Some((Outcome::Taken(_) | Outcome::GivenUp { .. }, _)) | None => Vec::new(),
        };
        outputs
    });
    let lost = seal::missing(flow, staged.collect()).await?;
    redo(flow, state, plan, marks, lost, said).await
}

/// Decides about each lost output and stages again what has to be.
pub(super) async fn redo(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    lost: Vec<SealedOutput>,
    said: &Said,
) -> Result<Redone, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let mut blocked = Vec::new();
    let mut again: BTreeMap<TaskId, BTreeSet<u32>> = BTreeMap::new();
    let mut redone = false;
    for mut output in lost {
        match marks.get(&output.task) {
            Some(mark) if mark.generation == output.generation => {}
            // Somebody else marked the next generation: what it names is to be sealed, unless that is lost as well.
            Some(mark) => {
                redone = true;
                flow.ledger.refresh(state).await.map_err(&wrap)?;
                let Outcome::Staged { outputs, .. } = &mark.outcome else { continue };
                let Some(staged) = outputs.get(output.output as usize) else { continue };
                let task = &plan.tasks[output.task.0 as usize];
                output = seal::sealed_output(task, mark.generation, output.output, staged);
            }
            None => {
                flow.ledger.refresh(state).await.map_err(&wrap)?;
                match known_run(flow, state, run)?.status {
                    RunStatus::Opened | RunStatus::Sealed => {}
                    // It ended meanwhile, and `gc` took its marks away.
                    RunStatus::Withdrawing | RunStatus::Committed | RunStatus::Disposed | RunStatus::Aborted => {
                        continue;
                    }
                }
                return Err(EngineError::Broken {
                    flow: flow.config.name.clone(),
                    run: run.clone(),
                    detail: format!("the mark of task {} is gone, though the run has not ended", output.task),
                });
            }
        }
        // In this order: the upload is gone; is our object there; what does the log say; did publishing ever begin.
        if flow.target.staged_exists(&output.staged).await? {
            continue;
        }
        let ours_is_there = matches!(flow.target.confirm(&output.staged).await?, Confirmation::Ours { .. });
        flow.ledger.refresh(state).await.map_err(&wrap)?;
        let known = known_run(flow, state, run)?;
        let (status, released) = (known.status, known.released.contains(&output.group));
        let publishing_began =
            flow.ledger.publishing_began(run, output.task, output.generation, output.output).await.map_err(&wrap)?;
        let assume = said.of(&output.staged);
        let seen = LostUpload { ours_is_there, status, released, publishing_began, assume };
        match may_redo(seen) {
            RedoDecision::Published | RedoDecision::Stop => {}
            RedoDecision::Redo => {
                again.entry(output.task).or_default().insert(output.output);
            }
            RedoDecision::Blocked => blocked.push(lost_or_consumed(&output, plan)),
        }
    }
    // What can be made again is, whatever else is blocked: an operator may say one thing of these and another of those,
    // by one command after the other.
    if again.is_empty() && blocked.is_empty() {
        return Ok(if redone { Redone::Again } else { Redone::NothingLost });
    }
    for (task, outputs) in again {
        let task = &plan.tasks[task.0 as usize];
        let Some(mark) = marks.get(&task.task).cloned() else { continue };
        if let Some(failure) = stage_again(flow, state, plan, marks, task, &mark, &outputs, said).await? {
            blocked.push(failure);
        }
    }
    match blocked.is_empty() {
        true => Ok(Redone::Again),
        false => Ok(Redone::Blocked(blocked)),
    }
}

/// Stages lost outputs of one task again and marks the next generation, which repeats the others.
#[expect(clippy::too_many_arguments, reason = "one step of the protocol, with all that it looks at")]
async fn stage_again(
    flow: &Flow,
    state: &LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    task: &Task,
    mark: &Mark,
    lost: &BTreeSet<u32>,
    said: &Said,
) -> Result<Option<FailureReport>, EngineError> {
    let Outcome::Staged { outputs: before, account, work, .. } = &mark.outcome else { return Ok(None) };
    let generation = mark.generation + 1;
    flow.env.progress.note(&format!("`{}` is staged again: its upload was lost", task.key));
    if let ([output, _], true, false) = (&before[..], task.is_beside(1), lost.contains(&0)) {
        // What lies beside the output is made of the output alone, even when the sources are gone.
        let attempt = flow.env.ids.attempt_id();
        let stamp = Stamp { attempt: attempt.clone(), ..output.stamp.clone() };
        let beside = join::stage_redshift_manifest(flow, &stamp, &task.key, output.size).await;
        let beside = match beside {
            Ok(beside) => beside,
            Err(error) => return Ok(Some(not_now(task, error))),
        };
        let outputs = vec![output.clone(), beside.clone()];
        let records = Vec::new();
        let outcome = Outcome::Staged { outputs, account: account.clone(), work: *work, records };
        let next = execute::new_mark(flow, plan, task, generation, &attempt, outcome);
        marks.insert(task.task, Box::new(execute::mark(flow, next, &[beside]).await?));
        return Ok(None);
    }
    let lost = &freeze(flow, plan, task, mark, before, lost, said).await?;
    let (attempt, done) = match execute::attempts(flow, plan, marks, task).await? {
        execute::Tried::Done(attempt, done) => (attempt, done),
        execute::Tried::Failed(attempt, error) => {
            if known_run(flow, state, &plan.header.run)?.status == RunStatus::Sealed {
                return give_up_sealed(flow, plan, marks, task, mark, before, &attempt, error, said).await;
            }
            let theirs = execute::give_up(flow, plan, task, generation, &attempt, error.failure).await?;
            marks.insert(task.task, Box::new(theirs));
            return Ok(None);
        }
    };
    let Done { outputs: made, account, work, records } = done;
    let same_keys = made.iter().map(|staged| &staged.key).eq(before.iter().map(|staged| &staged.key));
    if !same_keys {
        // Inputs are pinned to their versions and the plan decides everything else.
        return Err(EngineError::Broken {
            flow: flow.config.name.clone(),
            run: plan.header.run.clone(),
            detail: format!("task {} made other outputs than before", task.task),
        });
    }
    let staged = made.clone();
    let mut outputs = Vec::with_capacity(before.len());
    for ((number, old), new) in (0u32..).zip(before).zip(made) {
        if lost.contains(&number) {
            outputs.push(new);
        } else {
            let _ours = flow.target.abort_staged(&new).await?;
            outputs.push(old.clone());
        }
    }
    let outcome = Outcome::Staged { outputs, account: Box::new(account), work, records };
    let next = execute::new_mark(flow, plan, task, generation, &attempt, outcome);
    marks.insert(task.task, Box::new(execute::mark(flow, next, &staged).await?));
    Ok(None)
}

/// The outputs of a task that have to be staged again, when those in `lost` have.
///
/// The next mark never names an upload of the mark before that is there still: a slow worker that finds the sources gone
/// could abort it. So what is still staged is given up and staged anew.
async fn freeze(
    flow: &Flow,
    plan: &Plan,
    task: &Task,
    mark: &Mark,
    before: &[Staged],
    lost: &BTreeSet<u32>,
    said: &Said,
) -> Result<BTreeSet<u32>, EngineError> {
    let run = &plan.header.run;
    let mut all = lost.clone();
    for (number, staged) in (0u32..).zip(before).filter(|(number, _)| !lost.contains(number)) {
        if flow.target.abort_staged(staged).await? == AbortOutcome::GivenUp {
            all.insert(number);
            continue;
        }
        if matches!(flow.target.confirm(staged).await?, Confirmation::Ours { .. }) {
            continue;
        }
        let began = flow.ledger.publishing_began(run, task.task, mark.generation, number).await;
        // Published and taken away, or lost: an operator will be asked about it alone. Nobody can spoil what is gone.
        let may_be_taken = began.map_err(flow.ledger_error())? && said.of(staged) != Assume::Lost;
        if !may_be_taken {
            all.insert(number);
        }
    }
    Ok(all)
}

/// After a seal, a group whose upload is lost and whose source is gone too.
///
/// All its uploads are aborted; if then none of its keys holds our object and publishing of none ever began, or an
/// operator says that it was lost, the group is given up. Else only an operator can tell.
#[expect(clippy::too_many_arguments, reason = "one step of the protocol, with all that it looks at")]
async fn give_up_sealed(
    flow: &Flow,
    plan: &Plan,
    marks: &mut Marks,
    task: &Task,
    mark: &Mark,
    outputs: &[Staged],
    attempt: &AttemptId,
    error: TaskError,
    said: &Said,
) -> Result<Option<FailureReport>, EngineError> {
    let wrap = flow.ledger_error();
    if error.kind != Kind::Data {
        // Its sources are there still, as far as anybody knows: a later call stages it again.
        return Ok(Some(not_now(task, error)));
    }
    let failure = error.failure;
    for staged in outputs {
        let _late_or_not = flow.target.abort_staged(staged).await?;
    }
    let said_lost = outputs.first().is_some_and(|output| said.of(output) == Assume::Lost);
    for (number, staged) in (0u32..).zip(outputs) {
        if task.is_beside(number) && said_lost {
            // It tells of an output that will never be there: it goes before the group is released.
            continue;
        }
        let ours = matches!(flow.target.confirm(staged).await?, Confirmation::Ours { .. });
        let began = flow.ledger.publishing_began(&plan.header.run, task.task, mark.generation, number).await;
        if ours || (began.map_err(&wrap)? && !said_lost) {
            return Ok(Some(FailureReport {
                group: task.key.to_string(),
                error: format!("the upload of `{}` is lost and cannot be made again: {}", task.key, failure.error),
                hint: Some(retry_hint(plan)),
            }));
        }
    }
    let theirs = execute::give_up(flow, plan, task, mark.generation + 1, attempt, failure).await?;
    marks.insert(task.task, Box::new(theirs));
    Ok(None)
}

fn not_now(task: &Task, error: TaskError) -> FailureReport {
    FailureReport {
        group: task.key.to_string(),
        error: format!("the upload of `{}` is lost and could not be made again now: {}", task.key, error.failure.error),
        hint: Some("`baler run` tries again".into()),
    }
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

/// The version of our own published output, if that is what lies at its key.
pub(super) async fn own_version(flow: &Flow, staged: &Staged) -> Result<Option<ObjectVersion>, EngineError> {
    match flow.target.confirm(staged).await? {
        Confirmation::Ours { version, .. } | Confirmation::Corrupt { version, .. } => Ok(Some(version)),
        Confirmation::Foreign { .. } | Confirmation::Absent => Ok(None),
    }
}

/// Deletes this version. Whether it was there and is gone by this call.
pub(super) async fn delete_version(flow: &Flow, staged: &Staged, version: &ObjectVersion) -> Result<bool, EngineError> {
    match flow.target.delete_if(&staged.key, version).await? {
        DeleteOutcome::Deleted => Ok(true),
        DeleteOutcome::Absent | DeleteOutcome::Changed { .. } => Ok(false),
    }
}
