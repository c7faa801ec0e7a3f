//! What `baler.toml` says of `convert`, as it is written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::raw::{At, RawSize};

/// What outputs are called: a text, a table, or several tables.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, rename = "To")]
pub(super) enum RawTo {
    /// A store and a template.
    Path(String),
    /// One kind of outputs.
    Table(Box<RawTarget>),
    /// Several kinds of outputs, all made of one read.
    Tables(Vec<RawTarget>),
}

impl<'de> Deserialize<'de> for RawTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ToVisitor;
        impl<'de> Visitor<'de> for ToVisitor {
            type Value = RawTo;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a place such as `lake:daily/{day:%Y-%m-%d}.jsonl`, or tables with `path`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawTo, E> {
                Ok(RawTo::Path(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTo, A::Error> {
                RawTarget::deserialize(MapAccessDeserializer::new(map)).map(|table| RawTo::Table(Box::new(table)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<RawTo, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(tables)).map(RawTo::Tables)
            }
        }
        deserializer.deserialize_any(ToVisitor)
    }
}

/// One kind of outputs of `convert`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
pub(super) struct RawTarget {
    /// A store and a template with the names of `from`, `{partition:…}` and partitioning columns. Either this or `layout`.
    /// Example: `"lake:out/month={partition:%Y-%m}/{partition:epoch}.parquet"`.
    pub(super) path: Option<At<String>>,
    /// An alias of a path: `"hive"`, `"athena"` or `"dataclient"`; `baler check` prints the path.
    pub(super) layout: Option<At<String>>,
    /// With `layout`: the store and prefix that its paths begin with. Example: `"lake:athena/feeds"`.
    pub(super) prefix: Option<At<String>>,
    /// The partition of an output: `"hour"`, `"day"`, `"month"`, `"year"`, columns, or a list of these. Default: none but
    /// what the names in `path` say.
    pub(super) partition: Option<At<RawWords>>,
    /// The format of the outputs. Default: as the suffix of `path` says.
    pub(super) format: Option<At<RawFormat>>,
    /// The codec of the outputs, or within Parquet. Default: as the suffix says; within Parquet `"snappy"`.
    pub(super) compression: Option<At<RawCompression>>,
    /// An object closes when it would be larger than about this: a partition then is numbered objects, and a manifest beside
    /// `path` that names those of the last build. Default: no limit.
    pub(super) max_bytes: Option<At<RawSize>>,
}

/// A word or a list of words.
#[derive(Debug, Clone)]
pub(super) struct RawWords(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for RawWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordsVisitor;
        impl<'de> Visitor<'de> for WordsVisitor {
            type Value = RawWords;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word such as \"month\", or a list of them")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawWords, E> {
                Ok(RawWords(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<RawWords, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(words)).map(RawWords)
            }
        }
        deserializer.deserialize_any(WordsVisitor)
    }
}

impl JsonSchema for RawWords {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "array"], "items": { "type": "string" } })
    }
}

/// A format: its name, or CSV with its marks.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, rename = "Format")]
pub(super) enum RawFormat {
    /// `"jsonl"`, `"json"`, `"csv"`, `"parquet"`, `"arrow"` (the stream) or `"arrow-file"`.
    Name(String),
    /// CSV with its marks.
    Table(RawFormatTable),
}

/// CSV with its marks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FormatTable")]
pub(super) struct RawFormatTable {
    /// The marks.
    pub(super) csv: RawCsv,
}

/// How values stand in CSV.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Csv")]
pub(super) struct RawCsv {
    /// Stands between two fields. Default: `","`. Example: `"\t"`.
    pub(super) delimiter: Option<At<String>>,
    /// Stands around fields. Default: `"\""`.
    pub(super) quote: Option<At<String>>,
    /// Whether the first line names the columns. Default: `true`.
    pub(super) header: Option<bool>,
}

impl<'de> Deserialize<'de> for RawFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormatVisitor;
        impl<'de> Visitor<'de> for FormatVisitor {
            type Value = RawFormat;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a format such as \"csv\", or `{ csv = { … } }`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawFormat, E> {
                Ok(RawFormat::Name(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawFormat, A::Error> {
                RawFormatTable::deserialize(MapAccessDeserializer::new(map)).map(RawFormat::Table)
            }
        }
        deserializer.deserialize_any(FormatVisitor)
    }
}

/// A codec: its name, or with a level.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, rename = "Compression")]
pub(super) enum RawCompression {
    /// `"none"`, `"gzip"`, `"zstd"`, `"brotli"`, `"bzip2"`, `"lz4"` or `"snappy"`, or their suffixes `gz zst br bz2 lz4 sz`.
    Name(String),
    /// The same with a level.
    Table(RawCompressionTable),
}

/// A codec with a level.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CompressionTable")]
pub(super) struct RawCompressionTable {
    /// The codec.
    pub(super) codec: String,
    /// How hard it tries, within the codec's own range. Default: the codec's own.
    pub(super) level: Option<i64>,
}

impl<'de> Deserialize<'de> for RawCompression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CompressionVisitor;
        impl<'de> Visitor<'de> for CompressionVisitor {
            type Value = RawCompression;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a codec such as \"zstd\", or `{ codec = \"zstd\", level = 9 }`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawCompression, E> {
                Ok(RawCompression::Name(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawCompression, A::Error> {
                RawCompressionTable::deserialize(MapAccessDeserializer::new(map)).map(RawCompression::Table)
            }
        }
        deserializer.deserialize_any(CompressionVisitor)
    }
}

/// Where the columns come from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Schema")]
pub(super) struct RawSchema {
    /// Columns and their types: all of them, unless `s3db` or `infer` gives the others. Types are `int64`, `float64`,
    /// `bool`, `text`, `decimal(p,s)`, `date`, `timestamp(unit)`, `timestamp(unit, zone)`, `list(t)`, `struct(a: t, …)`; ` not
    /// null` behind one makes a record without it be set aside. Example: `{ id = "int64", at = "timestamp(ms, UTC)" }`.
    pub(super) columns: Option<At<Columns>>,
    /// The `METADATA.json` of a data set of S3DB, with the names of `from`. Example:
    /// `"lake:gz/{collection}/{dataset}/METADATA.json"`.
    pub(super) s3db: Option<At<String>>,
    /// Whether the columns are inferred from a sample. Default: `true` where neither `columns` nor `s3db` is given.
    pub(super) infer: Option<At<bool>>,
}

/// Columns in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns(pub(super) Vec<(String, At<String>)>);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnsVisitor;
        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("columns such as `{ id = \"int64\" }`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut columns: Vec<(String, At<String>)> = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                // The table of the file is sorted by names; places in the text tell the order in which they stand.
                columns.sort_by_key(|(_, kind)| kind.span.start);
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

impl JsonSchema for Columns {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Columns".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, String>::json_schema(generator)
    }
}

/// What numbers count in columns that are timestamps.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Epoch")]
pub(super) enum RawEpoch {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// What happens when objects have other columns than the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Drift")]
pub(super) enum RawDrift {
    /// The group fails.
    Fail,
    /// Records that do not fit are set aside.
    Quarantine,
    /// The schema grows.
    Widen,
}

/// A number, or a share such as `"10%"`.
#[derive(Debug, Clone)]
pub(super) struct RawLimit(pub(super) String);

impl<'de> Deserialize<'de> for RawLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawSize::deserialize(deserializer).map(|size| Self(size.0))
    }
}

impl JsonSchema for RawLimit {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

/// Columns that tell where a record came from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Provenance")]
pub(super) struct RawProvenance {
    /// The column that gets the key of the record's object. Default: none.
    pub(super) key: Option<At<String>>,
    /// The column that gets the record's line, or row, from 1. Default: none.
    pub(super) line: Option<At<String>>,
}
