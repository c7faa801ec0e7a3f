//! Buckets, objects and uploads in memory. A mutex per bucket makes every conditional write one step.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baler_store::{Clock, SystemClock};
use jiff::Timestamp;
use md5::{Digest, Md5};
use parking_lot::{Mutex, MutexGuard, RwLock};
use s3s::dto::ETagCondition;
use s3s::{S3Result, s3_error};

use super::content::{Content, join_crc64};
use super::{Conditional, Conditions, Etags, LifecycleRule, Op, S3Options, Versioning};

/// What an object says about itself besides its bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) tagging: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) content: Content,
    pub(super) etag: String,
    pub(super) crc64: u64,
    pub(super) modified: Timestamp,
    pub(super) attributes: Attributes,
    pub(super) version_id: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) content: Content,
    pub(super) etag: String,
    pub(super) crc64: u64,
    pub(super) modified: Timestamp,
}

#[derive(Debug)]
pub(super) struct Upload {
    pub(super) attributes: Attributes,
    pub(super) started: Timestamp,
    pub(super) parts: BTreeMap<i32, Part>,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) created: Timestamp,
    pub(super) objects: BTreeMap<String, Arc<Object>>,
    /// By key and upload id; upload ids grow, so that uploads of one key are in the order in which they began.
    pub(super) uploads: BTreeMap<(String, String), Upload>,
    pub(super) lifecycle: Vec<LifecycleRule>,
    pub(super) versioning: Versioning,
}

/// The condition under which a write may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Guard {
    Always,
    Absent,
    Present,
    Matches(String),
}

impl Guard {
    /// From the headers `If-None-Match` and `If-Match`.
    pub(super) fn read(if_none_match: Option<ETagCondition>, if_match: Option<ETagCondition>) -> S3Result<Self> {
        match (if_none_match, if_match) {
            (None, None) => Ok(Self::Always),
            (Some(ETagCondition::Any), None) => Ok(Self::Absent),
            (None, Some(ETagCondition::Any)) => Ok(Self::Present),
            (None, Some(ETagCondition::ETag(etag))) => Ok(Self::Matches(etag.into_value())),
            // S3: "If-None-Match ... expects the * character"; both headers at once are not implemented either.
            _ => Err(s3_error!(NotImplemented, "this combination of conditions is not implemented")),
        }
    }

    /// Which kind of conditional write this is of an operation.
    fn guards(&self, op: Op) -> Option<Conditional> {
        match (op, self) {
            (Op::PutObject, Self::Absent) => Some(Conditional::PutIfAbsent),
            (Op::CompleteMultipartUpload, Self::Absent) => Some(Conditional::CompleteIfAbsent),
            (Op::CompleteMultipartUpload, Self::Matches(_)) => Some(Conditional::CompleteIfMatch),
            (Op::DeleteObject, Self::Matches(_)) => Some(Conditional::DeleteIfMatch),
            _ => None,
        }
    }

    pub(super) fn check(&self, found: Option<&Object>) -> S3Result<()> {
        let failed = || s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
        match (self, found) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Absent, Some(_)) => Err(failed()),
            (Self::Matches(_) | Self::Present, None) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            (Self::Matches(wanted), Some(found)) if *wanted == found.etag => Ok(()),
            (Self::Matches(_), Some(_)) => Err(failed()),
        }
    }
}

/// A part as a completion names it.
#[derive(Debug, Clone)]
pub(super) struct NamedPart {
    pub(super) number: i32,
    pub(super) etag: Option<String>,
    pub(super) crc64: Option<String>,
}

/// Everything that the server holds.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: RwLock<S3Options>,
    pub(super) buckets: RwLock<BTreeMap<String, Arc<Mutex<Bucket>>>>,
    counter: AtomicU64,
}

impl State {
    pub(super) fn new(options: S3Options) -> Self {
        let state = Self { options: RwLock::new(options), buckets: RwLock::default(), counter: AtomicU64::new(1) };
        let names = state.options.read().buckets.clone();
        for name in names {
            state.create_bucket(&name);
        }
        state
    }

    /// The time in whole seconds, as S3 keeps it.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.options.read().clock.now();
        Timestamp::from_second(now.as_second()).expect("a timestamp cut to its second is one")
    }

    pub(super) fn next_number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the bucket is new.
    pub(super) fn create_bucket(&self, name: &str) -> bool {
        let created = self.now();
        let mut buckets = self.buckets.write();
        if buckets.contains_key(name) {
            return false;
        }
        let bucket = Bucket {
            created,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            lifecycle: Vec::new(),
            versioning: Versioning::Off,
        };
        buckets.insert(name.to_owned(), Arc::new(Mutex::new(bucket)));
        true
    }

    pub(super) fn bucket(&self, name: &str) -> S3Result<Arc<Mutex<Bucket>>> {
        let found = self.buckets.read().get(name).cloned();
        found.ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }

    pub(super) fn object(&self, bucket: &str, key: &str) -> S3Result<Arc<Object>> {
        let found = self.bucket(bucket)?.lock().objects.get(key).cloned();
        found.ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))
    }

    fn etag(&self, content: &Content) -> String {
        match self.options.read().etags {
            Etags::Md5 => hex(&content.md5()),
            Etags::Opaque => hex(&Md5::digest(self.next_number().to_be_bytes())),
        }
    }

    pub(super) fn new_object(&self, content: Content, attributes: Attributes) -> Object {
        Object {
            etag: self.etag(&content),
            crc64: content.crc64(),
            modified: self.now(),
            content,
            attributes,
            version_id: None,
        }
    }

    /// A part, whose checksums are taken over from the source where it is a whole object.
    pub(super) fn new_part(&self, content: Content, source: Option<&Object>) -> Part {
        let whole = source.filter(|source| source.content.size() == content.size() && !source.etag.contains('-'));
        let (etag, crc64) = match whole {
            Some(source) => (source.etag.clone(), source.crc64),
            None => (self.etag(&content), content.crc64()),
        };
        Part { etag, crc64, modified: self.now(), content }
    }

    /// Does a guarded write: `write` gets the locked bucket once its guard holds.
    ///
    /// Without atomicity, the guard is looked at first and the write follows later, whatever happened in between.
    pub(super) async fn guarded<T>(
        &self,
        op: Op,
        (bucket, key): (&str, &str),
        guard: &Guard,
        write: impl FnOnce(&mut Bucket) -> S3Result<T>,
    ) -> S3Result<T> {
        let bucket = self.bucket(bucket)?;
        let check = |bucket: &MutexGuard<'_, Bucket>| guard.check(bucket.objects.get(key).map(|object| &**object));
        let conditions = {
            let options = self.options.read();
            let excepted = options.exception.filter(|(write, _)| guard.guards(op) == Some(*write));
            excepted.map_or(options.conditions, |(_, conditions)| conditions)
        };
        match conditions {
            Conditions::Honoured => {
                let mut bucket = bucket.lock();
                check(&bucket)?;
                write(&mut bucket)
            }
            Conditions::Ignored => write(&mut bucket.lock()),
            Conditions::NotAtomic => {
                check(&bucket.lock())?;
                SystemClock.sleep(Duration::from_millis(3)).await;
                write(&mut bucket.lock())
            }
        }
    }

    /// Puts an object into its bucket; the version id is what the bucket's versioning asks for.
    pub(super) fn insert(&self, bucket: &mut Bucket, key: &str, mut object: Object) -> Arc<Object> {
        object.version_id = match bucket.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(format!("v{:016x}", self.next_number())),
            Versioning::Suspended => Some("null".to_owned()),
        };
        let object = Arc::new(object);
        bucket.objects.insert(key.to_owned(), object.clone());
        object
    }

    pub(super) fn new_upload_id(&self) -> String {
        let number = self.next_number();
        format!("{number:012x}{}", hex(&Md5::digest(number.to_be_bytes())))
    }
}

impl Upload {
    /// The object that these parts make.
    pub(super) fn assemble(&self, named: &[NamedPart], min_part: u64, now: Timestamp) -> S3Result<Object> {
        if named.is_empty() {
            return Err(s3_error!(MalformedXML, "You must specify at least one part"));
        }
        if !named.is_sorted_by(|a, b| a.number < b.number) {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
        }
        let (mut content, mut crc64, mut etags) = (Content::default(), 0, Md5::new());
        for (index, name) in named.iter().enumerate() {
            let part = self.parts.get(&name.number).filter(|part| {
                name.etag.as_deref().is_none_or(|etag| etag == part.etag)
                    && name.crc64.as_deref().is_none_or(|crc| crc == crc64_text(part.crc64))
            });
            let part = part.ok_or_else(|| {
                s3_error!(InvalidPart, "One or more of the specified parts could not be found: part {}", name.number)
            })?;
            if index + 1 < named.len() && part.content.size() < min_part {
                return Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
            }
            content.append(&part.content);
            crc64 = join_crc64(crc64, part.crc64, part.content.size());
            etags.update(unhex(&part.etag));
        }
        let etag = format!("{}-{}", hex(&etags.finalize()), named.len());
        Ok(Object { content, etag, crc64, modified: now, attributes: self.attributes.clone(), version_id: None })
    }
}

/// A CRC-64 as its header has it: base64 of the bytes, most significant first.
pub(super) fn crc64_text(crc: u64) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}
