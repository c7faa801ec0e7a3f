//! `baler plan`: what a run would do, and `--explain KEY`: what becomes of one key.

use std::path::Path;

use baler_engine::Flow;
use baler_engine::engine::why_nothing;
use baler_engine::inputs::{Skip, Skips};
use baler_engine::plan::{Estimate, Planned, estimate};
use baler_engine::prospect::{Explanation, Prospect, Verdict, explain, prospects};
use baler_engine::report::FailureReport;
use baler_model::ledger::{OperationOptions, Task};
use baler_store::StoreKind;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui::table::{Align, Table};
use crate::ui::{self, quantity, report};

/// Outputs shown per plan; the rest is counted.
const SHOWN: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    /// The flows to plan; all where none is named
    #[arg(value_name = "FLOW")]
    flows: Vec<String>,
    /// Say which flow takes this key, or why none does
    #[arg(long, value_name = "KEY")]
    explain: Option<String>,
}

/// What one flow would do.
#[derive(Debug, Serialize)]
struct FlowPlan {
    flow: String,
    /// Runs that would be finished first.
    open_runs: Vec<String>,
    target: String,
    plans: Vec<OnePlan>,
    /// Manifests that wait, and for what.
    waits: Vec<String>,
    /// Groups and manifests that would be refused.
    refused: Vec<FailureReport>,
    #[serde(skip)]
    kind: StoreKind,
}

/// One run in prospect.
#[derive(Debug, Serialize)]
struct OnePlan {
    /// What would be done: `combine`, `convert`.
    #[serde(rename = "do")]
    operation: &'static str,
    manifest: Option<String>,
    groups: u64,
    objects: u64,
    bytes: u64,
    estimate: Estimate,
    /// How long listing the sources took: planning is what comes behind.
    seconds_listing: f64,
    outputs: Vec<PlannedOutput>,
    skipped: Skips,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why_nothing: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedOutput {
    key: String,
    objects: u64,
    bytes: u64,
    replaces: bool,
    /// Why something would be replaced, in words.
    #[serde(skip)]
    because: &'static str,
}

impl Plan {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let flows = session.flows(&self.flows)?;
        if let Some(key) = &self.explain {
            return explain_key(&session, &flows, key).await;
        }
        session.note_missing(&flows);
        let mut plans = Vec::new();
        for flow in &flows {
            plans.push(plan_flow(&session, flow).await?);
        }
        match session.format {
            Format::Json => ui::json(&plans)?,
            Format::Text => {
                let texts: Vec<String> = plans.iter().map(text).collect();
                ui::out(&texts.join("\n"))?;
            }
        }
        for plan in &plans {
            ui::talk(&report::failed(&plan.flow, &plan.refused));
        }
        Ok(Exit::Success)
    }
}

async fn plan_flow(session: &Session, flow: &Flow) -> anyhow::Result<FlowPlan> {
    let state = session.ledger(flow).await?;
    let mut plan = FlowPlan {
        flow: flow.name().to_owned(),
        open_runs: state.open_runs().map(|run| run.run.to_string()).collect(),
        target: flow.target.info().url.clone(),
        plans: Vec::new(),
        waits: Vec::new(),
        refused: Vec::new(),
        kind: flow.target.info().kind,
    };
    for prospect in prospects(flow, &state).await? {
        match prospect {
            Prospect::Waits(note) => plan.waits.push(note),
            Prospect::Fails(failure) => plan.refused.push(failure),
            Prospect::Planned(planned) => {
                plan.refused.extend(planned.refused.iter().cloned());
                plan.plans.push(one_plan(flow, &planned));
            }
        }
    }
    if let Some(place) = &flow.manifests
        && plan.plans.is_empty()
        && plan.waits.is_empty()
        && plan.refused.is_empty()
    {
        plan.waits.push(format!("no manifest is in the queue: `{}queue/*.json`", place.prefix));
    }
    Ok(plan)
}

fn one_plan(flow: &Flow, planned: &Planned) -> OnePlan {
    let header = &planned.plan.header;
    let tasks = &planned.plan.tasks;
    OnePlan {
        operation: match header.operation {
            OperationOptions::Combine(_) => "combine",
            OperationOptions::Convert(_) => "convert",
            OperationOptions::Scatter(_) => "scatter",
        },
        manifest: header.manifest.as_ref().map(|m| m.key.to_string()),
        groups: u64::from(header.counts.groups),
        objects: header.counts.inputs,
        bytes: header.counts.bytes,
        estimate: estimate(flow, planned),
        seconds_listing: planned.listing.as_secs_f64(),
        outputs: tasks.iter().flat_map(planned_outputs).collect(),
        skipped: planned.skips.clone(),
        why_nothing: if tasks.is_empty() { why_nothing(flow, planned) } else { Vec::new() },
    }
}

fn planned_outputs(task: &Task) -> Vec<PlannedOutput> {
    if task.chunk().is_some() {
        return Vec::new();
    }
    let because = match task.gather() {
        Some(_) => "replaces that of an earlier version of the batch",
        None => "replaces a foreign object",
    };
    let Some(convert) = &task.convert else {
        return vec![PlannedOutput {
            key: task.key.to_string(),
            objects: task.inputs.len() as u64,
            bytes: task.bytes(),
            replaces: task.replaces.is_some(),
            because,
        }];
    };
    let outputs = convert.outputs.iter().map(|output| {
        let taken = || (0u32..).zip(&task.inputs).filter(|(number, _)| output.takes(*number));
        PlannedOutput {
            key: output.key.to_string(),
            objects: taken().count() as u64,
            bytes: taken().map(|(_, input)| input.size).sum(),
            replaces: output.replaces.is_some(),
            because: "is built anew",
        }
    });
    outputs.collect()
}

fn text(plan: &FlowPlan) -> String {
    let mut text = String::new();
    let flow = &plan.flow;
    if !plan.open_runs.is_empty() {
        text.push_str(&format!("{flow}: would first finish run {}\n", plan.open_runs.join(", ")));
    }
    for one in &plan.plans {
        let from = one.manifest.as_ref().map(|key| format!(" for manifest {key}")).unwrap_or_default();
        if one.outputs.is_empty() {
            let said = if plan.refused.is_empty() { "nothing to do" } else { "nothing would be done" };
            text.push_str(&format!("{flow}: {said}{from}\n"));
            for note in &one.why_nothing {
                text.push_str(&format!("  {note}\n"));
            }
            continue;
        }
        text.push_str(&format!(
            "{flow}: would {} {} ({}) into {}{from}, in {}\n",
            one.operation,
            quantity::things(one.objects, "object"),
            quantity::bytes(one.bytes),
            quantity::things(one.outputs.len() as u64, "output"),
            plan.target
        ));
        text.push_str(&outputs(one));
        text.push_str(&cost(one, plan.kind));
        for (why, skipped) in &one.skipped {
            text.push_str(&skip_line(*why, skipped.objects, skipped.examples.first()));
        }
    }
    for note in &plan.waits {
        text.push_str(&format!("{flow}: {note}\n"));
    }
    text
}

fn outputs(one: &OnePlan) -> String {
    let mut table = Table::headless(&[Align::Left, Align::Right, Align::Right, Align::Left]);
    for output in one.outputs.iter().take(SHOWN) {
        let replaces = if output.replaces { output.because } else { "" };
        table.row([
            output.key.clone(),
            quantity::things(output.objects, "object"),
            quantity::bytes(output.bytes),
            replaces.to_owned(),
        ]);
    }
    let mut text = table.render(2);
    if one.outputs.len() > SHOWN {
        text.push_str(&format!("  … and {} more\n", quantity::count((one.outputs.len() - SHOWN) as u64)));
    }
    text
}

fn cost(one: &OnePlan, kind: StoreKind) -> String {
    let Estimate { bytes_copied_server_side, bytes_through_client, requests, dollars, seconds } = &one.estimate;
    let sent = requests.list + requests.get + requests.put + requests.copy + requests.head + requests.delete;
    match kind {
        StoreKind::Directory | StoreKind::Memory => String::new(),
        StoreKind::Azure | StoreKind::Gcs => format!(
            "  estimate: {} through this machine, {}, {}\n",
            quantity::bytes(*bytes_through_client),
            quantity::things(sent, "request"),
            quantity::seconds(*seconds)
        ),
        StoreKind::S3 => {
            format!(
                "  estimate: {} copied by the store, {} through this machine, {}, {:.4} USD at us-east-1 list prices, \
                 {}\n",
                quantity::bytes(*bytes_copied_server_side),
                quantity::bytes(*bytes_through_client),
                quantity::things(sent, "request"),
                dollars,
                quantity::seconds(*seconds)
            )
        }
    }
}

fn skip_line(why: Skip, objects: u64, example: Option<&String>) -> String {
    let example = example.map(|key| format!(", such as `{key}`")).unwrap_or_default();
    format!("  skips {} {}{example}\n", quantity::things(objects, "object"), why.words())
}

/// What every flow makes of one key.
#[derive(Debug, Serialize)]
struct Explained {
    flow: String,
    #[serde(flatten)]
    explanation: Explanation,
}

async fn explain_key(session: &Session, flows: &[Flow], key: &str) -> anyhow::Result<Exit> {
    let mut explained = Vec::new();
    for flow in flows {
        // `lake:a/b` and `/data/lake/a/b` name the store, too; a flow of another store is not asked.
        let from = &flow.config.from.store;
        let url = &flow.source.info().url;
        let prefixes = [format!("{from}:"), format!("{}/", url.trim_end_matches('/'))];
        // So does the path of a file, seen from here, unless the store has such a key.
        let path = std::path::absolute(key).ok().filter(|path| path.is_file() && !Path::new(url).join(key).exists());
        let path = path.as_deref().and_then(Path::to_str).unwrap_or(key);
        let own = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix.as_str()));
        let own = own.or_else(|| path.strip_prefix(prefixes[1].as_str()));
        let names_store = session.config.stores.keys().any(|id| key.starts_with(&format!("{id}:")));
        let key = match (own, names_store) {
            (Some(key), _) => key,
            (None, true) => continue,
            (None, false) => key,
        };
        let state = session.ledger(flow).await?;
        for explanation in explain(flow, &state, key).await? {
            explained.push(Explained { flow: flow.name().to_owned(), explanation });
        }
    }
    match session.format {
        Format::Json => ui::json(&explained)?,
        Format::Text => {
            let lines: String = explained.iter().map(explained_text).collect();
            ui::out(if lines.is_empty() { "no flow reads that store\n" } else { &lines })?;
        }
    }
    Ok(Exit::Success)
}

fn explained_text(Explained { flow, explanation }: &Explained) -> String {
    let Explanation { pattern, captures, verdict } = explanation;
    let said = match verdict {
        Verdict::NoManifest => format!("cannot say: `from` is `{pattern}`, and no manifest is in the queue"),
        Verdict::Differs { reason } => format!("does not take it: {reason}; `from` is `{pattern}`"),
        Verdict::NotThere => "would take it, but no such object is there now".into(),
        Verdict::PassedOver { why, condition } => {
            let condition = condition.as_ref().map(|c| format!(": `{c}` does not hold")).unwrap_or_default();
            format!("matches it, and passes it over: it is {}{condition}", one(*why))
        }
        Verdict::Taken { output: Some(output) } => format!("takes it, for `{output}`"),
        Verdict::Taken { output: None } => "takes it".into(),
    };
    let mut text = format!("{flow}: {said}\n");
    for (name, value) in captures {
        text.push_str(&format!("  {name} = {value}\n"));
    }
    text
}

/// Why a single object is passed over.
fn one(why: Skip) -> &'static str {
    match why {
        Skip::DirectoryMarker => "a directory marker",
        Skip::TooFew => "in a group below `min_objects`",
        Skip::Unreadable => "a name that is not UTF-8",
        Skip::Uncommitted => "an output of a run of another flow that is not committed yet",
        Skip::NoMatch | Skip::Condition | Skip::Empty | Skip::Unsettled | Skip::Consumed | Skip::Held | Skip::Own => {
            why.words()
        }
    }
}
