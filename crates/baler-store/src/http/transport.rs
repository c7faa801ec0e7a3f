//! HTTP: connections, proxies, certificates. It sends one request and knows no store's protocol.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use super::options::{Proxy, Roots};

/// Servers close idle connections after about twenty seconds; letting go earlier avoids requests that meet the closing.
const IDLE: Duration = Duration::from_secs(15);

/// The body of a request: chunks that are sent as they are, without being joined.
#[derive(Debug)]
pub(crate) struct Chunks {
    left: VecDeque<Bytes>,
    len: u64,
}

impl Chunks {
    pub(crate) fn new(chunks: &[Bytes]) -> Self {
        let left: VecDeque<Bytes> = chunks.iter().filter(|c| !c.is_empty()).cloned().collect();
        let len = left.iter().map(|c| c.len() as u64).sum();
        Self { left, len }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.pop_front().map(|chunk| {
            self.len -= chunk.len() as u64;
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    /// The server's certificate is not trusted: no retry changes that.
    #[error("{0}")]
    Certificate(String),
    /// No connection: refused, no such host, a proxy that says no.
    #[error("{0}")]
    Connect(String),
    /// The connection broke: the request may have been carried out.
    #[error("{0}")]
    Broken(String),
    /// Nothing came in time: the request may have been carried out.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Why a transport cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("the certificate bundle cannot be read: {0}")]
    Bundle(String),
    #[error("no certificate authorities were found on this system")]
    NoRoots,
    #[error("the proxy `{0}` has a scheme that is not spoken here")]
    Proxy(String),
    #[error("{0}")]
    Tls(String),
}

/// How the endpoint is reached; decided once, since a store has one endpoint.
#[derive(Clone)]
enum Route {
    Direct,
    /// `https` through a proxy: a CONNECT tunnel.
    Tunnel(Tunnel<HttpConnector>),
    /// `http` through a proxy: the proxy is sent whole URLs.
    Forward(Uri),
}

/// Opens TCP connections along the route.
#[derive(Clone)]
pub(crate) struct Dialer {
    tcp: HttpConnector,
    route: Route,
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl Service<Uri> for Dialer {
    type Response = Dialed;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Dialed, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match &mut self.route {
            Route::Direct => {
                let connecting = self.tcp.call(target);
                Box::pin(async move { Ok(Dialed { io: connecting.await?, forwarded: false }) })
            }
            Route::Tunnel(tunnel) => {
                let connecting = tunnel.call(target);
                Box::pin(async move { Ok(Dialed { io: connecting.await?, forwarded: false }) })
            }
            Route::Forward(proxy) => {
                let connecting = self.tcp.call(proxy.clone());
                Box::pin(async move { Ok(Dialed { io: connecting.await?, forwarded: true }) })
            }
        }
    }
}

/// A connection, which knows whether a forwarding proxy is at its other end.
pub(crate) struct Dialed {
    io: TokioIo<TcpStream>,
    forwarded: bool,
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.forwarded)
    }
}

impl Read for Dialed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Dialed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// Sends requests to one endpoint.
pub(crate) struct Transport {
    client: Client<HttpsConnector<Dialer>, Chunks>,
    /// What a forwarding proxy wants to see with every request; it is not signed.
    proxy_auth: Option<HeaderValue>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// Makes a transport to the server of `target`. Nothing is connected yet.
    pub(crate) fn new(
        target: &Uri,
        proxy: Proxy,
        roots: &Roots,
        connect_timeout: Duration,
        most_idle: usize,
    ) -> Result<Self, SetupError> {
        let matcher = match proxy {
            Proxy::Environment => Matcher::from_env(),
            Proxy::Direct => Matcher::builder().build(),
        };
        Self::with_matcher(target, &matcher, roots, connect_timeout, most_idle)
    }

    fn with_matcher(
        target: &Uri,
        matcher: &Matcher,
        roots: &Roots,
        connect_timeout: Duration,
        most_idle: usize,
    ) -> Result<Self, SetupError> {
        let secure = target.scheme_str() == Some("https");
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(connect_timeout));
        let mut proxy_auth = None;
        let route = match matcher.intercept(target) {
            None => Route::Direct,
            Some(found) if found.uri().scheme_str() != Some("http") => {
                return Err(SetupError::Proxy(found.uri().to_string()));
            }
            Some(found) if secure => {
                let tunnel = Tunnel::new(found.uri().clone(), tcp.clone());
                Route::Tunnel(match found.basic_auth() {
                    Some(auth) => tunnel.with_auth(auth.clone()),
                    None => tunnel,
                })
            }
            Some(found) => {
                proxy_auth = found.basic_auth().cloned();
                Route::Forward(found.uri().clone())
            }
        };
        let roots = if secure { root_store(roots)? } else { RootCertStore::empty() };
        let tls = client_config(roots)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dialer { tcp, route });
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(most_idle)
            .build(connector);
        Ok(Self { client, proxy_auth })
    }

    /// Sends a request and waits for the head of its answer, `patience` at most.
    pub(crate) async fn send(
        &self,
        mut request: Request<Chunks>,
        patience: Duration,
    ) -> Result<Response<Incoming>, TransportError> {
        if let Some(auth) = &self.proxy_auth {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth.clone());
        }
        // Real time, not the clock's: this is about a socket, whatever time the caller simulates.
        match tokio::time::timeout(patience, self.client.request(request)).await {
            Err(_elapsed) => Err(TransportError::TimedOut(patience)),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let text = chain(&error);
                Err(match () {
                    () if is_certificate(&error) => TransportError::Certificate(text),
                    () if error.is_connect() => TransportError::Connect(text),
                    () => TransportError::Broken(text),
                })
            }
        }
    }
}

/// An error and its causes as one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn is_certificate(error: &(dyn StdError + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_));
    }
    // `source` of an I/O error skips the error that it wraps.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.is_some_and(|e| is_certificate(e)) || error.source().is_some_and(is_certificate)
}

fn client_config(roots: RootCertStore) -> Result<ClientConfig, SetupError> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| SetupError::Tls(e.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What TLS with a server that speaks no HTTP begins with: certificates are verified against the authorities of the system, or
/// of `SSL_CERT_FILE` where that is set. Without any, it trusts no certificate.
///
/// Errors: there is no TLS, in words.
pub fn tls_config() -> Result<ClientConfig, String> {
    let roots = match root_store(&Roots::Native) {
        // Whoever answers may have no TLS to begin with.
        Err(SetupError::NoRoots) => RootCertStore::empty(),
        roots => roots.map_err(|e| e.to_string())?,
    };
    client_config(roots).map_err(|e| e.to_string())
}

fn root_store(roots: &Roots) -> Result<RootCertStore, SetupError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Native => {
            // Single certificates that cannot be read are common on real systems and no reason to stop.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(SetupError::NoRoots);
            }
        }
        Roots::Bundle(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| SetupError::Bundle(format!("{e:?}")))?;
                store.add(certificate).map_err(|e| SetupError::Bundle(e.to_string()))?;
            }
            if store.is_empty() {
                return Err(SetupError::Bundle("it holds no certificate".into()));
            }
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn request(target: &str, body: &[Bytes]) -> Request<Chunks> {
        Request::put(target).body(Chunks::new(body)).unwrap()
    }

    /// Answers one connection with `answer` and returns what it was sent.
    async fn peer(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let n = socket.read(&mut heard).await.unwrap();
            socket.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&heard[..n]).into_owned()
        });
        (address, heard)
    }

    #[tokio::test]
    async fn chunks_are_sent_with_their_length() {
        let (address, heard) = peer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let target = format!("http://{address}/a/../b");
        let transport = Transport::new(&target.parse().unwrap(), Proxy::Direct, &Roots::Native, SECOND, 1).unwrap();
        let body = ["ab", "", "c"].map(Bytes::from_static_str);
        assert_eq!(transport.send(request(&target, &body), SECOND).await.unwrap().status(), 200);
        let heard = heard.await.unwrap();
        assert!(heard.starts_with("PUT /a/../b HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("content-length: 3\r\n"), "{heard}");
    }

    trait FromStatic {
        fn from_static_str(text: &'static str) -> Self;
    }

    impl FromStatic for Bytes {
        fn from_static_str(text: &'static str) -> Self {
            Bytes::from_static(text.as_bytes())
        }
    }

    #[tokio::test]
    async fn plain_requests_reach_a_proxy_as_whole_urls_with_its_password() {
        let (address, heard) = peer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let matcher = Matcher::builder().http(format!("http://me:pw@{address}")).no("inside.example").build();
        let target = "http://store.example/b/k";
        let transport = Transport::with_matcher(&target.parse().unwrap(), &matcher, &Roots::Native, SECOND, 1).unwrap();
        transport.send(request(target, &[]), SECOND).await.unwrap();
        let heard = heard.await.unwrap();
        assert!(heard.starts_with("PUT http://store.example/b/k HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("proxy-authorization: Basic bWU6cHc="), "{heard}");
    }

    #[tokio::test]
    async fn encrypted_requests_go_through_a_tunnel() {
        let (address, heard) = peer(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        let matcher = Matcher::builder().https(format!("http://{address}")).build();
        let target = "https://store.example/b/k";
        let transport = Transport::with_matcher(&target.parse().unwrap(), &matcher, &Roots::Native, SECOND, 1).unwrap();
        let error = transport.send(request(target, &[]), SECOND).await.unwrap_err();
        assert!(matches!(error, TransportError::Connect(_)), "{error:?}");
        assert!(heard.await.unwrap().starts_with("CONNECT store.example:443 HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn hosts_in_no_proxy_are_reached_directly() {
        let (address, heard) = peer(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let matcher = Matcher::builder().http("http://127.0.0.1:1").no("127.0.0.1").build();
        let target = format!("http://{address}/k");
        let transport = Transport::with_matcher(&target.parse().unwrap(), &matcher, &Roots::Native, SECOND, 1).unwrap();
        transport.send(request(&target, &[]), SECOND).await.unwrap();
        assert!(heard.await.unwrap().starts_with("PUT /k HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_from_a_broken_one() {
        let refused = "http://127.0.0.1:1/k";
        let transport = Transport::new(&refused.parse().unwrap(), Proxy::Direct, &Roots::Native, SECOND, 1).unwrap();
        let error = transport.send(request(refused, &[]), SECOND).await.unwrap_err();
        assert!(matches!(&error, TransportError::Connect(text) if text.contains("refused")), "{error:?}");

        let (address, _heard) = peer(b"").await;
        let broken = format!("http://{address}/k");
        let error = transport.send(request(&broken, &[]), SECOND).await.unwrap_err();
        assert!(matches!(error, TransportError::Broken(_)), "{error:?}");
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let target: Uri = "https://h/".parse().unwrap();
        let made = Transport::new(&target, Proxy::Direct, &Roots::Bundle(b"nothing".to_vec()), SECOND, 1);
        assert!(matches!(made, Err(SetupError::Bundle(_))));
    }
}
