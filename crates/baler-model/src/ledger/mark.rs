//! Marks: `{state}/{flow}/runs/{run}/mark/{task/1000}/{task}.{gen}.json`, created once; the highest generation counts
//! (INV-MARK-1). Also failed attempts and the heartbeat, which are information only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Account;
use crate::{AttemptId, RunId, Staged, TaskId};

/// The one durable statement that a task is done, and by which attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Format version.
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Generation, from 0; a redo of lost outputs marks the next one.
    pub generation: u32,
    /// The attempt that won.
    pub attempt: AttemptId,
    /// When, by its author's clock.
    pub at: Timestamp,
    /// What became of the task.
    pub outcome: Outcome,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its outputs are staged.
    Staged {
        /// The outputs, in the order of their publishing.
        outputs: Vec<Staged>,
        /// What went in and out.
        account: Account,
        /// How it was done.
        work: Work,
        /// With `convert`: what each output holds, in the order of `outputs`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        records: Vec<OutputRecords>,
    },
    /// Its group is given up; nothing is marked above this.
    GivenUp {
        /// Why.
        reason: Failure,
    },
}

/// The records of one output of `convert`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecords {
    /// How many it holds.
    pub records: u64,
    /// How many its inputs held.
    pub records_in: u64,
    /// How many of those were set aside.
    pub quarantined: u64,
    /// How many of those were left out on request.
    pub filtered: u64,
    /// How many of those were given to the flow's SQL, where it has one: then as many are held as came out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queried: Option<u64>,
}

impl OutputRecords {
    /// Whether each record that its inputs held is accounted for (INV-ACCT-1): it is held, or was given to SQL, or was set
    /// aside or left out.
    pub fn balances(&self) -> bool {
        self.records_in == self.queried.unwrap_or(self.records) + self.quarantined + self.filtered
    }
}

/// How a task was done. Units: bytes, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Bytes that the store copied by itself.
    pub bytes_copied: u64,
    /// Input bytes that passed through this machine.
    pub bytes_through: u64,
    /// Duration in milliseconds.
    pub millis: u64,
}

/// A failure for people: what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened, naming the object.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One failed attempt: `failed/{task}-{attempt}.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Format version.
    pub version: u32,
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: AttemptId,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub failure: Failure,
}

/// Who is executing a run: `heartbeat.json`. Information for people, never a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Format version.
    pub version: u32,
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Identity of the process beyond its id: boot id and start time.
    pub process: String,
    /// Executing since.
    pub since: Timestamp,
    /// Alive at.
    pub at: Timestamp,
}
