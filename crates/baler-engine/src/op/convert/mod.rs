//! `convert`: records decoded, typed, partitioned and encoded, with bounded memory.
//!
//! - [`plan`] makes groups of what was listed: the inputs of partitions that are built anew;
//! - [`columns`] finds out which columns the records have;
//! - [`scrub`] changes records between decoding and encoding; [`tables`] and [`ddl`] tell Athena and Glue of the outputs;
//! - [`kinds`] tells formats and codecs; [`preview`] shows the first records, [`aside`] what was set aside;
//! - [`execute`] executes one task: [`feed`] brings bytes, a [`job`] decodes ([`decoding`]) them on threads,
//!   [`writing`] writes them to their outputs, each an [`object`], [`upload`] stages what comes out, [`rejects`] writes what
//!   is set aside, [`routing`] tells records apart by their time, [`split`] by the values of columns, whose outputs
//!   [`partitions`] writes.

pub mod aside;
mod buffers;
pub mod columns;
pub mod ddl;
pub(crate) mod decoding;
pub(crate) mod execute;
pub(crate) mod feed;
mod job;
pub(crate) mod kinds;
mod object;
mod partitions;
pub mod plan;
pub mod preview;
pub(crate) mod rejects;
mod routing;
pub mod scrub;
mod split;
pub mod tables;
pub(crate) mod upload;
mod writing;
