//! Proves a committed run again: re-reads its outputs and, where the sources still lie there, joins those anew.

use std::collections::BTreeMap;

use baler_model::ledger::{CombineOptions, Event, OperationOptions, SealedOutput, SeparatorRule, Task};
use baler_model::{InputVersion, Key, ObjectVersion, RunId};
use baler_store::{ByteRange, Crc64, Store, StoreError};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::env::Phase;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{Balance, group_account};
use crate::ledger::{LedgerState, Plan, RunStatus};

/// How an output was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Its sources were read again and joined anew: same bytes.
    Sources,
    /// Its CRC-64/NVME is the one computed when it was made.
    Checksum,
    /// It has the size and version that were committed; its sources are gone and no checksum was kept.
    Version,
    /// A later run built it anew from its sources: that run's proof counts.
    BuiltAnew,
}

/// One output, verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedOutput {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its CRC-64/NVME in hexadecimal, as read.
    pub crc64nvme: Option<String>,
    /// How it was proven; `None` when it was not.
    pub evidence: Option<Evidence>,
    /// What is wrong.
    pub problem: Option<String>,
}

/// A run, verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The run.
    pub run: RunId,
    /// Whether everything is proven.
    pub proven: bool,
    /// What is wrong with the account as a whole.
    pub problems: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<VerifiedOutput>,
}

/// Verifies a committed run. Cost: every output is read once, every source that is still there once.
///
/// Errors: [`EngineError::WrongState`] when the run is not committed.
pub async fn verify(flow: &Flow, state: &LedgerState, run: &RunId) -> Result<VerifyReport, EngineError> {
    let wrap = flow.ledger_error();
    let known = crate::run::known_run(flow, state, run)?;
    let (Some(seq), Some(sha)) = (known.committed, &known.seal) else {
        let detail = match known.status {
            RunStatus::Aborted => "was aborted: it has no outputs",
            RunStatus::Opened
            | RunStatus::Sealed
            | RunStatus::Withdrawing
            | RunStatus::Committed
            | RunStatus::Disposed => "is not committed yet",
        };
        return Err(EngineError::WrongState {
            run: run.clone(),
            detail: detail.into(),
            hint: "`baler runs` shows where runs stand".into(),
        });
    };
    let plan = flow.ledger.read_plan(known).await.map_err(&wrap)?;
    crate::run::check_stores(flow, &plan)?;
    let seal = flow.ledger.read_seal(run, sha).await.map_err(&wrap)?;
    let mut committed: BTreeMap<Key, ObjectVersion> = BTreeMap::new();
    if let Event::Committed { objects, .. } = flow.ledger.read_entry(seq).await.map_err(&wrap)?.event {
        committed.extend(objects.into_iter().map(|o| (o.key, ObjectVersion { etag: o.etag })));
    }
    let mut problems = Vec::new();
    let sizes = plan.group_sizes();
    let planned = sizes
        .iter()
        .filter(|(group, _)| !known.released.contains(group))
        .fold((0, 0), |sum, (_, size)| (sum.0 + size.0, sum.1 + size.1));
    let balance = Balance::of(&plan.header.operation);
    if let Err(imbalance) = group_account(planned.0, planned.1, balance, &seal.header.account) {
        problems.push(format!("the run's account does not balance: {imbalance}"));
    }
    let beside = |output: &&SealedOutput| plan.tasks[output.task.0 as usize].is_beside(output.output);
    let joined: u64 = seal.outputs.iter().filter(|output| !beside(output)).map(|o| o.staged.size).sum();
    if joined != seal.header.account.bytes_out {
        problems.push(format!("{joined} bytes are sealed, the account says {}", seal.header.account.bytes_out));
    }
    let bytes = seal.outputs.iter().map(|o| o.staged.size).sum();
    flow.env.progress.begin(flow.name(), Phase::Verify, seal.outputs.len() as u64, bytes);
    let checks = seal.outputs.iter().map(|output| {
        let version = committed.get(&output.staged.key);
        let plan = &plan;
        let is_anew = is_built_anew(state, plan, output);
        async move {
            if is_anew {
                return Ok(VerifiedOutput {
                    key: output.staged.key.clone(),
                    bytes: output.staged.size,
                    crc64nvme: None,
                    evidence: Some(Evidence::BuiltAnew),
                    problem: None,
                });
            }
            verify_output(flow, plan, output, version).await
        }
    });
    let outputs: Result<Vec<VerifiedOutput>, EngineError> = stream::iter(checks).buffered(4).try_collect().await;
    flow.env.progress.end();
    let outputs = outputs?;
    let proven = problems.is_empty() && outputs.iter().all(|o| o.problem.is_none());
    Ok(VerifyReport { run: run.clone(), proven, problems, outputs })
}

/// Whether a later run took an output's place: at its key, or in the manifest that named it.
///
/// Conversions build their outputs anew, and batches are sent again; at a key of `combine` another run's object is another object.
fn is_built_anew(state: &LedgerState, plan: &Plan, output: &SealedOutput) -> bool {
    let (run, key) = (&plan.header.run, &output.staged.key);
    let by_another = |key: &Key| state.object(key).is_some_and(|own| own.run != *run);
    match plan.header.operation {
        OperationOptions::Combine(_) => false,
        OperationOptions::Scatter(_) => by_another(key),
        OperationOptions::Convert(_) => {
            let mut manifests = plan.tasks[output.task.0 as usize].manifests();
            by_another(key)
                || manifests.any(|(prefix, manifest)| key.as_str().starts_with(prefix) && by_another(manifest))
        }
    }
}

async fn verify_output(
    flow: &Flow,
    plan: &Plan,
    output: &SealedOutput,
    version: Option<&ObjectVersion>,
) -> Result<VerifiedOutput, EngineError> {
    let key = output.staged.key.clone();
    let mut verified =
        VerifiedOutput { key: key.clone(), bytes: output.staged.size, crc64nvme: None, evidence: None, problem: None };
    let version = version.filter(|v| !v.etag.is_empty());
    let read = read_crc(&*flow.target, &key, version).await;
    flow.env.progress.advance(1, output.staged.size);
    let (crc, size) = match read {
        Ok(read) => read,
        Err(StoreError::NotFound { .. }) => {
            verified.problem = Some("it is gone: somebody took it away after the commit".into());
            return Ok(verified);
        }
        Err(StoreError::Changed { found, .. }) => {
            verified.problem = Some(format!("it was overwritten after the commit: its version is {found}"));
            return Ok(verified);
        }
        Err(error) => return Err(error.into()),
    };
    verified.bytes = size;
    verified.crc64nvme = Some(format!("{crc:016x}"));
    if size != output.staged.size {
        verified.problem = Some(format!("it has {size} bytes, {} were committed", output.staged.size));
        return Ok(verified);
    }
    if let Some(expected) = output.staged.crc64nvme.filter(|expected| *expected != crc) {
        verified.problem =
            Some(format!("its CRC-64/NVME is {crc:016x}, {expected:016x} was computed from the sources"));
        return Ok(verified);
    }
    let task = &plan.tasks[output.task.0 as usize];
    let anew = match &plan.header.operation {
        OperationOptions::Combine(options) if output.output == 0 => join_anew(flow, task, options).await?,
        OperationOptions::Combine(_) | OperationOptions::Convert(_) | OperationOptions::Scatter(_) => None,
    };
    match anew {
        Some(expected) if expected == (crc, size) => verified.evidence = Some(Evidence::Sources),
        Some((expected, bytes)) => {
            verified.problem = Some(format!(
                "joining its sources anew gives {bytes} bytes with CRC-64/NVME {expected:016x}, it has {size} with \
                 {crc:016x}"
            ));
        }
        None if output.staged.crc64nvme.is_some() => verified.evidence = Some(Evidence::Checksum),
        None => verified.evidence = Some(Evidence::Version),
    }
    Ok(verified)
}

async fn read_crc(store: &dyn Store, key: &Key, version: Option<&ObjectVersion>) -> Result<(u64, u64), StoreError> {
    let mut get = store.get(key, None, version).await?;
    let (mut crc, mut size) = (Crc64::new(), 0);
    while let Some(chunk) = get.body.try_next().await? {
        crc.update(&chunk);
        size += chunk.len() as u64;
    }
    Ok((crc.value(), size))
}

/// CRC and size of what the sources make when joined anew; `None` when one is no longer there as planned.
///
/// This way of joining shares nothing with the one that made the output but the rules: it reads byte by byte.
async fn join_anew(flow: &Flow, task: &Task, options: &CombineOptions) -> Result<Option<(u64, u64)>, EngineError> {
    let (mut crc, mut size) = (Crc64::new(), 0u64);
    for (i, input) in task.inputs.iter().enumerate() {
        let skip = match options.header_first && i > 0 {
            true => match first_line(flow, input).await {
                Ok(length) => length,
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
            false => 0,
        };
        let range = (skip > 0).then(|| ByteRange::new(skip, input.size));
        if skip == input.size {
            continue;
        }
        let mut get = match flow.source.get(&input.key, range, Some(&input.version())).await {
            Ok(get) => get,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut last = b'\n';
        while let Some(chunk) = get.body.try_next().await.map_err(EngineError::Store)? {
            crc.update(&chunk);
            size += chunk.len() as u64;
            last = chunk.last().copied().unwrap_or(last);
        }
        let separated = match options.separator {
            SeparatorRule::Newline => last != b'\n' && i + 1 < task.inputs.len(),
            SeparatorRule::None => false,
        };
        if separated {
            crc.update(b"\n");
            size += 1;
        }
    }
    Ok(Some((crc.value(), size)))
}

fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. } | StoreError::Changed { .. })
}

/// Length of the first line with its line end.
async fn first_line(flow: &Flow, input: &InputVersion) -> Result<u64, StoreError> {
    let mut get = flow.source.get(&input.key, None, Some(&input.version())).await?;
    let mut length = 0;
    while let Some(chunk) = get.body.try_next().await? {
        if let Some(end) = chunk.iter().position(|&b| b == b'\n') {
            return Ok(length + end as u64 + 1);
        }
        length += chunk.len() as u64;
    }
    Ok(length)
}
