//! What an operator can do to a run: abort it, or take a sealed one back.

use baler_model::RunId;
use baler_model::ledger::Event;

use super::{execute, known_run, redo};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::{Appended, LedgerState, Marks, Plan, RunStatus};

/// Whether outputs that may be visible already are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdraw {
    /// Only a run that is not sealed is aborted.
    No,
    /// A sealed run is taken back: its outputs are deleted where they are still its own.
    Yes,
}

/// Aborts a run: its claims are free afterwards, nothing of it is visible.
///
/// Errors: [`EngineError::WrongState`] when the run is sealed and `withdraw` is `No`; when it is committed; when it
/// replaced objects; when an output may have been consumed.
pub async fn abort(flow: &Flow, state: &mut LedgerState, run: &RunId, withdraw: Withdraw) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    flow.ledger.refresh(state).await.map_err(&wrap)?;
    loop {
        let known = known_run(flow, state, run)?.clone();
        let plan = flow.ledger.read_plan(&known).await.map_err(&wrap)?;
        let is_moved = super::check_stores(flow, &plan).is_err();
        let event = match (known.status, withdraw) {
            // Nothing of it is visible anywhere: a store that is gone keeps nobody from ending it.
            (RunStatus::Opened, _) => Event::Aborted { run: run.clone(), reason: "asked by an operator".into() },
            (RunStatus::Sealed, Withdraw::Yes) => {
                super::check_stores(flow, &plan)?;
                may_withdraw(flow, &plan, &known).await?;
                Event::Withdrawing { run: run.clone() }
            }
            (RunStatus::Sealed, Withdraw::No) => {
                let hint = format!("`baler abort {run} --withdraw` takes its outputs back; `baler run` finishes it");
                return Err(wrong(run, "is sealed: some of its outputs may be visible", hint));
            }
            (RunStatus::Withdrawing, _) => {
                super::check_stores(flow, &plan)?;
                return finish_withdrawal(flow, state, &plan).await;
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
            Appended::Ours(_) => return finish_withdrawal(flow, state, &plan).await,
            Appended::Lost => {}
        }
    }
}

/// Refuses where taking back could lose data: after a replacement, or where an output may have been consumed.
async fn may_withdraw(flow: &Flow, plan: &Plan, known: &crate::ledger::RunState) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let Some(sha) = &known.seal else { return Ok(()) };
    let sealed = flow.ledger.read_seal(run, sha).await.map_err(&wrap)?;
    for output in &sealed.outputs {
        let key = &output.staged.key;
        let began =
            flow.ledger.publishing_began(run, output.task, output.generation, output.output).await.map_err(&wrap)?;
        if !began {
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
        if !staged && !published {
            let hint = format!("a consumer may have it: `baler retry {run} --assume published` finishes the run");
            return Err(wrong(run, format!("may have published `{key}`, which is gone"), hint));
        }
    }
    Ok(())
}

/// Aborts all uploads, deletes own outputs, appends `Aborted`.
pub(super) async fn finish_withdrawal(flow: &Flow, state: &mut LedgerState, plan: &Plan) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let known = known_run(flow, state, run)?.clone();
    // Marks of every generation were staged by this run; a late publisher can only complete what still exists.
    let marks = flow.ledger.read_marks(run, Marks::new()).await.map_err(&wrap)?;
    execute::abort_groups(flow, plan, &marks, |_| true).await;
    if let Some(sha) = &known.seal {
        let sealed = flow.ledger.read_seal(run, sha).await.map_err(&wrap)?;
        for output in &sealed.outputs {
            flow.target.abort_staged(&output.staged).await?;
            redo::delete_own(flow, &output.staged).await?;
        }
    }
    while known_run(flow, state, run)?.status == RunStatus::Withdrawing {
        let event = Event::Aborted { run: run.clone(), reason: "withdrawn by an operator".into() };
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            Appended::Ours(_) | Appended::Lost => {}
        }
    }
    super::manifest::clear_running(flow, plan).await
}

fn wrong(run: &RunId, detail: impl Into<String>, hint: String) -> EngineError {
    EngineError::WrongState { run: run.clone(), detail: detail.into(), hint }
}
