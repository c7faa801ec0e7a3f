//! Every store against the promises of the contract.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests panic where a claim does not hold")]

#[cfg(feature = "azure")]
mod azure;
mod directory;
#[cfg(feature = "gcs")]
mod gcs;
mod memory;
#[cfg(feature = "s3")]
mod moto;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod s3_faults;
#[cfg(feature = "s3")]
mod s3_liars;
#[cfg(feature = "s3")]
mod s3_restart;
