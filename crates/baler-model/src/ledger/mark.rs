//! Marks: `{state}/{flow}/runs/{run}/mark/{task/1000}/{task}.{gen}.json`, created once; the highest generation counts
//! (INV-MARK-1). Also failed attempts and the heartbeat, which are information only.

use std::collections::BTreeMap;

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
        account: Box<Account>,
        /// How it was done.
        work: Work,
        /// With `convert`: what each output holds, in the order of `outputs`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        records: Vec<OutputRecords>,
    },
    /// With `scatter`: the records of a chunk were taken. It has no outputs.
    Taken(Box<ChunkDone>),
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

impl Outcome {
    /// What went in and out; nothing of a group that is given up.
    pub fn account(&self) -> Option<Account> {
        match self {
            Self::Staged { account, .. } => Some(Account::clone(account)),
            Self::Taken(chunk) => Some(chunk.account()),
            Self::GivenUp { .. } => None,
        }
    }
}

/// What came of a chunk. Its part of the result is a private object under the attempt's key, which the gathering task reads.
///
/// A run of ten thousand chunks holds as many of these in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkDone {
    /// When its records were begun with, by the author's clock; the mark says when all was done, which may be some tries of
    /// putting later.
    pub began: Timestamp,
    /// How many records went through.
    pub succeeded: u64,
    /// How many were left out on request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Its part of the result: members of the codec, from the object's first byte on.
    pub result: PrivateObject,
    /// Those that failed, where some did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Box<Failures>>,
}

impl ChunkDone {
    /// How many records failed.
    pub fn failed(&self) -> u64 {
        self.failures.as_ref().map_or(0, |failures| failures.records)
    }

    /// What went in and out.
    pub fn account(&self) -> Account {
        Account {
            records_in: Some(self.succeeded + self.failed() + self.left_out),
            records_out: Some(self.succeeded),
            quarantined: Some(self.failed()),
            filtered: Some(self.left_out),
            ..Account::default()
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The records of a chunk that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many; at least one.
    pub records: u64,
    /// Their lines of the quarantine file, right behind the part of the result in the same object.
    pub aside: PrivateObject,
    /// How many of them by reason; beyond so many reasons the rest stand under an empty one.
    pub reasons: BTreeMap<String, u64>,
    /// The first of them.
    pub first: FailedRecord,
    /// The last one.
    pub last: FailedRecord,
}

/// A stretch of a private object of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateObject {
    /// Its size in bytes.
    pub size: u64,
    /// Its CRC-64/NVME; in JSON 16 hexadecimal digits.
    #[serde(with = "crc_hex")]
    pub crc64nvme: u64,
}

/// Readers of JSON cut numbers to 53 bits.
mod crc_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(crc: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{crc:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|error| D::Error::custom(format!("`{text}` is no CRC: {error}")))
    }
}

/// A record that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecord {
    /// Its place among the records of the batch, from 0.
    pub index: u64,
    /// Why.
    pub message: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of ten thousand chunks holds as many marks.
    #[test]
    fn marks_of_chunks_are_small() {
        assert!(size_of::<Mark>() <= 144 && size_of::<ChunkDone>() <= 56);
    }
}
