//! Percent-encoding that keeps names byte for byte: once, and never normalised.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the characters that RFC 3986 calls unreserved. Source: S3 API, "UriEncode" of Signature Version 4.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, but `/` is kept: object keys in paths.
#[cfg(any(feature = "s3", feature = "azure"))]
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Encodes a query name or value.
pub(crate) fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// Encodes a key for a path.
#[cfg(any(feature = "s3", feature = "azure"))]
pub(crate) fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}
