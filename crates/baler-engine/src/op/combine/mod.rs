//! `combine`: byte-level stitching of many objects into few, in order, server-side wherever the store can.
//!
//! - [`stitch`] decides which bytes are copied by the store and which pass through this machine;
//! - [`plan`] makes groups, batches and outputs of what was listed;
//! - [`join`] executes one task: it stages one output;
//! - [`sniff`] recognises codecs and formats that do not concatenate; [`decode`] reads inputs through for `check`.

pub(crate) mod decode;
pub(crate) mod join;
pub(crate) mod lz4;
pub mod plan;
pub(crate) mod sniff;
pub mod stitch;
