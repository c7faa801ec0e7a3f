//! One bucket's client: builds, signs, sends and counts requests, and tries them again until an answer is final.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HOST, SERVER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::address::Address;
use super::call::Call;
use super::config::S3Options;
use super::credentials::S3Credentials;
use super::refusal::{self, Refusal};
use super::retry::{Judgement, judge};
use super::sign::{Payload, sign_request};
use super::xml::error_body;
use crate::http::answer::{parse_http_date, read_body, text};
use crate::http::limit::RateLimit;
use crate::http::retry::{CONNECT_TRIES, KNOCK, RESTART, backoff};
use crate::http::transport::{Chunks, Transport, TransportError};
use crate::{Clock, IdSource, Meter, PartLimits, Result, StoreError, StoreInfo, StoreKind};

/// Bodies up to this size are hashed into the signature where the connection is not encrypted.
const HASHED: usize = 64 << 10;
/// An upload is given time as if the line carried this much: bytes per second.
const SLOWEST_LINE: u64 = 64 << 10;
/// Copies and completions work on bytes that are already there and can take minutes to answer.
const SERVER_WORK: Duration = Duration::from_secs(600);

/// An answer that says yes, read to its end.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer that says yes, whose body is still to be read.
pub(crate) type Opened = Response<Incoming>;

/// Either the answer or the refusal; errors of [`Result`] are those that no caller can turn into an answer.
pub(crate) type Reply<T> = std::result::Result<T, Refusal>;

/// What one try came to.
enum Try {
    Opened(Opened),
    Done(Done),
    Refused { refusal: Refusal, date: Option<Timestamp> },
    Failed(TransportError),
}

/// Whether the body of an answer is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Here,
    ByCaller,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) info: StoreInfo,
    pub(crate) meter: Meter,
    pub(crate) address: Address,
    pub(crate) options: S3Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    /// Whether the server takes checksum headers; unlearned when it refuses them.
    pub(crate) checksums: AtomicBool,
    credentials: Arc<dyn S3Credentials>,
    transport: Transport,
    limit: Option<RateLimit>,
    slots: Semaphore,
    /// What to add to our clock to have the server's, in milliseconds.
    skew_ms: AtomicI64,
    server: Mutex<Option<String>>,
    /// Whether the server ever answered: then it is there, and may be starting anew.
    answered: AtomicBool,
}

impl Client {
    pub(crate) fn new(
        options: S3Options,
        credentials: Arc<dyn S3Credentials>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        let unusable = |detail: String, hint: Option<&str>| StoreError::Unsupported {
            store: options.name.clone(),
            doing: "be opened".into(),
            detail,
            hint: hint.map(str::to_owned),
        };
        let address = Address::new(&options).map_err(|e| unusable(e.to_string(), None))?;
        let target = address.target(None, &[]).parse().map_err(|e| unusable(format!("{e}"), None))?;
        let most = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let transport = Transport::new(&target, options.proxy, &options.roots, options.connect_timeout, most)
            .map_err(|e| unusable(e.to_string(), Some("check the certificate bundle and the proxy variables")))?;
        let info = StoreInfo {
            name: options.name.clone(),
            url: address.url(),
            kind: StoreKind::S3,
            copy_domain: Some(format!("s3 {} {}", address.endpoint, options.region)),
            parts: PartLimits::S3,
        };
        Ok(Self {
            info,
            meter: Meter::default(),
            address,
            credentials,
            transport,
            limit: options.requests_per_second.map(|n| RateLimit::new(n, Arc::clone(&clock))),
            slots: Semaphore::new(most),
            skew_ms: AtomicI64::new(0),
            server: Mutex::new(None),
            answered: AtomicBool::new(false),
            checksums: AtomicBool::new(true),
            options,
            clock,
            ids,
        })
    }

    /// The `Server` header of the last answer.
    pub(crate) fn server_header(&self) -> Option<String> {
        self.server.lock().clone()
    }

    pub(crate) fn takes_checksums(&self) -> bool {
        self.checksums.load(Ordering::Relaxed)
    }

    /// Sends a request until its answer is final, and reads that answer to its end.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Reply<Done>> {
        match self.settle(call, Reading::Here).await? {
            Ok(Try::Done(done)) => Ok(Ok(done)),
            Ok(Try::Opened(_) | Try::Refused { .. } | Try::Failed(_)) => Err(self.failed(call, "no answer was read")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The same, leaving the body to the caller.
    pub(crate) async fn open(&self, call: &Call<'_>) -> Result<Reply<Opened>> {
        match self.settle(call, Reading::ByCaller).await? {
            Ok(Try::Opened(opened)) => Ok(Ok(opened)),
            Ok(Try::Done(_) | Try::Refused { .. } | Try::Failed(_)) => Err(self.failed(call, "no answer was opened")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The same as [`Client::call`], with every refusal an error.
    pub(crate) async fn expect(&self, call: &Call<'_>) -> Result<Done> {
        self.call(call).await?.map_err(|refusal| self.refused(call, &refusal))
    }

    async fn settle(&self, call: &Call<'_>, reading: Reading) -> Result<Reply<Try>> {
        let mut tries = 0;
        let (mut refreshed, mut corrected) = (false, false);
        // Since when nobody answers the door, and how often we knocked.
        let mut away: Option<(Timestamp, u32)> = None;
        loop {
            tries += 1;
            let detail = match self.once(call, reading).await? {
                done @ (Try::Done(_) | Try::Opened(_)) => return Ok(Ok(done)),
                Try::Refused { refusal, date } => {
                    away = None;
                    let now = self.server_now();
                    let gap = date.map(|date| date.duration_since(now).unsigned_abs());
                    match judge(&refusal, call.action, gap) {
                        Judgement::Final => return Ok(Err(refusal)),
                        Judgement::Again => refusal::detail(&refusal),
                        Judgement::Expired if !refreshed => {
                            refreshed = true;
                            self.credentials.refresh();
                            Meter::add(&self.meter.retries, 1);
                            continue;
                        }
                        Judgement::Skewed if !corrected && date.is_some() => {
                            corrected = true;
                            self.set_server_now(date);
                            Meter::add(&self.meter.retries, 1);
                            continue;
                        }
                        Judgement::Expired | Judgement::Skewed => return Ok(Err(refusal)),
                    }
                }
                Try::Failed(error) => match error {
                    TransportError::Certificate(text) => return Err(self.untrusted(call, text)),
                    TransportError::Connect(text) => {
                        let detail = format!("cannot connect to {}: {text}", self.address.endpoint);
                        let now = self.clock.now();
                        let (since, knocks) = away.map_or((now, 1), |(since, knocks)| (since, knocks + 1));
                        away = Some((since, knocks));
                        let is_known = self.answered.load(Ordering::Relaxed);
                        if is_known && now.duration_since(since) < RESTART {
                            // It answered before: most likely it is being started anew. These tries do not count.
                            tries -= 1;
                            Meter::add(&self.meter.retries, 1);
                            tracing::debug!(store = %self.info.name, key = call.key, %detail, "waiting for the server");
                            self.clock.sleep(backoff(knocks, &*self.ids).min(KNOCK)).await;
                            continue;
                        }
                        if is_known || knocks >= CONNECT_TRIES {
                            return Err(self.exhausted(call, tries.max(knocks), detail));
                        }
                        detail
                    }
                    TransportError::Broken(text) => format!("{}: {text}", self.address.endpoint),
                    TransportError::TimedOut(_) => format!("{}: {error}", self.address.endpoint),
                },
            };
            if tries >= self.options.max_tries {
                return Err(self.exhausted(call, tries, detail));
            }
            let wait = backoff(tries, &*self.ids);
            tracing::debug!(store = %self.info.name, key = call.key, tries, %detail, "trying again");
            Meter::add(&self.meter.retries, 1);
            self.clock.sleep(wait).await;
        }
    }

    async fn once(&self, call: &Call<'_>, reading: Reading) -> Result<Try> {
        if let Some(limit) = &self.limit {
            limit.turn().await;
        }
        let _slot = self.slots.acquire().await.map_err(|_| self.failed(call, "the store was closed"))?;
        let request = self.request(call).await?;
        Meter::add(call.action.counter(&self.meter), 1);
        let len = call.body_len();
        if call.action.carries_object_bytes() {
            Meter::add(&self.meter.bytes_written, len);
        }
        let quiet = self.options.read_timeout;
        let patience = match call.action.may_answer_late() {
            true => quiet.max(SERVER_WORK),
            false => quiet + Duration::from_secs(len / SLOWEST_LINE),
        };
        let response = match self.transport.send(request, patience).await {
            Ok(response) => response,
            Err(error) => return Ok(Try::Failed(error)),
        };
        self.answered.store(true, Ordering::Relaxed);
        if let Some(server) = response.headers().get(SERVER).and_then(|v| v.to_str().ok()) {
            let mut seen = self.server.lock();
            if seen.as_deref() != Some(server) {
                *seen = Some(server.to_owned());
            }
        }
        let status = response.status();
        if status.is_success() && reading == Reading::ByCaller {
            return Ok(Try::Opened(response));
        }
        let (head, body) = response.into_parts();
        let body = match read_body(body, patience).await {
            Ok(body) => body,
            Err(error) => return Ok(Try::Failed(error)),
        };
        if !status.is_success() {
            let date = text(&head.headers, DATE).and_then(parse_http_date);
            return Ok(Try::Refused { refusal: refusal::read(status.as_u16(), &head.headers, &body), date });
        }
        if call.action.may_answer_late()
            && let Some(found) = error_body(&body)
        {
            let status = refusal::status_of(&found.code);
            return Ok(Try::Refused { refusal: refusal::from_body(status, &head.headers, found), date: None });
        }
        Ok(Try::Done(Done { headers: head.headers, body }))
    }

    async fn request(&self, call: &Call<'_>) -> Result<Request<Chunks>> {
        let unsendable = |detail: &dyn std::fmt::Display| StoreError::Unsupported {
            store: self.info.name.clone(),
            doing: self.doing(call),
            detail: detail.to_string(),
            hint: None,
        };
        let target = self.address.target(call.key, &call.query);
        let method = call.action.method();
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|e| unsendable(&e));
        headers.insert(HOST, value(self.address.host())?);
        for (name, text) in &call.headers {
            headers.insert(name, value(text)?);
        }
        let now = self.server_now();
        let secret = self.credentials.credentials(now).await.map_err(|error| StoreError::Denied {
            store: self.info.name.clone(),
            doing: self.doing(call),
            detail: error.to_string(),
            hint: Some("give credentials as for the AWS CLI: environment, profile, SSO or instance role".into()),
        })?;
        if let Some(secret) = secret {
            let payload = self.payload(call);
            sign_request(&method, &target, &mut headers, payload, &secret, &self.options.region, now)
                .map_err(|e| unsendable(&e))?;
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("baler/", env!("CARGO_PKG_VERSION"))));
        if !call.is_bodiless() && !headers.contains_key(CONTENT_TYPE) {
            // Some servers take a POST or PUT without a type for a form.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        let mut request = Request::builder().method(method).uri(target);
        if let Some(into) = request.headers_mut() {
            *into = headers;
        }
        request.body(Chunks::new(call.body)).map_err(|e| unsendable(&e))
    }

    fn payload(&self, call: &Call<'_>) -> Payload {
        let len = call.body_len();
        if len > 0 && (self.address.is_secure() || len > HASHED as u64) {
            return Payload::Unsigned;
        }
        let mut hash = Sha256::new();
        for chunk in call.body {
            hash.update(chunk);
        }
        Payload::Hashed(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn server_now(&self) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(SignedDuration::from_millis(self.skew_ms.load(Ordering::Relaxed))).unwrap_or(now)
    }

    fn set_server_now(&self, date: Option<Timestamp>) {
        if let Some(date) = date {
            let gap = date.as_millisecond() - self.clock.now().as_millisecond();
            self.skew_ms.store(gap, Ordering::Relaxed);
            tracing::warn!(store = %self.info.name, gap_ms = gap, "the clock differs from the server's; signing by the server's");
        }
    }
}
