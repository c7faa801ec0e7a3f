//! The words of Baler as types, without I/O, async, clock or randomness.
//!
//! - [`Key`], [`ObjectVersion`], [`InputVersion`]: what lies in a store;
//! - [`ids`]: names of flows, runs, tasks and attempts;
//! - [`Pattern`], [`Template`], [`Condition`], [`OrderBy`]: which keys a flow takes, how it groups and names them;
//! - [`ByteSize`], [`Span`]: quantities as people write them;
//! - [`config`]: `baler.toml`, read and checked; [`scrub`]: what is done to records on their way;
//! - [`Kind`]: what to do about an error.

mod condition;
pub mod config;
mod error;
pub mod ids;
mod key;
pub mod ledger;
mod object;
mod order;
pub mod partition;
mod pattern;
mod quantity;
pub mod scrub;
mod shared;
mod staged;
mod template;
mod text;
mod time_format;

pub use condition::{Condition, ConditionError};
pub use config::{Config, ConfigError, FlowConfig, Place, RawConfig, StoreConfig, StoreId, StoreName};
pub use error::Kind;
pub use ids::{AttemptId, FlowName, LogSeq, RunId, TaskId, WriteId};
pub use key::{Key, KeyError, MAX_KEY_BYTES};
pub use object::{InputVersion, ObjectVersion, Stamp};
pub use order::{OrderBy, SortKey};
pub use partition::PartitionSize;
pub use pattern::{
    Captures, FieldType, MAX_NAMES, Mismatch, Overlap, Pattern, PatternError, RESERVED_WORDS, Shape, UnboundVariable,
    Value,
};
pub use quantity::{ByteSize, QuantityError, Span};
pub use shared::SharedStr;
pub use staged::{Staged, StagedPart, StagedPlace};
pub use template::{KeyPart, Partition, RenderContext, RenderError, Template, TemplateError, Vocabulary};
pub use text::{SyntaxError, did_you_mean};
pub use time_format::Unit;
