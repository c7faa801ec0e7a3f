//! `baler.toml`: read, then checked, then held as proof.
//!
//! [`RawConfig::parse`] takes text, environment and `--set` overrides; [`RawConfig::validate`] resolves places against
//! the directory of the file and checks what can be checked without a store: names, patterns, templates, and that flows
//! keep out of each other's way (INV-CLAIM-1, INV-LOOP-1; see [`Config::check_bound`] for what depends on a manifest).
//! Whoever holds a [`Config`] need not check any of it again.

mod claims;
mod convert;
mod cron;
mod flow;
mod place;
mod raw;
mod raw_convert;
mod raw_scatter;
mod resolved;
mod scatter;
mod scrub;
mod source;
mod suffix;
mod tree;
mod validate;

pub use claims::Conflict;
pub use place::{
    Addressing, AzureConfig, DirectoryConfig, GcsConfig, Hosts, Place, S3Config, StoreConfig, StoreId, StoreName,
};
pub use raw::schema;
pub use resolved::{
    AfterCommit, Batch, Check, CombineConfig, Config, Connection, ConvertConfig, ConvertTarget, Deletes, EachConfig,
    FlowConfig, Header, Operation, Overwrite, RedshiftManifest, ScatterConfig, SchemaBase, SchemaSource, Separator,
    Source, SourcePolicy, Target, TimeSource, Trigger, UpsertConfig,
};
pub use source::{ConfigError, Problem};
pub use validate::RawConfig;
