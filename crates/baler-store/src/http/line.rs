//! The client of one endpoint: builds, authorises, sends and counts requests, and tries them again until an answer is
//! final. What differs between protocols is a [`Dialect`] and an [`Authorizer`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use baler_model::{Key, ObjectVersion};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, RETRY_AFTER, SERVER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::answer::{read_body, text};
use super::limit::RateLimit;
use super::options::{Proxy, Roots};
use super::retry::{CONNECT_TRIES, backoff};
use super::transport::{Chunks, Transport, TransportError};
use crate::{Clock, IdSource, Meter, Result, StoreError};

/// An upload is given time as if the line carried this much: bytes per second.
const SLOWEST_LINE: u64 = 64 << 10;
/// Work on bytes that the server already has can take minutes.
const SERVER_WORK: Duration = Duration::from_secs(600);

/// As what a request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    List,
    Head,
    Get,
    Put,
    Copy,
    Delete,
}

impl Counted {
    fn counter(self, meter: &Meter) -> &AtomicU64 {
        match self {
            Self::List => &meter.list,
            Self::Head => &meter.head,
            Self::Get => &meter.get,
            Self::Put => &meter.put,
            Self::Copy => &meter.copy,
            Self::Delete => &meter.delete,
        }
    }
}

/// One request, without what every request has.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) counted: Counted,
    /// What it does, to be followed by the key.
    pub(crate) doing: &'static str,
    /// The key within the store; `None` is the container.
    pub(crate) key: Option<&'a str>,
    /// Scheme, host, path, without the query.
    pub(crate) target: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: &'a [Bytes],
    /// How many bytes of an object the body holds.
    pub(crate) object_bytes: u64,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, counted: Counted, doing: &'static str, target: String) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, counted, doing, key: None, target, query, headers, body: &[], object_bytes: 0 }
    }

    pub(crate) fn key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a header that only one service knows; `name` in lower case.
    pub(crate) fn own(self, name: &'static str, value: impl Into<String>) -> Self {
        self.header(HeaderName::from_static(name), value)
    }

    /// Sends bytes of an object.
    #[cfg(feature = "azure")]
    pub(crate) fn object(mut self, body: &'a [Bytes]) -> Self {
        self.object_bytes = len_of(body);
        self.body = body;
        self
    }

    /// Sends bytes of an object with something around them.
    #[cfg(feature = "gcs")]
    pub(crate) fn object_within(mut self, body: &'a [Bytes], object: &[Bytes]) -> Self {
        self.object_bytes = len_of(object);
        self.body = body;
        self
    }

    /// Sends anything else.
    pub(crate) fn body(mut self, body: &'a [Bytes]) -> Self {
        self.body = body;
        self
    }

    fn body_len(&self) -> u64 {
        len_of(self.body)
    }
}

fn len_of(body: &[Bytes]) -> u64 {
    body.iter().map(|chunk| chunk.len() as u64).sum()
}

/// A request as it is authorised: what is signed is what is sent.
#[derive(Debug)]
#[cfg_attr(not(feature = "azure"), allow(dead_code, reason = "Azure's signature covers them"))]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    /// The path as it is sent.
    pub(crate) path: &'a str,
    /// The query's pairs, not encoded yet; an authoriser may add to them.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body_len: u64,
}

/// What proves to the server who asks.
#[async_trait]
pub(crate) trait Authorizer: fmt::Debug + Send + Sync {
    /// Adds what the server wants to see.
    ///
    /// Errors: words for people.
    async fn authorize(&self, outgoing: &mut Outgoing<'_>, now: Timestamp) -> std::result::Result<(), String>;
}

/// An answer that says no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The service's code; empty where there is none.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

impl Refusal {
    /// Whether it has this status.
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        self.status == status.as_u16()
    }

    /// In one line: code, words, status and request id.
    pub(crate) fn detail(&self) -> String {
        let words = [self.code.as_str(), self.message.as_str()].into_iter().filter(|text| !text.is_empty());
        let words = words.collect::<Vec<_>>().join(": ");
        let id = self.request_id.as_ref().map(|id| format!(", request id {id}")).unwrap_or_default();
        match words.as_str() {
            "" => format!("HTTP {}{id}", self.status),
            words => format!("{words} (HTTP {}{id})", self.status),
        }
    }

    /// The first words of a body that is not what the service answers: a proxy's page.
    pub(crate) fn first_words(body: &[u8]) -> String {
        String::from_utf8_lossy(&body[..body.len().min(200)]).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// What a refusal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is the answer.
    Final,
    /// The same request may succeed later.
    Again,
}

/// How a service refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) read: fn(u16, &HeaderMap, &[u8]) -> Refusal,
    pub(crate) judge: fn(&Refusal) -> Judgement,
    /// What a user can do about a refusal that stands, if that is known.
    pub(crate) hint: fn(&Refusal, &str) -> Option<String>,
}

/// What a line is made of.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) store: String,
    pub(crate) url: String,
    /// The server's address.
    pub(crate) endpoint: String,
    pub(crate) requests_per_second: Option<u32>,
    pub(crate) max_connections: usize,
    pub(crate) max_tries: u32,
    pub(crate) proxy: Proxy,
    pub(crate) roots: Roots,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Duration,
}

/// An answer that says yes, read to its end.
#[derive(Debug)]
#[cfg_attr(not(feature = "azure"), allow(dead_code, reason = "only Azure answers in headers"))]
pub(crate) struct Done {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Either the answer or the refusal; errors of [`Result`] are those that no caller can turn into an answer.
pub(crate) type Reply<T> = std::result::Result<T, Refusal>;

enum Try {
    Opened(Response<Incoming>),
    Done(Done),
    Refused(Refusal, Option<Duration>),
    Failed(TransportError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Here,
    ByCaller,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) settings: Settings,
    pub(crate) meter: Meter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    dialect: Dialect,
    authorizer: Arc<dyn Authorizer>,
    transport: Transport,
    limit: Option<RateLimit>,
    slots: Semaphore,
    server: Mutex<Option<String>>,
}

impl Line {
    /// Makes a line; sends nothing.
    pub(crate) fn new(
        settings: Settings,
        dialect: Dialect,
        authorizer: Arc<dyn Authorizer>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        let unusable = |detail: String, hint: Option<&str>| StoreError::Unsupported {
            store: settings.store.clone(),
            doing: "be opened".into(),
            detail,
            hint: hint.map(str::to_owned),
        };
        let target: Uri = settings.endpoint.parse().map_err(|e| unusable(format!("{e}"), None))?;
        let most = settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let transport = Transport::new(&target, settings.proxy, &settings.roots, settings.connect_timeout, most)
            .map_err(|e| unusable(e.to_string(), Some("check the certificate bundle and the proxy variables")))?;
        Ok(Self {
            meter: Meter::default(),
            dialect,
            authorizer,
            transport,
            limit: settings.requests_per_second.map(|n| RateLimit::new(n, Arc::clone(&clock))),
            slots: Semaphore::new(most),
            server: Mutex::new(None),
            settings,
            clock,
            ids,
        })
    }

    /// The `Server` header of the last answer.
    pub(crate) fn server_header(&self) -> Option<String> {
        self.server.lock().clone()
    }

    /// Sends a request until its answer is final, and reads that answer to its end.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Reply<Done>> {
        match self.settle(call, Reading::Here).await? {
            Ok(Try::Done(done)) => Ok(Ok(done)),
            Ok(Try::Opened(_) | Try::Refused(..) | Try::Failed(_)) => Err(self.failed(call, "no answer was read")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The same, leaving the body to the caller.
    pub(crate) async fn open(&self, call: &Call<'_>) -> Result<Reply<Response<Incoming>>> {
        match self.settle(call, Reading::ByCaller).await? {
            Ok(Try::Opened(opened)) => Ok(Ok(opened)),
            Ok(Try::Done(_) | Try::Refused(..) | Try::Failed(_)) => Err(self.failed(call, "no answer was opened")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The same as [`Line::call`], with every refusal an error.
    pub(crate) async fn expect(&self, call: &Call<'_>) -> Result<Done> {
        self.call(call).await?.map_err(|refusal| self.refused(call, &refusal))
    }

    async fn settle(&self, call: &Call<'_>, reading: Reading) -> Result<Reply<Try>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut asked = None;
            let detail = match self.once(call, reading).await? {
                done @ (Try::Done(_) | Try::Opened(_)) => return Ok(Ok(done)),
                Try::Refused(refusal, after) => {
                    asked = after;
                    match (self.dialect.judge)(&refusal) {
                        Judgement::Final => return Ok(Err(refusal)),
                        Judgement::Again => refusal.detail(),
                    }
                }
                Try::Failed(TransportError::Certificate(detail)) => {
                    let (store, doing) = (self.settings.store.clone(), self.doing(call));
                    let detail = format!("the certificate of {} is not trusted: {detail}", self.settings.endpoint);
                    let hint = Some("name the authority that signed it in `ca_bundle`".into());
                    return Err(StoreError::Denied { store, doing, detail, hint });
                }
                Try::Failed(TransportError::Connect(text)) => {
                    let detail = format!("cannot connect to {}: {text}", self.settings.endpoint);
                    if tries >= CONNECT_TRIES {
                        return Err(self.exhausted(call, tries, detail));
                    }
                    detail
                }
                Try::Failed(error @ (TransportError::Broken(_) | TransportError::TimedOut(_))) => {
                    format!("{}: {error}", self.settings.endpoint)
                }
            };
            if tries >= self.settings.max_tries {
                return Err(self.exhausted(call, tries, detail));
            }
            tracing::debug!(store = %self.settings.store, key = call.key, tries, %detail, "trying again");
            Meter::add(&self.meter.retries, 1);
            let wait = backoff(tries, &*self.ids).max(asked.unwrap_or_default());
            self.clock.sleep(wait).await;
        }
    }

    async fn once(&self, call: &Call<'_>, reading: Reading) -> Result<Try> {
        if let Some(limit) = &self.limit {
            limit.turn().await;
        }
        let _slot = self.slots.acquire().await.map_err(|_| self.failed(call, "the store was closed"))?;
        let request = self.request(call).await?;
        Meter::add(call.counted.counter(&self.meter), 1);
        let len = call.body_len();
        Meter::add(&self.meter.bytes_written, call.object_bytes);
        let quiet = self.settings.read_timeout;
        let patience = match call.counted {
            Counted::Copy => quiet.max(SERVER_WORK),
            Counted::List | Counted::Head | Counted::Get | Counted::Put | Counted::Delete => {
                quiet + Duration::from_secs(len / SLOWEST_LINE)
            }
        };
        let response = match self.transport.send(request, patience).await {
            Ok(response) => response,
            Err(error) => return Ok(Try::Failed(error)),
        };
        if let Some(server) = text(response.headers(), SERVER) {
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
            let after = text(&head.headers, RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
            let after = after.map(|seconds: u64| Duration::from_secs(seconds.min(60)));
            return Ok(Try::Refused((self.dialect.read)(status.as_u16(), &head.headers, &body), after));
        }
        Ok(Try::Done(Done { headers: head.headers, body }))
    }

    async fn request(&self, call: &Call<'_>) -> Result<Request<Chunks>> {
        let unsendable = |detail: &dyn fmt::Display| self.unsupported(call, detail.to_string(), None);
        let uri: Uri = call.target.parse().map_err(|e| unsendable(&e))?;
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|e| unsendable(&e));
        let authority = uri.authority().ok_or_else(|| unsendable(&"the address names no host"))?;
        headers.insert(HOST, value(authority.as_str())?);
        for (name, text) in &call.headers {
            headers.insert(name, value(text)?);
        }
        let bodiless = matches!(call.method, Method::GET | Method::HEAD | Method::DELETE);
        if !bodiless && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        if !bodiless {
            // Said also where it is 0: Azure refuses a PUT without.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(call.body_len()));
        }
        let query = call.query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let path = uri.path();
        let mut outgoing = Outgoing { method: &call.method, path, query, headers, body_len: call.body_len() };
        if let Err(detail) = self.authorizer.authorize(&mut outgoing, self.clock.now()).await {
            let (store, doing) = (self.settings.store.clone(), self.doing(call));
            let hint = (self.dialect.hint)(&Refusal { status: 401, ..Refusal::default() }, call.doing);
            return Err(StoreError::Denied { store, doing, detail, hint });
        }
        let Outgoing { query, mut headers, .. } = outgoing;
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("baler/", env!("CARGO_PKG_VERSION"))));
        let mut request = Request::builder().method(&call.method).uri(with_query(&call.target, &query));
        if let Some(into) = request.headers_mut() {
            *into = headers;
        }
        request.body(Chunks::new(call.body)).map_err(|e| unsendable(&e))
    }

    /// What a call does, with its key, for messages.
    pub(crate) fn doing(&self, call: &Call<'_>) -> String {
        match call.key {
            Some(key) => format!("{} `{key}`", call.doing),
            None => format!("{} `{}`", call.doing, self.settings.url),
        }
    }

    pub(crate) fn failed(&self, call: &Call<'_>, detail: impl Into<String>) -> StoreError {
        StoreError::Failed { store: self.settings.store.clone(), doing: self.doing(call), detail: detail.into() }
    }

    pub(crate) fn exhausted(&self, call: &Call<'_>, tries: u32, detail: String) -> StoreError {
        StoreError::Exhausted { store: self.settings.store.clone(), doing: self.doing(call), tries, detail }
    }

    pub(crate) fn unsupported(&self, call: &Call<'_>, detail: String, hint: Option<String>) -> StoreError {
        StoreError::Unsupported { store: self.settings.store.clone(), doing: self.doing(call), detail, hint }
    }

    pub(crate) fn not_found(&self, key: &Key) -> StoreError {
        StoreError::NotFound { store: self.settings.store.clone(), key: key.clone() }
    }

    pub(crate) fn changed(&self, key: &Key, planned: &ObjectVersion, found: &ObjectVersion) -> StoreError {
        StoreError::Changed {
            store: self.settings.store.clone(),
            key: key.clone(),
            planned: planned.to_string(),
            found: found.to_string(),
        }
    }

    /// The error that a refusal is, where the caller has no better use for it.
    pub(crate) fn refused(&self, call: &Call<'_>, refusal: &Refusal) -> StoreError {
        let (store, doing, detail) = (self.settings.store.clone(), self.doing(call), refusal.detail());
        let hint = (self.dialect.hint)(refusal, call.doing);
        match refusal.status {
            401 | 403 => StoreError::Denied { store, doing, detail, hint },
            404 => match (call.key, call.counted) {
                (Some(key), Counted::Get | Counted::Head) if hint.is_none() => self.not_found(&Key::from_listed(key)),
                _ => StoreError::Unsupported { store, doing, detail, hint },
            },
            507 => StoreError::NoRoom { store, doing, detail },
            405 | 501 => StoreError::Unsupported { store, doing, detail, hint },
            _ => StoreError::Failed { store, doing, detail },
        }
    }
}

/// A target with its query, encoded.
pub(crate) fn with_query(target: &str, query: &[(String, String)]) -> String {
    let mut target = target.to_owned();
    for (n, (name, value)) in query.iter().enumerate() {
        target.push(if n == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        target.push_str(&super::encode::encode_query(value));
    }
    target
}
