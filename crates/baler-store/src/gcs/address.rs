//! Where things are: request targets of the JSON API, and the keys that GCS cannot hold.
//!
//! A name is one segment of a path there: `/` is encoded too, so that nothing on the way resolves `..` or joins slashes.
//! Source: Cloud Storage documentation, "Request endpoints", "About Cloud Storage objects".

use http::Uri;

use super::config::GcsOptions;
use crate::http::encode::encode_query;

/// Staged outputs lie below this, within the store's prefix; listings do not show it and no key may lie there.
pub(crate) const STAGING: &str = ".baler-staged/";

const GOOGLE: &str = "https://storage.googleapis.com";
/// Bytes of an object's name at most.
const LONGEST_NAME: usize = 1024;

/// Why a store's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{endpoint}` is no endpoint: {reason}")]
    Endpoint { endpoint: String, reason: String },
    #[error("`{bucket}` is no name of a bucket: 3 to 222 lower-case letters, digits, `-`, `_` and `.` are allowed")]
    Bucket { bucket: String },
}

/// One bucket's address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// Scheme, host and port; no `/` at its end.
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    /// What every key begins with on the server.
    pub(crate) prefix: String,
}

impl Address {
    pub(crate) fn new(options: &GcsOptions) -> Result<Self, AddressError> {
        let bucket = options.bucket.clone();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let named = (3..=222).contains(&bucket.len())
            && bucket.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.'))
            && bucket.starts_with(plain)
            && bucket.ends_with(plain);
        if !named {
            return Err(AddressError::Bucket { bucket });
        }
        let endpoint = options.endpoint.as_deref().unwrap_or(GOOGLE).trim_end_matches('/').to_owned();
        let fault = |reason: &str| AddressError::Endpoint { endpoint: endpoint.clone(), reason: reason.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|e: http::uri::InvalidUri| fault(&e.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(fault("it must begin with `http://` or `https://`"));
        }
        let authority = uri.authority().ok_or_else(|| fault("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fault("credentials do not belong there"));
        }
        if uri.query().is_some() || !uri.path().trim_matches('/').is_empty() {
            return Err(fault("it is a scheme, a host and perhaps a port"));
        }
        let mut prefix = options.prefix.clone();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Ok(Self { endpoint, bucket, prefix })
    }

    /// Whether what is sent can be read on the way.
    pub(crate) fn is_open(&self) -> bool {
        self.endpoint.starts_with("http://")
    }

    /// The address for people; an endpoint that is not Google's is part of it, so that no two places have the same.
    pub(crate) fn url(&self) -> String {
        match self.endpoint.as_str() {
            GOOGLE => format!("gs://{}/{}", self.bucket, self.prefix),
            endpoint => format!("{endpoint}/{}/{}", self.bucket, self.prefix),
        }
    }

    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The request target of the bucket's objects.
    pub(crate) fn of_objects(&self) -> String {
        format!("{}/storage/v1/b/{}/o", self.endpoint, self.bucket)
    }

    /// The request target of uploads.
    pub(crate) fn of_uploads(&self) -> String {
        format!("{}/upload/storage/v1/b/{}/o", self.endpoint, self.bucket)
    }

    /// An object's request target.
    pub(crate) fn of_object(&self, key: &str) -> String {
        format!("{}/{}", self.of_objects(), encode_query(&self.full_key(key)))
    }

    /// The request target by which one object becomes another.
    pub(crate) fn of_rewrite(&self, from: &str, to: &str) -> String {
        format!("{}/rewriteTo/b/{}/o/{}", self.of_object(from), self.bucket, encode_query(&self.full_key(to)))
    }

    /// Why GCS cannot hold a key; `None` where it can.
    pub(crate) fn unholdable(&self, key: &str) -> Option<String> {
        if key.starts_with(STAGING) {
            return Some(format!("`{STAGING}` is where staged outputs lie"));
        }
        let full = self.full_key(key);
        if full.len() > LONGEST_NAME {
            return Some(format!("the name has {} bytes, {LONGEST_NAME} are allowed", full.len()));
        }
        if full.contains(['\r', '\n']) {
            return Some("GCS takes no line breaks in names".into());
        }
        if full == "." || full == ".." || full.starts_with(".well-known/acme-challenge/") {
            return Some("GCS takes no object of this name".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::GcsSecret;
    use super::*;

    fn address(change: impl FnOnce(&mut GcsOptions)) -> Result<Address, AddressError> {
        let mut options = GcsOptions::new("lake", "raw-data", GcsSecret::Anonymous);
        change(&mut options);
        Address::new(&options)
    }

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        let google = address(|_| {}).unwrap();
        assert_eq!(
            google.of_object("a b/../ü+%2F//c"),
            "https://storage.googleapis.com/storage/v1/b/raw-data/o/a%20b%2F..%2F%C3%BC%2B%252F%2F%2Fc"
        );
        let emulator = address(|o| {
            o.endpoint = Some("http://127.0.0.1:9000/".into());
            o.prefix = "lake".into();
        })
        .unwrap();
        let objects = "http://127.0.0.1:9000/storage/v1/b/raw-data/o";
        assert_eq!(emulator.of_object("k"), format!("{objects}/lake%2Fk"));
        assert_eq!(
            emulator.of_rewrite(".baler-staged/a-1", "out/x"),
            format!("{objects}/lake%2F.baler-staged%2Fa-1/rewriteTo/b/raw-data/o/lake%2Fout%2Fx")
        );
        assert_eq!(emulator.of_uploads(), "http://127.0.0.1:9000/upload/storage/v1/b/raw-data/o");
        assert_eq!(google.url(), "gs://raw-data/");
        assert_eq!(emulator.url(), "http://127.0.0.1:9000/raw-data/lake/");
    }

    #[test]
    fn names_and_endpoints_that_google_does_not_have_are_refused() {
        for bucket in ["", "ab", "A-b", "-ab", "ab-", "a/b", "a b"] {
            assert!(address(|o| o.bucket = bucket.into()).is_err(), "{bucket}");
        }
        assert!(address(|o| o.bucket = "data.example.com".into()).is_ok());
        for endpoint in ["127.0.0.1:9", "ftp://h", "https://u:p@h", "https://h?x=y", "https://h/storage/v1"] {
            assert!(address(|o| o.endpoint = Some(endpoint.into())).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn keys_that_gcs_does_not_hold_are_refused() {
        let at = address(|_| {}).unwrap();
        for bad in [".", "..", "a\nb", "a\r", ".baler-staged/x", ".well-known/acme-challenge/x", &"k".repeat(1025)] {
            assert!(at.unholdable(bad).is_some(), "{bad}");
        }
        for good in ["a//b", "/a", "a/../b", "./a", "a/", "a.", "a\\b", "ü/日本語", &"k".repeat(1024)] {
            assert_eq!(at.unholdable(good), None, "{good}");
        }
    }
}
