//! The S3 server against its own promises, over plain HTTP.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests panic where a claim does not hold")]

mod client;
mod conditions;
mod fault_store;
mod faults;
mod process;
mod uploads;
mod walks;
