//! `baler quarantine`: what a flow has set aside, and its objects converted again.

use std::collections::BTreeMap;

use baler_engine::op::convert::aside::{self, Aside};
use baler_engine::plan::{Again, Ask};
use tokio_util::sync::CancellationToken;

use super::{Format, Global, run};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::{self, quantity};

#[derive(Debug, clap::Args)]
pub(super) struct Quarantine {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    /// Show so many records
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Convert the objects that they come from once more, by the flow as it is now
    #[arg(long)]
    resubmit: bool,
}

impl Quarantine {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let flows = session.flows(std::slice::from_ref(&self.flow))?;
        for flow in &flows {
            let state = session.ledger(flow).await?;
            let found = aside::set_aside(flow, &state).await?;
            if self.resubmit && !found.is_empty() {
                let keys = aside::keys(&found);
                return run::run_flows(global, &session, &flows, Ask { again: Again::Keys(&keys), ..Ask::default() })
                    .await;
            }
            match session.format {
                Format::Json => ui::json(&found)?,
                Format::Text => ui::out(&text(flow.name(), &found, self.limit))?,
            }
            if !found.is_empty() {
                let command = global.command();
                ui::talk(&format!(
                    "next: correct the flow or the objects, then `{command} quarantine {} --resubmit`\n",
                    flow.name()
                ));
            }
        }
        Ok(Exit::Success)
    }
}

fn text(flow: &str, found: &[Aside], limit: usize) -> String {
    if found.is_empty() {
        return format!("{flow}: nothing is set aside\n");
    }
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for aside in found {
        *reasons.entry(aside.reason.as_str()).or_default() += 1;
    }
    let objects = aside::keys(found).len() as u64;
    let records = quantity::things(found.len() as u64, "record");
    let mut text = format!("{flow}: {records} set aside, of {}\n", quantity::things(objects, "object"));
    let mut often: Vec<(&str, u64)> = reasons.into_iter().collect();
    often.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in often.iter().take(5) {
        text.push_str(&format!("  {} × {reason}\n", quantity::count(*count)));
    }
    text.push('\n');
    for aside in found.iter().take(limit) {
        let place = match (aside.line, aside.row) {
            (Some(line), _) => format!(":{line}"),
            (None, Some(row)) => format!(" row {row}"),
            (None, None) => String::new(),
        };
        text.push_str(&format!("{}{place}: {}\n", aside.key, aside.reason));
        if let Some(raw) = &aside.raw {
            text.push_str(&format!("    {}\n", raw.trim_end().escape_debug()));
        }
    }
    if found.len() > limit {
        let more = quantity::count((found.len() - limit) as u64);
        text.push_str(&format!("… and {more} more; `--limit` shows them\n"));
    }
    text
}
