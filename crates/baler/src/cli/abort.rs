//! `baler abort RUN`: ends a run without effect.

use baler_engine::ledger::decide::Assume;
use baler_engine::run::{Withdraw, abort};
use clap::ValueEnum;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui;

#[derive(Debug, clap::Args)]
pub(super) struct Abort {
    /// The run
    run: String,
    /// Take a sealed run back: delete those of its outputs that are visible already
    #[arg(long)]
    withdraw: bool,
    /// Say that outputs which are neither staged nor visible never appeared
    #[arg(long, value_name = "WHAT", value_enum, requires = "withdraw")]
    assume: Option<Assumption>,
}

/// What an operator knows about outputs that are neither staged nor visible. Where a consumer took them, the run cannot be
/// taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Assumption {
    /// They never appeared
    Lost,
}

impl Abort {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let (flow, mut state, run) = session.run(&self.run).await?;
        let withdraw = match self.withdraw {
            true => Withdraw::Yes {
                assume: match self.assume {
                    Some(Assumption::Lost) => Assume::Lost,
                    None => Assume::Nothing,
                },
            },
            false => Withdraw::No,
        };
        abort(&flow, &mut state, &run, withdraw).await?;
        match session.format {
            Format::Json => ui::json(&json!({ "flow": flow.name(), "run": run, "status": "aborted" }))?,
            Format::Text => ui::out(&format!(
                "run {run} of {} is aborted: nothing of it is visible, its sources are free\n",
                flow.name()
            ))?,
        }
        Ok(Exit::Success)
    }
}
