//! Which operation a request asks for, told from its line and headers alone, before the protocol library reads it.

use std::fmt;

use hyper::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

macro_rules! ops {
    ($($name:ident),* $(,)?) => {
        /// An operation of the S3 protocol that the server knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names are those of the S3 API")]
        pub enum Op { $($name),* }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the S3 API.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

ops!(
    ListBuckets,
    CreateBucket,
    HeadBucket,
    GetBucketLocation,
    GetBucketLifecycleConfiguration,
    GetBucketVersioning,
    ListObjectsV2,
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    CopyObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    ListParts,
    ListMultipartUploads,
    AbortMultipartUpload,
    CompleteMultipartUpload,
    Other,
);

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a request is about.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) op: Op,
    pub(super) bucket: String,
    /// Empty for operations on buckets.
    pub(super) key: String,
}

/// Reads what a path-style request is about.
pub(super) fn target(method: &Method, uri: &Uri, headers: &HeaderMap) -> Target {
    let path = percent_decode_str(uri.path()).decode_utf8_lossy().into_owned();
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let query = uri.query().unwrap_or("");
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let copies = headers.contains_key("x-amz-copy-source");
    let op = match (method.as_str(), bucket.is_empty(), key.is_empty()) {
        ("GET", true, _) => Op::ListBuckets,
        ("GET", false, true) if asks("location") => Op::GetBucketLocation,
        ("GET", false, true) if asks("lifecycle") => Op::GetBucketLifecycleConfiguration,
        ("GET", false, true) if asks("versioning") => Op::GetBucketVersioning,
        ("GET", false, true) if asks("uploads") => Op::ListMultipartUploads,
        ("GET", false, true) if asks("list-type") => Op::ListObjectsV2,
        ("PUT", false, true) if query.is_empty() => Op::CreateBucket,
        ("HEAD", false, true) => Op::HeadBucket,
        ("POST", false, true) if asks("delete") => Op::DeleteObjects,
        ("PUT", false, false) if asks("partNumber") && copies => Op::UploadPartCopy,
        ("PUT", false, false) if asks("partNumber") => Op::UploadPart,
        ("PUT", false, false) if copies => Op::CopyObject,
        ("PUT", false, false) => Op::PutObject,
        ("GET", false, false) if asks("uploadId") => Op::ListParts,
        ("GET", false, false) => Op::GetObject,
        ("HEAD", false, false) => Op::HeadObject,
        ("DELETE", false, false) if asks("uploadId") => Op::AbortMultipartUpload,
        ("DELETE", false, false) => Op::DeleteObject,
        ("POST", false, false) if asks("uploads") => Op::CreateMultipartUpload,
        ("POST", false, false) if asks("uploadId") => Op::CompleteMultipartUpload,
        _ => Op::Other,
    };
    Target { op, bucket: bucket.to_owned(), key: key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_from_method_and_query() {
        let cases = [
            ("PUT", "/b/k", Op::PutObject),
            ("PUT", "/b/k?partNumber=1&uploadId=u", Op::UploadPart),
            ("POST", "/b/k?uploads", Op::CreateMultipartUpload),
            ("POST", "/b/k?uploads=", Op::CreateMultipartUpload),
            ("POST", "/b/k?uploadId=u", Op::CompleteMultipartUpload),
            ("GET", "/b?list-type=2&prefix=uploads", Op::ListObjectsV2),
            ("GET", "/b/?uploads", Op::ListMultipartUploads),
            ("DELETE", "/b/k?uploadId=u", Op::AbortMultipartUpload),
            ("HEAD", "/b", Op::HeadBucket),
        ];
        for (method, uri, op) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(target(&method, &uri.parse().unwrap(), &HeaderMap::new()).op, op, "{method} {uri}");
        }
    }

    #[test]
    fn keys_are_decoded_once() {
        let found = target(&Method::GET, &"/b//a%252F%20+..%2F/".parse().unwrap(), &HeaderMap::new());
        assert_eq!((found.bucket.as_str(), found.key.as_str()), ("b", "/a%2F +..//"));
    }
}
