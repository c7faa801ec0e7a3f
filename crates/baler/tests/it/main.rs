//! The command line, as people and scripts meet it: the real binary on directories.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on stops where it stands, and says so"
)]

mod bad_records;
mod bench;
#[cfg(feature = "azure")]
mod cli_azure;
mod cli_config;
mod cli_convert;
mod cli_first_steps;
#[cfg(feature = "gcs")]
mod cli_gcs;
mod cli_interrupt;
mod cli_ledger;
mod cli_manifests;
mod cli_plan;
mod cli_run;
#[cfg(feature = "s3")]
mod cli_s3;
mod cli_scatter;
mod cli_sql;
mod convert_kill;
mod kill;
mod killer;
mod memory;
mod outside_data;
mod records;
mod scatter_kill;
