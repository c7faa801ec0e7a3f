//! Small helpers that fill a store and read it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use baler_model::{AttemptId, FlowName, InputVersion, Key, ObjectVersion, RunId, Staged, Stamp, TaskId, WriteId};
use baler_store::{ByteRange, Get, ListRequest, OutputAttributes, Result, Store};
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm::Crc64Nvme;
use futures::TryStreamExt;

use crate::clock::SplitMix;

/// A key from a text that is one.
///
/// # Panics
/// When the text is no key.
pub fn key(text: &str) -> Key {
    Key::try_new(text).expect("fixtures name keys that are valid")
}

/// A write id from a text that is one.
///
/// # Panics
/// When the text is no id.
pub fn write_id(text: &str) -> WriteId {
    WriteId::try_new(text).expect("fixtures name ids that are valid")
}

/// The stamp of an attempt at the first task of a fixed flow and run.
///
/// # Panics
/// When the text is no attempt id.
pub fn stamp(attempt: &str) -> Stamp {
    Stamp {
        flow: FlowName::try_new("flow").expect("letters are a name"),
        run: RunId::try_new("run").expect("letters are a name"),
        task: TaskId(0),
        attempt: AttemptId::try_new(attempt).expect("fixtures name attempts that are valid"),
    }
}

/// Bytes that repeat for a seed and do not compress.
pub fn random_bytes(seed: u64, len: usize) -> Bytes {
    SplitMix::new(seed).bytes(len).into()
}

/// Lines of JSON, numbered, each some 60 bytes long.
pub fn json_lines(first: u64, count: u64) -> Bytes {
    let mut text = String::new();
    for n in first..first + count {
        text.push_str(&format!("{{\"id\":{n},\"name\":\"item {n}\",\"price\":{}.{:02}}}\n", n % 100, n % 97));
    }
    text.into()
}

/// Writes objects over whatever is there and returns their versions in the same order.
pub async fn fill(store: &dyn Store, objects: &[(&str, &[u8])]) -> Result<Vec<ObjectVersion>> {
    let mut versions = Vec::with_capacity(objects.len());
    for (name, body) in objects {
        versions.push(store.put(&key(name), Bytes::copy_from_slice(body)).await?);
    }
    Ok(versions)
}

/// Lists everything under a prefix, all pages joined.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<InputVersion>> {
    let mut request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
    let mut objects = Vec::new();
    loop {
        let page = store.list(&request).await?;
        objects.extend(page.objects);
        match page.next {
            Some(token) => request.token = Some(token),
            None => return Ok(objects),
        }
    }
}

/// The body of a read, joined.
pub async fn body(get: Get) -> Result<Bytes> {
    let joined = get.body.try_fold(BytesMut::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    Ok(joined.await?.freeze())
}

/// Reads one object whole.
pub async fn read(store: &dyn Store, name: &str) -> Result<Bytes> {
    body(store.get(&key(name), None, None).await?).await
}

/// Reads a range of one object.
pub async fn read_range(store: &dyn Store, name: &str, range: ByteRange) -> Result<Bytes> {
    body(store.get(&key(name), Some(range), None).await?).await
}

/// Reads everything under a prefix: what a reader of a target would see.
pub async fn read_all(store: &dyn Store, prefix: &str) -> Result<BTreeMap<String, Bytes>> {
    let mut all = BTreeMap::new();
    for object in list_all(store, prefix).await? {
        let bytes = body(store.get(&object.key, None, Some(&object.version())).await?).await?;
        all.insert(object.key.to_string(), bytes);
    }
    Ok(all)
}

/// Stages an output of these parts, with the checksum that its bytes have.
pub async fn stage(store: &dyn Store, name: &str, attempt: &str, parts: &[Bytes]) -> Result<Staged> {
    let writer = store.stage(&key(name), &stamp(attempt), &OutputAttributes::default()).await?;
    let mut hash = crc_fast::Digest::new(Crc64Nvme);
    for (index, part) in parts.iter().enumerate() {
        hash.update(part);
        writer.write_part(index as u32 + 1, vec![part.clone()]).await?;
    }
    writer.finish(Some(hash.finalize())).await
}

/// A shared store, as the interfaces of the engine want it.
pub fn shared(store: impl Store + 'static) -> Arc<dyn Store> {
    Arc::new(store)
}
