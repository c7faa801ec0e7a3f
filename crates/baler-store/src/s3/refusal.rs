//! Refusals: how they are read, and what they tell people.

use http::{HeaderMap, HeaderName, StatusCode};

use baler_model::Key;

use super::call::{Action, Call};
use super::client::Client;
use super::xml::{ErrorBody, error_body};
use crate::StoreError;
use crate::http::answer::text;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// An answer that says no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// S3's code; empty where the answer has no body.
    pub(crate) code: String,
    pub(crate) message: String,
    /// The region that the bucket is in, if the answer names it.
    pub(crate) region: Option<String>,
    pub(crate) request_id: Option<String>,
    /// What else it says about the cause.
    pub(crate) about: String,
}

impl Refusal {
    /// Whether it has this status.
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        self.status == status.as_u16()
    }
}

/// Reads an answer whose status says no.
pub(crate) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let found = error_body(body).unwrap_or_else(|| ErrorBody {
        // A proxy's page, or a server that answers in another language than XML: its first words are all there is.
        message: String::from_utf8_lossy(&body[..body.len().min(200)]).split_whitespace().collect::<Vec<_>>().join(" "),
        ..ErrorBody::default()
    });
    from_body(status, headers, found)
}

/// Puts a refusal together from its body.
pub(crate) fn from_body(status: u16, headers: &HeaderMap, body: ErrorBody) -> Refusal {
    Refusal {
        status,
        code: body.code,
        message: body.message,
        region: body.region.or_else(|| text(headers, BUCKET_REGION).map(str::to_owned)),
        request_id: body.request_id.or_else(|| text(headers, REQUEST_ID).map(str::to_owned)),
        about: body.about,
    }
}

/// The status that a code has when it does not hide behind a 200. What is unknown counts as the server's own failure.
pub(crate) fn status_of(code: &str) -> u16 {
    match code {
        "PreconditionFailed" => 412,
        "NoSuchKey" | "NoSuchUpload" | "NoSuchBucket" | "NoSuchVersion" => 404,
        "AccessDenied" | "InvalidObjectState" => 403,
        "ConditionalRequestConflict" | "OperationAborted" => 409,
        "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" | "EntityTooLarge" | "InvalidArgument"
        | "InvalidRequest" | "BadDigest" | "MalformedXML" => 400,
        _ => 500,
    }
}

/// A refusal in one line: its code, words, status and request id.
pub(crate) fn detail(refusal: &Refusal) -> String {
    let mut line = match (refusal.code.as_str(), refusal.message.as_str()) {
        ("", "") => String::new(),
        ("", words) => format!("{words} "),
        (code, "") => format!("{code} "),
        (code, words) => format!("{code}: {words} "),
    };
    let bare = line.is_empty();
    line.push_str(&format!("{}HTTP {}", if bare { "" } else { "(" }, refusal.status));
    if let Some(id) = &refusal.request_id {
        line.push_str(&format!(", request id {id}"));
    }
    if !bare {
        line.push(')');
    }
    line
}

/// Whether the server refuses the checksum headers, not the bytes.
pub(crate) fn is_about_checksums(refusal: &Refusal) -> bool {
    let names_them = format!("{} {} {}", refusal.code, refusal.message, refusal.about).to_ascii_lowercase();
    matches!(refusal.status, 400 | 501)
        && !matches!(refusal.code.as_str(), "BadDigest" | "XAmzContentChecksumMismatch")
        && (names_them.contains("checksum") || names_them.contains("x-amz-sdk") || names_them.contains("crc64"))
}

impl Client {
    /// What a call does, with its key, for messages.
    pub(crate) fn doing(&self, call: &Call<'_>) -> String {
        match call.key {
            Some(key) => format!("{} `{key}`", call.action.doing()),
            None => format!("{} `{}`", call.action.doing(), self.info.url),
        }
    }

    pub(crate) fn not_found(&self, key: &str) -> StoreError {
        StoreError::NotFound { store: self.info.name.clone(), key: Key::from_listed(key) }
    }

    pub(crate) fn failed(&self, call: &Call<'_>, detail: impl Into<String>) -> StoreError {
        StoreError::Failed { store: self.info.name.clone(), doing: self.doing(call), detail: detail.into() }
    }

    pub(crate) fn exhausted(&self, call: &Call<'_>, tries: u32, detail: String) -> StoreError {
        StoreError::Exhausted { store: self.info.name.clone(), doing: self.doing(call), tries, detail }
    }

    pub(crate) fn untrusted(&self, call: &Call<'_>, detail: String) -> StoreError {
        StoreError::Denied {
            store: self.info.name.clone(),
            doing: self.doing(call),
            detail: format!("the certificate of {} is not trusted: {detail}", self.address.endpoint),
            hint: Some("name the authority that signed it in `AWS_CA_BUNDLE`".into()),
        }
    }

    /// The error that a refusal is, where the caller has no better use for it.
    pub(crate) fn refused(&self, call: &Call<'_>, refusal: &Refusal) -> StoreError {
        let (store, doing) = (self.info.name.clone(), self.doing(call));
        let bucket = &self.address.bucket;
        let said = detail(refusal);
        let denied = |hint: String| StoreError::Denied {
            store: store.clone(),
            doing: doing.clone(),
            detail: said.clone(),
            hint: Some(hint),
        };
        let elsewhere = refusal.region.as_deref().filter(|region| *region != self.options.region);
        match (refusal.status, refusal.code.as_str()) {
            (_, "NoSuchBucket") => StoreError::Unsupported {
                store: store.clone(),
                doing: doing.clone(),
                detail: format!("there is no bucket `{bucket}`: {said}"),
                hint: Some(format!("create the bucket, or correct the address of `{store}` in `[stores]`")),
            },
            (301 | 307 | 308 | 400, _) if elsewhere.is_some() => {
                denied(format!("the bucket is in another region: set `region = \"{}\"`", elsewhere.unwrap_or_default()))
            }
            (301 | 307 | 308, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => denied(format!(
                "the bucket is in another region than `{}`, or at another endpoint than {}",
                self.options.region, self.address.endpoint
            )),
            (_, "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException") => {
                denied("the credentials have expired and new ones were refused too: sign in again".into())
            }
            (_, "RequestTimeTooSkewed" | "RequestExpired") => {
                denied("the clock of this machine is wrong: synchronise it".into())
            }
            (_, "InvalidAccessKeyId" | "InvalidToken") => {
                denied("the server does not know these credentials: are they for another account or endpoint?".into())
            }
            (_, "SignatureDoesNotMatch") => denied("the secret key does not belong to the access key".into()),
            (401 | 403, code) => {
                let allow = format!("allow `{}` on bucket `{bucket}` for these credentials", call.action.permission());
                // The answer to a HEAD has no body, and so no reason.
                denied(if code.is_empty() { format!("check the keys and the clock; else {allow}") } else { allow })
            }
            // Of a write, a 404 says that the server cannot take the key or has no such upload.
            (404, "NoSuchKey" | "NoSuchVersion" | "") if matches!(call.action, Action::Get | Action::Head) => {
                self.not_found(call.key.unwrap_or_default())
            }
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded") => {
                StoreError::NoRoom { store, doing, detail: said }
            }
            (501, _) | (405, _) | (_, "KeyTooLongError" | "XMinioInvalidObjectName") => {
                StoreError::Unsupported { store, doing, detail: said, hint: None }
            }
            _ => StoreError::Failed { store, doing, detail: said },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_a_body_still_names_status_and_request_id() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, "R7".parse().unwrap());
        headers.insert(BUCKET_REGION, "eu-west-2".parse().unwrap());
        let refusal = read(403, &headers, b"");
        assert_eq!(detail(&refusal), "HTTP 403, request id R7");
        assert_eq!(refusal.region.as_deref(), Some("eu-west-2"));
    }

    #[test]
    fn a_damaged_body_is_not_a_server_without_checksums() {
        let refusal = |status, code: &str, message: &str| Refusal {
            status,
            code: code.into(),
            message: message.into(),
            ..Refusal::default()
        };
        assert!(is_about_checksums(&refusal(400, "InvalidRequest", "Unsupported x-amz-checksum-algorithm")));
        assert!(is_about_checksums(&refusal(501, "NotImplemented", "CRC64NVME is not implemented")));
        assert!(!is_about_checksums(&refusal(400, "BadDigest", "The CRC64NVME you specified did not match")));
        assert!(!is_about_checksums(&refusal(400, "InvalidArgument", "bad tag")));
        assert!(!is_about_checksums(&refusal(403, "AccessDenied", "checksum")));
    }

    #[test]
    fn errors_behind_a_200_get_the_status_that_they_hide() {
        assert_eq!(status_of("PreconditionFailed"), 412);
        assert_eq!(status_of("InternalError"), 500);
        assert_eq!(status_of("SomethingNew"), 500);
    }
}
