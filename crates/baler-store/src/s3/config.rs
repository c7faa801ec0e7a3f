//! What an S3 store is told at its making. Plain values; nothing is read from the environment but the proxy, if asked.

use std::time::Duration;

use crate::http::{Proxy, Roots};

/// How the bucket is named in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path where an endpoint is given or the bucket's name has a dot (no certificate covers that), else in the
    /// host name.
    #[default]
    Auto,
    /// In the path: `https://host/bucket/key`.
    Path,
    /// In the host name: `https://bucket.host/key`.
    VirtualHost,
}

/// Settings of one S3 store.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The name by which messages call the store.
    pub name: String,
    /// The bucket.
    pub bucket: String,
    /// What every key begins with on the server; a missing `/` at its end is added. Empty: the whole bucket.
    pub prefix: String,
    /// The server, `http://127.0.0.1:9000`; `None` is Amazon.
    pub endpoint: Option<String>,
    /// The region, which is signed too.
    pub region: String,
    /// Where the bucket's name goes.
    pub addressing: Addressing,
    /// Storage class of staged outputs: `STANDARD_IA`. State is always written in the bucket's default class.
    pub storage_class: Option<String>,
    /// KMS key (id or ARN) that everything written is encrypted with.
    pub kms_key: Option<String>,
    /// Tags of staged outputs.
    pub tags: Vec<(String, String)>,
    /// Most requests begun per second; `None` is no limit.
    pub requests_per_second: Option<u32>,
    /// Most requests that wait for an answer at one time. Bodies being read are not counted, so that a task that writes
    /// while it reads cannot stand in its own way.
    pub max_connections: usize,
    /// How often a request is tried before it is given up.
    pub max_tries: u32,
    /// Proxy.
    pub proxy: Proxy,
    /// Certificate authorities.
    pub roots: Roots,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest silence of the server before its answer begins (uploads get more, by their size) and within a body.
    pub read_timeout: Duration,
}

impl S3Options {
    /// A whole bucket on Amazon, with defaults for everything else.
    pub fn new(name: impl Into<String>, bucket: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: region.into(),
            addressing: Addressing::Auto,
            storage_class: None,
            kms_key: None,
            tags: Vec::new(),
            requests_per_second: None,
            max_connections: 128,
            max_tries: 10,
            proxy: Proxy::Environment,
            roots: Roots::Native,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
        }
    }
}
