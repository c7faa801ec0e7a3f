//! How `convert` makes records of objects and objects of records, as a plan keeps it: everything that decides the bytes of
//! an output, so that whoever executes a task makes the same.

use serde::{Deserialize, Serialize};

use super::numbered::Numbered;
use crate::partition::write_path_value;
use crate::scrub::Scrub;
use crate::{Key, KeyPart, ObjectVersion, PartitionSize};

/// How `convert` works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertOptions {
    /// The schemas that tasks name by their number.
    pub schemas: Vec<PlannedSchema>,
    /// The format of the inputs, where their suffixes do not decide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<FormatOptions>,
    /// The keys under which JSON documents hold their records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// The column of a record's time, where partitions are told by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What numbers count in columns that are timestamps.
    #[serde(default, skip_serializing_if = "EpochUnit::is_default")]
    pub epoch: EpochUnit,
    /// What happens when objects have other columns than the schema.
    pub drift: DriftPolicy,
    /// A group fails when more of its records are set aside.
    pub max_quarantined: QuarantineLimit,
    /// A compressed input may grow to so many times its size.
    pub max_expansion: u64,
    /// What is done to records between decoding and encoding.
    #[serde(default, skip_serializing_if = "Scrub::is_nothing")]
    pub scrub: Scrub,
    /// The query over the records of each output, in place of a scrub. Records that went in and came out are counted apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Columns that tell where a record came from.
    #[serde(default, skip_serializing_if = "Provenance::is_nothing")]
    pub provenance: Provenance,
    /// The kinds of outputs.
    pub targets: Vec<TargetOptions>,
}

/// A schema, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSchema {
    /// The columns, as `baler_format::schema` writes them: `id: int64, at: timestamp(ms, UTC)`.
    pub columns: String,
    /// Where they come from, for people: `declared`, `inferred`, or the key of a metadata file.
    pub origin: String,
}

/// A format with what it needs to be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatOptions {
    /// A JSON object a line.
    Jsonl,
    /// A JSON document with an array of records.
    Json,
    /// Comma-separated values.
    Csv {
        /// Stands between two fields.
        delimiter: u8,
        /// Stands around fields.
        quote: u8,
        /// Whether the first line names the columns.
        header: bool,
    },
    /// Apache Parquet.
    Parquet,
    /// The stream of Arrow IPC.
    Arrow,
    /// The file of Arrow IPC.
    ArrowFile,
}

impl FormatOptions {
    /// CSV as RFC 4180 has it, with a header.
    pub const CSV: Self = Self::Csv { delimiter: b',', quote: b'"', header: true };

    /// The format of this name, or suffix.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "jsonl" | "ndjson" => Self::Jsonl,
            "json" => Self::Json,
            "csv" => Self::CSV,
            "tsv" => Self::Csv { delimiter: b'\t', quote: b'"', header: true },
            "parquet" => Self::Parquet,
            "arrow" | "arrows" => Self::Arrow,
            "arrow-file" | "feather" => Self::ArrowFile,
            _ => return None,
        })
    }

    /// Its name, which is the suffix of keys.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Csv { .. } => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::ArrowFile => "feather",
        }
    }
}

/// What numbers count in columns that are timestamps, since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochUnit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl EpochUnit {
    /// Whether it is what is taken where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens when objects have other columns than the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// The group fails.
    Fail,
    /// Records that do not fit are set aside.
    Quarantine,
    /// The schema grows when a run is planned; what does not fit then is set aside.
    Widen,
}

/// How many records of a group may be set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineLimit {
    /// So many.
    Records(u64),
    /// So many of a hundred.
    Percent(u8),
}

impl QuarantineLimit {
    /// Whether so many of all are more than may be.
    pub fn is_exceeded(self, quarantined: u64, all: u64) -> bool {
        match self {
            Self::Records(most) => quarantined > most,
            Self::Percent(most) => u128::from(quarantined) * 100 > u128::from(all) * u128::from(most),
        }
    }
}

impl std::fmt::Display for QuarantineLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Records(most) => most.fmt(f),
            Self::Percent(most) => write!(f, "{most}%"),
        }
    }
}

/// Columns that tell where a record came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The column of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The column of the line, or row, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

impl Provenance {
    /// Whether no column is wanted.
    pub fn is_nothing(&self) -> bool {
        self.key.is_none() && self.line.is_none()
    }
}

/// One kind of outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOptions {
    /// The template of its keys.
    pub path: String,
    /// The format.
    pub format: FormatOptions,
    /// The codec around an object, or within Parquet, by its name.
    pub codec: String,
    /// Its level; the codec's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
    /// The time that a partition holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionSize>,
    /// The columns that partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// An object closes when it would be larger. Units: bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// What a task of `convert` makes of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertTask {
    /// The number of its schema.
    pub schema: u32,
    /// Its outputs, each with the inputs whose records it holds.
    pub outputs: Vec<PlannedOutput>,
    /// Numbers of inputs that were consumed before and are read again, to build a partition anew: they are not claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reread: Vec<u32>,
    /// Where records that are set aside go; no such object is written where there are none.
    pub quarantine: Key,
}

/// One output of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedOutput {
    /// The number of its target.
    pub to: u32,
    /// Its key.
    pub key: Key,
    /// The version that it replaces: the one that the last commit recorded, or a foreign one where the flow says `overwrite =
    /// true`; else nothing may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ObjectVersion>,
    /// The inputs whose records it holds, as half-open ranges of their numbers.
    pub inputs: Vec<(u32, u32)>,
    /// Where records tell their partition by their time: the seconds since 1970 that it holds, half-open. Without, it holds
    /// all records of its inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(i64, i64)>,
    /// Where the values of columns tell outputs apart: this stands for all of them, and `key` is what their keys begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<PlannedSplit>,
    /// Where it is several objects of a limited size: `key` is that of their manifest, or what their keys begin with where
    /// they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbered: Option<Numbered>,
    /// What it holds, where it holds no records: the metadata of a data set, copied beside its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Outputs that are told apart by the values of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSplit {
    /// The columns, as they are written.
    pub columns: Vec<String>,
    /// Their keys.
    pub parts: Vec<KeyPart>,
    /// Those that earlier runs wrote, and that this one replaces, also where no record belongs to them any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<(Key, ObjectVersion)>,
}

impl PlannedSplit {
    /// The key of the output of these values.
    ///
    /// Errors: [`crate::KeyError`] for what is no key.
    pub fn key(&self, values: &[Option<&str>]) -> Result<Key, crate::KeyError> {
        let mut key = String::new();
        for part in &self.parts {
            match part {
                KeyPart::Text(text) => key.push_str(text),
                KeyPart::Column(number) => {
                    write_path_value(values.get(*number as usize).copied().flatten(), &mut key);
                }
            }
        }
        Key::try_new(key)
    }

    /// Whether a key may be one of its outputs': the texts stand where they should, values hold no `/`.
    pub fn may_be(&self, key: &str) -> bool {
        fn fits(parts: &[KeyPart], key: &str) -> bool {
            match parts {
                [] => key.is_empty(),
                [KeyPart::Text(text), rest @ ..] => key.strip_prefix(text.as_str()).is_some_and(|key| fits(rest, key)),
                [KeyPart::Column(_), rest @ ..] => {
                    let most = key.find('/').unwrap_or(key.len());
                    (1..=most).any(|end| key.is_char_boundary(end) && fits(rest, &key[end..]))
                }
            }
        }
        fits(&self.parts, key)
    }

    /// The columns whose values the directories of the keys hold as `name=value`: they are left out of the objects.
    pub fn in_directories(&self) -> impl Iterator<Item = &str> {
        let before = |number: usize| match number.checked_sub(1).map(|number| &self.parts[number]) {
            Some(KeyPart::Text(text)) => text.as_str(),
            Some(KeyPart::Column(_)) | None => "",
        };
        self.parts.iter().enumerate().filter_map(move |(at, part)| {
            let KeyPart::Column(number) = part else { return None };
            let column = self.columns.get(*number as usize)?;
            let directory = before(at).rsplit('/').next()?.strip_suffix('=')?;
            let ends = matches!(self.parts.get(at + 1), Some(KeyPart::Text(text)) if text.starts_with('/'));
            (ends && directory.eq_ignore_ascii_case(column)).then_some(column.as_str())
        })
    }
}

impl PlannedOutput {
    /// Its key, where one object stands for it.
    pub fn exact_key(&self) -> Option<&Key> {
        let is_prefix = self.split.is_some() || self.numbered.as_ref().is_some_and(|numbered| !numbered.manifest);
        (!is_prefix).then_some(&self.key)
    }

    /// What the keys of its objects begin with, where these are found when it is written.
    pub fn prefix(&self) -> Option<&str> {
        match (&self.split, &self.numbered) {
            (Some(_), _) => Some(self.key.as_str()),
            (None, Some(numbered)) => Some(numbered.before.as_str()),
            (None, None) => None,
        }
    }

    /// Whether it holds records of the input of this number.
    pub fn takes(&self, input: u32) -> bool {
        self.inputs.iter().any(|(start, end)| (*start..*end).contains(&input))
    }
}

/// Numbers in ascending order, as half-open ranges.
pub fn ranges(numbers: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            Some(_) | None => ranges.push((number, number + 1)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges() {
        assert_eq!(ranges([0, 1, 2, 5, 7, 8]), [(0, 3), (5, 6), (7, 9)]);
        assert_eq!(ranges([]), []);
    }

    #[test]
    fn a_limit_is_exceeded_behind_it() {
        assert!(!QuarantineLimit::Records(3).is_exceeded(3, 3));
        assert!(QuarantineLimit::Records(3).is_exceeded(4, 400));
        assert!(!QuarantineLimit::Percent(50).is_exceeded(1, 2));
        assert!(QuarantineLimit::Percent(50).is_exceeded(2, 3));
        assert!(QuarantineLimit::Percent(0).is_exceeded(1, 1_000_000));
    }
}
