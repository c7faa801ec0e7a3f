//! Writes the rows of one attempt to their outputs, on one thread and in the order of the inputs; counts what becomes of each.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow_array::RecordBatch;
use baler_model::ledger::{Failure, OutputRecords};
use baler_model::{InputVersion, Key, Kind};

use super::decoding::{Piece, Stop};
use super::job::{Broken, Counted, Job, Message, cut_off, scrub_failed, within_memory};
use super::object::{Object, ROWS, Style, bytes_of};
use super::partitions;
use super::rejects::{SetAside, write_line};
use super::routing;
use super::scrub::Dedupe;
use super::split::Split;
use super::upload::{PartWriter, Steps, upload_failed};
use crate::error::TaskError;
use crate::op::redshift;
use crate::sql::Query;

/// Writes rows to outputs, on the calling thread.
pub(super) struct Writing<'a> {
    job: &'a Job,
    steps: &'a Steps,
    outputs: Vec<Output>,
    quarantine: Option<PartWriter>,
    /// The first record that was set aside: where it stands, and why.
    first_aside: Option<String>,
    dedupe: Option<Dedupe>,
    /// What was written of objects whose keys are found here: those that the values of columns tell apart, and numbered
    /// ones, in the order of their numbers.
    found: Vec<OutputRecords>,
    counted: Counted,
}

/// One output that is being written.
struct Output {
    to: usize,
    /// The number of the last input that it takes records of.
    last: u32,
    /// The query over its records, where the flow has one: there from its first record on.
    query: Option<Query>,
    /// Records that were given to that.
    given: u64,
    open: Option<Object>,
    /// Where the values of columns tell outputs apart: all of them.
    split: Option<Split>,
    /// Where it is several objects: those that are complete, with their bytes.
    objects: Vec<(Key, u64)>,
    /// Where it is several objects: where the records of the open one, or of the last, are counted.
    found: usize,
    is_done: bool,
    /// What was written of the open object.
    records: OutputRecords,
}

const NONE: OutputRecords = OutputRecords { records: 0, records_in: 0, quarantined: 0, filtered: 0, queried: None };

impl Output {
    /// Whether a record came to it.
    fn is_begun(&self) -> bool {
        self.query.is_some() || self.open.is_some() || !self.objects.is_empty()
    }
}

impl<'a> Writing<'a> {
    pub(super) fn new(job: &'a Job, steps: &'a Steps, dedupe: Option<Dedupe>) -> Self {
        let output = |planned: &baler_model::ledger::PlannedOutput| Output {
            to: planned.to as usize,
            last: planned.inputs.last().map_or(0, |(_, end)| end.saturating_sub(1)),
            query: None,
            given: 0,
            open: None,
            split: None,
            objects: Vec::new(),
            found: 0,
            is_done: false,
            records: NONE,
        };
        let outputs = job.task.outputs.iter().map(output).collect();
        Self {
            job,
            steps,
            outputs,
            quarantine: None,
            first_aside: None,
            dedupe,
            found: Vec::new(),
            counted: Counted::default(),
        }
    }

    pub(super) fn run(mut self, inputs: Receiver<(usize, Receiver<Message>)>) -> Result<Counted, Broken> {
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
    pub(super) fn complete(mut self) -> Result<Counted, Broken> {
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
            if let Some(text) = &planned.text {
                self.outputs[number].is_done = true;
                self.stage(number, planned.key.clone(), text.as_bytes())?;
                continue;
            }
            if planned.split.is_some() {
                if !self.outputs[number].is_done {
                    self.finish_split(number)?;
                }
                continue;
            }
            let is_needed = planned.span.is_none() || planned.replaces.is_some();
            if !self.outputs[number].is_done && (is_needed || self.outputs[number].is_begun()) {
                self.finish(number)?;
            }
        }
        let whole = self.outputs.iter().zip(&self.job.task.outputs);
        let whole = whole.filter(|(output, planned)| output.is_done && planned.exact_key().is_some());
        self.counted.records = whole.map(|(output, _)| output.records).chain(self.found.iter().copied()).collect();
        if self.job.sql.is_some() {
            // Until here those are counted that were taken, each once; what came out, each encoder says.
            self.counted.sql_in = Some(self.counted.records_out);
            self.counted.records_out = self.counted.records.iter().map(|output| output.records).sum();
        }
        if let Some(writer) = self.quarantine.take() {
            writer.end().map_err(|error| upload_failed(&error))?;
            let records = self.counted.quarantined;
            self.counted.records.push(OutputRecords { records, records_in: records, ..NONE });
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
    pub(super) fn piece(&mut self, number: usize, mut piece: Piece) -> Result<(), TaskError> {
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
                self.give(output, &piece.batch)?;
                whole = whole.max(piece.batch.num_rows() as u64);
                continue;
            }
            if let Some(span) = self.job.task.outputs[output].span {
                let rows = routing::within(&piece.batch, &piece.seconds, span)?;
                if rows.num_rows() > 0 {
                    self.give(output, &rows)?;
                }
                taken += rows.num_rows() as u64;
                continue;
            }
            let records = &mut self.outputs[output].records;
            records.records_in += piece.read - rows;
            records.quarantined += aside;
            records.filtered += piece.read - rows - aside;
            self.give(output, &piece.batch)?;
            // Every output of an input gets all its rows; they are counted once.
            whole = whole.max(rows);
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
    pub(super) fn ended(&mut self, number: usize) -> Result<(), TaskError> {
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
            let is_empty = !self.outputs[output].is_begun();
            if self.outputs[output].last as usize == number
                && !(is_empty && self.job.task.outputs[output].span.is_some())
            {
                self.finish(output)?;
            }
        }
        Ok(())
    }

    /// Gives records to an output, through the flow's query where it has one.
    fn give(&mut self, number: usize, batch: &RecordBatch) -> Result<(), TaskError> {
        let Some(mut query) = self.query(number)? else { return self.write(number, batch) };
        let (output, rows) = (&mut self.outputs[number], batch.num_rows() as u64);
        output.given += rows;
        output.records.records_in += rows;
        *output.records.queried.get_or_insert(0) += rows;
        query.push(batch, &mut |rows| self.write(number, &rows))?;
        self.outputs[number].query = Some(query);
        Ok(())
    }

    /// The query over the records of an output, begun where it is not; whoever takes it puts it back.
    fn query(&mut self, number: usize) -> Result<Option<Query>, TaskError> {
        match (self.outputs[number].query.take(), &self.job.sql) {
            (Some(query), _) => Ok(Some(query)),
            (None, Some(sql)) => sql.begin().map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Writes what the flow's query still gives, where it has one.
    fn finish_query(&mut self, number: usize) -> Result<(), TaskError> {
        let Some(query) = self.query(number)? else { return Ok(()) };
        let (given, taken) = (self.outputs[number].given, query.finish(&mut |rows| self.write(number, &rows))?);
        match given == taken {
            true => Ok(()),
            false => Err(TaskError {
                kind: Kind::Internal,
                failure: Failure { error: format!("`sql` took {taken} of {given} records"), hint: None },
            }),
        }
    }

    /// Takes rows of outputs that the values of columns tell apart.
    fn split(&mut self, number: usize, batch: &RecordBatch) -> Result<(), TaskError> {
        let Some(planned) = &self.job.task.outputs[number].split else { return Ok(()) };
        let output = &mut self.outputs[number];
        if output.split.is_none() {
            let budget = self.job.encoding.group_bytes;
            let split = Split::new(planned, &self.job.arrow, budget, self.job.encoding.threads);
            let hint = "let `partition` name columns as they are written, behind `scrub`";
            output.split = Some(split.map_err(|error| TaskError::data(error, Some(hint)))?);
        }
        match &mut output.split {
            Some(split) => split.add(batch),
            None => Ok(()),
        }
    }

    /// Writes the outputs that the values of columns tell apart.
    fn finish_split(&mut self, number: usize) -> Result<(), TaskError> {
        self.finish_query(number)?;
        let Output { to, split, is_done, .. } = &mut self.outputs[number];
        *is_done = true;
        let Some(planned) = &self.job.task.outputs[number].split else { return Ok(()) };
        let (to, split) = (*to, split.take());
        let first = self.outputs.len() + self.found.len();
        self.found.extend(partitions::write(self.job, self.steps, to, planned, split, first)?);
        Ok(())
    }

    /// Opens an output where it is not.
    fn open(&mut self, number: usize, rows: usize) -> Result<&mut Object, TaskError> {
        if self.outputs[number].open.is_none() {
            let (id, key) = self.next_object(number)?;
            let (format, compression) = &self.job.targets[self.outputs[number].to];
            let style = Style {
                format,
                compression: *compression,
                schema: &self.job.written,
                arrow: Arc::clone(&self.job.arrow),
                encoding: &self.job.encoding,
                rows,
            };
            self.outputs[number].open = Some(Object::begin(self.steps, id, key, &style)?);
        }
        Ok(self.outputs[number].open.as_mut().expect("it was opened right above"))
    }

    /// The number and the key of the object of an output that begins.
    fn next_object(&mut self, number: usize) -> Result<(usize, Key), TaskError> {
        let planned = &self.job.task.outputs[number];
        let Some(numbered) = &planned.numbered else { return Ok((number, planned.key.clone())) };
        let key = numbered.key(self.outputs[number].objects.len() as u64 + 1);
        let key = key.map_err(|error| TaskError::data(error.to_string(), Some("shorten the path")))?;
        self.outputs[number].found = self.found.len();
        self.found.push(NONE);
        Ok((self.outputs.len() + self.found.len() - 1, key))
    }

    /// Writes rows.
    fn write(&mut self, number: usize, batch: &RecordBatch) -> Result<(), TaskError> {
        let planned = &self.job.task.outputs[number];
        if planned.split.is_some() {
            return self.split(number, batch);
        }
        let Some(numbered) = &planned.numbered else {
            self.open(number, ROWS)?.write(batch)?;
            self.count(number, batch);
            return Ok(());
        };
        let (mut start, steps) = (0, steps_of(batch, numbered.max_bytes));
        while start < batch.num_rows() {
            let object = self.open(number, steps)?;
            let before = object.size();
            let rows = batch.slice(start, object.at_once().min(batch.num_rows() - start));
            object.write(&rows)?;
            start += rows.num_rows();
            let after = object.size();
            self.count(number, &rows);
            // An estimate may become less when more is known.
            if after + after.saturating_sub(before) > numbered.max_bytes {
                self.close(number)?;
            }
        }
        Ok(())
    }

    /// Counts rows that were written as records that were read. What a query gave is none: `give` counts what it took.
    fn count(&mut self, number: usize, rows: &RecordBatch) {
        if self.job.sql.is_none() {
            self.outputs[number].records.records_in += rows.num_rows() as u64;
        }
    }

    /// Ends the open object of an output.
    fn close(&mut self, number: usize) -> Result<(), TaskError> {
        let output = &mut self.outputs[number];
        let Some(object) = output.open.take() else { return Ok(()) };
        let key = object.key().clone();
        // What the encoder says that it wrote: the seal holds it against what was read.
        let counts = object.finish()?;
        output.records.records = counts.rows;
        if self.job.sql.is_some() {
            output.records.queried.get_or_insert(0);
        }
        if self.job.task.outputs[number].numbered.is_some() {
            output.objects.push((key, counts.bytes));
            self.found[output.found] = std::mem::replace(&mut output.records, NONE);
        }
        Ok(())
    }

    /// Ends an output.
    fn finish(&mut self, number: usize) -> Result<(), TaskError> {
        self.finish_query(number)?;
        if self.outputs[number].objects.is_empty() {
            self.open(number, ROWS)?;
        }
        self.close(number)?;
        let output = &mut self.outputs[number];
        output.is_done = true;
        let planned = &self.job.task.outputs[number];
        let Some(numbered) = &planned.numbered else { return Ok(()) };
        // What was set aside behind its last row.
        let (last, rest) = (&mut self.found[output.found], std::mem::replace(&mut output.records, NONE));
        last.records_in += rest.records_in;
        last.quarantined += rest.quarantined;
        last.filtered += rest.filtered;
        last.queried = last.queried.map(|queried| queried + rest.queried.unwrap_or(0));
        if numbered.manifest {
            let objects = output.objects.iter().map(|(key, bytes)| (key, *bytes));
            let body = redshift::manifest(&self.job.store, objects);
            self.stage(number, planned.key.clone(), &body)?;
        }
        Ok(())
    }

    /// Stages an object of JSON that holds no records.
    fn stage(&self, number: usize, key: Key, body: &[u8]) -> Result<(), TaskError> {
        let staged = PartWriter::begin(self.steps, number, key, "application/json");
        let staged = staged.and_then(|mut writer| writer.write_all(body).and(Ok(writer))).and_then(PartWriter::end);
        staged.map_err(|error| upload_failed(&error))
    }

    fn set_aside(&mut self, input: &InputVersion, aside: &[SetAside]) -> Result<(), TaskError> {
        let Some(first) = aside.first() else { return Ok(()) };
        if self.first_aside.is_none() {
            self.first_aside = Some(first.told_of(&input.key));
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
        let first = self.first_aside.as_deref().map_or_else(String::new, |first| format!("; the first: {first}"));
        let error = format!("{quarantined} of {records_in} records cannot be taken, more than {limit}{first}");
        TaskError::data(
            error,
            Some("`baler preview` shows the first reasons; correct the flow, or raise `max_quarantined`"),
        )
    }
}

/// Rows of which an eighth of an object's bytes is made, at the most: its size is known in steps of them.
fn steps_of(batch: &RecordBatch, max_bytes: u64) -> usize {
    let of_a_row = (bytes_of(batch) / batch.num_rows().max(1)).max(1) as u64;
    usize::try_from(max_bytes / 8 / of_a_row).unwrap_or(ROWS).clamp(1, ROWS)
}
