//! `baler retry RUN`: goes on with a run, saying what only an operator can say.

use baler_engine::engine;
use baler_engine::ledger::decide::Assume;
use baler_engine::run::{DriveOptions, Foreign, Rival};
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::{Format, Global, runs};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui;
use crate::ui::report::{self, Told};

#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    /// The run
    run: String,
    /// Replace foreign objects that lie at the run's output keys
    #[arg(long)]
    overwrite: bool,
    /// Say what became of outputs that are neither staged nor visible
    #[arg(long, value_name = "WHAT", value_enum)]
    assume: Option<Assumption>,
}

/// What an operator knows about outputs that are neither staged nor visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Assumption {
    /// They never appeared: stage them again
    Lost,
    /// They appeared, and a consumer took them away
    Published,
}

impl Retry {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let (flow, state, run) = session.run(&self.run).await?;
        let status = state.run(&run).map(|known| known.status);
        if let Some(status) = status.filter(|status| !status.is_open()) {
            match session.format {
                Format::Json => ui::json(&flow.ledger.read_report(&run).await?)?,
                Format::Text => {
                    let word = runs::word(status);
                    ui::out(&format!("run {run} of {} is {word}: there is nothing to retry\n", flow.name()))?;
                }
            }
            return Ok(Exit::Success);
        }
        let options = DriveOptions {
            assume: match self.assume {
                None => Assume::Nothing,
                Some(Assumption::Lost) => Assume::Lost,
                Some(Assumption::Published) => Assume::Published,
            },
            foreign: match self.overwrite {
                true => Foreign::Replace,
                false => Foreign::Keep,
            },
            // Who asks for it by name means it: joining is safe.
            rival: Rival::Join,
            ..DriveOptions::default()
        };
        super::run::mind_memory(&flow);
        let report = engine::retry(&flow, &run, options).await?;
        let exit = report::exit(&report);
        let told = [Told { report, target: flow.target.info().url.clone() }];
        match session.format {
            Format::Json => ui::json(&told[0].report)?,
            Format::Text => ui::out(&report::summary(&told))?,
        }
        ui::talk(&if global.quiet { report::failures(&told) } else { report::talk(&told, &global.command()) });
        Ok(exit)
    }
}
