//! What a refusal asks for: another try, other credentials, another time, or nothing.

use std::time::Duration;

use super::call::Action;
use super::refusal::Refusal;

/// Clocks further apart than this are corrected; the server itself tolerates fifteen minutes.
const LARGEST_GAP: Duration = Duration::from_secs(10 * 60);

/// What a refusal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is the answer.
    Final,
    /// The same request may succeed later.
    Again,
    /// The credentials have expired: with new ones it may succeed.
    Expired,
    /// Our clock is off: with the server's time it may succeed.
    Skewed,
}

/// Judges a refusal. `gap` is how far our clock is from the server's, as far as it showed its own.
pub(crate) fn judge(refusal: &Refusal, action: Action, gap: Option<Duration>) -> Judgement {
    match refusal.code.as_str() {
        "SlowDown"
        | "RequestTimeout"
        | "InternalError"
        | "ServiceUnavailable"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "IncompleteBody" => return Judgement::Again,
        // A conflicting call overlapped ours and nothing is decided. Source: S3 API, PutObject, CompleteMultipartUpload.
        "ConditionalRequestConflict" | "OperationAborted" => return Judgement::Again,
        "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" => return Judgement::Expired,
        "RequestTimeTooSkewed" | "RequestExpired" => return Judgement::Skewed,
        // The bytes were damaged on the way; we still have them. A completion only names them.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch"
            if matches!(action, Action::Put | Action::WritePart) =>
        {
            return Judgement::Again;
        }
        _ => {}
    }
    match refusal.status {
        500 | 502 | 503 | 504 | 429 | 408 => Judgement::Again,
        // Without a code that says otherwise, a conflict is undecided.
        409 if refusal.code.is_empty() => Judgement::Again,
        // The answer to a HEAD has no body that could name the cause.
        403 if refusal.code.is_empty() && gap.is_some_and(|gap| gap > LARGEST_GAP) => Judgement::Skewed,
        400 if refusal.code.is_empty() && action == Action::Head => Judgement::Expired,
        _ => Judgement::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal { status, code: code.into(), ..Refusal::default() }
    }

    #[test]
    fn throttling_and_conflicts_are_tried_again_and_conditions_are_answers() {
        use Judgement::{Again, Expired, Final, Skewed};
        for (status, code, wanted) in [
            (503, "SlowDown", Again),
            (500, "", Again),
            (502, "", Again),
            (504, "", Again),
            (429, "", Again),
            (400, "RequestTimeout", Again),
            (409, "ConditionalRequestConflict", Again),
            (409, "OperationAborted", Again),
            (409, "BucketNotEmpty", Final),
            (412, "PreconditionFailed", Final),
            (404, "NoSuchKey", Final),
            (403, "AccessDenied", Final),
            (501, "NotImplemented", Final),
            (400, "ExpiredToken", Expired),
            (403, "RequestTimeTooSkewed", Skewed),
        ] {
            assert_eq!(judge(&refusal(status, code), Action::Put, None), wanted, "{status} {code}");
        }
    }

    #[test]
    fn bytes_damaged_on_the_way_are_sent_again_and_a_wrong_completion_is_not() {
        assert_eq!(judge(&refusal(400, "BadDigest"), Action::WritePart, None), Judgement::Again);
        assert_eq!(judge(&refusal(400, "BadDigest"), Action::Complete, None), Judgement::Final);
    }

    #[test]
    fn a_head_shows_a_wrong_clock_by_its_date_only() {
        let off = Some(Duration::from_secs(3600));
        assert_eq!(judge(&refusal(403, ""), Action::Head, off), Judgement::Skewed);
        assert_eq!(judge(&refusal(403, ""), Action::Head, Some(Duration::from_secs(5))), Judgement::Final);
        assert_eq!(judge(&refusal(403, "AccessDenied"), Action::Get, off), Judgement::Final);
    }
}
