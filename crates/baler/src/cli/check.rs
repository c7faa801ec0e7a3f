//! `baler check`: validates file, stores and permissions; `--iam` prints the least policy.

use baler_engine::check::{CheckReport, check};
use tokio_util::sync::CancellationToken;

use super::{Format, Global, iam};
use crate::exit::Exit;
use crate::session::{Session, read_config};
use crate::{failure, ui};

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The flows to check; all where none is named
    #[arg(value_name = "FLOW")]
    flows: Vec<String>,
    /// Print the least IAM policy that the flows need, and ask no store
    #[arg(long, conflicts_with = "flows")]
    iam: bool,
}

impl Check {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        if self.iam {
            return print_policy(global);
        }
        let session = Session::start(global, cancel)?;
        let mut reports = Vec::new();
        let flows = session.flows(&self.flows)?;
        session.note_missing(&flows);
        for flow in flows {
            let mut report = match check(&flow).await {
                Ok(report) => report,
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    failure::print(&error);
                    let errors = vec![error.to_string()];
                    CheckReport { flow: flow.name().to_owned(), errors, ..CheckReport::default() }
                }
            };
            // Two roles of one store have the same to say.
            report.warnings.dedup();
            report.errors.dedup();
            reports.push(report);
        }
        match session.format {
            Format::Json => ui::json(&reports)?,
            Format::Text => ui::out(&reports.iter().map(text).collect::<String>())?,
        }
        let faulty = reports.iter().any(|report| !report.errors.is_empty());
        Ok(if faulty { Exit::Failed } else { Exit::Success })
    }
}

fn print_policy(global: &Global) -> anyhow::Result<Exit> {
    let config = read_config(global)?;
    let policy = iam::policy(&config);
    ui::json(&policy)?;
    if global.quiet {
        return Ok(Exit::Success);
    }
    let (containers, google) = (iam::containers(&config), iam::google_buckets(&config));
    if !containers.is_empty() {
        ui::talk(&format!(
            "the policy above is for AWS. On Azure, the key or SAS token of {} is all that is asked for; a SAS needs read, \
             write, create, delete and list (`sp=rcwdl`) on the container (`sr=c`)\n",
            containers.join(", ")
        ));
    }
    if !google.is_empty() {
        ui::talk(&format!(
            "the policy above is for AWS. On Google Cloud, the service account needs the role Storage Object User \
             (`roles/storage.objectUser`) on {}\n",
            google.join(", ")
        ));
    }
    if policy.is_empty() && containers.is_empty() && google.is_empty() {
        ui::talk("no flow uses S3: nothing needs to be allowed\n");
    }
    Ok(Exit::Success)
}

fn text(report: &CheckReport) -> String {
    let CheckReport { flow, fine, warnings, errors, example_output } = report;
    let mut text = format!("{flow}: {}\n", if errors.is_empty() { "can run" } else { "CANNOT RUN" });
    for line in fine {
        text.push_str(&format!("  ok       {line}\n"));
    }
    if let Some(output) = example_output {
        text.push_str(&format!("  ok       an output would be named {output}\n"));
    }
    for line in warnings {
        text.push_str(&format!("  warning  {line}\n"));
    }
    for line in errors {
        text.push_str(&format!("  error    {line}\n"));
    }
    text
}
