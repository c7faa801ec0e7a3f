//! Planner, ledger and run lifecycle of Baler, and the operations that stand on them.
//!
//! - [`engine`]: what a face calls; [`Flow`]: a flow with its stores opened; [`Env`]: everything handed in;
//! - [`ledger`]: objects in a store that decide; [`run`]: the life of a run; [`op`]: the operations;
//! - [`plan`]: what a run will read and write; [`prospect`]: what a run would do, without doing it;
//! - [`report`]: what a run tells about itself; `sql`: queries over the records of an output, by DataFusion.

pub mod check;
pub mod engine;
pub mod env;
mod error;
mod fitness;
mod flow;
pub mod gc;
pub mod inputs;
pub mod ledger;
mod manifests;
pub mod op;
mod parallel;
pub mod plan;
pub mod prospect;
pub mod report;
pub mod run;
mod sql;
pub mod upsert;
pub mod verify;

#[cfg(feature = "dynamodb")]
pub use env::{DynamoAccount, DynamoAsked};
pub use env::{Env, Identity, Limits, Liveness, NoSecrets, Phase, Processes, Progress, Secrets, Silent, Stores};
pub use error::EngineError;
pub use flow::{Flow, OpenPlace};
pub use op::scatter::each::end_programs;
