//! Where the ledger's objects lie (protocol section 1).

use baler_model::ledger::ContentHash;
use baler_model::{AttemptId, FlowName, Key, LogSeq, RunId, TaskId};

/// The keys of one flow's ledger.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    base: String,
}

impl Paths {
    pub(crate) fn new(state_prefix: &str, flow: &FlowName) -> Self {
        Self { base: format!("{state_prefix}{flow}/") }
    }

    fn key(&self, rest: String) -> Key {
        Key::from_listed(format!("{}{rest}", self.base))
    }

    pub(crate) fn log_prefix(&self) -> String {
        format!("{}log/", self.base)
    }

    pub(crate) fn log(&self, seq: LogSeq) -> Key {
        self.key(format!("log/{:020}.json", seq.0))
    }

    pub(crate) fn snapshot_prefix(&self) -> String {
        format!("{}snapshot/", self.base)
    }

    pub(crate) fn snapshot(&self, seq: LogSeq) -> Key {
        self.key(format!("snapshot/{:020}.jsonl.zst", seq.0))
    }

    pub(crate) fn plan(&self, run: &RunId, sha: &ContentHash) -> Key {
        self.key(format!("runs/{run}/plan-{sha}.jsonl"))
    }

    pub(crate) fn claims(&self, run: &RunId, sha: &ContentHash) -> Key {
        self.key(format!("runs/{run}/claims-{sha}.jsonl.zst"))
    }

    pub(crate) fn seal(&self, run: &RunId, sha: &ContentHash) -> Key {
        self.key(format!("runs/{run}/seal-{sha}.jsonl"))
    }

    pub(crate) fn mark_prefix(&self, run: &RunId) -> String {
        format!("{}runs/{run}/mark/", self.base)
    }

    pub(crate) fn mark(&self, run: &RunId, task: TaskId, generation: u32) -> Key {
        self.key(format!("runs/{run}/mark/{}/{task}.{generation}.json", task.bucket()))
    }

    pub(crate) fn full(&self, run: &RunId, stage: u32, bucket: u32) -> Key {
        self.key(format!("runs/{run}/full/{stage}/{bucket}"))
    }

    pub(crate) fn publishing(&self, run: &RunId, task: TaskId, generation: u32, output: u32) -> Key {
        self.key(format!("runs/{run}/pub/{task}.{generation}.{output}"))
    }

    pub(crate) fn failed(&self, run: &RunId, task: TaskId, attempt: &AttemptId) -> Key {
        self.key(format!("runs/{run}/failed/{task}-{attempt}.json"))
    }

    pub(crate) fn failed_prefix(&self, run: &RunId) -> String {
        format!("{}runs/{run}/failed/", self.base)
    }

    pub(crate) fn report(&self, run: &RunId) -> Key {
        self.key(format!("runs/{run}/report.json"))
    }

    pub(crate) fn heartbeat(&self, run: &RunId) -> Key {
        self.key(format!("runs/{run}/heartbeat.json"))
    }
}

/// The task and generation that a mark's key names.
pub(crate) fn parse_mark(key: &Key) -> Option<(TaskId, u32)> {
    let (task, generation) = key.file_name().strip_suffix(".json")?.split_once('.')?;
    Some((TaskId(task.parse().ok()?), generation.parse().ok()?))
}

/// The number that a log entry's or snapshot's key names.
pub(crate) fn parse_seq(key: &Key) -> Option<LogSeq> {
    let digits = key.file_name().split('.').next()?;
    (digits.len() == 20).then(|| digits.parse().ok().map(LogSeq)).flatten()
}

/// The directory of a run's private intermediates, in the store that reads them.
pub(crate) fn intermediate(flow: &FlowName, run: &RunId, task: TaskId, attempt: &AttemptId) -> Key {
    Key::from_listed(format!("{PRIVATE_PREFIX}{flow}/{run}/{task}-{attempt}/0"))
}

/// Private objects of Baler in data stores: never inputs, never outputs.
pub const PRIVATE_PREFIX: &str = "_baler_tmp/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_marks_and_entries_can_be_read_back() {
        let paths = Paths::new("_baler/", &FlowName::try_new("audit").unwrap());
        let run = RunId::try_new("r1").unwrap();
        let mark = paths.mark(&run, TaskId(1234), 2);
        assert_eq!(mark.as_str(), "_baler/audit/runs/r1/mark/1/1234.2.json");
        assert_eq!(parse_mark(&mark), Some((TaskId(1234), 2)));
        let log = paths.log(LogSeq(7));
        assert_eq!(log.as_str(), "_baler/audit/log/00000000000000000007.json");
        assert_eq!(parse_seq(&log), Some(LogSeq(7)));
        assert_eq!(parse_seq(&paths.snapshot(LogSeq(7))), Some(LogSeq(7)));
    }
}
