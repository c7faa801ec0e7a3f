//! Manifests of objects, as Redshift's COPY reads them.

use baler_model::Key;
use serde_json::{Value, json};

/// The manifest of objects in the store of this URL, each with its bytes; all of them must be there.
///
/// Source: Amazon Redshift, "Using a manifest to specify data files".
pub(crate) fn manifest<'a>(store: &str, objects: impl IntoIterator<Item = (&'a Key, u64)>) -> Vec<u8> {
    let entry = |(key, bytes): (&Key, u64)| {
        let url = format!("{}/{key}", store.trim_end_matches('/'));
        json!({ "url": url, "mandatory": true, "meta": { "content_length": bytes } })
    };
    let entries: Vec<Value> = objects.into_iter().map(entry).collect();
    json!({ "entries": entries }).to_string().into_bytes()
}
