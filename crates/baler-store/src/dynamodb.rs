//! Calls of DynamoDB: signed JSON, one request and one answer.
//!
//! A call is repeated while the server is throttled, failing or not there: whoever calls sends only what may be carried out
//! twice. It holds nothing that a crash could lose.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::retry::{CONNECT_TRIES, backoff};
use crate::http::transport::{Chunks, Transport, TransportError, chain};
use crate::s3::sign::{Payload, Scope, sign_for};
use crate::s3::{Proxy, Roots, S3Credentials};
use crate::{Clock, IdSource};

/// An answer is never larger. Source: DynamoDB's limits (16 MB).
const ANSWER: usize = 32 << 20;
/// How often a call is sent, and how long an answer may take.
const TRIES: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// Connections that are kept while nobody uses them.
const IDLE: usize = 8;

/// What tables are reached with.
#[derive(Debug, Clone)]
pub struct DynamoOptions {
    /// The server, `http://127.0.0.1:8000`; `None` is Amazon.
    pub endpoint: Option<String>,
    /// The region, which is signed too.
    pub region: String,
    /// Certificate authorities.
    pub roots: Roots,
}

/// One account's tables in one region.
#[derive(Debug)]
pub struct DynamoDb {
    endpoint: String,
    host: HeaderValue,
    region: String,
    transport: Transport,
    credentials: Arc<dyn S3Credentials>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DynamoError {
    /// There is no answer, or none but that the server cannot now.
    #[error("{0}")]
    Unavailable(String),
    /// There are no credentials.
    #[error("{0}")]
    Credentials(String),
    /// The server said no.
    #[error("{kind}: {message}")]
    Refused {
        /// The name of the error, `ResourceNotFoundException`.
        kind: String,
        /// What the server said.
        message: String,
        /// Of a transaction what became of each of its items, in their order.
        reasons: Vec<Reason>,
    },
}

/// What became of one item of a transaction that was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `None` where the item is not to blame, else `ConditionalCheckFailed`, `ValidationError` and others.
    pub code: String,
    /// What the server said of it.
    pub message: String,
}

impl DynamoDb {
    /// Makes a client; sends nothing. Errors: no such endpoint, or certificates that cannot be used.
    pub fn new(
        options: DynamoOptions,
        credentials: Arc<dyn S3Credentials>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, String> {
        let DynamoOptions { endpoint, region, roots } = options;
        let endpoint = endpoint.unwrap_or_else(|| format!("https://dynamodb.{region}.amazonaws.com"));
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        let target: Uri = endpoint.parse().map_err(|error| format!("`{endpoint}` is no URL: {error}"))?;
        let host = target.authority().ok_or_else(|| format!("`{endpoint}` names no server"))?;
        let host = HeaderValue::from_str(host.as_str()).map_err(|error| error.to_string())?;
        let transport = Transport::new(&target, Proxy::Environment, &roots, CONNECT, IDLE);
        let transport = transport.map_err(|error| error.to_string())?;
        Ok(Self { endpoint, host, region, transport, credentials, clock, ids })
    }

    /// The server, for people.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Calls one operation, `DescribeTable`. Cost: one request, more where the server cannot at once.
    pub async fn call(&self, operation: &str, body: &Value) -> Result<Value, DynamoError> {
        let body = Bytes::from(body.to_string());
        let (mut tried, mut knocked) = (0, 0);
        loop {
            tried += 1;
            let error = match self.send(operation, body.clone()).await {
                Ok(value) => return Ok(value),
                Err(Failed::Finally(error)) => return Err(error),
                Err(Failed::Connecting(error)) => {
                    knocked += 1;
                    if knocked >= CONNECT_TRIES {
                        return Err(error);
                    }
                    error
                }
                Err(Failed::Now(error)) => error,
            };
            if tried >= TRIES {
                return Err(error);
            }
            self.clock.sleep(backoff(tried, &*self.ids)).await;
        }
    }

    /// Waits before what was throttled is sent again; longer with every try.
    pub async fn pause(&self, tries: u32) {
        self.clock.sleep(backoff(tries, &*self.ids)).await;
    }

    async fn send(&self, operation: &str, body: Bytes) -> Result<Value, Failed> {
        let request = self.request(operation, body).await.map_err(Failed::Finally)?;
        let answer = async {
            let response = self.transport.send(request, PATIENCE).await.map_err(|error| match error {
                TransportError::Certificate(text) => Failed::Finally(DynamoError::Unavailable(text)),
                TransportError::Connect(text) => Failed::Connecting(DynamoError::Unavailable(text)),
                error @ (TransportError::Broken(_) | TransportError::TimedOut(_)) => {
                    Failed::Now(DynamoError::Unavailable(error.to_string()))
                }
            })?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER).collect().await;
            let body = body.map_err(|error| Failed::Now(DynamoError::Unavailable(chain(&*error))))?.to_bytes();
            Ok((status, body))
        };
        // Real time, as in the transport.
        let (status, body) = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer?,
            Err(_elapsed) => {
                return Err(Failed::Now(DynamoError::Unavailable(format!("no answer within {PATIENCE:?}"))));
            }
        };
        let said = serde_json::from_slice::<Value>(&body);
        match (status, said) {
            (200, Ok(value)) => Ok(value),
            (200, Err(error)) => Err(Failed::Now(DynamoError::Unavailable(format!("its answer is no JSON: {error}")))),
            (status, said) => Err(self.refused(status, &said.unwrap_or_default(), &body)),
        }
    }

    async fn request(&self, operation: &str, body: Bytes) -> Result<Request<Chunks>, DynamoError> {
        let unsendable =
            |error: &dyn std::fmt::Display| DynamoError::Unavailable(format!("it cannot be asked: {error}"));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
        let target = HeaderValue::from_str(&format!("DynamoDB_20120810.{operation}")).map_err(|e| unsendable(&e))?;
        headers.insert(HeaderName::from_static("x-amz-target"), target);
        let now = self.clock.now();
        let secret = self.credentials.credentials(now).await;
        if let Some(secret) = secret.map_err(|error| DynamoError::Credentials(error.to_string()))? {
            let hash: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
            let scope = Scope { service: "dynamodb", region: &self.region };
            sign_for(scope, &Method::POST, &self.endpoint, &mut headers, Payload::Hashed(hash), &secret, now)
                .map_err(|e| unsendable(&e))?;
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("baler/", env!("CARGO_PKG_VERSION"))));
        let mut request = Request::post(self.endpoint.as_str());
        if let Some(into) = request.headers_mut() {
            *into = headers;
        }
        request.body(Chunks::new(&[body])).map_err(|e| unsendable(&e))
    }

    fn refused(&self, status: u16, said: &Value, body: &[u8]) -> Failed {
        let text = |value: &Value, names: [&str; 2]| {
            names.iter().find_map(|name| value[*name].as_str()).unwrap_or_default().to_owned()
        };
        let kind = said["__type"].as_str().and_then(|kind| kind.rsplit('#').next()).unwrap_or_default().to_owned();
        if kind.is_empty() {
            let said = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            let error = DynamoError::Unavailable(format!("it answered {status}: {said}"));
            return if matches!(status, 408 | 429 | 500..) { Failed::Now(error) } else { Failed::Finally(error) };
        }
        let reasons = said["CancellationReasons"].as_array().into_iter().flatten();
        let reasons = reasons.map(|reason| Reason {
            code: reason["Code"].as_str().unwrap_or("None").to_owned(),
            message: text(reason, ["Message", "message"]),
        });
        let error =
            DynamoError::Refused { message: text(said, ["message", "Message"]), reasons: reasons.collect(), kind };
        let DynamoError::Refused { kind, .. } = &error else { return Failed::Finally(error) };
        match kind.as_str() {
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TransactionInProgressException"
            | "TransactionConflictException"
            | "InternalServerError"
            | "ServiceUnavailable" => Failed::Now(error),
            // Keys that have just ended are asked for anew.
            "ExpiredTokenException" => {
                self.credentials.refresh();
                Failed::Now(error)
            }
            _ if status >= 500 => Failed::Now(error),
            _ => Failed::Finally(error),
        }
    }
}

enum Failed {
    /// It may go well in a moment.
    Now(DynamoError),
    /// Nobody answers the door.
    Connecting(DynamoError),
    Finally(DynamoError),
}
