//! Proves by racing that a store honours its conditional writes (protocol.md, section 10).
//!
//! Some servers accept conditional headers and ignore them, some honour them without atomicity; a ledger there would
//! lose data silently. So a store is tried before it is trusted: in each round several writers race for one key, and
//! exactly one may win; a completion repeated after its object was deleted must not bring it back.
//!
//! Everything is written below one prefix under a random name and removed again; a crash leaves a few small objects and
//! uploads there.

use std::sync::Arc;

use baler_model::{AttemptId, FlowName, Key, ObjectVersion, RunId, Staged, Stamp, TaskId};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::{
    Confirmation, DeleteOutcome, IdSource, OutputAttributes, Precondition, PublishOutcome, PutOutcome, Result, Store,
    StoreError,
};

/// Writers that race for one key.
const WRITERS: usize = 8;
/// Rounds that run at the same time.
const ROUNDS_AT_ONCE: usize = 4;

/// What a store was seen to do wrong: `accepted 2 of 8 racing `If-None-Match` writes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct ProofFailure {
    /// What went wrong, for people.
    pub what: String,
}

/// Whether one ability was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One winner in every round.
    Proven,
    /// It failed, so.
    Failed(ProofFailure),
}

impl Verdict {
    /// Whether it was proven.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven)
    }

    /// Errors with what failed.
    pub fn require(&self) -> std::result::Result<(), ProofFailure> {
        match self {
            Self::Proven => Ok(()),
            Self::Failed(failure) => Err(failure.clone()),
        }
    }
}

/// What a store was proven able to do, ability by ability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Create-if-absent of small objects is atomic: it may hold a ledger.
    pub ledger: Verdict,
    /// Publishing at a new key is atomic and cannot be repeated: it may receive create-only outputs.
    pub publish_create: Verdict,
    /// Publishing over a given version is atomic: outputs there may be replaced.
    pub publish_replace: Verdict,
    /// Deleting a given version is atomic and spares others: sources there may be deleted.
    pub conditional_delete: Verdict,
}

impl Proven {
    /// Whether the store may hold a ledger.
    pub fn ledger_ok(&self) -> bool {
        self.ledger.is_proven()
    }

    /// Whether the store may receive create-only outputs.
    pub fn publish_create_ok(&self) -> bool {
        self.publish_create.is_proven()
    }

    /// Whether outputs in the store may be replaced.
    pub fn publish_replace_ok(&self) -> bool {
        self.publish_replace.is_proven()
    }

    /// Whether sources in the store may be deleted conditionally.
    pub fn conditional_delete_ok(&self) -> bool {
        self.conditional_delete.is_proven()
    }
}

/// Races writers against each other below the prefix `under`, for so many rounds, and says what the store is worth.
///
/// Errors: a [`StoreError`] when the store could not be tried at all (no permission, unreachable); what it does wrong is
/// no error but a [`Verdict`]. Cost: about 100 requests a round on S3; 50 rounds are the rule there, a few suffice for
/// a directory.
pub async fn prove(store: &Arc<dyn Store>, under: &str, rounds: u32, ids: &dyn IdSource) -> Result<Proven> {
    let separator = if under.is_empty() || under.ends_with('/') { "" } else { "/" };
    let place = format!("{under}{separator}proof-{:016x}", ids.next_u64());
    let proof = Proof { store: &**store, ids, place };
    let mut findings = Findings::default();
    let mut running = futures::stream::iter(0..rounds).map(|round| proof.round(round)).buffer_unordered(ROUNDS_AT_ONCE);
    while let Some(found) = running.next().await {
        findings.merge(found?);
    }
    Ok(findings.verdicts())
}

/// The first failure of each ability.
#[derive(Debug, Default)]
struct Findings {
    ledger: Option<String>,
    publish_create: Option<String>,
    publish_replace: Option<String>,
    conditional_delete: Option<String>,
}

impl Findings {
    fn merge(&mut self, other: Self) {
        let Self { ledger, publish_create, publish_replace, conditional_delete } = other;
        self.ledger = self.ledger.take().or(ledger);
        self.publish_create = self.publish_create.take().or(publish_create);
        self.publish_replace = self.publish_replace.take().or(publish_replace);
        self.conditional_delete = self.conditional_delete.take().or(conditional_delete);
    }

    fn verdicts(self) -> Proven {
        let verdict =
            |what: Option<String>| what.map_or(Verdict::Proven, |what| Verdict::Failed(ProofFailure { what }));
        Proven {
            ledger: verdict(self.ledger),
            publish_create: verdict(self.publish_create),
            publish_replace: verdict(self.publish_replace),
            conditional_delete: verdict(self.conditional_delete),
        }
    }
}

/// Keeps the first complaint.
fn complain(slot: &mut Option<String>, what: impl Into<String>) {
    slot.get_or_insert_with(|| what.into());
}

struct Proof<'a> {
    store: &'a dyn Store,
    ids: &'a dyn IdSource,
    place: String,
}

impl Proof<'_> {
    async fn round(&self, round: u32) -> Result<Findings> {
        let mut found = Findings::default();
        let (small, large) = (self.key(round, "put"), self.key(round, "publish"));
        let outcome = match self.race_puts(&small, &mut found).await {
            Ok(()) => self.race_publishing(round, &large, &mut found).await,
            Err(e) => Err(e),
        };
        for key in [small, large] {
            self.store.delete(&key).await?;
        }
        outcome.map(|()| found)
    }

    fn key(&self, round: u32, name: &str) -> Key {
        Key::from_listed(format!("{}/{round}-{name}", self.place))
    }

    async fn race_puts(&self, key: &Key, found: &mut Findings) -> Result<()> {
        let bodies: Vec<Bytes> =
            (0..WRITERS).map(|n| format!("writer {n}: {:016x}", self.ids.next_u64()).into()).collect();
        let write_ids: Vec<_> = bodies.iter().map(|_| self.ids.write_id()).collect();
        let race = bodies.iter().zip(&write_ids).map(|(body, id)| self.store.put_if_absent(key, body.clone(), id));
        let outcomes = join_all(race).await;
        let mut winners = Vec::new();
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(PutOutcome::Created(_)) => winners.push(n),
                Ok(PutOutcome::Exists { .. }) => {}
                Err(e) => return self.unable(e, &mut found.ledger),
            }
        }
        if winners.len() != 1 {
            let n = winners.len();
            complain(&mut found.ledger, format!("accepted {n} of {WRITERS} racing `If-None-Match` writes"));
            return Ok(());
        }
        let mut get = self.store.get(key, None, None).await?;
        let mut kept = Vec::new();
        while let Some(bytes) = get.body.next().await {
            kept.extend_from_slice(&bytes?);
        }
        if kept != bodies[winners[0]] {
            complain(&mut found.ledger, "kept another write than the one it accepted of racing `If-None-Match` writes");
        }
        Ok(())
    }

    async fn race_publishing(&self, round: u32, key: &Key, found: &mut Findings) -> Result<()> {
        let staged = match self.stage_all(key).await {
            Ok(staged) => staged,
            Err(e) => {
                let why = "could not be tried: nothing can be staged";
                complain(&mut found.publish_replace, why);
                complain(&mut found.conditional_delete, why);
                return self.unable(e, &mut found.publish_create);
            }
        };
        let first = self.race_completions(&staged, &Precondition::Absent, &mut found.publish_create).await;
        let Some((first, version)) = self.keep_on(&staged, first).await? else {
            let why = "could not be tried: publishing at a new key failed";
            complain(&mut found.publish_replace, why);
            complain(&mut found.conditional_delete, why);
            return Ok(());
        };
        let (first, stale) = (staged[first].clone(), version);
        let mut current = stale.clone();

        let staged = self.stage_all(key).await?;
        let expected = Precondition::Matches(stale.clone());
        let second = self.race_completions(&staged, &expected, &mut found.publish_replace).await;
        if let Some((_, version)) = self.keep_on(&staged, second).await? {
            current = version;
            self.publish_over_stale(key, &stale, &mut found.publish_replace).await?;
        }
        self.race_deletes(key, &stale, &current, &mut found.conditional_delete).await?;

        // No race, so once is enough: a server that answers it with HTTP 500 costs all the tries that a call has.
        if round > 0 {
            return Ok(());
        }
        // The object is gone now, whatever was said of the deletes; nothing may bring it back.
        self.store.delete(key).await?;
        let again = self.store.publish(&first, &Precondition::Absent).await;
        if self.store.head(key).await?.is_some() {
            let what = match again {
                Ok(_) => "a completion repeated after its object was deleted brought it back",
                Err(_) => "a completion repeated after its object was deleted failed and brought it back",
            };
            complain(&mut found.publish_create, what);
        }
        Ok(())
    }

    /// Races publishers; the one winner and the version that it made, if all was as it should be.
    async fn race_completions(
        &self,
        staged: &[Staged],
        precondition: &Precondition,
        slot: &mut Option<String>,
    ) -> Result<Option<(usize, ObjectVersion)>> {
        let condition = match precondition {
            Precondition::Absent => "If-None-Match",
            Precondition::Matches(_) | Precondition::Whatever => "If-Match",
        };
        let outcomes = join_all(staged.iter().map(|s| self.store.publish(s, precondition))).await;
        let mut winners = Vec::new();
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(PublishOutcome::Published) => winners.push(n),
                Ok(PublishOutcome::Occupied | PublishOutcome::Replaced { .. } | PublishOutcome::StagedGone) => {}
                Err(e) => return self.unable(e, slot).map(|()| None),
            }
        }
        if winners.len() != 1 {
            let n = winners.len();
            complain(slot, format!("accepted {n} of {WRITERS} racing `{condition}` completions"));
            return Ok(None);
        }
        match self.store.confirm(&staged[winners[0]]).await? {
            Confirmation::Ours { version, .. } => Ok(Some((winners[0], version))),
            Confirmation::Corrupt { detail, .. } => {
                complain(slot, format!("a completion under `{condition}` was accepted and is corrupt: {detail}"));
                Ok(None)
            }
            Confirmation::Foreign { .. } | Confirmation::Absent => {
                complain(
                    slot,
                    format!("kept another output than the one it accepted of racing `{condition}` completions"),
                );
                Ok(None)
            }
        }
    }

    /// A completion that names a version which is there no more must be refused.
    async fn publish_over_stale(&self, key: &Key, stale: &ObjectVersion, slot: &mut Option<String>) -> Result<()> {
        let late = self.stage_one(key).await?;
        match self.store.publish(&late, &Precondition::Matches(stale.clone())).await {
            Ok(PublishOutcome::Published) => {
                complain(slot, "accepted an `If-Match` completion whose version was not there any more");
            }
            Ok(PublishOutcome::Occupied | PublishOutcome::Replaced { .. } | PublishOutcome::StagedGone) => {}
            Err(e) => self.unable(e, slot)?,
        }
        self.give_up(&[late]).await
    }

    async fn race_deletes(
        &self,
        key: &Key,
        stale: &ObjectVersion,
        current: &ObjectVersion,
        slot: &mut Option<String>,
    ) -> Result<()> {
        if stale != current {
            match self.store.delete_if(key, stale).await {
                Ok(DeleteOutcome::Changed { .. }) => {}
                Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent) => {
                    complain(slot, "accepted an `If-Match` delete whose version was not there any more");
                    return Ok(());
                }
                Err(e) => return self.unable(e, slot),
            }
        }
        // Read now: after a failed replacement it may be neither.
        let Some(head) = self.store.head(key).await? else {
            complain(slot, "could not be tried: the object vanished");
            return Ok(());
        };
        let outcomes = join_all((0..WRITERS).map(|_| self.store.delete_if(key, &head.version))).await;
        let mut winners = 0;
        for outcome in outcomes {
            match outcome {
                Ok(DeleteOutcome::Deleted) => winners += 1,
                Ok(DeleteOutcome::Absent | DeleteOutcome::Changed { .. }) => {}
                Err(e) => return self.unable(e, slot),
            }
        }
        if winners != 1 {
            complain(slot, format!("accepted {winners} of {WRITERS} racing `If-Match` deletes"));
        } else if self.store.head(key).await?.is_some() {
            complain(slot, "accepted an `If-Match` delete and kept the object");
        }
        Ok(())
    }

    async fn stage_all(&self, key: &Key) -> Result<Vec<Staged>> {
        let mut all = Vec::new();
        let mut failed = None;
        for staged in join_all((0..WRITERS).map(|_| self.stage_one(key))).await {
            match staged {
                Ok(staged) => all.push(staged),
                Err(e) => failed = Some(e),
            }
        }
        match failed {
            None => Ok(all),
            Some(e) => {
                self.give_up(&all).await?;
                Err(e)
            }
        }
    }

    async fn stage_one(&self, key: &Key) -> Result<Staged> {
        let stamp = Stamp {
            flow: FlowName::try_new("baler").expect("it is a name"),
            run: RunId::try_new("proof").expect("it is a name"),
            task: TaskId(0),
            attempt: self.ids.attempt_id(),
        };
        let body = text_of(&stamp.attempt);
        let writer = self.store.stage(key, &stamp, &OutputAttributes::default()).await?;
        match writer.write_part(1, vec![body]).await {
            Ok(()) => writer.finish(None).await,
            Err(e) => writer.abort().await.and(Err(e)),
        }
    }

    async fn give_up(&self, staged: &[Staged]) -> Result<()> {
        for outcome in join_all(staged.iter().map(|s| self.store.abort_staged(s))).await {
            outcome?;
        }
        Ok(())
    }

    /// Gives up all losers, and everything when there is no winner; hands the outcome on.
    async fn keep_on<T>(&self, staged: &[Staged], outcome: Result<Option<(usize, T)>>) -> Result<Option<(usize, T)>> {
        let winner = outcome.as_ref().ok().and_then(|o| o.as_ref()).map(|(winner, _)| *winner);
        for (n, loser) in staged.iter().enumerate() {
            if Some(n) != winner {
                self.store.abort_staged(loser).await?;
            }
        }
        outcome
    }

    /// What the store says it cannot do is a verdict; that it could not be reached is an error.
    fn unable(&self, error: StoreError, slot: &mut Option<String>) -> Result<()> {
        match error {
            StoreError::Unsupported { detail, .. } => {
                complain(slot, format!("it cannot do it: {detail}"));
                Ok(())
            }
            error @ (StoreError::NotFound { .. }
            | StoreError::Changed { .. }
            | StoreError::Denied { .. }
            | StoreError::Exhausted { .. }
            | StoreError::NoRoom { .. }
            | StoreError::Failed { .. }
            | StoreError::Cancelled { .. }) => Err(error),
        }
    }
}

fn text_of(attempt: &AttemptId) -> Bytes {
    format!("attempt {attempt}").into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::tests::{clock, ids};
    use crate::{DirectoryOptions, DirectoryStore, ListRequest, MemoryOptions, MemoryStore, SystemClock, SystemIds};

    #[tokio::test]
    async fn memory_is_proven_and_left_clean() {
        let memory = Arc::new(MemoryStore::new("m", MemoryOptions::default(), clock(), ids()));
        let store: Arc<dyn Store> = memory.clone();
        let proven = prove(&store, "_baler/proof", 5, &SystemIds).await.unwrap();
        assert!(proven.ledger_ok() && proven.publish_create_ok(), "{proven:?}");
        assert!(proven.publish_replace_ok() && proven.conditional_delete_ok(), "{proven:?}");
        assert_eq!(store.list(&ListRequest::default()).await.unwrap().objects, []);
        assert_eq!(store.list_staged("").await.unwrap(), []);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_directory_is_proven_and_left_clean() {
        let root = tempfile::tempdir().unwrap();
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let options = DirectoryOptions::default();
        let store = DirectoryStore::new("d", root.path().into(), options, clock, ids).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let proven = prove(&store, "", 4, &SystemIds).await.unwrap();
        assert!(proven.ledger_ok() && proven.publish_create_ok(), "{proven:?}");
        assert!(proven.publish_replace_ok() && proven.conditional_delete_ok(), "{proven:?}");
        assert_eq!(store.list(&ListRequest::default()).await.unwrap().objects, []);
        assert_eq!(store.list_staged("").await.unwrap(), []);
    }

    async fn verdict_of(lie: crate::memory::tests::Lie) -> Proven {
        let store: Arc<dyn Store> = Arc::new(crate::memory::tests::LyingStore::new(lie));
        prove(&store, "p", 2, &SystemIds).await.unwrap()
    }

    #[tokio::test]
    async fn a_store_that_ignores_conditions_is_found_out() {
        use crate::memory::tests::Lie;
        let failed = verdict_of(Lie::PutIfAbsent).await.ledger.require().unwrap_err();
        assert_eq!(failed.to_string(), "accepted 8 of 8 racing `If-None-Match` writes");
        let failed = verdict_of(Lie::PublishAbsent).await.publish_create.require().unwrap_err();
        assert_eq!(failed.to_string(), "accepted 8 of 8 racing `If-None-Match` completions");
        let failed = verdict_of(Lie::PublishMatches).await.publish_replace.require().unwrap_err();
        assert_eq!(failed.to_string(), "accepted 8 of 8 racing `If-Match` completions");
        let failed = verdict_of(Lie::DeleteIf).await.conditional_delete.require().unwrap_err();
        assert_eq!(failed.to_string(), "accepted an `If-Match` delete whose version was not there any more");
        let failed = verdict_of(Lie::Repeat).await.publish_create.require().unwrap_err();
        assert_eq!(failed.to_string(), "a completion repeated after its object was deleted brought it back");
    }

    #[tokio::test]
    async fn one_lie_does_not_taint_the_other_verdicts() {
        let proven = verdict_of(crate::memory::tests::Lie::DeleteIf).await;
        assert!(proven.ledger_ok() && proven.publish_create_ok() && proven.publish_replace_ok(), "{proven:?}");
        assert!(!proven.conditional_delete_ok());
    }

    #[test]
    fn a_verdict_survives_being_remembered() {
        let proven = Findings { ledger: Some("accepted 2 of 8".into()), ..Findings::default() }.verdicts();
        let text = serde_json::to_string(&proven).unwrap();
        assert_eq!(serde_json::from_str::<Proven>(&text).unwrap(), proven);
        assert!(text.contains(r#""ledger":{"failed":{"what":"accepted 2 of 8"}},"publish_create":"proven""#), "{text}");
    }
}
