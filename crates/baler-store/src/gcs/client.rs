//! One bucket's client: the line to its endpoint, and requests by what they do.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use baler_model::{Key, SharedStr};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http::Method;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::address::Address;
use super::config::{GcsOptions, GcsSecret};
use super::dialect::DIALECT;
use super::json::{Description, FIELDS, Resource, crc32c_text, related};
use super::token::{METADATA_DIALECT, Plain, ServiceAccount, Source, Tokens};
use crate::http::line::{Call, Counted, Done, Line, Refusal, Settings};
use crate::http::{Proxy, Roots};
use crate::{Clock, IdSource, PartLimits, Result, StoreError, StoreInfo, StoreKind};

/// GCS takes 5 TiB in one upload; a part is an object of its own and of no least size. How large and how many they may be
/// is our own choice. Source: Cloud Storage documentation, "Quotas and limits".
const LIMITS: PartLimits = PartLimits { min: 0, max: 5 << 30, count: 10_000, object: 5 << 40 };

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) info: StoreInfo,
    pub(crate) line: Line,
    pub(crate) address: Address,
    /// Outputs that were confirmed, by generation and checksum.
    pub(crate) proven: Mutex<HashSet<(SharedStr, u32)>>,
}

impl Client {
    pub(crate) fn new(options: GcsOptions, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Result<Self> {
        let unusable = |detail: String| StoreError::Unsupported {
            store: options.name.clone(),
            doing: "be opened".into(),
            detail,
            hint: None,
        };
        let address = Address::new(&options).map_err(|e| unusable(e.to_string()))?;
        if address.is_open() && options.secret != GcsSecret::Anonymous {
            return Err(unusable(format!("tokens are not sent to `{}`: it has no `https://`", address.endpoint)));
        }
        let source = match &options.secret {
            GcsSecret::Anonymous => Source::Nowhere,
            GcsSecret::ServiceAccount(json) => Source::Key(ServiceAccount::parse(json).map_err(unusable)?),
            GcsSecret::Metadata(host) => {
                let settings = Settings {
                    store: options.name.clone(),
                    url: "the metadata server".into(),
                    endpoint: format!("http://{host}"),
                    requests_per_second: None,
                    max_connections: 4,
                    max_tries: 5,
                    proxy: Proxy::Direct,
                    roots: Roots::Native,
                    connect_timeout: Duration::from_secs(3),
                    read_timeout: Duration::from_secs(10),
                };
                let (clock, ids) = (Arc::clone(&clock), Arc::clone(&ids));
                Source::Metadata(Box::new(Line::new(settings, METADATA_DIALECT, Arc::new(Plain), clock, ids)?))
            }
        };
        let info = StoreInfo {
            name: options.name.clone(),
            url: address.url(),
            kind: StoreKind::Gcs,
            copy_domain: None,
            parts: LIMITS,
        };
        let settings = Settings {
            store: options.name,
            url: address.url(),
            endpoint: address.endpoint.clone(),
            requests_per_second: options.requests_per_second,
            max_connections: options.max_connections,
            max_tries: options.max_tries,
            proxy: options.proxy,
            roots: options.roots,
            connect_timeout: options.connect_timeout,
            read_timeout: options.read_timeout,
        };
        let line = Line::new(settings, DIALECT, Arc::new(Tokens::new(source)), clock, ids)?;
        Ok(Self { info, line, address, proven: Mutex::default() })
    }

    /// A request on an object by the key of the store, which may be one of its own staged outputs.
    pub(crate) fn on<'a>(&self, method: Method, counted: Counted, doing: &'static str, key: &'a str) -> Call<'a> {
        Call::new(method, counted, doing, self.address.of_object(key)).key(key)
    }

    /// Refuses keys that GCS does not hold.
    pub(crate) fn check(&self, key: &Key) -> Result<()> {
        match self.address.unholdable(key.as_str()) {
            None => Ok(()),
            Some(detail) => Err(StoreError::Unsupported {
                store: self.info.name.clone(),
                doing: format!("hold the key `{key}`"),
                detail,
                hint: Some("choose another name, or another store".into()),
            }),
        }
    }

    /// Reads the JSON of an answer.
    pub(crate) fn parsed<T: DeserializeOwned>(&self, call: &Call<'_>, done: &Done) -> Result<T> {
        serde_json::from_slice(&done.body)
            .map_err(|error| self.line.failed(call, format!("the answer cannot be read: {error}")))
    }

    /// Writes an object in one request; its bytes reach the server whole, or not at all. Cost: one PUT.
    pub(crate) async fn insert(&self, insert: &Insert<'_>) -> Result<std::result::Result<Resource, Refusal>> {
        let boundary = format!("baler-{:016x}{:016x}", self.line.ids.next_u64(), self.line.ids.next_u64());
        let description = Description {
            name: Some(self.address.full_key(insert.key)),
            crc32c: Some(crc32c_text(crc32c_of(insert.body))),
            metadata: insert.metadata.clone(),
            ..Description::default()
        };
        let (head, tail) = related(&boundary, &description, insert.content_type);
        let mut body = vec![Bytes::from(head)];
        body.extend_from_slice(insert.body);
        body.push(Bytes::from(tail));
        let call = self.insert_call(insert).header(CONTENT_TYPE, format!("multipart/related; boundary={boundary}"));
        let call = call.object_within(&body, insert.body);
        match self.line.call(&call).await? {
            Ok(done) => Ok(Ok(self.parsed(&call, &done)?)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The request without its body.
    pub(crate) fn insert_call<'a>(&self, insert: &Insert<'a>) -> Call<'a> {
        let call = Call::new(Method::POST, Counted::Put, insert.doing, self.address.of_uploads())
            .key(insert.of)
            .query("uploadType", "multipart")
            .query("fields", FIELDS);
        match insert.if_generation {
            Some(generation) => call.query("ifGenerationMatch", generation),
            None => call,
        }
    }
}

/// One object to be written.
#[derive(Debug)]
pub(crate) struct Insert<'a> {
    /// What it does, for messages, and to which key.
    pub(crate) doing: &'static str,
    pub(crate) of: &'a str,
    /// Where it is written.
    pub(crate) key: &'a str,
    pub(crate) body: &'a [Bytes],
    pub(crate) content_type: &'a str,
    pub(crate) metadata: BTreeMap<&'static str, String>,
    /// The generation that must be there; `0` is none.
    pub(crate) if_generation: Option<&'a str>,
}

impl<'a> Insert<'a> {
    /// A small object at a key.
    pub(crate) fn of_key(key: &'a Key, body: &'a [Bytes]) -> Self {
        let (key, metadata) = (key.as_str(), BTreeMap::new());
        let content_type = "application/octet-stream";
        Self { doing: "write", of: key, key, body, content_type, metadata, if_generation: None }
    }
}

/// CRC-32C of a body.
pub(crate) fn crc32c_of(body: &[Bytes]) -> u32 {
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    body.iter().for_each(|chunk| crc.update(chunk));
    low(crc.finalize())
}

/// CRC-32C of A‖B from those of A and B; `len_b` is the length of B in bytes.
pub(crate) fn crc32c_joined(a: u32, b: u32, len_b: u64) -> u32 {
    low(crc_fast::checksum_combine(CrcAlgorithm::Crc32Iscsi, a.into(), b.into(), len_b))
}

/// A CRC of 32 bits is handed out as 64.
fn low(crc: u64) -> u32 {
    u32::try_from(crc & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::json::META_WRITE;
    use super::*;
    use crate::{SystemClock, SystemIds};

    fn client(secret: GcsSecret, endpoint: Option<&str>) -> Result<Client> {
        let options = GcsOptions { endpoint: endpoint.map(str::to_owned), ..GcsOptions::new("lake", "raw", secret) };
        Client::new(options, Arc::new(SystemClock), Arc::new(SystemIds))
    }

    #[test]
    fn a_creation_demands_that_nothing_is_there() {
        let client = client(GcsSecret::Anonymous, Some("http://127.0.0.1:9")).unwrap();
        let (key, metadata) = (Key::from_listed("a/b"), BTreeMap::from([(META_WRITE, "w1".to_owned())]));
        let insert = Insert { metadata, if_generation: Some("0"), ..Insert::of_key(&key, &[]) };
        let call = client.insert_call(&insert);
        assert_eq!(
            (&call.method, call.target.as_str()),
            (&Method::POST, "http://127.0.0.1:9/upload/storage/v1/b/raw/o")
        );
        assert!(call.query.contains(&("uploadType", "multipart".into())), "{:?}", call.query);
        assert!(call.query.contains(&("ifGenerationMatch", "0".into())), "{:?}", call.query);
        let put = client.insert_call(&Insert::of_key(&key, &[]));
        assert!(put.query.iter().all(|(name, _)| *name != "ifGenerationMatch"), "{:?}", put.query);
    }

    #[test]
    fn a_token_is_never_sent_unencrypted() {
        let secret = || GcsSecret::Metadata("metadata.google.internal".into());
        let error = client(secret(), Some("http://127.0.0.1:9")).unwrap_err();
        assert!(error.to_string().contains("tokens are not sent to `http://127.0.0.1:9`"), "{error}");
        assert!(client(secret(), None).is_ok());
    }

    #[test]
    fn checksums_of_parts_make_that_of_the_whole() {
        let of = |text: &'static str| crc32c_of(&[Bytes::from_static(text.as_bytes())]);
        // The check value of CRC-32/ISCSI.
        assert_eq!(of("123456789"), 0xe306_9283);
        assert_eq!(crc32c_joined(of("1234"), of("56789"), 5), of("123456789"));
        assert_eq!(crc32c_joined(crc32c_of(&[]), of("1234"), 4), of("1234"));
        assert_eq!(crc32c_joined(of("1234"), crc32c_of(&[]), 0), of("1234"));
    }
}
