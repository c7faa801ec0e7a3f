//! What a run tells about itself: the JSON of `baler run --format json`, and `report.json` in the ledger.

use baler_model::ledger::{Account, Failure};
use baler_model::{FlowName, Key, RunId};
use baler_store::Metered;
use serde::{Deserialize, Serialize};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every group's output is published.
    Committed,
    /// A group was released, or something else failed.
    Failed,
    /// An operator must decide.
    Blocked,
    /// Ended without effect.
    Aborted,
    /// Stopped by the user; it can be resumed.
    Interrupted,
    /// Nothing was there to do.
    Nothing,
    /// Another process is executing it.
    Contended,
}

/// Numbers of groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Published.
    pub committed: u64,
    /// Given up, or refused when planning.
    pub failed: u64,
    /// Not worth combining yet, or waiting for more.
    pub skipped: u64,
}

/// Requests that were sent, retries included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// LIST.
    pub list: u64,
    /// GET.
    pub get: u64,
    /// PUT and POST.
    pub put: u64,
    /// COPY.
    pub copy: u64,
    /// HEAD.
    pub head: u64,
    /// DELETE.
    pub delete: u64,
}

impl From<Metered> for RequestCounts {
    fn from(m: Metered) -> Self {
        Self { list: m.list, get: m.get, put: m.put, copy: m.copy, head: m.head, delete: m.delete }
    }
}

/// One published output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Its key.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// Its records, where they were counted.
    pub records: Option<u64>,
    /// Its etag.
    pub etag: String,
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// The output that the group would have made, or the object that is at fault.
    pub group: String,
    /// What happened.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl FailureReport {
    pub(crate) fn new(group: impl Into<String>, failure: Failure) -> Self {
        Self { group: group.into(), error: failure.error, hint: failure.hint }
    }
}

/// One run, as it stands.
///
/// Units: bytes, seconds. Counts that nobody made are `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The flow.
    pub flow: FlowName,
    /// The run; `None` when nothing was opened.
    pub run: Option<RunId>,
    /// How it stands.
    pub status: Status,
    /// Groups.
    pub groups: GroupCounts,
    /// What went in and out, over the committed groups.
    pub account: Account,
    /// Bytes that the store copied by itself.
    pub bytes_copied_server_side: u64,
    /// Input bytes that passed through this machine.
    pub bytes_through_client: u64,
    /// Requests of this process for this run.
    pub requests: RequestCounts,
    /// Duration of this process's work on the run.
    pub seconds: f64,
    /// What is published.
    pub outputs: Vec<OutputReport>,
    /// What failed.
    pub failures: Vec<FailureReport>,
    /// Further words for people: what waits and for what, why nothing was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RunReport {
    /// A report of a flow that could not run at all.
    pub fn failed(flow: &FlowName, error: &crate::EngineError) -> Self {
        let mut causes = vec![error.to_string()];
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        let failure = Failure { error: causes.join(": "), hint: error.hint() };
        Self {
            status: Status::Failed,
            failures: vec![FailureReport::new(flow.as_str(), failure)],
            ..Self::nothing(flow)
        }
    }

    /// A report of a flow in which nothing was opened.
    pub(crate) fn nothing(flow: &FlowName) -> Self {
        Self {
            flow: flow.clone(),
            run: None,
            status: Status::Nothing,
            groups: GroupCounts::default(),
            account: Account::default(),
            bytes_copied_server_side: 0,
            bytes_through_client: 0,
            requests: RequestCounts::default(),
            seconds: 0.0,
            outputs: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }
}
