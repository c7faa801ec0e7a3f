//! What an Azure store is told at its making. Plain values; nothing is read from the environment but the proxy, if asked.

use std::fmt;
use std::time::Duration;

use crate::http::{Proxy, Roots};

/// What proves to the account who asks. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum AzureSecret {
    /// The account's key, as the portal shows it: base64.
    SharedKey(String),
    /// A shared access signature: the query that is appended to every request, with or without its `?`.
    Sas(String),
}

impl fmt::Debug for AzureSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedKey(_) => "SharedKey(…)",
            Self::Sas(_) => "Sas(…)",
        })
    }
}

/// Settings of one Azure Blob store.
#[derive(Debug, Clone)]
pub struct AzureOptions {
    /// The name by which messages call the store.
    pub name: String,
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// What every key begins with on the server; a missing `/` at its end is added. Empty: the whole container.
    pub prefix: String,
    /// The blob endpoint, `http://127.0.0.1:10000/devstoreaccount1`; `None` is `https://{account}.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// Who asks.
    pub secret: AzureSecret,
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

impl AzureOptions {
    /// A whole container, with defaults for everything else.
    pub fn new(
        name: impl Into<String>,
        account: impl Into<String>,
        container: impl Into<String>,
        secret: AzureSecret,
    ) -> Self {
        Self {
            name: name.into(),
            account: account.into(),
            container: container.into(),
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
        for secret in [AzureSecret::SharedKey("aGlkZGVu".into()), AzureSecret::Sas("sig=aGlkZGVu".into())] {
            let shown = format!("{:?}", AzureOptions::new("s", "a", "c", secret));
            assert!(!shown.contains("aGlkZGVu"), "{shown}");
        }
    }
}
