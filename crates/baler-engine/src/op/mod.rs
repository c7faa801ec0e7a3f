//! The operations that a flow can do, one folder each: a planner that makes tasks of inputs, and what executes a task.

pub mod combine;
pub mod convert;
pub(crate) mod redshift;

use baler_model::ledger::{Account, OperationOptions, OutputRecords, PlanHeader, Task, Work};
use baler_model::{AttemptId, Staged};

use crate::error::TaskError;
use crate::flow::Flow;

/// What a task staged.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outputs: Vec<Staged>,
    pub(crate) account: Account,
    pub(crate) work: Work,
    /// What each output holds, where records were counted.
    pub(crate) records: Vec<OutputRecords>,
}

/// Executes a task. Safe to call twice, by anyone, at any time: each attempt stages for itself.
pub(crate) async fn execute(
    flow: &Flow,
    header: &PlanHeader,
    task: &Task,
    attempt: &AttemptId,
) -> Result<Done, TaskError> {
    match &header.operation {
        OperationOptions::Combine(options) => combine::join::execute(flow, header, options, task, attempt).await,
        OperationOptions::Convert(options) => convert::execute::execute(flow, header, options, task, attempt).await,
    }
}
