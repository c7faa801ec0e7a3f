//! The seal: `{state}/{flow}/runs/{run}/seal-{sha256}.jsonl`, a header, then one line per output that may be published.

use serde::{Deserialize, Serialize};

use super::Account;
use super::plan::GroupId;
use crate::{ObjectVersion, RunId, Staged, TaskId};

/// The first line of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealHeader {
    /// Format version.
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// Sum over the covered groups.
    pub account: Account,
    /// Number of lines that follow.
    pub outputs: u64,
}

/// One output that the seal covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedOutput {
    /// The group.
    pub group: GroupId,
    /// The task.
    pub task: TaskId,
    /// The mark's generation.
    pub generation: u32,
    /// Which of the mark's outputs, from 0.
    pub output: u32,
    /// What is staged.
    pub staged: Staged,
    /// The version that it may replace; else nothing may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ObjectVersion>,
}
