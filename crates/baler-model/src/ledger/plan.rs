//! The plan: `{state}/{flow}/runs/{run}/plan-{sha256}.jsonl`, a header, then one line per task; and the claims,
//! `claims-{sha256}.jsonl.zst`, a header, then one line per claimed input version, sorted by key.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Counts, Manifest};
use crate::{FlowName, InputVersion, Key, LogSeq, ObjectVersion, RunId, TaskId};

/// The number of a group within its run, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u32);

/// The first line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// Format version.
    pub version: u32,
    /// The flow.
    pub flow: FlowName,
    /// The run.
    pub run: RunId,
    /// The time that templates and conditions saw.
    pub as_of: Timestamp,
    /// The log head when planning began.
    pub base_seq: LogSeq,
    /// Where the inputs lie.
    pub source: PlannedStore,
    /// Where the outputs will lie.
    pub target: PlannedStore,
    /// How objects are joined.
    pub combine: CombineOptions,
    /// What becomes of the sources.
    pub sources: DisposalPlan,
    /// The manifest that started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Sizes.
    pub counts: Counts,
}

/// A store as a plan remembers it, so that a run is never resumed against another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStore {
    /// Its name in `baler.toml`.
    pub name: String,
    /// Its address, without credentials.
    pub url: String,
}

/// How `combine` joins objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CombineOptions {
    /// Whether a separator goes between objects.
    pub separator: SeparatorRule,
    /// Whether the first line of every input but the first is left out.
    #[serde(default)]
    pub header_first: bool,
    /// Whether every input is decoded before it is taken.
    #[serde(default)]
    pub decode_check: bool,
    /// `Content-Type` of the outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Whether a Redshift manifest goes beside each output.
    #[serde(default)]
    pub redshift_manifest: bool,
}

/// What stands between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeparatorRule {
    /// Nothing.
    None,
    /// A newline, where the last byte before it is not one.
    Newline,
}

/// What becomes of the sources after the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "after_commit", rename_all = "snake_case")]
pub enum DisposalPlan {
    /// They stay.
    Keep,
    /// They are deleted, in the planned version only.
    Delete {
        /// How long after the commit.
        delay: SignedDuration,
    },
    /// They are copied to an archive, then deleted.
    Archive {
        /// How long after the commit.
        delay: SignedDuration,
        /// The archive's store.
        store: PlannedStore,
        /// Prefix of the archived keys: `{prefix}{run}/{key}`.
        prefix: String,
    },
}

/// One task: a line of the plan behind its header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub task: TaskId,
    /// Its stage, from 0.
    pub stage: u32,
    /// The group that it works for.
    pub group: GroupId,
    /// What it reads: joined in this order.
    pub inputs: Vec<InputVersion>,
    /// Where its output will appear.
    pub key: Key,
    /// The foreign version that the output may replace (`overwrite = true`); else nothing may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ObjectVersion>,
}

impl Task {
    /// Bytes of its inputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.size).sum()
    }

    /// The keys that it writes: its output, and the manifest beside it where one is wanted.
    pub fn output_keys(&self, options: &CombineOptions) -> Vec<Key> {
        let mut keys = vec![self.key.clone()];
        if options.redshift_manifest {
            keys.push(redshift_manifest_key(&self.key));
        }
        keys
    }
}

/// Where the Redshift manifest of an output lies: `{output}.manifest`.
pub fn redshift_manifest_key(output: &Key) -> Key {
    Key::from_listed(format!("{output}.manifest"))
}

/// The first line of a claims file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsHeader {
    /// Format version.
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// Number of lines that follow.
    pub claims: u64,
}

/// One claimed input version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// What is claimed.
    #[serde(flatten)]
    pub input: InputVersion,
    /// The groups that it feeds: consumed only when every one of them committed.
    pub groups: Vec<GroupId>,
}
