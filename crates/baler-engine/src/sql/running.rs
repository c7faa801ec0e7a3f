//! A query over the records of one output, on the calling thread: takes batches, yields batches.
//!
//! Where records are read once, each batch is driven through before the next is taken: the query runs until it yields rows or
//! wants more, so that nothing can wait for itself. What a query holds back (a sort, a group) is in the pool of its task.
//!
//! Whatever of it waits for a disk does so on threads of a runtime of its own, which end with it; it is used where blocking is
//! allowed.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::coalesce::BatchCoalescer;
use baler_format::schema::Schema;
use baler_model::Kind;
use baler_model::ledger::Failure;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::ExecutionPlan;

use super::planned::ROWS;
use super::source::{Reading, Source};
use super::{Take, deep, fault, fitted};
use crate::error::TaskError;

/// One output's query.
pub(crate) struct Query {
    results: SendableRecordBatchStream,
    /// Small batches are brought together.
    rows: BatchCoalescer,
    source: Arc<Source>,
    reading: Reading,
    output: SchemaRef,
    is_done: bool,
    taken: u64,
    /// There until it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Query {
    fn drop(&mut self) {
        // Waits for nothing: also where a query is given up within an asynchronous task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("reading", &self.reading).field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// What a step of a query gave.
enum Step {
    Rows(RecordBatch),
    WantsMore,
    Ended,
}

impl Query {
    pub(super) fn new(
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        reading: Reading,
        input: &SchemaRef,
        output: &Schema,
        held: usize,
    ) -> Result<Self, TaskError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| fault::running(&DataFusionError::IoError(error)))?;
        let source = Source::new(input, reading, held);
        let config = state.config().clone().with_extension(Arc::clone(&source));
        let context = Arc::new(TaskContext::from(state).with_session_config(config));
        // Some steps begin when they are made. Where records are kept, none may look before all are there.
        let results = {
            let _entered = runtime.enter();
            match reading {
                Reading::Once | Reading::Never => plan.execute(0, context).map_err(|error| fault::running(&error))?,
                Reading::Again => later(plan, context),
            }
        };
        let rows = BatchCoalescer::new(Arc::clone(input), ROWS);
        Ok(Self {
            results,
            rows,
            source,
            reading,
            output: output.to_arrow(),
            is_done: false,
            taken: 0,
            runtime: Some(runtime),
        })
    }

    /// Takes records, and hands on what comes out so far.
    pub(crate) fn push(&mut self, batch: &RecordBatch, take: Take<'_>) -> Result<(), TaskError> {
        self.taken += batch.num_rows() as u64;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.rows.is_empty() && batch.num_rows() * 2 >= ROWS {
            return self.bring(batch.clone(), take);
        }
        self.rows.push_batch(batch.clone()).map_err(|error| broken(&error))?;
        while let Some(batch) = self.rows.next_completed_batch() {
            self.bring(batch, take)?;
        }
        Ok(())
    }

    /// Says that no more records come, and hands on the rest; yields how many were taken.
    pub(crate) fn finish(mut self, take: Take<'_>) -> Result<u64, TaskError> {
        self.rows.finish_buffered_batch().map_err(|error| broken(&error))?;
        while let Some(batch) = self.rows.next_completed_batch() {
            self.bring(batch, take)?;
        }
        self.source.seal().map_err(|error| fault::running(&error.into()))?;
        self.source.close();
        self.drive(take)?;
        match self.is_done {
            true => Ok(self.taken),
            false => Err(broken("the query wants more than there is")),
        }
    }

    fn bring(&mut self, batch: RecordBatch, take: Take<'_>) -> Result<(), TaskError> {
        match self.reading {
            // `LIMIT` ends before the records do.
            _ if self.is_done => Ok(()),
            Reading::Never => Ok(()),
            Reading::Again => self.source.keep(batch).map_err(|error| fault::running(&error.into())),
            Reading::Once => {
                self.source.pass(batch);
                self.drive(take)
            }
        }
    }

    /// Runs the query until it wants more, or has ended.
    fn drive(&mut self, take: Take<'_>) -> Result<(), TaskError> {
        while !self.is_done {
            let (results, source) = (&mut self.results, &self.source);
            let Some(runtime) = &self.runtime else { return Err(broken("the query has ended")) };
            let step = runtime.block_on(poll_fn(|context| match deep(|| results.as_mut().poll_next(context)) {
                Poll::Ready(Some(Ok(rows))) => Poll::Ready(Ok(Step::Rows(rows))),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
                Poll::Ready(None) => Poll::Ready(Ok(Step::Ended)),
                Poll::Pending if source.wants_more(context) => Poll::Ready(Ok(Step::WantsMore)),
                Poll::Pending => Poll::Pending,
            }));
            match step.map_err(|error| fault::running(&error))? {
                Step::Rows(rows) if rows.num_rows() == 0 => {}
                Step::Rows(rows) => take(fitted(&rows, &self.output)?)?,
                Step::WantsMore => return Ok(()),
                Step::Ended => self.is_done = true,
            }
        }
        Ok(())
    }
}

/// A plan that begins when it is asked for its first rows.
fn later(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> SendableRecordBatchStream {
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{StreamExt, TryStreamExt, future, stream};
    let schema = plan.schema();
    let begun = stream::once(future::lazy(move |_| plan.execute(0, context))).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, begun.boxed()))
}

fn broken(error: impl std::fmt::Display) -> TaskError {
    TaskError { kind: Kind::Internal, failure: Failure { error: format!("`sql`: {error}"), hint: None } }
}
