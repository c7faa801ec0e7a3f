//! What people see: quantities, tables, progress, reports. Programs get JSON instead.

pub(crate) mod progress;
pub(crate) mod quantity;
pub(crate) mod report;
pub(crate) mod table;

use std::io::{self, Write};

use serde::Serialize;

/// Writes to stdout. A reader that has gone away (`baler runs | head`) is no error.
///
/// Errors: whatever else keeps the text from being written.
pub(crate) fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes talk to stderr: errors, hints, notes. Talk that nobody can read (a full disk behind a log file) is no reason to
/// stop what is being done.
pub(crate) fn talk(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).unwrap_or_default();
}

/// Writes one JSON document to stdout, over several lines.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(out(&text)?)
}

/// The address of a key in a store, for people: `s3://bucket/prefix/key`, `/data/lake/key`.
pub(crate) fn address(url: &str, key: &str) -> String {
    format!("{}/{key}", url.trim_end_matches('/'))
}
