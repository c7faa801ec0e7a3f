//! Takes one chunk: each of its records goes through the steps and into the table, and its answer into the chunk's part of the
//! result, which is a private object; so are the lines of those that failed.
//!
//! All of it may be done twice: rows of the table are ordered by (batch time, run, number), private objects lie under the
//! attempt's key.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use baler_format::codec::{self, Codec, Compression};
use baler_format::decode::{DecodeOptions, TextFrom};
use baler_format::schema::Schema;
use baler_model::ledger::{
    ChunkDone, ChunkTask, EachOptions, FailedRecord, Failure, Failures, GatherTask, PrivateObject, ResultShape,
    ScatterOptions, Task,
};
use baler_model::{AttemptId, FlowName, InputVersion, Key, Kind, RunId};
use baler_store::{Clock, Crc64};
use bytes::Bytes;

use super::super::convert::columns::INFERRED;
use super::super::convert::kinds::{self, InputKind};
use super::super::convert::rejects::{SetAside, write_line};
use super::each::{self, Identity, Step, Steps};
use super::reading::Body;
use super::records::{self, Records, Request, Rows, Verdict, Window, unreadable};
use super::spare::Spares;
use super::table::Table;
use super::workers::{Waits, Workers};
use crate::error::TaskError;
use crate::flow::Flow;
use crate::ledger::intermediate_key;
use crate::upsert::Order;

/// A window closes behind so many bytes: those who take it whole, be it a table or a query, take many records at once.
const WINDOW: usize = 8 << 20;
/// As that, where records are taken one by one.
const WINDOW_OF_SINGLES: usize = 256 << 10;
/// What an answer adds to a record, about. Units: bytes.
const ANSWER: usize = 80;
/// So many reasons are told apart in a chunk.
const REASONS: usize = 100;
/// What a record is answered that went through, unless a step said something.
const OK: &str = "Ok";
/// What a record is answered that a query left out.
const LEFT_OUT: &str = "Left out";

/// What all chunks of a run share.
pub(crate) struct Job {
    pub(crate) steps: Vec<Step>,
    pub(crate) table: Option<Table>,
    pub(crate) schema: Option<Schema>,
    pub(crate) decoding: DecodeOptions,
    pub(crate) compression: Compression,
    pub(crate) shape: ResultShape,
    /// A compressed input may grow to so many times its size.
    pub(crate) max_expansion: u64,
    /// What chunks leave to those behind them.
    pub(crate) spares: Arc<Spares>,
    /// A window closes behind so many bytes.
    window: usize,
    /// Nothing where steps wait for others.
    workers: Option<Workers>,
}

/// What all chunks of a batch share.
pub(crate) struct Batch {
    pub(crate) job: Arc<Job>,
    pub(crate) input: InputVersion,
    pub(crate) kind: InputKind,
    pub(crate) gather: GatherTask,
    pub(crate) order: Order,
    pub(crate) identity: Identity,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Job {
    /// Makes steps ready and opens the table. Errors: a plan that this process cannot execute now.
    pub(crate) async fn open(flow: &Flow, options: &ScatterOptions) -> Result<Self, TaskError> {
        let invalid = |failure: Failure| TaskError { kind: Kind::Invalid, failure };
        let planned = |error: String| invalid(Failure { error, hint: None });
        let workers = match options.each.iter().any(waits) {
            true => None,
            false => {
                let waits = if options.upsert.is_some() { Waits::ForTable } else { Waits::ForNobody };
                Some(Workers::start(waits).map_err(no_threads)?)
            }
        };
        let compression = compression(options).map_err(planned)?;
        let (schema, decoding) = columns(options).map_err(planned)?;
        let Steps { steps, columns } = each::steps(options, schema.as_ref(), &decoding).map_err(invalid)?;
        let table = match (&options.upsert, columns) {
            (None, _) => None,
            (Some(upsert), Some((schema, decoding))) => Some(Table::open(flow, upsert, schema, decoding).await?),
            (Some(_), None) => return Err(planned("the plan has an upsert and no columns".to_owned())),
        };
        Ok(Self {
            steps,
            table,
            schema,
            decoding,
            compression,
            shape: options.result.shape,
            max_expansion: options.max_expansion,
            spares: Arc::default(),
            window: window(options),
            workers,
        })
    }

    /// How many chunks are worked at beside each other; nothing where that is for those to say whom steps wait for.
    pub(crate) fn places(&self) -> Option<usize> {
        self.workers.as_ref().map(Workers::places)
    }
}

pub(crate) fn compression(options: &ScatterOptions) -> Result<Compression, String> {
    let name = &options.result.codec;
    let codec = Codec::from_name(name).ok_or_else(|| format!("`{name}` is no codec"))?;
    Compression::try_new(codec, options.result.level).map_err(|error| error.to_string())
}

/// The columns of records as they come, and how they are read.
pub(crate) fn columns(options: &ScatterOptions) -> Result<(Option<Schema>, DecodeOptions), String> {
    let Some(planned) = &options.schema else { return Ok((None, DecodeOptions::default())) };
    let schema = planned.columns.parse::<Schema>().map_err(|error| error.to_string())?;
    let text_from = if planned.origin == INFERRED { TextFrom::Anything } else { TextFrom::Text };
    Ok((Some(schema), DecodeOptions { text_from, ..DecodeOptions::default() }))
}

impl Batch {
    /// The batch that a task gathers. Errors: one that the plan cannot mean.
    pub(crate) fn new(
        job: &Arc<Job>,
        flow: &Flow,
        run: &RunId,
        options: &ScatterOptions,
        task: &Task,
    ) -> Result<Self, TaskError> {
        let internal = |error: String| TaskError { kind: Kind::Internal, failure: Failure { error, hint: None } };
        let (Some(gather), Some(input)) = (task.gather(), task.inputs.first()) else {
            return Err(internal(format!("task {} gathers nothing", task.task)));
        };
        let kind = kinds::input_kind(options.input.as_ref(), &options.records, input.key.as_str()).map_err(internal)?;
        Ok(Self {
            job: Arc::clone(job),
            input: input.clone(),
            kind,
            gather: gather.clone(),
            order: Order { batch_time: gather.batch_time, run: run.clone() },
            identity: Identity { prefix: format!("{}/{}/", flow.name(), input.etag) },
            clock: Arc::clone(&flow.env.clock),
        })
    }
}

/// What is made of a chunk, window by window.
#[derive(Default)]
struct Made {
    /// Members of the result's codec, one for each window.
    result: Vec<u8>,
    aside: Vec<u8>,
    succeeded: u64,
    left_out: u64,
    failed: Option<Failed>,
}

/// The records that failed.
struct Failed {
    records: u64,
    reasons: BTreeMap<String, u64>,
    first: FailedRecord,
    last: FailedRecord,
}

/// Where an attempt at a chunk keeps its part of the result, and right behind it its lines of the quarantine file.
pub(crate) fn private_key(flow: &FlowName, run: &RunId, task: &Task, attempt: &AttemptId) -> Key {
    intermediate_key(flow, run, task.task, attempt)
}

/// What became of the records of a chunk, and is yet to be put.
pub(crate) struct Unput {
    /// Its part of the result, and right behind it its lines of the quarantine file.
    bytes: Bytes,
    done: Box<ChunkDone>,
}

/// Takes the records of a chunk.
pub(crate) async fn take(batch: &Arc<Batch>, chunk: ChunkTask, body: Body) -> Result<Unput, TaskError> {
    let place = match &batch.job.workers {
        Some(workers) => Some(workers.place().await),
        None => None,
    };
    let began = batch.clock.now();
    let shared = Arc::clone(batch);
    // Of Parquet the metadata is read here.
    let opened = blocking(&batch.job, move || {
        let (job, header) = (&shared.job, shared.gather.header.as_deref());
        Records::open(&shared.kind.format, job.schema.as_ref(), &job.decoding, &chunk, header, body.source())
    });
    let mut records = opened.await.map_err(|error| unreadable(&batch.input, &error))?;
    let mut made = Made::default();
    let wanted = Arc::new(());
    loop {
        let (shared, wanted) = (Arc::clone(batch), Arc::downgrade(&wanted));
        let ended = blocking(&batch.job, move || {
            let next = go_on(&shared, &chunk, &mut records, &mut made, &wanted);
            (records, made, next)
        });
        let next;
        (records, made, next) = ended.await;
        let (mut window, rows) = match next? {
            Next::Table(window, rows) => (window, rows),
            Next::More => continue,
            Next::End => break,
        };
        if let Some(table) = &batch.job.table {
            table.take(&batch.order, batch.gather.before, &mut window, &rows).await?;
        }
        drop(rows);
        let shared = Arc::clone(batch);
        made = blocking(&batch.job, move || {
            let added = made.add(&shared, &window);
            added.map(|()| made)
        })
        .await?;
    }
    drop(place);
    let Made { result, aside, succeeded, left_out, failed } = made;
    let kept = |bytes: &[u8]| PrivateObject { size: bytes.len() as u64, crc64nvme: Crc64::of(bytes) };
    let (of_result, of_aside) = (kept(&result), kept(&aside));
    let mut bytes = result;
    bytes.reserve_exact(aside.len());
    bytes.extend_from_slice(&aside);
    let failures = failed.map(|Failed { records, reasons, first, last }| {
        Box::new(Failures { records, aside: of_aside, reasons, first, last })
    });
    let done = ChunkDone { began, succeeded, left_out, result: of_result, failures };
    Ok(Unput { bytes: bytes.into(), done: Box::new(done) })
}

impl Unput {
    /// Puts what was made under an attempt's key. Cost: a PUT.
    pub(crate) async fn put(
        &self,
        flow: &Flow,
        run: &RunId,
        task: &Task,
        attempt: &AttemptId,
    ) -> Result<Box<ChunkDone>, TaskError> {
        let key = private_key(flow.ledger.flow(), run, task, attempt);
        let _permit = flow.env.limits.request().await;
        flow.target.put(&key, self.bytes.clone()).await?;
        Ok(self.done.clone())
    }
}

/// What is next for a chunk.
enum Next {
    /// The table takes rows of a window.
    Table(Window, Vec<Rows>),
    /// A step waited for somebody: whoever interrupts it does so before the next window.
    More,
    /// Nothing.
    End,
}

/// Takes windows as long as nobody is to be waited for, and somebody waits for the chunk.
fn go_on(
    batch: &Batch,
    chunk: &ChunkTask,
    records: &mut Records,
    made: &mut Made,
    wanted: &Weak<()>,
) -> Result<Next, TaskError> {
    let job = &batch.job;
    loop {
        // Interrupted, or its batch is given up: what is said to nobody does not matter.
        if wanted.strong_count() == 0 {
            return Ok(Next::End);
        }
        let text = job.spares.take(records::room(chunk, job.window));
        let window = records.next_window(text, job.window).map_err(|error| unreadable(&batch.input, &error))?;
        let Some(mut window) = window else {
            records.refuse_unknown(&job.decoding)?;
            return Ok(Next::End);
        };
        for step in &job.steps {
            step.take(&mut window, &batch.identity, &*batch.clock)?;
        }
        match &job.table {
            Some(table) => {
                let rows = table.rows(&mut window)?;
                return Ok(Next::Table(window, rows));
            }
            None => made.add(batch, &window)?,
        }
        if job.workers.is_none() {
            return Ok(Next::More);
        }
    }
}

/// The bytes behind which a window closes.
fn window(options: &ScatterOptions) -> usize {
    let takes_singles = |each: &EachOptions| match each {
        EachOptions::JsonSchema { .. } => true,
        EachOptions::Sql { .. } | EachOptions::Program { .. } | EachOptions::Http { .. } => false,
    };
    match options.upsert.is_none() && options.each.iter().all(takes_singles) {
        true => WINDOW_OF_SINGLES,
        false => WINDOW,
    }
}

/// Whether a step waits for somebody.
fn waits(each: &EachOptions) -> bool {
    match each {
        EachOptions::Program { .. } | EachOptions::Http { .. } => true,
        EachOptions::JsonSchema { .. } | EachOptions::Sql { .. } => false,
    }
}

fn no_threads(error: std::io::Error) -> TaskError {
    TaskError {
        kind: Kind::Transient,
        failure: Failure { error: format!("no thread can be started: {error}"), hint: None },
    }
}

/// Does what takes a processor's time where it may.
async fn blocking<T: Send + 'static>(job: &Job, work: impl FnOnce() -> T + Send + 'static) -> T {
    match &job.workers {
        Some(workers) => workers.run(work).await,
        None => {
            let ended = tokio::task::spawn_blocking(work).await;
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        }
    }
}

impl Made {
    fn add(&mut self, batch: &Batch, window: &Window) -> Result<(), TaskError> {
        let mut answers = batch.job.spares.take(window.text.len() + window.items.len() * ANSWER);
        for item in &window.items {
            let (success, message) = match &item.verdict {
                Verdict::Passed(message) => (true, message.as_deref().unwrap_or(OK)),
                Verdict::Failed(reason) => (false, reason.as_str()),
                Verdict::LeftOut => (true, LEFT_OUT),
            };
            let request = match &item.request {
                Request::Json(range) => Some(&window.text[range.clone()]),
                Request::Other(_) => None,
            };
            match request {
                Some(request) => {
                    write_response(batch.job.shape, item.index, Asked::Json(request), success, message, &mut answers)
                }
                None => {
                    let Request::Other(raw) = &item.request else { continue };
                    let raw = String::from_utf8_lossy(raw);
                    write_response(batch.job.shape, item.index, Asked::Text(&raw), success, message, &mut answers);
                }
            }
            match &item.verdict {
                Verdict::Passed(_) => self.succeeded += 1,
                Verdict::LeftOut => self.left_out += 1,
                Verdict::Failed(_) => self.fail(item.index, message),
            }
            if success {
                continue;
            }
            let raw = match &item.request {
                Request::Json(range) => window.text[range.clone()].to_vec(),
                Request::Other(raw) => raw.clone(),
            };
            let aside = SetAside { position: Some(item.position), reason: message.to_owned(), raw };
            write_line(&batch.input, &aside, &mut self.aside);
        }
        let compression = batch.job.compression;
        if compression == Compression::NONE {
            self.result.extend_from_slice(&answers);
            return Ok(());
        }
        // What cannot be compressed grows a little.
        let mut member = batch.job.spares.take(answers.len() + (answers.len() >> 6) + 64);
        *member = codec::encode_whole_into(compression, &answers, std::mem::take(&mut *member)).map_err(|error| {
            TaskError {
                kind: Kind::Transient,
                failure: Failure { error: format!("a part of the result cannot be compressed: {error}"), hint: None },
            }
        })?;
        self.result.extend_from_slice(&member);
        Ok(())
    }

    fn fail(&mut self, index: u64, reason: &str) {
        let record = FailedRecord { index, message: reason.to_owned() };
        let failed = self.failed.get_or_insert_with(|| Failed {
            records: 0,
            reasons: BTreeMap::new(),
            first: record.clone(),
            last: record.clone(),
        });
        failed.records += 1;
        failed.last = record;
        let is_told = failed.reasons.len() < REASONS || failed.reasons.contains_key(reason);
        *failed.reasons.entry(if is_told { reason.to_owned() } else { String::new() }).or_default() += 1;
    }
}

/// What a record was.
pub(super) enum Asked<'a> {
    /// JSON, on one line.
    Json(&'a [u8]),
    /// The beginning of something else.
    Text(&'a str),
    /// Nothing that could be read.
    Nothing,
}

/// Writes the answer to a record; in a document a comma stands before all but the first.
pub(super) fn write_response(
    shape: ResultShape,
    index: u64,
    request: Asked<'_>,
    success: bool,
    message: &str,
    out: &mut Vec<u8>,
) {
    match shape {
        ResultShape::Document if index > 0 => out.extend_from_slice(b",\n"),
        ResultShape::Document | ResultShape::Lines => {}
    }
    out.extend_from_slice(b"{\"index\":");
    out.extend_from_slice(index.to_string().as_bytes());
    out.extend_from_slice(b",\"request\":");
    let json = |out: &mut Vec<u8>, text: &str| {
        serde_json::to_writer(out, text).expect("writing to memory cannot fail");
    };
    match request {
        Asked::Json(request) => out.extend_from_slice(request),
        Asked::Text(text) => json(out, text),
        Asked::Nothing => out.extend_from_slice(b"null"),
    }
    match (success, message) {
        (true, OK) => out.extend_from_slice(b",\"response\":{\"success\":true,\"message\":\"Ok\"}}"),
        (success, message) => {
            out.extend_from_slice(format!(",\"response\":{{\"success\":{success},\"message\":").as_bytes());
            json(out, message);
            out.extend_from_slice(b"}}");
        }
    }
    match shape {
        ResultShape::Lines => out.push(b'\n'),
        ResultShape::Document => {}
    }
}
