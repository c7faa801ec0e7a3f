//! A store that fails as a test asks: before an effect, after it, or never to return.
//!
//! [`FaultStore`] wraps any store and forwards every method, those of staged writers too. A hook sees each operation
//! before it begins and says what becomes of it. Failing *after* the effect is the case that matters most: the write
//! happened and its author is told that it did not.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, Staged, Stamp, WriteId};
use baler_store::{
    AbortOutcome, Appender, ByteRange, Confirmation, CopySource, DeleteOutcome, Get, Head, LifecycleRule, ListRequest,
    Meter, OutputAttributes, Page, Precondition, PublishOutcome, PutOutcome, Result, StagedListing, StagedWriter,
    Store, StoreError, StoreInfo,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::clock::SplitMix;

/// A method of [`Store`] or [`StagedWriter`] that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the methods")]
pub enum Method {
    Lifecycle,
    List,
    Head,
    Get,
    PutIfAbsent,
    Put,
    Stage,
    StagedExists,
    Publish,
    Confirm,
    AbortStaged,
    ListStaged,
    AbortListed,
    DeleteIf,
    Delete,
    Sync,
    WritePart,
    CopyPart,
    Finish,
    Abort,
}

impl Method {
    /// Whether a call can change the store.
    pub fn writes(self) -> bool {
        match self {
            Self::Lifecycle
            | Self::List
            | Self::Head
            | Self::Get
            | Self::StagedExists
            | Self::Confirm
            | Self::ListStaged => false,
            Self::PutIfAbsent
            | Self::Put
            | Self::Stage
            | Self::Publish
            | Self::AbortStaged
            | Self::AbortListed
            | Self::DeleteIf
            | Self::Delete
            | Self::Sync
            | Self::WritePart
            | Self::CopyPart
            | Self::Finish
            | Self::Abort => true,
        }
    }
}

/// One operation, as the hook sees it before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The method.
    pub method: Method,
    /// The key that it is about; the prefix for listings.
    pub key: String,
    /// How many operations this store saw before it.
    pub index: u64,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It happens.
    Proceed,
    /// It fails and nothing happened.
    FailBefore,
    /// It happens and an error is returned.
    FailAfter,
    /// It is refused for lack of room, and nothing happened: a full disk, a file system mounted read-only.
    NoRoom,
    /// It is refused for lack of permission, and nothing happened.
    Denied,
    /// It never returns and nothing happens: the process stopped here.
    Hang,
    /// It happens and never returns: the process stopped right behind it.
    HangAfter,
    /// Nothing is decided (a 409, a 503) and the client sends it again: the hook is asked once more.
    Retry,
    /// It happens, its reply is lost, and the client sends it again: the hook is asked once more. A call that cannot be
    /// sent twice (a writer's end) happens once.
    Repeat,
    /// It happens, and the body of a read ends a byte early without an error; for other methods the same as
    /// [`Self::Proceed`].
    EndEarly,
}

/// Called before each operation; it may wait, so that a simulation can order what happens.
pub type Hook = Arc<dyn Fn(&Op) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// A store that fails as its hook says.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    control: Arc<Control>,
}

struct Control {
    name: String,
    hook: Mutex<Hook>,
    log: Mutex<Vec<Op>>,
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A hook that lets everything happen.
pub fn proceed() -> Hook {
    Arc::new(|_| Box::pin(std::future::ready(Verdict::Proceed)))
}

/// A hook from a script: the `nth` call (from 1) of a method gets its verdict, all others proceed.
pub fn scripted(script: impl IntoIterator<Item = (Method, u64, Verdict)>) -> Hook {
    let script: HashMap<(Method, u64), Verdict> =
        script.into_iter().map(|(method, nth, verdict)| ((method, nth), verdict)).collect();
    let counts = Mutex::new(HashMap::<Method, u64>::new());
    Arc::new(move |op| {
        let nth = {
            let mut counts = counts.lock();
            let nth = counts.entry(op.method).or_default();
            *nth += 1;
            *nth
        };
        let verdict = script.get(&(op.method, nth)).copied().unwrap_or(Verdict::Proceed);
        Box::pin(std::future::ready(verdict))
    })
}

/// A hook that fails operations at random, before and after their effect alike; equal seeds and orders give equal
/// faults.
pub fn seeded(seed: u64, probability: f64) -> Hook {
    let generator = Mutex::new(SplitMix::new(seed));
    Arc::new(move |_| {
        let mut generator = generator.lock();
        let verdict = match (generator.unit() < probability, generator.below(2)) {
            (false, _) => Verdict::Proceed,
            (true, 0) => Verdict::FailBefore,
            (true, _) => Verdict::FailAfter,
        };
        Box::pin(std::future::ready(verdict))
    })
}

impl FaultStore {
    /// Wraps a store; until a hook is set, everything happens.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::with_hook(inner, proceed())
    }

    /// Wraps a store under a hook.
    pub fn with_hook(inner: Arc<dyn Store>, hook: Hook) -> Self {
        let name = inner.info().name.clone();
        Self { inner, control: Arc::new(Control { name, hook: Mutex::new(hook), log: Mutex::default() }) }
    }

    /// Replaces the hook.
    pub fn set_hook(&self, hook: Hook) {
        *self.control.hook.lock() = hook;
    }

    /// The store inside, without faults.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    /// The operations so far, in the order in which they began.
    pub fn ops(&self) -> Vec<Op> {
        self.control.log.lock().clone()
    }
}

impl Control {
    /// Runs a call that can be sent any number of times.
    async fn run<T, F>(&self, method: Method, key: &str, call: impl FnMut() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        Ok(self.run_under(method, key, call).await?.0)
    }

    /// The same, with the verdict under which it happened.
    async fn run_under<T, F>(
        &self,
        method: Method,
        key: &str,
        mut call: impl FnMut() -> F + Send,
    ) -> Result<(T, Verdict)>
    where
        F: Future<Output = Result<T>> + Send,
    {
        loop {
            match self.ask(method, key).await {
                Verdict::Retry => {}
                Verdict::Repeat => drop(call().await),
                verdict => return Ok((self.carry_out(verdict, method, key, call()).await?, verdict)),
            }
        }
    }

    /// Runs a call that can be sent once.
    async fn run_once<T>(&self, method: Method, key: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        loop {
            match self.ask(method, key).await {
                Verdict::Retry => {}
                verdict => return self.carry_out(verdict, method, key, call).await,
            }
        }
    }

    async fn ask(&self, method: Method, key: &str) -> Verdict {
        let op = {
            let mut log = self.log.lock();
            let op = Op { method, key: key.to_owned(), index: log.len() as u64 };
            log.push(op.clone());
            op
        };
        let hook = self.hook.lock().clone();
        hook(&op).await
    }

    async fn carry_out<T>(
        &self,
        verdict: Verdict,
        method: Method,
        key: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let failed = |when: &str| StoreError::Exhausted {
            store: self.name.clone(),
            doing: format!("{method:?} `{key}`"),
            tries: 1,
            detail: format!("a fault was asked for {when} the effect"),
        };
        match verdict {
            Verdict::Proceed | Verdict::Retry | Verdict::Repeat | Verdict::EndEarly => call.await,
            Verdict::FailBefore => Err(failed("before")),
            Verdict::FailAfter => call.await.and_then(|_| Err(failed("after"))),
            Verdict::NoRoom => Err(StoreError::NoRoom {
                store: self.name.clone(),
                doing: format!("{method:?} `{key}`"),
                detail: "no space was asked for".into(),
            }),
            Verdict::Denied => Err(StoreError::Denied {
                store: self.name.clone(),
                doing: format!("{method:?} `{key}`"),
                detail: "a refusal was asked for".into(),
                hint: None,
            }),
            Verdict::Hang => std::future::pending().await,
            Verdict::HangAfter => {
                let result = call.await;
                drop(result);
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Store for FaultStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    fn meter(&self) -> &Meter {
        self.inner.meter()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn unfit_for_ledger(&self) -> Option<String> {
        self.inner.unfit_for_ledger()
    }

    async fn recover(&self) -> Result<Vec<String>> {
        self.inner.recover().await
    }

    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        self.control.run(Method::Lifecycle, "", || self.inner.lifecycle()).await
    }

    fn local_root(&self) -> Option<&Path> {
        self.inner.local_root()
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        self.control.run(Method::List, &request.prefix, || self.inner.list(request)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.control.run(Method::Head, key.as_str(), || self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get> {
        let call = || self.inner.get(key, range, version);
        let (mut get, verdict) = self.control.run_under(Method::Get, key.as_str(), call).await?;
        if verdict == Verdict::EndEarly {
            let mut left = get.range.len().saturating_sub(1);
            get.body = get
                .body
                .map_ok(move |chunk| {
                    let taken = left.min(chunk.len() as u64);
                    left -= taken;
                    chunk.slice(..taken as usize)
                })
                .boxed();
        }
        Ok(get)
    }

    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome> {
        self.control
            .run(Method::PutIfAbsent, key.as_str(), || self.inner.put_if_absent(key, body.clone(), write_id))
            .await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        self.control.run(Method::Put, key.as_str(), || self.inner.put(key, body.clone())).await
    }

    async fn stage(&self, key: &Key, stamp: &Stamp, attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>> {
        let inner = self.control.run(Method::Stage, key.as_str(), || self.inner.stage(key, stamp, attributes)).await?;
        Ok(Box::new(FaultWriter { inner, control: self.control.clone(), key: key.clone() }))
    }

    fn appender(&self, _key: &Key, _stamp: &Stamp, _source: &dyn Store) -> Option<Result<Box<dyn Appender>>> {
        // An appender would run past the hook, on a thread that cannot wait for it.
        None
    }

    async fn staged_exists(&self, staged: &Staged) -> Result<bool> {
        self.control.run(Method::StagedExists, staged.key.as_str(), || self.inner.staged_exists(staged)).await
    }

    async fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
        self.control.run(Method::Publish, staged.key.as_str(), || self.inner.publish(staged, precondition)).await
    }

    async fn confirm(&self, staged: &Staged) -> Result<Confirmation> {
        self.control.run(Method::Confirm, staged.key.as_str(), || self.inner.confirm(staged)).await
    }

    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        self.control.run(Method::AbortStaged, staged.key.as_str(), || self.inner.abort_staged(staged)).await
    }

    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        self.control.run(Method::ListStaged, prefix, || self.inner.list_staged(prefix)).await
    }

    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        self.control.run(Method::AbortListed, listing.key.as_str(), || self.inner.abort_listed(listing)).await
    }

    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome> {
        self.control.run(Method::DeleteIf, key.as_str(), || self.inner.delete_if(key, version)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.control.run(Method::Delete, key.as_str(), || self.inner.delete(key)).await
    }

    async fn sync(&self, key: &Key) -> Result<()> {
        self.control.run(Method::Sync, key.as_str(), || self.inner.sync(key)).await
    }
}

struct FaultWriter {
    inner: Box<dyn StagedWriter>,
    control: Arc<Control>,
    key: Key,
}

#[async_trait]
impl StagedWriter for FaultWriter {
    fn in_order(&self) -> bool {
        self.inner.in_order()
    }

    async fn write_part(&self, number: u32, body: Vec<Bytes>) -> Result<()> {
        self.control.run(Method::WritePart, self.key.as_str(), || self.inner.write_part(number, body.clone())).await
    }

    async fn copy_part(&self, number: u32, source: &CopySource, range: ByteRange) -> Result<()> {
        self.control.run(Method::CopyPart, self.key.as_str(), || self.inner.copy_part(number, source, range)).await
    }

    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged> {
        let Self { inner, control, key } = *self;
        control.run_once(Method::Finish, key.as_str(), inner.finish(crc64nvme)).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let Self { inner, control, key } = *self;
        control.run_once(Method::Abort, key.as_str(), inner.abort()).await
    }
}
