//! How `scatter` splits objects, what is done to their records, and what is gathered, as a plan keeps it.
//!
//! A batch is one object and one group: a task for each of its chunks in stage 0, and in stage 1 the task that gathers what they
//! made, which comes last and alone names the object that all of them read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::convert::{FormatOptions, PlannedSchema};
use crate::{Key, ObjectVersion};

/// How `scatter` works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScatterOptions {
    /// The format of the inputs, where their suffixes do not decide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<FormatOptions>,
    /// The keys under which JSON documents hold their records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// The most records of a chunk.
    pub chunk: u64,
    /// A compressed input may grow to so many times its size.
    pub max_expansion: u64,
    /// The columns of records, where something asks for them: an upsert, or an input that is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<PlannedSchema>,
    /// What each record goes through, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<EachOptions>,
    /// The table that takes the records which went through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsert: Option<UpsertOptions>,
    /// How results are written.
    pub result: ResultOptions,
}

/// One step that each record goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EachOptions {
    /// It is held against a JSON Schema.
    JsonSchema {
        /// The file that the schema came from.
        path: String,
        /// The schema.
        text: String,
    },
    /// A query takes it, one by one.
    Sql {
        /// One query over `input`.
        text: String,
    },
    /// A program answers for it.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// Where it is started.
        directory: String,
        /// An answer takes so long at most. Units: milliseconds.
        timeout: u64,
    },
    /// A server answers for it.
    Http {
        /// Where records are posted to.
        url: String,
        /// Records of a request.
        batch: u64,
        /// Requests at once.
        concurrency: u64,
        /// An answer takes so long at most. Units: milliseconds.
        timeout: u64,
    },
}

impl EachOptions {
    /// The text of a query.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Sql { text } => Some(text),
            Self::JsonSchema { .. } | Self::Program { .. } | Self::Http { .. } => None,
        }
    }
}

/// The table that takes records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpsertOptions {
    /// The connection, by its name.
    pub into: String,
    /// Where it led when the run was planned, without secrets: a run is never resumed against another database.
    pub database: String,
    /// The table.
    pub table: String,
    /// The columns that make two records one.
    pub key: Vec<String>,
    /// Whether the table is created where there is none.
    pub create: bool,
}

/// How results are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultOptions {
    /// One document, or a line for each record.
    pub shape: ResultShape,
    /// The codec, by its name.
    pub codec: String,
    /// Its level; the codec's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
}

/// What a result looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultShape {
    /// `{"batchId":"…","records":[…]}`.
    Document,
    /// The same records, one a line.
    Lines,
}

/// What a task of `scatter` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScatterTask {
    /// It takes the records of a chunk.
    Chunk(ChunkTask),
    /// It gathers what the chunks made.
    Gather(Box<GatherTask>),
}

/// A chunk of the object that the gathering task of its group names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkTask {
    /// The number of its first record in the object, from 1.
    pub first: u64,
    /// How many records it has; at least one.
    pub records: u64,
    /// Where they stand.
    #[serde(flatten)]
    pub extent: ChunkExtent,
}

/// Where the records of a chunk stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkExtent {
    /// In bytes of the decompressed object.
    Bytes {
        /// The first.
        start: u64,
        /// The one behind the last.
        end: u64,
        /// The line on which the first record begins, from 1.
        line: u64,
        /// Whether damage cuts the last record.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cut_off: bool,
    },
    /// In row groups of Parquet.
    Groups {
        /// The first.
        start: u64,
        /// The one behind the last.
        end: u64,
    },
}

/// What is gathered of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatherTask {
    /// The name of the batch.
    pub batch: String,
    /// When it is from: upserts are ordered by it.
    pub batch_time: Timestamp,
    /// Records of the batches before it in the plan: records are numbered through, so that of equal times one comes later.
    pub before: u64,
    /// Records of all chunks, and one more for what cannot be read.
    pub records: u64,
    /// Chunks; their tasks stand right before this one.
    pub chunks: u32,
    /// Why the rest of the object cannot be read, where there is damage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The record that heads an input of CSV, as it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Where the summary goes.
    pub summary: Key,
    /// The version that the summary replaces, of an earlier version of the batch; else nothing may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_replaces: Option<ObjectVersion>,
    /// Where records that failed go; no such object is written where none did.
    pub quarantine: Key,
    /// Whether the object was consumed before and is read again: it is not claimed then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reread: bool,
    /// How long it took to find the chunks. Units: milliseconds.
    pub split_millis: u64,
}

impl GatherTask {
    /// The keys that it may write besides the result.
    pub fn beside(&self) -> [&Key; 2] {
        [&self.summary, &self.quarantine]
    }
}
