use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baler_model::{AttemptId, FlowName, RunId, TaskId};

use super::*;

#[derive(Debug)]
struct StillClock;

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    async fn sleep(&self, _duration: Duration) {}
}

#[derive(Debug, Default)]
struct CountingIds(AtomicU64);

impl IdSource for CountingIds {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(StillClock)
}

pub(crate) fn ids() -> Arc<dyn IdSource> {
    Arc::new(CountingIds::default())
}

pub(crate) fn key(text: &str) -> Key {
    Key::try_new(text).unwrap()
}

pub(crate) fn stamp(attempt: &str) -> Stamp {
    Stamp {
        flow: FlowName::try_new("flow").unwrap(),
        run: RunId::try_new("run").unwrap(),
        task: TaskId(7),
        attempt: AttemptId::try_new(attempt).unwrap(),
    }
}

pub(crate) async fn read(store: &dyn Store, name: &str) -> Vec<u8> {
    let mut get = store.get(&key(name), None, None).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = get.body.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

pub(crate) async fn stage(store: &dyn Store, name: &str, attempt: &str, body: &str) -> Staged {
    let writer = store.stage(&key(name), &stamp(attempt), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::copy_from_slice(body.as_bytes())]).await.unwrap();
    writer.finish(None).await.unwrap()
}

/// What a bad server gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    PutIfAbsent,
    PublishAbsent,
    PublishMatches,
    DeleteIf,
    Repeat,
}

/// A store that accepts one kind of condition and ignores it.
#[derive(Debug)]
pub(crate) struct LyingStore {
    inner: MemoryStore,
    lie: Lie,
}

impl LyingStore {
    pub(crate) fn new(lie: Lie) -> Self {
        Self { inner: MemoryStore::new("liar", MemoryOptions::default(), clock(), ids()), lie }
    }
}

#[async_trait]
impl Store for LyingStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }
    fn meter(&self) -> &Meter {
        self.inner.meter()
    }
    async fn list(&self, request: &ListRequest) -> Result<Page> {
        self.inner.list(request).await
    }
    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.inner.head(key).await
    }
    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get> {
        self.inner.get(key, range, version).await
    }
    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome> {
        match self.lie {
            Lie::PutIfAbsent => self.inner.put(key, body).await.map(PutOutcome::Created),
            _ => self.inner.put_if_absent(key, body, write_id).await,
        }
    }
    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        self.inner.put(key, body).await
    }
    async fn stage(&self, key: &Key, stamp: &Stamp, attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>> {
        self.inner.stage(key, stamp, attributes).await
    }
    async fn staged_exists(&self, staged: &Staged) -> Result<bool> {
        self.inner.staged_exists(staged).await
    }
    async fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
        match (self.lie, precondition) {
            (Lie::PublishAbsent, Precondition::Absent) | (Lie::PublishMatches, Precondition::Matches(_)) => {
                self.inner.publish(staged, &Precondition::Whatever).await
            }
            (Lie::Repeat, Precondition::Absent) => match self.inner.publish(staged, precondition).await? {
                PublishOutcome::StagedGone => {
                    self.inner.put(&staged.key, Bytes::from_static(b"risen")).await?;
                    Ok(PublishOutcome::Published)
                }
                outcome => Ok(outcome),
            },
            _ => self.inner.publish(staged, precondition).await,
        }
    }
    async fn confirm(&self, staged: &Staged) -> Result<Confirmation> {
        self.inner.confirm(staged).await
    }
    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        self.inner.abort_staged(staged).await
    }
    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        self.inner.list_staged(prefix).await
    }
    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        self.inner.abort_listed(listing).await
    }
    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome> {
        match self.lie {
            Lie::DeleteIf => self.inner.delete(key).await.map(|()| DeleteOutcome::Deleted),
            _ => self.inner.delete_if(key, version).await,
        }
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }
}

fn memory() -> MemoryStore {
    MemoryStore::new("m", MemoryOptions::default(), clock(), ids())
}

#[tokio::test]
async fn lost_put_reply_is_not_a_conflict() {
    let (store, source) = (memory(), CountingIds::default());
    let (mine, other) = (source.write_id(), source.write_id());
    let body = Bytes::from_static(b"1");
    assert!(matches!(store.put_if_absent(&key("k"), body.clone(), &mine).await, Ok(PutOutcome::Created(_))));
    assert!(matches!(store.put_if_absent(&key("k"), body.clone(), &mine).await, Ok(PutOutcome::Created(_))));
    let outcome = store.put_if_absent(&key("k"), body, &other).await.unwrap();
    assert_eq!(outcome, PutOutcome::Exists { owner: Some(mine) });
}

#[tokio::test]
async fn etags_are_those_of_s3() {
    let store = memory();
    let version = store.put(&key("a"), Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(&*version.etag, "5d41402abc4b2a76b9719d911017c592");
    let staged = stage(&store, "b", "x", "hello").await;
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    let head = store.head(&key("b")).await.unwrap().unwrap();
    assert_eq!(&*head.version.etag, format!("{}-1", hex(&Md5::digest(Md5::digest(b"hello")))));
}

#[tokio::test]
async fn a_small_middle_part_is_refused_when_completed_and_a_small_last_one_is_not() {
    let store = memory();
    let writer = store.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"small")]).await.unwrap();
    writer.write_part(2, vec![Bytes::from_static(b"last")]).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    let refused = store.publish(&staged, &Precondition::Absent).await.unwrap_err();
    assert!(refused.to_string().contains("EntityTooSmall"), "{refused}");

    let writer = store.stage(&key("k"), &stamp("b"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(2, vec![Bytes::from_static(b"last")]).await.unwrap();
    writer.write_part(1, vec![vec![b'x'; 5 << 20].into()]).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(staged.size, (5 << 20) + 4);
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert!(matches!(store.confirm(&staged).await.unwrap(), Confirmation::Ours { proof: Proof::Crc64Nvme, .. }));
    assert_eq!(store.meter().read().put, 3 + 1 + 3 + 1);
}

#[tokio::test]
async fn an_output_is_proven_by_its_part_etags_where_no_checksum_was_kept() {
    let store = memory();
    let mut staged = stage(&store, "k", "a", "body").await;
    staged.crc64nvme = None;
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    assert!(matches!(store.confirm(&staged).await, Ok(Confirmation::Ours { proof: Proof::PartEtags, .. })));
}

#[tokio::test]
async fn wrong_bytes_under_our_stamp_are_corrupt() {
    let store = memory();
    let mut staged = stage(&store, "k", "a", "body").await;
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    staged.crc64nvme = Some(1);
    assert!(matches!(store.confirm(&staged).await, Ok(Confirmation::Corrupt { .. })));
}

#[tokio::test]
async fn nothing_staged_is_visible_and_a_repeated_completion_revives_nothing() {
    let store = memory();
    let staged = stage(&store, "k", "a", "body").await;
    assert_eq!(store.head(&key("k")).await.unwrap(), None);
    assert!(store.staged_exists(&staged).await.unwrap());
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    store.delete(&key("k")).await.unwrap();
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
    assert_eq!(store.confirm(&staged).await.unwrap(), Confirmation::Absent);
}

#[tokio::test]
async fn an_expired_upload_is_gone() {
    let store = memory();
    let staged = stage(&store, "k", "a", "body").await;
    let [upload] = &store.upload_ids()[..] else { panic!("one upload is open") };
    assert!(store.expire_upload(upload));
    assert!(!store.staged_exists(&staged).await.unwrap());
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
}

#[tokio::test]
async fn publishing_keeps_to_its_precondition() {
    let store = memory();
    let old = store.put(&key("k"), Bytes::from_static(b"old")).await.unwrap();
    let staged = stage(&store, "k", "a", "new").await;
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Occupied);
    let other = Precondition::Matches(ObjectVersion::new("other"));
    let outcome = store.publish(&staged, &other).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Replaced { found: Some(old.clone()) });
    let matching = Precondition::Matches(old.clone());
    assert_eq!(store.publish(&staged, &matching).await.unwrap(), PublishOutcome::Published);
    assert_eq!(read(&store, "k").await, b"new");
    assert!(matches!(store.delete_if(&key("k"), &old).await, Ok(DeleteOutcome::Changed { .. })));
    let now = store.head(&key("k")).await.unwrap().unwrap().version;
    assert_eq!(store.delete_if(&key("k"), &now).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(store.delete_if(&key("k"), &now).await.unwrap(), DeleteOutcome::Absent);
}

#[tokio::test]
async fn siblings_copy_parts_and_pin_their_version() {
    let source = memory();
    let target = source.sibling("t", MemoryOptions::default());
    let version = source.put(&key("s"), Bytes::from_static(b"0123456789")).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(source.clone());
    let copy = CopySource { store: store.clone(), key: key("s"), version, size: 10 };
    let writer = target.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap();
    writer.copy_part(1, &copy, ByteRange::new(2, 5)).await.unwrap();
    let stale = CopySource { version: ObjectVersion::new("stale"), ..copy.clone() };
    assert!(matches!(writer.copy_part(2, &stale, ByteRange::new(0, 1)).await, Err(StoreError::Changed { .. })));
    let missing = CopySource { key: key("none"), ..copy };
    assert!(matches!(writer.copy_part(2, &missing, ByteRange::new(0, 1)).await, Err(StoreError::NotFound { .. })));
    let staged = writer.finish(None).await.unwrap();
    target.publish(&staged, &Precondition::Absent).await.unwrap();
    assert_eq!(read(&target, "k").await, b"234");
    assert_eq!(source.meter().read().get, 0, "no byte passed through this machine");

    let stranger = memory();
    let writer = stranger.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap();
    let version = ObjectVersion::new("any");
    let copy = CopySource { store: Arc::new(target), key: key("k"), version, size: 3 };
    assert!(matches!(writer.copy_part(1, &copy, ByteRange::new(0, 3)).await, Err(StoreError::Unsupported { .. })));
}

#[tokio::test]
async fn an_empty_output_can_be_published() {
    let store = memory();
    let writer = store.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert_eq!(store.head(&key("k")).await.unwrap().unwrap().size, 0);
}

#[tokio::test]
async fn pages_of_a_folded_listing_lose_and_repeat_nothing() {
    let options = MemoryOptions { page: 2, ..MemoryOptions::default() };
    let store = MemoryStore::new("m", options, clock(), ids());
    for name in ["a", "b/1", "b/2", "b0", "c/x/y", "c/z", "d"] {
        store.put(&key(name), Bytes::new()).await.unwrap();
    }
    let mut request = ListRequest { folded: true, ..ListRequest::default() };
    let mut found = Vec::new();
    loop {
        let page = store.list(&request).await.unwrap();
        let objects = page.objects.iter().map(|o| o.key.to_string());
        let mut both: Vec<String> = objects.chain(page.prefixes.iter().cloned()).collect();
        both.sort();
        assert!(both.len() <= 2);
        found.extend(both);
        match page.next {
            Some(next) => request.token = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ["a", "b/", "b0", "c/", "d"]);
}

#[tokio::test]
async fn a_pinned_or_clipped_read_yields_what_was_asked_for() {
    let options = MemoryOptions { chunk: 2, ..MemoryOptions::default() };
    let store = MemoryStore::new("m", options, clock(), ids());
    let version = store.put(&key("k"), Bytes::from_static(b"012345")).await.unwrap();
    assert_eq!(read(&store, "k").await, b"012345");
    let get = store.get(&key("k"), Some(ByteRange::new(4, 99)), Some(&version)).await.unwrap();
    assert_eq!((get.range, get.size), (ByteRange::new(4, 6), 6));
    let stale = ObjectVersion::new("stale");
    assert!(matches!(store.get(&key("k"), None, Some(&stale)).await, Err(StoreError::Changed { .. })));
    assert!(matches!(store.get(&key("none"), None, None).await, Err(StoreError::NotFound { .. })));
}
