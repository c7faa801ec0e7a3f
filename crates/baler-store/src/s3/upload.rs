//! Staged outputs: multipart uploads that are not completed.
//!
//! The stamp is given when the upload begins and becomes the object's metadata; until completion nobody sees anything
//! but `ListMultipartUploads`. A crash leaves an upload for `gc`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use baler_model::{Key, SharedStr, Staged, StagedPart, StagedPlace, Stamp};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, HeaderName};
use parking_lot::Mutex;

use super::address::{copy_source, parse_url};
use super::call::{Action, Call};
use super::client::Client;
use super::read::{CHECKSUM, META_STAMP, encode_crc, quoted};
use super::refusal::{Refusal, is_about_checksums};
use super::xml::{copied_etag, upload_id};
use crate::http::answer::text;
use crate::http::encode::encode_query;
use crate::http::xml::unquoted;
use crate::{AbortOutcome, ByteRange, CopySource, Crc64, Meter, OutputAttributes, Result, StagedWriter, StoreError};

/// The CRC-64/NVME of chunks.
pub(crate) fn crc_of(chunks: &[Bytes]) -> u64 {
    let mut crc = Crc64::new();
    for chunk in chunks {
        crc.update(chunk);
    }
    crc.value()
}

impl Client {
    /// Adds what the store's settings say about encryption.
    pub(crate) fn encrypted<'a>(&self, call: Call<'a>) -> Call<'a> {
        match &self.options.kms_key {
            Some(key) => call
                .amz("x-amz-server-side-encryption", "aws:kms")
                .amz("x-amz-server-side-encryption-aws-kms-key-id", key),
            None => call,
        }
    }

    /// Remembers that the server takes no checksum headers, if that is what a refusal says and was not known.
    pub(crate) fn unlearns_checksums(&self, refusal: &Refusal) -> bool {
        let unlearnt = is_about_checksums(refusal) && self.checksums.swap(false, Ordering::Relaxed);
        if unlearnt {
            tracing::warn!(store = %self.info.name, code = %refusal.code, "the server takes no CRC-64/NVME; going without");
        }
        unlearnt
    }
}

/// One part that is there.
#[derive(Debug, Clone)]
struct Part {
    etag: SharedStr,
    size: u64,
    /// `None` for copied parts: their bytes were not seen.
    crc: Option<u64>,
}

/// Writes one multipart upload.
#[derive(Debug)]
pub(crate) struct Upload {
    client: Arc<Client>,
    key: Key,
    stamp: Stamp,
    upload_id: String,
    /// Whether this upload was begun with a checksum algorithm.
    checksums: bool,
    parts: Mutex<BTreeMap<u32, Part>>,
}

/// Begins an upload.
pub(crate) async fn begin(
    client: &Arc<Client>,
    key: &Key,
    stamp: &Stamp,
    attributes: &OutputAttributes,
) -> Result<Upload> {
    loop {
        let checksums = client.takes_checksums();
        let mut call = Call::new(Action::Begin, Some(key.as_str()))
            .query("uploads", "")
            .amz(META_STAMP, stamp.to_string())
            .header(CONTENT_TYPE, attributes.content_type.as_deref().unwrap_or("application/octet-stream"));
        if checksums {
            call = call.amz("x-amz-checksum-algorithm", "CRC64NVME").amz("x-amz-checksum-type", "FULL_OBJECT");
        }
        if let Some(class) = &client.options.storage_class {
            call = call.amz("x-amz-storage-class", class);
        }
        if !client.options.tags.is_empty() {
            let tags = client.options.tags.iter().map(|(k, v)| format!("{}={}", encode_query(k), encode_query(v)));
            call = call.amz("x-amz-tagging", tags.collect::<Vec<_>>().join("&"));
        }
        let call = client.encrypted(call);
        match client.call(&call).await? {
            Ok(done) => {
                let upload_id = upload_id(&done.body).map_err(|e| client.failed(&call, e.to_string()))?;
                return Ok(Upload {
                    client: Arc::clone(client),
                    key: key.clone(),
                    stamp: stamp.clone(),
                    upload_id,
                    checksums,
                    parts: Mutex::new(BTreeMap::new()),
                });
            }
            Err(refusal) if checksums && client.unlearns_checksums(&refusal) => {}
            Err(refusal) => return Err(client.refused(&call, &refusal)),
        }
    }
}

/// Gives an upload up; one that is gone already is fine.
pub(crate) async fn abort(client: &Client, key: &Key, upload_id: &str) -> Result<AbortOutcome> {
    let call = Call::new(Action::Abort, Some(key.as_str())).query("uploadId", upload_id);
    match client.call(&call).await? {
        Ok(_done) => Ok(AbortOutcome::GivenUp),
        Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "NoSuchBucket" => Ok(AbortOutcome::Gone),
        Err(refusal) => Err(client.refused(&call, &refusal)),
    }
}

impl Upload {
    fn part_call(&self, action: Action, number: u32) -> Call<'_> {
        Call::new(action, Some(self.key.as_str()))
            .query("partNumber", number.to_string())
            .query("uploadId", self.upload_id.as_str())
    }

    /// The CRC of the whole from those of the parts, where the bytes of every part were seen.
    fn combined_crc(parts: &BTreeMap<u32, Part>) -> Option<u64> {
        let mut parts = parts.values();
        let first = parts.next()?.crc?;
        parts.try_fold(first, |crc, part| Some(Crc64::combine(crc, part.crc?, part.size)))
    }
}

fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Looks whether a source is what was planned.
///
/// Errors: [`StoreError::NotFound`], [`StoreError::Changed`].
async fn unchanged(source: &CopySource) -> Result<()> {
    let store = || source.store.info().name.clone();
    match source.store.head(&source.key).await? {
        None => Err(StoreError::NotFound { store: store(), key: source.key.clone() }),
        Some(head) if head.version == source.version => Ok(()),
        Some(head) => Err(StoreError::Changed {
            store: store(),
            key: source.key.clone(),
            planned: source.version.to_string(),
            found: head.version.to_string(),
        }),
    }
}

#[async_trait]
impl StagedWriter for Upload {
    fn in_order(&self) -> bool {
        false
    }

    async fn write_part(&self, number: u32, body: Vec<Bytes>) -> Result<()> {
        let client = &self.client;
        let crc = crc_of(&body);
        let size = body.iter().map(|c| c.len() as u64).sum();
        loop {
            let mut call = self.part_call(Action::WritePart, number).body(&body);
            let checksums = self.checksums && client.takes_checksums();
            if checksums {
                call = call.amz(CHECKSUM, encode_crc(crc));
            }
            match client.call(&call).await? {
                Ok(done) => {
                    let etag = text(&done.headers, ETAG)
                        .ok_or_else(|| client.failed(&call, "the answer has no ETag"))
                        .map(|etag| unquoted(etag).into())?;
                    self.parts.lock().insert(number, Part { etag, size, crc: Some(crc) });
                    return Ok(());
                }
                Err(refusal) if checksums && client.unlearns_checksums(&refusal) => {}
                Err(refusal) => return Err(client.refused(&call, &refusal)),
            }
        }
    }

    async fn copy_part(&self, number: u32, source: &CopySource, range: ByteRange) -> Result<()> {
        let client = &self.client;
        let call = self.part_call(Action::CopyPart, number);
        let from = source.store.info();
        let place = parse_url(&from.url).filter(|_| from.copy_domain == client.info.copy_domain);
        let Some((bucket, prefix)) = place else {
            return Err(StoreError::Unsupported {
                store: client.info.name.clone(),
                doing: client.doing(&call),
                detail: format!("`{}` is not at the same endpoint and region", from.name),
                hint: None,
            });
        };
        if range.is_empty() || range.end > source.size {
            let detail = format!("bytes {}..{} of `{}` cannot be copied", range.start, range.end, source.key);
            return Err(client.failed(&call, detail));
        }
        let full_key = format!("{prefix}{}", source.key);
        let mut call = call
            .header(HeaderName::from_static("x-amz-copy-source"), copy_source(bucket, &full_key))
            .amz("x-amz-copy-source-if-match", quoted(&source.version));
        // Objects below 5 MiB may be copied whole only. Source: S3 API, UploadPartCopy.
        if range.start > 0 || range.end < source.size {
            call = call.amz("x-amz-copy-source-range", format!("bytes={}-{}", range.start, range.end - 1));
        }
        match client.call(&call).await? {
            Ok(done) => {
                let etag = copied_etag(&done.body).map_err(|e| client.failed(&call, e.to_string()))?;
                let whole = range.len() == source.size;
                if whole && is_md5(&source.version.etag) && *etag != *source.version.etag {
                    // A copy of a whole plain object has its etag. Other bytes, then, from a server that ignores the
                    // condition, or an encrypted target: the source tells.
                    unchanged(source).await?;
                }
                Meter::add(&client.meter.bytes_copied, range.len());
                let part = Part { etag: etag.into(), size: range.len(), crc: None };
                self.parts.lock().insert(number, part);
                Ok(())
            }
            Err(refusal) => {
                let gone = refusal.is(StatusCode::NOT_FOUND) && refusal.code != "NoSuchUpload";
                if !refusal.is(StatusCode::PRECONDITION_FAILED) && !gone {
                    return Err(client.refused(&call, &refusal));
                }
                unchanged(source).await?;
                Err(client.refused(&call, &refusal))
            }
        }
    }

    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged> {
        if self.parts.lock().is_empty() {
            // An upload cannot be completed without a part, but with one that has no byte.
            self.write_part(1, Vec::new()).await?;
        }
        let parts = self.parts.lock().clone();
        let sent = Self::combined_crc(&parts);
        if let (Some(wanted), Some(sent)) = (crc64nvme, sent)
            && wanted != sent
        {
            let call = Call::new(Action::WritePart, Some(self.key.as_str()));
            let detail = format!("the bytes sent have CRC-64 {sent:016x}, those planned {wanted:016x}");
            return Err(self.client.failed(&call, detail));
        }
        Ok(Staged {
            key: self.key.clone(),
            stamp: self.stamp.clone(),
            size: parts.values().map(|part| part.size).sum(),
            crc64nvme: crc64nvme.or(sent),
            place: StagedPlace::Multipart {
                upload_id: self.upload_id.clone(),
                parts: parts
                    .into_iter()
                    .map(|(number, part)| StagedPart { number, etag: part.etag, size: part.size })
                    .collect(),
            },
        })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        match abort(&self.client, &self.key, &self.upload_id).await? {
            AbortOutcome::GivenUp | AbortOutcome::Gone => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: &'static [u8]) -> Part {
        let crc = Some(crc_of(&[Bytes::from_static(bytes)]));
        Part { etag: "e".into(), size: bytes.len() as u64, crc }
    }

    #[test]
    fn the_crc_of_the_whole_follows_from_its_parts() {
        let parts = BTreeMap::from([(1, part(b"12345")), (3, part(b"")), (4, part(b"6789"))]);
        // The check value of CRC-64/NVME.
        assert_eq!(Upload::combined_crc(&parts), Some(0xae8b_1486_0a79_9888));
    }

    #[test]
    fn one_copied_part_leaves_the_whole_unknown() {
        let copied = Part { etag: "e".into(), size: 4, crc: None };
        assert_eq!(Upload::combined_crc(&BTreeMap::from([(1, part(b"1")), (2, copied)])), None);
    }
}
