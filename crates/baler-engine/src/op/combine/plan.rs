//! Makes tasks of `combine`: which inputs make which output, by the names in `to` and the bounds of a batch.

use std::collections::{BTreeSet, HashMap};

use baler_model::config::{Check, CombineConfig, Header, Overwrite, RedshiftManifest, Separator};
use baler_model::ledger::{
    CombineOptions, Failure, GroupId, OperationOptions, SeparatorRule, Task, redshift_manifest_key,
};
use baler_model::{InputVersion, Key, ObjectVersion, Partition, RenderContext, TaskId};
use futures::{StreamExt, stream};
use jiff::Timestamp;

use super::sniff::{self, GroupCodec};
use super::stitch;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{self, Skip, Skips};
use crate::plan::{Draft, Drawn, Estimate};
use crate::report::FailureReport;

/// Inputs that make one output, in order.
struct Batch {
    /// Number of the batch within its group of equal names.
    index: u64,
    inputs: Vec<InputVersion>,
}

/// Makes tasks of inputs.
pub(crate) async fn draw(
    draft: Draft<'_>,
    combine: &CombineConfig,
    inputs: Vec<InputVersion>,
    skips: Skips,
) -> Result<Drawn, EngineError> {
    let Draft { flow, ask, .. } = draft;
    let request = ask.manifest;
    let options = options(combine);
    let mut planner = Planner {
        draft,
        options: &options,
        now: flow.env.template_time(),
        max_bytes: request.and_then(|r| r.max_file_size).or(flow.config.batch.max_bytes.map(|b| b.bytes())),
        on_request: request.is_some(),
        skips,
        refused: Vec::new(),
        too_small: 0,
    };
    let batches = planner.batches(inputs);
    let tasks = planner.outputs(batches).await?;
    let (skips, refused, too_small) = (planner.skips, planner.refused, planner.too_small);
    Ok(Drawn { tasks, operation: OperationOptions::Combine(options), skips, refused, too_small })
}

struct Planner<'a> {
    draft: Draft<'a>,
    options: &'a CombineOptions,
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
        if self.draft.template.group_names().next().is_none() {
            return self.cut(inputs);
        }
        let mut groups: HashMap<String, usize> = HashMap::new();
        let mut members: Vec<Vec<InputVersion>> = Vec::new();
        let mut identity = String::new();
        for input in inputs {
            let Some(captures) = self.draft.pattern.try_match(input.key.as_str()) else { continue };
            identity.clear();
            self.draft.template.write_group(&captures, &mut identity);
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
        let order = &self.draft.flow.config.order;
        let pattern = self.draft.pattern;
        if order.names().next().is_some() {
            group.sort_by_cached_key(|input| {
                pattern.try_match(input.key.as_str()).map(|captures| order.sort_key(&captures))
            });
        }
        let most_objects = self.draft.flow.config.batch.max_objects.unwrap_or(u64::MAX);
        let most_bytes = self.max_bytes.unwrap_or(u64::MAX).min(self.draft.flow.target.info().parts.object);
        // A manifest asks for its output whatever the number of objects.
        let least = if self.on_request { 1 } else { self.draft.flow.config.batch.min_objects };
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
        let held = self.draft.held_keys();
        let this: &Self = self;
        let named = batches.into_iter().map(|batch| {
            let held = &held;
            async move {
                let named = this.name(&batch, batch.index, held, &HashMap::new()).await;
                (batch, named)
            }
        });
        let named: Vec<(Batch, Result<Named, NameError>)> =
            stream::iter(named).buffered(self.draft.flow.env.limits.concurrency).collect().await;
        let mut taken: HashMap<Key, usize> = HashMap::new();
        let mut tasks: Vec<Task> = Vec::new();
        let mut doubled: BTreeSet<usize> = BTreeSet::new();
        for (batch, mut named) in named {
            // Named at once, two batches may have found the same number free: the later one looks on.
            if let Ok(same) = &named
                && self.draft.template.uses_index()
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
                convert: None,
                scatter: None,
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
            let (pattern, run, partition) = (self.draft.pattern, self.draft.run, Partition::default());
            let context = RenderContext { pattern, keys: &keys, index, now: self.now, run, partition };
            let key = self.draft.template.render(&context).map_err(|e| {
                NameError::refuse(keys[0], format!("`to` cannot be filled for `{}`: {e}", keys[0]), None)
            })?;
            self.check_inputs(batch, &key)?;
            if taken.contains_key(&key) && self.draft.template.uses_index() {
                index += 1;
                continue;
            }
            match self.occupied(&key, held).await? {
                Occupied::Free => return Ok(Named { key, replaces: None, index }),
                Occupied::Replaceable(version) => return Ok(Named { key, replaces: Some(version), index }),
                Occupied::Taken(_) if self.draft.template.uses_index() => index += 1,
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
        let beside = self.options.redshift_manifest.then(|| redshift_manifest_key(key));
        for output in std::iter::once(key).chain(&beside) {
            if self.draft.would_consume(output) {
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
        for (at, main) in [(key.clone(), true), (redshift_manifest_key(key), false)] {
            if !main && !self.options.redshift_manifest {
                continue;
            }
            let Some(head) = self.draft.flow.target.head(&at).await.map_err(NameError::Store)? else { continue };
            if let Some(own) = self.draft.state.object(&at) {
                let run = &own.run;
                return Ok(taken(format!("`{at}` exists: run `{run}` of this flow wrote it"), LATE));
            }
            if let Some(stamp) = &head.stamp {
                let (flow, run) = (&stamp.flow, &stamp.run);
                return Ok(taken(format!("`{at}` exists: run `{run}` of flow `{flow}` wrote it"), LATE));
            }
            match (self.draft.flow.config.overwrite, main) {
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
fn options(combine: &CombineConfig) -> CombineOptions {
    let CombineConfig { separator, header, check, redshift_manifest, content_type } = combine;
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

/// Adds what joining the inputs of one task will cost; yields the number of its outputs.
pub(crate) fn estimate(flow: &Flow, task: &Task, sum: &mut Estimate) -> u64 {
    let (source, target) = (flow.source.info(), flow.target.info());
    let copies = source.copy_domain.is_some() && source.copy_domain == target.copy_domain;
    let limits = stitch::Limits::new(&target.parts, flow.env.limits.read_part());
    let piece = |input: &InputVersion| match copies {
        true => stitch::Piece::copyable(input.size),
        false => stitch::Piece::local(input.size),
    };
    let pieces: Vec<stitch::Piece> = task.inputs.iter().map(piece).collect();
    let Ok(passes) = stitch::plan_passes(&pieces, &limits) else { return 0 };
    let cost = passes.estimate();
    sum.bytes_copied_server_side += cost.bytes_server_side;
    sum.bytes_through_client += cost.bytes_through_client;
    sum.requests.copy += cost.requests.copy;
    sum.requests.get += if copies { cost.requests.get } else { task.inputs.len() as u64 };
    sum.requests.put += cost.requests.put;
    1
}
