//! `baler runs`: where runs stand.

use baler_engine::ledger::{RunState, RunStatus};
use baler_engine::{Flow, Liveness};
use baler_model::ledger::{Account, Heartbeat};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::table::{Align, Table};
use crate::ui::{self, quantity};

#[derive(Debug, clap::Args)]
pub(super) struct Runs {
    /// Only the runs of this flow
    flow: Option<String>,
}

/// One run, as `runs` and `show` print it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) flow: String,
    pub(super) run: String,
    pub(super) status: RunStatus,
    pub(super) opened_at: Timestamp,
    pub(super) opened_by: String,
    pub(super) last_at: Timestamp,
    pub(super) manifest: Option<String>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) groups: u64,
    pub(super) groups_released: u64,
    pub(super) account: Option<Account>,
    pub(super) abort_reason: Option<String>,
    /// Who executes it, if anybody seems to.
    pub(super) executing: Option<Heartbeat>,
}

impl Shown {
    /// Puts together what is known of a run. Cost: one GET for an open one.
    pub(super) async fn of(session: &Session, flow: &Flow, run: &RunState) -> anyhow::Result<Self> {
        let executing = match run.status.is_open() {
            true => flow.ledger.read_heartbeat(&run.run).await?,
            false => None,
        };
        // A heartbeat whose process has ended tells nothing any more.
        let executing = executing.filter(|beat| match session.env.processes.liveness(beat) {
            Liveness::Alive | Liveness::Elsewhere => true,
            Liveness::Dead => false,
        });
        Ok(Self {
            flow: flow.name().to_owned(),
            run: run.run.to_string(),
            status: run.status,
            opened_at: run.opened_at,
            opened_by: run.opened_by.clone(),
            last_at: run.last_at,
            manifest: match &run.trigger {
                baler_model::ledger::Trigger::Manifest(manifest) => Some(manifest.key.to_string()),
                baler_model::ledger::Trigger::Request => None,
            },
            objects: run.counts.inputs,
            bytes: run.counts.bytes,
            groups: u64::from(run.counts.groups),
            groups_released: run.released.len() as u64,
            account: run.account.clone(),
            abort_reason: run.abort_reason.clone(),
            executing,
        })
    }
}

/// Where a run stands, in a word or two.
pub(super) fn word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Opened => "open",
        RunStatus::Sealed => "open, sealed",
        RunStatus::Withdrawing => "open, withdrawing",
        RunStatus::Committed => "committed, sources to remove",
        RunStatus::Disposed => "committed",
        RunStatus::Aborted => "aborted",
    }
}

impl Runs {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let mut shown = Vec::new();
        for flow in session.flows(self.flow.as_slice())? {
            for run in session.ledger(&flow).await?.runs() {
                shown.push(Shown::of(&session, &flow, run).await?);
            }
        }
        match session.format {
            Format::Json => ui::json(&shown)?,
            Format::Text if shown.is_empty() => ui::out("no run yet; `baler run` makes the first\n")?,
            Format::Text => ui::out(&table(&shown).render(0))?,
        }
        Ok(Exit::Success)
    }
}

/// Runs as a table.
pub(super) fn table(shown: &[Shown]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("flow", Left),
        ("run", Left),
        ("opened", Left),
        ("status", Left),
        ("groups", Right),
        ("objects", Right),
        ("bytes", Right),
    ]);
    for run in shown {
        let status = match &run.executing {
            Some(beat) => format!("{}, executing on {}", word(run.status), beat.host),
            None => word(run.status).to_owned(),
        };
        let groups = match run.groups_released {
            0 => quantity::count(run.groups),
            released => format!("{} of {}", quantity::count(run.groups - released), quantity::count(run.groups)),
        };
        table.row([
            run.flow.clone(),
            run.run.clone(),
            quantity::instant(run.opened_at),
            status,
            groups,
            quantity::count(run.objects),
            quantity::bytes(run.bytes),
        ]);
    }
    table
}
