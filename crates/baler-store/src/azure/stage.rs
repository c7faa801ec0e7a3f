//! Staged outputs: blobs of their own under `.baler-staged/`, which no listing of the store shows.
//!
//! A staged output is one attempt's alone. It is begun as an empty blob that names its key, its parts are blocks that
//! are not committed, and finishing commits them under the condition that it is still the blob that was begun: whoever
//! gave it up in the meantime (deleting it) has made sure that it can never be published. A crash leaves a blob for
//! `gc`; blocks without a blob are Azure's own garbage after a week, and never visible.
//!
//! Blocks are not staged at the target itself, where they would all belong to one blob: nothing takes back a single
//! attempt's there, and a commit that does would be visible (ADR 0007).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, Staged, StagedPart, StagedPlace, Stamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::address::STAGING;
use super::client::{Client, encode_key, md5_of};
use super::read::{META_STAMP, quoted, version_of};
use super::xml::block_list;
use crate::http::line::Counted;
use crate::{ByteRange, CopySource, Crc64, OutputAttributes, Result, StagedWriter, StoreError};

/// Metadata of a staged output: the key that it would have.
pub(crate) const META_KEY: &str = "x-ms-meta-balerkey";
/// Metadata of one whose parts are all there.
const META_FINISHED: &str = "x-ms-meta-balerfinished";

#[derive(Debug, Clone, Copy)]
struct Part {
    size: u64,
    crc: u64,
}

/// Writes one staged output.
#[derive(Debug)]
pub(crate) struct Upload {
    client: Arc<Client>,
    key: Key,
    stamp: Stamp,
    content_type: String,
    /// Its blob, by a key of the store.
    place: String,
    /// The empty blob that it began as.
    begun: ObjectVersion,
    parts: Mutex<BTreeMap<u32, Part>>,
}

/// Begins an upload. Cost: one PUT.
pub(crate) async fn begin(
    client: &Arc<Client>,
    key: &Key,
    stamp: &Stamp,
    attributes: &OutputAttributes,
) -> Result<Upload> {
    client.check(key)?;
    let place = format!("{STAGING}{}-{:016x}", stamp.attempt, client.line.ids.next_u64());
    let call = client
        .on(Method::PUT, Counted::Put, "stage", &place)
        .own("x-ms-blob-type", "BlockBlob")
        .own(META_KEY, encode_key(key.as_str()));
    let done = client.line.expect(&call).await?;
    let begun = version_of(&done.headers).map_err(|detail| client.line.failed(&call, detail))?;
    let content_type = attributes.content_type.clone().unwrap_or_else(|| "application/octet-stream".into());
    let (key, stamp, parts) = (key.clone(), stamp.clone(), Mutex::default());
    Ok(Upload { client: Arc::clone(client), key, stamp, content_type, place, begun, parts })
}

/// Removes a staged output; one that is gone already is fine. Cost: one DELETE.
pub(crate) async fn remove(client: &Client, place: &str) -> Result<()> {
    let call = client.on(Method::DELETE, Counted::Delete, "remove the staged", place);
    match client.line.call(&call).await? {
        Ok(_done) => Ok(()),
        Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "ContainerNotFound" => Ok(()),
        Err(refusal) => Err(client.line.refused(&call, &refusal)),
    }
}

/// Block ids of one blob have one length.
fn block_id(number: u32) -> String {
    STANDARD.encode(format!("{number:09}"))
}

impl Upload {
    /// The CRC of the whole from those of the parts.
    fn combined_crc(parts: &BTreeMap<u32, Part>) -> u64 {
        parts.values().fold(Crc64::new().value(), |crc, part| Crc64::combine(crc, part.crc, part.size))
    }

    /// Commits the blocks over the empty blob that this began as, and says which version that made.
    async fn commit(&self, numbers: impl Iterator<Item = u32>, size: u64) -> Result<ObjectVersion> {
        let client = &self.client;
        let body = [Bytes::from(block_list(numbers.map(block_id)))];
        let call = client
            .on(Method::PUT, Counted::Put, "finish the staged", &self.place)
            .query("comp", "blocklist")
            .header(CONTENT_TYPE, "application/xml")
            .header(IF_MATCH, quoted(&self.begun))
            .own("x-ms-blob-content-type", self.content_type.as_str())
            .own(META_KEY, encode_key(self.key.as_str()))
            .own(META_STAMP, self.stamp.to_string())
            .own(META_FINISHED, size.to_string())
            .body(&body);
        let refusal = match client.line.call(&call).await? {
            Ok(done) => return version_of(&done.headers).map_err(|detail| client.line.failed(&call, detail)),
            Err(refusal) => refusal,
        };
        // An earlier try whose reply was lost may have done it: nobody else writes this blob.
        if refusal.is(StatusCode::PRECONDITION_FAILED)
            && let Some(look) = client.look(&self.place).await?
            && look.head.stamp.as_ref() == Some(&self.stamp)
            && look.head.size == size
        {
            return Ok(look.head.version);
        }
        Err(client.line.failed(&call, format!("it was given up by another process: {}", refusal.detail())))
    }
}

#[async_trait]
impl StagedWriter for Upload {
    fn in_order(&self) -> bool {
        false
    }

    async fn write_part(&self, number: u32, body: Vec<Bytes>) -> Result<()> {
        let client = &self.client;
        let mut crc = Crc64::new();
        body.iter().for_each(|chunk| crc.update(chunk));
        let part = Part { size: body.iter().map(|chunk| chunk.len() as u64).sum(), crc: crc.value() };
        if part.size > 0 {
            let call = client
                .on(Method::PUT, Counted::Put, "upload a part of", self.key.as_str())
                .query("comp", "block")
                .query("blockid", block_id(number))
                .own("content-md5", md5_of(&body))
                .object(&body);
            let call = crate::http::line::Call { target: client.address.of_blob(&self.place), ..call };
            client.line.expect(&call).await?;
        }
        // Azure has no empty blocks; such a part is nothing in the list.
        self.parts.lock().insert(number, part);
        Ok(())
    }

    async fn copy_part(&self, _number: u32, source: &CopySource, _range: ByteRange) -> Result<()> {
        Err(StoreError::Unsupported {
            store: self.client.info.name.clone(),
            doing: format!("copy a part of `{}` into `{}`", source.key, self.key),
            detail: "Azure stores copy no parts here".into(),
            hint: None,
        })
    }

    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged> {
        let parts = self.parts.lock().clone();
        let sent = Self::combined_crc(&parts);
        if let Some(wanted) = crc64nvme.filter(|wanted| *wanted != sent) {
            let call = self.client.on(Method::PUT, Counted::Put, "finish", self.key.as_str());
            let detail = format!("the bytes sent have CRC-64 {sent:016x}, those planned {wanted:016x}");
            return Err(self.client.line.failed(&call, detail));
        }
        let size = parts.values().map(|part| part.size).sum();
        let numbers = parts.iter().filter(|(_, part)| part.size > 0).map(|(number, _)| *number);
        let version = self.commit(numbers.collect::<Vec<_>>().into_iter(), size).await?;
        Ok(Staged {
            key: self.key.clone(),
            stamp: self.stamp.clone(),
            size,
            crc64nvme: Some(sent),
            place: StagedPlace::Multipart {
                upload_id: self.place.clone(),
                parts: vec![StagedPart { number: 1, etag: version.etag, size }],
            },
        })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        remove(&self.client, &self.place).await
    }
}

/// Creates a small object if there is none, or writes one over whatever is there.
pub(crate) fn put_call<'a>(
    client: &Client,
    key: &'a Key,
    body: &'a [Bytes],
    create: bool,
) -> crate::http::line::Call<'a> {
    let call = client
        .on(Method::PUT, Counted::Put, "write", key.as_str())
        .own("x-ms-blob-type", "BlockBlob")
        .own("content-md5", md5_of(body))
        .object(body);
    match create {
        true => call.header(IF_NONE_MATCH, "*"),
        false => call,
    }
}
