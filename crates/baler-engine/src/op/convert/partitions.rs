//! Writes the outputs that the values of columns tell apart, several at a time.
//!
//! Outputs are taken in the order of their keys, and are the same whatever the number of threads.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use baler_format::encode::EncodeOptions;
use baler_format::schema::Schema;
use baler_model::ledger::{Failure, OutputRecords, PlannedSplit};
use baler_model::{Key, Kind};

use super::job::Job;
use super::object::{Object, ROWS, Style};
use super::split::{Sorted, Split};
use super::upload::Steps;
use crate::error::TaskError;
use crate::parallel::try_in_parallel;

/// An output of more rows than this is worth threads of its own.
const MANY: u64 = 100_000;

/// What all of the outputs share.
struct Common<'a> {
    job: &'a Job,
    steps: &'a Steps,
    /// The number of the target.
    to: usize,
    /// What was sorted, if any row came.
    split: Option<&'a Split>,
    /// The columns of the objects: those in the path are left out.
    kept: Vec<usize>,
    schema: Schema,
    arrow: SchemaRef,
    encoding: EncodeOptions,
}

/// Writes all outputs of a split; yields what was written of each, in the order of their numbers, which begin at `first`.
///
/// Errors: that of the output whose key comes first among those that failed.
pub(super) fn write(
    job: &Job,
    steps: &Steps,
    to: usize,
    planned: &PlannedSplit,
    split: Option<Split>,
    first: usize,
) -> Result<Vec<OutputRecords>, TaskError> {
    let sorted = match &split {
        Some(split) => split.sorted(planned)?,
        None => Vec::new(),
    };
    let known: BTreeSet<&Key> = sorted.iter().map(|output| &output.key).collect();
    // Of partitions that no record belongs to any more the objects become empty.
    let emptied = planned.previous.iter().map(|(key, _)| key).filter(|key| !known.contains(*key));
    let outputs = sorted.iter().map(|output| (&output.key, Some(output))).chain(emptied.map(|key| (key, None)));
    let outputs: Vec<(usize, (&Key, Option<&Sorted>))> = (first..).zip(outputs).collect();
    let threads = job.encoding.threads.min(outputs.len()).max(1);
    let common = Common::new(job, steps, to, planned, split.as_ref(), threads)?;
    try_in_parallel(threads, &outputs, |(number, (key, sorted))| common.output(*number, key, *sorted))
}

impl<'a> Common<'a> {
    fn new(
        job: &'a Job,
        steps: &'a Steps,
        to: usize,
        planned: &PlannedSplit,
        split: Option<&'a Split>,
        threads: usize,
    ) -> Result<Self, TaskError> {
        let dropped: Vec<&str> = planned.in_directories().collect();
        let columns = job.written.columns();
        let is_kept = |column: &usize| !dropped.contains(&columns[*column].name.as_str());
        let kept: Vec<usize> = (0..columns.len()).filter(is_kept).collect();
        let fault = |error: String| TaskError::data(error, Some("keep a column that is not in the path"));
        let schema = Schema::try_new(kept.iter().map(|column| columns[*column].clone()).collect());
        let schema = schema.map_err(|error| fault(error.to_string()))?;
        if schema.columns().is_empty() {
            return Err(fault("every column is in the path: nothing is left for the objects".to_owned()));
        }
        let group_bytes = (job.encoding.group_bytes / threads).max(8 << 20);
        let encoding = EncodeOptions { group_bytes, ..job.encoding.clone() };
        Ok(Self { job, steps, to, split, kept, arrow: schema.to_arrow(), schema, encoding })
    }

    /// Writes one output: an empty one where nothing was sorted for it.
    fn output(&self, number: usize, key: &Key, sorted: Option<&Sorted>) -> Result<OutputRecords, TaskError> {
        let rows = sorted.map_or(0, |sorted| sorted.rows);
        let (format, compression) = &self.job.targets[self.to];
        let threads = if rows > MANY { self.encoding.threads } else { 0 };
        let encoding = EncodeOptions { threads, ..self.encoding.clone() };
        let style = Style {
            format,
            compression: *compression,
            schema: &self.schema,
            arrow: Arc::clone(&self.arrow),
            encoding: &encoding,
            rows: ROWS,
        };
        let mut object = Object::begin(self.steps, number, key.clone(), &style)?;
        if let (Some(split), Some(sorted)) = (self.split, sorted) {
            split.each(sorted, |batch| object.write(&self.kept_of(batch).map_err(|error| broken(&error))?))?;
        }
        Ok(OutputRecords { records: object.finish()?.rows, records_in: rows, ..OutputRecords::default() })
    }

    fn kept_of(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        batch.project(&self.kept)?.with_schema(Arc::clone(&self.arrow))
    }
}

fn broken(error: &ArrowError) -> TaskError {
    TaskError { kind: Kind::Internal, failure: Failure { error: error.to_string(), hint: None } }
}
