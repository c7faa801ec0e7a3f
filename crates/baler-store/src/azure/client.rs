//! One container's client: the line to its endpoint, and requests by what they do.

use std::collections::HashSet;
use std::sync::Arc;

use baler_model::{Key, SharedStr};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Method;
use md5::{Digest, Md5};
use parking_lot::Mutex;

use super::address::Address;
use super::config::AzureOptions;
use super::dialect::DIALECT;
use super::sign::Signer;
use crate::http::line::{Call, Counted, Line, Settings};
use crate::{Clock, IdSource, PartLimits, Result, StoreError, StoreInfo, StoreKind};

/// Azure: blocks of 4,000 MiB at most, 50,000 of them; an output is published by one copy, which takes 5,000 MiB.
/// Source: Azure REST API, "Put Block", "Put Blob From URL".
const LIMITS: PartLimits = PartLimits { min: 0, max: 4000 << 20, count: 50_000, object: 5000 << 20 };

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) info: StoreInfo,
    pub(crate) line: Line,
    pub(crate) address: Address,
    pub(crate) signer: Signer,
    /// Outputs that were confirmed, by etag and checksum.
    pub(crate) proven: Mutex<HashSet<(SharedStr, u64)>>,
}

impl Client {
    pub(crate) fn new(options: AzureOptions, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Result<Self> {
        let unusable = |detail: String| StoreError::Unsupported {
            store: options.name.clone(),
            doing: "be opened".into(),
            detail,
            hint: None,
        };
        let address = Address::new(&options).map_err(|e| unusable(e.to_string()))?;
        let signer = Signer::new(&options.account, &options.secret).map_err(|e| unusable(e.into()))?;
        let info = StoreInfo {
            name: options.name.clone(),
            url: address.url(),
            kind: StoreKind::Azure,
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
        let line = Line::new(settings, DIALECT, Arc::new(signer.clone()), clock, ids)?;
        Ok(Self { info, line, address, signer, proven: Mutex::default() })
    }

    /// A request on a blob by the key of the store, which may be one of its own staged outputs.
    pub(crate) fn on<'a>(&self, method: Method, counted: Counted, doing: &'static str, key: &'a str) -> Call<'a> {
        Call::new(method, counted, doing, self.address.of_blob(key)).key(key)
    }

    /// Refuses keys that Azure would change.
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
}

/// `Content-MD5` of a body: the server compares before it keeps it.
pub(crate) fn md5_of(body: &[Bytes]) -> String {
    let mut md5 = Md5::new();
    for chunk in body {
        md5.update(chunk);
    }
    STANDARD.encode(md5.finalize())
}

/// A key as metadata, which is ASCII.
pub(crate) fn encode_key(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// Reads it back.
pub(crate) fn decode_key(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
