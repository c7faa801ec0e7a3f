//! SQL over the records of one output: `sql = "SELECT … FROM input …"` of a flow that converts; and over single records.
//!
//! - `parse` takes one query over the table `input`, and nothing else; `planned` ([`Sql`]) plans it over a schema and says
//!   which columns come out; `arithmetic` lets whole numbers fail where they would wrap;
//! - `one` ([`OneByOne`]) is a query that takes records one by one, as a step of `scatter`;
//! - `running` ([`Query`]) takes batches and yields batches, on the calling thread, one output at a time; `source` is the
//!   table `input` meanwhile; `fault` puts errors into Baler's words.
//!
//! Everything that says what SQL may be is decided before a run is opened. A query draws no thread but its own for reading
//! back what it spilled; memory is that of a pool, and what spills goes to the system's temporary directory.
//!
//! - INV-ACCT-1: each record is given to the query of its output once; what comes out is counted by the encoder. Both are
//!   reported, and need not balance.
//!
//! What a crash leaves: directories of spilled rows under the system's temporary directory.
//!
//! Without the cargo feature `sql` nothing of this is compiled but the refusal.

#[cfg(feature = "sql")]
mod arithmetic;
#[cfg(feature = "sql")]
mod fault;
#[cfg(feature = "sql")]
mod one;
#[cfg(feature = "sql")]
mod parse;
#[cfg(feature = "sql")]
mod planned;
#[cfg(feature = "sql")]
mod running;
#[cfg(feature = "sql")]
mod source;
#[cfg(feature = "sql")]
#[cfg(test)]
mod tests;

#[cfg(not(feature = "sql"))]
mod absent;

#[cfg(not(feature = "sql"))]
pub(crate) use absent::{Kept, OneByOne, Query, Sql, check};
#[cfg(feature = "sql")]
pub(crate) use {
    one::{Kept, OneByOne},
    parse::check,
    planned::Sql,
    running::Query,
};

use arrow_array::RecordBatch;

use crate::error::TaskError;

/// Runs what goes down the terms of a query one by one, on a stack that is deep enough for as many as may be.
#[cfg(feature = "sql")]
fn deep<T>(work: impl FnOnce() -> T) -> T {
    /// What is not touched is not there. Units: bytes.
    const STACK: usize = 128 << 20;
    stacker::grow(STACK, work)
}

/// Takes what comes out of a query.
pub(crate) type Take<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<(), TaskError>;

/// Rows in the types that are written.
#[cfg(feature = "sql")]
fn fitted(rows: &RecordBatch, output: &arrow_schema::SchemaRef) -> Result<RecordBatch, TaskError> {
    use std::sync::Arc;

    use arrow_array::ArrayRef;
    use arrow_cast::{CastOptions, cast_with_options};
    use arrow_schema::{ArrowError, Field};
    let checked = CastOptions { safe: false, ..CastOptions::default() };
    let column = |(column, field): (&ArrayRef, &Arc<Field>)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast_with_options(column, field.data_type(), &checked),
    };
    let columns = rows.columns().iter().zip(output.fields()).map(column).collect::<Result<Vec<_>, ArrowError>>();
    columns
        .and_then(|columns| RecordBatch::try_new(Arc::clone(output), columns))
        .map_err(|error| fault::running(&error.into()))
}
