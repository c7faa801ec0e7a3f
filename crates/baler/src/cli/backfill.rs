//! `baler backfill`: converts a past range again, whole partitions at a time.

use baler_engine::plan::{Again, Ask, Missing};
use baler_model::config::Operation;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Global, parse_time, run};
use crate::exit::Exit;
use crate::failure::UsageError;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Backfill {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    /// Objects from this instant on, by the time that their keys name: `2026-01-01`, or with a time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Timestamp,
    /// … and before this one
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Timestamp,
    /// Build partitions without sources that are gone: their records leave the partition
    #[arg(long)]
    drop_missing: bool,
}

impl Backfill {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let flows = session.flows(std::slice::from_ref(&self.flow))?;
        for flow in &flows {
            match &flow.config.operation {
                Operation::Convert(_) => {}
                Operation::Scatter(_) => {
                    let error = format!(
                        "flow `{}` scatters: each batch is an object, and there are no partitions",
                        flow.name()
                    );
                    let hint = "write a batch again to have it taken again, or `baler quarantine --resubmit`";
                    return Err(UsageError::new(&error, hint).into());
                }
                Operation::Combine(_) => {
                    let error = format!("flow `{}` combines: what was combined is not combined again", flow.name());
                    return Err(UsageError::new(&error, "`baler run` takes up what is new").into());
                }
            }
        }
        if self.from >= self.to {
            return Err(UsageError::new("`--from` is not before `--to`", "the interval is half-open").into());
        }
        let missing = if self.drop_missing { Missing::Drop } else { Missing::GiveUp };
        let ask = Ask { again: Again::Between(self.from, self.to), missing, ..Ask::default() };
        run::run_flows(global, &session, &flows, ask).await
    }
}
