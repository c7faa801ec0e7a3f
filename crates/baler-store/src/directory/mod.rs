//! A directory of a local file system as a store (protocol.md, section 11).
//!
//! - Keys are paths below the root ([`tree`]); symbolic links below the root are not followed and are no objects.
//! - The version of an object is its file's inode, size and modification time.
//! - A write is durable on return: file, directory and every new directory above are fsynced.
//! - `.baler-tmp/` holds temporary files, `.baler-trash/` files on their way to deletion; neither is ever listed or
//!   read as keys. A crash leaves files there; `gc` and [`DirectoryStore::sweep_trash`] deal with them.
//! - [`Store::delete_if`] deletes sources, so it leaves their directories: whoever drops files into an inbox counts on
//!   it. [`Store::delete`] deletes what is Baler's own, and the directories that become empty by that; writers who find
//!   their directory gone make it again.
//! - A directory is not a multipart store: parts come in order, nothing has a minimum size.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, Staged, Stamp, WriteId};
use bytes::Bytes;

use crate::{
    AbortOutcome, Appender, ByteRange, Clock, Confirmation, DeleteOutcome, Get, Head, IdSource, ListRequest, Meter,
    OutputAttributes, Page, PartLimits, Precondition, PublishOutcome, PutOutcome, Result, StagedListing, StagedWriter,
    Store, StoreError, StoreInfo, StoreKind,
};

mod append;
mod disk;
mod list;
mod network;
mod publish;
mod put;
mod read;
mod stage;
mod temp;
#[cfg(test)]
mod tests;
mod trash;
mod tree;
mod version;

pub use disk::{Disk, Entry as DiskEntry, Renaming, SystemDisk};
pub use trash::SweptTrash;

use append::DirectoryAppender;
use stage::{DirectoryWriter, Output};
use tree::{Tree, Try};

/// All directories can copy from each other.
const COPY_DOMAIN: &str = "directory";
/// Tries at something that others are doing at the same time, before giving up.
const TRIES: u32 = 64;

/// How a directory store is to be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// Whether the user declared that only this host uses the directory, so that a network file system may hold a
    /// ledger.
    pub single_host: bool,
}

/// A directory as a store.
#[derive(Debug)]
pub struct DirectoryStore {
    tree: Arc<Tree>,
    options: DirectoryOptions,
    network: Option<&'static str>,
    clock: Arc<dyn Clock>,
}

impl DirectoryStore {
    /// Takes a directory, which need not exist yet: the first write creates it.
    ///
    /// Errors: [`StoreError::Failed`] when the path is relative and there is no current directory.
    pub fn new(
        name: impl Into<String>,
        root: PathBuf,
        options: DirectoryOptions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        Self::over(Arc::new(SystemDisk), name, root, options, clock, ids)
    }

    /// The same, with a disk of the caller's: tests record there what was written and made durable.
    ///
    /// Errors: those of [`DirectoryStore::new`].
    pub fn over(
        disk: Arc<dyn Disk>,
        name: impl Into<String>,
        root: PathBuf,
        options: DirectoryOptions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        let name = name.into();
        let root = std::path::absolute(&root).map_err(|e| StoreError::Failed {
            store: name.clone(),
            doing: format!("use the directory `{}`", root.display()),
            detail: e.to_string(),
        })?;
        let url = root.display().to_string();
        let copy_domain = Some(COPY_DOMAIN.to_owned());
        let info = StoreInfo { name, url, kind: StoreKind::Directory, copy_domain, parts: PartLimits::NONE };
        let network = network::network_filesystem(&root);
        let tree = Arc::new(Tree::new(info, root, ids, disk));
        Ok(Self { tree, options, network, clock })
    }

    /// The kind of network file system that the root lies on: such a store may hold a ledger only when it is declared
    /// [`DirectoryOptions::single_host`].
    pub fn network_filesystem(&self) -> Option<&str> {
        self.network
    }

    /// How it is used.
    pub fn options(&self) -> DirectoryOptions {
        self.options
    }

    /// Finishes the deletions of processes that died: what was planned goes, anything else is put back.
    ///
    /// Safe at any time, by anyone. Cost: one walk over the trash, which is empty after orderly ends.
    pub async fn sweep_trash(&self) -> Result<SweptTrash> {
        self.on_thread(Tree::sweep_trash).await
    }

    async fn on_thread<T: Send + 'static>(&self, call: impl FnOnce(&Tree) -> Result<T> + Send + 'static) -> Result<T> {
        let tree = self.tree.clone();
        blocking(move || call(&tree)).await
    }

    /// Repeats a call until it is decided.
    async fn decide<T: Send + 'static>(
        &self,
        doing: impl Fn() -> String + Send,
        call: impl Fn(&Tree) -> Result<Try<T>> + Clone + Send + 'static,
    ) -> Result<T> {
        for tries in 1..=TRIES {
            if let Try::Done(decided) = self.on_thread(call.clone()).await? {
                return Ok(decided);
            }
            // Mostly the other one is done at once; where it is not, wait a little longer each time.
            if tries > 8 {
                self.clock.sleep(Duration::from_millis(u64::from(tries))).await;
            }
        }
        let (store, detail) = (self.tree.info.name.clone(), "others kept changing it at the same time".into());
        Err(StoreError::Exhausted { store, doing: doing(), tries: TRIES, detail })
    }
}

/// Runs a call that blocks, on a thread where that is allowed.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Cancelled { store: "directory".into() }),
        },
    }
}

/// The tree of a store that is a directory; `own` itself when it is the same.
fn source_tree(own: &Arc<Tree>, source: &dyn Store) -> Option<Arc<Tree>> {
    let root = source.local_root()?;
    if root == own.root && source.info().name == own.info.name {
        return Some(own.clone());
    }
    Some(Arc::new(Tree::new(source.info().clone(), root.to_owned(), own.ids.clone(), own.disk.clone())))
}

#[async_trait]
impl Store for DirectoryStore {
    fn info(&self) -> &StoreInfo {
        &self.tree.info
    }

    async fn recover(&self) -> Result<Vec<String>> {
        let SweptTrash { put_back, kept, .. } = self.sweep_trash().await?;
        let back = put_back.iter().map(|key| format!("`{key}` is back in its place: a deletion was cut off"));
        let kept = kept.iter().map(|path| {
            format!("`{path}` stays in the trash: its key is taken again; look at both and keep what is right")
        });
        Ok(back.chain(kept).collect())
    }

    fn unfit_for_ledger(&self) -> Option<String> {
        match (self.network, self.options.single_host) {
            (Some(kind), false) => {
                Some(format!("it lies on {kind}, whose conditional operations several hosts cannot rely on"))
            }
            (Some(_), true) | (None, _) => None,
        }
    }

    fn meter(&self) -> &Meter {
        &self.tree.meter
    }

    fn local_root(&self) -> Option<&Path> {
        Some(&self.tree.root)
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        let request = request.clone();
        self.on_thread(move |tree| tree.list(&request)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        let key = key.clone();
        self.on_thread(move |tree| tree.head(&key)).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get> {
        let (tree, key, version) = (self.tree.clone(), key.clone(), version.cloned());
        let memory = read::room(range);
        blocking(move || read::get(&tree, key, range, version.as_ref(), memory)).await
    }

    async fn put_if_absent(&self, key: &Key, body: Bytes, _write_id: &WriteId) -> Result<PutOutcome> {
        Meter::add(&self.tree.meter.put, 1);
        let doing = || format!("create `{key}`");
        let key = key.clone();
        self.decide(doing, move |tree| tree.put_if_absent(&key, &body)).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        Meter::add(&self.tree.meter.put, 1);
        let doing = || format!("write `{key}`");
        let key = key.clone();
        self.decide(doing, move |tree| tree.put(&key, &body)).await
    }

    async fn stage(&self, key: &Key, stamp: &Stamp, _attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>> {
        let (tree, key, stamp) = (self.tree.clone(), key.clone(), stamp.clone());
        let output = blocking(move || Output::create(tree, &key, &stamp)).await?;
        Ok(Box::new(DirectoryWriter::new(output)))
    }

    fn appender(&self, key: &Key, stamp: &Stamp, source: &dyn Store) -> Option<Result<Box<dyn Appender>>> {
        let source = source_tree(&self.tree, source)?;
        let output = Output::create(self.tree.clone(), key, stamp);
        Some(output.map(|output| Box::new(DirectoryAppender::new(output, source)) as Box<dyn Appender>))
    }

    async fn staged_exists(&self, staged: &Staged) -> Result<bool> {
        let staged = staged.clone();
        self.on_thread(move |tree| tree.staged_exists(&staged)).await
    }

    async fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
        Meter::add(&self.tree.meter.put, 1);
        let doing = || format!("publish `{}`", staged.key);
        let (staged, precondition) = (staged.clone(), precondition.clone());
        self.decide(doing, move |tree| tree.publish(&staged, &precondition)).await
    }

    async fn confirm(&self, staged: &Staged) -> Result<Confirmation> {
        let staged = staged.clone();
        self.on_thread(move |tree| tree.confirm(&staged)).await
    }

    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        let staged = staged.clone();
        self.on_thread(move |tree| tree.abort_staged(&staged)).await
    }

    /// The prefix is compared with the temporaries' own paths, `.baler-tmp/{flow}/{run}/…`: a temporary file does not
    /// tell what key it would get.
    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        let prefix = prefix.to_owned();
        self.on_thread(move |tree| tree.list_temps(&prefix)).await
    }

    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        let handle = listing.handle.clone();
        self.on_thread(move |tree| tree.remove_temp(&handle)).await
    }

    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome> {
        self.tree.count_delete();
        let doing = || format!("delete `{key}`");
        let (key, version) = (key.clone(), version.clone());
        self.decide(doing, move |tree| tree.delete_if(&key, &version)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.on_thread(move |tree| tree.delete(&key)).await
    }

    async fn sync(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.on_thread(move |tree| tree.sync(&key)).await
    }
}
