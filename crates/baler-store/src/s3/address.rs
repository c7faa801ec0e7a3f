//! Where things are: endpoints, request targets, and the percent-encoding that keeps keys byte for byte.
//!
//! S3 encodes once and never normalises a path: `a/../b` is a key like any other. URL libraries rewrite such paths, so
//! targets are put together here and handed on as they are.

use http::Uri;

use super::config::{Addressing, S3Options};
use crate::http::encode::{encode_path, encode_query};

/// Decodes what `encoding-type=url` encoded; `None` where the name is not UTF-8.
///
/// Amazon writes a space as `+` and a plus as `%2B` there.
pub(crate) fn decode_listed(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
}

/// Why a store's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{endpoint}` is no endpoint: {reason}")]
    Endpoint { endpoint: String, reason: String },
    #[error("`{bucket}` is no bucket name")]
    Bucket { bucket: String },
}

/// One bucket's address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// `http` or `https`, `://`, host and port, and the endpoint's own path if it has one.
    base: String,
    /// The value of the `Host` header.
    host: String,
    /// What stands before the key in a path: empty, or `/` and the bucket.
    bucket_path: String,
    /// The bucket.
    pub(crate) bucket: String,
    /// What every key begins with on the server.
    pub(crate) prefix: String,
    /// The endpoint as people know it.
    pub(crate) endpoint: String,
    secure: bool,
}

impl Address {
    pub(crate) fn new(options: &S3Options) -> Result<Self, AddressError> {
        let bucket = options.bucket.clone();
        // The name goes into host names and paths; S3's own rules are narrower, other servers' wider.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(plain) {
            return Err(AddressError::Bucket { bucket });
        }
        let endpoint = match &options.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None if options.region.starts_with("cn-") => format!("https://s3.{}.amazonaws.com.cn", options.region),
            None => format!("https://s3.{}.amazonaws.com", options.region),
        };
        let fault = |reason: &str| AddressError::Endpoint { endpoint: endpoint.clone(), reason: reason.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|e: http::uri::InvalidUri| fault(&e.to_string()))?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            Some(_) | None => return Err(fault("it must begin with `http://` or `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| fault("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fault("credentials do not belong there"));
        }
        if uri.query().is_some() {
            return Err(fault("it may not have a query"));
        }
        // The default port is left out of `Host`, as clients do: it is signed.
        let default_port = if scheme == "http" { 80 } else { 443 };
        let host = match uri.port_u16() {
            Some(port) if port != default_port => format!("{}:{port}", authority.host()),
            Some(_) | None => authority.host().to_owned(),
        };
        let own_path = uri.path().trim_end_matches('/');
        let in_path = match options.addressing {
            Addressing::Path => true,
            Addressing::VirtualHost => false,
            Addressing::Auto => options.endpoint.is_some() || bucket.contains('.'),
        };
        let (host, bucket_path) = match in_path {
            true => (host, format!("{own_path}/{bucket}")),
            false => (format!("{bucket}.{host}"), own_path.to_owned()),
        };
        let mut prefix = options.prefix.clone();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Ok(Self {
            base: format!("{scheme}://{host}"),
            host,
            bucket_path,
            bucket,
            prefix,
            endpoint,
            secure: scheme == "https",
        })
    }

    /// The value of the `Host` header.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether requests travel encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The full key on the server.
    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The address for people, from which [`parse_url`] reads bucket and prefix back.
    pub(crate) fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    /// The target of a request: an object's, or with no key the bucket's. The query's pairs are encoded here.
    pub(crate) fn target(&self, key: Option<&str>, query: &[(&str, String)]) -> String {
        let mut target = format!("{}{}", self.base, self.bucket_path);
        match key {
            Some(key) => {
                target.push('/');
                target.push_str(&encode_path(&self.prefix));
                target.push_str(&encode_path(key));
            }
            None if self.bucket_path.is_empty() => target.push('/'),
            None => {}
        }
        for (n, (name, value)) in query.iter().enumerate() {
            target.push(if n == 0 { '?' } else { '&' });
            target.push_str(name);
            // `uploads=`, not `uploads`: the two sign alike, and servers read them alike.
            target.push('=');
            target.push_str(&encode_query(value));
        }
        target
    }
}

/// Bucket and prefix of an [`Address::url`]: how a store finds the source of a part copy in another store.
pub(crate) fn parse_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("s3://")?.split_once('/')
}

/// The value of `x-amz-copy-source`.
pub(crate) fn copy_source(bucket: &str, full_key: &str) -> String {
    format!("/{bucket}/{}", encode_path(full_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(change: impl FnOnce(&mut S3Options)) -> Result<Address, AddressError> {
        let mut options = S3Options::new("lake", "corporate-data", "eu-west-2");
        change(&mut options);
        Address::new(&options)
    }

    #[test]
    fn keys_reach_the_request_target_byte_for_byte() {
        let at = address(|o| o.endpoint = Some("http://127.0.0.1:9000".into())).unwrap();
        for (key, path) in [
            ("a//b", "/corporate-data/a//b"),
            ("a/../b", "/corporate-data/a/../b"),
            ("./a", "/corporate-data/./a"),
            ("x y+z%2F", "/corporate-data/x%20y%2Bz%252F"),
            ("ü/ä", "/corporate-data/%C3%BC/%C3%A4"),
            ("/a", "/corporate-data//a"),
            ("a?b#c&d=e", "/corporate-data/a%3Fb%23c%26d%3De"),
        ] {
            let uri: Uri = at.target(Some(key), &[]).parse().unwrap();
            assert_eq!(uri.path(), path);
        }
    }

    #[test]
    fn buckets_go_into_the_host_on_amazon_and_into_the_path_elsewhere() {
        let target = |change: fn(&mut S3Options)| address(change).unwrap().target(Some("k"), &[]);
        assert_eq!(target(|_| {}), "https://corporate-data.s3.eu-west-2.amazonaws.com/k");
        assert_eq!(target(|o| o.bucket = "a.b".into()), "https://s3.eu-west-2.amazonaws.com/a.b/k");
        assert_eq!(target(|o| o.endpoint = Some("http://h:9/".into())), "http://h:9/corporate-data/k");
        assert_eq!(target(|o| o.endpoint = Some("http://h/base".into())), "http://h/base/corporate-data/k");
        let virtual_host = |o: &mut S3Options| {
            o.endpoint = Some("https://h:443".into());
            o.addressing = Addressing::VirtualHost;
        };
        assert_eq!(address(virtual_host).unwrap().target(None, &[]), "https://corporate-data.h/");
    }

    #[test]
    fn endpoints_that_would_leak_or_mislead_are_refused() {
        for bad in ["127.0.0.1:9000", "ftp://h", "http://user:secret@h", "http://h?x=y", "", "http://"] {
            assert!(address(|o| o.endpoint = Some(bad.into())).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "..", "a b", "a?b"] {
            assert!(address(|o| o.bucket = bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_encoded_and_empty_values_keep_their_equals_sign() {
        let at = address(|o| o.endpoint = Some("http://h".into())).unwrap();
        let query = [("uploads", String::new()), ("prefix", "a/b c+".into())];
        assert_eq!(at.target(None, &query), "http://h/corporate-data?uploads=&prefix=a%2Fb%20c%2B");
    }

    #[test]
    fn a_copy_finds_bucket_and_prefix_again() {
        for prefix in ["", "a", "a//b/", "/x/", "../y"] {
            let at = address(|o| o.prefix = prefix.into()).unwrap();
            assert_eq!(parse_url(&at.url()), Some(("corporate-data", at.prefix.as_str())));
        }
        assert_eq!(copy_source("b", "p/x y+ä/.."), "/b/p/x%20y%2B%C3%A4/..");
    }

    #[test]
    fn listed_names_decode_pluses_as_spaces() {
        assert_eq!(decode_listed("a+b%2Bc%252F%C3%A4").as_deref(), Some("a b+c%2Fä"));
        assert_eq!(decode_listed("%FF"), None);
    }
}
