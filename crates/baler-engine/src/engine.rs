//! What a face calls: run a flow, resume what is open, retry, abort.

use baler_model::RunId;
use baler_model::ledger::Failure;

use crate::env::Env;
use crate::error::EngineError;
use crate::fitness;
use crate::flow::Flow;
use crate::inputs::Skip;
use crate::ledger::decide::OpenRefusal;
use crate::ledger::{LedgerState, RunStatus};
use crate::manifests::{self, Completeness, Queued};
use crate::plan::{Ask, Planned, plan};
use crate::report::{FailureReport, GroupCounts, RunReport, Status};
use crate::run::{DriveOptions, Opened, drive, drive_plan, open};

/// How often a plan is made again when rivals were first.
const PLANS: u32 = 10;

/// Finishes what is open, then plans and runs what is new.
///
/// Yields a report per run, the resumed ones first; one with `status = nothing` when there was nothing to do. A run
/// that fails or is stuck does not keep the others from running.
pub async fn run_flow(flow: &Flow) -> Result<Vec<RunReport>, EngineError> {
    run_asked(flow, Ask::default()).await
}

/// As [`run_flow`], with more that is asked for.
pub async fn run_asked(flow: &Flow, ask: Ask<'_>) -> Result<Vec<RunReport>, EngineError> {
    for warning in fitness::ensure(flow).await? {
        flow.env.progress.note(&format!("warning: {warning}"));
    }
    for note in flow.source.recover().await? {
        flow.env.progress.note(&note);
    }
    let wrap = flow.ledger_error();
    let mut state = flow.ledger.load().await.map_err(&wrap)?;
    let (mut reports, waiting) = resume(flow, &mut state).await?;
    match &flow.manifests {
        None => reports.extend(plan_and_drive(flow, &mut state, ask).await?),
        Some(_) => {
            for queued in manifests::queued(flow).await? {
                if flow.env.cancel.is_cancelled() {
                    break;
                }
                match queued {
                    Queued::Faulty(failure) => reports.push(failed(flow, failure)),
                    Queued::Request(request) => {
                        match plan_and_drive(flow, &mut state, Ask { manifest: Some(&request), ..ask }).await {
                            Ok(report) => reports.extend(report),
                            // One manifest at fault does not keep the others from running.
                            Err(error @ EngineError::Unfit { .. }) => {
                                let failure = Failure { error: error.to_string(), hint: error.hint() };
                                let group = request.manifest.key.as_str();
                                reports.push(failed(flow, FailureReport::new(group, failure)));
                            }
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
        }
    }
    if reports.is_empty() {
        let mut nothing = RunReport::nothing(&flow.config.name);
        if let Some(place) = &flow.manifests {
            nothing.notes.push(format!("no manifest is in the queue: `{}queue/*.json`", place.prefix));
        }
        reports.push(nothing);
    }
    if let Some(last) = reports.last_mut() {
        last.notes.extend(waiting);
    }
    flow.ledger.snapshot_if_due(&state).await.map_err(&wrap)?;
    Ok(reports)
}

/// Drives every open run, oldest first; yields their reports.
///
/// A run that was committed before and waits for nothing but `sources.delay` was reported when it was committed: of it
/// only the notes come back, in the second place.
async fn resume(flow: &Flow, state: &mut LedgerState) -> Result<(Vec<RunReport>, Vec<String>), EngineError> {
    let open: Vec<(RunId, RunStatus)> = state.open_runs().map(|r| (r.run.clone(), r.status)).collect();
    let (mut reports, mut waiting) = (Vec::new(), Vec::new());
    for (run, before) in open {
        if flow.env.cancel.is_cancelled() {
            break;
        }
        if before != RunStatus::Committed {
            flow.env.progress.note(&format!("run `{run}` of `{}` is open: finishing it", flow.name()));
        }
        match drive(flow, state, &run, DriveOptions::default()).await {
            Ok(report) if before == RunStatus::Committed && rests(state, &run, &report) => waiting.extend(report.notes),
            Ok(report) => reports.push(report),
            Err(error @ (EngineError::Ledger { .. } | EngineError::Broken { .. })) => return Err(error),
            Err(error) => {
                let failure = Failure { error: error.to_string(), hint: error.hint() };
                let mut report = failed(flow, FailureReport::new(run.as_str(), failure));
                report.run = Some(run);
                reports.push(report);
            }
        }
    }
    Ok((reports, waiting))
}

/// Whether a committed run that was driven waits for nothing but time: it then says so in a note, and only then.
fn rests(state: &LedgerState, run: &RunId, report: &RunReport) -> bool {
    let committed = state.run(run).is_some_and(|known| known.status == RunStatus::Committed);
    committed && !report.notes.is_empty() && matches!(report.status, Status::Committed | Status::Failed)
}

/// Plans one run and drives it.
async fn plan_and_drive(flow: &Flow, state: &mut LedgerState, ask: Ask<'_>) -> Result<Option<RunReport>, EngineError> {
    let request = ask.manifest;
    let wrap = flow.ledger_error();
    let began = flow.env.clock.now();
    let metered = crate::run::meters(flow);
    let mut refusal = None::<OpenRefusal>;
    for _ in 0..PLANS {
        flow.ledger.refresh(state).await.map_err(&wrap)?;
        let planned = plan(flow, state, ask).await?;
        let run = &planned.plan.header.run;
        if state.run(run).is_some() {
            return Ok(Some(known(flow, run)));
        }
        if let Some(request) = request {
            match manifests::completeness(flow, request, &planned) {
                Completeness::Complete => {}
                Completeness::Waits(note) => {
                    let mut waiting = RunReport::nothing(&flow.config.name);
                    waiting.notes.push(note);
                    waiting.groups.skipped = 1;
                    return Ok(Some(waiting));
                }
                Completeness::Wrong(failure) => {
                    let group = request.manifest.key.as_str();
                    return Ok(Some(failed(flow, FailureReport::new(group, failure))));
                }
            }
        }
        if planned.plan.tasks.is_empty() {
            return Ok(Some(nothing_to_do(flow, &planned)));
        }
        match open(flow, state, &planned).await? {
            Opened::Opened(_) => {
                let mut report = drive_plan(flow, state, &planned.plan, DriveOptions::default()).await?;
                add_refused(&mut report, &planned);
                report.requests = crate::run::meters(flow).since(metered).into();
                report.seconds = flow.env.clock.now().duration_since(began).as_secs_f64();
                return Ok(Some(report));
            }
            Opened::Known(run) => return Ok(Some(known(flow, &run))),
            Opened::PlanAgain(why) => refusal = Some(why),
        }
    }
    let mut contended = RunReport::nothing(&flow.config.name);
    contended.status = Status::Contended;
    contended.notes.extend(refusal.map(|why| format!("{why}; gave up after {PLANS} plans, nothing was changed")));
    Ok(Some(contended))
}

/// A duplicate trigger found the run that it started before (INV-RUN-1).
fn known(flow: &Flow, run: &RunId) -> RunReport {
    let mut known = RunReport::nothing(&flow.config.name);
    known.notes.push(format!("run `{run}` was started for this already"));
    known
}

fn failed(flow: &Flow, failure: FailureReport) -> RunReport {
    let mut report = RunReport::nothing(&flow.config.name);
    report.status = Status::Failed;
    report.groups.failed = 1;
    report.failures.push(failure);
    report
}

fn add_refused(report: &mut RunReport, planned: &Planned) {
    report.groups.failed += planned.refused.len() as u64;
    report.groups.skipped += planned.too_small;
    report.failures.extend(planned.refused.iter().cloned());
    if !planned.refused.is_empty() && report.status == Status::Committed {
        report.status = Status::Failed;
    }
}

/// A report that says why nothing is to be done.
fn nothing_to_do(flow: &Flow, planned: &Planned) -> RunReport {
    let mut report = RunReport::nothing(&flow.config.name);
    report.groups = GroupCounts { committed: 0, failed: planned.refused.len() as u64, skipped: planned.too_small };
    report.failures.extend(planned.refused.iter().cloned());
    if !report.failures.is_empty() {
        report.status = Status::Failed;
    }
    report.notes.extend(why_nothing(flow, planned));
    report
}

/// Why a plan has no tasks, in lines for people.
pub fn why_nothing(flow: &Flow, planned: &Planned) -> Vec<String> {
    let from = flow.config.from.pattern.to_string();
    if planned.listed == 0 {
        let url = &flow.source.info().url;
        let prefix = flow.config.from.pattern.literal_prefix();
        return vec![format!("nothing lies under `{prefix}` in `{url}`; `from` is `{from}`")];
    }
    let mut notes = Vec::new();
    for (why, skipped) in &planned.skips {
        let examples = match skipped.examples.is_empty() {
            true => String::new(),
            false => format!(", such as `{}`", skipped.examples.join("`, `")),
        };
        let n = thousands(skipped.objects);
        let (s, are) = if skipped.objects == 1 { ("", "is") } else { ("s", "are") };
        notes.push(match (*why, skipped.examples.first()) {
            (Skip::NoMatch, Some(example)) => {
                let reason = flow.config.from.pattern.explain(example).map(|m| m.to_string()).unwrap_or_default();
                format!("{n} object{s} {are} not matched by `{from}`{examples}: {reason}")
            }
            (Skip::TooFew, _) => {
                let least = flow.config.batch.min_objects;
                format!("{n} object{s} {are} in groups below `batch.min_objects`, which is {least}{examples}")
            }
            (why, _) => format!("{n} object{s} {are} {}{examples}", why.words()),
        });
    }
    notes
}

/// Writes a number with commas: `1,234,567`.
fn thousands(number: u64) -> String {
    match number / 1000 {
        0 => number.to_string(),
        more => format!("{},{:03}", thousands(more), number % 1000),
    }
}

/// Drives one run on request: joins in, whoever else is executing it.
pub async fn retry(flow: &Flow, run: &RunId, options: DriveOptions) -> Result<RunReport, EngineError> {
    let mut state = flow.ledger.load().await.map_err(flow.ledger_error())?;
    drive(flow, &mut state, run, options).await
}

/// The flows of a configuration that know a run of this id.
pub async fn find_run(
    config: &std::sync::Arc<baler_model::Config>,
    env: &Env,
    run: &str,
) -> Result<Option<(Flow, LedgerState, RunId)>, EngineError> {
    let Ok(run) = RunId::try_new(run) else { return Ok(None) };
    for flow in &config.flows {
        let flow = Flow::open(config, flow, env)?;
        let state = flow.ledger.load().await.map_err(flow.ledger_error())?;
        if state.run(&run).is_some() {
            return Ok(Some((flow, state, run)));
        }
    }
    Ok(None)
}
