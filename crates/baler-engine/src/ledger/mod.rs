//! The ledger: objects in a store, no database, no lock, no head pointer (`docs/protocol.md`).
//!
//! - INV-LOG-1: entries are created if absent under dense numbers and never changed or removed.
//! - INV-MARK-1: a mark is created once per task and generation; its attempt is the winner.
//! - Whoever crashes between two calls leaves either a whole object or none; everything here may be repeated.
//! - [`fold`] and [`decide`] are pure; this module only reads and writes.

pub mod decide;
mod files;
pub mod fold;
mod paths;
mod snapshot;

use std::sync::Arc;

use baler_model::ledger::{Entry, Event, FORMAT_VERSION};
use baler_model::{FlowName, Key, Kind, LogSeq, ObjectVersion};
use baler_store::{Clock, IdSource, ListRequest, PutOutcome, Store, StoreError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

pub use files::{Claims, ConsumedSet, Marks, Plan, PlanClaims, Seal};
pub use fold::{FoldError, LedgerState, OwnObject, RunState, RunStatus};
pub use paths::PRIVATE_PREFIX;
use paths::Paths;
pub(crate) use paths::intermediate as intermediate_key;

/// How many small objects are read at once.
const FAN_OUT: usize = 16;

/// Every entry whose number this divides is put again, to learn whether the store still honours conditions.
const RECHECK_EVERY: u64 = 16;

/// What can go wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log cannot be folded.
    #[error("the log of flow `{flow}` is broken")]
    Log {
        /// The flow.
        flow: FlowName,
        /// How.
        #[source]
        source: FoldError,
    },
    /// A file of the ledger is missing or cannot be read.
    #[error("`{key}` of the ledger cannot be read: {detail}")]
    Broken {
        /// The file.
        key: Key,
        /// Why.
        detail: String,
    },
    /// A file of a format that this build does not know.
    #[error("`{key}` of the ledger has format version {version}, this build reads up to {FORMAT_VERSION}")]
    Version {
        /// The file.
        key: Key,
        /// Its version.
        version: u32,
    },
    /// The store accepted a conditional write that it had to refuse.
    #[error("the ledger's store accepted a second `{key}` under `If-None-Match`; everything stops here")]
    ConditionIgnored {
        /// The entry that was written twice.
        key: Key,
    },
}

impl LedgerError {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Log { .. } | Self::Broken { .. } | Self::Version { .. } | Self::ConditionIgnored { .. } => {
                Kind::Invalid
            }
        }
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Log { .. } => Some(
                "a log entry was removed or changed from outside; restore it (a lifecycle rule may be the cause)"
                    .into(),
            ),
            Self::Broken { .. } => Some(
                "the file was removed or changed from outside; restore it from a backup or an older version".into(),
            ),
            Self::Version { .. } => {
                Some("a newer Baler writes to this ledger: use that version here too; nothing was changed".into())
            }
            Self::ConditionIgnored { .. } => Some(
                "move `state` to a store that honours conditional writes (a directory, S3), then look at what both \
                 writers did"
                    .into(),
            ),
        }
    }
}

/// What became of an attempt to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The entry is ours; the state includes it.
    Ours(LogSeq),
    /// Somebody else wrote that number; the state includes theirs: decide again.
    Lost,
}

/// The ledger of one flow.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    state_prefix: String,
    paths: Paths,
    flow: FlowName,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    author: String,
}

impl Ledger {
    /// Opens the ledger of a flow under `state_prefix` (empty, or ending in `/`). Nothing is read yet.
    pub fn new(
        store: Arc<dyn Store>,
        state_prefix: &str,
        flow: FlowName,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        author: String,
    ) -> Self {
        let paths = Paths::new(state_prefix, &flow);
        Self { store, state_prefix: state_prefix.to_owned(), paths, flow, clock, ids, author }
    }

    /// The flow.
    pub fn flow(&self) -> &FlowName {
        &self.flow
    }

    /// The store that holds it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The prefix of all state, this flow's and others'.
    pub fn state_prefix(&self) -> &str {
        &self.state_prefix
    }

    /// Reads what the log says: the newest readable snapshot, then every entry behind it.
    ///
    /// Cost: two LISTs, one GET per entry behind the snapshot, one for the snapshot.
    pub async fn load(&self) -> Result<LedgerState, LedgerError> {
        let mut state = self.newest_snapshot(None).await?.map(|s| s.state).unwrap_or_default();
        self.refresh(&mut state).await?;
        Ok(state)
    }

    /// Takes every entry that was appended since.
    ///
    /// Cost: one LIST, one GET per new entry.
    pub async fn refresh(&self, state: &mut LedgerState) -> Result<(), LedgerError> {
        let keys = self.list_seqs(self.paths.log_prefix(), Some(self.paths.log(state.head()))).await?;
        let mut entries = stream::iter(keys.into_iter().map(|seq| self.read_entry(seq))).buffered(FAN_OUT);
        while let Some(entry) = entries.try_next().await? {
            self.apply(state, &entry)?;
        }
        Ok(())
    }

    /// Tries to append an event behind the state's head.
    ///
    /// The caller decided on `state`; when somebody else was first, the state takes their entry and the caller decides
    /// again. A reply that was lost is recognised by the write id. Durable on return. Cost: one PUT.
    pub async fn try_append(&self, state: &mut LedgerState, event: Event) -> Result<Appended, LedgerError> {
        let seq = state.head().next();
        let entry = self.entry(seq, event);
        state.accepts(&entry).map_err(|source| LedgerError::Log { flow: self.flow.clone(), source })?;
        let key = self.paths.log(seq);
        let body = Bytes::from(serde_json::to_vec_pretty(&entry).expect("an entry is plain data"));
        match self.store.put_if_absent(&key, body, &entry.write_id).await? {
            PutOutcome::Created(_) => {
                self.recheck(seq, &entry).await?;
                self.apply(state, &entry)?;
                Ok(Appended::Ours(seq))
            }
            PutOutcome::Exists { .. } => {
                let theirs = self.read_entry(seq).await?;
                // Whoever relies on an entry makes it durable himself: its author may have lost power.
                self.store.sync(&key).await?;
                self.apply(state, &theirs)?;
                match theirs.write_id == entry.write_id {
                    true => Ok(Appended::Ours(seq)),
                    false => Ok(Appended::Lost),
                }
            }
        }
    }

    /// Makes the log's last entry durable, whoever wrote it: before anything irreversible rests on it.
    pub async fn sync_log(&self, state: &LedgerState) -> Result<(), LedgerError> {
        if state.head() > LogSeq(0) {
            self.store.sync(&self.paths.log(state.head())).await?;
        }
        Ok(())
    }

    fn entry(&self, seq: LogSeq, event: Event) -> Entry {
        Entry {
            version: FORMAT_VERSION,
            seq,
            write_id: self.ids.write_id(),
            at: self.clock.now(),
            by: self.author.clone(),
            event,
        }
    }

    fn apply(&self, state: &mut LedgerState, entry: &Entry) -> Result<(), LedgerError> {
        state.apply(entry).map_err(|source| LedgerError::Log { flow: self.flow.clone(), source })
    }

    /// Puts an entry again that is already there: a store that accepts this has stopped honouring conditions.
    async fn recheck(&self, seq: LogSeq, entry: &Entry) -> Result<(), LedgerError> {
        if !seq.0.is_multiple_of(RECHECK_EVERY) {
            return Ok(());
        }
        let other = Entry { write_id: self.ids.write_id(), ..entry.clone() };
        let key = self.paths.log(seq);
        // The body differs by its write id alone: were it to replace the entry, the log would still say the same.
        let body = Bytes::from(serde_json::to_vec_pretty(&other).expect("an entry is plain data"));
        match self.store.put_if_absent(&key, body, &other.write_id).await? {
            PutOutcome::Exists { .. } => Ok(()),
            PutOutcome::Created(_) => Err(LedgerError::ConditionIgnored { key }),
        }
    }

    /// Reads one entry.
    pub async fn read_entry(&self, seq: LogSeq) -> Result<Entry, LedgerError> {
        let key = self.paths.log(seq);
        let bytes = self.read(&key).await?;
        files::parse_versioned(&key, &bytes)
    }

    /// The numbers under a prefix, sorted.
    async fn list_seqs(&self, prefix: String, after: Option<Key>) -> Result<Vec<LogSeq>, LedgerError> {
        let start_after = after.map(|k| k.as_str().to_owned());
        let objects = self.list(ListRequest { prefix, start_after, ..ListRequest::default() }).await?;
        Ok(objects.iter().filter_map(paths::parse_seq).collect())
    }

    /// All keys that a request yields.
    async fn list(&self, mut request: ListRequest) -> Result<Vec<Key>, LedgerError> {
        let mut keys = Vec::new();
        loop {
            let page = self.store.list(&request).await?;
            keys.extend(page.objects.into_iter().map(|o| o.key));
            match page.next {
                Some(token) => request.token = Some(token),
                None => return Ok(keys),
            }
        }
    }

    /// A whole small object.
    async fn read(&self, key: &Key) -> Result<Bytes, LedgerError> {
        match self.read_if_there(key).await? {
            Some(bytes) => Ok(bytes),
            None => Err(LedgerError::Broken { key: key.clone(), detail: "it is missing".into() }),
        }
    }

    /// A whole small object, if it is there.
    async fn read_if_there(&self, key: &Key) -> Result<Option<Bytes>, LedgerError> {
        match read_whole(&*self.store, key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads a whole small object into memory.
pub(crate) async fn read_whole(store: &dyn Store, key: &Key) -> Result<Bytes, StoreError> {
    read_version(store, key, None).await
}

/// Reads a whole small object into memory, pinned to a version if one is given.
pub(crate) async fn read_version(
    store: &dyn Store,
    key: &Key,
    version: Option<&ObjectVersion>,
) -> Result<Bytes, StoreError> {
    let mut get = store.get(key, None, version).await?;
    let mut whole = Vec::with_capacity(usize::try_from(get.size).unwrap_or(0).min(64 << 20));
    while let Some(chunk) = get.body.try_next().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}
