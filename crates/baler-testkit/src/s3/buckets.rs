//! Operations on buckets: what they are, what they list.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::listing::{list_objects, list_uploads, url_encoded};
use super::objects::{etag, time};
use super::{Shared, Versioning};

impl Shared {
    pub(super) async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<ListBucketsOutput> {
        let buckets = self.state.buckets.read().clone();
        let buckets = buckets.into_iter().map(|(name, bucket)| Bucket {
            name: Some(name),
            creation_date: Some(time(bucket.lock().created)),
            ..Bucket::default()
        });
        Ok(ListBucketsOutput { buckets: Some(buckets.collect()), ..ListBucketsOutput::default() })
    }

    pub(super) async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<CreateBucketOutput> {
        match self.state.create_bucket(&request.input.bucket) {
            true => Ok(CreateBucketOutput::default()),
            false => Err(s3_error!(BucketAlreadyOwnedByYou, "The bucket exists and is yours")),
        }
    }

    pub(super) async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<HeadBucketOutput> {
        self.state.bucket(&request.input.bucket)?;
        let region = self.state.options.read().region.clone();
        Ok(HeadBucketOutput { bucket_region: Some(region), ..HeadBucketOutput::default() })
    }

    pub(super) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<GetBucketLocationOutput> {
        self.state.bucket(&request.input.bucket)?;
        // S3 leaves the location of its first region empty.
        let region = Some(self.state.options.read().region.clone()).filter(|region| region != "us-east-1");
        Ok(GetBucketLocationOutput { location_constraint: region.map(BucketLocationConstraint::from) })
    }

    pub(super) async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<GetBucketLifecycleConfigurationOutput> {
        let bucket = self.state.bucket(&request.input.bucket)?;
        let rules = bucket.lock().lifecycle.clone();
        if rules.is_empty() {
            return Err(s3_error!(NoSuchLifecycleConfiguration, "The lifecycle configuration does not exist"));
        }
        let rules = rules.into_iter().map(|rule| LifecycleRule {
            id: Some(rule.id),
            filter: Some(LifecycleRuleFilter { prefix: Some(rule.prefix), ..LifecycleRuleFilter::default() }),
            status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
            expiration: rule
                .expire_days
                .map(|days| LifecycleExpiration { days: Some(days), ..LifecycleExpiration::default() }),
            abort_incomplete_multipart_upload: rule
                .abort_days
                .map(|days| AbortIncompleteMultipartUpload { days_after_initiation: Some(days) }),
            noncurrent_version_expiration: None,
            noncurrent_version_transitions: None,
            prefix: None,
            transitions: None,
        });
        Ok(GetBucketLifecycleConfigurationOutput {
            rules: Some(rules.collect()),
            ..GetBucketLifecycleConfigurationOutput::default()
        })
    }

    pub(super) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<GetBucketVersioningOutput> {
        let bucket = self.state.bucket(&request.input.bucket)?;
        let status = match bucket.lock().versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        Ok(GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from_static),
            ..GetBucketVersioningOutput::default()
        })
    }

    pub(super) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let input = request.input;
        let bucket = self.state.bucket(&input.bucket)?;
        let asked = limit(input.max_keys)?;
        let max = asked.min(self.state.options.read().page_size);
        let page = list_objects(
            &bucket.lock(),
            input.prefix.as_deref().unwrap_or(""),
            input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            input.start_after.as_deref().filter(|key| !key.is_empty()),
            input.continuation_token.as_deref(),
            max,
        )?;
        let encode = encoder(input.encoding_type.as_ref());
        let contents = page.objects.iter().map(|(key, object)| Object {
            key: Some(encode(key)),
            size: Some(object.content.size() as i64),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(time(object.modified)),
            storage_class: Some(ObjectStorageClass::from(
                object.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned()),
            )),
            ..Object::default()
        });
        let prefixes = page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) });
        Ok(ListObjectsV2Output {
            key_count: Some((page.objects.len() + page.prefixes.len()) as i32),
            contents: Some(contents.collect()),
            common_prefixes: Some(prefixes.collect()),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.clone(),
            continuation_token: input.continuation_token,
            max_keys: Some(asked as i32),
            prefix: Some(encode(input.prefix.as_deref().unwrap_or(""))),
            delimiter: input.delimiter.as_deref().map(&encode),
            start_after: input.start_after.as_deref().map(&encode),
            encoding_type: input.encoding_type.clone(),
            name: Some(input.bucket),
            ..ListObjectsV2Output::default()
        })
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let input = request.input;
        let bucket = self.state.bucket(&input.bucket)?;
        let asked = limit(input.max_uploads)?;
        let max = asked.min(self.state.options.read().page_size);
        let prefix = input.prefix.as_deref().unwrap_or("");
        let (uploads, more) = list_uploads(
            &bucket.lock(),
            prefix,
            input.key_marker.as_deref().filter(|marker| !marker.is_empty()),
            input.upload_id_marker.as_deref(),
            max,
        );
        let encode = encoder(input.encoding_type.as_ref());
        let last = uploads.last().filter(|_| more);
        Ok(ListMultipartUploadsOutput {
            next_key_marker: last.map(|(key, _, _)| encode(key)),
            next_upload_id_marker: last.map(|(_, id, _)| id.clone()),
            is_truncated: Some(more),
            max_uploads: Some(asked as i32),
            prefix: Some(encode(prefix)),
            encoding_type: input.encoding_type.clone(),
            uploads: Some(
                uploads
                    .iter()
                    .map(|(key, id, started)| MultipartUpload {
                        key: Some(encode(key)),
                        upload_id: Some(id.clone()),
                        initiated: Some(time(*started)),
                        ..MultipartUpload::default()
                    })
                    .collect(),
            ),
            bucket: Some(input.bucket),
            ..ListMultipartUploadsOutput::default()
        })
    }
}

/// The size of a page that a client asks for: 1,000 unless it says less.
pub(super) fn limit(asked: Option<i32>) -> S3Result<usize> {
    let asked = usize::try_from(asked.unwrap_or(1000));
    asked.map(|n| n.min(1000)).map_err(|_| s3_error!(InvalidArgument, "a page cannot have less than no entries"))
}

fn encoder(encoding: Option<&EncodingType>) -> impl Fn(&str) -> String {
    let url = encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
    move |key| if url { url_encoded(key) } else { key.to_owned() }
}
