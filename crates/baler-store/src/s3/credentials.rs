//! Credentials: the port that whoever knows the environment implements.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

/// One set of keys. `Debug` shows nothing but the expiry.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Secret {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
    /// When they end, if they do.
    pub expires: Option<Timestamp>,
}

impl fmt::Debug for S3Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Secret").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why there are no credentials, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CredentialsError {
    /// What was looked for and not found, or what failed.
    pub detail: String,
}

/// Where credentials come from. Implementations cache: it is asked before every request.
#[async_trait]
pub trait S3Credentials: fmt::Debug + Send + Sync {
    /// Keys that are good at `now`; `None` sends requests unsigned (public buckets).
    async fn credentials(&self, now: Timestamp) -> Result<Option<Arc<S3Secret>>, CredentialsError>;

    /// Forgets what is cached: the server called it expired.
    fn refresh(&self);
}

/// Keys that never change.
#[derive(Debug, Clone)]
pub struct StaticCredentials(Arc<S3Secret>);

impl StaticCredentials {
    /// Takes long-lived keys.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self::from_secret(S3Secret {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token: None,
            expires: None,
        })
    }

    /// Takes keys as they are, a session token included.
    pub fn from_secret(secret: S3Secret) -> Self {
        Self(Arc::new(secret))
    }
}

#[async_trait]
impl S3Credentials for StaticCredentials {
    async fn credentials(&self, _now: Timestamp) -> Result<Option<Arc<S3Secret>>, CredentialsError> {
        Ok(Some(Arc::clone(&self.0)))
    }

    fn refresh(&self) {}
}

/// No keys: requests go out unsigned.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl S3Credentials for Anonymous {
    async fn credentials(&self, _now: Timestamp) -> Result<Option<Arc<S3Secret>>, CredentialsError> {
        Ok(None)
    }

    fn refresh(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", StaticCredentials::new("AKIAVISIBLE", "hidden"));
        assert!(!shown.contains("AKIA") && !shown.contains("hidden"), "{shown}");
    }
}
