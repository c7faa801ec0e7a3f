//! An S3 server of our own: in memory, exact about conditional writes, and able to fail on request.
//!
//! It exists because no server at hand is both exact and scriptable. What it promises while its options are at their
//! defaults:
//!
//! - every conditional write (put, completion, copy, delete) is one step: of any number of racers, one wins;
//! - keys are kept byte for byte; listings are strongly consistent and sorted by key bytes;
//! - parts below the least size are refused at completion, and an upload is gone once it was completed;
//! - every object has a full-object CRC-64/NVME, that of a completed upload combined from its parts.
//!
//! [`S3Options`] switch single promises off, as servers in the field break them; [`Fault`]s strike single calls.
//! On a versioned bucket objects get version ids and deletes answer with a delete marker, but old versions are not kept.
//! Not there: ACLs, encryption, `ListObjects` of version 1, virtual-hosted addresses.

mod buckets;
mod content;
mod faults;
mod listing;
mod objects;
mod op;
mod serve;
mod service;
mod state;
mod uploads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baler_store::{Clock, SystemClock};
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

pub use faults::{ErrorAnswer, Fault, RandomFaults, Scripted};
pub use op::Op;

use content::Content;
use faults::FaultPlan;
use state::{Attributes, State};

/// How the server treats the conditions of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// As S3 does: atomically.
    Honoured,
    /// Accepted and ignored, as Garage does.
    Ignored,
    /// Looked at first, and written later: racers can all win.
    NotAtomic,
}

/// One conditional write, for servers that break one promise and keep the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditional {
    /// A put under `If-None-Match: *`.
    PutIfAbsent,
    /// A completion under `If-None-Match: *`.
    CompleteIfAbsent,
    /// A completion under `If-Match`.
    CompleteIfMatch,
    /// A delete under `If-Match`.
    DeleteIfMatch,
}

/// Whether an upload outlives its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploads {
    /// It is gone, as on S3.
    EndWhenCompleted,
    /// It can be completed again and again: a repeated completion brings a deleted object back.
    StayOpen,
}

/// Whether the server keeps and shows full-object checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// CRC-64/NVME of every object.
    Crc64Nvme,
    /// None, as many servers.
    Absent,
}

/// What the etags of objects and parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Etags {
    /// The MD5 of the bytes.
    Md5,
    /// Anything, as under SSE-KMS; saves hashing copied parts.
    Opaque,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Requests must be signed with the server's key.
    Signed,
    /// Nobody is asked; signed requests are refused.
    Open,
}

/// Whether a bucket is versioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Never was.
    Off,
    /// Objects get version ids.
    Enabled,
    /// New objects get the version id `null`.
    Suspended,
}

/// How the server behaves. All but the fields said to be fixed may be changed while it runs.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The port on 127.0.0.1; 0 takes a free one. Fixed at the start.
    pub port: u16,
    /// Buckets that are there from the start.
    pub buckets: Vec<String>,
    /// Who may call. Fixed at the start.
    pub access: Access,
    /// The access key. Fixed at the start.
    pub access_key: String,
    /// Its secret. Fixed at the start.
    pub secret_key: String,
    /// The region that buckets say they are in.
    pub region: String,
    /// Most keys, uploads or parts of one page, whatever a client asks for.
    pub page_size: usize,
    /// Least size in bytes of every part but the last.
    pub min_part: u64,
    /// How conditions of writes are treated.
    pub conditions: Conditions,
    /// One kind of conditional write that is treated otherwise.
    pub exception: Option<(Conditional, Conditions)>,
    /// Whether uploads can be completed twice.
    pub uploads: Uploads,
    /// Whether full-object checksums are kept.
    pub checksums: Checksums,
    /// What etags are.
    pub etags: Etags,
    /// How long every call waits before it is served: the round trip of a distant store.
    pub first_byte_delay: Duration,
    /// Gives the times of objects and uploads.
    pub clock: Arc<dyn Clock>,
    /// The `Server` header.
    pub server_name: String,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            port: 0,
            buckets: vec!["bucket".to_owned()],
            access: Access::Signed,
            access_key: "test".to_owned(),
            secret_key: "testtest".to_owned(),
            region: "us-east-1".to_owned(),
            page_size: 1000,
            min_part: 5 << 20,
            conditions: Conditions::Honoured,
            exception: None,
            uploads: Uploads::EndWhenCompleted,
            checksums: Checksums::Crc64Nvme,
            etags: Etags::Md5,
            first_byte_delay: Duration::ZERO,
            clock: Arc::new(SystemClock),
            server_name: "baler-testkit".to_owned(),
        }
    }
}

/// A lifecycle rule of a bucket. Units: days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// The keys that it reaches.
    pub prefix: String,
    /// After how many days objects expire.
    pub expire_days: Option<i32>,
    /// After how many days uploads are aborted.
    pub abort_days: Option<i32>,
}

/// One call as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// The operation.
    pub op: Op,
    /// The bucket, empty where there is none.
    pub bucket: String,
    /// The key, empty where there is none.
    pub key: String,
    /// The status that was answered; 0 when the connection was reset instead.
    pub status: u16,
    /// Size of the request's body in bytes.
    pub bytes_in: u64,
    /// Size of the answer's body in bytes; 0 for a HEAD.
    pub bytes_out: u64,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key that it would become.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it was begun.
    pub started: Timestamp,
    /// Number and size of its parts.
    pub parts: Vec<(i32, u64)>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: State,
    faults: Mutex<FaultPlan>,
    requests: Mutex<Vec<RequestRecord>>,
}

/// A running server; dropped, it stops and its connections end.
#[derive(Debug)]
pub struct S3Server {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The address that it listens on.
    pub addr: SocketAddr,
    handle: S3Handle,
    serving: AbortHandle,
}

impl S3Server {
    /// Starts a server on the current runtime.
    ///
    /// Errors: those of binding the port.
    pub async fn start(options: S3Options) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { state: State::new(options), faults: Mutex::default(), requests: Mutex::default() });
        let (addr, serving) = serve::start(shared.clone()).await?;
        Ok(Self { endpoint: format!("http://{addr}"), addr, handle: S3Handle { shared }, serving })
    }

    /// A handle on what the server holds and how it behaves.
    pub fn handle(&self) -> S3Handle {
        self.handle.clone()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl std::ops::Deref for S3Server {
    type Target = S3Handle;
    fn deref(&self) -> &S3Handle {
        &self.handle
    }
}

/// Looks into a running server and changes its behaviour.
#[derive(Debug, Clone)]
pub struct S3Handle {
    shared: Arc<Shared>,
}

impl S3Handle {
    /// Changes options while the server runs.
    pub fn change(&self, change: impl FnOnce(&mut S3Options)) {
        change(&mut self.shared.state.options.write());
    }

    /// Adds scripted faults; their calls are counted from now.
    pub fn script(&self, script: impl IntoIterator<Item = Scripted>) {
        self.shared.faults.lock().add(script);
    }

    /// Lets the next calls of an operation fail.
    pub fn fail_next(&self, op: Op, calls: u64, fault: Fault) {
        self.shared.faults.lock().fail_next(op, calls, fault);
    }

    /// Lets the next calls fail, whatever they ask for.
    pub fn fail_next_any(&self, calls: u64, fault: Fault) {
        self.shared.faults.lock().fail_next_any(calls, fault);
    }

    /// Draws faults from a seeded generator from now on; `None` ends it.
    pub fn random_faults(&self, random: Option<RandomFaults>) {
        self.shared.faults.lock().set_random(random);
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.lock().clear();
    }

    /// How many scripted faults have not struck yet: a test that scripts one should see none left.
    pub fn pending_faults(&self) -> usize {
        self.shared.faults.lock().pending()
    }

    /// The calls so far, in the order in which they ended.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.requests.lock().clone()
    }

    /// How many calls of an operation there were so far.
    pub fn count(&self, op: Op) -> usize {
        self.shared.requests.lock().iter().filter(|request| request.op == op).count()
    }

    /// Forgets the calls so far.
    pub fn clear_requests(&self) {
        self.shared.requests.lock().clear();
    }

    /// Creates a bucket; one that exists stays as it is.
    pub fn create_bucket(&self, bucket: &str) {
        self.shared.state.create_bucket(bucket);
    }

    /// The bytes of an object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.shared.state.object(bucket, key).ok().map(|object| object.content.to_bytes())
    }

    /// The user metadata of an object, sorted by name.
    pub fn metadata(&self, bucket: &str, key: &str) -> Option<Vec<(String, String)>> {
        let object = self.shared.state.object(bucket, key).ok()?;
        Some(object.attributes.metadata.clone().into_iter().collect())
    }

    /// The content type that an object was written with.
    pub fn content_type(&self, bucket: &str, key: &str) -> Option<String> {
        self.shared.state.object(bucket, key).ok()?.attributes.content_type.clone()
    }

    /// The storage class that an object was written with.
    pub fn storage_class(&self, bucket: &str, key: &str) -> Option<String> {
        self.shared.state.object(bucket, key).ok()?.attributes.storage_class.clone()
    }

    /// The tags that an object was written with, as they were sent: `a=1&b=2`.
    pub fn tagging(&self, bucket: &str, key: &str) -> Option<String> {
        self.shared.state.object(bucket, key).ok()?.attributes.tagging.clone()
    }

    /// The etag of an object, without quotes.
    pub fn etag(&self, bucket: &str, key: &str) -> Option<String> {
        self.shared.state.object(bucket, key).ok().map(|object| object.etag.clone())
    }

    /// The size of an object in bytes.
    pub fn size(&self, bucket: &str, key: &str) -> Option<u64> {
        self.shared.state.object(bucket, key).ok().map(|object| object.content.size())
    }

    /// Puts an object, past all conditions and faults; the bucket is created if need be.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        self.put_content(bucket, key, Content::from_bytes(body.into()));
    }

    /// Puts an object of zero bytes that takes no memory, up to the sizes that S3 allows and beyond.
    pub fn put_zeros(&self, bucket: &str, key: &str, size: u64) {
        self.put_content(bucket, key, Content::zeros(size));
    }

    fn put_content(&self, bucket: &str, key: &str, content: Content) {
        let state = &self.shared.state;
        state.create_bucket(bucket);
        let object = state.new_object(content, Attributes::default());
        if let Ok(bucket) = state.bucket(bucket) {
            state.insert(&mut bucket.lock(), key, object);
        }
    }

    /// Removes an object, past all conditions and faults; whether it was there.
    pub fn remove(&self, bucket: &str, key: &str) -> bool {
        self.shared.state.bucket(bucket).is_ok_and(|bucket| bucket.lock().objects.remove(key).is_some())
    }

    /// The keys with a prefix, sorted by bytes.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let Ok(bucket) = self.shared.state.bucket(bucket) else { return Vec::new() };
        let bucket = bucket.lock();
        bucket.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// The open uploads of a bucket, by key and start.
    pub fn uploads(&self, bucket: &str) -> Vec<OpenUpload> {
        let Ok(bucket) = self.shared.state.bucket(bucket) else { return Vec::new() };
        let bucket = bucket.lock();
        bucket
            .uploads
            .iter()
            .map(|((key, upload_id), upload)| OpenUpload {
                key: key.clone(),
                upload_id: upload_id.clone(),
                started: upload.started,
                parts: upload.parts.iter().map(|(number, part)| (*number, part.content.size())).collect(),
            })
            .collect()
    }

    /// Removes an open upload, as a lifecycle rule does; whether it was there.
    pub fn expire_upload(&self, bucket: &str, upload_id: &str) -> bool {
        let Ok(bucket) = self.shared.state.bucket(bucket) else { return false };
        let mut bucket = bucket.lock();
        let before = bucket.uploads.len();
        bucket.uploads.retain(|(_, id), _| id != upload_id);
        bucket.uploads.len() < before
    }

    /// Sets the lifecycle rules of a bucket.
    pub fn set_lifecycle(&self, bucket: &str, rules: Vec<LifecycleRule>) {
        self.create_bucket(bucket);
        if let Ok(bucket) = self.shared.state.bucket(bucket) {
            bucket.lock().lifecycle = rules;
        }
    }

    /// Sets whether a bucket is versioned, for what is written from now on.
    pub fn set_versioning(&self, bucket: &str, versioning: Versioning) {
        self.create_bucket(bucket);
        if let Ok(bucket) = self.shared.state.bucket(bucket) {
            bucket.lock().versioning = versioning;
        }
    }
}
