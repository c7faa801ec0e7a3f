//! Bodies of objects: resumed where they break, on the version that was begun; one that ends early counts as broken.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answer::text;
use super::transport::chain;
use crate::{ByteRange, Meter, Result, StoreError};

/// How the read of one version of one object goes on.
#[async_trait]
pub(crate) trait Reopen: Send + Sync + 'static {
    /// Where bytes and retries are counted.
    fn meter(&self) -> &Meter;

    /// The longest silence that is borne.
    fn quiet(&self) -> Duration;

    /// How often in a row a read may break without a byte.
    fn max_tries(&self) -> u32;

    /// Waits before it goes on.
    async fn pause(&self, tries: u32, at: u64, detail: &str);

    /// The error when that was too often.
    fn exhausted(&self, tries: u32, detail: String) -> StoreError;

    /// Asks for the rest.
    async fn reopen(&self, range: ByteRange) -> Result<Incoming>;
}

/// A body as it is read.
pub(crate) struct Body<R> {
    source: R,
    /// The next byte to come.
    at: u64,
    end: u64,
    open: Option<Incoming>,
    /// Tries since the last byte came.
    fruitless: u32,
}

impl<R: Reopen> Body<R> {
    /// A body that was opened at the beginning of the range.
    pub(crate) fn new(source: R, range: ByteRange, open: Incoming) -> Self {
        Self { source, at: range.start, end: range.end, open: Some(open), fruitless: 0 }
    }

    /// Its bytes.
    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, |mut body| async move { Ok(body.next().await?.map(|bytes| (bytes, body))) }).boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.at < self.end {
            let detail = match &mut self.open {
                None => {
                    Meter::add(&self.source.meter().retries, 1);
                    self.open = Some(self.source.reopen(ByteRange::new(self.at, self.end)).await?);
                    continue;
                }
                Some(open) => match tokio::time::timeout(self.source.quiet(), open.frame()).await {
                    Err(_elapsed) => "the server fell silent".into(),
                    Ok(None) => "the body ended early".into(),
                    Ok(Some(Err(error))) => chain(&error),
                    Ok(Some(Ok(frame))) => {
                        let Ok(mut bytes) = frame.into_data() else { continue };
                        let left = self.end - self.at;
                        if bytes.len() as u64 > left {
                            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        }
                        if bytes.is_empty() {
                            continue;
                        }
                        self.at += bytes.len() as u64;
                        self.fruitless = 0;
                        Meter::add(&self.source.meter().bytes_read, bytes.len() as u64);
                        return Ok(Some(bytes));
                    }
                },
            };
            self.open = None;
            self.fruitless += 1;
            if self.fruitless >= self.source.max_tries() {
                return Err(self.source.exhausted(self.fruitless, format!("{detail} at byte {}", self.at)));
            }
            self.source.pause(self.fruitless, self.at, &detail).await;
        }
        Ok(None)
    }
}

/// Begin and size of the whole, as an answer tells them.
pub(crate) fn extent(
    opened: &http::Response<Incoming>,
    range: Option<ByteRange>,
) -> std::result::Result<(u64, u64), String> {
    let headers = opened.headers();
    if opened.status() == StatusCode::PARTIAL_CONTENT {
        let told = text(headers, CONTENT_RANGE).ok_or("the answer has no Content-Range")?;
        let (start, size) = content_range(told).ok_or_else(|| format!("`Content-Range: {told}` cannot be read"))?;
        let wanted = range.map_or(0, |range| range.start);
        return if start == wanted { Ok((start, size)) } else { Err(format!("`{told}` came for byte {wanted}")) };
    }
    let size = text(headers, CONTENT_LENGTH).and_then(|n| n.parse().ok()).ok_or("the answer has no Content-Length")?;
    match range {
        // A server may answer a range that begins at the beginning with the whole; the rest is not read.
        Some(range) if range.start > 0 => Err("the server does not honour ranges".into()),
        Some(_) | None => Ok((0, size)),
    }
}

/// Reads `bytes 0-9/443`: begin and size.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_tell_begin_and_size() {
        assert_eq!(content_range("bytes 5-9/443"), Some((5, 443)));
        assert_eq!(content_range("bytes */443"), None);
    }
}
