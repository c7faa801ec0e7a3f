//! Plans a `combine` run: which inputs make which output. Pure, but for listings and HEADs.
//!
//! The order of reading is the protocol's: the log head first (`base_seq`), then targets, then sources; what lands in
//! between is seen too late rather than lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baler_model::config::{
    AfterCommit, Check, CombineConfig, Header, Operation, Overwrite, RedshiftManifest, Separator,
};
use baler_model::ledger::{
    Claim, CombineOptions, ContentHash, Counts, DisposalPlan, FORMAT_VERSION, Failure, GroupId, Manifest, OutputClaim,
    PlanHeader, PlannedStore, SeparatorRule, Task, Trigger, redshift_manifest_key,
};
use baler_model::{InputVersion, Key, LogSeq, ObjectVersion, Pattern, RenderContext, RunId, TaskId, Template};
use baler_store::Store;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::sniff::{self, GroupCodec};
use super::stitch;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{self, Skip, Skips};
use crate::ledger::{ConsumedSet, LedgerState, Plan};
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

/// Plans a flow as of `state`.
pub async fn plan(flow: &Flow, state: &LedgerState, request: Option<&ManifestRequest>) -> Result<Planned, EngineError> {
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
    let generation = state.generation(&trigger);
    // One that was written again since is a new version, and counted already. A listing is sorted by keys.
    let is_listed = |key: &Key| listed.inputs.binary_search_by(|input| input.key.cmp(key)).is_ok();
    let earlier = earlier.iter().filter(|input| !is_listed(&input.key)).count() as u64;
    let run = run_id(flow, &trigger, generation);
    let mut planner = Planner {
        flow,
        state,
        pattern: &pattern,
        template: &template,
        run: &run,
        now: flow.env.template_time(),
        max_bytes: request.and_then(|r| r.max_file_size).or(flow.config.batch.max_bytes.map(|b| b.bytes())),
        on_request: request.is_some(),
        skips: listed.skips,
        refused: Vec::new(),
        too_small: 0,
    };
    let batches = planner.batches(listed.inputs);
    let tasks = planner.outputs(batches).await?;
    let (skips, refused, too_small) = (planner.skips, planner.refused, planner.too_small);
    Ok(assemble(
        flow,
        base_seq,
        run,
        trigger,
        generation,
        tasks,
        Passed { skips, refused, too_small, listed: listed.listed, listing: listed.listing, matched, earlier },
    ))
}

/// What did not become a task.
struct Passed {
    skips: Skips,
    refused: Vec<FailureReport>,
    too_small: u64,
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

/// Inputs that make one output, in order.
struct Batch {
    /// Number of the batch within its group of equal names.
    index: u64,
    inputs: Vec<InputVersion>,
}

struct Planner<'a> {
    flow: &'a Flow,
    state: &'a LedgerState,
    pattern: &'a Pattern,
    template: &'a Template,
    run: &'a RunId,
    now: Timestamp,
    max_bytes: Option<u64>,
    /// A manifest asks for this run.
    on_request: bool,
    skips: Skips,
    refused: Vec<FailureReport>,
    too_small: u64,
}

impl Planner<'_> {
    /// Groups inputs by the names that `to` uses bare, orders them, and cuts groups into batches.
    fn batches(&mut self, inputs: Vec<InputVersion>) -> Vec<Batch> {
        if self.template.group_names().next().is_none() {
            return self.cut(inputs);
        }
        let mut groups: HashMap<String, usize> = HashMap::new();
        let mut members: Vec<Vec<InputVersion>> = Vec::new();
        let mut identity = String::new();
        for input in inputs {
            let Some(captures) = self.pattern.try_match(input.key.as_str()) else { continue };
            identity.clear();
            self.template.write_group(&captures, &mut identity);
            let group = match groups.get(&identity) {
                Some(&group) => group,
                None => {
                    groups.insert(identity.clone(), members.len());
                    members.push(Vec::new());
                    members.len() - 1
                }
            };
            members[group].push(input);
        }
        members.into_iter().flat_map(|group| self.cut(group)).collect()
    }

    /// Orders one group, which comes in the order of its keys, and closes a batch before the object that would exceed its
    /// bounds.
    fn cut(&mut self, mut group: Vec<InputVersion>) -> Vec<Batch> {
        debug_assert!(group.is_sorted_by(|a, b| a.key <= b.key), "a listing is sorted by keys");
        let order = &self.flow.config.order;
        let pattern = self.pattern;
        if order.names().next().is_some() {
            group.sort_by_cached_key(|input| {
                pattern.try_match(input.key.as_str()).map(|captures| order.sort_key(&captures))
            });
        }
        let most_objects = self.flow.config.batch.max_objects.unwrap_or(u64::MAX);
        let most_bytes = self.max_bytes.unwrap_or(u64::MAX).min(self.flow.target.info().parts.object);
        // A manifest asks for its output whatever the number of objects.
        let least = if self.on_request { 1 } else { self.flow.config.batch.min_objects };
        let (mut batches, mut batch, mut bytes): (Vec<Batch>, Vec<InputVersion>, u64) = (Vec::new(), Vec::new(), 0);
        let mut close = |batch: &mut Vec<InputVersion>, this: &mut Self| {
            let inputs = std::mem::take(batch);
            if inputs.is_empty() {
            } else if (inputs.len() as u64) < least {
                this.too_small += 1;
                inputs.iter().for_each(|input| inputs::skip(&mut this.skips, Skip::TooFew, input));
            } else {
                batches.push(Batch { index: batches.len() as u64, inputs });
            }
        };
        for input in group {
            let full = batch.len() as u64 + 1 > most_objects || bytes.saturating_add(input.size) > most_bytes;
            if full && !batch.is_empty() {
                close(&mut batch, self);
                bytes = 0;
            }
            bytes += input.size;
            batch.push(input);
        }
        close(&mut batch, self);
        batches
    }

    /// Names the output of every batch and refuses what may not be written.
    async fn outputs(&mut self, batches: Vec<Batch>) -> Result<Vec<Task>, EngineError> {
        let held: BTreeSet<&OutputClaim> =
            self.state.runs().iter().filter(|r| r.status.holds_claims()).flat_map(|r| &r.outputs).collect();
        let held: BTreeSet<&str> = held
            .into_iter()
            .filter_map(|claim| match claim {
                OutputClaim::Key(key, _) => Some(key.as_str()),
                OutputClaim::Prefix(_) => None,
            })
            .collect();
        let this: &Self = self;
        let named = batches.into_iter().map(|batch| {
            let held = &held;
            async move {
                let named = this.name(&batch, batch.index, held, &HashMap::new()).await;
                (batch, named)
            }
        });
        let named: Vec<(Batch, Result<Named, NameError>)> =
            stream::iter(named).buffered(self.flow.env.limits.concurrency).collect().await;
        let mut taken: HashMap<Key, usize> = HashMap::new();
        let mut tasks: Vec<Task> = Vec::new();
        let mut doubled: BTreeSet<usize> = BTreeSet::new();
        for (batch, mut named) in named {
            // Named at once, two batches may have found the same number free: the later one looks on.
            if let Ok(same) = &named
                && self.template.uses_index()
                && taken.contains_key(&same.key)
            {
                named = self.name(&batch, same.index + 1, &held, &taken).await;
            }
            let named = match named {
                Ok(named) => named,
                Err(NameError::Store(error)) => return Err(error.into()),
                Err(NameError::Refused(failure)) => {
                    self.refused.push(*failure);
                    continue;
                }
            };
            if let Some(&other) = taken.get(&named.key) {
                doubled.insert(other);
                doubled.insert(tasks.len());
            } else {
                taken.insert(named.key.clone(), tasks.len());
            }
            tasks.push(Task {
                task: TaskId(0),
                stage: 0,
                group: GroupId(0),
                inputs: batch.inputs,
                key: named.key,
                replaces: named.replaces,
            });
        }
        for &index in &doubled {
            let task = &tasks[index];
            self.refused.push(FailureReport {
                group: task.key.to_string(),
                error: format!("two outputs would be `{}`; one of them from `{}` …", task.key, task.inputs[0].key),
                hint: Some("let `to` tell them apart: `{index}`, `{n.first}`, or a name that groups".into()),
            });
        }
        let kept = tasks.into_iter().enumerate().filter(|(i, _)| !doubled.contains(i)).map(|(_, task)| task);
        Ok((0u32..)
            .zip(kept)
            .map(|(number, task)| Task { task: TaskId(number), group: GroupId(number), ..task })
            .collect())
    }

    /// Names one output; with `{index}`, the next number from `index` on that is free and that no batch has `taken`.
    async fn name(
        &self,
        batch: &Batch,
        mut index: u64,
        held: &BTreeSet<&str>,
        taken: &HashMap<Key, usize>,
    ) -> Result<Named, NameError> {
        let keys: Vec<&str> = batch.inputs.iter().map(|input| input.key.as_str()).collect();
        loop {
            let context = RenderContext { pattern: self.pattern, keys: &keys, index, now: self.now, run: self.run };
            let key = self.template.render(&context).map_err(|e| {
                NameError::refuse(keys[0], format!("`to` cannot be filled for `{}`: {e}", keys[0]), None)
            })?;
            self.check_inputs(batch, &key)?;
            if taken.contains_key(&key) && self.template.uses_index() {
                index += 1;
                continue;
            }
            match self.occupied(&key, held).await? {
                Occupied::Free => return Ok(Named { key, replaces: None, index }),
                Occupied::Replaceable(version) => return Ok(Named { key, replaces: Some(version), index }),
                Occupied::Taken(_) if self.template.uses_index() => index += 1,
                Occupied::Taken(failure) => return Err(NameError::Refused(failure)),
            }
        }
    }

    /// Refuses groups whose objects do not concatenate, as far as suffixes tell, and outputs that `from` would match.
    fn check_inputs(&self, batch: &Batch, key: &Key) -> Result<(), NameError> {
        let mut codec = GroupCodec::default();
        for input in &batch.inputs {
            codec.admit(&input.key, sniff::by_suffix(&input.key)).map_err(|fault| {
                let hint = "narrow `from` to objects of one codec and of a format that concatenates";
                NameError::refuse(key.as_str(), fault, Some(hint))
            })?;
        }
        let same_store = self.flow.target.info().url == self.flow.source.info().url;
        let beside = options(self.flow).redshift_manifest.then(|| redshift_manifest_key(key));
        for output in std::iter::once(key).chain(&beside) {
            if same_store && self.pattern.is_match(output.as_str()) {
                let hint = "write under another prefix, or with another suffix, than `from` reads";
                let fault = format!("output `{output}` would be matched by the flow's own `from`");
                return Err(NameError::refuse(key.as_str(), fault, Some(hint)));
            }
        }
        Ok(())
    }

    /// Whether something is at the key, and whether it may be replaced (INV-OWN-1).
    async fn occupied(&self, key: &Key, held: &BTreeSet<&str>) -> Result<Occupied, NameError> {
        let taken = |error: String, hint: &str| {
            Occupied::Taken(Box::new(FailureReport { group: key.to_string(), error, hint: Some(hint.to_owned()) }))
        };
        const LATE: &str = "late objects need a key of their own: use `{index}`, `{n.first}` and `{n.last}`, or `{run}` \
                            in `to`";
        if held.contains(key.as_str()) {
            return Ok(taken(format!("`{key}` is being written by an open run"), LATE));
        }
        let options = options(self.flow);
        for (at, main) in [(key.clone(), true), (redshift_manifest_key(key), false)] {
            if !main && !options.redshift_manifest {
                continue;
            }
            let Some(head) = self.flow.target.head(&at).await.map_err(NameError::Store)? else { continue };
            if let Some(own) = self.state.object(&at) {
                let run = &own.run;
                return Ok(taken(format!("`{at}` exists: run `{run}` of this flow wrote it"), LATE));
            }
            if let Some(stamp) = &head.stamp {
                let (flow, run) = (&stamp.flow, &stamp.run);
                return Ok(taken(format!("`{at}` exists: run `{run}` of flow `{flow}` wrote it"), LATE));
            }
            match (self.flow.config.overwrite, main) {
                (Overwrite::Allow, true) => return Ok(Occupied::Replaceable(head.version)),
                (Overwrite::Allow, false) | (Overwrite::Refuse, _) => {
                    let hint = "`overwrite = true`, or another template in `to`";
                    return Ok(taken(format!("`{at}` exists and is not Baler's"), hint));
                }
            }
        }
        Ok(Occupied::Free)
    }
}

struct Named {
    key: Key,
    replaces: Option<ObjectVersion>,
    /// The number that `{index}` stands for.
    index: u64,
}

enum Occupied {
    Free,
    Replaceable(ObjectVersion),
    Taken(Box<FailureReport>),
}

enum NameError {
    Store(baler_store::StoreError),
    Refused(Box<FailureReport>),
}

impl NameError {
    fn refuse(group: &str, error: String, hint: Option<&str>) -> Self {
        let failure = Failure { error, hint: hint.map(str::to_owned) };
        Self::Refused(Box::new(FailureReport::new(group, failure)))
    }
}

/// How the flow joins objects, as the plan keeps it.
pub(crate) fn options(flow: &Flow) -> CombineOptions {
    let Operation::Combine(CombineConfig { separator, header, check, redshift_manifest, content_type }) =
        &flow.config.operation;
    CombineOptions {
        separator: match separator {
            Separator::Newline => SeparatorRule::Newline,
            Separator::None => SeparatorRule::None,
        },
        header_first: match header {
            Header::First => true,
            Header::AsData => false,
        },
        decode_check: match check {
            Check::Decode => true,
            Check::None => false,
        },
        content_type: content_type.clone(),
        redshift_manifest: match redshift_manifest {
            RedshiftManifest::Beside => true,
            RedshiftManifest::Absent => false,
        },
    }
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
    tasks: Vec<Task>,
    passed: Passed,
) -> Planned {
    let combine = options(flow);
    let outputs = tasks
        .iter()
        .flat_map(|task| task.output_keys(&combine).into_iter().map(|key| OutputClaim::Key(key, task.group)))
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
        combine,
        sources: disposal(flow),
        manifest: match &trigger {
            Trigger::Manifest(manifest) => Some(manifest.clone()),
            Trigger::Request => None,
        },
        counts: Counts {
            inputs: tasks.iter().map(|task| task.inputs.len() as u64).sum(),
            bytes: tasks.iter().map(Task::bytes).sum(),
            groups: count,
            tasks: count,
        },
    };
    Planned {
        plan: Plan { header, tasks },
        trigger,
        generation,
        outputs,
        skips: passed.skips,
        refused: passed.refused,
        too_small: passed.too_small,
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
    let copies = source.copy_domain.is_some() && source.copy_domain == target.copy_domain;
    let limits = stitch::Limits::new(&target.parts, flow.env.limits.read_part());
    let mut sum = Estimate::default();
    for task in &planned.plan.tasks {
        let piece = |input: &InputVersion| match copies {
            true => stitch::Piece::copyable(input.size),
            false => stitch::Piece::local(input.size),
        };
        let pieces: Vec<stitch::Piece> = task.inputs.iter().map(piece).collect();
        let Ok(passes) = stitch::plan_passes(&pieces, &limits) else { continue };
        let cost = passes.estimate();
        sum.bytes_copied_server_side += cost.bytes_server_side;
        sum.bytes_through_client += cost.bytes_through_client;
        sum.requests.copy += cost.requests.copy;
        sum.requests.get += if copies { cost.requests.get } else { task.inputs.len() as u64 };
        // Create, complete, mark and `pub/…` beside the parts; ListParts before the seal and before publishing.
        sum.requests.put += cost.requests.put + 4;
        sum.requests.list += 2;
        sum.requests.head += 2;
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
