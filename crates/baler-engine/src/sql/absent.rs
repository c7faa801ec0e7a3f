//! What stands for SQL in a build without it: the refusal.

use std::convert::Infallible;

use arrow_array::RecordBatch;
use baler_format::schema::Schema;
use baler_model::ledger::Failure;

use super::Take;
use crate::error::TaskError;

/// There is none.
#[derive(Debug)]
pub(crate) struct Sql(Infallible);

/// There is none.
#[derive(Debug)]
pub(crate) struct Query(Infallible);

/// There is none.
pub(crate) struct OneByOne(Infallible);

/// What came out of a batch: there is none.
pub(crate) struct Kept {
    pub(crate) batch: RecordBatch,
    pub(crate) rows: Vec<usize>,
}

/// Refuses every query.
pub(crate) fn check(_text: &str) -> Result<(), Failure> {
    let hint = "build with `--features sql`, or say it by a `scrub` (`convert`) or a `program` (`scatter`)";
    Err(Failure { error: "the flow has `sql`, and this build has no SQL".to_owned(), hint: Some(hint.to_owned()) })
}

impl Sql {
    pub(crate) fn try_new(text: &str, _input: &Schema, _memory: u64) -> Result<Self, Failure> {
        check(text).map(|()| unreachable!("every query was refused right above"))
    }

    pub(crate) fn output(&self) -> &Schema {
        match self.0 {}
    }

    pub(crate) fn begin(&self) -> Result<Query, TaskError> {
        match self.0 {}
    }
}

impl Query {
    pub(crate) fn push(&mut self, _batch: &RecordBatch, _take: Take<'_>) -> Result<(), TaskError> {
        match self.0 {}
    }

    pub(crate) fn finish(self, _take: Take<'_>) -> Result<u64, TaskError> {
        match self.0 {}
    }
}

impl OneByOne {
    pub(crate) fn try_new(text: &str, _input: &Schema) -> Result<Self, Failure> {
        check(text).map(|()| unreachable!("every query was refused right above"))
    }

    pub(crate) fn output(&self) -> &Schema {
        match self.0 {}
    }

    pub(crate) fn take(&self, _batch: &RecordBatch) -> Result<Kept, TaskError> {
        match self.0 {}
    }
}
