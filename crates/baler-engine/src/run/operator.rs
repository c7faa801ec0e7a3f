//! What an operator can do to a run: abort it, or take a sealed one back.

use baler_model::ledger::{Event, SealedOutput};
use baler_model::{Key, RunId};
use baler_store::AbortOutcome;

use super::{DriveOptions, Said, execute, known_run, redo};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{Assume, TakenBack, was_taken_back};
use crate::ledger::{Appended, LedgerState, Marks, Plan, RunStatus};
use crate::report::FailureReport;

/// Whether outputs that may be visible already are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdraw {
    /// Only a run that is not sealed is aborted.
    No,
    /// A sealed run is taken back: its outputs are deleted where they are still its own.
    Yes {
        /// What is said of outputs that are neither staged nor there.
        assume: Assume,
    },
}

/// Aborts a run: its claims are free afterwards, nothing of it is visible.
///
/// Errors: [`EngineError::WrongState`] when the run is sealed and `withdraw` is `No`; when it is committed; when it
/// replaced objects; when an output may have been consumed.
pub async fn abort(flow: &Flow, state: &mut LedgerState, run: &RunId, withdraw: Withdraw) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    flow.ledger.refresh(state).await.map_err(&wrap)?;
    let plan = flow.ledger.read_plan(known_run(flow, state, run)?).await.map_err(&wrap)?;
    let said = match withdraw {
        Withdraw::Yes { assume } => {
            let options = DriveOptions { assume, ..DriveOptions::default() };
            Said::now(flow, known_run(flow, state, run)?, &plan, &options).await?
        }
        Withdraw::No => Said::default(),
    };
    loop {
        let known = known_run(flow, state, run)?.clone();
        let is_moved = super::check_stores(flow, &plan).is_err();
        let event = match (known.status, withdraw) {
            // Nothing of it is visible anywhere: a store that is gone keeps nobody from ending it.
            (RunStatus::Opened, _) => Event::Aborted { run: run.clone(), reason: "asked by an operator".into() },
            (RunStatus::Sealed, Withdraw::Yes { .. }) => {
                super::check_stores(flow, &plan)?;
                may_withdraw(flow, &plan, &known, &said).await?;
                Event::Withdrawing { run: run.clone() }
            }
            (RunStatus::Sealed, Withdraw::No) => {
                let hint = format!("`baler abort {run} --withdraw` takes its outputs back; `baler run` finishes it");
                return Err(wrong(run, "is sealed: some of its outputs may be visible", hint));
            }
            (RunStatus::Withdrawing, _) => {
                super::check_stores(flow, &plan)?;
                return withdraw_to_the_end(flow, state, &plan, &said).await;
            }
            (RunStatus::Committed | RunStatus::Disposed, _) => {
                let hint = "its outputs can be deleted like any object; its sources stay consumed".into();
                return Err(wrong(run, "is committed", hint));
            }
            (RunStatus::Aborted, _) => return Ok(()),
        };
        let aborts = matches!(event, Event::Aborted { .. });
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            Appended::Ours(_) if aborts && is_moved => return Ok(()),
            Appended::Ours(_) if aborts => {
                let marks = flow.ledger.read_marks(run, Marks::new()).await.map_err(&wrap)?;
                execute::abort_groups(flow, &plan, &marks, |_| true).await;
                return super::manifest::clear_running(flow, &plan).await;
            }
            Appended::Ours(_) => return withdraw_to_the_end(flow, state, &plan, &said).await,
            Appended::Lost => {}
        }
    }
}

/// Refuses where taking back could lose data: after a replacement, or where an output may have been consumed.
async fn may_withdraw(
    flow: &Flow,
    plan: &Plan,
    known: &crate::ledger::RunState,
    said: &Said,
) -> Result<(), EngineError> {
    let run = &plan.header.run;
    for output in sealed_outputs(flow, run, known).await? {
        let key = &output.staged.key;
        if !publishing_began(flow, run, &output).await? {
            continue;
        }
        if output.replaces.is_some() {
            let hint = format!("what `{key}` replaced cannot be brought back; `baler retry {run}` finishes the run");
            return Err(wrong(run, format!("may have replaced `{key}`"), hint));
        }
        let staged = flow.target.staged_exists(&output.staged).await?;
        let published = matches!(
            flow.target.confirm(&output.staged).await?,
            baler_store::Confirmation::Ours { .. } | baler_store::Confirmation::Corrupt { .. }
        );
        if !staged && !published && said.of(&output.staged) != Assume::Lost {
            let hint = format!(
                "if a consumer took it, `baler retry {run} --assume published` finishes the run; if it never appeared, \
                 `baler abort {run} --withdraw --assume lost`"
            );
            return Err(wrong(run, format!("may have published `{key}`, which is gone"), hint));
        }
    }
    Ok(())
}

/// How a withdrawal ended.
pub(super) enum Withdrawing {
    /// The run is aborted.
    Done,
    /// Outputs that somebody may have taken away while they were being taken back: claims stay held.
    Blocked(Vec<Key>),
}

async fn withdraw_to_the_end(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    said: &Said,
) -> Result<(), EngineError> {
    let run = &plan.header.run;
    match finish_withdrawal(flow, state, plan, said).await? {
        Withdrawing::Done => Ok(()),
        Withdrawing::Blocked(keys) => {
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            let detail = format!("is being taken back, and somebody may have taken {} away meanwhile", keys.join(", "));
            Err(wrong(run, detail, taken_hint(run)))
        }
    }
}

/// What `drive` reports of outputs that somebody may have taken while they were being taken back.
pub(super) fn may_be_taken(run: &RunId, keys: &[Key]) -> Vec<FailureReport> {
    let failure = |key: &Key| FailureReport {
        group: key.to_string(),
        error: format!(
            "`{key}` was being taken back, and is neither staged nor visible: somebody may have taken it away"
        ),
        hint: Some(taken_hint(run)),
    };
    keys.iter().map(failure).collect()
}

fn taken_hint(run: &RunId) -> String {
    format!(
        "if nobody took it, `baler abort {run} --withdraw --assume lost` ends the run; if somebody did, its sources stay \
         held, so that no record is delivered twice"
    )
}

/// Aborts all uploads, deletes own outputs, appends `Aborted`.
///
/// A consumer may take an output away at any time before. Claims are freed only when each output of the seal was given up
/// while it was still staged, or deleted by us, or never began to be published, or is said to be lost
/// ([`was_taken_back`]). A crash between giving up and `Aborted` leaves the same question, for an operator.
pub(super) async fn finish_withdrawal(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    said: &Said,
) -> Result<Withdrawing, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let known = known_run(flow, state, run)?.clone();
    // Outputs are deleted on the word of `Withdrawing`, whoever wrote it.
    flow.ledger.sync_log(state).await.map_err(&wrap)?;
    let mut unclear = Vec::new();
    for output in sealed_outputs(flow, run, &known).await? {
        // In this order: what is given up first cannot appear behind our back.
        let given_up = flow.target.abort_staged(&output.staged).await? == AbortOutcome::GivenUp;
        let seen = TakenBack {
            given_up,
            deleted: !given_up && take_back(flow, state, run, &output).await?,
            publishing_began: publishing_began(flow, run, &output).await?,
            assume: said.of(&output.staged),
        };
        if !was_taken_back(seen) {
            unclear.push(output.staged.key);
        }
    }
    // Marks of every generation were staged by this run; a late publisher can only complete what still exists.
    let marks = flow.ledger.read_marks(run, Marks::new()).await.map_err(&wrap)?;
    execute::abort_groups(flow, plan, &marks, |_| true).await;
    if !unclear.is_empty() {
        flow.ledger.refresh(state).await.map_err(&wrap)?;
        // Another who took it back may have seen more, and ended it.
        if known_run(flow, state, run)?.status == RunStatus::Withdrawing {
            return Ok(Withdrawing::Blocked(unclear));
        }
    }
    while known_run(flow, state, run)?.status == RunStatus::Withdrawing {
        let event = Event::Aborted { run: run.clone(), reason: "withdrawn by an operator".into() };
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            Appended::Ours(_) | Appended::Lost => {}
        }
    }
    super::manifest::clear_running(flow, plan).await?;
    Ok(Withdrawing::Done)
}

/// Deletes a visible output of a run that is being withdrawn, if it is still its own. Whether it is gone by this call.
///
/// The log is read again before the delete. Were somebody else to end the withdrawal between that and the delete, and the
/// next run to publish the very same bytes at this key, their etag would be the same (ADR 0008, accepted shortcomings).
async fn take_back(
    flow: &Flow,
    state: &mut LedgerState,
    run: &RunId,
    output: &SealedOutput,
) -> Result<bool, EngineError> {
    let Some(version) = redo::own_version(flow, &output.staged).await? else { return Ok(false) };
    flow.ledger.refresh(state).await.map_err(flow.ledger_error())?;
    if known_run(flow, state, run)?.status != RunStatus::Withdrawing {
        return Ok(false);
    }
    redo::delete_version(flow, &output.staged, &version).await
}

/// The lines of a run's last seal.
async fn sealed_outputs(
    flow: &Flow,
    run: &RunId,
    known: &crate::ledger::RunState,
) -> Result<Vec<SealedOutput>, EngineError> {
    let Some(sha) = &known.seal else { return Ok(Vec::new()) };
    Ok(flow.ledger.read_seal(run, sha).await.map_err(flow.ledger_error())?.outputs)
}

async fn publishing_began(flow: &Flow, run: &RunId, output: &SealedOutput) -> Result<bool, EngineError> {
    let began = flow.ledger.publishing_began(run, output.task, output.generation, output.output).await;
    began.map_err(flow.ledger_error())
}

fn wrong(run: &RunId, detail: impl Into<String>, hint: String) -> EngineError {
    EngineError::WrongState { run: run.clone(), detail: detail.into(), hint }
}
