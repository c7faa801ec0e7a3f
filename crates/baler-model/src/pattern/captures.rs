//! What the placeholders of a pattern found in a key.

use std::fmt;

use jiff::Timestamp;

use super::matcher::Ranges;
use super::{FieldKind, Pattern};
use crate::time_format::Unit;

/// What the placeholders of a pattern found in a key: ranges into the key, nothing allocated.
#[derive(Clone, Copy)]
pub struct Captures<'a> {
    pattern: &'a Pattern,
    key: &'a str,
    ranges: Ranges,
}

/// A captured text with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Int {
        /// As captured, leading zeros included.
        text: &'a str,
        /// The number.
        value: u128,
    },
    /// A time.
    Time {
        /// As captured.
        text: &'a str,
        /// The first instant of what the text names, UTC.
        timestamp: Timestamp,
        /// The finest part that the text gives.
        unit: Unit,
    },
}

impl<'a> Value<'a> {
    /// The text as captured.
    pub fn text(&self) -> &'a str {
        match self {
            Value::Text(text) | Value::Int { text, .. } | Value::Time { text, .. } => text,
        }
    }
}

impl<'a> Captures<'a> {
    pub(super) fn new(pattern: &'a Pattern, key: &'a str, ranges: Ranges) -> Self {
        Self { pattern, key, ranges }
    }

    /// The key that was matched.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The pattern that it matched.
    pub fn pattern(&self) -> &'a Pattern {
        self.pattern
    }

    /// The text captured under a name; `None` for a name that the pattern lacks.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.pattern.slot(name).map(|slot| self.slot_text(slot))
    }

    /// The value captured under a name; `None` for a name that the pattern lacks.
    pub fn value(&self, name: &str) -> Option<Value<'a>> {
        self.pattern.slot(name).map(|slot| self.slot_value(slot))
    }

    pub(crate) fn slot_text(&self, slot: usize) -> &'a str {
        let (start, end) = self.ranges[slot];
        &self.key[start as usize..end as usize]
    }

    pub(crate) fn slot_value(&self, slot: usize) -> Value<'a> {
        let text = self.slot_text(slot);
        let unchanged = "the matcher took only what this reads";
        match self.pattern.field_kind(slot).expect("each slot has a field") {
            FieldKind::Text | FieldKind::Regex { .. } => Value::Text(text),
            FieldKind::Int => Value::Int { text, value: text.parse().expect(unchanged) },
            FieldKind::Epoch => {
                Value::Time { text, timestamp: epoch_timestamp(text).expect(unchanged), unit: Unit::Second }
            }
            FieldKind::Time(format) => {
                let (_, timestamp) = format.read(text).expect(unchanged);
                Value::Time { text, timestamp, unit: format.unit() }
            }
        }
    }
}

/// Reads Unix seconds, up to the year 9999.
pub(super) fn epoch_timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
}

impl fmt::Debug for Captures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pattern.names().enumerate().map(|(slot, name)| (name, self.slot_text(slot))))
            .finish()
    }
}
