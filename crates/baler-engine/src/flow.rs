//! A flow with its stores opened: what every verb works on.

use std::sync::Arc;

use baler_model::config::{AfterCommit, Config, FlowConfig, Trigger};
use baler_model::{Place, StoreId};
use baler_store::Store;

use crate::env::Env;
use crate::error::EngineError;
use crate::ledger::{Ledger, LedgerError};

/// A store and a prefix in it (empty, or ending in `/`).
#[derive(Debug, Clone)]
pub struct OpenPlace {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its id in the configuration.
    pub id: StoreId,
    /// The prefix.
    pub prefix: String,
}

/// A flow with its stores opened.
#[derive(Debug, Clone)]
pub struct Flow {
    /// What `baler.toml` says of it.
    pub config: FlowConfig,
    /// All of `baler.toml`: flows must keep out of each other's way.
    pub all: Arc<Config>,
    /// Its ledger.
    pub ledger: Ledger,
    /// Where inputs lie.
    pub source: Arc<dyn Store>,
    /// Where outputs go.
    pub target: Arc<dyn Store>,
    /// Where sources are archived.
    pub archive: Option<OpenPlace>,
    /// Where manifests arrive.
    pub manifests: Option<OpenPlace>,
    /// Everything handed in.
    pub env: Env,
}

impl Flow {
    /// Opens the stores of one flow. No request is sent yet.
    pub fn open(config: &Arc<Config>, flow: &FlowConfig, env: &Env) -> Result<Self, EngineError> {
        let state = open_place(&config.state, env)?;
        let ledger = Ledger::new(
            state.store,
            &state.prefix,
            flow.name.clone(),
            Arc::clone(&env.clock),
            Arc::clone(&env.ids),
            env.author(),
        );
        let archive = match &flow.sources.after_commit {
            AfterCommit::Keep | AfterCommit::Delete => None,
            AfterCommit::Archive { to } => Some(open_place(to, env)?),
        };
        let manifests = match &flow.trigger {
            Some(Trigger::Manifests(place)) => Some(open_place(place, env)?),
            Some(Trigger::Cron { .. } | Trigger::Every(_)) | None => None,
        };
        Ok(Self {
            config: flow.clone(),
            all: Arc::clone(config),
            ledger,
            source: env.stores.open(&flow.from.store)?,
            target: env.stores.open(&flow.to.store)?,
            archive,
            manifests,
            env: env.clone(),
        })
    }

    /// Its name as text.
    pub fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// Wraps a ledger's error.
    pub(crate) fn ledger_error(&self) -> impl Fn(LedgerError) -> EngineError + '_ {
        |source| EngineError::Ledger { flow: self.config.name.clone(), source }
    }
}

fn open_place(place: &Place, env: &Env) -> Result<OpenPlace, EngineError> {
    let prefix = match place.path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    };
    Ok(OpenPlace { store: env.stores.open(&place.store)?, id: place.store.clone(), prefix })
}
