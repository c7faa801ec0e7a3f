//! A store that counts the bytes which its readers hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, Staged, Stamp, WriteId};
use baler_store::{
    AbortOutcome, ByteRange, Confirmation, DeleteOutcome, Get, Head, ListRequest, Meter, OutputAttributes, Page,
    Precondition, PublishOutcome, PutOutcome, Result, StagedListing, StagedWriter, Store, StoreInfo,
};
use baler_testkit::fixtures;
use bytes::Bytes;
use futures::StreamExt;

/// Forwards everything; bodies are handed out as one chunk each, which is counted until its last reader drops it.
#[derive(Debug, Clone)]
pub(crate) struct HeldStore {
    inner: Arc<dyn Store>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    now: AtomicU64,
    peak: AtomicU64,
    total: AtomicU64,
}

/// Bytes that say when they are dropped.
struct Held {
    bytes: Bytes,
    counts: Arc<Counts>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counts.now.fetch_sub(self.bytes.len() as u64, Ordering::SeqCst);
    }
}

impl HeldStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, counts: Arc::default() }
    }

    /// Bytes that are held now.
    pub(crate) fn now(&self) -> u64 {
        self.counts.now.load(Ordering::SeqCst)
    }

    /// The most that were held at once.
    pub(crate) fn peak(&self) -> u64 {
        self.counts.peak.load(Ordering::SeqCst)
    }

    /// All that was ever handed out of keys under `raw/`.
    pub(crate) fn total(&self) -> u64 {
        self.counts.total.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for HeldStore {
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
        let get = self.inner.get(key, range, version).await?;
        if !key.as_str().starts_with("raw/") {
            return Ok(get);
        }
        let (version, size, range, write_id) = (get.version.clone(), get.size, get.range, get.write_id.clone());
        let bytes = fixtures::body(get).await?;
        let counts = Arc::clone(&self.counts);
        let len = bytes.len() as u64;
        counts.total.fetch_add(len, Ordering::SeqCst);
        let now = counts.now.fetch_add(len, Ordering::SeqCst) + len;
        counts.peak.fetch_max(now, Ordering::SeqCst);
        let held = Bytes::from_owner(Held { bytes, counts });
        // A reader that does not take the next piece at once lets others read on meanwhile.
        let body = futures::stream::once(async move {
            tokio::task::yield_now().await;
            Ok(held)
        });
        Ok(Get { version, size, range, write_id, body: body.boxed() })
    }

    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome> {
        self.inner.put_if_absent(key, body, write_id).await
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
        self.inner.publish(staged, precondition).await
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
        self.inner.delete_if(key, version).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn sync(&self, key: &Key) -> Result<()> {
        self.inner.sync(key).await
    }
}
