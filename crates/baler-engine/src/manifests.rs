//! Manifests as triggers: `{place}/queue/*.json`, each one job: "these N objects make one output".

use std::collections::BTreeMap;

use baler_model::ledger::{Failure, Manifest};
use baler_store::{StoreError, list_all};
use serde::Deserialize;

use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{Skip, Skips};
use crate::ledger::read_version;
use crate::plan::{ManifestRequest, Planned};
use crate::report::FailureReport;

/// A combine manifest as it is written by those who produce objects.
///
/// Unknown fields are kept out of the way: producers add their own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    source: String,
    target: String,
    file_count: Option<u64>,
    max_file_size: Option<u64>,
}

/// One manifest of the queue.
#[derive(Debug)]
pub(crate) enum Queued {
    /// It can be planned.
    Request(ManifestRequest),
    /// It cannot be read.
    Faulty(FailureReport),
}

/// Whether the objects that a manifest counts are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// All of them.
    Complete,
    /// Some lack: wait.
    Waits(String),
    /// It can never be right as it stands.
    Wrong(Failure),
}

/// Reads the queue, in order of keys. Cost: one LIST, one HEAD and one GET per manifest.
pub(crate) async fn queued(flow: &Flow) -> Result<Vec<Queued>, EngineError> {
    let Some(place) = &flow.manifests else { return Ok(Vec::new()) };
    let prefix = format!("{}queue/", place.prefix);
    let listed = list_all(&place.store, &prefix, 1, &|_| true).await?;
    let mut queued = Vec::new();
    for object in listed.objects.into_iter().filter(|o| o.key.as_str().ends_with(".json") && o.size > 0) {
        let key = object.key;
        // The identity is read now: a listing or an event is only a hint. What is read then is that very version.
        let Some(head) = place.store.head(&key).await? else { continue };
        let body = match read_version(&*place.store, &key, Some(&head.version)).await {
            Ok(body) => body,
            // Overwritten or taken away in between: the next look finds what is there then.
            Err(StoreError::NotFound { .. } | StoreError::Changed { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let body = match parse(&body) {
            Ok(body) => body,
            Err(detail) => {
                let hint =
                    "write {\"source\": \"…\", \"target\": \"…\", \"fileCount\": N}, or take it out of the queue";
                let failure =
                    Failure { error: format!("manifest `{key}` cannot be read: {detail}"), hint: Some(hint.into()) };
                queued.push(Queued::Faulty(FailureReport::new(key.as_str(), failure)));
                continue;
            }
        };
        let names = BTreeMap::from([
            ("manifest.source".to_owned(), body.source.trim_end_matches('/').to_owned()),
            ("manifest.target".to_owned(), body.target),
        ]);
        queued.push(Queued::Request(ManifestRequest {
            manifest: Manifest {
                store: place.store.info().url.clone(),
                key,
                etag: head.version.etag,
                modified: head.modified,
                version_id: head.version_id,
            },
            names,
            file_count: body.file_count,
            max_file_size: body.max_file_size,
        }));
    }
    Ok(queued)
}

/// Reads a manifest; what is wrong is said in the words of JSON, not of this program.
fn parse(bytes: &[u8]) -> Result<Body, String> {
    let body: Body = serde_json::from_slice(bytes).map_err(|e| {
        e.to_string()
            .replace("struct Body with 4 elements", "an object")
            .replace("struct Body", "an object")
            .replace("u64", "a whole number, 0 or more")
            .replace("sequence", "array")
    })?;
    match (body.source.is_empty(), body.target.is_empty()) {
        (true, _) => Err("its `source` is empty".into()),
        (_, true) => Err("its `target` is empty".into()),
        (false, false) => Ok(body),
    }
}

/// Holds what was found against what the manifest counts.
pub(crate) fn completeness(flow: &Flow, request: &ManifestRequest, planned: &Planned) -> Completeness {
    let key = &request.manifest.key;
    let count = |skips: &Skips, why: Skip| skips.get(&why).map_or(0, |s| s.objects);
    let unsettled = count(&planned.skips, Skip::Unsettled);
    let spent = count(&planned.skips, Skip::Consumed) + count(&planned.skips, Skip::Held);
    let empty = count(&planned.skips, Skip::Empty);
    let uncommitted = count(&planned.skips, Skip::Uncommitted);
    let present = planned.matched + planned.earlier + unsettled + uncommitted + spent + empty;
    let wrong = |error: String, hint: &str| Completeness::Wrong(Failure { error, hint: Some(hint.to_owned()) });
    // INV-LOOP-1: an output in the queue would be taken for the next manifest.
    let own = flow.manifests.as_ref().filter(|place| place.store.info().url == flow.target.info().url);
    let looped = own.and_then(|place| {
        let folders = ["queue/", "run/", "done/"].map(|folder| format!("{}{folder}", place.prefix));
        let mut keys = planned.plan.tasks.iter().map(|task| &task.key);
        keys.find(|key| folders.iter().any(|folder| key.as_str().starts_with(folder)))
    });
    if let Some(output) = looped {
        return wrong(
            format!("`{output}`, the `target` of manifest `{key}`, lies where manifests lie"),
            "write to another prefix: `queue/`, `run/` and `done/` there are for manifests",
        );
    }
    if let Some(wanted) = request.file_count {
        if present < wanted {
            return Completeness::Waits(format!("manifest `{key}` waits: {present} of {wanted} objects are there"));
        }
        if present > wanted {
            return wrong(
                format!("manifest `{key}` counts {wanted} objects, {present} are there"),
                "correct `fileCount`, or take out what does not belong there",
            );
        }
    }
    if unsettled > 0 {
        return Completeness::Waits(format!("manifest `{key}` waits: {unsettled} objects are younger than `settle`"));
    }
    if uncommitted > 0 {
        return Completeness::Waits(format!(
            "manifest `{key}` waits: the run that writes {uncommitted} of its objects is not committed yet"
        ));
    }
    if spent > 0 {
        return wrong(
            format!("{spent} of the objects of manifest `{key}` were taken by another run"),
            "an object is combined once; name another `source`, or write the objects again",
        );
    }
    if request.file_count.is_none() && present == 0 {
        return Completeness::Waits(format!("manifest `{key}` waits: no object is there"));
    }
    Completeness::Complete
}
