//! How Azure refuses, and what its refusals ask for.

use http::{HeaderMap, HeaderName};

use crate::http::answer::text;
use crate::http::line::{Dialect, Judgement, Refusal};
use crate::http::xml::root;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// Azure's.
pub(crate) const DIALECT: Dialect = Dialect { read, judge, hint };

fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let request_id = text(headers, REQUEST_ID).map(str::to_owned);
    let in_header = text(headers, ERROR_CODE).map(str::to_owned);
    match root(body, "Error") {
        Ok(error) => Refusal {
            status,
            code: in_header.or_else(|| error.text_of("Code").map(str::to_owned)).unwrap_or_default(),
            // The rest repeats request id and time.
            message: error.text_of("Message").and_then(|m| m.lines().next()).unwrap_or_default().trim().to_owned(),
            request_id,
        },
        Err(_) => {
            Refusal { status, code: in_header.unwrap_or_default(), message: Refusal::first_words(body), request_id }
        }
    }
}

fn judge(refusal: &Refusal) -> Judgement {
    match refusal.code.as_str() {
        "ServerBusy" | "InternalError" | "OperationTimedOut" | "ContainerBeingDeleted" | "AccountBeingCreated" => {
            return Judgement::Again;
        }
        // The bytes were damaged on the way; we still have them.
        "Md5Mismatch" | "Crc64Mismatch" => return Judgement::Again,
        _ => {}
    }
    match refusal.status {
        500 | 502 | 503 | 504 | 429 | 408 => Judgement::Again,
        _ => Judgement::Final,
    }
}

fn hint(refusal: &Refusal, doing: &str) -> Option<String> {
    match (refusal.status, refusal.code.as_str()) {
        (_, "ContainerNotFound" | "ContainerDisabled") => {
            Some("create the container, or correct the address in `[stores]`".into())
        }
        (_, "AuthenticationFailed") => Some(
            "check `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`, their account, and this machine's clock".into(),
        ),
        (_, "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions") => {
            Some(format!("the SAS token does not allow to {doing}: it needs read, write, create, delete and list"))
        }
        (401 | 403, _) => Some(format!(
            "the key or SAS token must belong to the account and allow to {doing}: `AZURE_STORAGE_KEY`, \
             `AZURE_STORAGE_SAS_TOKEN` or `AZURE_STORAGE_CONNECTION_STRING`, as for the Azure CLI"
        )),
        (409, "SnapshotsPresent") => Some("the blob has snapshots, which are kept: delete them, or keep it".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_header_and_body() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, "R7".parse().unwrap());
        let body = "\u{feff}<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code><Message>Gone.\nRequestId:R7\n\
                    Time:2026</Message></Error>";
        assert_eq!(read(404, &headers, body.as_bytes()).detail(), "BlobNotFound: Gone. (HTTP 404, request id R7)");
        headers.insert(ERROR_CODE, "ContainerNotFound".parse().unwrap());
        assert_eq!(read(404, &headers, b"").detail(), "ContainerNotFound (HTTP 404, request id R7)");
        assert!(hint(&read(404, &headers, b""), "list").is_some());
    }

    #[test]
    fn a_busy_server_is_asked_again_and_conditions_are_answers() {
        for (status, code, wanted) in [
            (503, "ServerBusy", Judgement::Again),
            (500, "", Judgement::Again),
            (400, "Md5Mismatch", Judgement::Again),
            (409, "BlobAlreadyExists", Judgement::Final),
            (412, "ConditionNotMet", Judgement::Final),
            (404, "BlobNotFound", Judgement::Final),
            (403, "AuthenticationFailed", Judgement::Final),
        ] {
            let refusal = Refusal { status, code: code.into(), ..Refusal::default() };
            assert_eq!(judge(&refusal), wanted, "{status} {code}");
        }
    }
}
