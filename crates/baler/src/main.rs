//! The command line of Baler: parses, calls the engine, prints, and ends with an exit code.
//!
//! Data goes to stdout, talk to stderr. No business rule lives here: every verb calls `baler-engine`.

#[cfg(feature = "azure")]
mod azure_account;
mod cli;
#[cfg(feature = "s3")]
mod credentials;
mod exit;
mod failure;
#[cfg(feature = "gcs")]
mod gcs_account;
mod logs;
mod processes;
mod session;
mod signals;
mod stores;
mod ui;

use std::process::ExitCode;

use clap::Parser;

/// Planning makes and drops texts by the million, on several threads.
#[global_allocator]
static ALLOCATOR: baler_alloc::Allocator = baler_alloc::Allocator;

fn main() -> ExitCode {
    // From the first page on: what was to wait for a second would do so, whatever is said later.
    baler_alloc::give_back_after(baler_alloc::SOON);
    exit::announce_panics();
    let cli = cli::Cli::parse();
    std::panic::catch_unwind(|| cli::main(cli)).unwrap_or(exit::Exit::Internal).into()
}
