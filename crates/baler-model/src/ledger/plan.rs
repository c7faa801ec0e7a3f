//! The plan: `{state}/{flow}/runs/{run}/plan-{sha256}.jsonl`, a header, then one line per task; and the claims,
//! `claims-{sha256}.jsonl.zst`, a header, then one line per claimed input version, sorted by key.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::convert::{ConvertOptions, ConvertTask, PlannedOutput};
use super::event::{Counts, Manifest};
use super::scatter::{ChunkTask, GatherTask, ScatterOptions, ScatterTask};
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
    /// What is done: `combine`, `convert` or `scatter`, with what it needs.
    #[serde(flatten)]
    pub operation: OperationOptions,
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

/// What a run does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationOptions {
    /// It joins objects.
    Combine(CombineOptions),
    /// It decodes and encodes records.
    Convert(Box<ConvertOptions>),
    /// It takes the records of objects in chunks and gathers what came of them.
    Scatter(Box<ScatterOptions>),
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
    /// Where its output will appear; of several outputs the first, by which people know its group.
    pub key: Key,
    /// The foreign version that the output may replace (`overwrite = true`); else nothing may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ObjectVersion>,
    /// With `convert`: what it makes; `key` and `replaces` are those of its first output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convert: Option<Box<ConvertTask>>,
    /// With `scatter`: a chunk, or what gathers the chunks of the group; a chunk has the `key` of the result that it goes into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scatter: Option<ScatterTask>,
}

impl Task {
    /// Bytes of its inputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.size).sum()
    }

    /// The keys that it may write: its outputs; beside them a manifest or records that were set aside.
    pub fn output_keys(&self, operation: &OperationOptions) -> Vec<Key> {
        match (operation, &self.convert) {
            (OperationOptions::Combine(options), _) if options.redshift_manifest => {
                vec![self.key.clone(), redshift_manifest_key(&self.key)]
            }
            (OperationOptions::Convert(_), Some(convert)) => {
                let outputs = convert.outputs.iter().filter_map(PlannedOutput::exact_key).cloned();
                outputs.chain([convert.quarantine.clone()]).collect()
            }
            (OperationOptions::Scatter(_), _) => match &self.scatter {
                Some(ScatterTask::Gather(gather)) => {
                    std::iter::once(&self.key).chain(gather.beside()).cloned().collect()
                }
                Some(ScatterTask::Chunk(_)) | None => Vec::new(),
            },
            (OperationOptions::Combine(_) | OperationOptions::Convert(_), _) => vec![self.key.clone()],
        }
    }

    /// What the keys begin with that it writes besides, where they come from data.
    pub fn output_prefixes(&self) -> impl Iterator<Item = &str> {
        self.convert.iter().flat_map(|convert| &convert.outputs).filter_map(PlannedOutput::prefix)
    }

    /// The version that one of its staged outputs replaces; `None` where nothing may be there.
    pub fn replaced_by(&self, number: u32, key: &Key) -> Option<&ObjectVersion> {
        if let Some(gather) = self.gather() {
            return match key {
                key if *key == self.key => self.replaces.as_ref(),
                key if *key == gather.summary => gather.summary_replaces.as_ref(),
                _ => None,
            };
        }
        match &self.convert {
            Some(convert) => convert.outputs.iter().find_map(|output| match &output.split {
                None if output.key == *key => output.replaces.as_ref(),
                None => None,
                Some(split) => split.previous.iter().find(|(known, _)| known == key).map(|(_, version)| version),
            }),
            // Only the output itself may replace something; the manifest beside it is always new.
            None if number == 0 => self.replaces.as_ref(),
            None => None,
        }
    }

    /// The chunk that it takes, with `scatter`.
    pub fn chunk(&self) -> Option<&ChunkTask> {
        match &self.scatter {
            Some(ScatterTask::Chunk(chunk)) => Some(chunk),
            Some(ScatterTask::Gather(_)) | None => None,
        }
    }

    /// What it gathers, with `scatter`.
    pub fn gather(&self) -> Option<&GatherTask> {
        match &self.scatter {
            Some(ScatterTask::Gather(gather)) => Some(gather),
            Some(ScatterTask::Chunk(_)) | None => None,
        }
    }

    /// Whether an input is read again, without being claimed.
    pub fn is_reread(&self, input: u32) -> bool {
        if let Some(gather) = self.gather() {
            return gather.reread;
        }
        self.convert.as_ref().is_some_and(|convert| convert.reread.binary_search(&input).is_ok())
    }

    /// Whether this is the key of a manifest of numbered objects: it is published when all that it names is.
    pub fn is_manifest(&self, key: &Key) -> bool {
        self.manifests().any(|(_, manifest)| manifest == key)
    }

    /// Its manifests of numbered objects, each with what the keys of the objects that it names begin with.
    pub fn manifests(&self) -> impl Iterator<Item = (&str, &Key)> {
        let outputs = self.convert.iter().flat_map(|convert| &convert.outputs);
        outputs.filter_map(|output| Some((output.numbered.as_ref()?.before.as_str(), output.exact_key()?)))
    }

    /// Whether an output only tells of the first one, and is worth nothing without it.
    pub fn is_beside(&self, number: u32) -> bool {
        self.convert.is_none() && self.scatter.is_none() && number > 0
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
