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
use baler_format::encode::{EncodeError, EncodeOptions, Encoder};
use baler_format::schema::{Column, Schema, Type};
use baler_model::ledger::{ConvertOptions, ConvertTask, Failure, OutputRecords};
use baler_model::{InputVersion, Kind};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::columns::DECLARED;
use super::decoding::{self, Piece, Stop};
use super::feed::Fetched;
use super::kinds;
use super::rejects::{SetAside, write_line};
use super::routing::{self, Routing};
use super::upload::{PartWriter, Steps};
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
        memory: u64,
    ) -> Result<Self, TaskError> {
        let broken = |detail: String| TaskError {
            kind: Kind::Internal,
            failure: Failure { error: format!("the plan cannot be executed: {detail}"), hint: None },
        };
        let planned = options.schemas.get(task.schema as usize).ok_or_else(|| broken("it has no schema".to_owned()))?;
        let decoded = planned.columns.parse::<Schema>().map_err(|error| broken(error.to_string()))?;
        let written = with_provenance(&decoded, options).map_err(broken)?;
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
            written,
            decoding: DecodeOptions::default(),
            refuses_unknown: planned.origin != DECLARED,
            targets,
            encoding: EncodeOptions { group_bytes, ..EncodeOptions::default() },
            threads: threads.min(inputs.len().max(1)),
            routing,
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
    pub(super) fn run(&self, fetched: mpsc::Receiver<Fetched>, steps: &Steps) -> Result<Counted, Broken> {
        let (order, inputs) = sync_channel::<(usize, Receiver<Message>)>(WAITING);
        let line = &Mutex::new(Line { fetched, order: Some(order) });
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(move || self.decode_inputs(line));
            }
            Writing::new(self, steps).run(inputs)
        })
    }

    /// Does the same on the calling thread, one input after the other, for a task that is worth no threads.
    pub(super) fn run_here(&self, fetched: Vec<Fetched>, steps: &Steps) -> Result<Counted, Broken> {
        let mut writing = Writing::new(self, steps);
        for Fetched { number, body, .. } in fetched {
            let mut fault = None;
            let mut take = |piece| {
                fault = writing.piece(number, &piece).err();
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

/// The columns of the outputs.
fn with_provenance(schema: &Schema, options: &ConvertOptions) -> Result<Schema, String> {
    let mut columns = schema.columns().to_vec();
    columns.extend(options.provenance.key.iter().map(|name| Column::new(name, Type::Text)));
    columns.extend(options.provenance.line.iter().map(|name| Column::new(name, Type::Int64)));
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
    counted: Counted,
}

/// One output that is being written.
struct Output {
    to: usize,
    /// The number of the last input that it takes records of.
    last: u32,
    open: Option<Open>,
    is_done: bool,
    records: OutputRecords,
}

struct Open {
    encoder: Encoder<PartWriter>,
    rows: BatchCoalescer,
}

impl<'a> Writing<'a> {
    fn new(job: &'a Job, steps: &'a Steps) -> Self {
        let none = OutputRecords { records: 0, records_in: 0, quarantined: 0, filtered: 0 };
        let output = |planned: &baler_model::ledger::PlannedOutput| Output {
            to: planned.to as usize,
            last: planned.inputs.last().map_or(0, |(_, end)| end.saturating_sub(1)),
            open: None,
            is_done: false,
            records: none,
        };
        let outputs = job.task.outputs.iter().map(output).collect();
        Self { job, steps, outputs, quarantine: None, counted: Counted::default() }
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
        // An output all of whose inputs were empty is written too: it may replace one that was not.
        for number in 0..self.outputs.len() {
            // Of a stretch of time that nothing belongs to no object is made, unless it takes the place of one.
            let planned = &self.job.task.outputs[number];
            let is_needed = planned.span.is_none() || planned.replaces.is_some();
            if !self.outputs[number].is_done && (is_needed || self.outputs[number].open.is_some()) {
                self.finish(number)?;
            }
        }
        self.counted.records =
            self.outputs.iter().filter(|output| output.is_done).map(|output| output.records).collect();
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
                Message::Piece(piece) => self.piece(number, &piece)?,
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
    fn piece(&mut self, number: usize, piece: &Piece) -> Result<(), TaskError> {
        self.set_aside(&self.job.inputs[number], &piece.aside)?;
        let (rows, aside) = (piece.batch.num_rows() as u64, piece.aside.len() as u64);
        self.counted.records_in += piece.read;
        self.counted.quarantined += aside;
        self.counted.filtered += piece.read - rows - aside;
        let (mut taken, mut whole) = (0, 0);
        for output in self.takers(number) {
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

    /// An input was decoded to its end.
    fn ended(&mut self, number: usize) -> Result<(), TaskError> {
        self.counted.objects += 1;
        self.counted.bytes += self.job.inputs[number].size;
        for output in self.takers(number) {
            let is_empty = self.outputs[output].open.is_none();
            if self.outputs[output].last as usize == number
                && !(is_empty && self.job.task.outputs[output].span.is_some())
            {
                self.finish(output)?;
            }
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
                let (number, key) = (self.outputs.len(), self.job.task.quarantine.clone());
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
    let key = &task.outputs[output].key;
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
