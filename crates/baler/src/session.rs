//! What nearly every verb begins with: the configuration read, the environment put together, flows opened.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use baler_engine::ledger::LedgerState;
use baler_engine::{EngineError, Env, Flow, Limits, Progress, Secrets, Silent, engine};
use baler_model::{Config, RawConfig, RunId, did_you_mean};
use baler_store::{StoreKind, SystemClock, SystemIds};
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::failure::UsageError;
use crate::processes::ThisMachine;
use crate::signals;
use crate::stores::OpenStores;
use crate::ui::progress;

/// A configuration, and everything to work on it with.
#[derive(Debug)]
pub(crate) struct Session {
    /// `baler.toml`.
    pub(crate) config: Arc<Config>,
    /// What the engine is handed.
    pub(crate) env: Env,
    /// The stores, for what only directories need.
    pub(crate) stores: Arc<OpenStores>,
    /// How the answer is printed.
    pub(crate) format: crate::cli::Format,
}

/// Reads and checks `baler.toml`.
///
/// Errors: [`UsageError`] when there is no such file; [`baler_model::ConfigError`] for what is wrong in it.
pub(crate) fn read_config(global: &Global) -> anyhow::Result<Config> {
    let file = &global.file;
    let shown = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let hint = "`baler init` writes one to start from; `--file PATH` names another";
            return Err(UsageError::new(format!("there is no `{shown}`"), hint).into());
        }
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "check who may read it",
                std::io::ErrorKind::IsADirectory => "`--file` wants the file itself, such as `--file etl/baler.toml`",
                _ => "is it a text file?",
            };
            return Err(UsageError::new(format!("`{shown}` cannot be read: {error}"), hint).into());
        }
    };
    let env = |name: &str| std::env::var(name).ok();
    let raw = RawConfig::parse(&text, &shown, &env, &global.set)?;
    let absolute = std::path::absolute(file).with_context(|| format!("`{shown}` has no absolute path"))?;
    let base = absolute.parent().unwrap_or(Path::new("/"));
    let base = base.to_str().ok_or_else(|| {
        UsageError::new(format!("the directory `{}` is not UTF-8", base.display()), "move the file elsewhere")
    })?;
    Ok(raw.validate(base)?)
}

/// Secrets are in the environment.
#[derive(Debug)]
struct EnvironmentSecrets;

impl Secrets for EnvironmentSecrets {
    fn secret(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    #[cfg(feature = "s3")]
    fn dynamodb(&self, asked: baler_engine::DynamoAsked<'_>) -> Result<baler_engine::DynamoAccount, String> {
        let account = crate::credentials::Account::of_dynamodb(asked)?;
        let options = baler_store::dynamodb::DynamoOptions {
            endpoint: account.endpoint.clone(),
            region: account.region.clone(),
            roots: account.roots.clone(),
        };
        Ok(baler_engine::DynamoAccount { options, credentials: Arc::new(account.credentials()) })
    }
}

impl Session {
    /// Reads the configuration and opens nothing yet. Must run on a runtime: it begins to listen to Ctrl-C.
    pub(crate) fn start(global: &Global, cancel: &CancellationToken) -> anyhow::Result<Self> {
        let config = Arc::new(read_config(global)?);
        let progress: Arc<dyn Progress> = match global.quiet {
            true => Arc::new(Silent),
            false => progress::for_this_terminal(),
        };
        signals::listen(cancel.clone(), Arc::clone(&progress)).context("signals cannot be listened to")?;
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let stores = Arc::new(OpenStores::new(&config, clock.clone(), ids.clone(), global.concurrency));
        let machine = ThisMachine::new();
        let env = Env {
            clock,
            ids,
            stores: stores.clone(),
            progress,
            identity: machine.identity(),
            processes: Arc::new(machine),
            cancel: cancel.clone(),
            secrets: Arc::new(EnvironmentSecrets),
            limits: Limits::new(global.concurrency, global.memory.bytes()),
            as_of: global.as_of,
        };
        Ok(Self { config, env, stores, format: global.format })
    }

    /// The flows of these names; all in the order of the file where none is named.
    pub(crate) fn flows(&self, names: &[String]) -> anyhow::Result<Vec<Flow>> {
        if self.config.flows.is_empty() {
            return Err(UsageError::new("no flow is configured", "add a `[flows.NAME]`; `baler init` shows one").into());
        }
        if names.is_empty() {
            let open = |flow| Flow::open(&self.config, flow, &self.env);
            return Ok(self.config.flows.iter().map(open).collect::<Result<_, EngineError>>()?);
        }
        names.iter().map(|name| self.flow(name)).collect()
    }

    /// Says which source directories are not there: perhaps they are misspelt or not mounted, and nothing found in them
    /// would look like nothing to do.
    pub(crate) fn note_missing(&self, flows: &[Flow]) {
        let mut said = BTreeSet::new();
        for info in flows.iter().map(|flow| flow.source.info()) {
            let there = match info.kind {
                StoreKind::Directory => Path::new(&info.url).exists(),
                StoreKind::Memory | StoreKind::S3 | StoreKind::Azure | StoreKind::Gcs => true,
            };
            if !there && said.insert(&info.url) {
                self.env.progress.note(&format!("there is no directory `{}` yet", info.url));
            }
        }
    }

    fn flow(&self, name: &str) -> anyhow::Result<Flow> {
        match self.config.flow(name) {
            Some(flow) => Ok(Flow::open(&self.config, flow, &self.env)?),
            None => Err(UsageError::new(format!("there is no flow `{name}`"), self.known_flows(name)).into()),
        }
    }

    fn known_flows(&self, name: &str) -> String {
        let known: Vec<&str> = self.config.flows.iter().map(|flow| flow.name.as_str()).collect();
        match did_you_mean(name, known.iter().copied()) {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("flows are `{}`", known.join("`, `")),
        }
    }

    /// The run of this id, with its flow and what that flow's ledger says.
    ///
    /// Errors: [`UsageError`] when no flow knows it.
    pub(crate) async fn run(&self, id: &str) -> anyhow::Result<(Flow, LedgerState, RunId)> {
        engine::find_run(&self.config, &self.env, id)
            .await?
            .ok_or_else(|| UsageError::new(format!("no flow has a run `{id}`"), "`baler runs` lists the runs").into())
    }

    /// Reads a flow's ledger.
    pub(crate) async fn ledger(&self, flow: &Flow) -> Result<LedgerState, EngineError> {
        let wrap = |source| EngineError::Ledger { flow: flow.config.name.clone(), source };
        flow.ledger.load().await.map_err(wrap)
    }
}
