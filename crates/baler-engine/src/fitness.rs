//! Proves stores before they are trusted (protocol section 10), and remembers it for 30 days.

use std::sync::Arc;

use baler_model::Key;
use baler_model::config::{AfterCommit, Deletes, Overwrite};
use baler_model::ledger::ContentHash;
use baler_store::{Proven, Store, StoreKind, prove};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::{PRIVATE_PREFIX, read_whole};

/// How long a proof is believed.
const BELIEVED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Rounds of eight racing writers on a store that answers over a network; the conditions of a directory are the
/// kernel's, a few rounds show that they are there.
const ROUNDS: u32 = 50;
const ROUNDS_ON_DISK: u32 = 2;

/// A remembered proof: `{state}/_probe/{sha256 of the store's identity}.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    identity: String,
    at: Timestamp,
    proven: Proven,
}

/// Proves what a flow asks of its stores. What remains is what deserves a warning, for people.
///
/// Errors: [`EngineError::Unfit`] naming what failed. Cost: nothing while a proof is remembered but one GET per store;
/// else some 1,600 requests per store.
pub(crate) async fn ensure(flow: &Flow) -> Result<Vec<String>, EngineError> {
    let mut warnings = Vec::new();
    let state = flow.ledger.store();
    const LEDGER: &str = "as the place of `state`";
    const LEDGER_HINT: &str = "put `state` on a store that honours conditional writes: S3, Azure, GCS, or a directory of a local \
                               disk (`single_host = true` for a network file system that only this machine writes)";
    if let Some(detail) = state.unfit_for_ledger() {
        return Err(unfit(&**state, LEDGER, detail, LEDGER_HINT));
    }
    let ledger = proof_of(flow, state, &format!("{}_probe/", flow.ledger.state_prefix())).await?;
    ledger.ledger.require().map_err(|e| unfit(&**state, LEDGER, e.what, LEDGER_HINT))?;
    let target = proof_of(flow, &flow.target, &format!("{PRIVATE_PREFIX}_probe/")).await?;
    if let Err(failure) = target.publish_create.require() {
        warnings.push(format!(
            "target `{}` does not honour create-only writes ({failure}): a rival could overwrite an output",
            flow.target.info().name
        ));
    }
    match flow.config.overwrite {
        Overwrite::Refuse => {}
        Overwrite::Allow => {
            let hint = "leave `overwrite` out: outputs at new keys need no replacing";
            let role = "as a place to overwrite in";
            target.publish_replace.require().map_err(|e| unfit(&*flow.target, role, e.what, hint))?;
        }
    }
    if let Some(archive) = &flow.archive {
        let archived = proof_of(flow, &archive.store, &format!("{PRIVATE_PREFIX}_probe/")).await?;
        let hint = "archive to a store that honours conditional writes: S3, Azure, GCS, or a directory";
        let role = "as an archive";
        archived.publish_create.require().map_err(|e| unfit(&*archive.store, role, e.what, hint))?;
    }
    let deletes = match (&flow.config.sources.after_commit, flow.config.sources.deletes) {
        (AfterCommit::Keep, _) | (_, Deletes::Unconditional) => false,
        (AfterCommit::Delete | AfterCommit::Archive { .. }, Deletes::Conditional) => true,
    };
    if deletes {
        let source = proof_of(flow, &flow.source, &format!("{PRIVATE_PREFIX}_probe/")).await?;
        let hint = "`sources = { after_commit = \"keep\" }`, or `unconditional_delete = true` where nothing else \
                    writes these keys";
        let role = "as a place to delete from";
        source.conditional_delete.require().map_err(|e| unfit(&*flow.source, role, e.what, hint))?;
    }
    Ok(warnings)
}

fn unfit(store: &dyn Store, role: &'static str, detail: String, hint: &str) -> EngineError {
    EngineError::Unfit { store: store.info().name.clone(), role, detail, hint: hint.to_owned() }
}

/// The proof of one store: remembered, or made now under `under`.
async fn proof_of(flow: &Flow, store: &Arc<dyn Store>, under: &str) -> Result<Proven, EngineError> {
    // One request first: a server names itself in its answers, and that is a part of the identity.
    store.head(&Key::from_listed(format!("{under}identity"))).await?;
    let identity = store.identity();
    let state = flow.ledger.store();
    let name = ContentHash::of(identity.as_bytes());
    let memory = Key::from_listed(format!("{}_probe/{}.json", flow.ledger.state_prefix(), &name.as_str()[..20]));
    let now = flow.env.clock.now();
    if let Ok(bytes) = read_whole(&**state, &memory).await
        && let Ok(remembered) = serde_json::from_slice::<Remembered>(&bytes)
    {
        let age = now.duration_since(remembered.at);
        if remembered.identity == identity && remembered.version == 1 && age < BELIEVED && !age.is_negative() {
            return Ok(remembered.proven);
        }
    }
    let rounds = match store.info().kind {
        StoreKind::Directory | StoreKind::Memory => ROUNDS_ON_DISK,
        StoreKind::S3 | StoreKind::Azure | StoreKind::Gcs => {
            flow.env.progress.note(&format!("proving that `{}` honours conditional writes …", store.info().name));
            ROUNDS
        }
    };
    let proven = prove(store, under, rounds, &*flow.env.ids).await?;
    let remembered = Remembered { version: 1, identity, at: now, proven: proven.clone() };
    let body = Bytes::from(serde_json::to_vec_pretty(&remembered).expect("plain data"));
    state.put(&memory, body).await?;
    Ok(proven)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `tests/golden/` is never edited: it stands for what lies in users' stores.
    #[test]
    fn proofs_of_version_1_are_read_and_written_as_ever() {
        let golden = include_str!("../tests/golden/proof/v1.json");
        let read: Remembered = serde_json::from_str(golden).unwrap();
        assert_eq!((read.version, &*read.identity), (1, "http://127.0.0.1:9000/bucket (MinIO)"));
        assert_eq!(read.at.to_string(), "2026-01-01T00:00:00Z");
        assert!(read.proven.ledger_ok() && read.proven.publish_create_ok() && read.proven.publish_replace_ok());
        let failure = read.proven.conditional_delete.require().unwrap_err();
        assert_eq!(failure.what, "deleted an object under another version's `If-Match`");
        assert_eq!(serde_json::to_string_pretty(&read).unwrap(), golden);
    }
}
