//! Deletes or archives the sources of committed groups, exactly in their planned versions (INV-KEEP-1).
//!
//! An object that was overwritten since is another version and is kept. Whoever crashes here leaves some sources deleted
//! and some not; the next call does the rest, since a version that is gone is no error.

use baler_model::config::Deletes;
use baler_model::ledger::{DisposalPlan, Event, Failure};
use baler_model::{AttemptId, InputVersion, Key, Stamp, TaskId};
use baler_store::{
    ByteRange, Confirmation, CopySource, Crc64, DeleteOutcome, OutputAttributes, Precondition, PublishOutcome, Store,
    StoreError,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use super::{known_run, manifest};
use crate::env::Phase;
use crate::error::EngineError;
use crate::flow::{Flow, OpenPlace};
use crate::ledger::{Appended, LedgerState, Plan, RunState, RunStatus};
use crate::report::FailureReport;

/// How disposing ended.
pub(super) enum Disposing {
    /// The log moved on: look where the run stands.
    Moved,
    /// The flow says to wait first.
    Later,
    /// Some sources could not be dealt with; a later call may.
    Failed(Vec<FailureReport>),
}

pub(super) async fn dispose(flow: &Flow, state: &mut LedgerState, plan: &Plan) -> Result<Disposing, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    let known = known_run(flow, state, run)?.clone();
    // What follows cannot be undone: it rests on `Committed`, whoever wrote it.
    flow.ledger.sync_log(state).await.map_err(&wrap)?;
    manifest::show_done(flow, plan, &known).await?;
    let (delay, archive) = match &plan.header.sources {
        DisposalPlan::Keep => (None, None),
        DisposalPlan::Delete { delay } => (Some(*delay), None),
        DisposalPlan::Archive { delay, store, prefix } => (Some(*delay), Some((store.url.clone(), prefix.clone()))),
    };
    if let Some(delay) = delay {
        if flow.env.clock.now() < due(known.last_at, delay) {
            return Ok(Disposing::Later);
        }
        let failures = remove_sources(flow, plan, &known, archive).await?;
        if !failures.is_empty() {
            return Ok(Disposing::Failed(failures));
        }
    }
    while known_run(flow, state, run)?.status == RunStatus::Committed {
        let event = Event::Disposed { run: run.clone(), sources_gone: delay.is_some() };
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            Appended::Ours(_) | Appended::Lost => {}
        }
    }
    Ok(Disposing::Moved)
}

/// "sources are deleted after …".
pub(super) fn waiting(plan: &Plan, known: &RunState) -> String {
    let delay = match &plan.header.sources {
        DisposalPlan::Keep => SignedDuration::ZERO,
        DisposalPlan::Delete { delay } | DisposalPlan::Archive { delay, .. } => *delay,
    };
    let until = due(known.last_at, delay).strftime("%Y-%m-%d %H:%M:%SZ");
    format!("sources of run `{}` stay until {until}, as `sources.delay` says", known.run)
}

/// When sources may be dealt with; the end of time, where the delay leads beyond it.
fn due(committed: Timestamp, delay: SignedDuration) -> Timestamp {
    committed.checked_add(delay).unwrap_or(Timestamp::MAX)
}

async fn remove_sources(
    flow: &Flow,
    plan: &Plan,
    known: &RunState,
    archive: Option<(String, String)>,
) -> Result<Vec<FailureReport>, EngineError> {
    let archive = match (&archive, &flow.archive) {
        (None, _) => None,
        (Some((url, prefix)), Some(place)) if place.store.info().url == *url => {
            Some(OpenPlace { prefix: prefix.clone(), ..place.clone() })
        }
        (Some((url, _)), place) => {
            return Err(EngineError::Moved {
                run: known.run.clone(),
                planned: url.clone(),
                now: place.as_ref().map_or_else(|| "no archive".into(), |p| p.store.info().url.clone()),
            });
        }
    };
    let tasks = plan.tasks.iter().filter(|t| !known.released.contains(&t.group));
    let inputs: Vec<&InputVersion> = tasks.flat_map(|t| &t.inputs).collect();
    let bytes = inputs.iter().map(|i| i.size).sum();
    flow.env.progress.begin(flow.name(), Phase::Dispose, inputs.len() as u64, bytes);
    let removals = inputs.into_iter().map(|input| {
        let archive = archive.as_ref();
        async move {
            if flow.env.cancel.is_cancelled() {
                return Err(EngineError::Interrupted);
            }
            let _permit = flow.env.limits.request().await;
            let done = remove(flow, plan, input, archive).await;
            flow.env.progress.advance(1, input.size);
            Ok(done.err().map(|failure| FailureReport::new(input.key.as_str(), failure)))
        }
    });
    let failures: Result<Vec<Option<FailureReport>>, EngineError> =
        stream::iter(removals).buffer_unordered(flow.env.limits.concurrency).try_collect().await;
    flow.env.progress.end();
    Ok(failures?.into_iter().flatten().collect())
}

async fn remove(flow: &Flow, plan: &Plan, input: &InputVersion, archive: Option<&OpenPlace>) -> Result<(), Failure> {
    let fail = |error: StoreError| Failure { error: error.to_string(), hint: error.hint() };
    if let Some(archive) = archive {
        match archive_one(flow, plan, input, archive).await {
            Ok(Archived::There) => {}
            // Changed or gone since: it is no longer ours to move. Whoever took it away may have died before that was
            // durable, and `Disposed` says that it is gone.
            Ok(Archived::SourceChanged) => return flow.source.sync(&input.key).await.map_err(fail),
            Ok(Archived::Taken(key)) => {
                return Err(Failure {
                    error: format!("`{key}` in the archive is taken by another object"),
                    hint: Some("move it away, then `baler run` goes on".into()),
                });
            }
            Err(error) => return Err(fail(error)),
        }
    }
    match flow.config.sources.deletes {
        Deletes::Conditional => match flow.source.delete_if(&input.key, &input.version()).await {
            Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent | DeleteOutcome::Changed { .. }) => Ok(()),
            Err(error) => Err(fail(error)),
        },
        // Declared by the user for a store that does not honour conditions: the gap between HEAD and DELETE is theirs.
        Deletes::Unconditional => match flow.source.head(&input.key).await {
            Ok(Some(head)) if head.version == input.version() => flow.source.delete(&input.key).await.map_err(fail),
            Ok(Some(_) | None) => flow.source.sync(&input.key).await.map_err(fail),
            Err(error) => Err(fail(error)),
        },
    }
}

/// What became of archiving one source.
enum Archived {
    There,
    SourceChanged,
    Taken(Key),
}

/// Copies one source to `{archive_to}{run}/{key}`, creating only, and confirms the copy.
async fn archive_one(
    flow: &Flow,
    plan: &Plan,
    input: &InputVersion,
    archive: &OpenPlace,
) -> Result<Archived, StoreError> {
    let header = &plan.header;
    let key = Key::from_listed(format!("{}{}/{}", archive.prefix, header.run, input.key));
    let attempt: AttemptId = flow.env.ids.attempt_id();
    let stamp = Stamp { flow: header.flow.clone(), run: header.run.clone(), task: TaskId(0), attempt };
    let copied = copy(flow, input, &*archive.store, &key, &stamp).await;
    let staged = match copied {
        Ok(staged) => staged,
        Err(error @ (StoreError::NotFound { .. } | StoreError::Changed { .. })) => {
            // Gone: an earlier call archived and deleted it, or somebody else took it away. A version that counts as
            // gone leaves the consumed set, so that is looked at, not concluded from an error of whatever call.
            return match flow.source.head(&input.key).await? {
                Some(head) if head.version == input.version() => Err(error),
                Some(_) | None => Ok(Archived::SourceChanged),
            };
        }
        Err(error) => return Err(error),
    };
    let outcome = archive.store.publish(&staged, &Precondition::Absent).await?;
    match (archive.store.confirm(&staged).await?, outcome) {
        (Confirmation::Ours { .. }, _) => Ok(Archived::There),
        (
            Confirmation::Foreign { .. } | Confirmation::Corrupt { .. } | Confirmation::Absent,
            PublishOutcome::Published
            | PublishOutcome::Occupied
            | PublishOutcome::Replaced { .. }
            | PublishOutcome::StagedGone,
        ) => {
            archive.store.abort_staged(&staged).await?;
            // An earlier call may have archived it before it died: then the bytes are the same.
            match same_bytes(flow, input, &*archive.store, &key).await? {
                true => {
                    // Its author may have died before it was durable, and the source is deleted next.
                    archive.store.sync(&key).await?;
                    Ok(Archived::There)
                }
                false => Ok(Archived::Taken(key)),
            }
        }
    }
}

async fn copy(
    flow: &Flow,
    input: &InputVersion,
    to: &dyn Store,
    key: &Key,
    stamp: &Stamp,
) -> Result<baler_model::Staged, StoreError> {
    let writer = to.stage(key, stamp, &OutputAttributes::default()).await?;
    let version = input.version();
    let (from, domain) = (&flow.source, &to.info().copy_domain);
    if domain.is_some() && from.info().copy_domain == *domain {
        let source =
            CopySource { store: from.clone(), key: input.key.clone(), version: version.clone(), size: input.size };
        let most = to.info().parts.max;
        let (mut at, mut number) = (0, 1);
        while at < input.size {
            // Halves, where two parts are needed, so that none is too small.
            let rest = input.size - at;
            let len = if rest > most { most.min(rest.div_ceil(2)) } else { rest };
            writer.copy_part(number, &source, ByteRange::new(at, at + len)).await?;
            (at, number) = (at + len, number + 1);
        }
        let crc = from.head(&input.key).await?.filter(|h| h.version == version).and_then(|h| h.crc64nvme);
        return writer.finish(crc).await;
    }
    let mut get = from.get(&input.key, None, Some(&version)).await?;
    // An upload may have so many parts: 10,000 of the usual size are 80 GB, and a larger object needs larger ones.
    let part = flow.env.limits.read_part().max(input.size.div_ceil(u64::from(to.info().parts.count)));
    let (mut crc, mut number, mut body, mut held) = (Crc64::new(), 1, Vec::new(), 0);
    while let Some(chunk) = get.body.try_next().await? {
        crc.update(&chunk);
        held += chunk.len() as u64;
        body.push(chunk);
        if held >= part {
            writer.write_part(number, std::mem::take(&mut body)).await?;
            (held, number) = (0, number + 1);
        }
    }
    if held > 0 || number == 1 {
        writer.write_part(number, body).await?;
    }
    writer.finish(Some(crc.value())).await
}

/// Whether what is archived has the bytes of the planned source.
async fn same_bytes(flow: &Flow, input: &InputVersion, archive: &dyn Store, key: &Key) -> Result<bool, StoreError> {
    let Some(head) = archive.head(key).await? else { return Ok(false) };
    if head.size != input.size {
        return Ok(false);
    }
    let ours = crc_of(&*flow.source, &input.key, Some(&input.version())).await?;
    Ok(crc_of(archive, key, Some(&head.version)).await? == ours)
}

/// Reads an object through for its CRC-64/NVME.
pub(crate) async fn crc_of(
    store: &dyn Store,
    key: &Key,
    version: Option<&baler_model::ObjectVersion>,
) -> Result<u64, StoreError> {
    let mut get = store.get(key, None, version).await?;
    let mut crc = Crc64::new();
    while let Some(chunk) = get.body.try_next().await? {
        crc.update(&chunk);
    }
    Ok(crc.value())
}
