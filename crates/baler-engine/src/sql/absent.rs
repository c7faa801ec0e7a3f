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

/// Refuses every query.
pub(crate) fn check(_text: &str) -> Result<(), Failure> {
    let hint = "build with `--features sql`, or write what it does as `scrub`";
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
