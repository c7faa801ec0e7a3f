//! Bytes to Arrow record batches and back, without stores, network or async.
//!
//! - [`codec`]: compression of whole objects, read to the end of their last member;
//! - [`schema`]: columns and their types, as `baler.toml` writes them; inference, drift;
//! - [`Format`]: how records stand in bytes;
//! - [`decode`]: bytes to batches, with what was rejected and where;
//! - [`encode`]: batches to bytes;
//! - [`chunks`]: one object split into stretches of records that are read apart from each other.

pub mod chunks;
pub mod codec;
pub mod decode;
pub mod encode;
mod fast;
mod format;
pub mod schema;

pub use format::{Csv, Format, Ipc};
