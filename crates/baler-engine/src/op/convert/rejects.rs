//! What is set aside: a JSON line for each record that was not taken, and for each stretch of an object that cannot be read.

use baler_format::decode::{Position, Rejected};
use baler_model::{InputVersion, Key};
use serde::Serialize;

/// Something that was set aside.
#[derive(Debug, Clone)]
pub(crate) struct SetAside {
    /// Where it stood; nothing for an object that cannot be read at all.
    pub(crate) position: Option<Position>,
    pub(crate) reason: String,
    /// Its first bytes.
    pub(crate) raw: Vec<u8>,
}

impl SetAside {
    /// A stretch of an object, or the whole of it.
    pub(crate) fn stretch(position: Option<Position>, reason: String) -> Self {
        Self { position, reason, raw: Vec::new() }
    }

    /// Where it stood in the object of this key, and why it was not taken.
    pub(super) fn told_of(&self, key: &Key) -> String {
        let reason = &self.reason;
        match self.position {
            None => format!("`{key}`: {reason}"),
            Some(Position::Line { line, .. }) => format!("`{key}`, line {line}: {reason}"),
            Some(Position::Row(row)) => format!("`{key}`, row {row}: {reason}"),
        }
    }
}

impl From<Rejected> for SetAside {
    fn from(rejected: Rejected) -> Self {
        let Rejected { position, reason, raw } = rejected;
        Self { position: Some(position), reason: reason.to_string(), raw }
    }
}

/// A line of a quarantine file. Units: `offset` in decompressed bytes from 0; `line` and `row` from 1.
#[derive(Debug, Serialize)]
struct Line<'a> {
    key: &'a str,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    reason: &'a str,
    /// The record as it stood, as far as it is UTF-8: bytes that are not are shown as `�`.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<std::borrow::Cow<'a, str>>,
}

/// Appends a line.
pub(crate) fn write_line(input: &InputVersion, aside: &SetAside, out: &mut Vec<u8>) {
    let (line, offset, row) = match aside.position {
        None => (None, None, None),
        Some(Position::Line { line, offset }) => (Some(line), Some(offset), None),
        Some(Position::Row(row)) => (None, None, Some(row)),
    };
    let raw = (!aside.raw.is_empty()).then(|| String::from_utf8_lossy(&aside.raw));
    let line = Line { key: input.key.as_str(), etag: &input.etag, line, offset, row, reason: &aside.reason, raw };
    serde_json::to_writer(&mut *out, &line).expect("writing to memory cannot fail");
    out.push(b'\n');
}
