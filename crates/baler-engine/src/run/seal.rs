//! Seals a run: every task is marked, every upload is still there, every covered group's account balances (INV-ACCT-1).
//!
//! Nothing is published before `Sealed`, and exactly the lines of its seal are.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::Staged;
use baler_model::ledger::{
    Account, Event, FORMAT_VERSION, Failure, GatherTask, GroupId, OperationOptions, Outcome, OutputRecords, SealHeader,
    SealedOutput, Task,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{Said, execute, known_run, reasons, redo};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{Balance, SealDecision, group_account, may_seal};
use crate::ledger::{Appended, LedgerState, Marks, Plan, Seal};
use crate::report::FailureReport;

/// How sealing ended.
pub(super) enum Sealing {
    /// The log moved on: look where the run stands.
    Moved,
    /// An operator must decide.
    Blocked(Vec<FailureReport>),
}

pub(super) async fn seal(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    said: &Said,
) -> Result<Sealing, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    loop {
        *marks = flow.ledger.read_marks(run, std::mem::take(marks)).await.map_err(&wrap)?;
        let decided_at = state.head();
        let known = known_run(flow, state, run)?;
        let tally = execute::tally_of(flow, state, plan, marks)?;
        let event = match may_seal(known.status, known.counts.groups, &tally) {
            SealDecision::NotYet | SealDecision::WrongStatus => return Ok(Sealing::Moved),
            SealDecision::Abort => {
                let reason = reasons(plan, marks).into_values().next();
                let reason = reason.map_or_else(|| "every group was given up".to_owned(), |f| f.error);
                Event::Aborted { run: run.clone(), reason }
            }
            SealDecision::Seal { released } => {
                match redo::lost_uploads(flow, state, plan, marks, &released, said).await? {
                    redo::Redone::NothingLost if state.head() == decided_at => {}
                    // Looking for uploads re-read the log: what was decided before it moved is decided again.
                    redo::Redone::NothingLost | redo::Redone::Again => continue,
                    redo::Redone::Blocked(failures) => return Ok(Sealing::Blocked(failures)),
                }
                if give_up_unbalanced(flow, plan, marks, &released).await? {
                    continue;
                }
                take_away_dangling(flow, state, plan, &released).await?;
                if state.head() != decided_at {
                    continue;
                }
                flow.ledger.sync_marks(run, marks).await.map_err(&wrap)?;
                let seal = build(plan, marks, &released);
                let sha256 = flow.ledger.write_seal(&seal).await.map_err(&wrap)?;
                Event::Sealed {
                    run: run.clone(),
                    account: seal.header.account.clone(),
                    seal: sha256,
                    released: released.into_iter().collect(),
                }
            }
        };
        let given_up: BTreeSet<GroupId> = match &event {
            Event::Sealed { released, .. } => released.iter().copied().collect(),
            Event::Aborted { .. }
            | Event::Opened { .. }
            | Event::Staged { .. }
            | Event::Committed { .. }
            | Event::Withdrawing { .. }
            | Event::Disposed { .. } => plan.tasks.iter().map(|t| t.group).collect(),
        };
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            Appended::Ours(_) => {
                execute::abort_groups(flow, plan, marks, |group| given_up.contains(&group)).await;
                return Ok(Sealing::Moved);
            }
            Appended::Lost => {
                // Somebody else's entry: if it was about this run, it may be sealed or aborted by now.
                if known_run(flow, state, run)?.last == state.head() {
                    return Ok(Sealing::Moved);
                }
            }
        }
    }
}

/// Deletes what is visible beside an output that can never appear: a manifest of a group that the next seal releases.
///
/// The group's give-up mark is there and final, so nobody may publish it again. The log is read before each delete.
async fn take_away_dangling(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    released: &BTreeSet<GroupId>,
) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let (known, decided_at) = (known_run(flow, state, run)?, state.head());
    let Some(sha) = &known.seal else { return Ok(()) };
    if *released == known.released {
        return Ok(());
    }
    let newly: BTreeSet<GroupId> = released.difference(&known.released).copied().collect();
    let sealed = flow.ledger.read_seal(run, sha).await.map_err(&wrap)?;
    let beside = |line: &&SealedOutput| plan.tasks[line.task.0 as usize].is_beside(line.output);
    for line in sealed.outputs.iter().filter(beside).filter(|line| newly.contains(&line.group)) {
        let Some(version) = redo::own_version(flow, &line.staged).await? else { continue };
        flow.ledger.refresh(state).await.map_err(&wrap)?;
        if state.head() != decided_at {
            return Ok(());
        }
        let _was_there = redo::delete_version(flow, &line.staged, &version).await?;
    }
    Ok(())
}

/// Gives up every group whose account does not balance. Returns whether there was one.
async fn give_up_unbalanced(
    flow: &Flow,
    plan: &Plan,
    marks: &mut Marks,
    released: &BTreeSet<GroupId>,
) -> Result<bool, EngineError> {
    let mut found = false;
    let mut groups: BTreeMap<GroupId, Vec<&Task>> = BTreeMap::new();
    for task in plan.tasks.iter().filter(|t| !released.contains(&t.group)) {
        groups.entry(task.group).or_default().push(task);
    }
    let sizes = plan.group_sizes();
    let balance = Balance::of(&plan.header.operation);
    for (group, tasks) in groups {
        let (objects, bytes) = sizes[&group];
        let mut account = None::<Account>;
        let mut sizes_agree = true;
        for (task, mark) in tasks.iter().filter_map(|task| Some((task, marks.get(&task.task)?))) {
            let Some(one) = mark.outcome.account() else { continue };
            let (outputs, records): (&[Staged], &[OutputRecords]) = match &mark.outcome {
                Outcome::Staged { outputs, records, .. } => (outputs, records),
                Outcome::Taken(_) | Outcome::GivenUp { .. } => (&[], &[]),
            };
            sizes_agree &= counted(&plan.header.operation, task, outputs, &one, records);
            account = Some(account.map_or_else(|| one.clone(), |sum| sum.plus(&one)));
        }
        let fault = match group_account(objects, bytes, balance, &account.unwrap_or_default()) {
            Err(imbalance) => imbalance.to_string(),
            Ok(()) if !sizes_agree => "the staged bytes are not those that were counted".into(),
            Ok(()) => continue,
        };
        found = true;
        for task in tasks {
            let generation = marks.get(&task.task).map_or(0, |m| m.generation + 1);
            let reason = Failure {
                error: format!("the account of `{}` does not balance: {fault}", task.key),
                hint: Some("nothing of this group was published; this is a bug in Baler, please report it".into()),
            };
            let attempt = flow.env.ids.attempt_id();
            let mark = execute::give_up(flow, plan, task, generation, &attempt, reason).await?;
            marks.insert(task.task, Box::new(mark));
        }
    }
    Ok(found)
}

/// Whether the account of a task speaks of the very outputs that it staged, and those of records balance one by one.
fn counted(
    operation: &OperationOptions,
    task: &Task,
    outputs: &[Staged],
    account: &Account,
    records: &[OutputRecords],
) -> bool {
    match operation {
        OperationOptions::Combine(_) => outputs.first().is_some_and(|staged| staged.size == account.bytes_out),
        // Of a chunk, and of what cannot be read behind the last one, as many records as were found when the run was planned.
        OperationOptions::Scatter(_)
            if account.records_in != task.chunk().map(|chunk| chunk.records).or(task.gather().map(unreadable)) =>
        {
            false
        }
        OperationOptions::Convert(_) | OperationOptions::Scatter(_) => {
            let queried = matches!(operation, OperationOptions::Convert(options) if options.sql.is_some());
            let bytes: u64 = outputs.iter().map(|staged| staged.size).sum();
            bytes == account.bytes_out
                && outputs.len() as u64 == account.objects_out
                && outputs.len() == records.len()
                && records.iter().all(OutputRecords::balances)
                // Without SQL nothing is given to it: each record is held.
                && (queried || records.iter().all(|records| records.queried.is_none()))
        }
    }
}

/// Records of a batch that no chunk has.
fn unreadable(gather: &GatherTask) -> u64 {
    u64::from(gather.damage.is_some())
}

/// Every output of groups that were not given up, as the winning marks name it.
fn build(plan: &Plan, marks: &Marks, released: &BTreeSet<GroupId>) -> Seal {
    let mut account = None::<Account>;
    let mut outputs = Vec::new();
    for task in plan.tasks.iter().filter(|t| !released.contains(&t.group)) {
        let Some(mark) = marks.get(&task.task) else { continue };
        let Some(one) = mark.outcome.account() else { continue };
        account = Some(account.map_or_else(|| one.clone(), |sum| sum.plus(&one)));
        if let Outcome::Staged { outputs: staged, .. } = &mark.outcome {
            for (number, staged) in (0u32..).zip(staged) {
                outputs.push(sealed_output(task, mark.generation, number, staged));
            }
        }
    }
    let header = SealHeader {
        version: FORMAT_VERSION,
        run: plan.header.run.clone(),
        account: account.unwrap_or_default(),
        outputs: outputs.len() as u64,
    };
    Seal { header, outputs }
}

pub(super) fn sealed_output(task: &Task, generation: u32, output: u32, staged: &Staged) -> SealedOutput {
    SealedOutput {
        group: task.group,
        task: task.task,
        generation,
        output,
        staged: staged.clone(),
        replaces: task.replaced_by(output, &staged.key).cloned(),
    }
}

/// Which of these outputs are no longer staged, in order.
pub(super) async fn missing(flow: &Flow, outputs: Vec<SealedOutput>) -> Result<Vec<SealedOutput>, EngineError> {
    let checks = outputs.into_iter().map(|output| async move {
        let there = flow.target.staged_exists(&output.staged).await?;
        Ok::<_, EngineError>((!there).then_some(output))
    });
    let missing: Vec<Option<SealedOutput>> =
        stream::iter(checks).buffered(flow.env.limits.concurrency).try_collect().await?;
    Ok(missing.into_iter().flatten().collect())
}
