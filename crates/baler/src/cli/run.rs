//! `baler run`: finishes what is open, then plans and runs what is new.

use baler_engine::plan::{Ask, Missing};
use baler_engine::report::RunReport;
use baler_engine::{EngineError, Flow, engine};
use baler_model::config::Operation;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::report::{self, Told};
use crate::{failure, ui};

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The flows to run; all where none is named
    #[arg(value_name = "FLOW")]
    flows: Vec<String>,
    /// Build partitions without sources that are gone: their records leave the partition
    #[arg(long)]
    drop_missing: bool,
}

impl Run {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let flows = session.flows(&self.flows)?;
        session.note_missing(&flows);
        let missing = if self.drop_missing { Missing::Drop } else { Missing::GiveUp };
        run_flows(global, &session, &flows, Ask { missing, ..Ask::default() }).await
    }
}

/// Says when memory that a flow frees goes back to the system.
pub(super) fn mind_memory(flow: &Flow) {
    baler_alloc::give_back_after(match &flow.config.operation {
        // What chunks take and free within a second would be many times what they need.
        Operation::Scatter(_) => baler_alloc::SOON,
        // They are faster with memory that stays.
        Operation::Combine(_) | Operation::Convert(_) => baler_alloc::LATER,
    });
}

/// Runs flows one after the other and tells what they did.
pub(super) async fn run_flows(
    global: &Global,
    session: &Session,
    flows: &[Flow],
    ask: Ask<'_>,
) -> anyhow::Result<Exit> {
    let mut told: Vec<Told> = Vec::new();
    let mut exit = Exit::Success;
    for flow in flows {
        if flow.env.cancel.is_cancelled() {
            break;
        }
        mind_memory(flow);
        let reports = match engine::run_asked(flow, ask).await {
            Ok(reports) => reports,
            // One flow that cannot run does not keep the others from it.
            Err(error) => {
                if session.format == Format::Json {
                    let report = RunReport::failed(&flow.config.name, &error);
                    ui::out(&format!("{}\n", serde_json::to_string(&report)?))?;
                }
                let error = match error {
                    EngineError::Store(_) | EngineError::Unfit { .. } => {
                        anyhow::Error::from(error).context(format!("flow `{}` did not run", flow.name()))
                    }
                    // These name the flow or the run themselves.
                    EngineError::Ledger { .. }
                    | EngineError::Moved { .. }
                    | EngineError::NoRun { .. }
                    | EngineError::WrongState { .. }
                    | EngineError::Interrupted
                    | EngineError::Broken { .. } => error.into(),
                };
                failure::print(&error);
                exit = exit.max(failure::exit(&error));
                continue;
            }
        };
        for report in reports {
            exit = exit.max(report::exit(&report));
            if session.format == Format::Json {
                ui::out(&format!("{}\n", serde_json::to_string(&report)?))?;
            }
            told.push(Told { report, target: flow.target.info().url.clone() });
        }
    }
    if session.format == Format::Text {
        ui::out(&report::summary(&told))?;
    }
    ui::talk(&if global.quiet { report::failures(&told) } else { report::talk(&told, &global.command()) });
    Ok(exit)
}
