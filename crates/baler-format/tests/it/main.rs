//! Tests of the formats: against themselves, against naive models, against readers and writers that others wrote.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed; one that cannot run says so"
)]

mod chunks;
mod codecs;
mod columnar;
mod csv;
mod damage;
mod fast;
mod foreign;
mod fuzz;
mod inference;
mod json;
mod parquet_columns;
mod round_trip;
mod samples;
#[path = "../../../../fuzz/fuzz_targets/common/mod.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets share it")]
mod targets;
