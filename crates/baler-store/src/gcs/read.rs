//! Looking and reading: objects get, of the description and of the bytes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, WriteId};
use futures::stream::{self, StreamExt};
use http::header::{ACCEPT_ENCODING, HeaderName, RANGE};
use http::{Method, StatusCode};
use hyper::body::Incoming;

use super::ROUNDS;
use super::client::Client;
use super::dialect::NO_BUCKET;
use super::json::{FIELDS, Resource};
use crate::http::answer::text;
use crate::http::body::{Body, Reopen, extent};
use crate::http::line::{Call, Counted};
use crate::http::retry::backoff;
use crate::{ByteRange, Get, Head, Meter, Result, StoreError};

const GENERATION: HeaderName = HeaderName::from_static("x-goog-generation");

/// What a description shows.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) head: Head,
    pub(crate) write_id: Option<WriteId>,
    pub(crate) crc32c: Option<u32>,
}

impl Look {
    pub(crate) fn of(resource: &Resource) -> std::result::Result<Self, String> {
        Ok(Self {
            head: Head {
                version: resource.version(),
                size: resource.size()?,
                modified: resource.written(),
                stamp: resource.stamp(),
                crc64nvme: None,
                // The generation is the version already.
                version_id: None,
            },
            write_id: resource.write_id(),
            crc32c: resource.crc32c(),
        })
    }
}

impl Client {
    /// Looks at an object by the key of the store. A bucket that is not there is an error.
    pub(crate) async fn look(&self, key: &str) -> Result<Option<Look>> {
        let call = self.on(Method::GET, Counted::Head, "look at", key).query("fields", FIELDS);
        match self.line.call(&call).await? {
            Ok(done) => {
                let resource: Resource = self.parsed(&call, &done)?;
                Look::of(&resource).map(Some).map_err(|detail| self.line.failed(&call, detail))
            }
            Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != NO_BUCKET => Ok(None),
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
        // GCS unpacks what was stored with `Content-Encoding: gzip`, unless it may be sent packed: the bytes must be
        // those that are stored. Source: Cloud Storage documentation, "Transcoding of gzip-compressed files".
        let mut call = self
            .on(Method::GET, Counted::Get, "read", key.as_str())
            .query("alt", "media")
            .header(ACCEPT_ENCODING, "gzip");
        if let Some(range) = range {
            call = call.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(version) = version {
            call = call.query("ifGenerationMatch", &*version.etag);
        }
        call
    }
}

/// Reads an object or a range of it. See [`crate::Store::get`].
///
/// The answer with the bytes does not show the metadata: where no version is asked for, the description is looked at
/// first, which tells version and write id. Cost: one GET, and one HEAD more without a version.
pub(crate) async fn get(
    client: &Arc<Client>,
    key: &Key,
    range: Option<ByteRange>,
    version: Option<&ObjectVersion>,
) -> Result<Get> {
    if let Some(planned) = version {
        return pinned(client, key, range, planned, None).await;
    }
    for _ in 0..ROUNDS {
        let look = client.look(key.as_str()).await?.ok_or_else(|| client.line.not_found(key))?;
        match pinned(client, key, range, &look.head.version, look.write_id.clone()).await {
            // It was replaced between the two requests.
            Err(StoreError::Changed { .. }) => {}
            read => return read,
        }
    }
    let call = client.get_call(key, range, None);
    Err(client.line.exhausted(&call, ROUNDS, "it is replaced all the time".into()))
}

async fn pinned(
    client: &Arc<Client>,
    key: &Key,
    range: Option<ByteRange>,
    planned: &ObjectVersion,
    write_id: Option<WriteId>,
) -> Result<Get> {
    if let Some(range) = range.filter(|range| range.is_empty()) {
        return nothing(client, key, range.start, planned).await;
    }
    let call = client.get_call(key, range, Some(planned));
    let opened = match client.line.open(&call).await? {
        Ok(opened) => opened,
        Err(refusal) if refusal.is(StatusCode::RANGE_NOT_SATISFIABLE) => {
            return nothing(client, key, range.map_or(0, |range| range.start), planned).await;
        }
        Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => return Err(client.changed(key, planned).await),
        Err(refusal) => return Err(client.line.refused(&call, &refusal)),
    };
    // The condition held, so this says it once more; a server that ignores conditions is found out.
    if let Some(found) = text(opened.headers(), GENERATION).filter(|found| **found != *planned.etag) {
        return Err(client.line.changed(key, planned, &ObjectVersion::new(found)));
    }
    let (start, size) = extent(&opened, range).map_err(|detail| client.line.failed(&call, detail))?;
    let end = range.map_or(size, |range| range.end.min(size));
    let range = ByteRange::new(start, end);
    let source = Source { client: Arc::clone(client), key: key.clone(), version: planned.clone() };
    let body = Body::new(source, range, opened.into_body()).into_stream();
    Ok(Get { version: planned.clone(), size, range, write_id, body })
}

/// A read of no byte: an empty object, an empty range, a range behind the end.
async fn nothing(client: &Client, key: &Key, start: u64, planned: &ObjectVersion) -> Result<Get> {
    let look = client.look(key.as_str()).await?.ok_or_else(|| client.line.not_found(key))?;
    let found = look.head.version;
    if found != *planned {
        return Err(client.line.changed(key, planned, &found));
    }
    let at = start.min(look.head.size);
    let (size, range) = (look.head.size, ByteRange::new(at, at));
    Ok(Get { version: found, size, range, write_id: look.write_id, body: stream::empty().boxed() })
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

#[cfg(test)]
mod tests {
    use super::super::config::{GcsOptions, GcsSecret};
    use super::*;
    use crate::{SystemClock, SystemIds};

    #[test]
    fn a_read_is_of_one_generation_and_of_the_bytes_as_they_are_stored() {
        let options = GcsOptions::new("lake", "raw", GcsSecret::Anonymous);
        let client = Client::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let (key, version) = (Key::from_listed("a/b.gz"), ObjectVersion::new("17"));
        let call = client.get_call(&key, Some(ByteRange::new(5, 10)), Some(&version));
        assert_eq!(call.target, "https://storage.googleapis.com/storage/v1/b/raw/o/a%2Fb.gz");
        assert_eq!(call.query, [("alt", "media".to_owned()), ("ifGenerationMatch", "17".to_owned())]);
        assert_eq!(call.headers, [(ACCEPT_ENCODING, "gzip".to_owned()), (RANGE, "bytes=5-9".to_owned())]);
    }
}
