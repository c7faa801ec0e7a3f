//! One attempt at a task, on threads: inputs are decoded in parallel, and written to the outputs in their order.
//!
//! Threads take inputs in their order, each sends what it decodes through a bounded channel of its own, and one thread
//! empties these channels in the order of the inputs: outputs are the same whatever the number of threads. The input that is
//! waited for is always in the hands of a thread, so that nothing can wait for itself.
//!
//! Memory: a few batches for each thread and for each input that waits; of each open output a row group or a codec's window.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow_schema::SchemaRef;
use baler_format::Format;
use baler_format::codec::Compression;
use baler_format::decode::{DecodeOptions, TextFrom};
use baler_format::encode::{self, EncodeOptions};
use baler_format::schema::{Column, Schema, Type};
use baler_model::ledger::{
    ConvertOptions, ConvertTask, Failure, OutputRecords, PlannedSchema, Provenance, TargetOptions,
};
use baler_model::scrub::{Keep, Scrub};
use baler_model::{InputVersion, Kind};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::buffers::{Buffers, Spares};
use super::columns::{DECLARED, INFERRED};
use super::decoding::{self, Piece, Stop};
use super::feed::Fetched;
use super::kinds;
use super::routing::Routing;
use super::scrub::{Dedupe, ScrubError, Scrubber};
use super::upload::Steps;
use super::writing::Writing;
use crate::env::Secrets;
use crate::error::TaskError;
use crate::sql::Sql;

const TIME_HINT: &str = "let `time` name a column that holds times: a timestamp, a date, seconds since 1970, or text";

/// Inputs whose rows may wait for those before them, at most.
const WAITING: usize = 16;
/// What rows take of memory, as a multiple of the bytes of their input: text is mostly compressed.
const GROWS: u64 = 8;
/// A task of so many bytes is worth no threads.
const SMALL: u64 = 256 << 10;
/// Batches of one input that wait.
const BATCHES: usize = 2;

/// Everything that the threads of an attempt share.
pub(super) struct Job {
    pub(super) options: Arc<ConvertOptions>,
    pub(super) task: ConvertTask,
    pub(super) inputs: Arc<[InputVersion]>,
    /// The columns that are decoded.
    pub(super) decoded: Schema,
    /// What is done to records in between.
    pub(super) scrubber: Option<Scrubber>,
    /// What decoding hands on: scrubbed, and with columns of provenance.
    pub(super) handed: SchemaRef,
    /// The query over the records of each output, on their way from there to the encoders. It is large.
    pub(super) sql: Option<Box<Sql>>,
    /// The columns that are written.
    pub(super) written: Schema,
    pub(super) arrow: SchemaRef,
    pub(super) decoding: DecodeOptions,
    /// Whether columns that the schema lacks are drift; of declared columns the others are left out on purpose.
    pub(super) refuses_unknown: bool,
    /// Where the store of the outputs is: manifests name objects by their URLs.
    pub(super) store: String,
    /// Format and compression of each target.
    pub(super) targets: Vec<(Format, Compression)>,
    pub(super) encoding: EncodeOptions,
    /// Threads that decode.
    threads: usize,
    /// What they decompress into.
    pub(super) buffers: Buffers,
    /// What they leave to each other.
    pub(super) spares: Spares,
    /// Which records belong to which output, where they tell.
    pub(super) routing: Option<Routing>,
    /// The most that keys of `dedupe` may hold. Units: bytes.
    pub(super) dedupe_bytes: u64,
    /// Whether nothing is written yet: it is learnt which of several records stays.
    pub(super) learning: bool,
    /// Inputs of which nothing is taken.
    pub(super) distrusted: BTreeSet<usize>,
}

/// What an attempt counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Of each output, in the order of the plan, then of the quarantine file if there is one.
    pub(super) records: Vec<OutputRecords>,
    pub(super) records_in: u64,
    pub(super) records_out: u64,
    pub(super) quarantined: u64,
    pub(super) filtered: u64,
    /// Records that were given to the flow's SQL, where it has one.
    pub(super) sql_in: Option<u64>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    /// Which of several records stays, where that was learnt.
    pub(super) learnt: Option<Dedupe>,
}

/// Why an attempt ended without outputs.
#[derive(Debug)]
pub(super) enum Broken {
    Failed(TaskError),
    /// Nothing may be taken of this input: begin anew.
    Distrusted(usize),
}

impl From<TaskError> for Broken {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}

impl Job {
    /// Errors: a plan that this build cannot execute.
    pub(super) fn new(
        options: &ConvertOptions,
        task: &ConvertTask,
        inputs: &[InputVersion],
        store: &str,
        secrets: &dyn Secrets,
        memory: u64,
    ) -> Result<Self, TaskError> {
        let broken = |detail: String| TaskError {
            kind: Kind::Internal,
            failure: Failure { error: format!("the plan cannot be executed: {detail}"), hint: None },
        };
        let planned = options.schemas.get(task.schema as usize).ok_or_else(|| broken("it has no schema".to_owned()))?;
        let decoded = planned.columns.parse::<Schema>().map_err(|error| broken(error.to_string()))?;
        let scrubber = scrubber(&options.scrub, &decoded, secrets)?;
        let scrubbed = scrubber.as_ref().map_or(&decoded, Scrubber::output);
        let handed = with_provenance(scrubbed, &options.provenance).map_err(broken)?;
        let sql = options.sql.as_ref().map(|text| Sql::try_new(text, &handed, memory / 2)).transpose();
        let sql = sql.map_err(|failure| TaskError { kind: Kind::Invalid, failure })?;
        let written = sql.as_ref().map_or(&handed, |sql| sql.output()).clone();
        let targets =
            options.targets.iter().map(kinds::target_kind).collect::<Result<Vec<_>, String>>().map_err(broken)?;
        let routing = Routing::new(options, task, &decoded).map_err(|error| TaskError::data(error, Some(TIME_HINT)))?;
        let bytes: u64 = inputs.iter().map(|input| input.size).sum();
        let threads = match bytes {
            // A thread costs more than it brings.
            0..0x10_0000 => 1,
            _ => std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8),
        };
        let group_bytes = usize::try_from(memory / 4).unwrap_or(usize::MAX).clamp(8 << 20, 128 << 20);
        Ok(Self {
            options: Arc::new(options.clone()),
            task: task.clone(),
            inputs: inputs.into(),
            handed: handed.to_arrow(),
            sql: sql.map(Box::new),
            arrow: written.to_arrow(),
            decoded,
            scrubber,
            written,
            decoding: decoding_of(planned, options),
            refuses_unknown: planned.origin != DECLARED,
            store: store.to_owned(),
            targets,
            encoding: EncodeOptions {
                group_bytes,
                threads: if threads > 1 { threads } else { 0 },
                ..EncodeOptions::default()
            },
            threads: threads.min(inputs.len().max(1)),
            buffers: Buffers::new(threads.min(inputs.len().max(1))),
            spares: Spares::default(),
            routing,
            dedupe_bytes: (memory / 2).max(32 << 20),
            learning: false,
            distrusted: BTreeSet::new(),
        })
    }

    /// Of each input, whether its format is read in ranges: from its end, not from its beginning.
    pub(super) fn ranged(&self) -> Vec<bool> {
        let kind = |input: &InputVersion| kinds::planned_kind(&self.options, input.key.as_str());
        self.inputs
            .iter()
            .map(|input| kind(input).is_ok_and(|kind| kind.format == Format::Parquet && kind.codec.is_none()))
            .collect()
    }

    /// Decodes and encodes; ends when every input was taken.
    pub(super) fn run(
        &self,
        fetched: mpsc::Receiver<Fetched>,
        steps: &Steps,
        dedupe: Option<Dedupe>,
    ) -> Result<Counted, Broken> {
        let (order, inputs) = sync_channel::<(usize, Receiver<Message>)>(self.waiting());
        let line = &Mutex::new(Line { fetched, order: Some(order) });
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(move || self.decode_inputs(line));
            }
            Writing::new(self, steps, dedupe).run(inputs)
        })
    }

    /// Inputs whose rows may wait for those before them: fewer of large ones, so that what waits stays within the budget.
    fn waiting(&self) -> usize {
        let bytes = self.inputs.iter().map(|input| input.size).sum::<u64>() / self.inputs.len().max(1) as u64;
        let most = self.encoding.group_bytes as u64 / (bytes * GROWS).max(1);
        usize::try_from(most).unwrap_or(WAITING).clamp(self.threads + 1, WAITING)
    }

    /// Does the same on the calling thread, one input after the other, for a task that is worth no threads.
    pub(super) fn run_here(
        &self,
        fetched: Vec<Fetched>,
        steps: &Steps,
        dedupe: Option<Dedupe>,
    ) -> Result<Counted, Broken> {
        let mut writing = Writing::new(self, steps, dedupe);
        for Fetched { number, body, .. } in fetched {
            let mut fault = None;
            let mut take = |piece| {
                fault = writing.piece(number, piece).err();
                fault.is_none()
            };
            let distrusted = self.distrusted.contains(&number);
            let done = decoding::decode(self, number, body, distrusted, &mut take);
            match (fault, done) {
                (Some(error), _) => return Err(error.into()),
                (None, Ok(())) => writing.ended(number)?,
                (None, Err(Stop::Failed(error))) => return Err(error.into()),
                (None, Err(Stop::Distrusted)) => return Err(Broken::Distrusted(number)),
                (None, Err(Stop::Nobody)) => return Err(cut_off().into()),
            }
        }
        writing.complete()
    }

    /// Which of several records with one key stays, where they are told apart.
    pub(super) fn keep(&self) -> Option<Keep> {
        self.scrubber.as_ref().and_then(Scrubber::keep)
    }

    /// Whether threads would cost more than they bring. A query may block, and has a thread always.
    pub(super) fn is_small(&self) -> bool {
        self.sql.is_none() && self.inputs.iter().map(|input| input.size).sum::<u64>() <= SMALL
    }

    /// What a decoding thread does: takes the next input, says so, decodes it.
    fn decode_inputs(&self, line: &Mutex<Line>) {
        // Taken under a lock of its own, which is let go of before the input is decoded.
        while let Some((fetched, pieces)) = { line.lock().next() } {
            let Fetched { number, body, _window: window } = fetched;
            let mut take = |piece| pieces.send(Message::Piece(piece)).is_ok();
            let distrusted = self.distrusted.contains(&number);
            let done = decoding::decode(self, number, body, distrusted, &mut take);
            drop(window);
            if pieces.send(Message::End(done)).is_err() {
                return;
            }
        }
    }
}

/// How records are read: what was inferred as text takes all that it was inferred from.
fn decoding_of(planned: &PlannedSchema, options: &ConvertOptions) -> DecodeOptions {
    let text_from = if planned.origin == INFERRED { TextFrom::Anything } else { TextFrom::Text };
    DecodeOptions { text_from, ..kinds::decoding(options.epoch, &options.scrub) }
}

/// Errors: records of a schema cannot be scrubbed, or not be written in a format.
pub(super) fn check(options: &ConvertOptions, planned: &PlannedSchema, secrets: &dyn Secrets) -> Result<(), Failure> {
    let fault = |error: String| Failure { error, hint: None };
    let schema = planned.columns.parse::<Schema>().map_err(|error| fault(error.to_string()))?;
    let scrubber = scrubber(&options.scrub, &schema, secrets).map_err(|error| error.failure)?;
    let scrubbed = scrubber.as_ref().map_or(&schema, Scrubber::output);
    let handed = with_provenance(scrubbed, &options.provenance).map_err(fault)?;
    let written = match &options.sql {
        None => handed,
        Some(text) => queried(text, &handed, &options.targets)?,
    };
    for target in &options.targets {
        let (format, compression) = kinds::target_kind(target).map_err(fault)?;
        if let Some(detail) = encode::fault(&format, &written, compression) {
            return Err(Failure { error: format!("`{}`: {detail}", target.path), hint: None });
        }
    }
    Ok(())
}

/// The columns that a query gives. Errors: it cannot be planned, or lacks a column that outputs are told apart by.
fn queried(text: &str, handed: &Schema, targets: &[TargetOptions]) -> Result<Schema, Failure> {
    let written = Sql::try_new(text, handed, 0)?.output().clone();
    for column in targets.iter().flat_map(|target| &target.columns) {
        if written.column(column).is_none() {
            let error = format!("`partition` names `{column}`, which does not come out of `sql`");
            return Err(Failure {
                error,
                hint: Some("select it: outputs are told apart by columns of the result".to_owned()),
            });
        }
    }
    Ok(written)
}

/// What is done to records, if anything.
fn scrubber(scrub: &Scrub, schema: &Schema, secrets: &dyn Secrets) -> Result<Option<Scrubber>, TaskError> {
    if scrub.is_nothing() {
        return Ok(None);
    }
    let salts = scrub.salts().filter_map(|name| Some((name.to_owned(), secrets.secret(name)?))).collect();
    Scrubber::new(scrub, schema, &salts).map(Some).map_err(|error| scrub_failed(&error))
}

/// The columns that are written of records of a schema. Errors: a text for people.
pub(super) fn written(
    scrub: &Scrub,
    provenance: &Provenance,
    schema: &Schema,
    sql: Option<&str>,
    secrets: &dyn Secrets,
) -> Result<Schema, String> {
    let scrubber = scrubber(scrub, schema, secrets).map_err(|error| error.failure.error)?;
    let handed = with_provenance(scrubber.as_ref().map_or(schema, Scrubber::output), provenance)?;
    match sql {
        None => Ok(handed),
        Some(text) => queried(text, &handed, &[]).map_err(|failure| failure.error),
    }
}

/// Errors: the keys of `dedupe` take more memory than they may.
pub(super) fn within_memory(dedupe: &Dedupe, most: u64) -> Result<(), TaskError> {
    if dedupe.bytes() <= most {
        return Ok(());
    }
    let error = format!("`dedupe` has {} keys, which take {} bytes", dedupe.keys(), dedupe.bytes());
    Err(TaskError::data(error, Some("give more `--memory`, or make smaller partitions")))
}

/// An error of a scrub.
pub(super) fn scrub_failed(error: &ScrubError) -> TaskError {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    TaskError { kind: error.kind(), failure: Failure { error: text, hint: error.hint() } }
}

/// The columns of the outputs.
fn with_provenance(schema: &Schema, provenance: &Provenance) -> Result<Schema, String> {
    let mut columns = schema.columns().to_vec();
    columns.extend(provenance.key.iter().map(|name| Column::new(name, Type::Text)));
    columns.extend(provenance.line.iter().map(|name| Column::new(name, Type::Int64)));
    Schema::try_new(columns).map_err(|error| error.to_string())
}

/// Where decoding threads stand in line for inputs.
struct Line {
    fetched: mpsc::Receiver<Fetched>,
    order: Option<SyncSender<(usize, Receiver<Message>)>>,
}

impl Line {
    /// Takes the next input and announces it: inputs are announced in the order in which they are taken.
    fn next(&mut self) -> Option<(Fetched, SyncSender<Message>)> {
        let next = self.fetched.blocking_recv().and_then(|fetched| {
            let (to, from) = sync_channel(BATCHES);
            self.order.as_ref()?.send((fetched.number, from)).ok()?;
            Some((fetched, to))
        });
        if next.is_none() {
            self.order = None;
        }
        next
    }
}

/// What a decoding thread sends of one input.
pub(super) enum Message {
    Piece(Piece),
    End(Result<(), Stop>),
}

/// The threads that bring bytes or take parts have ended: another error tells why.
pub(super) fn cut_off() -> TaskError {
    TaskError { kind: Kind::Transient, failure: Failure { error: "the attempt was cut off".to_owned(), hint: None } }
}
