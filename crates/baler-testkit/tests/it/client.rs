//! Unsigned requests, and the little of XML that answers are read by.

use baler_testkit::s3::{Access, S3Options, S3Server};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The contents of every element of this name.
    pub(crate) fn all(&self, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let pieces = self.text().split(&open).skip(1);
        pieces.map(|piece| piece.split(&close).next().unwrap().replace("&quot;", "\"")).collect()
    }

    pub(crate) fn one(&self, element: &str) -> String {
        self.all(element).into_iter().next().unwrap_or_else(|| panic!("no {element} in {}", self.text()))
    }

    /// The code of an error, or nothing.
    pub(crate) fn code(&self) -> String {
        self.all("Code").into_iter().next().unwrap_or_default()
    }
}

#[derive(Clone)]
pub(crate) struct Caller {
    endpoint: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Caller {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// An error means that no whole answer came.
    pub(crate) async fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_call(method, path, headers, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn begin(&self, path: &str) -> String {
        self.call("POST", &format!("{path}?uploads"), &[], "").await.one("UploadId")
    }

    pub(crate) async fn part(&self, path: &str, upload: &str, number: u32, body: Bytes) -> String {
        let answer = self.call("PUT", &format!("{path}?partNumber={number}&uploadId={upload}"), &[], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("etag").unwrap().to_owned()
    }

    pub(crate) async fn complete(
        &self,
        path: &str,
        upload: &str,
        parts: &[(u32, String)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.call("POST", &format!("{path}?uploadId={upload}"), headers, body).await
    }
}

/// A server that asks for no signatures.
pub(crate) async fn open_server() -> (S3Server, Caller) {
    let server = S3Server::start(S3Options { access: Access::Open, ..S3Options::default() }).await.unwrap();
    let caller = Caller::new(&server.endpoint);
    (server, caller)
}
