//! Names of flows, runs, tasks and attempts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shared::SharedStr;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(SharedStr);

        impl $name {
            /// Takes a text of letters, digits, `-`, `_` and `.` that begins with a letter or digit.
            ///
            /// Errors: [`IdError`] for anything else.
            pub fn try_new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                match is_plain_name(&text) {
                    true => Ok(Self(text.into())),
                    false => Err(IdError { what: stringify!($name), text }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_id!(
    /// The name of a flow, as in `[flows.NAME]`.
    FlowName
);
text_id!(
    /// The name of a run, unique within its flow.
    RunId
);
text_id!(
    /// The random name of one attempt at a task.
    AttemptId
);
text_id!(
    /// The random name of one write, by which its author knows it again after a lost reply.
    WriteId
);

/// A text that is no name: other characters than letters, digits, `-`, `_`, `.`, or more than 128 of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no {what}: letters, digits, `-`, `_` and `.` are allowed, 128 at most, the first a letter or digit"
)]
pub struct IdError {
    what: &'static str,
    text: String,
}

fn is_plain_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The number of a task within its run, dense from 0 over all stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

impl TaskId {
    /// Tasks that share one marks directory; a bucket is the unit in which completion is detected.
    pub const PER_BUCKET: u32 = 1000;

    /// The bucket that holds this task's mark.
    pub fn bucket(self) -> u32 {
        self.0 / Self::PER_BUCKET
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a log entry, dense from 1; 0 stands before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogSeq(pub u64);

impl LogSeq {
    /// The number behind this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LogSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_separators_or_spaces_are_refused() {
        for bad in ["", "a/b", "a b", ".a", "-a", "ä"] {
            assert!(FlowName::try_new(bad).is_err(), "{bad}");
        }
        for good in ["audit", "a.b-c_d", "0"] {
            assert_eq!(FlowName::try_new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_bucket_holds_a_thousand_tasks() {
        assert_eq!([0, 999, 1000].map(|n| TaskId(n).bucket()), [0, 0, 1]);
    }
}
