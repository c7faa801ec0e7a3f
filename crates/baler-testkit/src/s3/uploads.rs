//! Operations on multipart uploads.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::buckets::limit;
use super::content::Content;
use super::objects::{Claimed, etag, read_body, time};
use super::state::{Attributes, Guard, NamedPart, Upload, crc64_text};
use super::{Op, Shared, Uploads};

/// S3's limit for one part. Source: S3 user guide, "Multipart upload limits".
const MAX_PART: u64 = 5 << 30;

impl Shared {
    pub(super) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let input = request.input;
        let bucket = self.state.bucket(&input.bucket)?;
        let upload_id = self.state.new_upload_id();
        let upload = Upload {
            attributes: Attributes {
                metadata: input.metadata.into_iter().flatten().collect(),
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
                tagging: input.tagging,
            },
            started: self.state.now(),
            parts: Default::default(),
        };
        bucket.lock().uploads.insert((input.key.clone(), upload_id.clone()), upload);
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        })
    }

    pub(super) async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
        let input = request.input;
        self.known_upload(&input.bucket, &input.key, &input.upload_id)?;
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
        let part = self.state.new_part(Content::from_bytes(body), None);
        let (tag, crc64) = (part.etag.clone(), part.crc64);
        self.add_part(&input.bucket, &input.key, &input.upload_id, input.part_number, part)?;
        Ok(UploadPartOutput {
            e_tag: Some(etag(&tag)),
            checksum_crc64nvme: self.shown_part_checksum(crc64),
            ..UploadPartOutput::default()
        })
    }

    pub(super) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let input = request.input;
        self.known_upload(&input.bucket, &input.key, &input.upload_id)?;
        let source = self.copy_source(
            &input.copy_source,
            input.copy_source_if_match.as_ref(),
            input.copy_source_if_none_match.as_ref(),
        )?;
        let size = source.content.size();
        let content = match &input.copy_source_range {
            None => source.content.clone(),
            Some(text) => match Range::parse(text) {
                Ok(Range::Int { first, last: Some(last) }) if last < size => source.content.slice(first..last + 1),
                Ok(Range::Int { last: Some(_), .. }) => {
                    // Unlike a read, a copy is not clipped at the end of its source.
                    return Err(s3_error!(
                        InvalidRange,
                        "Range specified is not valid for source object of size: {size}"
                    ));
                }
                Ok(Range::Int { last: None, .. } | Range::Suffix { .. }) | Err(_) => {
                    return Err(s3_error!(
                        InvalidArgument,
                        "The x-amz-copy-source-range value must be of the form bytes=first-last"
                    ));
                }
            },
        };
        if content.size() > MAX_PART {
            return Err(s3_error!(InvalidRequest, "The specified copy source is larger than the maximum: 5368709120"));
        }
        let part = self.state.new_part(content, Some(&source));
        let result = CopyPartResult {
            e_tag: Some(etag(&part.etag)),
            last_modified: Some(time(part.modified)),
            checksum_crc64nvme: self.shown_part_checksum(part.crc64),
            ..CopyPartResult::default()
        };
        self.add_part(&input.bucket, &input.key, &input.upload_id, input.part_number, part)?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: source.version_id.clone(),
            ..UploadPartCopyOutput::default()
        })
    }

    pub(super) async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
        let input = request.input;
        let asked = limit(input.max_parts)?;
        let max = asked.min(self.state.options.read().page_size);
        let marker = input.part_number_marker.unwrap_or(0);
        let bucket = self.state.bucket(&input.bucket)?;
        let bucket = bucket.lock();
        let upload = bucket.uploads.get(&(input.key.clone(), input.upload_id.clone())).ok_or_else(no_such_upload)?;
        let mut parts: Vec<Part> = upload
            .parts
            .range(marker.saturating_add(1)..)
            .take(max.saturating_add(1))
            .map(|(number, part)| Part {
                part_number: Some(*number),
                e_tag: Some(etag(&part.etag)),
                size: Some(part.content.size() as i64),
                last_modified: Some(time(part.modified)),
                checksum_crc64nvme: self.shown_part_checksum(part.crc64),
                ..Part::default()
            })
            .collect();
        let more = parts.len() > max;
        parts.truncate(max);
        Ok(ListPartsOutput {
            next_part_number_marker: parts.last().filter(|_| more).and_then(|part| part.part_number),
            is_truncated: Some(more),
            part_number_marker: input.part_number_marker,
            max_parts: Some(asked as i32),
            parts: Some(parts),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            ..ListPartsOutput::default()
        })
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let input = request.input;
        let bucket = self.state.bucket(&input.bucket)?;
        let removed = bucket.lock().uploads.remove(&(input.key, input.upload_id));
        removed.map(|_| AbortMultipartUploadOutput::default()).ok_or_else(no_such_upload)
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let input = request.input;
        let guard = Guard::read(input.if_none_match, input.if_match)?;
        // Before the condition: a completion that is repeated after its upload is gone never looks at the key.
        self.known_upload(&input.bucket, &input.key, &input.upload_id)?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named = named.into_iter().map(|part| {
            let number = part.part_number.ok_or_else(|| s3_error!(MalformedXML, "a part has no number"))?;
            Ok(NamedPart { number, etag: part.e_tag.map(ETag::into_value), crc64: part.checksum_crc64nvme })
        });
        let named = named.collect::<S3Result<Vec<_>>>()?;
        let (min_part, uploads) = {
            let options = self.state.options.read();
            (options.min_part, options.uploads)
        };
        let now = self.state.now();
        let id = (input.key.clone(), input.upload_id.clone());
        let object = self
            .state
            .guarded(Op::CompleteMultipartUpload, (&input.bucket, &input.key), &guard, |bucket| {
                let upload = bucket.uploads.get(&id).ok_or_else(no_such_upload)?;
                let object = upload.assemble(&named, min_part, now)?;
                if input.mpu_object_size.is_some_and(|size| size != object.content.size() as i64) {
                    return Err(s3_error!(
                        InvalidRequest,
                        "The object has not the size that x-amz-mp-object-size says"
                    ));
                }
                if input.checksum_crc64nvme.as_ref().is_some_and(|crc| *crc != crc64_text(object.crc64)) {
                    return Err(s3_error!(BadDigest, "The CRC64NVME you specified did not match what was calculated"));
                }
                if uploads == Uploads::EndWhenCompleted {
                    bucket.uploads.remove(&id);
                }
                Ok(self.state.insert(bucket, &input.key, object))
            })
            .await?;
        let (checksum_crc64nvme, checksum_type) = self.shown_checksum(&object);
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&object.etag)),
            version_id: object.version_id.clone(),
            checksum_crc64nvme,
            checksum_type,
            ..CompleteMultipartUploadOutput::default()
        })
    }

    fn known_upload(&self, bucket: &str, key: &str, upload_id: &str) -> S3Result<()> {
        let bucket = self.state.bucket(bucket)?;
        let known = bucket.lock().uploads.contains_key(&(key.to_owned(), upload_id.to_owned()));
        if known { Ok(()) } else { Err(no_such_upload()) }
    }

    fn add_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: i32,
        part: super::state::Part,
    ) -> S3Result<()> {
        if !(1..=10_000).contains(&number) {
            return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"));
        }
        let bucket = self.state.bucket(bucket)?;
        let mut bucket = bucket.lock();
        let upload = bucket.uploads.get_mut(&(key.to_owned(), upload_id.to_owned())).ok_or_else(no_such_upload)?;
        upload.parts.insert(number, part);
        Ok(())
    }

    fn shown_part_checksum(&self, crc64: u64) -> Option<String> {
        match self.state.options.read().checksums {
            super::Checksums::Crc64Nvme => Some(crc64_text(crc64)),
            super::Checksums::Absent => None,
        }
    }
}

fn no_such_upload() -> s3s::S3Error {
    s3_error!(NoSuchUpload, "The specified upload does not exist. It may have been aborted or completed.")
}
