//! `baler.toml` as it is written, before anything is checked. These types are the manual: the JSON Schema that
//! `baler schema` prints is made from their comments.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::raw_convert::{
    RawCompression, RawDrift, RawEpoch, RawFormat, RawLimit, RawProvenance, RawSchema, RawTo, RawWords,
};
use super::raw_scatter::{RawConnection, RawSplit, RawSteps, RawUpsert};
use super::scrub::RawScrub;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The configuration of Baler.
///
/// Texts may contain `${VAR}` and `${VAR:-default}`, taken from the environment; `$${` stands for `${`. Sizes are
/// written `64MiB`, durations `10m`; times are UTC.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "baler.toml", deny_unknown_fields)]
#[expect(dead_code, reason = "it describes the file for the JSON Schema; its sections are read one by one")]
pub(super) struct RawFile {
    /// The version of this format. Required; the only one is `1`.
    version: u32,
    /// The place where Baler keeps its ledger. Default: `./.baler` beside this file. Example: `"lake:_baler"`.
    state: Option<String>,
    /// The stores, by name. Example: `lake = "s3://corporate-data"`.
    #[serde(default)]
    stores: BTreeMap<String, RawStore>,
    /// The databases, by name. Example: `items = { sqlite = "./items.db" }`.
    #[serde(default)]
    connections: BTreeMap<String, RawConnection>,
    /// The flows, by name.
    #[serde(default)]
    flows: BTreeMap<String, RawFlow>,
}

/// A bucket or directory: its URL or path, or a table with more.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
#[schemars(rename = "Store")]
pub(super) enum RawStore {
    /// `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, or a directory `./x`, `../x`, `/x`.
    Url(String),
    /// The same with settings.
    Table(Box<RawStoreTable>),
}

impl<'de> Deserialize<'de> for RawStore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StoreVisitor;
        impl<'de> Visitor<'de> for StoreVisitor {
            type Value = RawStore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL such as `s3://bucket`, a directory such as `./data`, or a table with `url`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawStore, E> {
                Ok(RawStore::Url(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawStore, A::Error> {
                RawStoreTable::deserialize(MapAccessDeserializer::new(map))
                    .map(|table| RawStore::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(StoreVisitor)
    }
}

/// A store with settings.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StoreTable")]
pub(super) struct RawStoreTable {
    /// `s3://bucket/prefix`, `az://container/prefix` (also `abfss://container@account.dfs.core.windows.net/prefix` and
    /// `https://account.blob.core.windows.net/container/prefix`), `gs://bucket/prefix` (not tested against the service), or
    /// a directory `./x`, `../x`, `/x`. Required.
    pub(super) url: At<String>,
    /// Storage account of Azure. Default: `AZURE_STORAGE_ACCOUNT`. Example: `"corporatedata"`. For `az://` only.
    pub(super) account: Option<At<String>>,
    /// URL of an S3-compatible server, of an Azure blob endpoint, or of an emulator of GCS (`http://…`, to which no
    /// credentials are sent). Default: the cloud's own. Example: `"http://127.0.0.1:9000"`.
    pub(super) endpoint: Option<At<String>>,
    /// Region. Default: as the AWS CLI finds it. Example: `"eu-west-2"`.
    pub(super) region: Option<At<String>>,
    /// Profile of the AWS configuration files. Default: as the AWS CLI finds it. Example: `"etl"`.
    pub(super) profile: Option<At<String>>,
    /// Whether the bucket is named in the path (`true`) or in the host name (`false`) of requests. Default: in the
    /// path where `endpoint` is given, else in the host name.
    pub(super) path_style: Option<At<bool>>,
    /// Storage class of what is written. Default: the bucket's. Example: `"INTELLIGENT_TIERING"`.
    pub(super) storage_class: Option<At<String>>,
    /// KMS key that encrypts what is written. Default: the bucket's. Example: `"alias/etl"`.
    pub(super) kms_key: Option<At<String>>,
    /// Tags of what is written, ten at most. Default: none. Example: `{ team = "etl" }`.
    pub(super) tags: Option<At<BTreeMap<String, String>>>,
    /// The most requests per second sent to this store. Default: as many as it takes. Example: `500`.
    pub(super) requests_per_second: Option<At<u32>>,
    /// File with certificates (PEM) to trust instead of the system's, relative to this file. Default: `AWS_CA_BUNDLE`.
    /// Example: `"ca.pem"`.
    pub(super) ca_bundle: Option<At<String>>,
    /// Whether one host only uses this directory. A ledger on a network file system is refused without it.
    /// Default: `false`. For directories only.
    pub(super) single_host: Option<At<bool>>,
}

/// A pipeline: what it takes, what it does, where the results go.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Flow")]
pub(super) struct RawFlow {
    /// The operation. Required. This build has `"combine"`: byte-level stitching of many objects into few; `"convert"`:
    /// records decoded, typed, partitioned and encoded; and `"scatter"`: records of one object taken in chunks, each answered
    /// for, upserted into a table, and gathered into one result.
    #[serde(rename = "do")]
    pub(super) operation: At<RawOperation>,
    /// What starts the flow under `baler watch`; `baler run` takes no notice. Default: nothing.
    pub(super) on: Option<At<RawTrigger>>,
    /// Which objects it takes: a store and a pattern that the whole key must match. Required.
    /// Example: `"lake:logs/{day:%Y/%m/%d}/{host}_{part:int}.jsonl"`.
    pub(super) from: At<String>,
    /// Conditions on what the pattern captured, all of which must hold. Default: none. Example: `["day < today"]`.
    #[serde(default, rename = "where")]
    pub(super) conditions: Vec<At<String>>,
    /// Placeholders of `from` that order the inputs of a group, the most significant first; ties break by key.
    /// Default: the order of keys. Example: `["part"]`.
    #[serde(default)]
    pub(super) order_by: Vec<At<String>>,
    /// How many inputs make one output. Default: all of a group.
    pub(super) batch: Option<At<RawBatch>>,
    /// What an output is called: a store and a template with the names of `from`. Inputs that agree on all names used
    /// bare are one group. With `convert` also a table, or several, each with a `path` or a `layout`; all in one store.
    /// Required. Example: `"lake:daily/{day:%Y-%m-%d}.jsonl"`.
    pub(super) to: At<RawTo>,
    /// Whether an object that Baler did not write may be overwritten. Default: `false`.
    #[serde(default)]
    pub(super) overwrite: bool,
    /// What becomes of the sources after the commit. Default: they are kept.
    pub(super) sources: Option<At<RawSources>>,
    /// What goes between two inputs where the first does not end in a newline: `"newline"`, `"none"`, or `"auto"`: a
    /// newline where `to` ends in `.jsonl .json .csv .txt .log`, else nothing. Default: `"auto"`.
    pub(super) separator: Option<At<RawSeparator>>,
    /// `"first"`: inputs are CSV with a header line, of which the output keeps that of the first. Default: header lines
    /// are taken for data.
    pub(super) header: Option<At<RawHeader>>,
    /// `"decode"`: compressed inputs are decoded, JSON lines parsed, before they are combined, and a damaged one fails
    /// its group. Default: `"none"`, bytes are not looked into.
    pub(super) check: Option<At<RawCheck>>,
    /// Whether to write `{to}.manifest` beside each output for Redshift's COPY. Default: `false`.
    #[serde(default)]
    pub(super) redshift_manifest: bool,
    /// Content type of the outputs. Default: the store's. Example: `"application/x-ndjson"`.
    pub(super) content_type: Option<At<String>>,
    /// With `convert` and `scatter`: the format of the inputs where their suffixes do not say: `"jsonl"`, `"json"`, `"csv"`, `"parquet"`,
    /// `"arrow"`, or CSV with its marks. Default: by suffix. Example: `{ csv = { delimiter = ";", header = false } }`.
    pub(super) format: Option<At<RawFormat>>,
    /// With `convert`: the keys, separated by dots, under which a JSON document holds its records. Default: the document
    /// is the array. Example: `"response.records"`.
    pub(super) records: Option<At<String>>,
    /// With `convert` and `scatter`: the columns and their types. Default: inferred from a sample of the first run, then kept.
    pub(super) schema: Option<At<RawSchema>>,
    /// With `convert`: where the time of a record stands: a placeholder of `from` that captures a time, else a column.
    /// Default: the only such placeholder. Example: `"target_start"`.
    pub(super) time: Option<At<String>>,
    /// With `convert`: how much time an input holds from its placeholder's instant on: `"hour"`, `"day"`, `"month"` or
    /// `"year"`. Default: as precise as the placeholder is written (`%Y/%m/%d` is a day); a day for S3DB.
    pub(super) covers: Option<At<String>>,
    /// With `convert`: what numbers count in columns that are timestamps, since 1970: `"s"`, `"ms"`, `"us"` or `"ns"`.
    /// Default: `"s"`.
    pub(super) epoch: Option<At<RawEpoch>>,
    /// With `convert` and a plain `to`: the partition of an output: `"hour"`, `"day"`, `"month"`, `"year"`, or columns.
    /// Default: none but what the names in `to` say. Example: `"month"`.
    pub(super) partition: Option<At<RawWords>>,
    /// With `convert` and `scatter` and a plain `to`: the codec of the outputs, or within Parquet. Default: as the suffix says; within
    /// Parquet `"snappy"`. Example: `{ codec = "zstd", level = 9 }`.
    pub(super) compression: Option<At<RawCompression>>,
    /// With `convert`: what happens when objects have other columns than the schema: `"fail"`, `"quarantine"` (records that
    /// do not fit are set aside, further columns left out) or `"widen"` (the schema grows). Default: `"fail"`.
    pub(super) on_drift: Option<At<RawDrift>>,
    /// With `convert`: a group fails when more of its records than this are set aside: a number, or a share. Default:
    /// `"50%"`. Example: `100`.
    pub(super) max_quarantined: Option<At<RawLimit>>,
    /// With `convert` and `scatter`: where records that are set aside are written, in the store of `to`: `{quarantine}/{flow}/…`. Default:
    /// `"_quarantine"`.
    pub(super) quarantine: Option<At<String>>,
    /// With `convert` and `scatter`: a compressed input that would grow beyond so many times its size is refused. Default: `1000`.
    pub(super) max_expansion: Option<At<u64>>,
    /// With `convert`: what is done to records between decoding and encoding. Default: nothing.
    /// Example: `{ trim = true, drop = ["note"], cast = { price = "decimal(12,2)" } }`.
    pub(super) scrub: Option<At<RawScrub>>,
    /// With `convert`, in place of `scrub`: a query over the table `input`, which is the records of one output. Needs a build
    /// with the feature `sql`. Default: records come out as they went in.
    /// Example: `"SELECT id, upper(name) AS name FROM input WHERE price > 0"`.
    pub(super) sql: Option<At<String>>,
    /// With `convert`: columns that tell where a record came from: `{ key = "_key", line = "_line" }`. Default: none.
    pub(super) provenance: Option<At<RawProvenance>>,
    /// With `scatter`: how an object is split. Default: chunks of 1,000 records.
    /// Example: `{ records = "records", chunk = 1000 }`.
    pub(super) split: Option<At<RawSplit>>,
    /// With `scatter`: what each record goes through, in order; one that fails is set aside with its reason. Default: nothing.
    /// Example: `{ json_schema = "price.schema.json" }`.
    pub(super) each: Option<At<RawSteps>>,
    /// With `scatter`: the table that takes the records which went through; the newest of each key stays. Default: none.
    /// Example: `{ into = "items", table = "items", key = ["itemNo"], create = true }`.
    pub(super) upsert: Option<At<RawUpsert>>,
    /// With `scatter`: the placeholder of `from` that tells when a batch is from, by which upserts are ordered. Default: the
    /// object's last modification. Example: `"at"`.
    pub(super) batch_time: Option<At<String>>,
}

/// An operation.
#[derive(Debug, Clone, Copy, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Operation")]
pub(super) enum RawOperation {
    /// Byte-level stitching of many objects into few.
    Combine,
    /// Decoding, typing, partitioning and encoding of records.
    Convert,
    /// Records taken in chunks, each answered for, upserted, and gathered into one result.
    Scatter,
}

/// What starts a flow: a schedule (`cron` or `every`), or `manifests`.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Trigger")]
pub(super) struct RawTrigger {
    /// Five fields: minute, hour, day of the month, month, day of the week. Example: `"0 2 * * *"`.
    pub(super) cron: Option<At<String>>,
    /// The time zone of `cron`. Default: `"UTC"`. Example: `"Europe/London"`.
    pub(super) timezone: Option<At<String>>,
    /// How often. Units: a duration. Example: `"10m"`.
    pub(super) every: Option<At<String>>,
    /// The place where manifests arrive in `queue/`, and move to `run/` and `done/`. Example: `"lake:watch"`.
    pub(super) manifests: Option<At<String>>,
    /// Not in this build.
    #[schemars(skip)]
    pub(super) events: Option<At<String>>,
    /// Not in this build.
    #[schemars(skip)]
    pub(super) after: Option<At<String>>,
}

/// How many inputs make one output. A batch closes before the object that would exceed a limit; a larger object stands
/// alone.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Batch")]
pub(super) struct RawBatch {
    /// The most inputs of one output. Default: no limit. Example: `10_000`.
    pub(super) max_objects: Option<At<u64>>,
    /// The most bytes of one output; with `convert` about so many of each object of a partition, which then has a manifest.
    /// Default: no limit but the store's. Example: `"1GiB"`.
    pub(super) max_bytes: Option<At<RawSize>>,
    /// The least inputs that are worth combining; a smaller group waits. Default: `2`.
    pub(super) min_objects: Option<At<u64>>,
    /// Objects younger than this are left for a later run. Default: `"0s"`. Example: `"15m"`.
    pub(super) settle: Option<At<String>>,
}

/// A size in bytes: a number, or a text such as `64MiB`, `1GiB`, `100MB`.
#[derive(Debug, Clone)]
pub(super) struct RawSize(pub(super) String);

impl<'de> Deserialize<'de> for RawSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = RawSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\", or a number of bytes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawSize, E> {
                Ok(RawSize(text.to_owned()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<RawSize, E> {
                Ok(RawSize(number.to_string()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<RawSize, E> {
                Ok(RawSize(number.to_string()))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for RawSize {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

/// What becomes of the sources after the commit.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sources")]
pub(super) struct RawSources {
    /// `"keep"`, `"delete"`, or `"archive"` (moves them to `archive_to`). Only the version that was combined is ever
    /// deleted. Default: `"keep"`.
    pub(super) after_commit: Option<At<RawAfterCommit>>,
    /// How long after the commit. Units: a duration. Default: `"0s"`. Example: `"7d"`.
    pub(super) delay: Option<At<String>>,
    /// Where `"archive"` moves sources: to `{archive_to}/{run}/{key}`. Example: `"lake:old"`.
    pub(super) archive_to: Option<At<String>>,
    /// Whether sources may be deleted from a store that was not proven to honour conditional deletes: an object that is
    /// overwritten in that moment would be lost. Default: `false`.
    #[serde(default)]
    pub(super) unconditional_delete: bool,
}

/// What becomes of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AfterCommit")]
pub(super) enum RawAfterCommit {
    /// They stay; the ledger knows that they were combined.
    Keep,
    /// They are deleted.
    Delete,
    /// They are moved.
    Archive,
}

/// What goes between two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Separator")]
pub(super) enum RawSeparator {
    /// A newline for text, else nothing.
    Auto,
    /// A newline where the input does not end in one.
    Newline,
    /// Nothing.
    None,
}

/// What the first line of an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Header")]
pub(super) enum RawHeader {
    /// A header: that of the first input is kept.
    First,
}

/// How closely inputs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Check")]
pub(super) enum RawCheck {
    /// Not at all.
    None,
    /// They are decoded.
    Decode,
}

/// The JSON Schema of `baler.toml`, for editors: what `baler schema` prints.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(RawFile).to_value();
    remove_null(&mut schema);
    schema
}

/// Takes `null` out of every choice of types: TOML has none, an optional key is just left out.
fn remove_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [single] = types.as_slice() {
                    let single = single.clone();
                    object.insert("type".to_owned(), single);
                }
            }
            if let Some(serde_json::Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [serde_json::Value::Object(single)] = choices.as_slice() {
                    let single = single.clone();
                    object.remove("anyOf");
                    object.extend(single);
                }
            }
            object.values_mut().for_each(remove_null);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(remove_null),
        _ => {}
    }
}
