//! What `baler.toml` says of `scatter`, and of databases, as it is written.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::raw::At;

/// A database: `{ sqlite = "./items.db" }`, `{ postgres = { env = "ITEMS_URL" } }`, or `{ dynamodb = {} }`.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Connection")]
pub(super) struct RawConnection {
    /// A file of SQLite, relative to this file; it is created where there is none. Example: `"./items.db"`.
    pub(super) sqlite: Option<At<String>>,
    /// A server of PostgreSQL, whose URL is a secret. Example: `{ env = "ITEMS_URL" }`.
    pub(super) postgres: Option<At<RawSecret>>,
    /// Tables of DynamoDB, with the credentials of the AWS CLI. Example: `{ region = "eu-central-1" }`.
    pub(super) dynamodb: Option<At<RawDynamoDb>>,
}

/// Where tables of DynamoDB are.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DynamoDb")]
pub(super) struct RawDynamoDb {
    /// The region. Default: that of the environment or the profile.
    pub(super) region: Option<At<String>>,
    /// The server, where it is not Amazon's. Example: `"http://127.0.0.1:8000"`.
    pub(super) endpoint: Option<At<String>>,
    /// The profile of the AWS CLI.
    pub(super) profile: Option<At<String>>,
}

/// Where a secret stands.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub(super) struct RawSecret {
    /// The environment variable that holds it. Required. Example: `"ITEMS_URL"`.
    pub(super) env: At<String>,
}

/// How an object is split.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Split")]
pub(super) struct RawSplit {
    /// The keys, separated by dots, under which a JSON document holds its records. Default: the document is the array.
    /// Example: `"records"`.
    pub(super) records: Option<At<String>>,
    /// The most records of a chunk. Default: `1000`.
    pub(super) chunk: Option<At<u64>>,
}

/// One step that each record goes through: one of `json_schema`, `sql`, `program` and `http`.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Each")]
pub(super) struct RawEach {
    /// The file of a JSON Schema that a record must be valid under, relative to this file. Example: `"price.schema.json"`.
    pub(super) json_schema: Option<At<String>>,
    /// A query that takes records one by one, changes them, and may leave some out: in a build with SQL.
    /// Example: `"SELECT itemNo, price * 1.19 AS price FROM input WHERE price > 0"`.
    pub(super) sql: Option<At<String>>,
    /// A program with its arguments, started in the directory of this file: it reads `{"key":…,"index":…,"record":{…}}`, a
    /// line for each record, and answers each by a line `{"success":true}`, with `message` and a changed `record` where it
    /// likes; an `index` or `key` that it repeats must be the record's. Example: `["python3", "price.py"]`.
    pub(super) program: Option<At<Vec<String>>>,
    /// A server that takes the same as a JSON array in a POST, and answers by an array. Example: `"http://127.0.0.1:8080/"`.
    pub(super) http: Option<At<String>>,
    /// With `http`: records of a request. Default: `100`.
    pub(super) batch: Option<At<u64>>,
    /// With `http`: requests at once. Default: `4`.
    pub(super) concurrency: Option<At<u64>>,
    /// With `program` and `http`: how long an answer may take. Units: a duration. Default: `"30s"`.
    pub(super) timeout: Option<At<String>>,
}

/// One step or several.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
#[schemars(rename = "Steps")]
pub(super) enum RawSteps {
    /// One.
    One(Box<RawEach>),
    /// Several, in this order.
    Several(Vec<RawEach>),
}

impl RawSteps {
    pub(super) fn all(&self) -> &[RawEach] {
        match self {
            Self::One(each) => std::slice::from_ref(each),
            Self::Several(steps) => steps,
        }
    }
}

impl<'de> Deserialize<'de> for RawSteps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepsVisitor;
        impl<'de> Visitor<'de> for StepsVisitor {
            type Value = RawSteps;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a step such as `{ json_schema = \"price.schema.json\" }`, or an array of steps")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSteps, A::Error> {
                RawEach::deserialize(MapAccessDeserializer::new(map)).map(|each| RawSteps::One(Box::new(each)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, steps: A) -> Result<RawSteps, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(steps)).map(RawSteps::Several)
            }
        }
        deserializer.deserialize_any(StepsVisitor)
    }
}

/// The table that takes the records which went through.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Upsert")]
pub(super) struct RawUpsert {
    /// A name of `[connections]`. Required.
    pub(super) into: At<String>,
    /// The table; `schema.table` in PostgreSQL. Required.
    pub(super) table: At<String>,
    /// The columns that make two records one: of those the newest stays. Required. Example: `["itemNo"]`.
    pub(super) key: At<Vec<String>>,
    /// Whether the table is created from the columns of the records where there is none. Default: `false`.
    #[serde(default)]
    pub(super) create: bool,
}
