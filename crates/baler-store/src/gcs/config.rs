//! What a GCS store is told at its making. Plain values; nothing is read from the environment but the proxy, if asked.

use std::fmt;
use std::time::Duration;

use crate::http::{Proxy, Roots};

/// Who asks. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum GcsSecret {
    /// Nobody: an emulator, or a public bucket.
    Anonymous,
    /// A service account: the content of its key file, JSON.
    ServiceAccount(String),
    /// The service account of the machine or container, by the metadata server at this host.
    Metadata(String),
}

impl fmt::Debug for GcsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::ServiceAccount(_) => f.write_str("ServiceAccount(…)"),
            Self::Metadata(host) => f.debug_tuple("Metadata").field(host).finish(),
        }
    }
}

/// Settings of one GCS store.
#[derive(Debug, Clone)]
pub struct GcsOptions {
    /// The name by which messages call the store.
    pub name: String,
    /// The bucket.
    pub bucket: String,
    /// What every key begins with on the server; a missing `/` at its end is added. Empty: the whole bucket.
    pub prefix: String,
    /// The endpoint, such as an emulator's `http://127.0.0.1:9000`; `None` is `https://storage.googleapis.com`.
    pub endpoint: Option<String>,
    /// Who asks.
    pub secret: GcsSecret,
    /// Most requests begun per second; `None` is no limit.
    pub requests_per_second: Option<u32>,
    /// Most requests that wait for an answer at one time.
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

impl GcsOptions {
    /// A whole bucket, with defaults for everything else.
    pub fn new(name: impl Into<String>, bucket: impl Into<String>, secret: GcsSecret) -> Self {
        Self {
            name: name.into(),
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            secret,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = GcsSecret::ServiceAccount(r#"{"private_key":"hidden"}"#.into());
        let shown = format!("{:?}", GcsOptions::new("s", "b", secret));
        assert!(!shown.contains("hidden") && shown.contains("ServiceAccount"), "{shown}");
    }
}
