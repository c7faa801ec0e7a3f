//! Requests before they are sent: what they do, what they need, what they count as.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::{HeaderName, Method};

use crate::Meter;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    List,
    Head,
    Get,
    Put,
    Begin,
    WritePart,
    CopyPart,
    Complete,
    Abort,
    ListParts,
    ListUploads,
    Delete,
    Lifecycle,
    Versioning,
}

impl Action {
    pub(crate) fn method(self) -> Method {
        match self {
            Self::List | Self::Get | Self::ListParts | Self::ListUploads | Self::Lifecycle | Self::Versioning => {
                Method::GET
            }
            Self::Head => Method::HEAD,
            Self::Put | Self::WritePart | Self::CopyPart => Method::PUT,
            Self::Begin | Self::Complete => Method::POST,
            Self::Abort | Self::Delete => Method::DELETE,
        }
    }

    /// What it does, to be followed by the key.
    pub(crate) fn doing(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Head => "look at",
            Self::Get => "read",
            Self::Put => "write",
            Self::Begin => "begin an upload of",
            Self::WritePart => "upload a part of",
            Self::CopyPart => "copy a part into",
            Self::Complete => "complete the upload of",
            Self::Abort => "abort an upload of",
            Self::ListParts => "list the parts of",
            Self::ListUploads => "list the uploads of",
            Self::Delete => "delete",
            Self::Lifecycle => "read the lifecycle rules of",
            Self::Versioning => "read the versioning of",
        }
    }

    /// What a policy must allow for it.
    pub(crate) fn permission(self) -> &'static str {
        match self {
            Self::List => "s3:ListBucket",
            // Without s3:ListBucket a missing key is answered by 403, not 404.
            Self::Head | Self::Get => "s3:GetObject` and `s3:ListBucket",
            Self::Put | Self::Begin | Self::WritePart | Self::Complete => "s3:PutObject",
            Self::CopyPart => "s3:PutObject` here and `s3:GetObject` on the source, `s3:ListBucket",
            Self::Abort => "s3:AbortMultipartUpload",
            Self::ListParts => "s3:ListMultipartUploadParts",
            Self::ListUploads => "s3:ListBucketMultipartUploads",
            Self::Delete => "s3:DeleteObject",
            Self::Lifecycle => "s3:GetLifecycleConfiguration",
            Self::Versioning => "s3:GetBucketVersioning",
        }
    }

    pub(crate) fn counter(self, meter: &Meter) -> &AtomicU64 {
        match self {
            Self::List | Self::ListParts | Self::ListUploads => &meter.list,
            Self::Get | Self::Lifecycle | Self::Versioning => &meter.get,
            Self::Head => &meter.head,
            Self::Put | Self::Begin | Self::WritePart | Self::Complete => &meter.put,
            Self::CopyPart => &meter.copy,
            Self::Abort | Self::Delete => &meter.delete,
        }
    }

    /// Whether the server works on bytes that it has, takes minutes over it, and may begin a 200 before it knows how
    /// that ends. Source: S3 API, CompleteMultipartUpload.
    pub(crate) fn may_answer_late(self) -> bool {
        matches!(self, Self::Complete | Self::CopyPart)
    }

    pub(crate) fn carries_object_bytes(self) -> bool {
        matches!(self, Self::Put | Self::WritePart)
    }
}

/// One request, without what every request has.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) action: Action,
    /// The key within the store; `None` is the bucket.
    pub(crate) key: Option<&'a str>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: &'a [Bytes],
}

impl<'a> Call<'a> {
    pub(crate) fn new(action: Action, key: Option<&'a str>) -> Self {
        Self { action, key, query: Vec::new(), headers: Vec::new(), body: &[] }
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a header that only S3 knows; `name` in lower case.
    pub(crate) fn amz(self, name: &'static str, value: impl Into<String>) -> Self {
        self.header(HeaderName::from_static(name), value)
    }

    pub(crate) fn body(mut self, body: &'a [Bytes]) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn body_len(&self) -> u64 {
        self.body.iter().map(|c| c.len() as u64).sum()
    }

    pub(crate) fn is_bodiless(&self) -> bool {
        matches!(self.action.method(), Method::GET | Method::HEAD | Method::DELETE)
    }
}
