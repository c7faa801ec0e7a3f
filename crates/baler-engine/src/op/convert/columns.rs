//! Which columns the records of a run have: declared, from the metadata of a data set, or inferred from a sample and kept.
//!
//! What was inferred is pinned: the plan of the last committed run holds it, and the next run takes it from there.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use baler_format::Format;
use baler_format::codec::{self, Codec};
use baler_format::decode::{self, Source};
use baler_format::schema::Inference;
use baler_format::schema::{Column, Drift, S3db, Schema, settle};
use baler_model::config::{ConvertConfig, SchemaBase};
use baler_model::ledger::{DriftPolicy, Failure, OperationOptions, PlannedSchema};
use baler_model::{InputVersion, Partition, RenderContext};
use baler_store::{ByteRange, StoreError};
use bytes::Bytes;
use futures::TryStreamExt;

use super::decoding::Remote;
use super::feed::WHOLE;
use super::plan::Group;
use super::{job, kinds};
use crate::env::NoSecrets;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::LedgerState;
use crate::plan::Draft;
use crate::report::FailureReport;

/// What is said of a schema that was inferred.
pub(crate) const INFERRED: &str = "inferred";
/// What is said of a schema that was declared.
pub(crate) const DECLARED: &str = "declared";
/// So many objects are sampled, evenly spread.
const SAMPLES: usize = 16;
/// So many bytes of each, as they lie in the store; of small objects that state their columns all.
const SAMPLE_BYTES: u64 = 256 << 10;
/// A sample that is compressed is read no further than this.
const DECODED_BYTES: u64 = 64 << 20;
/// So many records of each.
const SAMPLE_RECORDS: u64 = 2_000;

/// The schemas of a run.
pub(crate) struct Schemas {
    pub(crate) planned: Vec<PlannedSchema>,
    /// Of each group the number of its schema, or why it has none.
    groups: Vec<Result<u32, FailureReport>>,
    /// Of each schema the text of the metadata file that it comes from, if it does.
    metadata: Vec<Option<String>>,
}

impl Schemas {
    /// The metadata file that a schema comes from.
    pub(crate) fn metadata(&self, schema: u32) -> Option<&str> {
        self.metadata.get(schema as usize)?.as_deref()
    }

    pub(crate) fn of_group(&self, group: usize) -> Result<u32, FailureReport> {
        self.groups[group].clone()
    }
}

/// Finds the schema of each group.
///
/// Cost: nothing for declared columns; a GET for each metadata file; for inferred ones a GET of the last plan, and one for
/// each sampled object where there is none, or where the schema may widen.
pub(crate) async fn resolve(
    draft: Draft<'_>,
    options: &ConvertConfig,
    groups: &[Group],
) -> Result<Schemas, EngineError> {
    let one = |schema: Result<(Schema, &str), Failure>| match schema {
        Ok((schema, origin)) => Schemas {
            planned: vec![PlannedSchema { columns: schema.to_string(), origin: origin.to_owned() }],
            groups: groups.iter().map(|_| Ok(0)).collect(),
            metadata: Vec::new(),
        },
        Err(failure) => Schemas {
            planned: Vec::new(),
            groups: groups.iter().map(|group| Err(refused(group, failure.clone()))).collect(),
            metadata: Vec::new(),
        },
    };
    if groups.is_empty() {
        return Ok(Schemas { planned: Vec::new(), groups: Vec::new(), metadata: Vec::new() });
    }
    match &options.schema.base {
        SchemaBase::Declared => {
            let schema = declared(&options.schema.columns).map(|schema| (schema, DECLARED));
            Ok(one(schema.map_err(|detail| failure(detail, "correct `schema.columns`"))))
        }
        SchemaBase::S3db(_) => of_metadata(draft, options, groups).await,
        SchemaBase::Inferred => {
            let pinned = pinned(draft.flow, draft.state).await?;
            let schema = match (pinned, options.drift) {
                (Some(pinned), DriftPolicy::Fail | DriftPolicy::Quarantine) => Ok(pinned),
                (Some(pinned), DriftPolicy::Widen) => match infer(draft.flow, options, groups).await? {
                    Ok(found) => {
                        settle(&pinned, &found, Drift::Widen).map_err(|error| failure(error.to_string(), error.hint()))
                    }
                    Err(failure) => Err(failure),
                },
                (None, _) => infer(draft.flow, options, groups).await?,
            };
            let schema = schema.and_then(|schema| {
                overridden(schema, &options.schema.columns)
                    .map_err(|detail| failure(detail, "correct `schema.columns`"))
            });
            Ok(one(schema.map(|schema| (schema, INFERRED))))
        }
    }
}

/// The schemas of the last committed run of a flow. Cost: one GET.
pub async fn of_last_run(flow: &Flow, state: &LedgerState) -> Result<Vec<PlannedSchema>, EngineError> {
    Ok(match last_options(flow, state).await? {
        Some(OperationOptions::Convert(options)) => options.schemas,
        Some(OperationOptions::Scatter(options)) => options.schema.into_iter().collect(),
        Some(OperationOptions::Combine(_)) | None => Vec::new(),
    })
}

/// The schemas of the last committed run of a flow, for people: where it has SQL, the columns that came out of that.
///
/// Cost: one GET.
pub async fn written_by_last_run(flow: &Flow, state: &LedgerState) -> Result<Vec<PlannedSchema>, EngineError> {
    let options = match last_options(flow, state).await? {
        Some(OperationOptions::Convert(options)) => options,
        Some(OperationOptions::Scatter(options)) => return Ok(options.schema.into_iter().collect()),
        Some(OperationOptions::Combine(_)) | None => return Ok(Vec::new()),
    };
    let Some(sql) = &options.sql else { return Ok(options.schemas) };
    let written = |schema: PlannedSchema| {
        let columns = schema.columns.parse::<Schema>().map_err(|error| error.to_string());
        let written = columns.and_then(|columns| {
            job::written(&options.scrub, &options.provenance, &columns, Some(sql.as_str()), &NoSecrets)
        });
        match written {
            Ok(columns) => PlannedSchema {
                columns: columns.to_string(),
                origin: format!("of `sql`, over {} columns", schema.origin),
            },
            // A build without SQL shows what goes in.
            Err(_) => PlannedSchema { origin: format!("{}, before `sql`", schema.origin), ..schema },
        }
    };
    Ok(options.schemas.into_iter().map(written).collect())
}

async fn last_options(flow: &Flow, state: &LedgerState) -> Result<Option<OperationOptions>, EngineError> {
    let Some(run) = state.runs().iter().rev().find(|run| run.committed.is_some()) else { return Ok(None) };
    let plan = flow.ledger.read_plan(run).await.map_err(flow.ledger_error())?;
    Ok(Some(plan.header.operation))
}

/// The schema that the last committed run of a flow pinned.
pub(crate) async fn pinned(flow: &Flow, state: &LedgerState) -> Result<Option<Schema>, EngineError> {
    let schemas = of_last_run(flow, state).await?;
    let inferred = schemas.iter().find(|schema| schema.origin == INFERRED);
    Ok(inferred.and_then(|schema| schema.columns.parse().ok()))
}

fn failure(error: String, hint: &str) -> Failure {
    Failure { error, hint: Some(hint.to_owned()) }
}

fn refused(group: &Group, failure: Failure) -> FailureReport {
    let name = group.outputs.keys().next().map_or("", |(_, key)| key.as_str());
    FailureReport::new(name, failure)
}

pub(crate) fn declared(columns: &[(String, String)]) -> Result<Schema, String> {
    let column = |(name, kind): &(String, String)| {
        Column::parse(name, kind).map_err(|error| format!("column `{name}`: {error}"))
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<Column>, String>>()?;
    Schema::try_new(columns).map_err(|error| error.to_string())
}

/// A schema with single columns declared anew; those that it lacks are added behind.
fn overridden(schema: Schema, columns: &[(String, String)]) -> Result<Schema, String> {
    if columns.is_empty() {
        return Ok(schema);
    }
    let over = declared(columns)?;
    let of_base = schema.columns().iter().map(|column| over.column(&column.name).unwrap_or(column).clone());
    let added = over.columns().iter().filter(|column| schema.column(&column.name).is_none()).cloned();
    Schema::try_new(of_base.chain(added).collect()).map_err(|error| error.to_string())
}

/// The schemas of data sets, by the metadata file that the keys of a group name.
async fn of_metadata(draft: Draft<'_>, options: &ConvertConfig, groups: &[Group]) -> Result<Schemas, EngineError> {
    let SchemaBase::S3db(place) = &options.schema.base else { unreachable!("it is asked for metadata alone") };
    let flow = draft.flow;
    let store = flow.env.stores.open(&place.store)?;
    let mut known: BTreeMap<String, Result<u32, Failure>> = BTreeMap::new();
    let mut schemas = Schemas { planned: Vec::new(), groups: Vec::new(), metadata: Vec::new() };
    for group in groups {
        let mut files: Vec<String> = Vec::new();
        for input in &group.inputs {
            let keys: &[&str] = &[input.key.as_str()];
            let (pattern, run, now) = (draft.pattern, draft.run, flow.env.template_time());
            let partition = Partition::default();
            let context = RenderContext { pattern, keys, index: 0, now, run, partition };
            match place.template.render(&context) {
                Ok(key) if files.iter().any(|file| file == key.as_str()) => {}
                Ok(key) => files.push(key.to_string()),
                Err(error) => files.push(error.to_string()),
            }
        }
        let [file] = &files[..] else {
            let error = format!("its inputs belong to several data sets: `{}`", files.join("`, `"));
            let hint = "name the data set in `to`, so that each has outputs of its own";
            schemas.groups.push(Err(refused(group, failure(error, hint))));
            continue;
        };
        if !known.contains_key(file) {
            let key = baler_model::Key::from_listed(file.clone());
            let hint = "`schema.s3db` names the METADATA.json of a data set";
            let schema = match read_up_to(&*store, &key, None, u64::MAX).await {
                Err(StoreError::NotFound { .. }) => Err(failure(format!("`{key}` is not there"), hint)),
                Err(error) => return Err(error.into()),
                Ok(bytes) => S3db::parse(&bytes)
                    .map_err(|error| error.to_string())
                    .and_then(|metadata| overridden(metadata.schema, &options.schema.columns))
                    .map(|schema| (schema, String::from_utf8_lossy(&bytes).into_owned()))
                    .map_err(|error| failure(format!("`{key}`: {error}"), hint)),
            };
            let number = schema.map(|(schema, text)| {
                schemas.metadata.push(Some(text));
                schemas.planned.push(PlannedSchema { columns: schema.to_string(), origin: file.clone() });
                u32::try_from(schemas.planned.len() - 1).unwrap_or(u32::MAX)
            });
            known.insert(file.clone(), number);
        }
        schemas.groups.push(known[file].clone().map_err(|failure| refused(group, failure)));
    }
    Ok(schemas)
}

/// Infers a schema from samples of the inputs that are new.
async fn infer(flow: &Flow, options: &ConvertConfig, groups: &[Group]) -> Result<Result<Schema, Failure>, EngineError> {
    let new: Vec<&InputVersion> = groups
        .iter()
        .flat_map(|group| {
            group.inputs.iter().zip(&group.reread).filter(|(_, reread)| !**reread).map(|(input, _)| input)
        })
        .collect();
    let step = new.len().div_ceil(SAMPLES).max(1);
    let mut inference = Inference::default();
    let mut stated: Option<Schema> = None;
    for input in new.iter().step_by(step) {
        let key = input.key.as_str();
        let hint = "declare the columns: `schema = { columns = { … } }`";
        let kind = match kinds::input_kind(options.format.as_ref(), &options.records, key) {
            Ok(kind) => kind,
            Err(error) => return Ok(Err(failure(error, "add `format` to the flow"))),
        };
        let whole = matches!(kind.format, Format::Parquet | Format::Arrow(_));
        let most = if whole && input.size <= WHOLE { WHOLE } else { SAMPLE_BYTES };
        // One that is gone or changed is found out when it is read: here it only gives no sample.
        let bytes = match read_up_to(&*flow.source, &input.key, Some(input), most).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. } | StoreError::Changed { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let codec = kind.codec.unwrap_or_else(|| Codec::sniff(&bytes));
        let decoding = kinds::decoding(options.epoch, &options.scrub);
        if whole {
            let found = match (codec, &kind.format) {
                (Codec::None, _) if input.size <= WHOLE => {
                    decode::stated_schema(&kind.format, &decoding, Source::bytes(bytes))
                }
                (Codec::None, _) => {
                    let runtime = tokio::runtime::Handle::current();
                    let remote = Remote { runtime, store: Arc::clone(&flow.source), input: (*input).clone() };
                    let format = kind.format.clone();
                    let stated = move || decode::stated_schema(&format, &decoding, Source::Ranges(Arc::new(remote)));
                    let stated = tokio::task::spawn_blocking(stated).await;
                    stated.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
                }
                // It states its columns at its end, which is reached only through the whole.
                (_, Format::Parquet) if input.size > WHOLE => continue,
                (codec, Format::Parquet) => match codec::decode_whole(codec, &bytes, DECODED_BYTES as usize) {
                    Ok(bytes) => decode::stated_schema(&kind.format, &decoding, Source::bytes(bytes)),
                    Err(_) => continue,
                },
                (codec, _) => {
                    let beginning = Beginning(codec::reader(codec, Cursor::new(bytes)));
                    decode::stated_schema(&kind.format, &decoding, Source::stream(beginning))
                }
            };
            match found {
                Ok(schema) => {
                    stated = Some(match stated {
                        None => schema,
                        Some(before) => match settle(&before, &schema, Drift::Widen) {
                            Ok(schema) => schema,
                            Err(error) => return Ok(Err(failure(format!("`{key}`: {error}"), hint))),
                        },
                    });
                }
                // It is set aside when it is read.
                Err(_) => continue,
            }
            continue;
        }
        let sample = Beginning(codec::reader(codec, Cursor::new(bytes))).take(DECODED_BYTES);
        // What cannot be read here cannot be read later: it is set aside then.
        if let Err(error) = inference.add(&kind.format, &decoding, sample, SAMPLE_RECORDS) {
            tracing::debug!(key, %error, "no sample");
        }
    }
    if let Some(schema) = stated {
        return Ok(Ok(schema));
    }
    let schema = match inference.finish() {
        Ok(schema) if !schema.columns().is_empty() => Ok(schema),
        Ok(_) => Err("no record was found in a sample of the inputs".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Ok(schema.map_err(|error| failure(error, "declare the columns: `schema = { columns = { … } }`")))
}

/// Ends where a compressed sample was cut.
struct Beginning<R>(R);

impl<R: Read> Read for Beginning<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        Ok(self.0.read(into).unwrap_or(0))
    }
}

/// The first bytes of an object, in its planned version where one is given.
async fn read_up_to(
    store: &dyn baler_store::Store,
    key: &baler_model::Key,
    version: Option<&InputVersion>,
    most: u64,
) -> Result<Bytes, StoreError> {
    let range = version.filter(|input| input.size > most).map(|_| ByteRange::new(0, most));
    let planned = version.map(InputVersion::version);
    let mut get = store.get(key, range, planned.as_ref()).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = get.body.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}
