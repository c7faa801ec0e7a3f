//! What an error of PostgreSQL means: whose it is, whether it passes, what to do about it.
//!
//! Source: PostgreSQL, appendix A (error codes); the first two letters of a code are its class.

use std::error::Error as StdError;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::UpsertError;

const LOST: &str = "the connection was lost: see that the server runs and can be reached; `baler run` goes on";
const ABSENT: &str = "see that the server runs, that the URL has its host and port, and that connections from here are let \
                      through; `baler run` goes on";
const REFUSED: &str = "correct the URL: `postgres://user:password@host/database`; `sslmode=require` wants a server that has TLS \
                       (`ssl = on`)";
#[cfg(feature = "tls")]
const UNTRUSTED: &str = "its certificate is always verified, by the name that the URL has for it: let `SSL_CERT_FILE` name the \
                         authorities to trust (PEM) where they are not the system's, or say `sslmode=disable` in the URL where \
                         nobody can be on the way";

/// An error of a session that stands.
pub(super) fn failed(database: &str, error: Error) -> UpsertError {
    let code = error.code().map(SqlState::code);
    let hint = code.map_or(LOST, hint);
    UpsertError::Database {
        database: database.to_owned(),
        is_transient: code.is_none_or(is_transient),
        hint,
        source: Box::new(error),
    }
}

/// An error while a session is made.
pub(super) fn unopened(database: &str, error: Error) -> UpsertError {
    let (is_transient, hint) = match error.code().map(SqlState::code) {
        Some(code) => (is_transient(code), hint(code)),
        None => unanswered(&error),
    };
    UpsertError::Unopened { database: database.to_owned(), is_transient, hint, source: Box::new(error) }
}

/// What an error means that the server did not send.
fn unanswered(error: &Error) -> (bool, &'static str) {
    #[cfg(feature = "tls")]
    match tls(error) {
        Some(rustls::Error::InvalidCertificate(_)) => return (false, UNTRUSTED),
        Some(_) => return (false, "server and client share no way to encrypt, or the server wants a certificate"),
        None => {}
    }
    match error.source() {
        // The network, or a server that hung up.
        None => (true, ABSENT),
        Some(cause) if cause.is::<std::io::Error>() => (true, ABSENT),
        // The library says no itself: no password in the URL, no TLS on the server, a way to log in that it does not know.
        Some(_) => (false, REFUSED),
    }
}

#[cfg(feature = "tls")]
fn tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    // `source` of an I/O error skips the error that it wraps.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.and_then(|error| tls(error)).or_else(|| error.source().and_then(tls))
}

/// Connection lost, resources short, shut down, rolled back for another's sake.
fn is_transient(code: &str) -> bool {
    ["08", "40", "53", "55", "57"].contains(&class(code))
}

fn class(code: &str) -> &str {
    code.get(..2).unwrap_or(code)
}

/// What to do about an error of this code.
fn hint(code: &str) -> &'static str {
    match code {
        "25006" => {
            "the server takes no writes: let the URL lead to the primary, or name all servers and say \
                    `target_session_attrs=read-write`"
        }
        "3F000" => "`CREATE SCHEMA` it, or name another in `upsert.table`",
        "42501" => {
            "`GRANT` the user of the URL SELECT, INSERT and UPDATE on the table and TEMPORARY on the database; \
                    `create = true` wants CREATE on the schema too"
        }
        "53100" => "the server's disk is full: make room; `baler run` goes on",
        "53300" => {
            "the server has no connection left: raise `max_connections`, or end other sessions; `baler run` goes on"
        }
        "55P03" => {
            "another session holds the table, for longer than `lock_timeout` (60 s where the server, the user and the URL \
                    say nothing): `pg_locks` tells which; `baler run` goes on when it has ended"
        }
        "57014" => {
            "a statement was cancelled, by `statement_timeout` or by somebody: raise it for the user of the URL, or let \
                    `split.chunk` be smaller"
        }
        "57P03" => "the server is starting or recovering; `baler run` goes on when it takes connections",
        _ => match class(code) {
            "08" => LOST,
            "0A" => "the table is of a kind that takes no upserts; name the one behind it",
            "22" | "23" | "44" => {
                "a constraint that is checked at the end of the transaction refuses records of the batch: make it \
                                   NOT DEFERRABLE, so that it tells which"
            }
            "28" => {
                "see that user and password in the URL are right, and that `pg_hba.conf` lets that user in from here; where \
                     it wants encryption, say `sslmode=require`"
            }
            "3D" => "`CREATE DATABASE` it, or correct the URL",
            "40" => "other sessions write the same rows in another order; `baler run` goes on",
            "42" => "the table, or a trigger on it, is not as the flow needs it: correct what PostgreSQL names",
            "53" => "the server is short of what it names; `baler run` goes on when it has more",
            "55" => "what it names is being used or changed; `baler run` goes on when that has ended",
            "57" => "the server was stopped, or ended the session; `baler run` goes on when it takes connections",
            "58" | "XX" => "the server itself is in trouble: its log tells more",
            _ => "correct what PostgreSQL names, in the table or in the URL",
        },
    }
}

/// Whether an error is of a record: a value, a constraint, what a trigger raises, keys that are one only in the table's type.
pub(super) fn is_of_record(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(class(code.code()), "22" | "23" | "44")
            || *code == SqlState::RAISE_EXCEPTION
            || *code == SqlState::CARDINALITY_VIOLATION
            || *code == SqlState::PROGRAM_LIMIT_EXCEEDED
    })
}

pub(super) fn words(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => match error.detail() {
            Some(detail) => format!("{} ({detail})", error.message()),
            None => error.message().to_owned(),
        },
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_has_to_be_put_right() {
        for code in ["08006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["25006", "28P01", "28000", "3D000", "3F000", "42501", "42P01", "XX000", ""] {
            assert!(!is_transient(code), "{code}");
        }
        assert!(hint("55P03").contains("another session holds the table"));
        assert!(hint("42501").contains("GRANT") && hint("42601").contains("PostgreSQL names"));
    }
}
