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

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::coalesce::BatchCoalescer;
use baler_format::Format;
use baler_format::codec::Compression;
use baler_format::decode::DecodeOptions;
use baler_format::encode::{self, EncodeError, EncodeOptions, Encoder};
use baler_format::schema::{Column, Schema, Type};
use baler_model::ledger::{ConvertOptions, ConvertTask, Failure, OutputRecords, PlannedSchema, Provenance};
use baler_model::scrub::{Keep, Scrub};
use baler_model::{InputVersion, Key, Kind};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::columns::DECLARED;
use super::decoding::{self, Piece, Stop};
use super::feed::Fetched;
use super::kinds;
use super::rejects::{SetAside, write_line};
use super::routing::{self, Routing};
use super::scrub::{Dedupe, ScrubError, Scrubber};
use super::split::Split;
use super::upload::{PartWriter, Steps};
use crate::env::Secrets;
use crate::error::TaskError;

const TIME_HINT: &str = "let `time` name a column that holds times: a timestamp, a date, seconds since 1970, or text";

/// Rows that are written at a time: small inputs are brought together.
const ROWS: usize = 8_192;
/// Inputs whose rows may wait for those before them.
const WAITING: usize = 16;
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
    /// The columns that are written.
    pub(super) written: Schema,
    pub(super) arrow: SchemaRef,
    pub(super) decoding: DecodeOptions,
    /// Whether columns that the schema lacks are drift; of declared columns the others are left out on purpose.
    pub(super) refuses_unknown: bool,
    /// Format and compression of each target.
    targets: Vec<(Format, Compression)>,
    encoding: EncodeOptions,
    /// Threads that decode.
    threads: usize,
    /// Which records belong to which output, where they tell.
    pub(super) routing: Option<Routing>,
    /// The most that keys of `dedupe` may hold. Units: bytes.
    dedupe_bytes: u64,
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
        let written = with_provenance(scrubbed, &options.provenance).map_err(broken)?;
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
            arrow: written.to_arrow(),
            decoded,
            scrubber,
            written,
            decoding: DecodeOptions::default(),
            refuses_unknown: planned.origin != DECLARED,
            targets,
            encoding: EncodeOptions {
                group_bytes,
                threads: if threads > 1 { threads } else { 0 },
                ..EncodeOptions::default()
            },
            threads: threads.min(inputs.len().max(1)),
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
        let (order, inputs) = sync_channel::<(usize, Receiver<Message>)>(WAITING);
        let line = &Mutex::new(Line { fetched, order: Some(order) });
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(move || self.decode_inputs(line));
            }
            Writing::new(self, steps, dedupe).run(inputs)
        })
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

    /// Whether threads would cost more than they bring.
    pub(super) fn is_small(&self) -> bool {
        self.inputs.iter().map(|input| input.size).sum::<u64>() <= SMALL
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

/// Errors: records of a schema cannot be scrubbed, or not be written in a format.
pub(super) fn check(options: &ConvertOptions, planned: &PlannedSchema, secrets: &dyn Secrets) -> Result<(), Failure> {
    let fault = |error: String| Failure { error, hint: None };
    let schema = planned.columns.parse::<Schema>().map_err(|error| fault(error.to_string()))?;
    let scrubber = scrubber(&options.scrub, &schema, secrets).map_err(|error| error.failure)?;
    let scrubbed = scrubber.as_ref().map_or(&schema, Scrubber::output);
    let written = with_provenance(scrubbed, &options.provenance).map_err(fault)?;
    for target in &options.targets {
        let (format, compression) = kinds::target_kind(target).map_err(fault)?;
        if let Some(detail) = encode::fault(&format, &written, compression) {
            return Err(Failure { error: format!("`{}`: {detail}", target.path), hint: None });
        }
    }
    Ok(())
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
    secrets: &dyn Secrets,
) -> Result<Schema, String> {
    let scrubber = scrubber(scrub, schema, secrets).map_err(|error| error.failure.error)?;
    with_provenance(scrubber.as_ref().map_or(schema, Scrubber::output), provenance)
}

/// Errors: the keys of `dedupe` take more memory than they may.
fn within_memory(dedupe: &Dedupe, most: u64) -> Result<(), TaskError> {
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
enum Message {
    Piece(Piece),
    End(Result<(), Stop>),
}

/// Writes rows to outputs, on the calling thread.
struct Writing<'a> {
    job: &'a Job,
    steps: &'a Steps,
    outputs: Vec<Output>,
    quarantine: Option<PartWriter>,
    dedupe: Option<Dedupe>,
    /// What was written of outputs that the values of columns tell apart, in the order in which it was staged.
    split: Vec<OutputRecords>,
    counted: Counted,
}

/// One output that is being written.
struct Output {
    to: usize,
    /// The number of the last input that it takes records of.
    last: u32,
    open: Option<Open>,
    /// Where the values of columns tell outputs apart: all of them.
    split: Option<Split>,
    is_done: bool,
    records: OutputRecords,
}

struct Open {
    encoder: Encoder<PartWriter>,
    rows: BatchCoalescer,
}

impl<'a> Writing<'a> {
    fn new(job: &'a Job, steps: &'a Steps, dedupe: Option<Dedupe>) -> Self {
        let none = OutputRecords { records: 0, records_in: 0, quarantined: 0, filtered: 0 };
        let output = |planned: &baler_model::ledger::PlannedOutput| Output {
            to: planned.to as usize,
            last: planned.inputs.last().map_or(0, |(_, end)| end.saturating_sub(1)),
            open: None,
            split: None,
            is_done: false,
            records: none,
        };
        let outputs = job.task.outputs.iter().map(output).collect();
        Self { job, steps, outputs, quarantine: None, dedupe, split: Vec::new(), counted: Counted::default() }
    }

    fn run(mut self, inputs: Receiver<(usize, Receiver<Message>)>) -> Result<Counted, Broken> {
        let mut number = 0;
        for (input, messages) in inputs {
            debug_assert_eq!(input, number, "inputs are announced in their order");
            let ended = self.input(input, &messages)?;
            if !ended {
                return Err(cut_off().into());
            }
            number = input + 1;
        }
        if number != self.job.inputs.len() {
            return Err(cut_off().into());
        }
        self.complete()
    }

    /// Ends what is open still, and counts together.
    fn complete(mut self) -> Result<Counted, Broken> {
        if self.job.learning {
            return Ok(Counted { learnt: self.dedupe, ..Counted::default() });
        }
        if let Some(dedupe) = self.dedupe.take() {
            dedupe.finish().map_err(|error| scrub_failed(&error))?;
        }
        // An output all of whose inputs were empty is written too: it may replace one that was not.
        for number in 0..self.outputs.len() {
            // Of a stretch of time that nothing belongs to no object is made, unless it takes the place of one.
            let planned = &self.job.task.outputs[number];
            if planned.split.is_some() {
                if !self.outputs[number].is_done {
                    self.finish_split(number)?;
                }
                continue;
            }
            let is_needed = planned.span.is_none() || planned.replaces.is_some();
            if !self.outputs[number].is_done && (is_needed || self.outputs[number].open.is_some()) {
                self.finish(number)?;
            }
        }
        let whole = self.outputs.iter().zip(&self.job.task.outputs);
        let whole = whole.filter(|(output, planned)| output.is_done && planned.split.is_none());
        self.counted.records = whole.map(|(output, _)| output.records).chain(self.split.iter().copied()).collect();
        if let Some(writer) = self.quarantine.take() {
            writer.end().map_err(|error| upload_failed(&error))?;
            let records = self.counted.quarantined;
            self.counted.records.push(OutputRecords { records, records_in: records, quarantined: 0, filtered: 0 });
        }
        let Counted { quarantined, records_in, .. } = self.counted;
        if self.job.options.max_quarantined.is_exceeded(quarantined, records_in) {
            return Err(self.too_many().into());
        }
        Ok(self.counted)
    }

    /// Writes what one input gives; whether it was decoded to its end.
    fn input(&mut self, number: usize, messages: &Receiver<Message>) -> Result<bool, Broken> {
        for message in messages {
            match message {
                Message::Piece(piece) => self.piece(number, piece)?,
                Message::End(Ok(())) => {
                    self.ended(number)?;
                    return Ok(true);
                }
                Message::End(Err(Stop::Failed(error))) => return Err(error.into()),
                Message::End(Err(Stop::Distrusted)) => return Err(Broken::Distrusted(number)),
                Message::End(Err(Stop::Nobody)) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The outputs that take records of an input, by their numbers.
    fn takers(&self, input: usize) -> Vec<usize> {
        let input = u32::try_from(input).unwrap_or(u32::MAX);
        (0..self.outputs.len()).filter(|&output| self.job.task.outputs[output].takes(input)).collect()
    }

    /// Writes what one step of decoding gave.
    fn piece(&mut self, number: usize, mut piece: Piece) -> Result<(), TaskError> {
        if self.job.learning {
            let Some(dedupe) = &mut self.dedupe else { return Ok(()) };
            dedupe.learn(&piece.identities);
            return within_memory(dedupe, self.job.dedupe_bytes);
        }
        self.dedupe(&mut piece)?;
        self.set_aside(&self.job.inputs[number], &piece.aside)?;
        let (rows, aside) = (piece.batch.num_rows() as u64, piece.aside.len() as u64);
        self.counted.records_in += piece.read;
        self.counted.quarantined += aside;
        self.counted.filtered += piece.read - rows - aside;
        let (mut taken, mut whole) = (0, 0);
        for output in self.takers(number) {
            if self.job.task.outputs[output].split.is_some() {
                self.split(output, &piece.batch)?;
                whole = whole.max(piece.batch.num_rows() as u64);
                continue;
            }
            if let Some(span) = self.job.task.outputs[output].span {
                let rows = routing::within(&piece.batch, &piece.seconds, span)?;
                let records = &mut self.outputs[output].records;
                records.records_in += rows.num_rows() as u64;
                if rows.num_rows() > 0 {
                    self.write(output, &rows)?;
                }
                taken += rows.num_rows() as u64;
                continue;
            }
            let records = &mut self.outputs[output].records;
            records.records_in += piece.read;
            records.quarantined += aside;
            records.filtered += piece.read - rows - aside;
            let written = self.write(output, &piece.batch)?;
            // Every output of an input gets all its rows; they are counted once.
            whole = whole.max(written);
        }
        // Outputs that share an input by time get each row once among them, for each of their targets.
        let routed = self.job.routing.as_ref().map_or(0, |routing| taken / routing.targets(number).max(1));
        self.counted.records_out += whole.max(routed);
        Ok(())
    }

    /// Leaves out records whose key was seen before.
    fn dedupe(&mut self, piece: &mut Piece) -> Result<(), TaskError> {
        let (Some(dedupe), Some(scrubbed)) = (&mut self.dedupe, piece.scrubbed.take()) else { return Ok(()) };
        let rows = scrubbed.batch.num_rows();
        let kept_before = scrubbed.rows.clone();
        let (scrubbed, filtered) = dedupe.keep(scrubbed).map_err(|error| scrub_failed(&error))?;
        if filtered > 0 && !piece.seconds.is_empty() {
            // Rows are told by their numbers in the batch before the scrub, seconds by those behind it.
            let before: Vec<u32> = kept_before.unwrap_or_else(|| (0..rows as u32).collect());
            let left: BTreeSet<u32> = scrubbed.rows.iter().flatten().copied().collect();
            let seconds = before.iter().zip(&piece.seconds).filter(|(row, _)| left.contains(row));
            piece.seconds = seconds.map(|(_, second)| *second).collect();
        }
        piece.batch = scrubbed.batch;
        within_memory(dedupe, self.job.dedupe_bytes)
    }

    /// An input was decoded to its end.
    fn ended(&mut self, number: usize) -> Result<(), TaskError> {
        self.counted.objects += 1;
        self.counted.bytes += self.job.inputs[number].size;
        if self.job.learning {
            return Ok(());
        }
        for output in self.takers(number) {
            if self.job.task.outputs[output].split.is_some() {
                if self.outputs[output].last as usize == number {
                    self.finish_split(output)?;
                }
                continue;
            }
            let is_empty = self.outputs[output].open.is_none();
            if self.outputs[output].last as usize == number
                && !(is_empty && self.job.task.outputs[output].span.is_some())
            {
                self.finish(output)?;
            }
        }
        Ok(())
    }

    /// Takes rows of outputs that the values of columns tell apart.
    fn split(&mut self, number: usize, batch: &RecordBatch) -> Result<(), TaskError> {
        let Some(planned) = &self.job.task.outputs[number].split else { return Ok(()) };
        let output = &mut self.outputs[number];
        if output.split.is_none() {
            let budget = self.job.encoding.group_bytes;
            let split = Split::new(planned, Arc::clone(&self.job.arrow), budget);
            let hint = "let `partition` name columns as they are written, behind `scrub`";
            output.split = Some(split.map_err(|error| TaskError::data(error, Some(hint)))?);
        }
        match &mut output.split {
            Some(split) => split.add(batch),
            None => Ok(()),
        }
    }

    /// Writes the outputs that the values of columns tell apart, one after the other.
    fn finish_split(&mut self, number: usize) -> Result<(), TaskError> {
        self.outputs[number].is_done = true;
        let Some(planned) = &self.job.task.outputs[number].split else { return Ok(()) };
        let mut split = self.outputs[number].split.take();
        let sorted = match &split {
            Some(split) => split.sorted(planned).map_err(|error| {
                let hint = "shorten the path, or partition by another column";
                TaskError::data(format!("the value of a column gives no key: {error}"), Some(hint))
            })?,
            None => Vec::new(),
        };
        let dropped: Vec<&str> = planned.in_directories().collect();
        let kept: Vec<usize> = (0..self.job.written.columns().len())
            .filter(|column| !dropped.contains(&self.job.written.columns()[*column].name.as_str()))
            .collect();
        let columns = kept.iter().map(|column| self.job.written.columns()[*column].clone()).collect();
        let fault = |error: String| TaskError::data(error, Some("keep a column that is not in the path"));
        let schema = Schema::try_new(columns).map_err(|error| fault(error.to_string()))?;
        if schema.columns().is_empty() {
            return Err(fault("every column is in the path: nothing is left for the objects".to_owned()));
        }
        let known: BTreeSet<&Key> = sorted.iter().map(|output| &output.key).collect();
        // Of partitions that no record belongs to any more the objects become empty.
        let emptied: Vec<&Key> =
            planned.previous.iter().map(|(key, _)| key).filter(|key| !known.contains(*key)).collect();
        let (format, compression) = &self.job.targets[self.outputs[number].to];
        for (key, output) in
            sorted.iter().map(|output| (&output.key, Some(output))).chain(emptied.into_iter().map(|key| (key, None)))
        {
            let id = self.outputs.len() + self.split.len();
            let fail = |error: &EncodeError| failed_to_encode(key, error);
            let writer = PartWriter::begin(self.steps, id, key.clone(), content_type(format));
            let writer = writer.map_err(|error| upload_failed(&error))?;
            // Threads are for many rows.
            let threads =
                if output.is_some_and(|output| output.rows > 100_000) { self.job.encoding.threads } else { 0 };
            let encoding = EncodeOptions { threads, ..self.job.encoding.clone() };
            let encoder = Encoder::new(format, &schema, *compression, &encoding, writer);
            let mut encoder = encoder.map_err(|error| fail(&error))?;
            let mut rows = BatchCoalescer::new(schema.to_arrow(), ROWS);
            if let (Some(split), Some(output)) = (&mut split, output) {
                split.each(output, |batch| {
                    let lost = |error: arrow_schema::ArrowError| fail(&EncodeError::Internal(error.to_string()));
                    let batch = batch.project(&kept).map_err(lost)?;
                    rows.push_batch(batch.with_schema(schema.to_arrow()).map_err(lost)?).map_err(lost)?;
                    while let Some(batch) = rows.next_completed_batch() {
                        encoder.write(&batch).map_err(|error| fail(&error))?;
                    }
                    Ok(())
                })?;
            }
            let rest = rows.finish_buffered_batch();
            rest.map_err(|error| fail(&EncodeError::Internal(error.to_string())))?;
            while let Some(batch) = rows.next_completed_batch() {
                encoder.write(&batch).map_err(|error| fail(&error))?;
            }
            let (writer, counts) = encoder.finish().map_err(|error| fail(&error))?;
            writer.end().map_err(|error| upload_failed(&error))?;
            let records_in = output.map_or(0, |output| output.rows);
            self.split.push(OutputRecords { records: counts.rows, records_in, quarantined: 0, filtered: 0 });
        }
        Ok(())
    }

    /// Opens an output where it is not.
    fn open(&mut self, number: usize) -> Result<&mut Open, TaskError> {
        let Output { to, open, .. } = &mut self.outputs[number];
        let (format, compression) = &self.job.targets[*to];
        if open.is_none() {
            let key = self.job.task.outputs[number].key.clone();
            let writer = PartWriter::begin(self.steps, number, key, content_type(format));
            let writer = writer.map_err(|error| upload_failed(&error))?;
            let encoder = Encoder::new(format, &self.job.written, *compression, &self.job.encoding, writer);
            let rows = BatchCoalescer::new(Arc::clone(&self.job.arrow), ROWS);
            *open =
                Some(Open { encoder: encoder.map_err(|error| encode_failed(&self.job.task, number, &error))?, rows });
        }
        Ok(open.as_mut().expect("it was opened right above"))
    }

    /// Writes rows; yields how many.
    fn write(&mut self, number: usize, batch: &RecordBatch) -> Result<u64, TaskError> {
        let task = &self.job.task;
        let rows = batch.num_rows() as u64;
        let open = self.open(number)?;
        let fail = |error: &EncodeError| encode_failed(task, number, error);
        if open.rows.is_empty() && batch.num_rows() * 2 >= ROWS {
            open.encoder.write(batch).map_err(|error| fail(&error))?;
        } else {
            let coalesced = open.rows.push_batch(batch.clone());
            coalesced.map_err(|error| fail(&EncodeError::Internal(error.to_string())))?;
            while let Some(batch) = open.rows.next_completed_batch() {
                open.encoder.write(&batch).map_err(|error| fail(&error))?;
            }
        }
        Ok(rows)
    }

    /// Ends an output.
    fn finish(&mut self, number: usize) -> Result<(), TaskError> {
        self.open(number)?;
        let task = &self.job.task;
        let fail = |error: &EncodeError| encode_failed(task, number, error);
        let output = &mut self.outputs[number];
        output.is_done = true;
        let Some(Open { mut encoder, mut rows }) = output.open.take() else { return Ok(()) };
        let rest = rows.finish_buffered_batch();
        rest.map_err(|error| fail(&EncodeError::Internal(error.to_string())))?;
        while let Some(batch) = rows.next_completed_batch() {
            encoder.write(&batch).map_err(|error| fail(&error))?;
        }
        let (writer, counts) = encoder.finish().map_err(|error| fail(&error))?;
        // What the encoder says that it wrote: the seal holds it against what was read.
        output.records.records = counts.rows;
        writer.end().map_err(|error| upload_failed(&error))
    }

    fn set_aside(&mut self, input: &InputVersion, aside: &[SetAside]) -> Result<(), TaskError> {
        use std::io::Write;
        if aside.is_empty() {
            return Ok(());
        }
        let writer = match &mut self.quarantine {
            Some(writer) => writer,
            none => {
                // Behind all others, however many those are.
                let (number, key) = (usize::MAX, self.job.task.quarantine.clone());
                let writer = PartWriter::begin(self.steps, number, key, "application/x-ndjson");
                none.insert(writer.map_err(|error| upload_failed(&error))?)
            }
        };
        let mut lines = Vec::new();
        aside.iter().for_each(|aside| write_line(input, aside, &mut lines));
        writer.write_all(&lines).map_err(|error| upload_failed(&error))
    }

    fn too_many(&self) -> TaskError {
        let Counted { quarantined, records_in, .. } = self.counted;
        let limit = self.job.options.max_quarantined;
        let error = format!("{quarantined} of {records_in} records cannot be taken, more than {limit}");
        TaskError::data(
            error,
            Some("`baler preview` shows the first reasons; correct the flow, or raise `max_quarantined`"),
        )
    }
}

/// The threads that bring bytes or take parts have ended: another error tells why.
fn cut_off() -> TaskError {
    TaskError { kind: Kind::Transient, failure: Failure { error: "the attempt was cut off".to_owned(), hint: None } }
}

fn upload_failed(error: &std::io::Error) -> TaskError {
    TaskError {
        kind: Kind::Transient,
        failure: Failure { error: format!("an output cannot be staged: {error}"), hint: None },
    }
}

fn encode_failed(task: &ConvertTask, output: usize, error: &EncodeError) -> TaskError {
    failed_to_encode(&task.outputs[output].key, error)
}

fn failed_to_encode(key: &Key, error: &EncodeError) -> TaskError {
    TaskError { kind: error.kind(), failure: Failure { error: format!("`{key}`: {error}"), hint: None } }
}

fn content_type(format: &Format) -> &'static str {
    match format {
        Format::JsonLines => "application/x-ndjson",
        Format::Json { .. } => "application/json",
        Format::Csv(_) => "text/csv",
        Format::Parquet => "application/vnd.apache.parquet",
        Format::Arrow(_) => "application/vnd.apache.arrow.stream",
    }
}
