//! Removes what runs no longer need: abandoned uploads, temporary files, marks of ended runs.
//!
//! Plans, claims, seals and reports of runs stay, and the log always: with it they are the consumed set and the proof.
//! So do plans that were never opened: their author may only sleep, and the log would then name a plan that is gone.
//! An upload goes only when no mark of a live run names it, at a key that this flow's plans name, begun after the first
//! of those plans, and older than a minimum age by the store's own clock. So does an object of an earlier build, when the
//! manifest that no longer names it is as old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baler_model::ledger::{Outcome, OutputClaim};
use baler_model::{Key, ObjectVersion, RunId};
use baler_store::{ListRequest, Store, StoreError, list_all};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::{LedgerState, Marks, OwnObject, PRIVATE_PREFIX, RunStatus};

/// The least age of what is removed, unless asked otherwise.
pub const MIN_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Whether anything is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Only said.
    DryRun,
    /// Done.
    Remove,
}

/// What `gc` removes, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Uploads and temporary files.
    pub uploads: Vec<String>,
    /// Private intermediate objects.
    pub intermediates: Vec<Key>,
    /// Files of the ledger that ended runs no longer need.
    pub ledger_files: Vec<Key>,
    /// Objects that the manifest of a later build no longer names.
    pub superseded: Vec<Key>,
}

/// Collects the garbage of one flow.
pub async fn gc(
    flow: &Flow,
    state: &LedgerState,
    min_age: SignedDuration,
    effect: Effect,
) -> Result<GcReport, EngineError> {
    let mut report = GcReport::default();
    let mut fresh = state.clone();
    flow.ledger.refresh(&mut fresh).await.map_err(flow.ledger_error())?;
    let state = &fresh;
    uploads(flow, state, min_age, effect, &mut report).await?;
    intermediates(flow, state, min_age, effect, &mut report).await?;
    ledger_files(flow, state, min_age, effect, &mut report).await?;
    superseded(flow, state, min_age, effect, &mut report).await?;
    Ok(report)
}

/// The store's own time: machines' clocks disagree, ages are measured by the clock that stamped them. A dry run writes
/// nothing, so it takes this machine's.
async fn now_of(flow: &Flow, store: &dyn Store, under: &str, effect: Effect) -> Result<Timestamp, StoreError> {
    match effect {
        Effect::DryRun => return Ok(flow.env.clock.now()),
        Effect::Remove => {}
    }
    let key = Key::from_listed(format!("{under}_probe/clock"));
    store.put(&key, Bytes::from_static(b"now\n")).await?;
    let head = store.head(&key).await?;
    Ok(head.map_or_else(|| flow.env.clock.now(), |head| head.modified))
}

async fn uploads(
    flow: &Flow,
    state: &LedgerState,
    min_age: SignedDuration,
    effect: Effect,
    report: &mut GcReport,
) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    let mut prefixes: BTreeSet<String> = BTreeSet::new();
    let mut live: BTreeSet<String> = BTreeSet::new();
    let Some(first) = state.runs().first() else { return Ok(()) };
    for run in state.runs() {
        let entry = flow.ledger.read_entry(run.opened).await.map_err(&wrap)?;
        if let baler_model::ledger::Event::Opened { outputs, .. } = entry.event {
            for claim in outputs {
                match claim {
                    OutputClaim::Key(key, _) => drop(keys.insert(key)),
                    OutputClaim::Prefix(prefix) => drop(prefixes.insert(prefix)),
                }
            }
        }
        if matches!(run.status, RunStatus::Opened | RunStatus::Sealed | RunStatus::Withdrawing) {
            for mark in flow.ledger.read_marks(&run.run, Marks::new()).await.map_err(&wrap)?.into_values() {
                if let Outcome::Staged { outputs, .. } = mark.outcome {
                    live.extend(outputs.iter().map(handle));
                }
            }
        }
    }
    for (store, own) in places(flow, state) {
        let listed = store.list_staged("").await?;
        if listed.is_empty() {
            continue;
        }
        let now = now_of(flow, &*store, PRIVATE_PREFIX, effect).await?;
        let is_target = store.info().url == flow.target.info().url;
        for upload in listed {
            let (key, handle) = (upload.key.as_str(), &upload.handle);
            let ours = key.starts_with(PROOFS)
                || (is_target && keys.contains(&upload.key))
                || (is_target && prefixes.iter().any(|prefix| key.starts_with(prefix.as_str())))
                || own.iter().any(|prefix| key.starts_with(prefix) || handle.starts_with(prefix));
            let old = now.duration_since(upload.started) >= min_age;
            // Clocks disagree: an upload begun a minute before the first plan by the store's clock may still be ours.
            let probe = key.contains("_probe/") || key.starts_with(PROOFS);
            let after_plan = probe || upload.started + SignedDuration::from_mins(1) >= first.opened_at;
            if !ours || !old || !after_plan || live.contains(handle) {
                continue;
            }
            report.uploads.push(format!("{key} ({handle})"));
            match effect {
                Effect::DryRun => {}
                Effect::Remove => store.abort_listed(&upload).await?,
            }
        }
    }
    Ok(())
}

/// The stores that a flow writes, each once, with the prefixes of keys and temporary files that are its own there.
fn places(flow: &Flow, state: &LedgerState) -> Vec<(Arc<dyn Store>, Vec<String>)> {
    let mut places: Vec<(Arc<dyn Store>, Vec<String>)> = Vec::new();
    let mut add = |store: &Arc<dyn Store>, prefixes: Vec<String>| match places
        .iter_mut()
        .find(|(other, _)| other.info().url == store.info().url)
    {
        Some((_, known)) => known.extend(prefixes),
        None => places.push((Arc::clone(store), prefixes)),
    };
    let name = flow.name();
    add(
        &flow.target,
        vec![
            format!("{PRIVATE_PREFIX}{name}/"),
            format!("{PRIVATE_PREFIX}_probe/"),
            format!(".baler-tmp/{name}/"),
            ".baler-tmp/_put/".into(),
        ],
    );
    add(&flow.source, vec![format!("{PRIVATE_PREFIX}_probe/")]);
    add(flow.ledger.store(), vec![format!("{}_probe/", flow.ledger.state_prefix()), ".baler-tmp/_put/".into()]);
    if let Some(archive) = &flow.archive {
        let runs = state.runs().iter().filter(|r| !r.status.is_open());
        let mut prefixes: Vec<String> = runs.map(|r| format!("{}{}/", archive.prefix, r.run)).collect();
        prefixes.push(format!(".baler-tmp/{name}/"));
        add(&archive.store, prefixes);
    }
    places
}

/// Where the proof of a directory stages what it races with.
const PROOFS: &str = ".baler-tmp/baler/proof/";

/// By what [`Store::list_staged`] names a staged output.
fn handle(staged: &baler_model::Staged) -> String {
    match &staged.place {
        baler_model::StagedPlace::Multipart { upload_id, .. } => upload_id.clone(),
        baler_model::StagedPlace::File { temp, .. } => temp.clone(),
    }
}

async fn intermediates(
    flow: &Flow,
    state: &LedgerState,
    min_age: SignedDuration,
    effect: Effect,
    report: &mut GcReport,
) -> Result<(), EngineError> {
    let prefix = format!("{PRIVATE_PREFIX}{}/", flow.name());
    let listed = list_all(&flow.target, &prefix, 1, &|_| true).await?;
    if listed.objects.is_empty() {
        return Ok(());
    }
    let now = now_of(flow, &*flow.target, PRIVATE_PREFIX, effect).await?;
    for object in listed.objects {
        let run = object.key.as_str()[prefix.len()..].split('/').next().unwrap_or_default();
        // A sealed run may be staging a lost output again.
        let executing = state
            .runs()
            .iter()
            .any(|r| r.run.as_str() == run && matches!(r.status, RunStatus::Opened | RunStatus::Sealed));
        if executing || now.duration_since(object.modified) < min_age {
            continue;
        }
        match effect {
            Effect::DryRun => {}
            Effect::Remove => flow.target.delete(&object.key).await?,
        }
        report.intermediates.push(object.key);
    }
    Ok(())
}

/// Objects of an earlier build: whoever began to read by its manifest had the minimum age to end.
async fn superseded(
    flow: &Flow,
    state: &LedgerState,
    min_age: SignedDuration,
    effect: Effect,
    report: &mut GcReport,
) -> Result<(), EngineError> {
    // Plans say which objects a manifest names; only those are asked whose runs stand in the keys of what they wrote.
    let mut versioned: BTreeMap<&RunId, Vec<(&Key, &OwnObject)>> = BTreeMap::new();
    for (key, own) in state.objects().iter().filter(|(key, own)| key.as_str().contains(own.run.as_str())) {
        versioned.entry(&own.run).or_default().push((key, own));
    }
    let mut of_manifests: BTreeMap<Key, Vec<(&Key, &OwnObject)>> = BTreeMap::new();
    for (run, objects) in versioned {
        let Some(known) = state.run(run) else { continue };
        let plan = flow.ledger.read_plan(known).await.map_err(flow.ledger_error())?;
        let manifests: BTreeMap<&str, &Key> = plan.tasks.iter().flat_map(|task| task.manifests()).collect();
        for (key, own) in objects {
            let named = manifests.range(..=key.as_str()).next_back();
            let Some((_, manifest)) = named.filter(|(prefix, _)| key.as_str().starts_with(**prefix)) else { continue };
            if state.object(manifest).is_some_and(|now| now.run != own.run) {
                of_manifests.entry((*manifest).clone()).or_default().push((key, own));
            }
        }
    }
    if of_manifests.is_empty() {
        return Ok(());
    }
    let now = now_of(flow, &*flow.target, PRIVATE_PREFIX, effect).await?;
    for (manifest, objects) in of_manifests {
        let etag = state.object(&manifest).map(|own| &own.etag);
        let head = flow.target.head(&manifest).await?;
        // One that somebody changed names who knows what.
        let Some(head) = head.filter(|head| Some(&head.version.etag) == etag) else { continue };
        if now.duration_since(head.modified) < min_age {
            continue;
        }
        for (key, own) in objects {
            let version = ObjectVersion { etag: own.etag.clone() };
            if flow.target.head(key).await?.is_none_or(|head| head.version != version) {
                continue;
            }
            match effect {
                Effect::DryRun => {}
                Effect::Remove => drop(flow.target.delete_if(key, &version).await?),
            }
            report.superseded.push(key.clone());
        }
    }
    Ok(())
}

async fn ledger_files(
    flow: &Flow,
    state: &LedgerState,
    min_age: SignedDuration,
    effect: Effect,
    report: &mut GcReport,
) -> Result<(), EngineError> {
    let store = flow.ledger.store();
    let base = format!("{}{}/runs/", flow.ledger.state_prefix(), flow.name());
    let mut request = ListRequest { prefix: base.clone(), ..ListRequest::default() };
    let now = now_of(flow, &**store, flow.ledger.state_prefix(), effect).await?;
    loop {
        let page = store.list(&request).await?;
        for object in page.objects {
            let rest = &object.key.as_str()[base.len()..];
            let Some((run, file)) = rest.split_once('/') else { continue };
            let known = state.runs().iter().find(|r| r.run.as_str() == run);
            let unneeded = match known {
                // Written, but `Opened` never chose it; it still may.
                None => false,
                Some(known) if known.status.is_open() => false,
                Some(_) => ["mark/", "full/", "pub/", "failed/", "heartbeat.json"].iter().any(|p| file.starts_with(p)),
            };
            if !unneeded || now.duration_since(object.modified) < min_age {
                continue;
            }
            match effect {
                Effect::DryRun => {}
                Effect::Remove => store.delete(&object.key).await?,
            }
            report.ledger_files.push(object.key);
        }
        match page.next {
            Some(token) => request.token = Some(token),
            None => return Ok(()),
        }
    }
}
