//! `baler verify RUN`: reads outputs again and proves the account.

use baler_engine::verify::{Evidence, VerifyReport, verify};
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::table::{Align, Table};
use crate::ui::{self, quantity};

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The run
    run: String,
}

impl Verify {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let (flow, state, run) = session.run(&self.run).await?;
        let report = verify(&flow, &state, &run).await?;
        match session.format {
            Format::Json => ui::json(&report)?,
            Format::Text => ui::out(&text(&report))?,
        }
        for problem in &report.problems {
            ui::talk(&format!("error: {problem}\n"));
        }
        for output in &report.outputs {
            if let Some(problem) = &output.problem {
                ui::talk(&format!("error: `{}`: {problem}\n", output.key));
            }
        }
        match report.proven {
            true => Ok(Exit::Success),
            false => {
                ui::talk(&format!(
                    "hint: `baler show {run}` tells how the outputs came about and where their sources are\n"
                ));
                Ok(Exit::Failed)
            }
        }
    }
}

fn text(report: &VerifyReport) -> String {
    let mut table = Table::new(&[
        ("output", Align::Left),
        ("bytes", Align::Right),
        ("crc64nvme", Align::Left),
        ("proof", Align::Left),
    ]);
    for output in &report.outputs {
        let proof = match (&output.problem, output.evidence) {
            (Some(_), _) | (None, None) => "NOT PROVEN",
            (None, Some(Evidence::Sources)) => "equals its sources, joined anew",
            (None, Some(Evidence::Checksum)) => "has the checksum computed when it was made",
            (None, Some(Evidence::Version)) => "is the version that was committed",
            (None, Some(Evidence::BuiltAnew)) => "was built anew by a later run: verify that",
        };
        table.row([
            output.key.to_string(),
            quantity::bytes(output.bytes),
            output.crc64nvme.clone().unwrap_or_else(|| "-".into()),
            proof.to_owned(),
        ]);
    }
    let all = quantity::things(report.outputs.len() as u64, "output");
    let failed = report.outputs.iter().filter(|output| output.problem.is_some()).count();
    let verdict = match (report.proven, failed) {
        (true, _) => format!("run {} is proven: {all}, and the account balances", report.run),
        (false, 0) => format!("run {} is NOT proven: its account is at fault", report.run),
        (false, _) => format!("run {} is NOT proven: {failed} of {all} at fault", report.run),
    };
    format!("{}\n{verdict}\n", table.render(0))
}
