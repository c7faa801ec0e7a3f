//! The fold: what the log says, as one value. Pure.
//!
//! - INV-LOG-1: numbers are dense; a gap is [`FoldError::Gap`].
//! - INV-CLAIM-1: a claim is held from `Opened` until `Committed`, `Aborted` or a `Sealed` that releases its group.
//! - Any other order of events than the protocol's is [`FoldError::Order`]: nothing is guessed from a broken log.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::ledger::{Account, ContentHash, Counts, Entry, Event, FORMAT_VERSION, GroupId, OutputClaim, Trigger};
use baler_model::{Key, LogSeq, RunId, SharedStr};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Claims are held, tasks are executed.
    Opened,
    /// Outputs are being published; it rolls forward.
    Sealed,
    /// An operator takes it back.
    Withdrawing,
    /// Outputs are published; sources are being dealt with.
    Committed,
    /// Ended, complete.
    Disposed,
    /// Ended without effect.
    Aborted,
}

impl RunStatus {
    /// Whether work remains.
    pub fn is_open(self) -> bool {
        match self {
            Self::Opened | Self::Sealed | Self::Withdrawing | Self::Committed => true,
            Self::Disposed | Self::Aborted => false,
        }
    }

    /// Whether the run still holds claims.
    pub fn holds_claims(self) -> bool {
        match self {
            Self::Opened | Self::Sealed | Self::Withdrawing => true,
            Self::Committed | Self::Disposed | Self::Aborted => false,
        }
    }
}

/// One run, as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// What started it.
    pub trigger: Trigger,
    /// Number of this trigger's earlier runs that ended early.
    pub generation: u32,
    /// Its plan.
    pub plan: ContentHash,
    /// Its claims.
    pub claims: ContentHash,
    /// Output keys that it holds now.
    pub outputs: Vec<OutputClaim>,
    /// The log head when its planning began.
    pub base_seq: LogSeq,
    /// Sizes of the plan.
    pub counts: Counts,
    /// Its `Opened`.
    pub opened: LogSeq,
    /// When it was opened, by its author's clock.
    pub opened_at: Timestamp,
    /// Who opened it.
    pub opened_by: String,
    /// Its last entry.
    pub last: LogSeq,
    /// When that was written.
    pub last_at: Timestamp,
    /// Its `Committed`, if any.
    pub committed: Option<LogSeq>,
    /// Task lists chosen for later stages.
    pub staged: BTreeMap<u32, ContentHash>,
    /// Its last seal.
    pub seal: Option<ContentHash>,
    /// The account of its last seal.
    pub account: Option<Account>,
    /// Groups given up.
    pub released: BTreeSet<GroupId>,
    /// Whether every consumed version is confirmed gone.
    pub sources_gone: bool,
    /// Why it was aborted.
    pub abort_reason: Option<String>,
}

impl RunState {
    /// Whether its claims count as consumed (those of released groups never do).
    pub fn consumes(&self) -> bool {
        match self.status {
            RunStatus::Committed => true,
            RunStatus::Disposed => !self.sources_gone,
            RunStatus::Opened | RunStatus::Sealed | RunStatus::Withdrawing | RunStatus::Aborted => false,
        }
    }

    /// Whether it ended without consuming all that it claimed, so that its trigger may run again.
    pub fn ended_early(&self) -> bool {
        match self.status {
            RunStatus::Aborted => true,
            RunStatus::Committed | RunStatus::Disposed => !self.released.is_empty(),
            RunStatus::Opened | RunStatus::Sealed | RunStatus::Withdrawing => false,
        }
    }
}

/// An output of ours that the last commit recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnObject {
    /// Its etag when it was confirmed.
    pub etag: SharedStr,
    /// The run that wrote it.
    pub run: RunId,
}

/// What the log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerState {
    head: LogSeq,
    runs: Vec<RunState>,
    index: BTreeMap<RunId, usize>,
    objects: BTreeMap<Key, OwnObject>,
}

/// A log that cannot be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An entry is missing.
    #[error("log entry {expected} is missing, {found} is there")]
    Gap {
        /// The number that should follow.
        expected: LogSeq,
        /// The number that was found.
        found: LogSeq,
    },
    /// An entry of a newer format.
    #[error("log entry {seq} has format version {version}, this build reads up to {FORMAT_VERSION}")]
    Version {
        /// The entry.
        seq: LogSeq,
        /// Its version.
        version: u32,
    },
    /// An event that may not follow.
    #[error("log entry {seq} says {event} of run `{run}`, which is {status}")]
    Order {
        /// The entry.
        seq: LogSeq,
        /// The event.
        event: &'static str,
        /// The run.
        run: RunId,
        /// Where the run stands.
        status: String,
    },
}

impl LedgerState {
    /// Rebuilds a state from a snapshot's lines.
    pub(crate) fn restore(head: LogSeq, runs: Vec<RunState>, objects: BTreeMap<Key, OwnObject>) -> Self {
        let index = runs.iter().enumerate().map(|(i, r)| (r.run.clone(), i)).collect();
        Self { head, runs, index, objects }
    }

    /// The number of the last entry.
    pub fn head(&self) -> LogSeq {
        self.head
    }

    /// All runs in the order in which they were opened.
    pub fn runs(&self) -> &[RunState] {
        &self.runs
    }

    /// One run.
    pub fn run(&self, run: &RunId) -> Option<&RunState> {
        self.index.get(run).map(|&i| &self.runs[i])
    }

    /// Runs in which work remains, in the order in which they were opened.
    pub fn open_runs(&self) -> impl Iterator<Item = &RunState> {
        self.runs.iter().filter(|r| r.status.is_open())
    }

    /// What the last commit recorded at this key.
    pub fn object(&self, key: &Key) -> Option<&OwnObject> {
        self.objects.get(key)
    }

    /// All outputs that commits recorded.
    pub fn objects(&self) -> &BTreeMap<Key, OwnObject> {
        &self.objects
    }

    /// Number of this trigger's runs that were aborted or released a group.
    pub fn generation(&self, trigger: &Trigger) -> u32 {
        let Some(identity) = trigger.identity() else { return 0 };
        let ended = |r: &&RunState| r.ended_early() && r.trigger.identity().as_ref() == Some(&identity);
        u32::try_from(self.runs.iter().filter(ended).count()).unwrap_or(u32::MAX)
    }

    /// Checks whether an entry may come next, without taking it.
    ///
    /// Errors: [`FoldError`].
    pub fn accepts(&self, entry: &Entry) -> Result<(), FoldError> {
        if entry.seq != self.head.next() {
            return Err(FoldError::Gap { expected: self.head.next(), found: entry.seq });
        }
        if entry.version == 0 || entry.version > FORMAT_VERSION {
            return Err(FoldError::Version { seq: entry.seq, version: entry.version });
        }
        let allowed: &[RunStatus] = match &entry.event {
            Event::Opened { .. } => &[],
            Event::Staged { .. } => &[RunStatus::Opened],
            Event::Sealed { .. } => &[RunStatus::Opened, RunStatus::Sealed],
            Event::Committed { .. } | Event::Withdrawing { .. } => &[RunStatus::Sealed],
            Event::Aborted { .. } => &[RunStatus::Opened, RunStatus::Withdrawing],
            Event::Disposed { .. } => &[RunStatus::Committed],
        };
        let Some(state) = self.run(entry.event.run()) else {
            return match &entry.event {
                Event::Opened { .. } => Ok(()),
                Event::Staged { .. }
                | Event::Sealed { .. }
                | Event::Committed { .. }
                | Event::Withdrawing { .. }
                | Event::Aborted { .. }
                | Event::Disposed { .. } => Err(order(entry, "unknown".into())),
            };
        };
        if !allowed.contains(&state.status) {
            return Err(order(entry, format!("{:?}", state.status)));
        }
        match &entry.event {
            Event::Staged { n, .. } if state.staged.contains_key(n) => {
                Err(order(entry, format!("Opened with stage {n} chosen")))
            }
            Event::Sealed { released, .. } if !state.released.iter().all(|g| released.contains(g)) => {
                Err(order(entry, "Sealed with more groups released".into()))
            }
            Event::Opened { .. }
            | Event::Staged { .. }
            | Event::Sealed { .. }
            | Event::Committed { .. }
            | Event::Withdrawing { .. }
            | Event::Aborted { .. }
            | Event::Disposed { .. } => Ok(()),
        }
    }

    /// Takes the next entry.
    ///
    /// Errors: [`FoldError`]; the state is unchanged then.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), FoldError> {
        self.accepts(entry)?;
        let known = self.index.get(entry.event.run()).copied();
        match &entry.event {
            Event::Opened { run, trigger, generation, plan, claims, outputs, base_seq, counts } => {
                self.index.insert(run.clone(), self.runs.len());
                self.runs.push(RunState {
                    run: run.clone(),
                    status: RunStatus::Opened,
                    trigger: trigger.clone(),
                    generation: *generation,
                    plan: plan.clone(),
                    claims: claims.clone(),
                    outputs: outputs.clone(),
                    base_seq: *base_seq,
                    counts: *counts,
                    opened: entry.seq,
                    opened_at: entry.at,
                    opened_by: entry.by.clone(),
                    last: entry.seq,
                    last_at: entry.at,
                    committed: None,
                    staged: BTreeMap::new(),
                    seal: None,
                    account: None,
                    released: BTreeSet::new(),
                    sources_gone: false,
                    abort_reason: None,
                });
            }
            Event::Staged { n, sha256, .. } => {
                self.known(known).staged.insert(*n, sha256.clone());
            }
            Event::Sealed { account, seal, released, .. } => {
                let state = self.known(known);
                state.status = RunStatus::Sealed;
                state.seal = Some(seal.clone());
                state.account = Some(account.clone());
                state.released = released.iter().copied().collect();
                let released = &state.released;
                state.outputs.retain(|claim| match claim {
                    OutputClaim::Key(_, group) => !released.contains(group),
                    OutputClaim::Prefix(_) => true,
                });
            }
            Event::Committed { run, objects } => {
                let state = self.known(known);
                state.status = RunStatus::Committed;
                state.committed = Some(entry.seq);
                state.outputs = Vec::new();
                for object in objects {
                    let own = OwnObject { etag: object.etag.clone(), run: run.clone() };
                    self.objects.insert(object.key.clone(), own);
                }
            }
            Event::Withdrawing { .. } => self.known(known).status = RunStatus::Withdrawing,
            Event::Aborted { reason, .. } => {
                let state = self.known(known);
                state.status = RunStatus::Aborted;
                state.outputs = Vec::new();
                state.abort_reason = Some(reason.clone());
            }
            Event::Disposed { sources_gone, .. } => {
                let state = self.known(known);
                state.status = RunStatus::Disposed;
                state.sources_gone = *sources_gone;
            }
        }
        self.head = entry.seq;
        let index = known.unwrap_or(self.runs.len() - 1);
        self.runs[index].last = entry.seq;
        self.runs[index].last_at = entry.at;
        Ok(())
    }

    fn known(&mut self, index: Option<usize>) -> &mut RunState {
        &mut self.runs[index.expect("accepts() refuses events of unknown runs")]
    }
}

fn order(entry: &Entry, status: String) -> FoldError {
    FoldError::Order { seq: entry.seq, event: entry.event.name(), run: entry.event.run().clone(), status }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
