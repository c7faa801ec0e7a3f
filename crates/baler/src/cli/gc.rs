//! `baler gc`: removes what no run needs any more.

use baler_engine::gc::{Effect, GcReport, gc};
use baler_model::Span;
use jiff::SignedDuration;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::{self, quantity};

#[derive(Debug, clap::Args)]
pub(super) struct Gc {
    /// Only collect in these flows; all where none is named
    #[arg(value_name = "FLOW")]
    flows: Vec<String>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave what is younger, by the store's own clock
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = parse_age)]
    older_than: Span,
}

fn parse_age(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|e| match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    })
}

/// What was, or would be, removed of one flow.
#[derive(Debug, Serialize)]
struct Collected {
    flow: String,
    dry_run: bool,
    #[serde(flatten)]
    report: GcReport,
}

impl Gc {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let effect = match self.dry_run {
            true => Effect::DryRun,
            false => Effect::Remove,
        };
        let age = SignedDuration::try_from(self.older_than.duration())?;
        let mut collected = Vec::new();
        for flow in session.flows(&self.flows)? {
            if cancel.is_cancelled() {
                break;
            }
            let state = session.ledger(&flow).await?;
            let report = gc(&flow, &state, age, effect).await?;
            collected.push(Collected { flow: flow.name().to_owned(), dry_run: self.dry_run, report });
        }
        let mut kept = Vec::new();
        if effect == Effect::Remove {
            for swept in session.stores.sweep_trash().await? {
                kept.extend(swept.kept);
            }
        }
        match session.format {
            Format::Json => ui::json(&collected)?,
            Format::Text => ui::out(&text(&collected, effect))?,
        }
        for path in kept {
            ui::talk(&format!(
                "warning: `{path}` was on its way to deletion, changed, and its key is taken again: look at it\n"
            ));
        }
        if effect == Effect::DryRun && !global.quiet {
            ui::talk("nothing was removed; without `--dry-run` it is\n");
        }
        Ok(Exit::Success)
    }
}

fn text(collected: &[Collected], effect: Effect) -> String {
    let verb = match effect {
        Effect::DryRun => "would remove",
        Effect::Remove => "removed",
    };
    let mut text = String::new();
    for Collected { flow, report, .. } in collected {
        let GcReport { uploads, intermediates, ledger_files, superseded } = report;
        if *report == GcReport::default() {
            text.push_str(&format!("{flow}: nothing to remove\n"));
            continue;
        }
        let keys = |keys: &[baler_model::Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let kinds = [
            ("abandoned upload", uploads.clone()),
            ("private intermediate", keys(intermediates)),
            ("leftover of ended runs", keys(ledger_files)),
            ("object of an earlier build", keys(superseded)),
        ];
        for (kind, names) in kinds.iter().filter(|(_, names)| !names.is_empty()) {
            let number = names.len() as u64;
            let counted = match *kind {
                "leftover of ended runs" if number != 1 => {
                    format!("{} leftovers of ended runs", quantity::count(number))
                }
                "object of an earlier build" if number != 1 => {
                    format!("{} objects of earlier builds", quantity::count(number))
                }
                kind => quantity::things(number, kind),
            };
            text.push_str(&format!("{flow}: {verb} {counted}\n"));
            for name in names {
                text.push_str(&format!("  {name}\n"));
            }
        }
    }
    text
}
