//! Executes tasks: stage, then mark (INV-MARK-1). A task that cannot succeed gives its group up, by a mark.

use std::time::Duration;

use baler_model::ledger::{
    EachOptions, FORMAT_VERSION, FailedAttempt, Failure, GroupId, Mark, OperationOptions, Outcome, Task,
};
use baler_model::{AttemptId, Kind, Staged};
use futures::{StreamExt, TryStreamExt, stream};

use super::batches;
use crate::env::Phase;
use crate::error::{EngineError, TaskError};
use crate::flow::Flow;
use crate::ledger::decide::{Tally, tally};
use crate::ledger::{LedgerState, Marks, Plan};
use crate::op::{self, Done};

/// How often a task is attempted before its group is given up.
pub(super) const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; it doubles.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Executes every task of a run that has no mark yet, a few at a time.
pub(super) async fn tasks(flow: &Flow, state: &LedgerState, plan: &Plan, marks: &mut Marks) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    *marks = flow.ledger.read_marks(run, std::mem::take(marks)).await.map_err(&wrap)?;
    let unmarked = tally_of(flow, state, plan, marks)?.unmarked;
    if unmarked.is_empty() {
        return Ok(());
    }
    // A run that another build opened stays open for it: its groups are not given up for what this one lacks.
    let queries: Vec<&str> = match &plan.header.operation {
        OperationOptions::Convert(options) => options.sql.as_deref().into_iter().collect(),
        OperationOptions::Scatter(options) => options.each.iter().filter_map(EachOptions::query).collect(),
        OperationOptions::Combine(_) => Vec::new(),
    };
    if let Some(failure) = queries.into_iter().find_map(|text| crate::sql::check(text).err()) {
        return Err(EngineError::Unfit {
            store: flow.name().to_owned(),
            role: "as planned",
            detail: format!("run `{run}` cannot be executed here: {}", failure.error),
            hint: failure.hint.unwrap_or_default(),
        });
    }
    let todo: Vec<&Task> = unmarked.iter().map(|task| &plan.tasks[task.0 as usize]).collect();
    let objects = todo.iter().map(|t| t.inputs.len() as u64).sum();
    let bytes = todo.iter().map(|t| t.bytes()).sum();
    let phase = match plan.header.operation {
        OperationOptions::Combine(_) => Phase::Combine,
        OperationOptions::Convert(_) => Phase::Convert,
        OperationOptions::Scatter(_) => Phase::Scatter,
    };
    flow.env.progress.begin(flow.name(), phase, objects, bytes);
    let made = match &plan.header.operation {
        OperationOptions::Combine(_) | OperationOptions::Convert(_) => {
            // No task of these needs what another made.
            let known = &Marks::new();
            stream::iter(todo.into_iter().map(|task| execute(flow, plan, known, task)))
                .buffer_unordered(tasks_at_once(flow))
                .try_for_each(|mark| {
                    marks.insert(mark.task, Box::new(mark));
                    std::future::ready(Ok(()))
                })
                .await
        }
        OperationOptions::Scatter(options) => batches::tasks(flow, plan, options, &todo, marks).await,
    };
    flow.env.progress.end();
    made?;
    let mut buckets: Vec<(u32, u32)> = unmarked.iter().map(|t| (plan.tasks[t.0 as usize].stage, t.bucket())).collect();
    buckets.dedup();
    for (stage, bucket) in buckets {
        flow.ledger.mark_full(run, stage, bucket).await.map_err(&wrap)?;
    }
    Ok(())
}

/// How many tasks run at once: enough that a directory's last tasks end together and not one after
/// the other; on a store, requests are the limit.
fn tasks_at_once(flow: &Flow) -> usize {
    flow.env.limits.concurrency.clamp(1, 16)
}

pub(super) fn tally_of(flow: &Flow, state: &LedgerState, plan: &Plan, marks: &Marks) -> Result<Tally, EngineError> {
    let known = super::known_run(flow, state, &plan.header.run)?;
    Ok(tally(plan.tasks.iter().map(|t| (t.task, t.group)), marks, &known.released))
}

/// What the attempts at a task came to.
pub(super) enum Tried<T> {
    /// This attempt did it.
    Done(AttemptId, T),
    /// The last attempt failed, and a further one is not worth it.
    Failed(AttemptId, TaskError),
}

/// Executes one task until a mark of generation 0 says what became of it, ours or another's.
pub(super) async fn execute(flow: &Flow, plan: &Plan, marks: &Marks, task: &Task) -> Result<Mark, EngineError> {
    match attempts(flow, plan, marks, task).await? {
        Tried::Done(attempt, done) => mark_done(flow, plan, task, &attempt, done).await,
        Tried::Failed(attempt, error) => give_up(flow, plan, task, 0, &attempt, error.failure).await,
    }
}

/// Marks what an attempt staged, by the mark of generation 0.
pub(super) async fn mark_done(
    flow: &Flow,
    plan: &Plan,
    task: &Task,
    attempt: &AttemptId,
    done: Done,
) -> Result<Mark, EngineError> {
    let staged = done.outputs.clone();
    let Done { outputs, account, work, records } = done;
    let outcome = Outcome::Staged { outputs, account: Box::new(account), work, records };
    mark(flow, new_mark(flow, plan, task, 0, attempt, outcome), &staged).await
}

/// Attempts a task a few times. An interrupt is no failure of the task.
pub(super) async fn attempts(flow: &Flow, plan: &Plan, marks: &Marks, task: &Task) -> Result<Tried<Done>, EngineError> {
    let execute = async |attempt: AttemptId| op::execute(flow, plan, marks, task, &attempt).await;
    attempts_at(flow, plan, task, execute).await
}

/// Attempts a task a few times by what `work` does of it.
pub(super) async fn attempts_at<T>(
    flow: &Flow,
    plan: &Plan,
    task: &Task,
    work: impl AsyncFn(AttemptId) -> Result<T, TaskError>,
) -> Result<Tried<T>, EngineError> {
    let run = &plan.header.run;
    let mut pause = PAUSE;
    for tries in 1.. {
        if flow.env.cancel.is_cancelled() {
            return Err(EngineError::Interrupted);
        }
        let attempt = flow.env.ids.attempt_id();
        let done = tokio::select! {
            biased;
            done = work(attempt.clone()) => done,
            () = flow.env.cancel.cancelled() => return Err(EngineError::Interrupted),
        };
        let error = match done {
            Ok(done) => return Ok(Tried::Done(attempt, done)),
            Err(error) => error,
        };
        if flow.env.cancel.is_cancelled() {
            return Err(EngineError::Interrupted);
        }
        let TaskError { kind, failure } = &error;
        tracing::debug!(%run, task = %task.task, tries, error = failure.error, "attempt failed");
        let failed = FailedAttempt {
            version: FORMAT_VERSION,
            task: task.task,
            attempt: attempt.clone(),
            at: flow.env.clock.now(),
            failure: failure.clone(),
        };
        flow.ledger.write_failed(run, &failed).await.map_err(flow.ledger_error())?;
        let again = match kind {
            Kind::Transient | Kind::Contended => tries < ATTEMPTS,
            Kind::Data | Kind::Invalid => false,
            Kind::Internal => {
                return Err(EngineError::Broken {
                    flow: flow.config.name.clone(),
                    run: run.clone(),
                    detail: failure.error.clone(),
                });
            }
        };
        if !again {
            return Ok(Tried::Failed(attempt, error));
        }
        flow.env.clock.sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the last try returns")
}

/// Creates a mark. If another's was first, that counts, and what this attempt staged (`staged`) is given up.
pub(super) async fn mark(flow: &Flow, mark: Mark, staged: &[Staged]) -> Result<Mark, EngineError> {
    match flow.ledger.create_mark(&mark).await.map_err(flow.ledger_error())? {
        None => Ok(mark),
        Some(theirs) => {
            abort_losing(flow, staged, &theirs).await;
            Ok(theirs)
        }
    }
}

/// Gives a task's group up, by its mark of this generation. Another's mark may have been first: then that counts.
pub(super) async fn give_up(
    flow: &Flow,
    plan: &Plan,
    task: &Task,
    generation: u32,
    attempt: &AttemptId,
    reason: Failure,
) -> Result<Mark, EngineError> {
    let mark = new_mark(flow, plan, task, generation, attempt, Outcome::GivenUp { reason });
    let theirs = flow.ledger.create_mark(&mark).await.map_err(flow.ledger_error())?;
    Ok(theirs.unwrap_or(mark))
}

pub(super) fn new_mark(
    flow: &Flow,
    plan: &Plan,
    task: &Task,
    generation: u32,
    attempt: &AttemptId,
    outcome: Outcome,
) -> Mark {
    Mark {
        version: FORMAT_VERSION,
        run: plan.header.run.clone(),
        task: task.task,
        generation,
        attempt: attempt.clone(),
        at: flow.env.clock.now(),
        outcome,
    }
}

/// A loser aborts only uploads that it created and that the winning mark does not name.
async fn abort_losing(flow: &Flow, staged: &[Staged], winner: &Mark) {
    let named: Vec<&Staged> = match &winner.outcome {
        Outcome::Staged { outputs, .. } => outputs.iter().collect(),
        Outcome::Taken(_) | Outcome::GivenUp { .. } => Vec::new(),
    };
    for lost in staged.iter().filter(|s| !named.contains(s)) {
        if let Err(error) = flow.target.abort_staged(lost).await {
            tracing::debug!(%error, "a losing attempt's upload is left for gc");
        }
    }
}

/// Aborts what the marks of released groups staged: nothing of it will be published.
pub(super) async fn abort_groups(flow: &Flow, plan: &Plan, marks: &Marks, given_up: impl Fn(GroupId) -> bool) {
    let lost = plan.tasks.iter().filter(|t| given_up(t.group)).filter_map(|t| marks.get(&t.task));
    for mark in lost {
        if let Outcome::Staged { outputs, .. } = &mark.outcome {
            for staged in outputs {
                if let Err(error) = flow.target.abort_staged(staged).await {
                    tracing::debug!(%error, "a released group's upload is left for gc");
                }
            }
        }
    }
}
