//! The log: `{state}/{flow}/log/{seq:020}.json`, one event each, dense from 1 (INV-LOG-1).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::GroupId;
use super::{Account, ContentHash};
use crate::{Key, LogSeq, RunId, SharedStr, WriteId};

/// One log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Format version.
    pub version: u32,
    /// Its number.
    pub seq: LogSeq,
    /// By which its author knows it again.
    pub write_id: WriteId,
    /// When it was written, by its author's clock: information, nothing is decided by it.
    pub at: Timestamp,
    /// Who wrote it, `host/process`: information.
    pub by: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen to a run.
///
/// Order: `Opened → Staged* → Sealed+ → Committed → Disposed`; `Aborted` before `Sealed`, or after `Withdrawing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A plan and its claims were accepted.
    Opened {
        /// The run.
        run: RunId,
        /// What started it.
        trigger: Trigger,
        /// Number of this trigger's earlier runs that were aborted or released a group.
        generation: u32,
        /// Names `plan-{sha256}.jsonl`.
        plan: ContentHash,
        /// Names `claims-{sha256}.jsonl.zst`.
        claims: ContentHash,
        /// The keys that the run will write.
        outputs: Vec<OutputClaim>,
        /// The log head when planning began.
        base_seq: LogSeq,
        /// Sizes of the plan.
        counts: Counts,
    },
    /// The task list of a later stage was chosen.
    Staged {
        /// The run.
        run: RunId,
        /// The stage.
        n: u32,
        /// Names `stage-{n}-{sha256}.jsonl`.
        sha256: ContentHash,
    },
    /// The account balances: exactly the lines of the seal may be published.
    Sealed {
        /// The run.
        run: RunId,
        /// Sum over the covered groups.
        account: Account,
        /// Names `seal-{sha256}.jsonl`.
        seal: ContentHash,
        /// Groups given up; over several seals it only grows.
        released: Vec<GroupId>,
    },
    /// Everything that the last seal covers is published and confirmed.
    Committed {
        /// The run.
        run: RunId,
        /// What readers now see.
        objects: Vec<CommittedObject>,
    },
    /// An operator takes a sealed run back; nothing is sealed, published or committed any more.
    Withdrawing {
        /// The run.
        run: RunId,
    },
    /// The run ended without an effect; its claims are free.
    Aborted {
        /// The run.
        run: RunId,
        /// Why, for people.
        reason: String,
    },
    /// The sources are dealt with.
    Disposed {
        /// The run.
        run: RunId,
        /// Whether every consumed version is confirmed gone and leaves the consumed set.
        sources_gone: bool,
    },
}

impl Event {
    /// The run that it is about.
    pub fn run(&self) -> &RunId {
        match self {
            Self::Opened { run, .. }
            | Self::Staged { run, .. }
            | Self::Sealed { run, .. }
            | Self::Committed { run, .. }
            | Self::Withdrawing { run }
            | Self::Aborted { run, .. }
            | Self::Disposed { run, .. } => run,
        }
    }

    /// Its name, as in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "Opened",
            Self::Staged { .. } => "Staged",
            Self::Sealed { .. } => "Sealed",
            Self::Committed { .. } => "Committed",
            Self::Withdrawing { .. } => "Withdrawing",
            Self::Aborted { .. } => "Aborted",
            Self::Disposed { .. } => "Disposed",
        }
    }
}

/// What started a run (INV-RUN-1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Trigger {
    /// Somebody asked for it: `baler run`.
    Request,
    /// A combine manifest, in the version that was read.
    Manifest(Manifest),
}

impl Trigger {
    /// The text that a triggered run's id is derived from; `None` for a request, which gets an id of its own.
    pub fn identity(&self) -> Option<String> {
        match self {
            Self::Request => None,
            Self::Manifest(m) => Some(match &m.version_id {
                Some(id) => format!("manifest\n{}\n{}\nversion {id}", m.store, m.key),
                None => format!("manifest\n{}\n{}\netag {} {}", m.store, m.key, m.etag, m.modified),
            }),
        }
    }
}

/// A manifest object as a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The address of the store that holds it.
    pub store: String,
    /// Its key in the queue.
    pub key: Key,
    /// Its etag.
    pub etag: SharedStr,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// Its version id on a versioned bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// An output that a run claims.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputClaim {
    /// One key, and the group that writes it.
    Key(Key, GroupId),
    /// All keys that begin so, where the names come from data.
    Prefix(String),
}

impl OutputClaim {
    /// Whether two claims could mean one key.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(a, _), Self::Key(b, _)) => a == b,
            (Self::Key(key, _), Self::Prefix(prefix)) | (Self::Prefix(prefix), Self::Key(key, _)) => {
                key.as_str().starts_with(prefix.as_str())
            }
            (Self::Prefix(a), Self::Prefix(b)) => a.starts_with(b.as_str()) || b.starts_with(a.as_str()),
        }
    }
}

impl fmt::Display for OutputClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key, _) => key.fmt(f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Sizes of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Input objects.
    pub inputs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Groups.
    pub groups: u32,
    /// Tasks over all stages that the plan lists.
    pub tasks: u32,
}

/// An output that readers now see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedObject {
    /// Its key.
    pub key: Key,
    /// Its etag when it was confirmed.
    pub etag: SharedStr,
    /// Its size in bytes.
    pub size: u64,
    /// The group that it holds.
    pub group: GroupId,
}
