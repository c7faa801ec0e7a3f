//! Looking and reading: Get Blob Properties and Get Blob.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, Stamp, WriteId};
use futures::stream::{self, StreamExt};
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, IF_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Incoming;

use super::client::Client;
use crate::http::answer::{parse_http_date, text};
use crate::http::body::{Body, Reopen, extent};
use crate::http::line::{Call, Counted};
use crate::http::retry::backoff;
use crate::http::xml::unquoted;
use crate::{ByteRange, Get, Head, Meter, Result, StoreError};

/// User metadata that holds the stamp of a task. Names are identifiers of C#, so there is no `-` in them.
pub(crate) const META_STAMP: &str = "x-ms-meta-baler";
/// User metadata that holds a write id.
pub(crate) const META_WRITE: &str = "x-ms-meta-balerwrite";
const VERSION_ID: HeaderName = HeaderName::from_static("x-ms-version-id");

/// What a HEAD shows, and the write id.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) head: Head,
    pub(crate) write_id: Option<WriteId>,
}

fn write_id(headers: &HeaderMap) -> Option<WriteId> {
    text(headers, HeaderName::from_static(META_WRITE)).and_then(|id| WriteId::try_new(id).ok())
}

/// The version that an answer names.
pub(crate) fn version_of(headers: &HeaderMap) -> std::result::Result<ObjectVersion, &'static str> {
    text(headers, ETAG).map(|etag| ObjectVersion::new(unquoted(etag))).ok_or("the answer has no ETag")
}

fn look_from(headers: &HeaderMap) -> std::result::Result<Look, &'static str> {
    Ok(Look {
        head: Head {
            version: version_of(headers)?,
            size: text(headers, CONTENT_LENGTH)
                .and_then(|n| n.parse().ok())
                .ok_or("the answer has no Content-Length")?,
            modified: text(headers, LAST_MODIFIED)
                .and_then(parse_http_date)
                .ok_or("the answer has no Last-Modified")?,
            stamp: text(headers, HeaderName::from_static(META_STAMP)).and_then(|stamp| stamp.parse::<Stamp>().ok()),
            crc64nvme: None,
            version_id: text(headers, VERSION_ID).map(str::to_owned),
        },
        write_id: write_id(headers),
    })
}

/// Conditions want the quotes back.
pub(crate) fn quoted(version: &ObjectVersion) -> String {
    format!("\"{}\"", version.etag)
}

impl Client {
    /// Looks at a blob by the key of the store. A container that is not there is an error.
    pub(crate) async fn look(&self, key: &str) -> Result<Option<Look>> {
        let call = self.on(Method::HEAD, Counted::Head, "look at", key);
        match self.line.call(&call).await? {
            Ok(done) => look_from(&done.headers).map(Some).map_err(|detail| self.line.failed(&call, detail)),
            Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "ContainerNotFound" => Ok(None),
            Err(refusal) => Err(self.line.refused(&call, &refusal)),
        }
    }

    /// The error for a key whose planned version is not there: says what is.
    async fn changed(&self, key: &Key, planned: &ObjectVersion) -> StoreError {
        match self.look(key.as_str()).await {
            Ok(Some(look)) => self.line.changed(key, planned, &look.head.version),
            Ok(None) => self.line.not_found(key),
            Err(error) => error,
        }
    }

    fn get_call<'a>(&self, key: &'a Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Call<'a> {
        let mut call = self.on(Method::GET, Counted::Get, "read", key.as_str());
        if let Some(range) = range {
            call = call.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(version) = version {
            call = call.header(IF_MATCH, quoted(version));
        }
        call
    }
}

/// Reads an object or a range of it. See [`crate::Store::get`].
pub(crate) async fn get(
    client: &Arc<Client>,
    key: &Key,
    range: Option<ByteRange>,
    version: Option<&ObjectVersion>,
) -> Result<Get> {
    if let Some(range) = range.filter(|range| range.is_empty()) {
        return nothing(client, key, range.start, version).await;
    }
    let call = client.get_call(key, range, version);
    let opened = match client.line.open(&call).await? {
        Ok(opened) => opened,
        Err(refusal) if refusal.is(StatusCode::RANGE_NOT_SATISFIABLE) => {
            return nothing(client, key, range.map_or(0, |range| range.start), version).await;
        }
        Err(refusal) => match version {
            Some(planned) if refusal.is(StatusCode::PRECONDITION_FAILED) => {
                return Err(client.changed(key, planned).await);
            }
            Some(_) | None => return Err(client.line.refused(&call, &refusal)),
        },
    };
    let found = version_of(opened.headers()).map_err(|detail| client.line.failed(&call, detail))?;
    if let Some(planned) = version.filter(|planned| **planned != found) {
        return Err(client.line.changed(key, planned, &found));
    }
    let (start, size) = extent(&opened, range).map_err(|detail| client.line.failed(&call, detail))?;
    let end = range.map_or(size, |range| range.end.min(size));
    let write_id = write_id(opened.headers());
    let range = ByteRange::new(start, end);
    let source = Source { client: Arc::clone(client), key: key.clone(), version: found.clone() };
    let body = Body::new(source, range, opened.into_body()).into_stream();
    Ok(Get { version: found, size, range, write_id, body })
}

/// A read of no byte: an empty object, an empty range, a range behind the end.
async fn nothing(client: &Client, key: &Key, start: u64, version: Option<&ObjectVersion>) -> Result<Get> {
    let look = client.look(key.as_str()).await?.ok_or_else(|| client.line.not_found(key))?;
    let found = look.head.version;
    if let Some(planned) = version.filter(|planned| **planned != found) {
        return Err(client.line.changed(key, planned, &found));
    }
    let at = start.min(look.head.size);
    let (size, range) = (look.head.size, ByteRange::new(at, at));
    Ok(Get { version: found, size, range, write_id: look.write_id, body: stream::empty().boxed() })
}

/// How a read of this container goes on.
struct Source {
    client: Arc<Client>,
    key: Key,
    version: ObjectVersion,
}

#[async_trait]
impl Reopen for Source {
    fn meter(&self) -> &Meter {
        &self.client.line.meter
    }

    fn quiet(&self) -> Duration {
        self.client.line.settings.read_timeout
    }

    fn max_tries(&self) -> u32 {
        self.client.line.settings.max_tries
    }

    async fn pause(&self, tries: u32, at: u64, detail: &str) {
        let line = &self.client.line;
        tracing::debug!(store = %line.settings.store, key = %self.key, at, %detail, "resuming a read");
        line.clock.sleep(backoff(tries, &*line.ids)).await;
    }

    fn exhausted(&self, tries: u32, detail: String) -> StoreError {
        self.client.line.exhausted(&self.client.get_call(&self.key, None, None), tries, detail)
    }

    async fn reopen(&self, range: ByteRange) -> Result<Incoming> {
        let call = self.client.get_call(&self.key, Some(range), Some(&self.version));
        let opened = match self.client.line.open(&call).await? {
            Ok(opened) => opened,
            Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => {
                return Err(self.client.changed(&self.key, &self.version).await);
            }
            Err(refusal) => return Err(self.client.line.refused(&call, &refusal)),
        };
        extent(&opened, Some(range)).map_err(|detail| self.client.line.failed(&call, detail))?;
        Ok(opened.into_body())
    }
}
