//! Shows a manifest-driven run where its manifest was put: `queue/` → `run/` → `done/`.
//!
//! The object in `queue/` is the run's identity: it stays until the result is published, so that a run that was aborted
//! can be started again, and is then deleted in the version that was read. `run/` and `done/` are copies that nobody
//! reads back; where a name is taken by other bytes, the copy gets `.{run}` behind it.

use baler_model::Key;
use baler_model::ledger::Manifest;
use baler_store::{DeleteOutcome, PutOutcome, Store, StoreError};
use bytes::Bytes;

use crate::error::EngineError;
use crate::flow::{Flow, OpenPlace};
use crate::ledger::{Plan, RunState, read_whole};

/// Puts a copy of the manifest into `run/`.
pub(super) async fn show_running(flow: &Flow, plan: &Plan) -> Result<(), EngineError> {
    let Some((place, manifest)) = of(flow, plan) else { return Ok(()) };
    match read_whole(&*place.store, &manifest.key).await {
        Ok(body) => Ok(put_copy(flow, plan, place, "run/", body).await?),
        // Taken away by somebody: the run goes on, its plan holds all that is needed.
        Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Puts a copy into `done/` and takes the others away, if every group was published.
pub(super) async fn show_done(flow: &Flow, plan: &Plan, known: &RunState) -> Result<(), EngineError> {
    let Some((place, manifest)) = of(flow, plan) else { return Ok(()) };
    if !known.released.is_empty() {
        // Not done: the manifest stays in the queue and is run again.
        return clear_running(flow, plan).await;
    }
    let name = manifest.key.file_name();
    let body = match read_whole(&*place.store, &manifest.key).await {
        Ok(body) => Some(body),
        Err(StoreError::NotFound { .. }) => running_copy(plan, place, name).await?.map(|(_, body)| body),
        Err(error) => return Err(error.into()),
    };
    if let Some(body) = body {
        put_copy(flow, plan, place, "done/", body).await?;
    }
    let version = baler_model::ObjectVersion { etag: manifest.etag.clone() };
    match place.store.delete_if(&manifest.key, &version).await? {
        DeleteOutcome::Deleted | DeleteOutcome::Absent => {}
        DeleteOutcome::Changed { .. } => flow
            .env
            .progress
            .note(&format!("manifest `{}` changed while its run was going on; it is a new one", manifest.key)),
    }
    clear_running(flow, plan).await
}

/// Takes the copy in `run/` away.
pub(super) async fn clear_running(flow: &Flow, plan: &Plan) -> Result<(), EngineError> {
    let Some((place, manifest)) = of(flow, plan) else { return Ok(()) };
    if let Some((key, _)) = running_copy(plan, place, manifest.key.file_name()).await? {
        place.store.delete(&key).await?;
    }
    Ok(())
}

fn of<'a>(flow: &'a Flow, plan: &'a Plan) -> Option<(&'a OpenPlace, &'a Manifest)> {
    let manifest = plan.header.manifest.as_ref()?;
    // `baler.toml` may name another place by now.
    Some((flow.manifests.as_ref().filter(|place| place.store.info().url == manifest.store)?, manifest))
}

/// Our copy in `run/`: under the name of the run, else under the manifest's own.
async fn running_copy(plan: &Plan, place: &OpenPlace, name: &str) -> Result<Option<(Key, Bytes)>, EngineError> {
    for key in names(plan, place, "run/", name).into_iter().rev() {
        match read_whole(&*place.store, &key).await {
            Ok(body) => return Ok(Some((key, body))),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn names(plan: &Plan, place: &OpenPlace, folder: &str, name: &str) -> [Key; 2] {
    let base = format!("{}{folder}{name}", place.prefix);
    [Key::from_listed(base.clone()), Key::from_listed(format!("{base}.{}", plan.header.run))]
}

async fn put_copy(flow: &Flow, plan: &Plan, place: &OpenPlace, folder: &str, body: Bytes) -> Result<(), StoreError> {
    let Some(manifest) = &plan.header.manifest else { return Ok(()) };
    for key in names(plan, place, folder, manifest.key.file_name()) {
        match place.store.put_if_absent(&key, body.clone(), &flow.env.ids.write_id()).await? {
            PutOutcome::Created(_) => return Ok(()),
            PutOutcome::Exists { .. } => {
                if is(&*place.store, &key, &body).await? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn is(store: &dyn Store, key: &Key, body: &Bytes) -> Result<bool, StoreError> {
    match read_whole(store, key).await {
        Ok(there) => Ok(there == *body),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
