//! Makes tasks of `convert`: which partitions are built, from which inputs.
//!
//! A partition is built whole: when a source of it appears or changes, all its other sources are read again, without being
//! claimed. One task makes all outputs of a group, which is what is connected through shared inputs: a month, and the days
//! of it that new objects belong to. Where every path names `{run}` nothing is built anew; each run adds its own objects.
//!
//! - INV-OWN-1: an output of ours is replaced only in the version that the last commit recorded, by a run whose inputs
//!   include everything that it was made of.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baler_model::config::{ConvertConfig, ConvertTarget, Overwrite, TimeSource};
use baler_model::ledger::{
    ConvertOptions, ConvertTask, Failure, GroupId, Numbered, OperationOptions, PlannedOutput, PlannedSplit,
    TargetOptions, Task, ranges, redshift_manifest_key,
};
use baler_model::{InputVersion, Key, KeyPart, ObjectVersion, Partition, RenderContext, RunId, TaskId, Value};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{columns, job, kinds};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{self, Inputs, Skip, Skips};
use crate::plan::{Again, Draft, Drawn, Estimate, Missing};
use crate::report::FailureReport;
use crate::sql;

/// Makes tasks of inputs.
pub(crate) async fn draw(draft: Draft<'_>, options: &ConvertConfig, listed: Inputs) -> Result<Drawn, EngineError> {
    let flow = draft.flow;
    for target in &options.targets {
        if let Some(detail) = fault(options, target) {
            return Err(EngineError::Unfit {
                store: flow.name().to_owned(),
                role: "as planned",
                detail,
                hint: "say by `covers` how much time an object holds, and by `time` in which column a record's time stands".to_owned(),
            });
        }
    }
    if let Some(Err(failure)) = options.sql.as_deref().map(sql::check) {
        return Err(unfit(flow, failure));
    }
    let mut planner = Planner { draft, options, skips: listed.skips, refused: Vec::new(), too_small: 0 };
    let groups = planner.groups(listed.inputs, listed.consumed);
    let schemas = columns::resolve(draft, options, &groups).await?;
    let mut operation = ConvertOptions {
        schemas: schemas.planned.clone(),
        input: options.format.clone(),
        records: options.records.clone(),
        time: match &options.time {
            TimeSource::Column(column) => Some(column.clone()),
            TimeSource::None | TimeSource::Key(_) => None,
        },
        epoch: options.epoch,
        drift: options.drift,
        max_quarantined: options.max_quarantined,
        max_expansion: options.max_expansion,
        scrub: options.scrub.clone(),
        sql: options.sql.clone(),
        provenance: options.provenance.clone(),
        targets: options.targets.iter().map(planned_target).collect(),
    };
    for schema in &schemas.planned {
        if let Err(failure) = job::check(&operation, schema, &*flow.env.secrets) {
            return Err(unfit(flow, failure));
        }
    }
    let tasks = planner.tasks(groups, &schemas).await?;
    let Planner { skips, refused, too_small, .. } = planner;
    operation.schemas = schemas.planned;
    Ok(Drawn { tasks, operation: OperationOptions::Convert(Box::new(operation)), skips, refused, too_small })
}

/// A flow whose records cannot be made into what it asks for.
fn unfit(flow: &Flow, failure: Failure) -> EngineError {
    EngineError::Unfit {
        store: flow.name().to_owned(),
        role: "as planned",
        detail: failure.error,
        hint: failure.hint.unwrap_or_else(|| "correct the flow".to_owned()),
    }
}

/// Adds what converting the inputs of one task will cost; yields the number of its outputs.
pub(crate) fn estimate(flow: &Flow, task: &Task, sum: &mut Estimate) -> u64 {
    let outputs = task.convert.as_ref().map_or(0, |convert| convert.outputs.len() as u64);
    sum.bytes_through_client += task.bytes();
    sum.requests.get += task.inputs.len() as u64;
    // How small outputs will be nobody knows yet: as many bytes go out as came in, for each target.
    sum.requests.put += outputs + task.bytes() / flow.env.limits.read_part();
    outputs
}

pub(super) fn planned_target(target: &ConvertTarget) -> TargetOptions {
    TargetOptions {
        path: target.template.as_str().to_owned(),
        format: target.format.clone(),
        codec: target.codec.clone(),
        level: target.level,
        partition: target.partition,
        columns: target.columns.clone(),
        max_bytes: target.max_bytes.map(|size| size.bytes()),
    }
}

/// Why a target cannot be planned, if it cannot.
fn fault(options: &ConvertConfig, target: &ConvertTarget) -> Option<String> {
    if let Err(detail) = kinds::target_kind(&planned_target(target)) {
        return Some(detail);
    }
    let size = target.partition?;
    match (&options.time, options.covers) {
        (TimeSource::Key(_), None) => None,
        (TimeSource::Column(_), Some(_)) => None,
        (TimeSource::Key(_), Some(covers)) if covers <= size => None,
        (TimeSource::Key(name), Some(covers)) => Some(format!(
            "objects hold a {covers} each, partitions a {size}: `{name}` does not tell which record belongs where"
        )),
        (TimeSource::Column(_), None) => {
            Some("keys do not tell how much time an object holds, so partitions cannot be told from them".to_owned())
        }
        (TimeSource::None, _) => Some("partitions need a time".to_owned()),
    }
}

/// Partitions that one object may have records of; more would be open at once.
const MOST_SPANS: usize = 1_000;

/// Inputs that are converted together, and what becomes of them.
#[derive(Debug)]
pub(crate) struct Group {
    /// In the order of the flow.
    pub(crate) inputs: Vec<InputVersion>,
    /// Whether an input was consumed before and is read again.
    pub(crate) reread: Vec<bool>,
    /// The outputs, by target and key, each with the numbers of its inputs.
    pub(crate) outputs: BTreeMap<(usize, Key), Fed>,
}

/// What feeds an output.
#[derive(Debug, Default)]
pub(crate) struct Fed {
    how: How,
    /// The numbers of its inputs.
    inputs: Vec<u32>,
}

/// An output that an input feeds: target, key, and the time that it holds where records tell.
type Feeds = (usize, Key, How);

/// How the records of an input come to an output.
#[derive(Debug, Clone, Default)]
struct How {
    span: Option<(i64, i64)>,
    split: Option<PlannedSplit>,
    numbered: Option<Numbered>,
}

/// The first instant of a partition, and the seconds that it holds where records tell.
type Span = (Option<Timestamp>, Option<(i64, i64)>);

struct Planner<'a> {
    draft: Draft<'a>,
    options: &'a ConvertConfig,
    skips: Skips,
    refused: Vec<FailureReport>,
    too_small: u64,
}

impl Planner<'_> {
    /// Groups new inputs by the outputs that they share, and adds the old ones that these outputs need.
    fn groups(&mut self, new: Vec<InputVersion>, consumed: Vec<InputVersion>) -> Vec<Group> {
        let rebuilds = !self.options.targets.iter().any(|target| target.template.names_runs());
        let mut numbers: HashMap<(usize, Key), usize> = HashMap::new();
        let mut outputs: Vec<Feeds> = Vec::new();
        let mut members: Vec<(InputVersion, bool, Vec<usize>)> = Vec::new();
        for input in new {
            let keys = match self.keys_of(&input) {
                Ok(keys) => keys,
                Err(failure) => {
                    self.refused.push(failure);
                    continue;
                }
            };
            let feeds = number(keys, &mut numbers, &mut outputs);
            members.push((input, false, feeds));
        }
        // What is asked for again counts like something new, but is not claimed.
        let (again, consumed): (Vec<InputVersion>, Vec<InputVersion>) =
            consumed.into_iter().partition(|input| rebuilds && self.is_asked_again(input));
        for input in again {
            let Ok(keys) = self.keys_of(&input) else { continue };
            let feeds = number(keys, &mut numbers, &mut outputs);
            members.push((input, true, feeds));
        }
        if rebuilds && !outputs.is_empty() {
            for input in consumed {
                let Ok(keys) = self.keys_of(&input) else { continue };
                let feeds: Vec<usize> =
                    keys.into_iter().filter_map(|(to, key, _)| numbers.get(&(to, key)).copied()).collect();
                if !feeds.is_empty() {
                    members.push((input, true, feeds));
                }
            }
        }
        let mut sets = Sets::new(outputs.len());
        for (_, _, feeds) in &members {
            feeds.windows(2).for_each(|pair| sets.join(pair[0], pair[1]));
        }
        let mut groups: BTreeMap<usize, Vec<(InputVersion, bool, Vec<usize>)>> = BTreeMap::new();
        for member in members {
            groups.entry(sets.of(member.2[0])).or_default().push(member);
        }
        groups.into_values().filter_map(|members| self.group(members, &outputs)).collect()
    }

    /// Whether an input that was consumed before is asked for again.
    fn is_asked_again(&self, input: &InputVersion) -> bool {
        match self.draft.ask.again {
            Again::Nothing => false,
            Again::Keys(keys) => keys.contains(&input.key),
            Again::Between(from, to) => {
                self.instant_of(input.key.as_str()).is_some_and(|instant| (from..to).contains(&instant))
            }
        }
    }

    /// Orders the inputs of one group; one with too few new inputs waits.
    fn group(&mut self, mut members: Vec<(InputVersion, bool, Vec<usize>)>, outputs: &[Feeds]) -> Option<Group> {
        let least = match self.draft.ask.again {
            Again::Nothing => self.draft.flow.config.batch.min_objects,
            Again::Keys(_) | Again::Between(..) => 0,
        };
        if (members.iter().filter(|(_, reread, _)| !reread).count() as u64) < least {
            self.too_small += 1;
            for (input, _, _) in members.iter().filter(|(_, reread, _)| !reread) {
                inputs::skip(&mut self.skips, Skip::TooFew, input);
            }
            return None;
        }
        let (order, pattern) = (&self.draft.flow.config.order, self.draft.pattern);
        members.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        if order.names().next().is_some() {
            members.sort_by_cached_key(|(input, _, _)| {
                pattern.try_match(input.key.as_str()).map(|captures| order.sort_key(&captures))
            });
        }
        let mut group = Group { inputs: Vec::new(), reread: Vec::new(), outputs: BTreeMap::new() };
        for (number, (input, reread, feeds)) in (0u32..).zip(members) {
            for feed in feeds {
                let (to, key, how) = &outputs[feed];
                let fed = group.outputs.entry((*to, key.clone())).or_default();
                fed.how = how.clone();
                fed.inputs.push(number);
            }
            group.inputs.push(input);
            group.reread.push(reread);
        }
        Some(group)
    }

    /// The outputs that an input feeds: of each target one, or several where records tell.
    fn keys_of(&self, input: &InputVersion) -> Result<Vec<Feeds>, FailureReport> {
        let key = input.key.as_str();
        let refuse =
            |error: String, hint: &str| FailureReport::new(key, Failure { error, hint: Some(hint.to_owned()) });
        kinds::input_kind(self.options.format.as_ref(), &self.options.records, key)
            .map_err(|error| refuse(error, "add `format = \"csv\"`, or whatever it is, to the flow"))?;
        let instant = self.instant_of(key);
        let now = self.draft.flow.env.template_time();
        let mut feeds = Vec::with_capacity(self.options.targets.len());
        for (to, target) in self.options.targets.iter().enumerate() {
            let spans = self.spans(target, instant).map_err(|error| {
                refuse(
                    format!("`{key}`: {error}"),
                    "let `covers` say how much time an object holds from its instant on",
                )
            })?;
            for (start, span) in spans {
                let partition = Partition { start, columns: &[] };
                let (pattern, run) = (self.draft.pattern, self.draft.run);
                let context = RenderContext { pattern, keys: &[key], index: 0, now, run, partition };
                if !target.columns.is_empty() {
                    if span.is_some() {
                        let error = format!("`{key}`: partitions by time within an object and by columns at once");
                        return Err(refuse(
                            error,
                            "let `covers` be no more than the partition, or leave the columns out",
                        ));
                    }
                    let parts = target.template.render_parts(&context).map_err(|error| {
                        refuse(format!("`to` cannot be filled for `{key}`: {error}"), error.hint().unwrap_or(""))
                    })?;
                    let prefix = match parts.first() {
                        Some(KeyPart::Text(text)) => text.clone(),
                        Some(KeyPart::Column(_)) | None => String::new(),
                    };
                    if prefix.is_empty() {
                        // The run would claim every key of the store.
                        let error = format!("`{}` begins with the value of a column", target.template.as_str());
                        return Err(refuse(error, "put a directory before it"));
                    }
                    let columns = target.columns.clone();
                    let split = PlannedSplit { columns, parts, previous: Vec::new() };
                    feeds.push((to, Key::from_listed(prefix), How { split: Some(split), ..How::default() }));
                    continue;
                }
                let rendered = target.template.render(&context).map_err(|error| {
                    refuse(format!("`to` cannot be filled for `{key}`: {error}"), error.hint().unwrap_or(""))
                })?;
                let (key, numbered) = self.numbered(target, rendered);
                feeds.push((to, key, How { span, numbered, split: None }));
            }
        }
        Ok(feeds)
    }

    /// The key by which an output is known, and how its objects are named where it is several.
    fn numbered(&self, target: &ConvertTarget, key: Key) -> (Key, Option<Numbered>) {
        let Some(max_bytes) = target.max_bytes.map(|size| size.bytes()) else { return (key, None) };
        if target.template.names_runs() {
            let numbered = Numbered::beside(&key, max_bytes);
            return (Key::from_listed(numbered.before.clone()), Some(numbered));
        }
        (redshift_manifest_key(&key), Some(Numbered::versioned(&key, self.draft.run, max_bytes)))
    }

    /// The partitions of a target that an object of this instant feeds, and the seconds that each holds where its records
    /// tell them apart.
    fn spans(&self, target: &ConvertTarget, instant: Option<Timestamp>) -> Result<Vec<Span>, String> {
        let Some(size) = target.partition else { return Ok(vec![(None, None)]) };
        let Some(instant) = instant else { return Err("its key names no instant".to_owned()) };
        let first = size.start_of(instant);
        let Some(covers) = self.options.covers else { return Ok(vec![(Some(first), None)]) };
        let end = covers.end_of(instant);
        if covers <= size {
            return match size.end_of(first) >= end {
                true => Ok(vec![(Some(first), None)]),
                false => Err(format!("it begins at {instant}, and a {covers} from then on is not within one {size}")),
            };
        }
        let mut spans = Vec::new();
        let mut start = first;
        while start < end {
            let next = size.end_of(start);
            // Records belong to the object's own time alone, also where its partitions reach further.
            let span = (start.max(instant).as_second(), next.min(end).as_second());
            spans.push((Some(start), Some(span)));
            if spans.len() > MOST_SPANS || next <= start {
                return Err(format!("it feeds more than {MOST_SPANS} partitions of a {size}"));
            }
            start = next;
        }
        Ok(spans)
    }

    /// The instant that a key names.
    fn instant_of(&self, key: &str) -> Option<Timestamp> {
        let captures = self.draft.pattern.try_match(key)?;
        let name = match &self.options.time {
            TimeSource::Key(name) => name.as_str(),
            TimeSource::Column(_) | TimeSource::None => {
                self.draft.pattern.names().find(|name| matches!(captures.value(name), Some(Value::Time { .. })))?
            }
        };
        match captures.value(name) {
            Some(Value::Time { timestamp, .. }) => Some(timestamp),
            Some(Value::Text(_) | Value::Int { .. }) | None => None,
        }
    }

    /// Makes a task of each group whose outputs may be written.
    async fn tasks(&mut self, groups: Vec<Group>, schemas: &columns::Schemas) -> Result<Vec<Task>, EngineError> {
        let held = self.draft.held_keys();
        let built = Built::new(self.draft);
        let this: &Self = self;
        let (held, built) = (&held, &built);
        let checked = groups.into_iter().enumerate().map(|(number, group)| async move {
            let schema = schemas.of_group(number);
            let task = match schema {
                Ok(schema) => this.task(&group, schema, held, built).await,
                Err(failure) => Err(NameError::Refused(Box::new(failure))),
            };
            (group, task)
        });
        let checked: Vec<(Group, Result<ConvertTask, NameError>)> =
            stream::iter(checked).buffered(self.draft.flow.env.limits.concurrency).collect().await;
        let mut tasks: Vec<Task> = Vec::new();
        let mut copied: BTreeSet<Key> = BTreeSet::new();
        for (group, convert) in checked {
            let mut convert = match convert {
                Ok(convert) => convert,
                Err(NameError::Engine(error)) => return Err(error),
                Err(NameError::Refused(failure)) => {
                    self.refused.push(*failure);
                    continue;
                }
            };
            let number = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
            convert.quarantine = quarantine_key(self.draft.flow, self.options, self.draft.run, number);
            if self.draft.would_consume(&convert.quarantine) {
                let error = format!("`{}` would be matched by the flow's own `from`", convert.quarantine);
                let failure =
                    Failure { error, hint: Some("set `quarantine` to a prefix that `from` does not read".into()) };
                self.refused.push(FailureReport::new(convert.outputs[0].key.as_str(), failure));
                continue;
            }
            let copies = self.metadata(&group, convert.schema, schemas, held, &mut copied).await?;
            convert.outputs.extend(copies);
            let first = &convert.outputs[0];
            tasks.push(Task {
                task: TaskId(number),
                stage: 0,
                group: GroupId(number),
                inputs: group.inputs,
                key: first.key.clone(),
                replaces: first.replaces.clone(),
                convert: Some(Box::new(convert)),
                scatter: None,
            });
        }
        Ok(tasks)
    }

    async fn task(
        &self,
        group: &Group,
        schema: u32,
        held: &BTreeSet<&str>,
        built: &Built<'_>,
    ) -> Result<ConvertTask, NameError> {
        let mut outputs = Vec::with_capacity(group.outputs.len());
        for ((to, key), Fed { how, inputs }) in &group.outputs {
            let objects = how.numbered.as_ref().map(|numbered| Key::from_listed(numbered.before.clone()));
            let prefix = objects.as_ref().or(how.split.as_ref().map(|_| key));
            if self.draft.would_consume(key) || prefix.is_some_and(|prefix| self.draft.may_consume_under(prefix)) {
                let error = format!("output `{key}` would be matched by the flow's own `from`");
                let hint = "write under another prefix, or with another suffix, than `from` reads";
                return Err(NameError::refuse(key, error, hint));
            }
            let mut split = how.split.clone();
            let replaces = match &mut split {
                // Only its objects are written, all of them new.
                None if how.numbered.as_ref().is_some_and(|numbered| !numbered.manifest) => None,
                None => self.replaces(key, held).await?,
                Some(split) => {
                    self.previous(split);
                    None
                }
            };
            let made = split.as_ref().and_then(|split| split.previous.first()).map_or(key, |(key, _)| key);
            let chosen: BTreeSet<&Key> = inputs.iter().map(|&number| &group.inputs[number as usize].key).collect();
            let is_strict = self.draft.ask.missing == Missing::GiveUp;
            if let Some(lost) =
                built.sources(made, key).await?.iter().find(|source| is_strict && !chosen.contains(*source))
            {
                let error = format!("`{lost}`, of which `{key}` was made, is no longer there");
                let hint = "put it back, or let go of its records by `baler run --drop-missing`";
                return Err(NameError::refuse(key, error, hint));
            }
            let to = u32::try_from(*to).unwrap_or(u32::MAX);
            let inputs = ranges(inputs.iter().copied());
            let (key, span, numbered) = (key.clone(), how.span, how.numbered.clone());
            outputs.push(PlannedOutput { to, key, replaces, inputs, span, split, numbered, text: None });
        }
        let reread = (0u32..).zip(&group.reread).filter(|(_, reread)| **reread).map(|(number, _)| number).collect();
        Ok(ConvertTask { schema, outputs, reread, quarantine: Key::from_listed(String::new()) })
    }

    /// The metadata of a group's data set, where it is to lie beside the data and does not as it is now; once for all groups.
    ///
    /// Cost: a HEAD and a GET for each target that wants it. One that somebody else wrote there is left alone.
    async fn metadata(
        &self,
        group: &Group,
        schema: u32,
        schemas: &columns::Schemas,
        held: &BTreeSet<&str>,
        copied: &mut BTreeSet<Key>,
    ) -> Result<Vec<PlannedOutput>, EngineError> {
        let Some(text) = schemas.metadata(schema) else { return Ok(Vec::new()) };
        let mut outputs = Vec::new();
        for (to, target) in (0u32..).zip(&self.options.targets) {
            let Some(template) = &target.metadata else { continue };
            let (pattern, run, now) = (self.draft.pattern, self.draft.run, self.draft.flow.env.template_time());
            let keys: &[&str] = &[group.inputs[0].key.as_str()];
            let context = RenderContext { pattern, keys, index: 0, now, run, partition: Partition::default() };
            let Ok(key) = template.render(&context) else { continue };
            if self.draft.would_consume(&key) || copied.contains(&key) {
                continue;
            }
            let replaces = match self.replaces(&key, held).await {
                Ok(replaces) => replaces,
                Err(NameError::Engine(error)) => return Err(error),
                Err(NameError::Refused(_)) => continue,
            };
            if replaces.is_some() {
                let mut there = self.draft.flow.target.get(&key, None, None).await?.body;
                let mut bytes = Vec::with_capacity(text.len());
                while let Some(chunk) = there.try_next().await? {
                    bytes.extend_from_slice(&chunk);
                }
                if bytes == text.as_bytes() {
                    continue;
                }
            }
            copied.insert(key.clone());
            let text = Some(text.to_owned());
            let (inputs, span, split, numbered) = (Vec::new(), None, None, None);
            outputs.push(PlannedOutput { to, key, replaces, inputs, span, split, numbered, text });
        }
        Ok(outputs)
    }

    /// What earlier runs wrote of outputs that the values of columns tell apart.
    fn previous(&self, split: &mut PlannedSplit) {
        let Some(KeyPart::Text(prefix)) = split.parts.first() else { return };
        let own = self.draft.state.objects().range(Key::from_listed(prefix.clone())..);
        let own = own.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let previous = own.filter(|(key, _)| split.may_be(key.as_str()));
        split.previous = previous.map(|(key, own)| (key.clone(), ObjectVersion { etag: own.etag.clone() })).collect();
    }

    /// The version at an output's key that may be replaced (INV-OWN-1).
    async fn replaces(&self, key: &Key, held: &BTreeSet<&str>) -> Result<Option<ObjectVersion>, NameError> {
        if held.contains(key.as_str()) {
            let error = format!("`{key}` is being written by an open run");
            return Err(NameError::refuse(key, error, "`baler run` finishes it; run again then"));
        }
        let head = self.draft.flow.target.head(key).await.map_err(|error| NameError::Engine(error.into()))?;
        let Some(head) = head else { return Ok(None) };
        if let Some(own) = self.draft.state.object(key) {
            if head.version.etag == own.etag {
                return Ok(Some(ObjectVersion { etag: own.etag.clone() }));
            }
            let error = format!("`{key}` has changed since run `{}` wrote it", own.run);
            return Err(NameError::refuse(key, error, "move it away: it is built anew from its sources"));
        }
        if let Some(stamp) = &head.stamp {
            let error = format!("`{key}` exists: run `{}` of flow `{}` wrote it", stamp.run, stamp.flow);
            return Err(NameError::refuse(key, error, "let `to` name another place, or move it away"));
        }
        match self.draft.flow.config.overwrite {
            Overwrite::Allow => Ok(Some(head.version)),
            Overwrite::Refuse => {
                let error = format!("`{key}` exists and is not Baler's");
                Err(NameError::refuse(key, error, "`overwrite = true`, or another template in `to`"))
            }
        }
    }
}

/// The numbers of outputs, given as they are met.
fn number(keys: Vec<Feeds>, numbers: &mut HashMap<(usize, Key), usize>, outputs: &mut Vec<Feeds>) -> Vec<usize> {
    let of = |output: Feeds| {
        *numbers.entry((output.0, output.1.clone())).or_insert_with(|| {
            outputs.push(output);
            outputs.len() - 1
        })
    };
    keys.into_iter().map(of).collect()
}

/// Where a task writes what it sets aside.
fn quarantine_key(flow: &Flow, options: &ConvertConfig, run: &RunId, task: u32) -> Key {
    Key::from_listed(format!("{}/{}/{run}/{task}.jsonl", options.quarantine, flow.name()))
}

/// What partitions were made of when they were last built: the plans of their runs tell.
struct Built<'a> {
    draft: Draft<'a>,
    plans: tokio::sync::Mutex<BTreeMap<RunId, HashMap<Key, Vec<Key>>>>,
}

impl<'a> Built<'a> {
    fn new(draft: Draft<'a>) -> Self {
        Self { draft, plans: tokio::sync::Mutex::default() }
    }

    /// The keys of the sources of an output of ours, which was planned as `planned`. Cost: one GET for each run that wrote one of the outputs asked for.
    async fn sources(&self, output: &Key, planned: &Key) -> Result<Vec<Key>, NameError> {
        let Draft { flow, state, .. } = self.draft;
        let Some(known) = state.object(output).and_then(|own| state.run(&own.run)) else { return Ok(Vec::new()) };
        let mut plans = self.plans.lock().await;
        if !plans.contains_key(&known.run) {
            let plan = flow.ledger.read_plan(known).await;
            let plan = plan.map_err(|source| NameError::Engine(flow.ledger_error()(source)))?;
            let mut made: HashMap<Key, Vec<Key>> = HashMap::new();
            for task in &plan.tasks {
                for output in task.convert.iter().flat_map(|convert| &convert.outputs) {
                    let of = (0u32..).zip(&task.inputs).filter(|(number, _)| output.takes(*number));
                    made.insert(output.key.clone(), of.map(|(_, input)| input.key.clone()).collect());
                }
            }
            plans.insert(known.run.clone(), made);
        }
        Ok(plans[&known.run].get(planned).cloned().unwrap_or_default())
    }
}

enum NameError {
    Engine(EngineError),
    Refused(Box<FailureReport>),
}

impl NameError {
    fn refuse(key: &Key, error: String, hint: &str) -> Self {
        let failure = Failure { error, hint: Some(hint.to_owned()) };
        Self::Refused(Box::new(FailureReport::new(key.as_str(), failure)))
    }
}

/// Sets that are joined until nothing more is connected.
struct Sets {
    parents: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Self {
        Self { parents: (0..count).collect() }
    }

    fn of(&mut self, mut member: usize) -> usize {
        while self.parents[member] != member {
            self.parents[member] = self.parents[self.parents[member]];
            member = self.parents[member];
        }
        member
    }

    /// The lesser of the two stands for both, so that groups come in the order in which their outputs were met.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.parents[a.max(b)] = a.min(b);
    }
}
