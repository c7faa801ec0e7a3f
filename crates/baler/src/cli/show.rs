//! `baler show RUN|FLOW`: all that the ledger tells about one of them.

use baler_engine::Flow;
use baler_engine::ledger::{LedgerState, Plan, RunState, RunStatus};
use baler_engine::op::convert::columns::written_by_last_run;
use baler_model::config::{AfterCommit, Operation};
use baler_model::ledger::{Account, CommittedObject, DisposalPlan, Event, FailedAttempt, OperationOptions};
use baler_model::{LogSeq, RunId};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::runs::{self, Shown};
use super::{Format, Global};
use crate::exit::Exit;
use crate::failure::UsageError;
use crate::session::Session;
use crate::ui::table::{Align, Table};
use crate::ui::{self, quantity};

/// Its runs are told by the records that went through, and by the table that keeps them.
const SCATTER: &str = "scatter";

/// Runs shown of a flow; outputs and failed attempts shown of a run.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// A run, or a flow
    #[arg(value_name = "RUN|FLOW")]
    what: String,
}

impl Show {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        if session.config.flow(&self.what).is_some() {
            let names = [self.what.clone()];
            for flow in session.flows(&names)? {
                show_flow(&session, &flow).await?;
            }
            return Ok(Exit::Success);
        }
        let found = session.run(&self.what).await.map_err(|error| match error.is::<UsageError>() {
            true => UsageError::new(
                format!("there is neither a flow nor a run `{}`", self.what),
                "`baler runs` lists the runs of all flows",
            )
            .into(),
            false => error,
        });
        let (flow, state, run) = found?;
        show_run(&session, &flow, &state, &run).await?;
        Ok(Exit::Success)
    }
}

#[derive(Debug, Serialize)]
struct ShownFlow {
    flow: String,
    from: String,
    to: String,
    state: String,
    after_commit: &'static str,
    /// The columns that the last committed run had, and where they came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    runs: Vec<Shown>,
    consumed_versions: u64,
    outputs: u64,
}

async fn show_flow(session: &Session, flow: &Flow) -> anyhow::Result<()> {
    let state = session.ledger(flow).await?;
    let mut shown = Vec::new();
    for run in state.runs() {
        shown.push(Shown::of(session, flow, run).await?);
    }
    let config = &flow.config;
    let targets = match &config.operation {
        Operation::Combine(_) | Operation::Scatter(_) => vec![config.to.template.as_str()],
        Operation::Convert(convert) => convert.targets.iter().map(|target| target.template.as_str()).collect(),
    };
    let columns = written_by_last_run(flow, &state).await?;
    let shown = ShownFlow {
        flow: flow.name().to_owned(),
        from: format!("{} in {}", config.from.pattern, flow.source.info().url),
        to: format!("{} in {}", targets.join(", "), flow.target.info().url),
        columns: columns.iter().map(|schema| format!("{} ({})", schema.columns, schema.origin)).collect(),
        state: session.config.state.to_string(),
        after_commit: match &config.sources.after_commit {
            AfterCommit::Keep => "keep",
            AfterCommit::Delete => "delete",
            AfterCommit::Archive { .. } => "archive",
        },
        consumed_versions: flow.ledger.consumed(&state).await?.len() as u64,
        outputs: state.objects().len() as u64,
        runs: shown,
    };
    match session.format {
        Format::Json => ui::json(&shown),
        Format::Text => Ok(ui::out(&flow_text(&shown))?),
    }
}

fn flow_text(shown: &ShownFlow) -> String {
    let ShownFlow { flow, from, to, state, after_commit, columns, runs, consumed_versions, outputs } = shown;
    let mut text = format!(
        "flow     {flow}\nfrom     {from}\nto       {to}\nsources  {after_commit}\nledger   {state}\ntotal    {}, {}, {} \
         consumed and still known\n",
        quantity::things(runs.len() as u64, "run"),
        quantity::things(*outputs, "output"),
        quantity::things(*consumed_versions, "object version"),
    );
    for columns in columns {
        text.push_str(&format!("columns  {columns}\n"));
    }
    if !runs.is_empty() {
        let skipped = runs.len().saturating_sub(SHOWN);
        text.push('\n');
        text.push_str(&runs::table(&runs[skipped..]).render(0));
        if skipped > 0 {
            text.push_str(&format!(
                "… after {} earlier; `baler runs {flow}` lists all\n",
                quantity::count(skipped as u64)
            ));
        }
    }
    text
}

/// One line of a run's history.
#[derive(Debug, Serialize)]
struct Step {
    seq: LogSeq,
    at: Timestamp,
    by: String,
    event: &'static str,
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownRun {
    #[serde(flatten)]
    run: Shown,
    operation: &'static str,
    source: String,
    target: String,
    as_of: Timestamp,
    history: Vec<Step>,
    outputs: Vec<CommittedObject>,
    /// Keys that it holds and has not published.
    pending_outputs: Vec<String>,
    failed_attempts: Vec<FailedAttempt>,
    undo: Vec<String>,
}

async fn show_run(session: &Session, flow: &Flow, state: &LedgerState, run: &RunId) -> anyhow::Result<()> {
    let known = state.run(run).ok_or_else(|| UsageError::new(format!("no run `{run}`"), "`baler runs` lists them"))?;
    let plan = flow.ledger.read_plan(known).await?;
    let (history, outputs) = history(flow, known).await?;
    let shown = ShownRun {
        run: Shown::of(session, flow, known).await?,
        operation: match plan.header.operation {
            OperationOptions::Combine(_) => "combine",
            OperationOptions::Convert(_) => "convert",
            OperationOptions::Scatter(_) => SCATTER,
        },
        source: plan.header.source.url.clone(),
        target: plan.header.target.url.clone(),
        as_of: plan.header.as_of,
        history,
        outputs,
        pending_outputs: known.outputs.iter().map(ToString::to_string).collect(),
        failed_attempts: flow.ledger.read_failed(run).await?,
        undo: undo(flow, known, &plan),
    };
    match session.format {
        Format::Json => ui::json(&shown),
        Format::Text => Ok(ui::out(&run_text(&shown))?),
    }
}

/// The log entries of a run, and what its commit recorded. Cost: one GET per entry between its first and its last.
async fn history(flow: &Flow, run: &RunState) -> anyhow::Result<(Vec<Step>, Vec<CommittedObject>)> {
    let seqs = (run.opened.0..=run.last.0).map(LogSeq);
    let entries: Vec<_> = stream::iter(seqs.map(|seq| flow.ledger.read_entry(seq))).buffered(16).try_collect().await?;
    let (mut steps, mut outputs) = (Vec::new(), Vec::new());
    for entry in entries.into_iter().filter(|entry| *entry.event.run() == run.run) {
        let event = entry.event.name();
        let detail = match entry.event {
            Event::Opened { counts, .. } => Some(format!(
                "{}, {}, {}",
                quantity::things(counts.inputs, "object"),
                quantity::bytes(counts.bytes),
                quantity::things(u64::from(counts.groups), "group")
            )),
            Event::Staged { n, .. } => Some(format!("stage {n}")),
            Event::Sealed { account, released, .. } => Some(match released.len() {
                0 => format!("the account of {} balances", quantity::things(account.objects_out, "output")),
                gone => format!(
                    "the account of {} balances, {} given up",
                    quantity::things(account.objects_out, "output"),
                    quantity::things(gone as u64, "group")
                ),
            }),
            Event::Committed { objects, .. } => {
                let detail = format!("{} published and confirmed", quantity::things(objects.len() as u64, "object"));
                outputs = objects;
                Some(detail)
            }
            Event::Withdrawing { .. } => None,
            Event::Aborted { reason, .. } => Some(reason),
            Event::Disposed { sources_gone, .. } => {
                Some(if sources_gone { "sources removed" } else { "sources kept" }.to_owned())
            }
        };
        steps.push(Step { seq: entry.seq, at: entry.at, by: entry.by, event, detail });
    }
    Ok((steps, outputs))
}

/// What can still be undone, and how.
fn undo(flow: &Flow, run: &RunState, plan: &Plan) -> Vec<String> {
    let id = &run.run;
    let mut ways = ways_back(flow, run, plan, id);
    if let OperationOptions::Scatter(options) = &plan.header.operation
        && let Some(upsert) = &options.upsert
    {
        ways.push(format!(
            "rows that it wrote to the table `{}` stay; `_baler_run` = '{id}' tells them, and later batches replace them",
            upsert.table
        ));
    }
    ways
}

fn ways_back(flow: &Flow, run: &RunState, plan: &Plan, id: &RunId) -> Vec<String> {
    match run.status {
        RunStatus::Opened => vec![format!("nothing is visible yet: `baler abort {id}` ends it and frees its sources")],
        RunStatus::Sealed => vec![
            format!(
                "`baler abort {id} --withdraw` deletes those outputs that are visible already, and frees the sources"
            ),
            format!("`baler retry {id}` goes on with it"),
        ],
        RunStatus::Withdrawing => vec![format!("`baler abort {id} --withdraw` finishes taking it back")],
        RunStatus::Aborted => vec!["nothing is left to undo: it has no outputs".into()],
        RunStatus::Committed | RunStatus::Disposed => {
            let mut ways = match &plan.header.sources {
                DisposalPlan::Keep => vec![
                    "the sources are still there: delete the outputs above by hand".to_owned(),
                    again(&plan.header.operation).into(),
                ],
                DisposalPlan::Delete { .. } => vec![
                    "the outputs hold all that the sources held: keep them until those are restored from elsewhere"
                        .into(),
                    "on a versioned bucket, deleted sources come back by removing their delete markers".into(),
                ],
                DisposalPlan::Archive { store, prefix, .. } => vec![format!(
                    "the sources lie under {}: move them back, then delete the outputs above by hand",
                    ui::address(&store.url, &format!("{prefix}{id}/"))
                )],
            };
            if run.status == RunStatus::Committed && plan.header.sources != DisposalPlan::Keep {
                ways.insert(
                    0,
                    format!("not all sources are removed yet: `baler run {}` goes on with that", flow.name()),
                );
            }
            ways
        }
    }
}

fn again(operation: &OperationOptions) -> &'static str {
    match operation {
        OperationOptions::Combine(_) => {
            "to have sources combined again, write them again: a new version of an object is a new input"
        }
        OperationOptions::Convert(_) => {
            "to have sources converted again, write them again: a new version of an object is a new input"
        }
        OperationOptions::Scatter(_) => {
            "to have a batch taken again, write it again: a new version of an object is a new input"
        }
    }
}

fn run_text(shown: &ShownRun) -> String {
    let ShownRun { run, operation, source, target, as_of, history, outputs, pending_outputs, failed_attempts, undo } =
        shown;
    let mut text = format!(
        "run      {}\nflow     {}\nstatus   {}\nfrom     {source}\nto       {target}\ninputs   {}, {}, as of {}\n",
        run.run,
        run.flow,
        runs::word(run.status),
        quantity::things(run.objects, "object"),
        quantity::bytes(run.bytes),
        quantity::instant(*as_of),
    );
    if let Some(manifest) = &run.manifest {
        text.push_str(&format!("manifest {manifest}\n"));
    }
    if let Some(beat) = &run.executing {
        text.push_str(&format!(
            "executing on {} (process {}) since {}, seen {}\n",
            beat.host,
            beat.pid,
            quantity::instant(beat.since),
            quantity::instant(beat.at)
        ));
    }
    text.push_str("\nhistory\n");
    let mut table = Table::headless(&[Align::Left, Align::Left, Align::Left, Align::Left]);
    for step in history {
        let detail = step.detail.clone().unwrap_or_default();
        table.row([quantity::instant(step.at), step.event.to_owned(), detail, format!("by {}", step.by)]);
    }
    text.push_str(&table.render(2));
    if let Some(account) = &run.account {
        text.push_str(&account_text(account, operation));
    }
    text.push_str(&outputs_text(outputs, pending_outputs));
    if !failed_attempts.is_empty() {
        text.push_str("\nfailed attempts\n");
        for failed in failed_attempts.iter().take(SHOWN) {
            text.push_str(&format!(
                "  {}  task {}: {}\n",
                quantity::instant(failed.at),
                failed.task,
                failed.failure.error
            ));
            if let Some(hint) = &failed.failure.hint {
                text.push_str(&format!("    hint: {hint}\n"));
            }
        }
        text.push_str(&rest(failed_attempts.len()));
    }
    text.push_str("\nhow to undo\n");
    for way in undo {
        text.push_str(&format!("  {way}\n"));
    }
    text
}

/// What a run's account says: bytes balance where they were joined, records where they were converted or answered.
fn account_text(account: &Account, operation: &str) -> String {
    let Account { bytes_in, bytes_out, bytes_inserted, bytes_removed, objects_in, objects_out, .. } = account;
    let (bytes_in, bytes_out) = (quantity::count(*bytes_in), quantity::count(*bytes_out));
    let objects = format!("{} → {}", quantity::things(*objects_in, "object"), quantity::count(*objects_out));
    let Some(read) = account.records_in else {
        let (inserted, removed) = (quantity::count(*bytes_inserted), quantity::count(*bytes_removed));
        return format!(
            "\naccount\n  {bytes_in} bytes in + {inserted} inserted - {removed} removed = {bytes_out} bytes out, {objects}\n"
        );
    };
    let mut text = format!("\naccount\n  {bytes_in} bytes in, {bytes_out} bytes out, {objects}\n");
    let read = quantity::things(read, "record");
    let count = |number: Option<u64>| quantity::count(number.unwrap_or(0));
    let aside = count(account.quarantined);
    match (account.sql_in, account.sql_out) {
        (Some(taken), Some(given)) => {
            let (taken, given) = (quantity::count(taken), quantity::count(given));
            text.push_str(&format!("  {read} in, {aside} set aside, {taken} into SQL, {given} out of it\n"));
        }
        _ if operation == SCATTER => {
            let through = count(account.records_out);
            // Only a query leaves records out.
            let left_out = match account.filtered {
                Some(0) | None => String::new(),
                left_out => format!(" + {} left out", count(left_out)),
            };
            text.push_str(&format!("  {read} answered = {through} went through + {aside} failed{left_out}\n"));
        }
        _ => {
            let (out, left_out) = (count(account.records_out), count(account.filtered));
            text.push_str(&format!("  {read} in = {out} out + {aside} set aside + {left_out} left out\n"));
        }
    }
    text
}

fn outputs_text(outputs: &[CommittedObject], pending: &[String]) -> String {
    let mut text = String::new();
    if !outputs.is_empty() {
        text.push_str("\noutputs\n");
        let mut table = Table::headless(&[Align::Left, Align::Right]);
        for output in outputs.iter().take(SHOWN) {
            table.row([output.key.to_string(), quantity::bytes(output.size)]);
        }
        text.push_str(&table.render(2));
        text.push_str(&rest(outputs.len()));
    }
    if !pending.is_empty() {
        text.push_str("\noutputs to come\n");
        for key in pending.iter().take(SHOWN) {
            text.push_str(&format!("  {key}\n"));
        }
        text.push_str(&rest(pending.len()));
    }
    text
}

fn rest(all: usize) -> String {
    match all.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("  … and {} more; `--format json` lists all\n", quantity::count(more as u64)),
    }
}
