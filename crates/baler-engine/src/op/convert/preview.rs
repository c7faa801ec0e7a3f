//! Shows the first records as they would come out, without writing anything.

use std::sync::Arc;

use baler_format::Format;
use baler_format::codec::{Codec, Compression};
use baler_format::encode::{EncodeOptions, Encoder};
use baler_model::ledger::{Failure, OperationOptions};
use futures::TryStreamExt;
use serde::Serialize;

use super::decoding::{self, Remote, Stop};
use super::feed::{Body, WHOLE};
use super::job::Job;
use super::routing;
use crate::error::{EngineError, TaskError};
use crate::flow::Flow;
use crate::ledger::LedgerState;
use crate::plan::{Again, Ask, plan};

/// The first records of a flow.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Preview {
    /// The columns and their types.
    pub columns: String,
    /// Where the columns come from.
    pub origin: String,
    /// The records, as JSON.
    pub records: Vec<serde_json::Value>,
    /// Records that would be set aside: where they stand, and why.
    pub aside: Vec<String>,
    /// Where the flow has SQL, and a partition holds more: it was asked over so many records, the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u64>,
    /// What keeps groups from being converted.
    pub refused: Vec<crate::report::FailureReport>,
}

/// Records of a task that a query is asked over.
const SAMPLE: usize = 10_000;

/// Converts the first records of what a run would take; where nothing is new, of what was taken before.
///
/// Cost: the listings of planning, and reading the first objects. Errors: as of planning; a flow that does not convert.
pub async fn preview(flow: &Flow, state: &LedgerState, limit: usize) -> Result<Preview, EngineError> {
    let mut planned = plan(flow, state, Ask::default()).await?;
    if planned.plan.tasks.is_empty() {
        let ask = Ask { again: Again::Between(jiff::Timestamp::MIN, jiff::Timestamp::MAX), ..Ask::default() };
        planned = plan(flow, state, ask).await?;
    }
    let mut shown = Preview { refused: planned.refused, ..Preview::default() };
    let OperationOptions::Convert(options) = &planned.plan.header.operation else {
        return Err(EngineError::Unfit {
            store: flow.name().to_owned(),
            role: "for this",
            detail: match &planned.plan.header.operation {
                OperationOptions::Scatter(_) => "it scatters: what comes out is what its steps answer".to_owned(),
                OperationOptions::Combine(_) | OperationOptions::Convert(_) => {
                    "it does not convert: what comes out is what goes in".to_owned()
                }
            },
            hint: "name a flow with `do = \"convert\"`".to_owned(),
        });
    };
    for task in &planned.plan.tasks {
        let Some(convert) = &task.convert else { continue };
        if shown.records.len() >= limit {
            break;
        }
        let schema = &options.schemas[convert.schema as usize];
        (shown.columns, shown.origin) = (schema.columns.clone(), schema.origin.clone());
        let job = match Job::new(options, convert, &task.inputs, &flow.target.info().url, &*flow.env.secrets, 0) {
            Ok(job) => Arc::new(job),
            Err(error) => {
                shown.refused.push(crate::report::FailureReport::new(task.key.as_str(), error.failure));
                continue;
            }
        };
        if job.sql.is_some() {
            shown.columns = job.written.to_string();
            shown.origin = format!("of `sql`, over {} columns", schema.origin);
            if let Err(failure) = queried(flow, &job, limit, &mut shown).await {
                shown.refused.push(crate::report::FailureReport::new(task.key.as_str(), failure));
            }
            continue;
        }
        for number in 0..task.inputs.len() {
            if shown.records.len() >= limit {
                break;
            }
            let body = read(flow, &job, number).await;
            let (job, most) = (Arc::clone(&job), limit - shown.records.len());
            let decoded = tokio::task::spawn_blocking(move || first(&job, number, body, most)).await;
            let (records, aside, fault) = decoded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            shown.records.extend(records);
            shown.aside.extend(aside);
            if let Some(Stop::Failed(error)) = fault {
                shown.refused.push(crate::report::FailureReport::new(task.key.as_str(), error.failure));
                break;
            }
        }
    }
    Ok(shown)
}

/// Shows what comes out of the flow's SQL, asked over the first records of a task.
async fn queried(flow: &Flow, job: &Arc<Job>, limit: usize, shown: &mut Preview) -> Result<(), Failure> {
    let mut pieces = Vec::new();
    let mut rows = 0;
    for number in 0..job.inputs.len() {
        if rows >= SAMPLE {
            shown.sample = Some(SAMPLE as u64);
            break;
        }
        let body = read(flow, job, number).await;
        let (of, mut left) = (Arc::clone(job), SAMPLE - rows);
        let decoded = tokio::task::spawn_blocking(move || {
            let mut decoded = Vec::new();
            let mut take = |piece: decoding::Piece| {
                left = left.saturating_sub(piece.batch.num_rows());
                decoded.push(piece);
                left > 0
            };
            let done = decoding::decode(&of, number, body, false, &mut take);
            (decoded, done.err())
        });
        let (decoded, fault) = decoded.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match fault {
            Some(Stop::Failed(error)) => return Err(error.failure),
            Some(Stop::Nobody) => shown.sample = Some(SAMPLE as u64),
            Some(Stop::Distrusted) | None => {}
        }
        for piece in decoded {
            let key = &job.inputs[number].key;
            shown.aside.extend(piece.aside.iter().map(|one| one.told_of(key)));
            rows += piece.batch.num_rows();
            pieces.push((number, piece));
        }
    }
    let (job, most) = (Arc::clone(job), limit - shown.records.len());
    let asked = tokio::task::spawn_blocking(move || ask(&job, &pieces, most));
    let asked = asked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    shown.records.extend(asked.map_err(|error| error.failure)?);
    Ok(())
}

/// The first records that come out for the outputs of the first kind, one output after the other.
fn ask(job: &Job, pieces: &[(usize, decoding::Piece)], most: usize) -> Result<Vec<serde_json::Value>, TaskError> {
    let mut records = Vec::new();
    let first = job.task.outputs.first().map(|output| output.to);
    for output in job.task.outputs.iter().filter(|output| Some(output.to) == first) {
        let Some(sql) = job.sql.as_ref().filter(|_| records.len() < most) else { break };
        let mut query = sql.begin()?;
        let mut take = |rows: arrow_array::RecordBatch| {
            let rows = rows.slice(0, rows.num_rows().min(most - records.len()));
            records.extend(as_json(job, &rows));
            Ok(())
        };
        let taken = pieces.iter().filter(|(number, _)| output.takes(u32::try_from(*number).unwrap_or(u32::MAX)));
        for (_, piece) in taken {
            match output.span {
                None => query.push(&piece.batch, &mut take)?,
                Some(span) => query.push(&routing::within(&piece.batch, &piece.seconds, span)?, &mut take)?,
            }
        }
        query.finish(&mut take)?;
    }
    Ok(records)
}

async fn read(flow: &Flow, job: &Job, number: usize) -> Result<Body, baler_store::StoreError> {
    let input = job.inputs[number].clone();
    if input.size > WHOLE && job.ranged()[number] {
        let (runtime, store) = (tokio::runtime::Handle::current(), Arc::clone(&flow.source));
        return Ok(Body::Remote(Arc::new(Remote { runtime, store, input })));
    }
    if input.size > WHOLE {
        let permit = flow.env.limits.request().await;
        return Ok(Body::Stream(super::feed::flow(Arc::clone(&flow.source), permit, input)));
    }
    let mut get = flow.source.get(&input.key, None, Some(&input.version())).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = get.body.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body::Whole(bytes.into()))
}

type First = (Vec<serde_json::Value>, Vec<String>, Option<Stop>);

/// The first records of one input, as JSON.
fn first(job: &Job, number: usize, body: Result<Body, baler_store::StoreError>, most: usize) -> First {
    let (mut records, mut aside) = (Vec::new(), Vec::new());
    let key = &job.inputs[number].key;
    let mut take = |piece: decoding::Piece| {
        aside.extend(piece.aside.iter().map(|one| one.told_of(key)));
        let rows = piece.batch.slice(0, piece.batch.num_rows().min(most - records.len()));
        records.extend(as_json(job, &rows));
        records.len() < most
    };
    let done = decoding::decode(job, number, body, false, &mut take);
    (records, aside, done.err())
}

fn as_json(job: &Job, rows: &arrow_array::RecordBatch) -> Vec<serde_json::Value> {
    let none = Compression::try_new(Codec::None, None).expect("it has no levels");
    let lines = Encoder::new(&Format::JsonLines, &job.written, none, &EncodeOptions::default(), Vec::new())
        .and_then(|mut encoder| encoder.write(rows).map(|()| encoder))
        .and_then(Encoder::finish);
    let Ok((lines, _)) = lines else { return Vec::new() };
    lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
