//! Answers: their bodies read to the end, their headers as text.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;
use http_body_util::BodyExt;
use hyper::body::Incoming;
#[cfg(any(feature = "s3", feature = "azure"))]
use jiff::Timestamp;

use super::transport::{TransportError, chain};

/// An answer that is not an object is never larger: a page of 5,000 keys of 1,024 bytes, each encoded, is 20 MiB.
const LARGEST_ANSWER: usize = 32 << 20;

/// Reads an answer to its end; `quiet` is the longest silence that is borne.
pub(crate) async fn read_body(mut body: Incoming, quiet: Duration) -> std::result::Result<Bytes, TransportError> {
    let mut first: Option<Bytes> = None;
    let mut more: Vec<u8> = Vec::new();
    loop {
        let frame = match tokio::time::timeout(quiet, body.frame()).await {
            Err(_elapsed) => return Err(TransportError::TimedOut(quiet)),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(TransportError::Broken(chain(&error))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(bytes) = frame.into_data() else { continue };
        if first.as_ref().map_or(0, Bytes::len) + more.len() + bytes.len() > LARGEST_ANSWER {
            return Err(TransportError::Broken("the answer is larger than any that a store gives".into()));
        }
        match &first {
            None => first = Some(bytes),
            Some(begun) => {
                if more.is_empty() {
                    more.extend_from_slice(begun);
                }
                more.extend_from_slice(&bytes);
            }
        }
    }
    Ok(if more.is_empty() { first.unwrap_or_default() } else { more.into() })
}

/// A header's value, if it is text.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads `Fri, 24 May 2013 00:00:00 GMT`.
#[cfg(any(feature = "s3", feature = "azure"))]
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(all(test, any(feature = "s3", feature = "azure")))]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read() {
        let read = parse_http_date("Fri, 24 May 2013 00:00:00 GMT").unwrap();
        assert_eq!(read.to_string(), "2013-05-24T00:00:00Z");
    }
}
