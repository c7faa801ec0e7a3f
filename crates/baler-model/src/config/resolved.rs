//! `baler.toml` after validation.

use std::collections::BTreeMap;

use super::place::{Place, StoreConfig, StoreId};
use crate::ledger::{DriftPolicy, EpochUnit, FormatOptions, Provenance, QuarantineLimit, ResultOptions};
use crate::scrub::Scrub;
use crate::{ByteSize, Condition, FlowName, OrderBy, PartitionSize, Pattern, Span, Template};

/// A checked configuration: every place names a store that is here, every name a placeholder that exists.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the file: absolute, without `/` at its end unless it is the root.
    pub base_dir: String,
    /// Where the ledger lives.
    pub state: Place,
    /// The stores of `[stores]`, and those that places name by path or URL.
    pub stores: BTreeMap<StoreId, StoreConfig>,
    /// The databases of `[connections]`, by name.
    pub connections: BTreeMap<String, Connection>,
    /// The flows in the order of the file.
    pub flows: Vec<FlowConfig>,
}

impl Config {
    /// The flow of this name.
    pub fn flow(&self, name: &str) -> Option<&FlowConfig> {
        self.flows.iter().find(|flow| flow.name.as_str() == name)
    }
}

/// A flow.
#[derive(Debug, Clone)]
pub struct FlowConfig {
    /// Its name.
    pub name: FlowName,
    /// What starts it under `baler watch`.
    pub trigger: Option<Trigger>,
    /// What it takes.
    pub from: Source,
    /// What must hold for an input, all of it.
    pub conditions: Vec<Condition>,
    /// How the inputs of a group are ordered.
    pub order: OrderBy,
    /// How many inputs make an output.
    pub batch: Batch,
    /// What it writes.
    pub to: Target,
    /// Whether foreign objects may be overwritten.
    pub overwrite: Overwrite,
    /// What becomes of its sources.
    pub sources: SourcePolicy,
    /// What it does.
    pub operation: Operation,
}

/// What a flow takes: keys of a store that match a pattern.
#[derive(Debug, Clone)]
pub struct Source {
    /// The store.
    pub store: StoreId,
    /// The pattern of keys within it.
    pub pattern: Pattern,
}

/// What a flow writes: keys of a store that a template names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The store.
    pub store: StoreId,
    /// The template of keys within it.
    pub template: Template,
}

/// What starts a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A manifest in `queue/` below this place.
    Manifests(Place),
    /// The clock, by a schedule of five fields.
    Cron {
        /// The schedule.
        expression: String,
        /// Its time zone, by its IANA name.
        timezone: String,
    },
    /// The clock, at intervals.
    Every(Span),
}

/// How many inputs make an output. Units: `max_bytes` in bytes of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The most inputs; at least one.
    pub max_objects: Option<u64>,
    /// The most bytes.
    pub max_bytes: Option<ByteSize>,
    /// The least inputs that are worth an output; at least one.
    pub min_objects: u64,
    /// Objects younger than this wait.
    pub settle: Span,
}

/// Whether an object that Baler did not write may be overwritten (INV-OWN-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It may not.
    Refuse,
    /// It may.
    Allow,
}

/// What becomes of sources after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePolicy {
    /// What is done.
    pub after_commit: AfterCommit,
    /// How long after the commit.
    pub delay: Span,
    /// What is asked of the store.
    pub deletes: Deletes,
}

/// What becomes of sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterCommit {
    /// They stay.
    Keep,
    /// They are deleted, in the planned version only.
    Delete,
    /// They are copied to `{to}/{run}/{key}`, then deleted.
    Archive {
        /// Where to.
        to: Place,
    },
}

/// Whether a store must be proven to honour conditional deletes before it loses a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// It must.
    Conditional,
    /// It need not: an object that is overwritten in the moment of its deletion would be lost.
    Unconditional,
}

/// What a flow does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Byte-level stitching of many objects into few.
    Combine(CombineConfig),
    /// Decoding, typing, partitioning and encoding of records.
    Convert(Box<ConvertConfig>),
    /// Records of objects taken in chunks, and what came of them gathered.
    Scatter(Box<ScatterConfig>),
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A file of SQLite, by its absolute path.
    Sqlite(String),
    /// A server of PostgreSQL.
    Postgres {
        /// The secret that holds its URL.
        secret: String,
    },
    /// Tables of DynamoDB.
    DynamoDb {
        /// The region; nothing is that of the environment.
        region: Option<String>,
        /// The server; nothing is Amazon's.
        endpoint: Option<String>,
        /// The profile of the AWS CLI.
        profile: Option<String>,
    },
}

impl Connection {
    /// What it is called where people see it: without secrets. Where it leads may be known from the environment only.
    pub fn address(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{path}"),
            Self::Postgres { secret } => format!("postgres:${secret}"),
            Self::DynamoDb { region, endpoint, .. } => {
                format!("dynamodb:{}", endpoint.as_deref().or(region.as_deref()).unwrap_or_default())
            }
        }
    }
}

/// How records are taken in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScatterConfig {
    /// The format of the inputs, where their suffixes do not say.
    pub format: Option<FormatOptions>,
    /// The keys under which a JSON document holds its records.
    pub records: Vec<String>,
    /// The most records of a chunk.
    pub chunk: u64,
    /// What each record goes through.
    pub each: Vec<EachConfig>,
    /// The table that takes them.
    pub upsert: Option<UpsertConfig>,
    /// Where the columns come from, where something asks for them.
    pub schema: SchemaSource,
    /// The placeholder of `from` that tells when a batch is from; without one its last modification does.
    pub batch_time: Option<String>,
    /// How results are written.
    pub result: ResultOptions,
    /// The template of the summary's key, in the store of `to`.
    pub summary: Template,
    /// The prefix of what is set aside, in the store of `to`; without `/` at its end.
    pub quarantine: String,
    /// A compressed input may grow to so many times its size.
    pub max_expansion: u64,
}

/// One step that each record goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EachConfig {
    /// It is held against the JSON Schema of this file, by its absolute path.
    JsonSchema(String),
    /// A query over `input` takes it.
    Sql(String),
    /// A program answers for it.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// An answer takes so long at most.
        timeout: Span,
    },
    /// A server answers for it.
    Http {
        /// Where records are posted to.
        url: String,
        /// Records of a request.
        batch: u64,
        /// Requests at once.
        concurrency: u64,
        /// An answer takes so long at most.
        timeout: Span,
    },
}

/// The table that takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertConfig {
    /// The connection, by its name.
    pub into: String,
    /// The table.
    pub table: String,
    /// The columns that make two records one.
    pub key: Vec<String>,
    /// Whether the table is created where there is none.
    pub create: bool,
}

/// How records are converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertConfig {
    /// The kinds of outputs, at least one; all in the store of the flow's `to`, which is the first of them.
    pub targets: Vec<ConvertTarget>,
    /// The format of the inputs, where their suffixes do not say.
    pub format: Option<FormatOptions>,
    /// The keys under which a JSON document holds its records.
    pub records: Vec<String>,
    /// Where the columns come from.
    pub schema: SchemaSource,
    /// Where the time of a record stands.
    pub time: TimeSource,
    /// How much time an input holds, from the instant that its key names.
    pub covers: Option<PartitionSize>,
    /// What numbers count in columns that are timestamps.
    pub epoch: EpochUnit,
    /// What happens when objects have other columns than the schema.
    pub drift: DriftPolicy,
    /// A group fails when more of its records are set aside.
    pub max_quarantined: QuarantineLimit,
    /// The prefix of what is set aside, in the store of `to`; without `/` at its end.
    pub quarantine: String,
    /// A compressed input may grow to so many times its size.
    pub max_expansion: u64,
    /// What is done to records between decoding and encoding.
    pub scrub: Scrub,
    /// The query over the records of each output, in place of a scrub.
    pub sql: Option<String>,
    /// Columns that tell where a record came from.
    pub provenance: Provenance,
}

/// One kind of outputs of `convert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertTarget {
    /// The template of its keys.
    pub template: Template,
    /// The time that a partition holds.
    pub partition: Option<PartitionSize>,
    /// The columns that partition; names of placeholders are left out, since keys give those.
    pub columns: Vec<String>,
    /// The format.
    pub format: FormatOptions,
    /// The codec, by its name.
    pub codec: String,
    /// Its level.
    pub level: Option<i64>,
    /// An object closes when it would be larger: a partition is several then. Units: bytes.
    pub max_bytes: Option<ByteSize>,
    /// Where the metadata of a data set is copied to, if it is.
    pub metadata: Option<Template>,
}

/// Where the columns of records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaSource {
    /// Declared columns and their types, in the order of the file; beside a base they override single ones.
    pub columns: Vec<(String, String)>,
    /// Where the others come from.
    pub base: SchemaBase,
}

/// Where columns that are not declared come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaBase {
    /// There are no others.
    Declared,
    /// From the metadata file of a data set of S3DB.
    S3db(Box<Target>),
    /// From a sample of the first run.
    Inferred,
}

/// Where the time of a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSource {
    /// Nowhere.
    None,
    /// In a placeholder of `from`.
    Key(String),
    /// In a column.
    Column(String),
}

/// How objects are combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CombineConfig {
    /// What goes between two inputs.
    pub separator: Separator,
    /// What the first line of an input is.
    pub header: Header,
    /// How closely inputs are looked at.
    pub check: Check,
    /// Whether a manifest for Redshift is written.
    pub redshift_manifest: RedshiftManifest,
    /// Content type of the outputs; the store's default where there is none.
    pub content_type: Option<String>,
}

/// What goes between two inputs where the first does not end in a newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// A newline.
    Newline,
    /// Nothing.
    None,
}

/// What the first line of an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Data like the others.
    AsData,
    /// A header: the output keeps that of its first input.
    First,
}

/// How closely inputs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Not at all.
    None,
    /// They are decoded; a damaged one fails its group.
    Decode,
}

/// Whether `{to}.manifest` is written for Redshift's COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedshiftManifest {
    /// It is not.
    Absent,
    /// It is, beside each output.
    Beside,
}
