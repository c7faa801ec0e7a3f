//! How GCS refuses, and what its refusals ask for.

use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::http::answer::text;
use crate::http::line::{Dialect, Judgement, Refusal};

/// The code of a bucket that is not there: GCS says `notFound` of objects and of buckets.
pub(crate) const NO_BUCKET: &str = "bucketNotFound";

const UPLOAD_ID: HeaderName = HeaderName::from_static("x-guploader-uploadid");

/// That of the JSON API.
pub(crate) const DIALECT: Dialect = Dialect { read, judge, hint };

#[derive(Deserialize)]
struct Answer {
    error: Fault,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
}

fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let request_id = text(headers, UPLOAD_ID).map(str::to_owned);
    let (code, message) = match serde_json::from_slice::<Answer>(body) {
        Ok(Answer { error }) => {
            (error.errors.into_iter().next().map(|first| first.reason).unwrap_or_default(), error.message)
        }
        // Reads of bytes are refused in plain words.
        Err(_) => (String::new(), Refusal::first_words(body)),
    };
    let code = match status == 404 && message.contains("bucket does not exist") {
        true => NO_BUCKET.to_owned(),
        false => code,
    };
    Refusal { status, code, message, request_id }
}

fn judge(refusal: &Refusal) -> Judgement {
    match refusal.status {
        408 | 429 | 500 | 502 | 503 | 504 => Judgement::Again,
        // The bytes were damaged on the way; we still have them.
        400 if refusal.message.contains("match calculated") => Judgement::Again,
        _ => Judgement::Final,
    }
}

fn hint(refusal: &Refusal, doing: &str) -> Option<String> {
    match (refusal.status, refusal.code.as_str()) {
        (_, NO_BUCKET) => Some("create the bucket, or correct its name in `[stores]`".into()),
        (401, _) => Some(
            "name a service account's key file in `GOOGLE_APPLICATION_CREDENTIALS`, or run where the metadata server \
             gives tokens; check this machine's clock"
                .into(),
        ),
        (403, _) => Some(format!(
            "the service account must be allowed to {doing}: the role Storage Object User \
             (`roles/storage.objectUser`) on the bucket has all that is asked for"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_json_or_plain_words() {
        let mut headers = HeaderMap::new();
        headers.insert(UPLOAD_ID, "R7".parse().unwrap());
        let body = br#"{"error":{"code":412,"message":"At least one of the pre-conditions you specified did not hold.",
            "errors":[{"message":"","domain":"global","reason":"conditionNotMet"}]}}"#;
        assert_eq!(
            read(412, &headers, body).detail(),
            "conditionNotMet: At least one of the pre-conditions you specified did not hold. (HTTP 412, request id R7)"
        );
        assert_eq!(read(404, &HeaderMap::new(), b"No such object: b/k").detail(), "No such object: b/k (HTTP 404)");
        let bucket = br#"{"error":{"code":404,"message":"The specified bucket does not exist.",
            "errors":[{"reason":"notFound"}]}}"#;
        assert_eq!(read(404, &HeaderMap::new(), bucket).code, NO_BUCKET);
        assert_eq!(read(404, &HeaderMap::new(), br#"{"error":{"message":"No such object"}}"#).code, "");
    }

    #[test]
    fn a_busy_server_is_asked_again_and_conditions_are_answers() {
        let of = |status, message: &str| Refusal { status, message: message.into(), ..Refusal::default() };
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(judge(&of(status, "")), Judgement::Again, "{status}");
        }
        for status in [400, 401, 403, 404, 409, 412, 501] {
            assert_eq!(judge(&of(status, "")), Judgement::Final, "{status}");
        }
        let damaged = r#"Provided CRC32C "AAAAAA==" doesn't match calculated CRC32C "yZRlqg=="."#;
        assert_eq!(judge(&of(400, damaged)), Judgement::Again);
    }
}
