//! What can go wrong in the engine as a whole. What goes wrong with one group is a `Failure` in the report.

use baler_model::ledger::Failure;
use baler_model::{FlowName, Kind, RunId};
use baler_store::StoreError;

use crate::ledger::LedgerError;

/// An error of a flow as a whole.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The ledger failed.
    #[error("the ledger of flow `{flow}` failed")]
    Ledger {
        /// The flow.
        flow: FlowName,
        /// How.
        #[source]
        source: LedgerError,
    },
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store is not fit for what the flow asks of it.
    #[error("`{store}` is refused {role}: {detail}")]
    Unfit {
        /// The store.
        store: String,
        /// "as the place of `state`", …
        role: &'static str,
        /// Why.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// The configuration changed under an open run.
    #[error("run `{run}` was planned for `{planned}`, `baler.toml` now says `{now}`")]
    Moved {
        /// The run.
        run: RunId,
        /// The planned address.
        planned: String,
        /// The address now.
        now: String,
    },
    /// There is no such run.
    #[error("flow `{flow}` has no run `{run}`")]
    NoRun {
        /// The flow.
        flow: FlowName,
        /// The run.
        run: String,
    },
    /// The run is not where this can be done.
    #[error("run `{run}` {detail}")]
    WrongState {
        /// The run.
        run: RunId,
        /// Why not.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
    /// A promise of ours was broken.
    #[error("run `{run}` of flow `{flow}`: {detail}")]
    Broken {
        /// The flow.
        flow: FlowName,
        /// The run.
        run: RunId,
        /// Which promise.
        detail: String,
    },
}

impl EngineError {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ledger { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
            Self::Unfit { .. } | Self::Moved { .. } | Self::NoRun { .. } | Self::WrongState { .. } => Kind::Invalid,
            Self::Interrupted => Kind::Transient,
            Self::Broken { .. } => Kind::Internal,
        }
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ledger { source, .. } => source.hint(),
            Self::Store(error) => error.hint(),
            Self::Unfit { hint, .. } | Self::WrongState { hint, .. } => Some(hint.clone()),
            Self::Moved { run, .. } => {
                Some(format!("restore the store's address until the run has ended, or `baler abort {run}`"))
            }
            Self::NoRun { .. } => Some("`baler runs` lists the runs".into()),
            Self::Interrupted => Some("`baler run` goes on where it stopped".into()),
            Self::Broken { .. } => Some("this is a bug in Baler; nothing was published. Please report it".into()),
        }
    }
}

/// Why a task failed: its group is given up, unless another attempt may succeed.
#[derive(Debug, Clone)]
pub(crate) struct TaskError {
    pub(crate) kind: Kind,
    pub(crate) failure: Failure,
}

impl TaskError {
    pub(crate) fn data(error: impl Into<String>, hint: Option<&str>) -> Self {
        Self { kind: Kind::Data, failure: Failure { error: error.into(), hint: hint.map(str::to_owned) } }
    }
}

impl From<StoreError> for TaskError {
    fn from(error: StoreError) -> Self {
        let hint = error.hint().or_else(|| match error {
            StoreError::Changed { .. } | StoreError::NotFound { .. } => {
                Some("nothing was lost: the next `baler run` plans this group again".into())
            }
            StoreError::Denied { .. }
            | StoreError::Exhausted { .. }
            | StoreError::Unsupported { .. }
            | StoreError::NoRoom { .. }
            | StoreError::Failed { .. }
            | StoreError::Cancelled { .. } => None,
        });
        Self { kind: error.kind(), failure: Failure { error: error.to_string(), hint } }
    }
}

/// An error and what caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
