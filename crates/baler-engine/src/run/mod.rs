//! The life of a run: execute → seal → publish → commit → dispose, each step safe to cut and safe to repeat.
//!
//! [`drive`] looks where the log says that a run stands and does the next step, until the run has ended or an operator
//! must decide. It may be called by any number of processes at once. Which step may be done is decided by
//! [`crate::ledger::decide`]; a step that turns out to be done already is no error.

mod batches;
mod dispose;
mod execute;
mod heartbeat;
mod manifest;
mod open;
mod operator;
mod publish;
mod redo;
mod said;
mod seal;

use std::collections::{BTreeMap, BTreeSet};

use baler_model::ledger::{Failure, GroupId, Heartbeat, Outcome};
use baler_model::{Key, RunId};
use baler_store::Metered;

use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::Assume;
use crate::ledger::{LedgerState, Marks, Plan, RunState, RunStatus};
use crate::report::{FailureReport, GroupCounts, OutputReport, RunReport, Status};

pub use open::{Opened, open};
pub use operator::{Withdraw, abort};
use said::Said;

/// What an operator allows while a run is driven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriveOptions {
    /// What is said of outputs that may be lost or may be published and consumed. It is said of those that are neither
    /// staged nor there when driving begins, not of what may happen to others while it lasts.
    pub assume: Assume,
    /// The only keys of which it is said; where there are none, all of them.
    pub assume_of: BTreeSet<Key>,
    /// Whether foreign objects at the run's keys may be replaced.
    pub foreign: Foreign,
    /// What is done about a heartbeat of somebody else.
    pub rival: Rival,
}

/// Whether foreign objects at a run's keys may be replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Foreign {
    /// They block the run.
    #[default]
    Keep,
    /// They are replaced: `retry --overwrite`.
    Replace,
}

/// What is done about a run that somebody else is executing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rival {
    /// It is left to them.
    #[default]
    Respect,
    /// We join in: safe at any time, only work may be done twice.
    Join,
}

/// How driving a run ended.
#[derive(Debug)]
enum Ending {
    /// The run has ended, or waits for nothing but time.
    Rest,
    /// An operator must decide.
    Blocked(Vec<FailureReport>),
    /// Something failed that a later call may do; the run stays open.
    Unfinished(Vec<FailureReport>),
    /// Somebody else is executing it.
    Contended(Heartbeat),
    /// The user stopped it.
    Interrupted,
}

/// Drives a run as far as it goes and reports on it.
pub async fn drive(
    flow: &Flow,
    state: &mut LedgerState,
    run: &RunId,
    options: DriveOptions,
) -> Result<RunReport, EngineError> {
    let plan = flow.ledger.read_plan(known_run(flow, state, run)?).await.map_err(flow.ledger_error())?;
    drive_plan(flow, state, &plan, options).await
}

/// Drives a run whose plan is at hand: the one that the log chose.
pub async fn drive_plan(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    options: DriveOptions,
) -> Result<RunReport, EngineError> {
    let run = &plan.header.run;
    let began = flow.env.clock.now();
    let metered = meters(flow);
    let mut marks = Marks::new();
    let ending = match heartbeat::rival(flow, run, options.rival).await? {
        Some(rival) => Ending::Contended(rival),
        None => match heartbeat::beating(flow, run, steps(flow, state, plan, &options, &mut marks)).await {
            Ok(ending) => ending,
            Err(EngineError::Interrupted) => Ending::Interrupted,
            Err(error) if flow.env.cancel.is_cancelled() => {
                tracing::debug!(%error, "failed while being interrupted");
                Ending::Interrupted
            }
            Err(error) => return Err(error),
        },
    };
    let mut report = build_report(flow, state, plan, marks, ending).await?;
    report.requests = meters(flow).since(metered).into();
    report.seconds = flow.env.clock.now().duration_since(began).as_secs_f64();
    let ended = state.run(run).is_some_and(|r| matches!(r.status, RunStatus::Disposed | RunStatus::Aborted));
    if ended {
        flow.ledger.write_report(run, &report).await.map_err(flow.ledger_error())?;
    }
    Ok(report)
}

/// The requests of all stores of a flow, each store once.
pub(crate) fn meters(flow: &Flow) -> Metered {
    let mut seen: Vec<*const baler_store::Meter> = Vec::new();
    let mut sum = Metered::default();
    let stores = [Some(&flow.source), Some(&flow.target), Some(flow.ledger.store())];
    let more = [flow.archive.as_ref().map(|a| &a.store), flow.manifests.as_ref().map(|m| &m.store)];
    for store in stores.into_iter().chain(more).flatten() {
        let meter: *const baler_store::Meter = store.meter();
        if !seen.contains(&meter) {
            seen.push(meter);
            sum = sum.plus(store.meter().read());
        }
    }
    sum
}

async fn steps(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    options: &DriveOptions,
    marks: &mut Marks,
) -> Result<Ending, EngineError> {
    let run = &plan.header.run;
    flow.ledger.refresh(state).await.map_err(flow.ledger_error())?;
    let known = known_run(flow, state, run)?;
    check_stores(flow, plan)?;
    let said = &Said::now(flow, known, plan, options).await?;
    loop {
        if flow.env.cancel.is_cancelled() {
            return Ok(Ending::Interrupted);
        }
        let status = known_run(flow, state, run)?.status;
        match status {
            RunStatus::Opened => {
                manifest::show_running(flow, plan).await?;
                execute::tasks(flow, state, plan, marks).await?;
                match seal::seal(flow, state, plan, marks, said).await? {
                    seal::Sealing::Moved => {}
                    seal::Sealing::Blocked(failures) => return Ok(Ending::Blocked(failures)),
                }
            }
            RunStatus::Sealed => match publish::publish(flow, state, plan, marks, said).await? {
                publish::Publishing::Moved => {}
                publish::Publishing::Blocked(failures) => return Ok(Ending::Blocked(failures)),
            },
            RunStatus::Withdrawing => match operator::finish_withdrawal(flow, state, plan, said).await? {
                operator::Withdrawing::Done => {}
                operator::Withdrawing::Blocked(keys) => {
                    return Ok(Ending::Blocked(operator::may_be_taken(run, &keys)));
                }
            },
            RunStatus::Committed => match dispose::dispose(flow, state, plan).await? {
                dispose::Disposing::Moved => {}
                dispose::Disposing::Later => return Ok(Ending::Rest),
                dispose::Disposing::Failed(failures) => return Ok(Ending::Unfinished(failures)),
            },
            RunStatus::Disposed => return Ok(Ending::Rest),
            RunStatus::Aborted => {
                manifest::clear_running(flow, plan).await?;
                return Ok(Ending::Rest);
            }
        }
    }
}

/// The run as the state has it.
pub(crate) fn known_run<'a>(flow: &Flow, state: &'a LedgerState, run: &RunId) -> Result<&'a RunState, EngineError> {
    state.run(run).ok_or_else(|| EngineError::NoRun { flow: flow.config.name.clone(), run: run.to_string() })
}

/// Refuses to go on when `baler.toml` now means other stores than the plan.
pub(crate) fn check_stores(flow: &Flow, plan: &Plan) -> Result<(), EngineError> {
    let pairs = [(&plan.header.source, &flow.source), (&plan.header.target, &flow.target)];
    for (planned, store) in pairs {
        if planned.url != store.info().url {
            return Err(EngineError::Moved {
                run: plan.header.run.clone(),
                planned: planned.url.clone(),
                now: store.info().url.clone(),
            });
        }
    }
    Ok(())
}

/// The reasons for which groups were given up, by group.
pub(crate) fn reasons(plan: &Plan, marks: &Marks) -> BTreeMap<GroupId, Failure> {
    let mut reasons = BTreeMap::new();
    for task in &plan.tasks {
        if let Some(Outcome::GivenUp { reason }) = marks.get(&task.task).map(|m| &m.outcome) {
            reasons.entry(task.group).or_insert_with(|| reason.clone());
        }
    }
    reasons
}

async fn build_report(
    flow: &Flow,
    state: &LedgerState,
    plan: &Plan,
    marks: Marks,
    ending: Ending,
) -> Result<RunReport, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let known = known_run(flow, state, run)?;
    let mut report = RunReport { run: Some(run.clone()), ..RunReport::nothing(&flow.config.name) };
    // Of a run that released no group marks tell only how the work was done, and those at hand do. Which groups were given up,
    // and why, another process may have marked since.
    let has_ended = match known.status {
        RunStatus::Committed | RunStatus::Disposed => true,
        RunStatus::Opened | RunStatus::Sealed | RunStatus::Withdrawing | RunStatus::Aborted => false,
    };
    let marks = match has_ended && known.released.is_empty() && marks.len() == plan.tasks.len() {
        true => marks,
        false => flow.ledger.read_marks(run, marks).await.map_err(&wrap)?,
    };
    let groups = u64::from(known.counts.groups);
    let released = known.released.len() as u64;
    for task in plan.tasks.iter().filter(|t| !known.released.contains(&t.group)) {
        if let Some(Outcome::Staged { work, .. }) = marks.get(&task.task).map(|m| &m.outcome) {
            report.bytes_copied_server_side += work.bytes_copied;
            report.bytes_through_client += work.bytes_through;
        }
    }
    let keys: BTreeMap<GroupId, &str> = plan.tasks.iter().map(|t| (t.group, t.key.as_str())).collect();
    for (group, failure) in reasons(plan, &marks) {
        report.failures.push(FailureReport::new(keys.get(&group).copied().unwrap_or_default(), failure));
    }
    report.groups = GroupCounts { committed: 0, failed: released, skipped: 0 };
    report.status = match known.status {
        RunStatus::Committed | RunStatus::Disposed => {
            report.groups.committed = groups - released;
            report.account = known.account.clone().unwrap_or_default();
            report.outputs = published(flow, known, &records_of(plan, &marks)).await?;
            if report.failures.is_empty() && released == 0 { Status::Committed } else { Status::Failed }
        }
        RunStatus::Aborted => {
            report.groups.failed = groups;
            if report.failures.is_empty() { Status::Aborted } else { Status::Failed }
        }
        RunStatus::Opened | RunStatus::Sealed | RunStatus::Withdrawing => Status::Interrupted,
    };
    match ending {
        Ending::Rest => {
            if known.status == RunStatus::Committed {
                report.notes.push(dispose::waiting(plan, known));
            }
        }
        Ending::Blocked(failures) => {
            report.status = Status::Blocked;
            report.failures.extend(failures);
        }
        Ending::Unfinished(failures) => {
            report.status = Status::Failed;
            report.failures.extend(failures);
        }
        Ending::Contended(rival) => {
            report.status = Status::Contended;
            report.notes.push(heartbeat::describe(run, &rival));
        }
        Ending::Interrupted => {
            report.status = Status::Interrupted;
            report.notes.push(format!("run `{run}` is open; `baler run {}` goes on where it stopped", flow.name()));
        }
    }
    Ok(report)
}

/// The records of each output, where they were counted.
fn records_of<'m>(plan: &Plan, marks: &'m Marks) -> BTreeMap<&'m Key, u64> {
    let mut counted = BTreeMap::new();
    for mark in plan.tasks.iter().filter_map(|task| marks.get(&task.task)) {
        if let Outcome::Staged { outputs, records, .. } = &mark.outcome {
            counted.extend(outputs.iter().map(|staged| &staged.key).zip(records.iter().map(|output| output.records)));
        }
    }
    counted
}

/// What the run's `Committed` recorded.
async fn published(
    flow: &Flow,
    known: &RunState,
    records: &BTreeMap<&Key, u64>,
) -> Result<Vec<OutputReport>, EngineError> {
    let Some(seq) = known.committed else { return Ok(Vec::new()) };
    let entry = flow.ledger.read_entry(seq).await.map_err(flow.ledger_error())?;
    let baler_model::ledger::Event::Committed { objects, .. } = entry.event else { return Ok(Vec::new()) };
    Ok(objects
        .into_iter()
        .map(|o| OutputReport {
            records: records.get(&o.key).copied(),
            key: o.key,
            bytes: o.size,
            etag: o.etag.to_string(),
        })
        .collect())
}
