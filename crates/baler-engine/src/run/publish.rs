//! Publishes exactly the lines of the last seal, confirms each, and commits (INV-VISIBLE-1, INV-OWN-1).
//!
//! For each line: is it staged still; `pub/…`; reveal; then look. A successful call is no proof, only what
//! [`baler_store::Store::confirm`] shows is.

use baler_model::ledger::{CommittedObject, Event, SealedOutput};
use baler_store::{Confirmation, Precondition, PublishOutcome};
use futures::{StreamExt, TryStreamExt, stream};

use super::{Foreign, Said, known_run, redo, seal};
use crate::env::Phase;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{Assume, may_publish};
use crate::ledger::{LedgerState, Marks, Plan};
use crate::report::FailureReport;

/// How publishing ended.
pub(super) enum Publishing {
    /// The log moved on: look where the run stands.
    Moved,
    /// An operator must decide.
    Blocked(Vec<FailureReport>),
}

/// What became of one line.
enum Line {
    Published(CommittedObject),
    Blocked(FailureReport),
    Lost(Box<SealedOutput>),
}

pub(super) async fn publish(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    marks: &mut Marks,
    said: &Said,
) -> Result<Publishing, EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    // Re-read, then take the last seal: an older one may cover a group that was released since.
    flow.ledger.refresh(state).await.map_err(&wrap)?;
    let known = known_run(flow, state, run)?;
    if !may_publish(known.status) {
        return Ok(Publishing::Moved);
    }
    flow.ledger.sync_log(state).await.map_err(&wrap)?;
    let Some(sha) = known.seal.clone() else { return Ok(Publishing::Moved) };
    let sealed = flow.ledger.read_seal(run, &sha).await.map_err(&wrap)?;
    let bytes = sealed.outputs.iter().map(|o| o.staged.size).sum();
    flow.env.progress.begin(flow.name(), Phase::Publish, sealed.outputs.len() as u64, bytes);
    // A manifest comes when all that it names is there.
    let is_manifest = |output: &SealedOutput| plan.tasks[output.task.0 as usize].is_manifest(&output.staged.key);
    let (manifests, others): (Vec<_>, Vec<_>) = sealed.outputs.into_iter().partition(is_manifest);
    let (mut objects, mut blocked, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for outputs in [others, manifests] {
        if !blocked.is_empty() || !lost.is_empty() {
            break;
        }
        let lines = outputs.into_iter().map(|output| async move {
            let size = output.staged.size;
            let line = publish_one(flow, plan, output, said).await;
            flow.env.progress.advance(1, size);
            line
        });
        let lines: Result<Vec<Line>, EngineError> =
            stream::iter(lines).buffered(flow.env.limits.concurrency).try_collect().await;
        for line in lines? {
            match line {
                Line::Published(object) => objects.push(object),
                Line::Blocked(failure) => blocked.push(failure),
                Line::Lost(output) => lost.push(*output),
            }
        }
    }
    flow.env.progress.end();
    if !lost.is_empty() {
        *marks = flow.ledger.read_marks(run, std::mem::take(marks)).await.map_err(&wrap)?;
        return match redo::redo(flow, state, plan, marks, lost, said).await? {
            redo::Redone::NothingLost => Ok(Publishing::Moved),
            // Somebody else sealed anew already.
            redo::Redone::Again if known_run(flow, state, run)?.seal.as_ref() != Some(&sha) => Ok(Publishing::Moved),
            redo::Redone::Again => match seal::seal(flow, state, plan, marks, said).await? {
                seal::Sealing::Moved => Ok(Publishing::Moved),
                seal::Sealing::Blocked(failures) => Ok(Publishing::Blocked(failures)),
            },
            redo::Redone::Blocked(failures) => {
                blocked.extend(failures);
                Ok(Publishing::Blocked(blocked))
            }
        };
    }
    if !blocked.is_empty() {
        return Ok(Publishing::Blocked(blocked));
    }
    commit(flow, state, plan, &sha, objects).await?;
    Ok(Publishing::Moved)
}

/// Appends `Committed`, unless somebody sealed anew or committed meanwhile.
async fn commit(
    flow: &Flow,
    state: &mut LedgerState,
    plan: &Plan,
    sha: &baler_model::ledger::ContentHash,
    objects: Vec<CommittedObject>,
) -> Result<(), EngineError> {
    let wrap = flow.ledger_error();
    let run = &plan.header.run;
    flow.ledger.refresh(state).await.map_err(&wrap)?;
    loop {
        let known = known_run(flow, state, run)?;
        if !may_publish(known.status) || known.seal.as_ref() != Some(sha) {
            return Ok(());
        }
        let event = Event::Committed { run: run.clone(), objects: objects.clone() };
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            crate::ledger::Appended::Ours(_) => return Ok(()),
            crate::ledger::Appended::Lost => {}
        }
    }
}

async fn publish_one(flow: &Flow, plan: &Plan, output: SealedOutput, said: &Said) -> Result<Line, EngineError> {
    let run = &plan.header.run;
    let _permit = flow.env.limits.request().await;
    let precondition = match (&output.replaces, said.foreign()) {
        (_, Foreign::Replace) => Precondition::Whatever,
        (Some(version), Foreign::Keep) => Precondition::Matches(version.clone()),
        (None, Foreign::Keep) => Precondition::Absent,
    };
    if flow.target.staged_exists(&output.staged).await? {
        flow.ledger.begin_publishing(&output, run).await.map_err(flow.ledger_error())?;
    } else {
        match (flow.target.confirm(&output.staged).await?, said.of(&output.staged), &precondition) {
            (Confirmation::Ours { version, .. }, _, Precondition::Absent) => {
                return Ok(published(&output, version.etag.to_string()));
            }
            // A publisher that died may have exchanged it for an object that was not to be replaced, before it looked:
            // publishing once more looks at what came out, and puts it back.
            (Confirmation::Ours { .. }, _, Precondition::Matches(_) | Precondition::Whatever) => {}
            (Confirmation::Corrupt { detail, .. }, _, _) => {
                return Ok(Line::Blocked(corrupt(&output, plan, &detail)));
            }
            // An operator says that a consumer took it away.
            (Confirmation::Absent | Confirmation::Foreign { .. }, Assume::Published, _)
                if publishing_began(flow, plan, &output).await? =>
            {
                return Ok(published(&output, String::new()));
            }
            (Confirmation::Absent | Confirmation::Foreign { .. }, _, _) => return Ok(Line::Lost(Box::new(output))),
        }
    }
    let outcome = flow.target.publish(&output.staged, &precondition).await?;
    let confirmed = flow.target.confirm(&output.staged).await?;
    Ok(match (confirmed, outcome) {
        (Confirmation::Ours { version, .. }, _) => published(&output, version.etag.to_string()),
        (Confirmation::Corrupt { detail, .. }, _) => Line::Blocked(corrupt(&output, plan, &detail)),
        (Confirmation::Absent, PublishOutcome::Replaced { .. }) => Line::Blocked(foreign(&output, plan, "is gone")),
        (Confirmation::Foreign { .. }, PublishOutcome::Occupied) => {
            Line::Blocked(foreign(&output, plan, "is there already, and is not Baler's"))
        }
        (Confirmation::Foreign { .. }, PublishOutcome::Replaced { .. }) => {
            Line::Blocked(foreign(&output, plan, "has changed since the run was planned"))
        }
        // Published and taken away or overwritten at once; staged no longer, for a reason that redo looks into.
        (Confirmation::Absent | Confirmation::Foreign { .. }, _) => Line::Lost(Box::new(output)),
    })
}

async fn publishing_began(flow: &Flow, plan: &Plan, output: &SealedOutput) -> Result<bool, EngineError> {
    let began = flow.ledger.publishing_began(&plan.header.run, output.task, output.generation, output.output).await;
    began.map_err(flow.ledger_error())
}

fn published(output: &SealedOutput, etag: String) -> Line {
    Line::Published(CommittedObject {
        key: output.staged.key.clone(),
        etag: etag.into(),
        size: output.staged.size,
        group: output.group,
    })
}

fn foreign(output: &SealedOutput, plan: &Plan, what: &str) -> FailureReport {
    let (key, run) = (&output.staged.key, &plan.header.run);
    FailureReport {
        group: key.to_string(),
        error: format!("`{key}` {what}"),
        hint: Some(format!(
            "move it away and `baler retry {run}`, replace it by `baler retry {run} --overwrite`, or take the run back \
             by `baler abort {run} --withdraw`"
        )),
    }
}

fn corrupt(output: &SealedOutput, plan: &Plan, detail: &str) -> FailureReport {
    let (key, run) = (&output.staged.key, &plan.header.run);
    FailureReport {
        group: key.to_string(),
        error: format!("`{key}` is not what was written: {detail}"),
        hint: Some(format!("no source was touched; `baler abort {run} --withdraw` removes the output, then run again")),
    }
}
