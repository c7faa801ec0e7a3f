//! Versions of objects, and the stamp by which Baler knows its own.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AttemptId, FlowName, Key, RunId, SharedStr, TaskId};

/// One version of an object, as far as a store can name it.
///
/// On S3 the etag is kept as the server writes it, without its quotes. On a disk it is
/// `{inode}-{size}-{modification time}` in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// The entity tag.
    pub etag: SharedStr,
}

impl ObjectVersion {
    /// Names a version by its etag.
    pub fn new(etag: impl Into<SharedStr>) -> Self {
        Self { etag: etag.into() }
    }
}

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.etag)
    }
}

/// An object as one listing showed it: what a plan pins and a claim holds.
///
/// Units: `size` in bytes. An overwritten object is a new input version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputVersion {
    /// The key.
    pub key: Key,
    /// Its etag.
    pub etag: SharedStr,
    /// Its size in bytes.
    pub size: u64,
    /// When the store says that it was written.
    pub modified: Timestamp,
}

impl InputVersion {
    /// The version without key, size and time.
    pub fn version(&self) -> ObjectVersion {
        ObjectVersion { etag: self.etag.clone() }
    }
}

/// The mark of ownership that every object written by a task carries: `{flow}/{run}/{task}/{attempt}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stamp {
    /// The flow that wrote it.
    pub flow: FlowName,
    /// The run of that flow.
    pub run: RunId,
    /// The task of that run.
    pub task: TaskId,
    /// The attempt at that task.
    pub attempt: AttemptId,
}

impl Stamp {
    /// The name of the user metadata entry that holds a stamp (`x-amz-meta-baler` on S3).
    pub const METADATA_NAME: &'static str = "baler";
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.flow, self.run, self.task, self.attempt)
    }
}

impl FromStr for Stamp {
    type Err = StampError;
    fn from_str(text: &str) -> Result<Self, StampError> {
        let fault = || StampError { text: text.to_owned() };
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or_else(fault);
        let (flow, run, task, attempt) = (next()?, next()?, next()?, next()?);
        let stamp = Self {
            flow: FlowName::try_new(flow).map_err(|_| fault())?,
            run: RunId::try_new(run).map_err(|_| fault())?,
            task: TaskId(task.parse().map_err(|_| fault())?),
            attempt: AttemptId::try_new(attempt).map_err(|_| fault())?,
        };
        if parts.next().is_some() || stamp.to_string() != text {
            return Err(fault());
        }
        Ok(stamp)
    }
}

impl TryFrom<String> for Stamp {
    type Error = StampError;
    fn try_from(text: String) -> Result<Self, StampError> {
        text.parse()
    }
}

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> String {
        stamp.to_string()
    }
}

/// A text that is no stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no stamp of the form flow/run/task/attempt")]
pub struct StampError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_text() {
        let text = "audit/20260101T000000-abc/17/k3x";
        assert_eq!(text.parse::<Stamp>().unwrap().to_string(), text);
    }

    #[test]
    fn only_the_exact_form_is_a_stamp() {
        for bad in ["", "a/b/1", "a/b/x/c", "a/b/1/c/d", "a/b/01/c", "a/b/-1/c"] {
            assert!(bad.parse::<Stamp>().is_err(), "{bad}");
        }
    }
}
