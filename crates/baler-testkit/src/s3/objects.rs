//! Operations on objects: put, get, head, delete, copy.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use jiff::Timestamp as Instant;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::*;
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};

use super::content::Content;
use super::state::{Attributes, Guard, Object, crc64_text};
use super::{Checksums, Op, Shared, Versioning};

/// S3's limit for one copy. Source: S3 API, CopyObject.
const MAX_COPY: u64 = 5 << 30;

impl Shared {
    pub(super) async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
        let input = request.input;
        let guard = Guard::read(input.if_none_match, input.if_match)?;
        let body = read_body(input.body).await?;
        Claimed {
            md5: input.content_md5,
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
        }
        .with_trailers(request.trailing_headers.as_ref())
        .check(&body)?;
        let attributes = Attributes {
            metadata: input.metadata.into_iter().flatten().collect(),
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            tagging: input.tagging,
        };
        let object = self.state.new_object(Content::from_bytes(body), attributes);
        let object = self
            .state
            .guarded(Op::PutObject, (&input.bucket, &input.key), &guard, |bucket| {
                Ok(self.state.insert(bucket, &input.key, object))
            })
            .await?;
        let (checksum_crc64nvme, checksum_type) = self.shown_checksum(&object);
        Ok(PutObjectOutput {
            e_tag: Some(etag(&object.etag)),
            version_id: object.version_id.clone(),
            checksum_crc64nvme,
            checksum_type,
            ..PutObjectOutput::default()
        })
    }

    pub(super) async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
        let input = request.input;
        let object = self.state.object(&input.bucket, &input.key)?;
        check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let size = object.content.size();
        let range = input.range.map(|range| range.check(size)).transpose()?;
        let (content, content_range) = match range {
            Some(range) => {
                let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                (object.content.slice(range), Some(text))
            }
            None => (object.content.clone(), None),
        };
        // A checksum of the whole says nothing about a range, so S3 leaves it out there.
        let shown = input.checksum_mode.is_some() && content_range.is_none();
        let (checksum_crc64nvme, checksum_type) = if shown { self.shown_checksum(&object) } else { (None, None) };
        Ok(GetObjectOutput {
            content_length: Some(content.size() as i64),
            body: Some(StreamingBlob::new(content.stream())),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(time(object.modified)),
            metadata: Some(object.attributes.metadata.clone().into_iter().collect()),
            content_type: Some(content_type(&object)),
            content_encoding: object.attributes.content_encoding.clone(),
            storage_class: object.attributes.storage_class.clone().map(StorageClass::from),
            tag_count: tag_count(&object),
            version_id: object.version_id.clone(),
            checksum_crc64nvme,
            checksum_type,
            ..GetObjectOutput::default()
        })
    }

    pub(super) async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<HeadObjectOutput> {
        let input = request.input;
        let object = self.state.object(&input.bucket, &input.key)?;
        check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (checksum_crc64nvme, checksum_type) = match input.checksum_mode {
            Some(_) => self.shown_checksum(&object),
            None => (None, None),
        };
        Ok(HeadObjectOutput {
            content_length: Some(object.content.size() as i64),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(time(object.modified)),
            metadata: Some(object.attributes.metadata.clone().into_iter().collect()),
            content_type: Some(content_type(&object)),
            content_encoding: object.attributes.content_encoding.clone(),
            storage_class: object.attributes.storage_class.clone().map(StorageClass::from),
            version_id: object.version_id.clone(),
            checksum_crc64nvme,
            checksum_type,
            ..HeadObjectOutput::default()
        })
    }

    pub(super) async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<DeleteObjectOutput> {
        let input = request.input;
        let guard = Guard::read(None, input.if_match)?;
        self.delete(&input.bucket, &input.key, &guard).await
    }

    async fn delete(&self, bucket: &str, key: &str, guard: &Guard) -> S3Result<DeleteObjectOutput> {
        let version = format!("v{:016x}", self.state.next_number());
        self.state
            .guarded(Op::DeleteObject, (bucket, key), guard, |bucket| {
                bucket.objects.remove(key);
                Ok(match bucket.versioning {
                    Versioning::Off => DeleteObjectOutput::default(),
                    Versioning::Enabled | Versioning::Suspended => DeleteObjectOutput {
                        delete_marker: Some(true),
                        version_id: Some(version),
                        ..DeleteObjectOutput::default()
                    },
                })
            })
            .await
    }

    pub(super) async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<DeleteObjectsOutput> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        self.state.bucket(&bucket)?;
        if delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "at most 1000 objects can be deleted at once"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ObjectIdentifier { key, e_tag, .. } in delete.objects {
            let guard = e_tag.map_or(Guard::Always, |etag| Guard::Matches(etag.into_value()));
            match self.delete(&bucket, &key, &guard).await {
                Ok(done) => deleted.push(DeletedObject {
                    key: Some(key),
                    delete_marker: done.delete_marker,
                    delete_marker_version_id: done.version_id,
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(Error {
                    key: Some(key),
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let deleted = if delete.quiet == Some(true) { None } else { Some(deleted) };
        Ok(DeleteObjectsOutput { deleted, errors: Some(errors), ..DeleteObjectsOutput::default() })
    }

    pub(super) async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
        // The library's type has no fields for the conditions on the target of a copy: they are read from the headers.
        let condition = |name: &str| {
            let value = request.headers.get(name);
            let parsed = value.map(|value| ETagCondition::parse_http_header(value.as_bytes())).transpose();
            parsed.map_err(|error| s3_error!(error, InvalidArgument, "the header {} is malformed", name))
        };
        let guard = Guard::read(condition("if-none-match")?, condition("if-match")?)?;
        let input = request.input;
        let source = self.copy_source(
            &input.copy_source,
            input.copy_source_if_match.as_ref(),
            input.copy_source_if_none_match.as_ref(),
        )?;
        if source.content.size() > MAX_COPY {
            return Err(s3_error!(InvalidRequest, "The specified copy source is larger than the maximum: 5368709120"));
        }
        let replaces =
            |directive: Option<&str>| directive.is_some_and(|directive| directive.eq_ignore_ascii_case("REPLACE"));
        let given = Attributes {
            metadata: input.metadata.into_iter().flatten().collect(),
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            tagging: input.tagging,
        };
        let mut attributes = match replaces(input.metadata_directive.as_ref().map(MetadataDirective::as_str)) {
            true => given.clone(),
            // The storage class of a copy is never that of its source.
            false => Attributes { storage_class: given.storage_class, ..source.attributes.clone() },
        };
        attributes.tagging = match replaces(input.tagging_directive.as_ref().map(TaggingDirective::as_str)) {
            true => given.tagging,
            false => source.attributes.tagging.clone(),
        };
        let object = self.state.new_object(source.content.clone(), attributes);
        let object = self
            .state
            .guarded(Op::CopyObject, (&input.bucket, &input.key), &guard, |bucket| {
                Ok(self.state.insert(bucket, &input.key, object))
            })
            .await?;
        let (checksum_crc64nvme, checksum_type) = self.shown_checksum(&object);
        Ok(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(etag(&object.etag)),
                last_modified: Some(time(object.modified)),
                checksum_crc64nvme,
                checksum_type,
                ..CopyObjectResult::default()
            }),
            copy_source_version_id: source.version_id.clone(),
            version_id: object.version_id.clone(),
            ..CopyObjectOutput::default()
        })
    }

    /// The object that a copy reads, in the version that it asks for.
    pub(super) fn copy_source(
        &self,
        source: &CopySource,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<std::sync::Arc<Object>> {
        let CopySource::Bucket { bucket, key, .. } = source else {
            return Err(s3_error!(NotImplemented, "copies from access points are not implemented"));
        };
        let object = self.state.object(bucket, key)?;
        match check_read(&object, if_match, if_none_match) {
            Ok(()) => Ok(object),
            // A copy answers 412 to both conditions, unlike a read, which answers 304 to one.
            Err(_) => Err(precondition_failed()),
        }
    }

    pub(super) fn shown_checksum(&self, object: &Object) -> (Option<String>, Option<ChecksumType>) {
        match self.state.options.read().checksums {
            Checksums::Crc64Nvme => {
                (Some(crc64_text(object.crc64)), Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT)))
            }
            Checksums::Absent => (None, None),
        }
    }
}

fn precondition_failed() -> s3s::S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

fn check_read(
    object: &Object,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let matches = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    };
    if if_match.is_some_and(|condition| !matches(condition)) {
        return Err(precondition_failed());
    }
    if if_none_match.is_some_and(matches) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

fn content_type(object: &Object) -> String {
    object.attributes.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

fn tag_count(object: &Object) -> Option<i32> {
    let tags = object.attributes.tagging.as_deref().filter(|tags| !tags.is_empty())?;
    Some(tags.split('&').count() as i32)
}

pub(super) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

pub(super) fn time(at: Instant) -> Timestamp {
    Timestamp::from(SystemTime::from(at))
}

/// The whole body; the server hands it over in one piece, so that this costs nothing unless a client sends chunks.
pub(super) async fn read_body(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    let failed = |error| s3s::S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error);
    let Some(first) = body.next().await.transpose().map_err(failed)? else { return Ok(Bytes::new()) };
    let Some(second) = body.next().await.transpose().map_err(failed)? else { return Ok(first) };
    let mut all = BytesMut::from(&*first);
    all.extend_from_slice(&second);
    while let Some(piece) = body.next().await.transpose().map_err(failed)? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The checksums that a client claims for a body.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) md5: Option<String>,
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl Claimed {
    /// Adds the checksums that came behind a chunked body.
    pub(super) fn with_trailers(mut self, trailers: Option<&TrailingHeaders>) -> Self {
        let read = |name: &str| {
            trailers?.read(|headers| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned)))?
        };
        for (field, name) in [
            (&mut self.crc32, "x-amz-checksum-crc32"),
            (&mut self.crc32c, "x-amz-checksum-crc32c"),
            (&mut self.crc64nvme, "x-amz-checksum-crc64nvme"),
            (&mut self.sha1, "x-amz-checksum-sha1"),
            (&mut self.sha256, "x-amz-checksum-sha256"),
        ] {
            *field = field.take().or_else(|| read(name));
        }
        self
    }

    /// Errors: `BadDigest` where a claim is not true.
    pub(super) fn check(&self, body: &[u8]) -> S3Result<()> {
        let mut hasher = ChecksumHasher {
            crc32: self.crc32.as_ref().map(|_| s3s::crypto::Crc32::new()),
            crc32c: self.crc32c.as_ref().map(|_| s3s::crypto::Crc32c::new()),
            crc64nvme: self.crc64nvme.as_ref().map(|_| s3s::crypto::Crc64Nvme::new()),
            sha1: self.sha1.as_ref().map(|_| s3s::crypto::Sha1::new()),
            sha256: self.sha256.as_ref().map(|_| s3s::crypto::Sha256::new()),
        };
        hasher.update(body);
        let found = hasher.finalize();
        let pairs = [
            (&self.crc32, found.checksum_crc32),
            (&self.crc32c, found.checksum_crc32c),
            (&self.crc64nvme, found.checksum_crc64nvme),
            (&self.sha1, found.checksum_sha1),
            (&self.sha256, found.checksum_sha256),
        ];
        let md5 = self.md5.as_ref().is_none_or(|claimed| {
            use base64::Engine;
            use md5::Digest;
            *claimed == base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(body))
        });
        if md5 && pairs.iter().all(|(claimed, found)| claimed.is_none() || **claimed == *found) {
            return Ok(());
        }
        Err(s3_error!(BadDigest, "The checksum you specified did not match what was received."))
    }
}
