//! JSON of the API: objects, listings, rewrites, compositions. Numbers of 64 bits are texts there.

use std::collections::BTreeMap;

use baler_model::{ObjectVersion, Stamp, WriteId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Metadata that holds the stamp of a task.
pub(crate) const META_STAMP: &str = "baler";
/// Metadata that holds a write id.
pub(crate) const META_WRITE: &str = "baler-write";
/// Metadata of a staged output, and of what it is made from: the key that it would have.
pub(crate) const META_KEY: &str = "baler-key";

/// An object, as the API describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) generation: String,
    /// Left out by some servers where it is 0.
    #[serde(default)]
    size: String,
    /// When this generation was written; `updated` also tells of changed metadata.
    time_created: Timestamp,
    crc32c: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// The fields of [`Resource`], of which every answer has no more than these.
pub(crate) const FIELDS: &str = "name,generation,size,timeCreated,crc32c,metadata";

impl Resource {
    pub(crate) fn version(&self) -> ObjectVersion {
        ObjectVersion::new(self.generation.as_str())
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> Result<u64, String> {
        match self.size.as_str() {
            "" => Ok(0),
            size => size.parse().map_err(|_| format!("`{size}` is no size")),
        }
    }

    pub(crate) fn written(&self) -> Timestamp {
        self.time_created
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.metadata.get(META_STAMP).and_then(|stamp| stamp.parse().ok())
    }

    pub(crate) fn write_id(&self) -> Option<WriteId> {
        self.metadata.get(META_WRITE).and_then(|id| WriteId::try_new(id.as_str()).ok())
    }

    /// The key that a staged output would have.
    pub(crate) fn staged_key(&self) -> Option<&str> {
        self.metadata.get(META_KEY).map(String::as_str)
    }

    /// CRC-32C of all its bytes, which GCS computes for every object.
    pub(crate) fn crc32c(&self) -> Option<u32> {
        let bytes = STANDARD.decode(self.crc32c.as_ref()?).ok()?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// A CRC-32C as the API writes it.
pub(crate) fn crc32c_text(crc: u32) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

/// One page of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObjectPage {
    pub(crate) items: Vec<Resource>,
    pub(crate) prefixes: Vec<String>,
    pub(crate) next_page_token: Option<String>,
}

/// What a rewrite answers: done, or how to go on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rewritten {
    pub(crate) done: bool,
    #[serde(default)]
    pub(crate) total_bytes_rewritten: String,
    pub(crate) rewrite_token: Option<String>,
}

/// What is said of an object that is written.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    /// The server compares it with what came, and refuses what differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc32c: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<&'static str, String>,
}

/// The body of a composition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Composition {
    pub(crate) source_objects: Vec<Component>,
    pub(crate) destination: Description,
}

/// One of the objects that are joined, in one generation.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) generation: String,
}

/// The body of an upload that describes its object: both, one behind the other.
///
/// Source: Cloud Storage documentation, "Single-request uploads".
pub(crate) fn related(boundary: &str, description: &Description, content_type: &str) -> (String, String) {
    let description = serde_json::to_string(description).expect("plain data");
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{description}\r\n--{boundary}\r\n\
         Content-Type: {content_type}\r\n\r\n"
    );
    (head, format!("\r\n--{boundary}--\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_sizes_generations_and_checksums_as_texts() {
        let page: ObjectPage = serde_json::from_str(
            r#"{"kind":"storage#objects","nextPageToken":"t","prefixes":["p/"],"items":[{"name":"a b","size":"7",
            "generation":"1700000000000001","timeCreated":"2026-01-02T03:04:05.678Z","crc32c":"4waSgw==",
            "metadata":{"baler":"f/r/0/a","baler-write":"w1","baler-key":"out"}}]}"#,
        )
        .unwrap();
        let [object] = page.items.as_slice() else { panic!("one object") };
        assert_eq!((object.name.as_str(), object.size()), ("a b", Ok(7)));
        assert_eq!(object.version(), ObjectVersion::new("1700000000000001"));
        assert_eq!(object.stamp().unwrap().to_string(), "f/r/0/a");
        assert_eq!(object.write_id().unwrap().as_str(), "w1");
        assert_eq!((object.staged_key(), object.written().as_millisecond()), (Some("out"), 1_767_323_045_678));
        // The check value of CRC-32/ISCSI: that of `123456789`.
        assert_eq!((object.crc32c(), crc32c_text(0xe306_9283)), (Some(0xe306_9283), "4waSgw==".into()));
        assert_eq!((page.prefixes, page.next_page_token), (vec!["p/".to_owned()], Some("t".to_owned())));
        let nothing: ObjectPage = serde_json::from_str(r#"{"kind":"storage#objects"}"#).unwrap();
        assert!(nothing.items.is_empty() && nothing.next_page_token.is_none());
    }

    #[test]
    fn an_upload_describes_its_object_before_its_bytes() {
        let description = Description {
            name: Some("ü \"x\"".into()),
            crc32c: Some(crc32c_text(0)),
            metadata: [(META_WRITE, "w1".into())].into(),
            ..Description::default()
        };
        let (head, tail) = related("B", &description, "text/plain");
        assert_eq!(
            head,
            "--B\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n\
             {\"name\":\"ü \\\"x\\\"\",\"crc32c\":\"AAAAAA==\",\"metadata\":{\"baler-write\":\"w1\"}}\r\n--B\r\n\
             Content-Type: text/plain\r\n\r\n"
        );
        assert_eq!(tail, "\r\n--B--\r\n");
    }
}
