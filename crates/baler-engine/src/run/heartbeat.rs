//! The heartbeat: who is executing a run since when. Information for people, never a lock.

use std::future::Future;
use std::time::Duration;

use baler_model::RunId;
use baler_model::ledger::{FORMAT_VERSION, Heartbeat};
use jiff::{SignedDuration, Timestamp};

use super::Rival;
use crate::env::Liveness;
use crate::error::EngineError;
use crate::flow::Flow;

/// How often a heartbeat is written.
const EVERY: Duration = Duration::from_secs(10);
/// A heartbeat of another machine that is older than this is taken for dead; so is one from the future, since clocks
/// disagree: joining in is safe, waiting for hours is not wanted.
const FRESH: SignedDuration = SignedDuration::from_secs(45);

/// Who else is executing this run, as far as can be seen. Joining them would be safe; it only does work twice.
pub(super) async fn rival(flow: &Flow, run: &RunId, respect: Rival) -> Result<Option<Heartbeat>, EngineError> {
    match respect {
        Rival::Join => return Ok(None),
        Rival::Respect => {}
    }
    let Some(beat) = flow.ledger.read_heartbeat(run).await.map_err(flow.ledger_error())? else { return Ok(None) };
    let us = &flow.env.identity;
    if beat.host == us.host && beat.pid == us.pid && beat.process == us.process {
        return Ok(None);
    }
    let alive = match flow.env.processes.liveness(&beat) {
        Liveness::Alive => true,
        Liveness::Dead => false,
        Liveness::Elsewhere => flow.env.clock.now().duration_since(beat.at).abs() < FRESH,
    };
    Ok(alive.then_some(beat))
}

/// Does some work while a heartbeat shows that we do.
pub(super) async fn beating<T>(
    flow: &Flow,
    run: &RunId,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let since = flow.env.clock.now();
    write(flow, run, since).await;
    let beats = async {
        loop {
            flow.env.clock.sleep(EVERY).await;
            write(flow, run, since).await;
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        () = beats => unreachable!("the heart beats until the work is done"),
    };
    if let Err(error) = flow.ledger.clear_heartbeat(run).await {
        tracing::debug!(%error, "the heartbeat stays behind; its process is gone, so nobody minds it");
    }
    done
}

/// "run `r` is executing on host `h` since `t`".
pub(super) fn describe(run: &RunId, beat: &Heartbeat) -> String {
    let Heartbeat { host, pid, since, .. } = beat;
    let since = since.strftime("%Y-%m-%d %H:%M:%SZ");
    format!("run `{run}` is executing on host `{host}` (process {pid}) since {since}; `baler retry {run}` joins in")
}

async fn write(flow: &Flow, run: &RunId, since: Timestamp) {
    let us = &flow.env.identity;
    let beat = Heartbeat {
        version: FORMAT_VERSION,
        host: us.host.clone(),
        pid: us.pid,
        process: us.process.clone(),
        since,
        at: flow.env.clock.now(),
    };
    // Only information: a heartbeat that cannot be written stops nothing.
    if let Err(error) = flow.ledger.write_heartbeat(run, &beat).await {
        tracing::debug!(%error, "heartbeat not written");
    }
}
