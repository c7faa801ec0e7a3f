//! Plans a run of any operation: which inputs make which output. Pure, but for listings and HEADs.
//!
//! The order of reading is the protocol's: the log head first (`base_seq`), then targets, then sources; what lands in
//! between is seen too late rather than lost.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::config::{AfterCommit, Operation};
use baler_model::ledger::{
    Claim, ContentHash, Counts, DisposalPlan, FORMAT_VERSION, Manifest, OperationOptions, OutputClaim, PlanHeader,
    PlannedStore, Task, Trigger,
};
use baler_model::{InputVersion, Key, LogSeq, Pattern, RunId, Template};
use baler_store::Store;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{self, Skip, Skips};
use crate::ledger::{ConsumedSet, LedgerState, Plan};
use crate::op::{combine, convert, scatter};
use crate::report::FailureReport;

/// What a flow would do now.
#[derive(Debug)]
pub struct Planned {
    /// The plan; without tasks, nothing is to be done.
    pub plan: Plan,
    /// What started it.
    pub trigger: Trigger,
    /// Number of the trigger's earlier runs that ended early.
    pub generation: u32,
    /// The keys that it will write.
    pub outputs: Vec<OutputClaim>,
    /// Objects passed over, by reason.
    pub skips: Skips,
    /// Groups that were refused.
    pub refused: Vec<FailureReport>,
    /// Groups too small to be worth it.
    pub too_small: u64,
    /// Objects that the store listed.
    pub listed: u64,
    /// How long the store took to list them.
    pub listing: SignedDuration,
    /// Objects that were matched and free: what a manifest counts.
    pub matched: u64,
    /// What earlier runs of the same trigger took: a manifest counts that too, wherever it is now.
    pub earlier: u64,
}

/// What a plan will cost.
///
/// Units: bytes, requests, US dollars by the list prices of us-east-1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Bytes that the store copies by itself.
    pub bytes_copied_server_side: u64,
    /// Input bytes that pass through this machine.
    pub bytes_through_client: u64,
    /// Requests, those of the ledger included.
    pub requests: crate::report::RequestCounts,
    /// What the requests cost, in US dollars; nothing on a directory.
    pub dollars: f64,
    /// How long it may take, in seconds.
    pub seconds: f64,
}

/// What a manifest asks for, and which one it is.
#[derive(Debug, Clone)]
pub struct ManifestRequest {
    /// The manifest object.
    pub manifest: Manifest,
    /// What it says by name: `manifest.source`, `manifest.target`.
    pub names: BTreeMap<String, String>,
    /// How many objects must be there.
    pub file_count: Option<u64>,
    /// The greatest output in bytes.
    pub max_file_size: Option<u64>,
}

/// What a run is asked to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The manifest that asks for it.
    pub manifest: Option<&'a ManifestRequest>,
    /// What is converted again, beside what is new.
    pub again: Again<'a>,
    /// Whether partitions may be built without sources that are gone: their records leave the partition.
    pub missing: Missing,
}

/// Which inputs that were consumed before are converted again, with all that their partitions need.
#[derive(Debug, Clone, Copy, Default)]
pub enum Again<'a> {
    /// None.
    #[default]
    Nothing,
    /// Those with these keys.
    Keys(&'a BTreeSet<Key>),
    /// Those whose keys name an instant in this half-open interval.
    Between(Timestamp, Timestamp),
}

/// What is done about sources of a partition that are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missing {
    /// The partition is given up.
    #[default]
    GiveUp,
    /// It is built without them.
    Drop,
}

/// Plans a flow as of `state`.
pub async fn plan(flow: &Flow, state: &LedgerState, ask: Ask<'_>) -> Result<Planned, EngineError> {
    let request = ask.manifest;
    let wrap = flow.ledger_error();
    let base_seq = state.head();
    let trigger = request.map_or(Trigger::Request, |r| Trigger::Manifest(r.manifest.clone()));
    let mut consumed = flow.ledger.consumed(state).await.map_err(&wrap)?;
    let earlier = taken_earlier(flow, state, &trigger).await?;
    consumed.leave_out(&earlier);
    let held = held(flow, state).await?;
    let (pattern, template) = bind(flow, request)?;
    let mut listed = inputs::list(flow, &pattern, &consumed, &held).await?;
    hold_back_uncommitted(flow, &mut listed).await?;
    // They were left out above to be told from what others took; they are consumed none the less.
    let again: BTreeSet<&InputVersion> = earlier.iter().collect();
    listed.inputs.retain(|input| !again.contains(input));
    let matched = listed.inputs.len() as u64;
    let (count, listing) = (listed.listed, listed.listing);
    let generation = state.generation(&trigger);
    // One that was written again since is a new version, and counted already. A listing is sorted by keys.
    let is_listed = |key: &Key| listed.inputs.binary_search_by(|input| input.key.cmp(key)).is_ok();
    let earlier = earlier.iter().filter(|input| !is_listed(&input.key)).count() as u64;
    let run = run_id(flow, &trigger, generation);
    let draft = Draft { flow, state, pattern: &pattern, template: &template, run: &run, ask };
    let drawn = match &flow.config.operation {
        Operation::Combine(options) => combine::plan::draw(draft, options, listed.inputs, listed.skips).await?,
        Operation::Convert(options) => convert::plan::draw(draft, options, listed).await?,
        Operation::Scatter(options) => scatter::plan::draw(draft, options, listed).await?,
    };
    let count = Passed { listed: count, listing, matched, earlier };
    Ok(assemble(flow, base_seq, run, trigger, generation, drawn, count))
}

/// What the planner of an operation works from.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) flow: &'a Flow,
    pub(crate) state: &'a LedgerState,
    pub(crate) pattern: &'a Pattern,
    pub(crate) template: &'a Template,
    pub(crate) run: &'a RunId,
    pub(crate) ask: Ask<'a>,
}

impl Draft<'_> {
    /// The output keys that open runs hold.
    pub(crate) fn held_keys(&self) -> BTreeSet<&str> {
        let open = self.state.runs().iter().filter(|run| run.status.holds_claims());
        open.flat_map(|run| &run.outputs)
            .filter_map(|claim| match claim {
                OutputClaim::Key(key, _) => Some(key.as_str()),
                OutputClaim::Prefix(_) => None,
            })
            .collect()
    }

    /// Whether the flow's own `from` would take an object of this key (INV-LOOP-1).
    pub(crate) fn would_consume(&self, key: &Key) -> bool {
        let same_store = self.flow.target.info().url == self.flow.source.info().url;
        same_store && self.pattern.is_match(key.as_str())
    }

    /// Whether it may take an object whose key begins so.
    pub(crate) fn may_consume_under(&self, prefix: &Key) -> bool {
        let same_store = self.flow.target.info().url == self.flow.source.info().url;
        same_store && self.pattern.may_contain(prefix.as_str())
    }
}

/// What the planner of an operation made.
pub(crate) struct Drawn {
    pub(crate) tasks: Vec<Task>,
    pub(crate) operation: OperationOptions,
    pub(crate) skips: Skips,
    pub(crate) refused: Vec<FailureReport>,
    pub(crate) too_small: u64,
}

/// What was counted on the way.
struct Passed {
    listed: u64,
    listing: SignedDuration,
    matched: u64,
    earlier: u64,
}

/// Passes over outputs of other flows whose run is not committed: they may be withdrawn yet, and whoever took one away
/// would leave that run unable to tell whether it was ever published (protocol section 6).
///
/// The logs are read behind the listing: what was committed in between is seen as committed.
/// Cost: nothing where no flow writes into the source store; else what loading the log of each such flow costs.
async fn hold_back_uncommitted(flow: &Flow, listed: &mut inputs::Inputs) -> Result<(), EngineError> {
    for before in flow.all.flows.iter().filter(|other| other.name != flow.config.name) {
        if listed.inputs.is_empty() {
            return Ok(());
        }
        if flow.env.stores.open(&before.to.store)?.info().url != flow.source.info().url {
            continue;
        }
        let before = Flow::open(&flow.all, before, &flow.env)?;
        let state = before.ledger.load().await.map_err(before.ledger_error())?;
        let open = state.runs().iter().filter(|run| run.status.holds_claims());
        let (mut keys, mut prefixes) = (BTreeSet::new(), Vec::new());
        for claim in open.flat_map(|run| &run.outputs) {
            match claim {
                OutputClaim::Key(key, _) => drop(keys.insert(key.as_str())),
                OutputClaim::Prefix(prefix) => prefixes.push(prefix.as_str()),
            }
        }
        let skips = &mut listed.skips;
        listed.inputs.retain(|input| {
            let key = input.key.as_str();
            let uncommitted = keys.contains(key) || prefixes.iter().any(|prefix| key.starts_with(prefix));
            if uncommitted {
                inputs::skip(skips, Skip::Uncommitted, input);
            }
            !uncommitted
        });
    }
    Ok(())
}

/// What earlier runs of the same trigger took: a manifest of which a group was released runs again for the rest.
///
/// Cost: nothing for a request or a first run; else one GET per earlier run of this trigger.
async fn taken_earlier(flow: &Flow, state: &LedgerState, trigger: &Trigger) -> Result<Vec<InputVersion>, EngineError> {
    let Some(identity) = trigger.identity() else { return Ok(Vec::new()) };
    let mut taken = Vec::new();
    let earlier =
        state.runs().iter().filter(|r| r.committed.is_some() && r.trigger.identity().as_ref() == Some(&identity));
    for run in earlier {
        let claims = flow.ledger.read_claims(run).await.map_err(flow.ledger_error())?;
        let consumed = claims.claims.into_iter().filter(|c| c.groups.iter().all(|g| !run.released.contains(g)));
        taken.extend(consumed.map(|claim| claim.input));
    }
    Ok(taken)
}

/// Input versions that open runs hold.
pub(crate) async fn held(flow: &Flow, state: &LedgerState) -> Result<ConsumedSet, EngineError> {
    let mut held = Vec::new();
    for run in state.runs().iter().filter(|r| r.status.holds_claims()) {
        let claims = flow.ledger.read_claims(run).await.map_err(flow.ledger_error())?;
        let free = |claim: &Claim| claim.groups.iter().all(|g| run.released.contains(g));
        held.extend(claims.claims.into_iter().filter(|c| !free(c)).map(|c| c.input));
    }
    held.sort_unstable();
    Ok(ConsumedSet::from_sorted(held))
}

pub(crate) fn bind(flow: &Flow, request: Option<&ManifestRequest>) -> Result<(Pattern, Template), EngineError> {
    let lookup = |name: &str| request.and_then(|r| r.names.get(name).cloned());
    let unfit = |detail: String, hint: String| EngineError::Unfit {
        store: request.map_or_else(|| flow.name().to_owned(), |r| r.manifest.key.to_string()),
        role: "as planned",
        detail,
        hint,
    };
    let names = || "name only what the manifest gives: `{manifest.source}`, `{manifest.target}`".to_owned();
    let pattern = flow.config.from.pattern.bind(&lookup).map_err(|e| unfit(e.to_string(), names()))?;
    let template = flow.config.to.template.bind(&lookup).map_err(|e| unfit(e.to_string(), names()))?;
    if request.is_some() {
        // What a manifest names is known only now: the rules that validation keeps for other flows are kept here.
        flow.all.check_bound(&flow.config, &pattern, &template).map_err(|c| unfit(c.message, c.hint))?;
    }
    Ok((pattern, template))
}

/// A request gets a readable id of its own; a trigger's run is derived from it (INV-RUN-1).
fn run_id(flow: &Flow, trigger: &Trigger, generation: u32) -> RunId {
    let text = match trigger.identity() {
        None => {
            let now = flow.env.clock.now().strftime("%Y%m%dT%H%M%S").to_string();
            format!("{now}-{:08x}", flow.env.ids.next_u64() as u32)
        }
        Some(identity) => {
            let hash = ContentHash::of(format!("{}\n{identity}\n{generation}", flow.name()).as_bytes());
            format!("m{}", &hash.as_str()[..20])
        }
    };
    RunId::try_new(text).expect("letters, digits and `-` are a name")
}

fn planned_store(store: &dyn Store) -> PlannedStore {
    PlannedStore { name: store.info().name.clone(), url: store.info().url.clone() }
}

fn disposal(flow: &Flow) -> DisposalPlan {
    let delay = SignedDuration::try_from(flow.config.sources.delay.duration()).unwrap_or(SignedDuration::MAX);
    match (&flow.config.sources.after_commit, &flow.archive) {
        (AfterCommit::Keep, _) => DisposalPlan::Keep,
        (AfterCommit::Delete, _) => DisposalPlan::Delete { delay },
        (AfterCommit::Archive { .. }, Some(archive)) => {
            DisposalPlan::Archive { delay, store: planned_store(&*archive.store), prefix: archive.prefix.clone() }
        }
        (AfterCommit::Archive { .. }, None) => unreachable!("a flow that archives has its archive opened"),
    }
}

fn assemble(
    flow: &Flow,
    base_seq: LogSeq,
    run: RunId,
    trigger: Trigger,
    generation: u32,
    drawn: Drawn,
    passed: Passed,
) -> Planned {
    let Drawn { tasks, operation, skips, refused, too_small } = drawn;
    let outputs = tasks
        .iter()
        .flat_map(|task| {
            let keys = task.output_keys(&operation).into_iter().map(|key| OutputClaim::Key(key, task.group));
            keys.chain(task.output_prefixes().map(|prefix| OutputClaim::Prefix(prefix.to_owned())))
        })
        .collect();
    let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    let header = PlanHeader {
        version: FORMAT_VERSION,
        flow: flow.config.name.clone(),
        run,
        as_of: flow.env.template_time(),
        base_seq,
        source: planned_store(&*flow.source),
        target: planned_store(&*flow.target),
        operation,
        sources: disposal(flow),
        manifest: match &trigger {
            Trigger::Manifest(manifest) => Some(manifest.clone()),
            Trigger::Request => None,
        },
        counts: Counts {
            inputs: tasks.iter().map(|task| task.inputs.len() as u64).sum(),
            bytes: tasks.iter().map(Task::bytes).sum(),
            groups: tasks.iter().map(|task| task.group).max().map_or(0, |last| last.0 + 1),
            tasks: count,
        },
    };
    Planned {
        plan: Plan { header, tasks },
        trigger,
        generation,
        outputs,
        skips,
        refused,
        too_small,
        listed: passed.listed,
        listing: passed.listing,
        matched: passed.matched,
        earlier: passed.earlier,
    }
}

/// Estimates what executing a plan will cost, listings and HEADs of planning included.
///
/// Source of prices: Amazon S3 pricing, us-east-1: PUT, COPY, POST, LIST 0.005 USD per 1,000; GET, HEAD 0.0004; DELETE
/// free. The time assumes 15 ms a request, the concurrency given, and 100 MB/s through this machine.
pub fn estimate(flow: &Flow, planned: &Planned) -> Estimate {
    let (source, target) = (flow.source.info(), flow.target.info());
    let mut sum = Estimate::default();
    for task in &planned.plan.tasks {
        let outputs = match &planned.plan.header.operation {
            OperationOptions::Combine(_) => combine::plan::estimate(flow, task, &mut sum),
            OperationOptions::Convert(_) => convert::plan::estimate(flow, task, &mut sum),
            OperationOptions::Scatter(_) => scatter::plan::estimate(flow, task, &mut sum),
        };
        // Of each output create, complete and `pub/…` beside the parts, and the mark; ListParts before the seal and before
        // publishing.
        sum.requests.put += 3 * outputs + 1;
        sum.requests.list += 2 * outputs;
        sum.requests.head += 2 * outputs;
        sum.requests.delete += match planned.plan.header.sources {
            DisposalPlan::Keep => 0,
            DisposalPlan::Delete { .. } | DisposalPlan::Archive { .. } => task.inputs.len() as u64,
        };
    }
    if !planned.plan.tasks.is_empty() {
        // Plan, claims, seal, heartbeat, report, and the four entries of the log.
        sum.requests.put += 9;
        sum.requests.list += 6;
        sum.requests.get += 3;
    }
    sum.requests.list += planned.listed.div_ceil(1000).max(1);
    let r = sum.requests;
    let dear = (r.put + r.copy + r.list) as f64;
    let cheap = (r.get + r.head) as f64;
    let either = |kind| source.kind == kind || target.kind == kind;
    if either(baler_store::StoreKind::S3) {
        sum.dollars = dear * 0.005 / 1000.0 + cheap * 0.0004 / 1000.0;
    }
    if [baler_store::StoreKind::S3, baler_store::StoreKind::Azure, baler_store::StoreKind::Gcs].into_iter().any(either)
    {
        let requests = dear + cheap + r.delete as f64;
        sum.seconds = requests * 0.015 / flow.env.limits.concurrency as f64;
    }
    sum.seconds += sum.bytes_through_client as f64 / 100e6;
    sum
}
