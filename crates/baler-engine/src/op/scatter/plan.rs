//! Makes batches of `scatter`: one of each object, a task for each chunk and one that gathers.
//!
//! - INV-OWN-1: a result of ours is replaced only in the version that the last commit recorded, by a run that reads the object
//!   of the same key from which it was made: a batch that was sent again.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

use baler_format::Format;
use baler_format::decode::DecodeOptions;
use baler_format::schema::{Column, Inference, Schema};
use baler_model::config::{EachConfig, Overwrite, ScatterConfig, SchemaBase};
use baler_model::ledger::{
    EachOptions, Failure, GatherTask, GroupId, OperationOptions, PlannedSchema, ScatterOptions, ScatterTask, Task,
    UpsertOptions,
};
use baler_model::{InputVersion, Key, ObjectVersion, Partition, RenderContext, RunId, TaskId, Value};
use baler_store::StoreError;
use futures::{StreamExt, stream};
use jiff::Timestamp;

use super::super::convert::columns::{self, DECLARED, INFERRED};
use super::super::convert::kinds;
use super::each;
use super::split::{self, Split, SplitError, Splitting};
use super::{table, work};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{Inputs, Skips};
use crate::plan::{Again, Draft, Drawn, Estimate};
use crate::report::FailureReport;

/// Objects that are looked through at once.
const PASSES: usize = 4;
/// Records of a sample from which columns are inferred.
const SAMPLE_RECORDS: u64 = 2_000;
/// Objects that are sampled, and decompressed bytes of each.
const SAMPLES: usize = 16;
const SAMPLE: usize = 256 << 10;

/// A batch, before its tasks are numbered.
struct Batch {
    input: InputVersion,
    reread: bool,
    key: Key,
    replaces: Option<ObjectVersion>,
    summary: Key,
    summary_replaces: Option<ObjectVersion>,
    batch_time: Timestamp,
    split: Split,
    split_millis: u64,
}

/// What a batch is called and what it may replace.
struct Named {
    key: Key,
    replaces: Option<ObjectVersion>,
    summary: Key,
    summary_replaces: Option<ObjectVersion>,
}

/// Makes tasks of inputs.
pub(crate) async fn draw(draft: Draft<'_>, config: &ScatterConfig, listed: Inputs) -> Result<Drawn, EngineError> {
    let flow = draft.flow;
    let Inputs { inputs, consumed, skips, .. } = listed;
    let again = consumed.into_iter().filter(|input| is_asked_again(draft, input)).map(|input| (input, true));
    let inputs: Vec<(InputVersion, bool)> = inputs.into_iter().map(|input| (input, false)).chain(again).collect();
    let mut options = ScatterOptions {
        input: config.format.clone(),
        records: config.records.clone(),
        chunk: config.chunk,
        max_expansion: config.max_expansion,
        schema: None,
        each: Vec::new(),
        upsert: None,
        result: config.result.clone(),
    };
    if inputs.is_empty() {
        return Ok(drawn(Vec::new(), options, skips, Vec::new()));
    }
    let unfit = |failure: Failure| EngineError::Unfit {
        store: flow.name().to_owned(),
        role: "as planned",
        detail: failure.error,
        hint: failure.hint.unwrap_or_else(|| "correct the flow".to_owned()),
    };
    options.each = steps(flow, config).map_err(unfit)?;
    let database = match config.upsert.as_ref().and_then(|upsert| flow.all.connections.get(&upsert.into)) {
        Some(connection) => table::address(flow, connection).map_err(|error| unfit(error.failure))?,
        None => String::new(),
    };
    options.upsert = config.upsert.as_ref().map(|upsert| UpsertOptions {
        into: upsert.into.clone(),
        database,
        table: upsert.table.clone(),
        key: upsert.key.clone(),
        create: upsert.create,
    });
    work::compression(&options).map_err(|error| unfit(Failure { error, hint: None }))?;
    let mut planner = Planner { draft, config, refused: Vec::new(), plans: BTreeMap::new() };
    let batches = planner.batches(inputs).await?;
    let wants_columns = options.upsert.is_some()
        || options.each.iter().any(|each| each.query().is_some())
        || batches.iter().any(|batch| !is_json(&batch.split.kind.format));
    // Of no records nobody asks for columns.
    if wants_columns && batches.iter().any(|batch| !batch.split.chunks.is_empty()) {
        options.schema = Some(planner.schema(&batches).await?.map_err(unfit)?);
    }
    if options.schema.is_some() {
        let planned = |error: String| unfit(Failure { error, hint: None });
        let (schema, decoding) = work::columns(&options).map_err(planned)?;
        let behind = each::steps(&options, schema.as_ref(), &decoding).map_err(unfit)?.columns;
        if let (Some(upsert), Some((schema, _))) = (&options.upsert, behind) {
            table::check(upsert, &schema).map_err(unfit)?;
        }
    }
    let tasks = planner.tasks(batches);
    Ok(drawn(tasks, options, skips, planner.refused))
}

fn drawn(tasks: Vec<Task>, options: ScatterOptions, skips: Skips, refused: Vec<FailureReport>) -> Drawn {
    Drawn { tasks, operation: OperationOptions::Scatter(Box::new(options)), skips, refused, too_small: 0 }
}

fn is_json(format: &Format) -> bool {
    match format {
        Format::JsonLines | Format::Json { .. } => true,
        Format::Csv(_) | Format::Parquet | Format::Arrow(_) => false,
    }
}

/// Whether a batch that was consumed before is asked for again.
fn is_asked_again(draft: Draft<'_>, input: &InputVersion) -> bool {
    match draft.ask.again {
        Again::Nothing | Again::Between(..) => false,
        Again::Keys(keys) => keys.contains(&input.key),
    }
}

/// Adds what one task will cost; yields the number of its outputs.
pub(crate) fn estimate(flow: &Flow, task: &Task, sum: &mut Estimate) -> u64 {
    let Some(gather) = task.gather() else {
        // Its part of the result is written here, and read when it is gathered.
        sum.requests.put += 1;
        sum.requests.get += 1;
        return 0;
    };
    // Once to find the chunks, once to take them.
    sum.requests.get += if gather.chunks == 0 { 1 } else { 2 };
    sum.bytes_through_client += task.bytes() * if gather.chunks == 0 { 1 } else { 2 };
    sum.requests.put += 2 + task.bytes() / flow.env.limits.read_part();
    2
}

fn steps(flow: &Flow, config: &ScatterConfig) -> Result<Vec<EachOptions>, Failure> {
    let mut steps = Vec::new();
    for each in &config.each {
        let millis = |span: baler_model::Span| u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX);
        let options = match each {
            EachConfig::JsonSchema(path) => EachOptions::JsonSchema {
                path: path.clone(),
                text: std::fs::read_to_string(path).map_err(|error| Failure {
                    error: format!("`{path}` cannot be read: {error}"),
                    hint: Some("`json_schema` names a file beside `baler.toml`".to_owned()),
                })?,
            },
            EachConfig::Program { command, timeout } => EachOptions::Program {
                command: command.clone(),
                directory: flow.all.base_dir.clone(),
                timeout: millis(*timeout),
            },
            EachConfig::Sql(text) => EachOptions::Sql { text: text.clone() },
            EachConfig::Http { url, batch, concurrency, timeout } => EachOptions::Http {
                url: url.clone(),
                batch: *batch,
                concurrency: *concurrency,
                timeout: millis(*timeout),
            },
        };
        // What cannot be taken is said before anything is claimed.
        each::check(&options)?;
        steps.push(options);
    }
    Ok(steps)
}

struct Planner<'a> {
    draft: Draft<'a>,
    config: &'a ScatterConfig,
    refused: Vec<FailureReport>,
    /// Of earlier runs: which object each of their results was made of.
    plans: BTreeMap<RunId, HashMap<Key, Key>>,
}

impl Planner<'_> {
    async fn batches(&mut self, inputs: Vec<(InputVersion, bool)>) -> Result<Vec<Batch>, EngineError> {
        let mut named = Vec::new();
        for (input, reread) in inputs {
            match self.name(&input).await {
                Ok(name) => named.push((input, reread, name)),
                Err(NameError::Engine(error)) => return Err(error),
                Err(NameError::Refused(failure)) => self.refused.push(*failure),
            }
        }
        let mut keys: HashMap<Key, u32> = HashMap::new();
        for (_, _, name) in &named {
            *keys.entry(name.key.clone()).or_default() += 1;
            *keys.entry(name.summary.clone()).or_default() += 1;
        }
        let (named, doubled): (Vec<_>, Vec<_>) =
            named.into_iter().partition(|(_, _, name)| keys[&name.key] == 1 && keys[&name.summary] == 1);
        for (input, _, name) in doubled {
            let error = format!("two batches would be `{}`; one of them is `{}`", name.key, input.key);
            let hint = "let `to` tell them apart, by all names of `from`";
            self.refused.push(refusal(name.key.as_str(), error, hint));
        }
        let (draft, config) = (self.draft, self.config);
        let passes = named.into_iter().enumerate().map(|(number, (input, reread, name))| async move {
            let flow = draft.flow;
            let began = flow.env.clock.now();
            let splitting = Splitting {
                chunk: config.chunk,
                max_expansion: config.max_expansion,
                sample: if number < SAMPLES { SAMPLE } else { 0 },
            };
            let kind = kinds::input_kind(config.format.as_ref(), &config.records, input.key.as_str());
            let split = match kind {
                Ok(kind) => split::split(flow, kind, &splitting, &input).await,
                Err(error) => Err(SplitError::Refused(Failure {
                    error,
                    hint: Some("add `format = \"jsonl\"`, or whatever it is, to the flow".to_owned()),
                })),
            };
            let millis = flow.env.clock.now().duration_since(began).as_millis();
            (input, reread, name, split, u64::try_from(millis).unwrap_or(0))
        });
        let mut passes = stream::iter(passes).buffered(PASSES);
        let mut batches = Vec::new();
        while let Some((input, reread, name, split, split_millis)) = passes.next().await {
            let split = match split {
                Ok(split) => split,
                Err(SplitError::Refused(failure)) => {
                    self.refused.push(FailureReport::new(name.key.as_str(), failure));
                    continue;
                }
                Err(SplitError::Store(error @ (StoreError::NotFound { .. } | StoreError::Changed { .. }))) => {
                    let hint = "nothing was lost: the next `baler run` plans it again";
                    self.refused.push(refusal(name.key.as_str(), error.to_string(), hint));
                    continue;
                }
                Err(SplitError::Store(error)) => return Err(error.into()),
            };
            let batch_time = self.batch_time(&input);
            let Named { key, replaces, summary, summary_replaces } = name;
            batches.push(Batch {
                input,
                reread,
                key,
                replaces,
                summary,
                summary_replaces,
                batch_time,
                split,
                split_millis,
            });
        }
        Ok(batches)
    }

    /// When a batch is from.
    fn batch_time(&self, input: &InputVersion) -> Timestamp {
        let captured = self.config.batch_time.as_ref().and_then(|name| {
            let captures = self.draft.pattern.try_match(input.key.as_str())?;
            match captures.value(name) {
                Some(Value::Time { timestamp, .. }) => Some(timestamp),
                Some(Value::Text(_) | Value::Int { .. }) | None => None,
            }
        });
        captured.unwrap_or(input.modified)
    }

    async fn name(&mut self, input: &InputVersion) -> Result<Named, NameError> {
        let (pattern, run, now) = (self.draft.pattern, self.draft.run, self.draft.flow.env.template_time());
        let keys: &[&str] = &[input.key.as_str()];
        let context = RenderContext { pattern, keys, index: 0, now, run, partition: Partition::default() };
        let fill = |template: &baler_model::Template| {
            template.render(&context).map_err(|error| {
                let error = format!("`to` cannot be filled for `{}`: {error}", input.key);
                NameError::refuse(input.key.as_str(), error, "name what `from` captures")
            })
        };
        let (key, summary) = (fill(self.draft.template)?, fill(&self.config.summary)?);
        for output in [&key, &summary, &self.quarantine(0)] {
            if self.draft.would_consume(output) {
                let error = format!("output `{output}` would be matched by the flow's own `from`");
                return Err(NameError::refuse(key.as_str(), error, "write under another prefix than `from` reads"));
            }
        }
        let held = self.draft.held_keys();
        for output in [&key, &summary] {
            if held.contains(output.as_str()) {
                let error = format!("`{output}` is being written by an open run");
                return Err(NameError::refuse(key.as_str(), error, "`baler run` finishes it; run again then"));
            }
        }
        let replaces = self.replaces(&key, &key, input).await?;
        let summary_replaces = self.replaces(&summary, &key, input).await?;
        Ok(Named { key, replaces, summary, summary_replaces })
    }

    /// The version at an output's key that may be replaced (INV-OWN-1).
    async fn replaces(
        &mut self,
        output: &Key,
        result: &Key,
        input: &InputVersion,
    ) -> Result<Option<ObjectVersion>, NameError> {
        let flow = self.draft.flow;
        let head = flow.target.head(output).await.map_err(|error| NameError::Engine(error.into()))?;
        let Some(head) = head else { return Ok(None) };
        if let Some(own) = self.draft.state.object(output) {
            if head.version.etag != own.etag {
                let error = format!("`{output}` has changed since run `{}` wrote it", own.run);
                return Err(NameError::refuse(result.as_str(), error, "move it away: its batch was sent again"));
            }
            let (run, etag) = (own.run.clone(), own.etag.clone());
            if self.made_of(&run, result).await?.as_ref() != Some(&input.key) {
                let error = format!("`{output}` exists: run `{run}` made it of another object");
                return Err(NameError::refuse(
                    result.as_str(),
                    error,
                    "let `to` tell batches apart, by all names of `from`",
                ));
            }
            return Ok(Some(ObjectVersion { etag }));
        }
        if let Some(stamp) = &head.stamp {
            let error = format!("`{output}` exists: run `{}` of flow `{}` wrote it", stamp.run, stamp.flow);
            return Err(NameError::refuse(result.as_str(), error, "let `to` name another place, or move it away"));
        }
        match flow.config.overwrite {
            Overwrite::Allow => Ok(Some(head.version)),
            Overwrite::Refuse => {
                let error = format!("`{output}` exists and is not Baler's");
                Err(NameError::refuse(result.as_str(), error, "`overwrite = true`, or another template in `to`"))
            }
        }
    }

    /// The object of which a run made a result. Cost: one GET for each run that is asked about.
    async fn made_of(&mut self, run: &RunId, result: &Key) -> Result<Option<Key>, NameError> {
        if !self.plans.contains_key(run) {
            let flow = self.draft.flow;
            let Some(known) = self.draft.state.run(run) else { return Ok(None) };
            let plan = flow.ledger.read_plan(known).await;
            let plan = plan.map_err(|source| NameError::Engine(flow.ledger_error()(source)))?;
            let made = plan.tasks.iter().filter(|task| task.gather().is_some());
            let made = made.filter_map(|task| Some((task.key.clone(), task.inputs.first()?.key.clone())));
            self.plans.insert(run.clone(), made.collect());
        }
        Ok(self.plans[run].get(result).cloned())
    }

    /// The columns of the records: declared, stated by Parquet, or inferred from samples and kept from run to run.
    async fn schema(&self, batches: &[Batch]) -> Result<Result<PlannedSchema, Failure>, EngineError> {
        let source = &self.config.schema;
        let hint = || Some("declare the columns: `schema = { columns = { … } }`".to_owned());
        let declared = match columns::declared(&source.columns) {
            Ok(declared) => declared,
            Err(error) => return Ok(Err(Failure { error, hint: Some("correct `schema.columns`".to_owned()) })),
        };
        let planned =
            |schema: Schema, origin: &str| PlannedSchema { columns: schema.to_string(), origin: origin.to_owned() };
        match source.base {
            SchemaBase::Declared => return Ok(Ok(planned(declared, DECLARED))),
            SchemaBase::Inferred | SchemaBase::S3db(_) => {}
        }
        let pinned = columns::pinned(self.draft.flow, self.draft.state).await?;
        let base = match pinned {
            Some(pinned) => pinned,
            None => {
                let mut inference = Inference::default();
                let mut stated: Option<Schema> = None;
                for batch in batches {
                    let Split { kind, sample, stated: of_batch, .. } = &batch.split;
                    stated = stated.or_else(|| of_batch.clone());
                    if sample.is_empty() {
                        continue;
                    }
                    // What the sample's end cuts is no fault.
                    let (options, sample) = (DecodeOptions::default(), Cursor::new(sample.clone()));
                    if let Err(error) = inference.add(&kind.format, &options, sample, SAMPLE_RECORDS) {
                        tracing::debug!(key = %batch.input.key, %error, "a sample ends here");
                    }
                }
                match (stated, inference.finish()) {
                    (Some(stated), _) => stated,
                    (None, Ok(schema)) if !schema.columns().is_empty() => schema,
                    (None, Ok(_)) => {
                        let error = "no record was found in a sample of the inputs".to_owned();
                        return Ok(Err(Failure { error, hint: hint() }));
                    }
                    (None, Err(error)) => return Ok(Err(Failure { error: error.to_string(), hint: hint() })),
                }
            }
        };
        let of_base = base.columns().iter().map(|column| declared.column(&column.name).unwrap_or(column).clone());
        let added = declared.columns().iter().filter(|column| base.column(&column.name).is_none()).cloned();
        let all: Vec<Column> = of_base.chain(added).collect();
        Ok(Schema::try_new(all)
            .map(|schema| planned(schema, INFERRED))
            .map_err(|error| Failure { error: error.to_string(), hint: hint() }))
    }

    /// Where a task writes the records that failed.
    fn quarantine(&self, task: u32) -> Key {
        let Draft { flow, run, .. } = self.draft;
        Key::from_listed(format!("{}/{}/{run}/{task}.jsonl", self.config.quarantine, flow.name()))
    }

    fn tasks(&self, batches: Vec<Batch>) -> Vec<Task> {
        let all: usize = batches.iter().map(|batch| batch.split.chunks.len() + 1).sum();
        let mut tasks: Vec<Task> = Vec::with_capacity(all);
        let mut before = 0;
        let number = |tasks: &[Task]| u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        for (group, batch) in (0u32..).zip(batches) {
            let Batch { input, reread, key, replaces, summary, summary_replaces, batch_time, split, split_millis } =
                batch;
            let Split { chunks, damage, header, .. } = split;
            let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
            let mut records = u64::from(damage.is_some());
            for chunk in chunks {
                records += chunk.records;
                tasks.push(Task {
                    task: TaskId(number(&tasks)),
                    stage: 0,
                    group: GroupId(group),
                    inputs: Vec::new(),
                    key: key.clone(),
                    replaces: None,
                    convert: None,
                    scatter: Some(ScatterTask::Chunk(chunk)),
                });
            }
            let gather = GatherTask {
                batch: name_of(&input.key),
                batch_time,
                before,
                records,
                chunks: count,
                damage,
                header,
                summary,
                summary_replaces,
                quarantine: self.quarantine(number(&tasks)),
                reread,
                split_millis,
            };
            before += records;
            tasks.push(Task {
                task: TaskId(number(&tasks)),
                stage: 1,
                group: GroupId(group),
                inputs: vec![input],
                key,
                replaces,
                convert: None,
                scatter: Some(ScatterTask::Gather(Box::new(gather))),
            });
        }
        tasks
    }
}

/// The name of a batch: that of its object, without the suffixes of format and codec.
fn name_of(key: &Key) -> String {
    let name = key.file_name();
    let name = match name.rsplit_once('.') {
        Some((stem, suffix)) if baler_format::codec::Codec::from_name(suffix).is_some() => stem,
        Some(_) | None => name,
    };
    match name.rsplit_once('.') {
        Some((stem, suffix)) if baler_model::ledger::FormatOptions::of_name(suffix).is_some() && !stem.is_empty() => {
            stem
        }
        Some(_) | None => name,
    }
    .to_owned()
}

fn refusal(group: &str, error: String, hint: &str) -> FailureReport {
    FailureReport::new(group, Failure { error, hint: Some(hint.to_owned()) })
}

enum NameError {
    Engine(EngineError),
    Refused(Box<FailureReport>),
}

impl NameError {
    fn refuse(group: &str, error: String, hint: &str) -> Self {
        Self::Refused(Box::new(refusal(group, error, hint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_named_by_its_object_without_suffixes() {
        for (key, name) in
            [("inbox/b-7.json", "b-7"), ("b.jsonl.gz", "b"), ("b.2024.csv", "b.2024"), ("b", "b"), (".json", ".json")]
        {
            assert_eq!(name_of(&Key::try_new(key).unwrap()), name, "{key}");
        }
    }
}
