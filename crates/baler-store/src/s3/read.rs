//! Looking and reading: HEAD and GET.
//!
//! A body that breaks is resumed from where it broke, on the version that was begun; a body that ends early counts as
//! broken.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, Stamp, WriteId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt};
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, IF_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;

use super::call::{Action, Call};
use super::client::Client;
use crate::http::answer::{parse_http_date, text};
use crate::http::body::{Body, Reopen, extent};
use crate::http::retry::backoff;
use crate::http::xml::unquoted;
use crate::{ByteRange, Get, Head, Meter, Result, StoreError};

/// User metadata that holds the stamp of a task. The name's end is [`Stamp::METADATA_NAME`].
pub(crate) const META_STAMP: &str = "x-amz-meta-baler";
/// User metadata that holds a write id.
pub(crate) const META_WRITE: &str = "x-amz-meta-baler-write";
pub(crate) const CHECKSUM: &str = "x-amz-checksum-crc64nvme";
const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// What a HEAD shows, and what only this module's neighbours need.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) head: Head,
    pub(crate) write_id: Option<WriteId>,
    /// Whether etags are no digests of the bytes: encrypted with a key of the bucket's owner.
    pub(crate) opaque_etags: bool,
}

/// Writes a CRC as S3 does: big-endian, base64.
pub(crate) fn encode_crc(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

fn decode_crc(text: &str) -> Option<u64> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok().map(u64::from_be_bytes)
}

fn write_id(headers: &HeaderMap) -> Option<WriteId> {
    text(headers, HeaderName::from_static(META_WRITE)).and_then(|id| WriteId::try_new(id).ok())
}

/// The full-object CRC; one of parts (`…-3`) does not decode, and a type other than full is told by the server.
fn full_crc(headers: &HeaderMap) -> Option<u64> {
    match text(headers, CHECKSUM_TYPE) {
        Some(kind) if kind != "FULL_OBJECT" => None,
        Some(_) | None => text(headers, HeaderName::from_static(CHECKSUM)).and_then(decode_crc),
    }
}

fn look_from(headers: &HeaderMap) -> std::result::Result<Look, &'static str> {
    let etag = text(headers, ETAG).ok_or("the answer has no ETag")?;
    let size = text(headers, CONTENT_LENGTH).and_then(|n| n.parse().ok()).ok_or("the answer has no Content-Length")?;
    let modified = text(headers, LAST_MODIFIED).and_then(parse_http_date).ok_or("the answer has no Last-Modified")?;
    Ok(Look {
        head: Head {
            version: ObjectVersion::new(unquoted(etag)),
            size,
            modified,
            stamp: text(headers, HeaderName::from_static(META_STAMP)).and_then(|stamp| stamp.parse::<Stamp>().ok()),
            crc64nvme: full_crc(headers),
            // A bucket whose versioning was never on says nothing, or `null` for what was written before.
            version_id: text(headers, VERSION_ID).filter(|id| *id != "null").map(str::to_owned),
        },
        write_id: write_id(headers),
        opaque_etags: text(headers, ENCRYPTION).is_some_and(|kind| kind.starts_with("aws:"))
            || headers.contains_key("x-amz-server-side-encryption-customer-algorithm"),
    })
}

/// `If-Match` and its like want the quotes back.
pub(crate) fn quoted(version: &ObjectVersion) -> String {
    format!("\"{}\"", version.etag)
}

impl Client {
    pub(crate) async fn look(&self, key: &str) -> Result<Option<Look>> {
        let call = Call::new(Action::Head, Some(key)).amz("x-amz-checksum-mode", "ENABLED");
        match self.call(&call).await? {
            Ok(done) => look_from(&done.headers).map(Some).map_err(|detail| self.failed(&call, detail)),
            Err(refusal) if refusal.is(StatusCode::NOT_FOUND) => Ok(None),
            Err(refusal) => Err(self.refused(&call, &refusal)),
        }
    }

    /// The error for a key whose planned version is not there: says what is.
    pub(crate) async fn changed(&self, key: &Key, planned: &ObjectVersion) -> StoreError {
        match self.look(key.as_str()).await {
            Ok(Some(look)) => self.changed_to(key, planned, &look.head.version),
            Ok(None) => self.not_found(key.as_str()),
            Err(error) => error,
        }
    }

    pub(crate) fn changed_to(&self, key: &Key, planned: &ObjectVersion, found: &ObjectVersion) -> StoreError {
        StoreError::Changed {
            store: self.info.name.clone(),
            key: key.clone(),
            planned: planned.to_string(),
            found: found.to_string(),
        }
    }
}

/// Reads an object or a range of it. See [`crate::Store::get`].
pub(crate) async fn get(
    client: &Arc<Client>,
    key: &Key,
    range: Option<ByteRange>,
    version: Option<&ObjectVersion>,
) -> Result<Get> {
    match range {
        // HTTP has no word for a range without bytes.
        Some(range) if range.is_empty() => return nothing(client, key, range.start, version).await,
        Some(_) | None => {}
    }
    let call = get_call(key, range, version);
    let opened = match client.open(&call).await? {
        Ok(opened) => opened,
        Err(refusal) if refusal.is(StatusCode::RANGE_NOT_SATISFIABLE) => {
            let start = range.map_or(0, |range| range.start);
            return nothing(client, key, start, version).await;
        }
        Err(refusal) => match version {
            Some(planned) if refusal.is(StatusCode::PRECONDITION_FAILED) => {
                return Err(client.changed(key, planned).await);
            }
            Some(_) | None => return Err(client.refused(&call, &refusal)),
        },
    };
    let headers = opened.headers();
    let etag = text(headers, ETAG).ok_or_else(|| client.failed(&call, "the answer has no ETag"))?;
    let found = ObjectVersion::new(unquoted(etag));
    if let Some(planned) = version.filter(|planned| **planned != found) {
        // Some servers ignore If-Match on reads.
        return Err(client.changed_to(key, planned, &found));
    }
    let (start, size) = extent(&opened, range).map_err(|detail| client.failed(&call, detail))?;
    let end = range.map_or(size, |range| range.end.min(size));
    let write_id = write_id(headers);
    let source = Source { client: Arc::clone(client), key: key.clone(), version: found.clone() };
    let body = Body::new(source, ByteRange::new(start, end), opened.into_body());
    Ok(Get { version: found, size, range: ByteRange::new(start, end), write_id, body: body.into_stream() })
}

fn get_call<'a>(key: &'a Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Call<'a> {
    let mut call = Call::new(Action::Get, Some(key.as_str()));
    if let Some(range) = range {
        call = call.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
    }
    if let Some(version) = version {
        call = call.header(IF_MATCH, quoted(version));
    }
    call
}

/// A read of no byte: an empty object, an empty range, a range behind the end.
async fn nothing(client: &Client, key: &Key, start: u64, version: Option<&ObjectVersion>) -> Result<Get> {
    let look = client.look(key.as_str()).await?.ok_or_else(|| client.not_found(key.as_str()))?;
    let found = look.head.version;
    if let Some(planned) = version.filter(|planned| **planned != found) {
        return Err(client.changed_to(key, planned, &found));
    }
    let at = start.min(look.head.size);
    Ok(Get {
        version: found,
        size: look.head.size,
        range: ByteRange::new(at, at),
        write_id: look.write_id,
        body: stream::empty().boxed(),
    })
}

/// How a read of this bucket goes on.
struct Source {
    client: Arc<Client>,
    key: Key,
    version: ObjectVersion,
}

#[async_trait]
impl Reopen for Source {
    fn meter(&self) -> &Meter {
        &self.client.meter
    }

    fn quiet(&self) -> Duration {
        self.client.options.read_timeout
    }

    fn max_tries(&self) -> u32 {
        self.client.options.max_tries
    }

    async fn pause(&self, tries: u32, at: u64, detail: &str) {
        tracing::debug!(store = %self.client.info.name, key = %self.key, at, %detail, "resuming a read");
        let wait = backoff(tries, &*self.client.ids);
        self.client.clock.sleep(wait).await;
    }

    fn exhausted(&self, tries: u32, detail: String) -> StoreError {
        self.client.exhausted(&Call::new(Action::Get, Some(self.key.as_str())), tries, detail)
    }

    async fn reopen(&self, range: ByteRange) -> Result<Incoming> {
        let call = get_call(&self.key, Some(range), Some(&self.version));
        let opened = match self.client.open(&call).await? {
            Ok(opened) => opened,
            Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => {
                return Err(self.client.changed(&self.key, &self.version).await);
            }
            Err(refusal) => return Err(self.client.refused(&call, &refusal)),
        };
        let found = ObjectVersion::new(unquoted(text(opened.headers(), ETAG).unwrap_or_default()));
        if found != self.version {
            return Err(self.client.changed_to(&self.key, &self.version, &found));
        }
        extent(&opened, Some(range)).map_err(|detail| self.client.failed(&call, detail))?;
        Ok(opened.into_body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let fixed = [("etag", "\"abc\""), ("content-length", "9"), ("last-modified", "Fri, 24 May 2013 00:00:00 GMT")];
        let all = fixed.iter().chain(pairs).map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap()));
        all.collect()
    }

    #[test]
    fn only_a_checksum_of_the_whole_object_counts() {
        let crc = |pairs: &[(&'static str, &str)]| look_from(&headers(pairs)).unwrap().head.crc64nvme;
        // The check value of CRC-64/NVME.
        assert_eq!(encode_crc(0xae8b_1486_0a79_9888), "rosUhgp5mIg=");
        assert_eq!(crc(&[(CHECKSUM, "rosUhgp5mIg=")]), Some(0xae8b_1486_0a79_9888));
        assert_eq!(
            crc(&[(CHECKSUM, "rosUhgp5mIg="), ("x-amz-checksum-type", "FULL_OBJECT")]),
            crc(&[(CHECKSUM, "rosUhgp5mIg=")])
        );
        assert_eq!(crc(&[(CHECKSUM, "rosUhgp5mIg="), ("x-amz-checksum-type", "COMPOSITE")]), None);
        assert_eq!(crc(&[(CHECKSUM, "rosUhgp5mIg=-3")]), None);
        assert_eq!(crc(&[]), None);
    }

    #[test]
    fn a_head_without_an_etag_is_no_answer() {
        let mut bare = headers(&[]);
        bare.remove(ETAG);
        assert!(look_from(&bare).is_err());
        let look = look_from(&headers(&[(META_STAMP, "f/r/1/a"), (META_WRITE, "w1")])).unwrap();
        assert_eq!(look.head.version, ObjectVersion::new("abc"));
        assert_eq!(look.head.stamp.unwrap().to_string(), "f/r/1/a");
        assert_eq!(look.write_id.unwrap().as_str(), "w1");
        assert_eq!(look_from(&headers(&[(META_STAMP, "someone else's")])).unwrap().head.stamp, None);
    }
}
