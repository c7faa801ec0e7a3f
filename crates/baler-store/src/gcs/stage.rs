//! Staged outputs: objects of their own under `.baler-staged/`, which no listing of the store shows.
//!
//! A staged output is one attempt's alone. It is begun as an empty object that names its key; its parts are objects below
//! that name; finishing composes them into the first, under the condition that it is still the generation that was begun:
//! whoever gave it up in the meantime (deleting it) has made sure that it can never be published. One composition takes 32
//! objects, so more of them are composed in levels. A crash leaves objects for `gc`, which sees all that belongs to one
//! attempt as one. Choices: ADR 0009.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion, SharedStr, Staged, StagedPart, StagedPlace, Stamp};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::address::STAGING;
use super::client::{Client, Insert, crc32c_joined, crc32c_of};
use super::dialect::NO_BUCKET;
use super::json::{Component, Composition, Description, FIELDS, META_KEY, META_STAMP, Resource};
use super::read::Look;
use crate::http::line::{Call, Counted};
use crate::{ByteRange, CopySource, Crc64, OutputAttributes, Result, StagedWriter, StoreError};

/// One composition takes this many objects. Source: Cloud Storage documentation, "Composite objects".
const COMPONENTS: usize = 32;
/// Requests at a time of one upload that ends.
const AT_A_TIME: usize = 8;
const BYTES: &str = "application/octet-stream";

#[derive(Debug, Clone)]
struct Part {
    size: u64,
    crc64: u64,
    crc32c: u32,
    generation: String,
}

/// Writes one staged output.
#[derive(Debug)]
pub(crate) struct Upload {
    client: Arc<Client>,
    key: Key,
    stamp: Stamp,
    content_type: String,
    /// Its object, by a key of the store.
    place: String,
    /// The empty object that it began as.
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
    let insert = Insert {
        doing: "stage",
        of: key.as_str(),
        key: &place,
        body: &[],
        content_type: BYTES,
        metadata: [(META_KEY, key.to_string())].into(),
        // A request that comes late must not undo what was finished meanwhile.
        if_generation: Some("0"),
    };
    let refused = |refusal| client.line.refused(&client.insert_call(&insert), &refusal);
    let begun = match client.insert(&insert).await? {
        Ok(resource) => resource.version(),
        // Nobody else writes this name: it was an earlier try whose reply was lost.
        Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => {
            client.look(&place).await?.map(|look| look.head.version).ok_or_else(|| refused(refusal))?
        }
        Err(refusal) => return Err(refused(refusal)),
    };
    let content_type = attributes.content_type.clone().unwrap_or_else(|| BYTES.into());
    let (key, stamp, parts) = (key.clone(), stamp.clone(), Mutex::default());
    Ok(Upload { client: Arc::clone(client), key, stamp, content_type, place, begun, parts })
}

/// Removes one object of a staged output; one that is gone already is fine. Cost: one DELETE.
pub(crate) async fn remove(client: &Client, place: &str) -> Result<()> {
    let call = client.on(Method::DELETE, Counted::Delete, "remove the staged", place);
    match client.line.call(&call).await? {
        Ok(_done) => Ok(()),
        Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != NO_BUCKET => Ok(()),
        Err(refusal) => Err(client.line.refused(&call, &refusal)),
    }
}

/// Removes a staged output and all that it is made from; first what could be finished or published.
/// Cost: one LIST, and one DELETE for each object.
pub(crate) async fn remove_all(client: &Client, place: &str) -> Result<()> {
    remove(client, place).await?;
    let below = client.address.full_key(&format!("{place}/"));
    let mut token = None;
    loop {
        let page = client.objects(&below, token.as_deref()).await?;
        let names = page.items.iter().filter_map(|item| item.name.strip_prefix(client.address.prefix.as_str()));
        let names: Vec<String> = names.map(str::to_owned).collect();
        remove_each(client, &names).await?;
        match page.next_page_token {
            Some(next) => token = Some(next),
            None => return Ok(()),
        }
    }
}

async fn remove_each(client: &Client, places: &[String]) -> Result<()> {
    stream::iter(places).map(Ok).try_for_each_concurrent(AT_A_TIME, |place| remove(client, place)).await
}

/// Version and checksum of a finished upload, as they are kept in a mark.
pub(crate) fn mark_of(version: &ObjectVersion, crc32c: u32) -> SharedStr {
    format!("{version}/{crc32c:08x}").into()
}

/// Reads them back.
pub(crate) fn marked(text: &str) -> Option<(ObjectVersion, u32)> {
    let (generation, crc) = text.split_once('/')?;
    Some((ObjectVersion::new(generation), u32::from_str_radix(crc, 16).ok()?))
}

/// A composition under the condition that `onto` is in a given generation, or under none.
pub(crate) fn compose_call<'a>(client: &Client, key: &'a str, onto: &str, generation: Option<&str>) -> Call<'a> {
    // Counted as a copy: the server works on bytes that it has.
    let call = Call::new(
        Method::POST,
        Counted::Copy,
        "finish the staged",
        format!("{}/compose", client.address.of_object(onto)),
    )
    .key(key)
    .query("fields", FIELDS)
    .header(CONTENT_TYPE, "application/json");
    match generation {
        Some(generation) => call.query("ifGenerationMatch", generation),
        None => call,
    }
}

impl Upload {
    fn metadata(&self) -> BTreeMap<&'static str, String> {
        [(META_KEY, self.key.to_string()), (META_STAMP, self.stamp.to_string())].into()
    }

    fn part_place(&self, number: u32) -> String {
        format!("{}/p{number:05}", self.place)
    }

    fn of_part(&self) -> BTreeMap<&'static str, String> {
        [(META_KEY, self.key.to_string())].into()
    }

    /// Composes some objects into one that is not the last. Its name is this upload's own, so a repetition harms nothing.
    async fn compose_some(&self, place: String, some: Vec<Component>) -> Result<(String, Component)> {
        let client = &self.client;
        let destination =
            Description { content_type: Some(BYTES.into()), metadata: self.of_part(), ..Description::default() };
        let body = serde_json::to_vec(&Composition { source_objects: some, destination }).expect("plain data");
        let body = [Bytes::from(body)];
        let call = compose_call(client, self.key.as_str(), &place, None).body(&body);
        let done = client.line.expect(&call).await?;
        let resource: Resource = client.parsed(&call, &done)?;
        let component = Component { name: client.address.full_key(&place), generation: resource.generation };
        Ok((place, component))
    }

    /// Makes the whole from the parts, over the empty object that this began as.
    async fn commit(&self, parts: &BTreeMap<u32, Part>, size: u64, made: &mut Vec<String>) -> Result<Look> {
        let client = &self.client;
        let full = |place: &str| client.address.full_key(place);
        let mut components: Vec<Component> = Vec::new();
        for (number, part) in parts.iter().filter(|(_, part)| part.size > 0) {
            let (name, generation) = (full(&self.part_place(*number)), part.generation.clone());
            components.push(Component { name, generation });
        }
        let mut level = 0;
        while components.len() > COMPONENTS {
            level += 1;
            let groups: Vec<(usize, Vec<Component>)> =
                components.chunks(COMPONENTS).map(<[Component]>::to_vec).enumerate().collect();
            let composed: Vec<(String, Component)> = stream::iter(groups)
                .map(|(n, group)| self.compose_some(format!("{}/c{level}-{n:05}", self.place), group))
                .buffered(AT_A_TIME)
                .try_collect()
                .await?;
            (components, *made) = {
                let (places, next): (Vec<_>, Vec<_>) = composed.into_iter().unzip();
                (next, std::mem::take(made).into_iter().chain(places).collect())
            };
        }
        let (call, answer) = match components.is_empty() {
            // Nothing cannot be composed.
            true => {
                let insert = Insert {
                    doing: "finish the staged",
                    of: self.key.as_str(),
                    key: &self.place,
                    body: &[],
                    content_type: &self.content_type,
                    metadata: self.metadata(),
                    if_generation: Some(&self.begun.etag),
                };
                (client.insert_call(&insert), client.insert(&insert).await?)
            }
            false => {
                let (content_type, metadata) = (Some(self.content_type.clone()), self.metadata());
                let destination = Description { content_type, metadata, ..Description::default() };
                let body = Composition { source_objects: components, destination };
                let body = [Bytes::from(serde_json::to_vec(&body).expect("plain data"))];
                let call = compose_call(client, self.key.as_str(), &self.place, Some(&self.begun.etag));
                let answer = match client.line.call(&call.clone().body(&body)).await? {
                    Ok(done) => Ok(client.parsed::<Resource>(&call, &done)?),
                    Err(refusal) => Err(refusal),
                };
                (call, answer)
            }
        };
        let refusal = match answer {
            Ok(resource) => return Look::of(&resource).map_err(|detail| client.line.failed(&call, detail)),
            Err(refusal) => refusal,
        };
        // An earlier try whose reply was lost may have done it: nobody else writes this object.
        if refusal.is(StatusCode::PRECONDITION_FAILED)
            && let Some(look) = client.look(&self.place).await?
            && look.head.stamp.as_ref() == Some(&self.stamp)
            && look.head.size == size
        {
            return Ok(look);
        }
        match refusal.status {
            404 | 412 if refusal.code != NO_BUCKET => {
                Err(client.line.failed(&call, format!("it was given up by another process: {}", refusal.detail())))
            }
            _ => Err(client.line.refused(&call, &refusal)),
        }
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
        let size = body.iter().map(|chunk| chunk.len() as u64).sum();
        let mut part = Part { size, crc64: crc.value(), crc32c: crc32c_of(&body), generation: String::new() };
        if part.size > 0 {
            let insert = Insert {
                doing: "upload a part of",
                of: self.key.as_str(),
                key: &self.part_place(number),
                body: &body,
                content_type: BYTES,
                metadata: self.of_part(),
                if_generation: None,
            };
            part.generation = match client.insert(&insert).await? {
                Ok(resource) => resource.generation,
                Err(refusal) => return Err(client.line.refused(&client.insert_call(&insert), &refusal)),
            };
        }
        self.parts.lock().insert(number, part);
        Ok(())
    }

    async fn copy_part(&self, _number: u32, source: &CopySource, _range: ByteRange) -> Result<()> {
        Err(StoreError::Unsupported {
            store: self.client.info.name.clone(),
            doing: format!("copy a part of `{}` into `{}`", source.key, self.key),
            detail: "GCS copies no ranges".into(),
            hint: None,
        })
    }

    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged> {
        let client = &self.client;
        let parts = self.parts.lock().clone();
        let failed = |detail: String| {
            client.line.failed(&client.on(Method::POST, Counted::Put, "finish", self.key.as_str()), detail)
        };
        let (mut size, mut crc64, mut crc32c) = (0, Crc64::new().value(), crc32c_of(&[]));
        for part in parts.values() {
            size += part.size;
            crc64 = Crc64::combine(crc64, part.crc64, part.size);
            crc32c = crc32c_joined(crc32c, part.crc32c, part.size);
        }
        if let Some(wanted) = crc64nvme.filter(|wanted| *wanted != crc64) {
            return Err(failed(format!("the bytes sent have CRC-64 {crc64:016x}, those planned {wanted:016x}")));
        }
        let mut made = Vec::new();
        let look = self.commit(&parts, size, &mut made).await?;
        if look.head.size != size || look.crc32c.is_some_and(|found| found != crc32c) {
            let found = look.crc32c.unwrap_or_default();
            return Err(failed(format!(
                "{size} bytes with CRC-32C {crc32c:08x} were sent, {} with {found:08x} are there",
                look.head.size
            )));
        }
        // What it was made from is of no use any more; what is left of it is for `gc`.
        made.extend(parts.iter().filter(|(_, part)| part.size > 0).map(|(number, _)| self.part_place(*number)));
        if let Err(error) = remove_each(client, &made).await {
            tracing::debug!(store = %client.info.name, key = %self.key, %error, "parts of a staged output are left");
        }
        Ok(Staged {
            key: self.key.clone(),
            stamp: self.stamp.clone(),
            size,
            crc64nvme: Some(crc64),
            place: StagedPlace::Multipart {
                upload_id: self.place.clone(),
                parts: vec![StagedPart { number: 1, etag: mark_of(&look.head.version, crc32c), size }],
            },
        })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        remove_all(&self.client, &self.place).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{GcsOptions, GcsSecret};
    use super::*;
    use crate::{SystemClock, SystemIds};

    #[test]
    fn what_is_marked_is_read_back() {
        let version = ObjectVersion::new("1700000000000001");
        assert_eq!(&*mark_of(&version, 0xa), "1700000000000001/0000000a");
        assert_eq!(marked("1700000000000001/0000000a"), Some((version, 0xa)));
        assert_eq!((marked("0x8D"), marked("17/x")), (None, None));
    }

    #[test]
    fn parts_become_a_whole_only_where_it_was_begun() {
        let options = GcsOptions { prefix: "lake".into(), ..GcsOptions::new("lake", "raw", GcsSecret::Anonymous) };
        let client = Client::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let call = compose_call(&client, "out", ".baler-staged/a-1", Some("17"));
        assert_eq!(call.target, "https://storage.googleapis.com/storage/v1/b/raw/o/lake%2F.baler-staged%2Fa-1/compose");
        assert_eq!(call.query, [("fields", FIELDS.to_owned()), ("ifGenerationMatch", "17".to_owned())]);
        let component = Component { name: "lake/.baler-staged/a-1/p00001".into(), generation: "18".into() };
        let metadata = BTreeMap::from([(META_STAMP, "f/r/0/a".to_owned())]);
        let destination = Description { content_type: Some("text/csv".into()), metadata, ..Description::default() };
        let body = serde_json::to_string(&Composition { source_objects: vec![component], destination }).unwrap();
        assert_eq!(
            body,
            r#"{"sourceObjects":[{"name":"lake/.baler-staged/a-1/p00001","generation":"18"}],"destination":{"contentType":"text/csv","metadata":{"baler":"f/r/0/a"}}}"#
        );
    }
}
