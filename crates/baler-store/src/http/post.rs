//! Posts small bodies to a server that is no store.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};

use super::options::{Proxy, Roots};
use super::transport::{Chunks, Transport, TransportError, chain};

/// An answer may be so large. Units: bytes.
const ANSWER: usize = 64 << 20;

/// Posts to one URL.
#[derive(Debug)]
pub struct Poster {
    url: Uri,
    transport: Transport,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    /// How long the server wants to be left alone, where it says so in seconds. Source: RFC 9110, section 10.2.3.
    pub retry_after: Option<Duration>,
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The server cannot be reached.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke, or nothing came in time: the server may have done what it was asked.
    #[error("{0}")]
    Unanswered(String),
}

impl Poster {
    /// Makes a client, through the proxy that the environment names. Errors: no such URL, or no certificates to trust.
    pub fn new(url: &str, connect_timeout: Duration, at_once: usize) -> Result<Self, String> {
        let url: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let transport = Transport::new(&url, Proxy::Environment, &Roots::Native, connect_timeout, at_once);
        Ok(Self { transport: transport.map_err(|error| error.to_string())?, url })
    }

    /// Posts JSON; `idempotency_key` tells the server that it was asked the same before.
    pub async fn post(&self, idempotency_key: &str, body: Bytes, patience: Duration) -> Result<Posted, PostError> {
        let key = HeaderValue::from_str(idempotency_key).map_err(|error| PostError::Unanswered(error.to_string()))?;
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(HeaderName::from_static("idempotency-key"), key)
            .body(Chunks::new(&[body]))
            .map_err(|error| PostError::Unanswered(error.to_string()))?;
        let answer = async {
            let response = self.transport.send(request, patience).await.map_err(|error| match error {
                TransportError::Certificate(text) | TransportError::Connect(text) => PostError::Connect(text),
                error @ (TransportError::Broken(_) | TransportError::TimedOut(_)) => {
                    PostError::Unanswered(error.to_string())
                }
            })?;
            let status = response.status().as_u16();
            let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
            let body = Limited::new(response.into_body(), ANSWER).collect().await;
            let body = body.map_err(|error| PostError::Unanswered(chain(&*error)))?.to_bytes();
            Ok(Posted { status, body, retry_after })
        };
        // Real time, as in the transport.
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(PostError::Unanswered(format!("no answer within {patience:?}"))),
        }
    }
}

fn seconds(header: &HeaderValue) -> Option<Duration> {
    header.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_in_seconds_and_dates_are_passed_over() {
        let of = |text: &'static str| seconds(&HeaderValue::from_static(text));
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of(" 0 "), Some(Duration::ZERO));
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(of("-1"), None);
    }
}
