//! `baler preview`: the first records of a flow as they would come out.

use baler_engine::op::convert::preview;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::{self, quantity, report};

#[derive(Debug, clap::Args)]
pub(super) struct Preview {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    /// Show so many records
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
}

impl Preview {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let flows = session.flows(std::slice::from_ref(&self.flow))?;
        let mut exit = Exit::Success;
        for flow in &flows {
            let state = session.ledger(flow).await?;
            let shown = preview::preview(flow, &state, self.limit).await?;
            match session.format {
                Format::Json => ui::json(&shown)?,
                Format::Text => {
                    let lines: Vec<String> = shown.records.iter().map(|record| format!("{record}\n")).collect();
                    ui::out(&lines.concat())?;
                    if !shown.columns.is_empty() {
                        ui::talk(&format!("columns ({}): {}\n", shown.origin, shown.columns));
                    }
                }
            }
            if let Some(records) = shown.sample {
                let records = quantity::things(records, "record");
                ui::talk(&format!("the query was asked over the first {records} alone\n"));
            }
            if !shown.aside.is_empty() {
                let (first, all) = (&shown.aside[0], quantity::things(shown.aside.len() as u64, "record"));
                ui::talk(&format!("{all} would be set aside, such as {first}\n"));
            }
            if !shown.refused.is_empty() {
                ui::talk(&report::failed(flow.name(), &shown.refused));
                exit = Exit::Failed;
            }
        }
        Ok(exit)
    }
}
