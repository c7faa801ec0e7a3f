//! Snapshots: the fold of the log up to a number, and the consumed versions, as a cache.
//!
//! A snapshot that is missing, torn or of another version is passed over: the log alone decides. Log entries stay.

use std::collections::BTreeMap;
use std::io::Write;

use baler_model::ledger::FORMAT_VERSION;
use baler_model::{InputVersion, Key, LogSeq};
use baler_store::StoreError;
use serde::{Deserialize, Serialize};

use super::fold::{LedgerState, OwnObject, RunState};
use super::{Ledger, LedgerError, files};

/// How many entries may lie behind the newest snapshot before the next is written.
const EVERY: u64 = 64;

/// One line of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line.
    Header { version: u32, seq: LogSeq },
    /// One run, in the order of opening.
    Run(Box<RunState>),
    /// One output that commits recorded.
    Object { key: Key, own: OwnObject },
    /// One consumed version; these lines are sorted.
    Consumed(InputVersion),
    /// The last line: without it the snapshot is torn.
    End { lines: u64 },
}

/// A snapshot that was read.
pub(super) struct Snapshot {
    pub(super) seq: LogSeq,
    pub(super) state: LedgerState,
    pub(super) consumed: Vec<InputVersion>,
}

impl Ledger {
    /// The newest snapshot that can be read, up to `most`.
    pub(super) async fn newest_snapshot(&self, most: Option<LogSeq>) -> Result<Option<Snapshot>, LedgerError> {
        let seqs = self.list_seqs(self.paths.snapshot_prefix(), None).await?;
        for seq in seqs.into_iter().rev().filter(|seq| most.is_none_or(|most| *seq <= most)) {
            let key = self.paths.snapshot(seq);
            let Some(bytes) = self.read_if_there(&key).await? else { continue };
            match parse(&bytes, seq) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(detail) => tracing::warn!(key = %key, detail, "snapshot passed over"),
            }
        }
        Ok(None)
    }

    /// Writes a snapshot if enough entries lie behind the newest one. Cost: one PUT, seldom.
    pub async fn snapshot_if_due(&self, state: &LedgerState) -> Result<(), LedgerError> {
        let newest = self.list_seqs(self.paths.snapshot_prefix(), None).await?.into_iter().max().unwrap_or_default();
        if state.head().0 < newest.0 + EVERY {
            return Ok(());
        }
        // A snapshot that outlasts the entries it folds would leave a gap in the log behind it.
        self.sync_log(state).await?;
        let consumed = self.consumed(state).await?;
        let bytes = render(state, consumed.sorted()).expect("writing to memory cannot fail");
        let key = self.paths.snapshot(state.head());
        match self.store.put_if_absent(&key, bytes.into(), &self.ids.write_id()).await {
            Ok(_) => Ok(()),
            // A cache that cannot be written is no reason to fail a run.
            Err(StoreError::NoRoom { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn render(state: &LedgerState, consumed: &[InputVersion]) -> std::io::Result<Vec<u8>> {
    let header = Line::Header { version: FORMAT_VERSION, seq: state.head() };
    let runs = state.runs().iter().map(|run| Line::Run(Box::new(run.clone())));
    let objects = state.objects().iter().map(|(key, own)| Line::Object { key: key.clone(), own: own.clone() });
    let consumed = consumed.iter().map(|input| Line::Consumed(input.clone()));
    let mut out = zstd::Encoder::new(Vec::new(), 3)?;
    let mut lines = 0;
    for line in std::iter::once(header).chain(runs).chain(objects).chain(consumed) {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
        lines += 1;
    }
    serde_json::to_writer(&mut out, &Line::End { lines })?;
    out.write_all(b"\n")?;
    out.finish()
}

fn parse(bytes: &[u8], seq: LogSeq) -> Result<Snapshot, String> {
    let reader = zstd::Decoder::new(bytes).map_err(|e| e.to_string())?;
    let (mut runs, mut objects, mut consumed) = (Vec::new(), BTreeMap::new(), Vec::new());
    let (mut header, mut ended, mut count) = (None, false, 0);
    for line in files::read_lines::<Line>(reader) {
        match line? {
            Line::Header { version, seq } => header = Some((version, seq)),
            Line::Run(run) => runs.push(*run),
            Line::Object { key, own } => drop(objects.insert(key, own)),
            Line::Consumed(input) => consumed.push(input),
            Line::End { lines } => ended = lines == count,
        }
        count += 1;
    }
    match header {
        Some((FORMAT_VERSION, head)) if head == seq && ended && consumed.is_sorted() => {
            Ok(Snapshot { seq, state: LedgerState::restore(seq, runs, objects), consumed })
        }
        Some((FORMAT_VERSION, _)) => Err("it is torn".into()),
        Some((version, _)) => Err(format!("it has format version {version}")),
        None => Err("it has no header".into()),
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
