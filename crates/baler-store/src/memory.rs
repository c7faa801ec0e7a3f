//! A store in the memory of this process that behaves like S3, for tests and simulations.
//!
//! - No real time, no timers, no randomness of its own: clock and ids are handed in, maps are ordered.
//! - Multipart staging with part limits, kept at publishing (`EntityTooSmall`), and uploads that can be made to expire.
//! - Etags are MD5 sums, of multipart objects `md5-of-md5s-N`; full-object CRC-64/NVME is kept and shown.
//! - Stores made by [`MemoryStore::sibling`] share a world: they copy parts of each other's objects server-side.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{InputVersion, Key, ObjectVersion, Staged, StagedPart, StagedPlace, Stamp, WriteId};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use md5::{Digest, Md5};
use parking_lot::Mutex;

use crate::{
    AbortOutcome, ByteRange, Clock, Confirmation, CopySource, Crc64, DeleteOutcome, Get, Head, IdSource, ListRequest,
    Meter, OutputAttributes, Page, PartLimits, Precondition, Proof, PublishOutcome, PutOutcome, Result, StagedListing,
    StagedWriter, Store, StoreError, StoreInfo, StoreKind,
};

/// How a memory store behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryOptions {
    /// The sizes that parts may have.
    pub parts: PartLimits,
    /// See [`StoreInfo::copy_domain`]; siblings with equal domains copy from each other.
    pub copy_domain: Option<String>,
    /// Keys and prefixes on one page of a listing.
    pub page: usize,
    /// Bytes that a body hands out at a time.
    pub chunk: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { parts: PartLimits::S3, copy_domain: Some("memory".into()), page: 1000, chunk: 64 << 10 }
    }
}

/// One change of an object: what a watcher of all siblings sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryChange {
    /// The store's name.
    pub store: String,
    /// The key.
    pub key: String,
    /// What was there.
    pub before: Option<MemoryObject>,
    /// What is there.
    pub after: Option<MemoryObject>,
}

/// An object as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryObject {
    /// Its bytes.
    pub body: Bytes,
    /// Its etag.
    pub etag: String,
    /// Who staged it, if it was.
    pub stamp: Option<Stamp>,
}

/// Changes since they were last taken; `None` while nobody watches.
type Journal = Arc<Mutex<Option<Vec<MemoryChange>>>>;

/// Objects and uploads of all siblings, by the store's name.
#[derive(Debug, Default)]
struct World {
    buckets: BTreeMap<String, Bucket>,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Bucket {
    name: String,
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    journal: Journal,
}

impl Bucket {
    /// Puts an object, or takes it away; every change of an object is made here.
    fn set(&mut self, key: &str, object: Option<Object>) {
        let seen = |object: &Object| MemoryObject {
            body: object.body.clone(),
            etag: object.etag.clone(),
            stamp: object.stamp.clone(),
        };
        let after = object.as_ref().map(seen);
        let before = match object {
            Some(object) => self.objects.insert(key.to_owned(), object),
            None => self.objects.remove(key),
        };
        if let Some(changes) = &mut *self.journal.lock()
            && (before.is_some() || after.is_some())
        {
            let (store, key) = (self.name.clone(), key.to_owned());
            changes.push(MemoryChange { store, key, before: before.as_ref().map(seen), after });
        }
    }
}

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    etag: String,
    modified: Timestamp,
    crc64nvme: u64,
    stamp: Option<Stamp>,
    write_id: Option<WriteId>,
    attributes: OutputAttributes,
}

#[derive(Debug)]
struct Upload {
    key: Key,
    stamp: Stamp,
    attributes: OutputAttributes,
    started: Timestamp,
    parts: BTreeMap<u32, Part>,
}

#[derive(Debug, Clone)]
struct Part {
    body: Bytes,
    md5: [u8; 16],
}

/// A store in memory. Clones see the same objects.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: StoreInfo,
    options: MemoryOptions,
    meter: Meter,
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl MemoryStore {
    /// An empty store in a world of its own.
    pub fn new(name: impl Into<String>, options: MemoryOptions, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self::within(Arc::default(), name.into(), options, clock, ids)
    }

    /// A further store in the same world, with the same clock and ids. One of the same name holds the same objects.
    #[must_use]
    pub fn sibling(&self, name: impl Into<String>, options: MemoryOptions) -> Self {
        let Shared { world, clock, ids, .. } = &*self.shared;
        Self::within(world.clone(), name.into(), options, clock.clone(), ids.clone())
    }

    fn within(
        world: Arc<Mutex<World>>,
        name: String,
        options: MemoryOptions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        {
            let mut world = world.lock();
            let journal = Arc::clone(&world.journal);
            world.buckets.entry(name.clone()).or_insert_with(|| Bucket {
                name: name.clone(),
                journal,
                ..Bucket::default()
            });
        }
        let url = format!("memory://{name}");
        let (copy_domain, parts) = (options.copy_domain.clone(), options.parts);
        let info = StoreInfo { name, url, kind: StoreKind::Memory, copy_domain, parts };
        Self { shared: Arc::new(Shared { info, options, meter: Meter::default(), world, clock, ids }) }
    }

    /// Takes the changes of objects in all siblings since the last call, in order; the first call begins to watch.
    pub fn take_changes(&self) -> Vec<MemoryChange> {
        let journal = Arc::clone(&self.shared.world.lock().journal);
        journal.lock().replace(Vec::new()).unwrap_or_default()
    }

    /// Loses an upload, as a lifecycle rule does; whether there was one.
    pub fn expire_upload(&self, upload_id: &str) -> bool {
        self.shared.bucket(|bucket| bucket.uploads.remove(upload_id).is_some())
    }

    /// The ids of all open uploads, in order.
    pub fn upload_ids(&self) -> Vec<String> {
        self.shared.bucket(|bucket| bucket.uploads.keys().cloned().collect())
    }

    /// The bytes of an object, uncounted.
    pub fn peek(&self, key: &str) -> Option<Bytes> {
        self.shared.bucket(|bucket| bucket.objects.get(key).map(|o| o.body.clone()))
    }

    /// The attributes with which an object was published, uncounted.
    pub fn attributes(&self, key: &str) -> Option<OutputAttributes> {
        self.shared.bucket(|bucket| bucket.objects.get(key).map(|o| o.attributes.clone()))
    }
}

impl Shared {
    fn bucket<T>(&self, f: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut world = self.world.lock();
        f(world.buckets.entry(self.info.name.clone()).or_default())
    }

    fn object(&self, body: Bytes, write_id: Option<WriteId>) -> Object {
        let etag = hex(&Md5::digest(&body));
        let (crc64nvme, modified) = (Crc64::of(&body), self.clock.now());
        Object { body, etag, modified, crc64nvme, stamp: None, write_id, attributes: OutputAttributes::default() }
    }

    fn failed(&self, doing: String, detail: impl Into<String>) -> StoreError {
        StoreError::Failed { store: self.info.name.clone(), doing, detail: detail.into() }
    }

    fn not_found(&self, key: &Key) -> StoreError {
        StoreError::NotFound { store: self.info.name.clone(), key: key.clone() }
    }

    fn changed(&self, key: &Key, planned: &ObjectVersion, found: &Object) -> StoreError {
        let (store, planned) = (self.info.name.clone(), planned.etag.to_string());
        StoreError::Changed { store, key: key.clone(), planned, found: found.etag.clone() }
    }

    /// The upload and the parts that a mark names; S3 takes no others.
    fn upload_of<'s>(&self, staged: &'s Staged) -> Result<(&'s str, &'s [StagedPart])> {
        match &staged.place {
            StagedPlace::Multipart { upload_id, parts } => Ok((upload_id, parts)),
            StagedPlace::File { .. } => Err(StoreError::Unsupported {
                store: self.info.name.clone(),
                doing: format!("publish `{}`", staged.key),
                detail: "it was staged as a file, in a directory".into(),
                hint: None,
            }),
        }
    }

    fn check_parts(&self, staged: &Staged, parts: &[StagedPart], upload: &Upload) -> Result<Vec<Part>> {
        let doing = || format!("complete the upload of `{}`", staged.key);
        let mut chosen = Vec::with_capacity(parts.len());
        let limits = self.options.parts;
        if parts.is_empty() {
            return Err(self.failed(doing(), "MalformedXML: no parts"));
        }
        if !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(self.failed(doing(), "InvalidPartOrder"));
        }
        for (n, part) in parts.iter().enumerate() {
            match upload.parts.get(&part.number) {
                Some(found) if hex(&found.md5) == *part.etag => {
                    let (size, number) = (found.body.len() as u64, part.number);
                    if n + 1 < parts.len() && size < limits.min {
                        let detail =
                            format!("EntityTooSmall: part {number} has {size} bytes, {} are needed", limits.min);
                        return Err(self.failed(doing(), detail));
                    }
                    chosen.push(found.clone());
                }
                Some(_) | None => return Err(self.failed(doing(), format!("InvalidPart: {}", part.number))),
            }
        }
        let total: u64 = chosen.iter().map(|p| p.body.len() as u64).sum();
        if total > limits.object {
            return Err(self.failed(doing(), format!("EntityTooLarge: {total} bytes")));
        }
        Ok(chosen)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.shared.info
    }

    fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        Meter::add(&self.shared.meter.list, 1);
        let limit = self.shared.options.page;
        Ok(self.shared.bucket(|bucket| list_page(&bucket.objects, request, limit)))
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        Meter::add(&self.shared.meter.head, 1);
        Ok(self.shared.bucket(|bucket| {
            bucket.objects.get(key.as_str()).map(|object| Head {
                version: ObjectVersion::new(&object.etag),
                size: object.body.len() as u64,
                modified: object.modified,
                stamp: object.stamp.clone(),
                crc64nvme: Some(object.crc64nvme),
                version_id: None,
            })
        }))
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get> {
        Meter::add(&self.shared.meter.get, 1);
        let object = self.shared.bucket(|bucket| bucket.objects.get(key.as_str()).cloned());
        let Some(object) = object else { return Err(self.shared.not_found(key)) };
        if let Some(planned) = version
            && *planned.etag != *object.etag
        {
            return Err(self.shared.changed(key, planned, &object));
        }
        let size = object.body.len() as u64;
        let range = clip(range, size);
        let mut rest = slice(&object.body, range);
        Meter::add(&self.shared.meter.bytes_read, range.len());
        let chunk = self.shared.options.chunk.max(1);
        let chunks = std::iter::from_fn(move || {
            let next = rest.split_to(chunk.min(rest.len()));
            (!next.is_empty()).then_some(Ok(next))
        });
        let body = futures::stream::iter(chunks).boxed();
        Ok(Get { version: ObjectVersion::new(object.etag), size, range, write_id: object.write_id, body })
    }

    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome> {
        Meter::add(&self.shared.meter.put, 1);
        Meter::add(&self.shared.meter.bytes_written, body.len() as u64);
        let object = self.shared.object(body, Some(write_id.clone()));
        Ok(self.shared.bucket(|bucket| match bucket.objects.get(key.as_str()) {
            Some(found) if found.write_id.as_ref() == Some(write_id) => {
                PutOutcome::Created(ObjectVersion::new(&found.etag))
            }
            Some(found) => PutOutcome::Exists { owner: found.write_id.clone() },
            None => {
                let version = ObjectVersion::new(&object.etag);
                bucket.set(key.as_str(), Some(object));
                PutOutcome::Created(version)
            }
        }))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        Meter::add(&self.shared.meter.put, 1);
        Meter::add(&self.shared.meter.bytes_written, body.len() as u64);
        let object = self.shared.object(body, None);
        let version = ObjectVersion::new(&object.etag);
        self.shared.bucket(|bucket| bucket.set(key.as_str(), Some(object)));
        Ok(version)
    }

    async fn stage(&self, key: &Key, stamp: &Stamp, attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>> {
        Meter::add(&self.shared.meter.put, 1);
        let started = self.shared.clock.now();
        let (key, stamp, attributes) = (key.clone(), stamp.clone(), attributes.clone());
        let upload_id = self.shared.bucket(|bucket| {
            loop {
                let id = format!("{:016x}", self.shared.ids.next_u64());
                if let std::collections::btree_map::Entry::Vacant(free) = bucket.uploads.entry(id.clone()) {
                    let (key, stamp) = (key.clone(), stamp.clone());
                    free.insert(Upload { key, stamp, attributes, started, parts: BTreeMap::new() });
                    return id;
                }
            }
        });
        Ok(Box::new(MemoryWriter { shared: self.shared.clone(), key, stamp, upload_id }))
    }

    async fn staged_exists(&self, staged: &Staged) -> Result<bool> {
        Meter::add(&self.shared.meter.list, 1);
        let (upload_id, parts) = self.shared.upload_of(staged)?;
        Ok(self.shared.bucket(|bucket| {
            let upload = bucket.uploads.get(upload_id);
            upload.is_some_and(|u| parts.iter().all(|p| u.parts.get(&p.number).is_some_and(|f| hex(&f.md5) == *p.etag)))
        }))
    }

    async fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
        Meter::add(&self.shared.meter.put, 1);
        let (upload_id, parts) = self.shared.upload_of(staged)?;
        let now = self.shared.clock.now();
        self.shared.bucket(|bucket| {
            let Some(upload) = bucket.uploads.get(upload_id).filter(|u| u.key == staged.key) else {
                return Ok(PublishOutcome::StagedGone);
            };
            let chosen = self.shared.check_parts(staged, parts, upload)?;
            let found = bucket.objects.get(staged.key.as_str()).map(|o| ObjectVersion::new(&o.etag));
            match (precondition, found) {
                (Precondition::Absent, Some(_)) => return Ok(PublishOutcome::Occupied),
                (Precondition::Matches(old), found) if found.as_ref() != Some(old) => {
                    return Ok(PublishOutcome::Replaced { found });
                }
                (Precondition::Absent | Precondition::Matches(_) | Precondition::Whatever, _) => {}
            }
            let Some(upload) = bucket.uploads.remove(upload_id) else { return Ok(PublishOutcome::StagedGone) };
            let body: Bytes = chosen.iter().flat_map(|p| p.body.iter().copied()).collect::<Vec<u8>>().into();
            let object = Object {
                etag: multipart_etag(chosen.iter().map(|p| p.md5)),
                crc64nvme: Crc64::of(&body),
                body,
                modified: now,
                stamp: Some(upload.stamp),
                write_id: None,
                attributes: upload.attributes,
            };
            bucket.set(staged.key.as_str(), Some(object));
            Ok(PublishOutcome::Published)
        })
    }

    async fn confirm(&self, staged: &Staged) -> Result<Confirmation> {
        let (_, parts) = self.shared.upload_of(staged)?;
        let Some(head) = self.head(&staged.key).await? else { return Ok(Confirmation::Absent) };
        if head.stamp.as_ref() != Some(&staged.stamp) {
            return Ok(Confirmation::Foreign { version: head.version });
        }
        if head.size != staged.size {
            let detail = format!("{} bytes were staged, {} are there", staged.size, head.size);
            return Ok(Confirmation::Corrupt { version: head.version, detail });
        }
        let (proof, same, detail) = match (staged.crc64nvme, head.crc64nvme) {
            (Some(planned), Some(found)) => {
                let detail = format!("CRC-64/NVME should be {planned:016x} and is {found:016x}");
                (Proof::Crc64Nvme, planned == found, detail)
            }
            (Some(_), None) | (None, _) => {
                let planned = multipart_etag(parts.iter().map(|p| unhex(&p.etag)));
                let detail = format!("the etag should be {planned} and is {}", head.version);
                (Proof::PartEtags, planned == *head.version.etag, detail)
            }
        };
        let version = head.version;
        Ok(if same { Confirmation::Ours { version, proof } } else { Confirmation::Corrupt { version, detail } })
    }

    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        Meter::add(&self.shared.meter.delete, 1);
        let (upload_id, _) = self.shared.upload_of(staged)?;
        Ok(match self.shared.bucket(|bucket| bucket.uploads.remove(upload_id)) {
            Some(_) => AbortOutcome::GivenUp,
            None => AbortOutcome::Gone,
        })
    }

    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        Meter::add(&self.shared.meter.list, 1);
        let mut found: Vec<StagedListing> = self.shared.bucket(|bucket| {
            let matching = bucket.uploads.iter().filter(|(_, u)| u.key.as_str().starts_with(prefix));
            let listing = |(id, u): (&String, &Upload)| StagedListing {
                key: u.key.clone(),
                handle: id.clone(),
                started: u.started,
            };
            matching.map(listing).collect()
        });
        found.sort_by(|a, b| (&a.key, &a.handle).cmp(&(&b.key, &b.handle)));
        Ok(found)
    }

    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        Meter::add(&self.shared.meter.delete, 1);
        self.shared.bucket(|bucket| bucket.uploads.remove(&listing.handle));
        Ok(())
    }

    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome> {
        Meter::add(&self.shared.meter.delete, 1);
        Ok(self.shared.bucket(|bucket| match bucket.objects.get(key.as_str()) {
            None => DeleteOutcome::Absent,
            Some(found) if *found.etag != *version.etag => {
                DeleteOutcome::Changed { found: ObjectVersion::new(&found.etag) }
            }
            Some(_) => {
                bucket.set(key.as_str(), None);
                DeleteOutcome::Deleted
            }
        }))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        Meter::add(&self.shared.meter.delete, 1);
        self.shared.bucket(|bucket| bucket.set(key.as_str(), None));
        Ok(())
    }
}

/// One page of a listing, as S3 makes it: keys and folded prefixes count alike.
fn list_page(objects: &BTreeMap<String, Object>, request: &ListRequest, limit: usize) -> Page {
    let mut page = Page::default();
    let prefix = request.prefix.as_str();
    let mut from = match request.start_after.as_deref().max(request.token.as_deref()) {
        Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
        Some(_) | None => Bound::Included(prefix.to_owned()),
    };
    while let Some((key, object)) = objects.range::<String, _>((from, Bound::Unbounded)).next() {
        let Some(rest) = key.strip_prefix(prefix) else { break };
        if page.objects.len() + page.prefixes.len() == limit {
            // What comes next begins behind the last entry; behind a prefix means behind all keys that it folds.
            let last = page.objects.last().map(|o| o.key.as_str()).max(page.prefixes.last().map(String::as_str));
            page.next = last.map(|last| match page.prefixes.last() {
                Some(folded) if folded == last => format!("{last}\u{10ffff}"),
                Some(_) | None => last.to_owned(),
            });
            break;
        }
        match rest.find('/') {
            Some(slash) if request.folded => {
                let folded = &key[..prefix.len() + slash + 1];
                page.prefixes.push(folded.to_owned());
                // `0` follows `/`.
                from = Bound::Included(format!("{}0", &folded[..folded.len() - 1]));
            }
            Some(_) | None => {
                let (etag, size) = (object.etag.as_str().into(), object.body.len() as u64);
                let version =
                    InputVersion { key: Key::from_listed(key.as_str()), etag, size, modified: object.modified };
                page.objects.push(version);
                from = Bound::Excluded(key.clone());
            }
        }
    }
    page
}

fn clip(range: Option<ByteRange>, size: u64) -> ByteRange {
    range.map_or(ByteRange::new(0, size), |r| {
        let start = r.start.min(size);
        ByteRange::new(start, r.end.clamp(start, size))
    })
}

fn slice(body: &Bytes, range: ByteRange) -> Bytes {
    let place = |n: u64| usize::try_from(n).expect("a range of bytes in memory");
    body.slice(place(range.start)..place(range.end))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// The MD5 that an etag of a part is; zeros for what is none, so that nothing equals it.
fn unhex(etag: &str) -> [u8; 16] {
    let number = if etag.len() == 32 { u128::from_str_radix(etag, 16).ok() } else { None };
    number.unwrap_or(0).to_be_bytes()
}

/// The MD5 of the parts' MD5s, and their number. Source: AWS documentation, "Checking object integrity".
fn multipart_etag(parts: impl Iterator<Item = [u8; 16]>) -> String {
    let (mut all, mut count) = (Md5::new(), 0);
    for part in parts {
        all.update(part);
        count += 1;
    }
    format!("{}-{count}", hex(&all.finalize()))
}

/// Writes the parts of one upload.
#[derive(Debug)]
struct MemoryWriter {
    shared: Arc<Shared>,
    key: Key,
    stamp: Stamp,
    upload_id: String,
}

impl MemoryWriter {
    fn add_part(&self, number: u32, body: Bytes) -> Result<()> {
        let (limits, size) = (self.shared.options.parts, body.len() as u64);
        let doing = || format!("write part {number} of `{}`", self.key);
        if number == 0 || number > limits.count {
            return Err(self
                .shared
                .failed(doing(), format!("InvalidArgument: part numbers are 1 to {}", limits.count)));
        }
        if size > limits.max {
            return Err(self.shared.failed(doing(), format!("EntityTooLarge: {size} bytes")));
        }
        let md5 = Md5::digest(&body).into();
        self.shared.bucket(|bucket| match bucket.uploads.get_mut(&self.upload_id) {
            Some(upload) => {
                upload.parts.insert(number, Part { body, md5 });
                Ok(())
            }
            None => Err(self.shared.failed(doing(), "NoSuchUpload")),
        })
    }
}

#[async_trait]
impl StagedWriter for MemoryWriter {
    fn in_order(&self) -> bool {
        false
    }

    async fn write_part(&self, number: u32, body: Vec<Bytes>) -> Result<()> {
        let body: Bytes = body.concat().into();
        Meter::add(&self.shared.meter.put, 1);
        Meter::add(&self.shared.meter.bytes_written, body.len() as u64);
        self.add_part(number, body)
    }

    async fn copy_part(&self, number: u32, source: &CopySource, range: ByteRange) -> Result<()> {
        let info = source.store.info();
        let domain = &self.shared.info.copy_domain;
        let world = self.shared.world.lock();
        let bucket = world
            .buckets
            .get(&info.name)
            .filter(|_| domain.is_some() && *domain == info.copy_domain && info.kind == StoreKind::Memory);
        let Some(bucket) = bucket else {
            return Err(StoreError::Unsupported {
                store: self.shared.info.name.clone(),
                doing: format!("copy `{}` of `{}`", source.key, info.name),
                detail: "the stores cannot copy from each other".into(),
                hint: None,
            });
        };
        Meter::add(&self.shared.meter.copy, 1);
        let missing = || StoreError::NotFound { store: info.name.clone(), key: source.key.clone() };
        let object = bucket.objects.get(source.key.as_str()).cloned().ok_or_else(missing)?;
        drop(world);
        if *object.etag != *source.version.etag {
            return Err(self.shared.changed(&source.key, &source.version, &object));
        }
        if range.end > object.body.len() as u64 || range.is_empty() {
            let doing = format!("copy `{}`", source.key);
            let detail = format!("InvalidArgument: range {}-{} of {}", range.start, range.end, object.body.len());
            return Err(self.shared.failed(doing, detail));
        }
        Meter::add(&self.shared.meter.bytes_copied, range.len());
        self.add_part(number, slice(&object.body, range))
    }

    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged> {
        let gone = || self.shared.failed(format!("stage `{}`", self.key), "NoSuchUpload");
        let empty =
            self.shared.bucket(|b| b.uploads.get(&self.upload_id).map(|u| u.parts.is_empty())).ok_or_else(gone)?;
        if empty {
            // An upload without parts cannot be completed; an empty object has one empty part.
            Meter::add(&self.shared.meter.put, 1);
            self.add_part(1, Bytes::new())?;
        }
        let parts = self.shared.bucket(|b| b.uploads.get(&self.upload_id).map(|u| u.parts.clone())).ok_or_else(gone)?;
        let computed =
            parts.values().fold(0, |crc, part| Crc64::combine(crc, Crc64::of(&part.body), part.body.len() as u64));
        let size = parts.values().map(|p| p.body.len() as u64).sum();
        let staged_part = |(number, part): (&u32, &Part)| StagedPart {
            number: *number,
            etag: hex(&part.md5).into(),
            size: part.body.len() as u64,
        };
        let parts = parts.iter().map(staged_part).collect();
        let place = StagedPlace::Multipart { upload_id: self.upload_id.clone(), parts };
        let (key, stamp) = (self.key.clone(), self.stamp.clone());
        Ok(Staged { key, stamp, size, crc64nvme: crc64nvme.or(Some(computed)), place })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Meter::add(&self.shared.meter.delete, 1);
        self.shared.bucket(|bucket| bucket.uploads.remove(&self.upload_id));
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
