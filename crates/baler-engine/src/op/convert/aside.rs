//! What a flow has set aside: the lines of its quarantine files, as far as they still count.
//!
//! A record counts as set aside until its object was converted again, or is no longer there.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::config::Operation;
use baler_model::{Key, RunId};
use baler_store::StoreError;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::LedgerState;

/// A record, or a stretch of an object, that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The object.
    pub key: Key,
    /// Its version.
    pub etag: String,
    /// Its line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its first byte in the decompressed object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Its row, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// Why.
    pub reason: String,
    /// Its first bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The run that set it aside.
    #[serde(skip_deserializing, default)]
    pub run: Option<RunId>,
}

/// Reads what a flow has set aside, in the order of keys.
///
/// Cost: a GET for each quarantine file and each plan of a run that wrote one or came later.
/// Errors: [`EngineError::Unfit`] for a flow that combines.
pub async fn set_aside(flow: &Flow, state: &LedgerState) -> Result<Vec<Aside>, EngineError> {
    let quarantine = match &flow.config.operation {
        Operation::Convert(options) => &options.quarantine,
        Operation::Scatter(options) => &options.quarantine,
        Operation::Combine(_) => {
            return Err(EngineError::Unfit {
                store: flow.name().to_owned(),
                role: "for this",
                detail: "it combines, and sets no records aside".to_owned(),
                hint: "name a flow with `do = \"convert\"` or `do = \"scatter\"`".to_owned(),
            });
        }
    };
    let prefix = format!("{quarantine}/{}/", flow.name());
    // Of each object the last run that read it: what earlier ones set aside of it does not count any more.
    let mut last: BTreeMap<Key, (RunId, String)> = BTreeMap::new();
    for run in state.runs().iter().filter(|run| run.committed.is_some()) {
        let plan = flow.ledger.read_plan(run).await.map_err(flow.ledger_error())?;
        let tasks = plan.tasks.iter().filter(|task| !run.released.contains(&task.group));
        for input in tasks.flat_map(|task| &task.inputs) {
            last.insert(input.key.clone(), (run.run.clone(), input.etag.to_string()));
        }
    }
    let mut found = Vec::new();
    let own: Vec<(&Key, &RunId)> = state
        .objects()
        .iter()
        .filter(|(key, _)| key.as_str().starts_with(&prefix))
        .map(|(key, own)| (key, &own.run))
        .collect();
    for (key, run) in own {
        let mut body = match flow.target.get(key, None, None).await {
            Ok(get) => get.body,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = body.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(aside) = serde_json::from_slice::<Aside>(line) else { continue };
            let counts = last.get(&aside.key).is_some_and(|(by, etag)| by == run && *etag == aside.etag);
            if counts {
                found.push(Aside { run: Some(run.clone()), ..aside });
            }
        }
    }
    found.sort_by(|a, b| (&a.key, a.line, a.row).cmp(&(&b.key, b.line, b.row)));
    Ok(found)
}

/// The keys of objects of which something is set aside.
pub fn keys(aside: &[Aside]) -> BTreeSet<Key> {
    aside.iter().map(|aside| aside.key.clone()).collect()
}
