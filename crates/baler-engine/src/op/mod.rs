//! The operations that a flow can do, one folder each: a planner that makes tasks of inputs, and what executes a task.

pub mod combine;
pub mod convert;
pub(crate) mod redshift;
pub(crate) mod scatter;

use baler_model::ledger::{Account, Failure, OperationOptions, OutputRecords, Task, Work};
use baler_model::{AttemptId, Kind, Staged};

use crate::error::TaskError;
use crate::flow::Flow;
use crate::ledger::{Marks, Plan};

/// What a task staged.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outputs: Vec<Staged>,
    pub(crate) account: Account,
    pub(crate) work: Work,
    /// What each output holds, where records were counted.
    pub(crate) records: Vec<OutputRecords>,
}

/// Executes a task. Safe to call twice, by anyone, at any time: each attempt stages for itself. `marks` are those that are known of
/// the run: what gathers needs those of what it gathers.
pub(crate) async fn execute(
    flow: &Flow,
    plan: &Plan,
    marks: &Marks,
    task: &Task,
    attempt: &AttemptId,
) -> Result<Done, TaskError> {
    let header = &plan.header;
    match &header.operation {
        OperationOptions::Combine(options) => combine::join::execute(flow, header, options, task, attempt).await,
        OperationOptions::Convert(options) => convert::execute::execute(flow, header, options, task, attempt).await,
        OperationOptions::Scatter(_) if task.chunk().is_some() => {
            let error = format!("task {} is a chunk, and taken with those of its batch alone", task.task);
            Err(TaskError { kind: Kind::Internal, failure: Failure { error, hint: None } })
        }
        OperationOptions::Scatter(options) => scatter::gather::execute(flow, plan, options, marks, task, attempt).await,
    }
}
