//! The contract that every store keeps: what a call does, what it promises about durability, what a crash leaves.
//!
//! Promises, for every implementation (the conformance suite of `baler-testkit` holds each to them):
//!
//! 1. Listings and reads are strongly consistent.
//! 2. [`Store::put_if_absent`], [`Store::publish`] and [`Store::delete_if`] are atomic: of any number of racers, one wins.
//! 3. When a call that writes returns `Ok`, its effect is durable (on a disk: file and directory fsynced).
//! 4. A call that returns an error may still have taken effect. `put_if_absent` tells its author so by the write id.
//! 5. Nothing staged is visible to [`Store::list`], [`Store::head`] or [`Store::get`] before it is published.
//! 6. Keys are kept byte for byte, or refused with [`StoreError::Unsupported`]; they are never changed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{InputVersion, Key, ObjectVersion, Staged, Stamp, WriteId};
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::{Meter, StoreError};

/// What a store call returns.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A half-open range of bytes `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One behind the last byte.
    pub end: u64,
}

impl ByteRange {
    /// The range `[start, end)`; `end` is at least `start`.
    pub fn new(start: u64, end: u64) -> Self {
        debug_assert!(start <= end, "a range ends behind its start");
        Self { start, end }
    }

    /// Its length in bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What kind of thing a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// A directory of a file system.
    Directory,
    /// Amazon S3 or a server that speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
    /// The memory of this process.
    Memory,
}

/// What a store is and can do; fixed for its lifetime.
#[derive(Debug, Clone)]
pub struct StoreInfo {
    /// The name by which messages call it: its name in `[stores]`, or its URL.
    pub name: String,
    /// Its address for people, without credentials: `s3://bucket/prefix`, `/data/lake`.
    pub url: String,
    /// Its kind.
    pub kind: StoreKind,
    /// Stores with equal domains can copy parts of each other's objects server-side (same endpoint and region).
    /// `None`: no server-side copy.
    pub copy_domain: Option<String>,
    /// The sizes that staged parts may have.
    pub parts: PartLimits,
}

/// Limits of multipart uploads. Units: bytes, parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// Least size of every part but the last.
    pub min: u64,
    /// Greatest size of a part.
    pub max: u64,
    /// Most parts of one upload.
    pub count: u32,
    /// Greatest size of an object.
    pub object: u64,
}

impl PartLimits {
    /// S3: 5 MiB to 5 GiB, 10,000 parts, 5 TiB. Source: S3 user guide, "Multipart upload limits".
    pub const S3: Self = Self { min: 5 << 20, max: 5 << 30, count: 10_000, object: 5 << 40 };
    /// No limits: a directory.
    pub const NONE: Self = Self { min: 0, max: u64::MAX, count: u32::MAX, object: u64::MAX };
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Only keys that begin with this text, byte for byte; empty lists all.
    pub prefix: String,
    /// With `true`, keys that have a `/` behind the prefix are folded into [`Page::prefixes`].
    pub folded: bool,
    /// Only keys greater than this one.
    pub start_after: Option<String>,
    /// Where an earlier page said to go on.
    pub token: Option<String>,
}

/// One page of a listing, sorted by key bytes; all pages together are sorted too.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Objects, temporary files and staged uploads never among them.
    pub objects: Vec<InputVersion>,
    /// Folded prefixes, each ending in `/`.
    pub prefixes: Vec<String>,
    /// `Some` when there is more.
    pub next: Option<String>,
    /// Names that the store holds but Baler cannot name (a file name that is not UTF-8), or that are no
    /// objects (symbolic links, pipes, sockets and devices in a directory), for a warning.
    pub unreadable: u64,
}

/// What a HEAD shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The version that was seen.
    pub version: ObjectVersion,
    /// Size in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// The stamp that a task of Baler put on it, if any (S3, Azure, GCS, memory). A directory has none: see [`Store::confirm`].
    pub stamp: Option<Stamp>,
    /// Full-object CRC-64/NVME, where the store keeps one.
    pub crc64nvme: Option<u64>,
    /// The id of this version on a versioned bucket: a part of a trigger's identity.
    pub version_id: Option<String>,
}

/// The bytes of an object, or of a range of it, as they arrive.
pub struct Get {
    /// The version that is being read.
    pub version: ObjectVersion,
    /// Size of the whole object in bytes.
    pub size: u64,
    /// The range that the body holds.
    pub range: ByteRange,
    /// The write id that [`Store::put_if_absent`] left on the object, if any.
    pub write_id: Option<WriteId>,
    /// The bytes. A body that ends early is an error, not a short read; reads are resumed on the same version.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("version", &self.version).field("range", &self.range).finish_non_exhaustive()
    }
}

/// What became of a create-if-absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object did not exist and now holds our bytes (be it by an earlier try of this call whose reply was lost).
    Created(ObjectVersion),
    /// The object exists. `owner` is the write id that its author left, if it has one.
    Exists {
        /// Whose write won.
        owner: Option<WriteId>,
    },
}

/// What a staged output may replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing may be there.
    Absent,
    /// Exactly this version must be there.
    Matches(ObjectVersion),
    /// Whatever is there is replaced: only under the flow's `overwrite = true`.
    Whatever,
}

/// What became of publishing a staged output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The call succeeded. No proof yet: [`Store::confirm`] is.
    Published,
    /// Something that is not ours is at the key.
    Occupied,
    /// The object that was to be replaced has another version, or is gone.
    Replaced {
        /// The version that is there now, if any.
        found: Option<ObjectVersion>,
    },
    /// The staged bytes are no longer there: lost, or published by somebody else. [`Store::confirm`] tells.
    StagedGone,
}

/// Whether a published output is ours, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// Stamp and size are ours and the bytes are proven.
    Ours {
        /// The version that readers see.
        version: ObjectVersion,
        /// How the bytes were proven.
        proof: Proof,
    },
    /// Stamp and size are ours, and the bytes are not what was staged.
    Corrupt {
        /// The version that is there.
        version: ObjectVersion,
        /// What differs, for people.
        detail: String,
    },
    /// An object is there and it is not ours.
    Foreign {
        /// Its version.
        version: ObjectVersion,
    },
    /// No object is there.
    Absent,
}

/// The strongest proof that the store offered for an output's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The store's full-object CRC-64/NVME equals the one computed from sources and bytes sent.
    Crc64Nvme,
    /// The store's CRC-32C of the whole equals the one computed from the bytes sent.
    Crc32c,
    /// The multipart etag equals the one computed from the part etags.
    PartEtags,
    /// The object was read again and its CRC-64/NVME compared.
    ReRead,
    /// A disk: the very inode that was written and fsynced.
    SameFile,
    /// Stamp and size only: nothing stronger could be had.
    StampAndSize,
}

/// What became of giving staged bytes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortOutcome {
    /// They were there and are gone by this call: they were never visible and never will be.
    GivenUp,
    /// They were not there: lost, given up before (be it by an earlier try of this call whose reply was lost), or
    /// published.
    Gone,
}

impl AbortOutcome {
    /// Of two tries, by whom and under what name ever.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::GivenUp => Self::GivenUp,
            Self::Gone => other,
        }
    }
}

/// What became of a conditional delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The planned version is gone by this call.
    Deleted,
    /// It was gone before: no object is there.
    Absent,
    /// Another version is there; it was kept.
    Changed {
        /// The version that is there.
        found: ObjectVersion,
    },
}

/// How a published output describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputAttributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
}

/// An object, or a range of one, to copy from.
#[derive(Debug, Clone)]
pub struct CopySource {
    /// The store that holds it.
    pub store: Arc<dyn Store>,
    /// Its key.
    pub key: Key,
    /// The version that must be read.
    pub version: ObjectVersion,
    /// Its size in bytes, as planned.
    pub size: u64,
}

/// A staged upload that a store holds, whoever made it: for `gc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedListing {
    /// The key that it would become; for temporary files of a directory, the temporary's own path.
    pub key: Key,
    /// Upload id, or the temporary's path relative to the root.
    pub handle: String,
    /// When it was begun, by the store's clock.
    pub started: Timestamp,
}

/// A rule by which a store removes objects or uploads by itself. Units: days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its id.
    pub id: String,
    /// It concerns keys (relative to the store's prefix) that begin so.
    pub prefix: String,
    /// Objects are removed at this age.
    pub expires_after: Option<u32>,
    /// Uploads that are not completed are removed at this age.
    pub aborts_uploads_after: Option<u32>,
}

/// One bucket or directory. See the module's promises.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// What it is and can do.
    fn info(&self) -> &StoreInfo;

    /// Counters of the requests and bytes that went through this store.
    fn meter(&self) -> &Meter;

    /// By what a proof of this store is remembered: endpoint, bucket and server, as far as they are known.
    fn identity(&self) -> String {
        self.info().url.clone()
    }

    /// Why this store may not hold a ledger whatever a proof shows: a network file system not declared single-host.
    fn unfit_for_ledger(&self) -> Option<String> {
        None
    }

    /// Finishes or takes back what dead processes left half-done, and says what could be neither, for people.
    ///
    /// On a disk: deletions that were cut off between setting aside and unlinking. Nothing elsewhere.
    async fn recover(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Rules by which the store itself removes objects or uploads. Cost: one GET on S3, nothing elsewhere.
    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        Ok(Vec::new())
    }

    /// The directory that holds the objects, where the store is one: two directories join files within the kernel.
    /// Wrappers forward it, unless they must see every byte.
    fn local_root(&self) -> Option<&Path> {
        None
    }

    /// Lists one page. Cost: one LIST per 1,000 keys on S3; a directory returns everything as one page.
    async fn list(&self, request: &ListRequest) -> Result<Page>;

    /// Shows an object without its bytes; `None` when there is none. Cost: one HEAD.
    async fn head(&self, key: &Key) -> Result<Option<Head>>;

    /// Reads an object or a range of it, pinned to `version` if given; `range` ends are clipped to the object.
    ///
    /// Errors: [`StoreError::NotFound`]; [`StoreError::Changed`] when another version is there, also half-way through
    /// the body. Cost: one GET, one more per resumption.
    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get>;

    /// Creates a small object if there is none. The write id is kept with the object, so that an author whose reply was
    /// lost knows his own write again (on S3 as metadata; a directory cannot keep it: there the *body* must differ
    /// between authors, and equal bytes count as own). Durable on return. Cost: one PUT; one HEAD more when it exists.
    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome>;

    /// Writes a small object over whatever is there: heartbeats, reports and caches only. Cost: one PUT.
    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion>;

    /// Begins a staged output. Cost: one POST on S3.
    async fn stage(&self, key: &Key, stamp: &Stamp, attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>>;

    /// Offers a writer that appends on the calling thread, where source and target are directories; else `None`.
    /// It saves a hop through the runtime per object.
    fn appender(&self, _key: &Key, _stamp: &Stamp, _source: &dyn Store) -> Option<Result<Box<dyn Appender>>> {
        None
    }

    /// Whether the staged bytes are still there. Cost: one LIST (ListParts).
    async fn staged_exists(&self, staged: &Staged) -> Result<bool>;

    /// Makes a staged output visible under its precondition, atomically. Repeating it is safe. A 409 is repeated here.
    /// Cost: one POST.
    async fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome>;

    /// Looks whether what is at the key is this very output: stamp, size, strongest proof. On a disk, also makes the
    /// entry durable. Cost: one HEAD; a whole GET when nothing stronger is at hand.
    async fn confirm(&self, staged: &Staged) -> Result<Confirmation>;

    /// Gives staged bytes up; nothing there is fine. Durable on return. Cost: one DELETE.
    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome>;

    /// Lists staged uploads at keys with this prefix. Cost: one LIST per 1,000.
    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>>;

    /// Gives up an upload found by [`Store::list_staged`].
    async fn abort_listed(&self, listing: &StagedListing) -> Result<()>;

    /// Deletes an object if it is still this version. Durable on return. Cost: one DELETE.
    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome>;

    /// Deletes an object of our own, whatever its version: state, probes, intermediates. Absent is fine.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// Makes an entry that another process may have created durable: fsyncs its directory. Free elsewhere than on a disk.
    async fn sync(&self, _key: &Key) -> Result<()> {
        Ok(())
    }
}

/// Writes one staged output, part by part. Dropped unfinished, it leaves an upload or temporary file for `gc`.
#[async_trait]
pub trait StagedWriter: Send + Sync {
    /// Whether parts must come in ascending order, one at a time (a directory); else any order and concurrency.
    fn in_order(&self) -> bool;

    /// Writes part `number` (from 1) from bytes. Cost: one PUT.
    async fn write_part(&self, number: u32, body: Vec<Bytes>) -> Result<()>;

    /// Makes part `number` from a range of an object, server-side, pinned to its version.
    ///
    /// Errors: [`StoreError::Changed`], [`StoreError::NotFound`] for the source; [`StoreError::Unsupported`] across copy
    /// domains. Cost: one COPY; no byte passes through this machine on S3.
    async fn copy_part(&self, number: u32, source: &CopySource, range: ByteRange) -> Result<()>;

    /// Ends the writing: everything is durable and still invisible. `crc64nvme` is what the whole should have, if known.
    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged>;

    /// Gives the output up.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// What [`Appender::append_object`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Bytes appended.
    pub bytes: u64,
    /// The first bytes appended, by which formats are recognised; the first `head_len` of them count.
    pub head: [u8; 10],
    /// How many bytes of `head` count.
    pub head_len: u8,
    /// The last byte, `None` when nothing was appended.
    pub last: Option<u8>,
}

/// Appends to one staged output in order, on the calling thread (never a runtime's). Dropped unfinished, it removes its
/// temporary file.
pub trait Appender: Send {
    /// Appends bytes.
    fn append_bytes(&mut self, bytes: &[u8]) -> Result<()>;

    /// The first bytes of an object, `most` at most, pinned to its version.
    fn peek(&mut self, key: &Key, version: &ObjectVersion, most: usize) -> Result<Bytes>;

    /// Appends an object from byte `skip` on, pinned to its version.
    ///
    /// Errors: [`StoreError::Changed`], [`StoreError::NotFound`].
    fn append_object(&mut self, input: &InputVersion, skip: u64) -> Result<Appended>;

    /// Ends the writing: fsynced, still invisible.
    fn finish(self: Box<Self>) -> Result<Staged>;
}
