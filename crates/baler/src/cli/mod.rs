//! The command line: global flags, verbs, and how each ends.

mod abort;
mod backfill;
mod check;
mod completions;
mod ddl;
mod gc;
mod iam;
mod init;
mod plan;
mod preview;
mod quarantine;
mod retry;
mod run;
mod runs;
mod schema;
mod show;
mod verify;

use std::path::PathBuf;

use baler_model::ByteSize;
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::{failure, logs};

/// Combine many small objects into few large ones, each record accounted for
#[derive(Debug, Parser)]
#[command(name = "baler", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Read this configuration
    #[arg(
        short,
        long,
        global = true,
        value_name = "PATH",
        default_value = DEFAULT_FILE,
        help_heading = "Global options"
    )]
    pub(crate) file: PathBuf,
    /// Print for people (text) or for programs (json)
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Global options")]
    pub(crate) format: Format,
    /// Override a value of the configuration, such as flows.audit.batch.max_objects=5; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", help_heading = "Global options")]
    pub(crate) set: Vec<String>,
    /// Pretend that it is this time (2026-01-31 or 2026-01-31T02:00:00Z) in templates, `where` and schedules
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_time, help_heading = "Global options")]
    pub(crate) as_of: Option<Timestamp>,
    /// Send this many requests at once
    #[arg(long, global = true, value_name = "N", default_value_t = 256, value_parser = parse_concurrency, help_heading = "Global options")]
    pub(crate) concurrency: usize,
    /// Hold this much of objects in memory at most; 64MiB is the least
    #[arg(long, global = true, value_name = "SIZE", default_value = "256MiB", value_parser = parse_memory, help_heading = "Global options")]
    pub(crate) memory: ByteSize,
    /// Show no progress and no notes
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Log more (-v, -vv, -vvv); BALER_LOG says it in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

/// The file that is read where `--file` names no other.
const DEFAULT_FILE: &str = "./baler.toml";

impl Global {
    /// How `baler` is called for the same configuration, to be pasted into a shell: `baler`, or `baler -f PATH`.
    pub(crate) fn command(&self) -> String {
        let file = self.file.display().to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
        match file.as_str() {
            DEFAULT_FILE => "baler".to_owned(),
            file if file.chars().all(plain) => format!("baler -f {file}"),
            file => format!("baler -f '{}'", file.replace('\'', "'\\''")),
        }
    }
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a commented baler.toml to start from
    Init(init::Init),
    /// Validate the configuration, the stores and the permissions
    Check(check::Check),
    /// Show what a run would do, without doing it
    Plan(plan::Plan),
    /// Finish what is open, then combine or convert what is new
    Run(run::Run),
    /// Convert a past range again, whole partitions at a time
    Backfill(backfill::Backfill),
    /// Show the first records of a flow as they would come out
    Preview(preview::Preview),
    /// Print the tables that Athena and Glue see in what a flow writes
    Ddl(ddl::Ddl),
    /// Show records that were set aside, and convert their objects again
    Quarantine(quarantine::Quarantine),
    /// List the runs
    Runs(runs::Runs),
    /// Show a run, or a flow
    Show(show::Show),
    /// Go on with a run that is blocked or stuck
    Retry(retry::Retry),
    /// End a run without effect and free its sources
    Abort(abort::Abort),
    /// Read the outputs of a run again and prove that nothing was lost
    Verify(verify::Verify),
    /// Remove abandoned uploads, temporary files and leftovers of ended runs
    Gc(gc::Gc),
    /// Print the JSON Schema of baler.toml, for editors
    Schema,
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// Does what the command line says.
pub(crate) fn main(cli: Cli) -> Exit {
    let Cli { global, verb } = cli;
    logs::start(global.verbose);
    let done = match verb {
        Verb::Init(verb) => verb.execute(&global),
        Verb::Schema => schema::execute(),
        Verb::Completions(verb) => verb.execute(),
        Verb::Check(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Plan(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Run(verb) => on_runtime(Patience::Some, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Backfill(verb) => on_runtime(Patience::Some, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Preview(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Ddl(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Quarantine(verb) => on_runtime(Patience::Some, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Runs(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Show(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Retry(verb) => on_runtime(Patience::Some, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Abort(verb) => on_runtime(Patience::Some, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Verify(verb) => on_runtime(Patience::None, async |cancel| verb.execute(&global, &cancel).await),
        Verb::Gc(verb) => on_runtime(Patience::Some, async |cancel| verb.execute(&global, &cancel).await),
    };
    done.unwrap_or_else(|error| {
        failure::print(&error);
        failure::exit(&error)
    })
}

/// Whether a verb may end by itself after Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It only reads: it is dropped at once.
    None,
    /// It gets some seconds to leave things tidy and to say how to go on.
    Some,
}

/// How long a verb may take to stop by itself.
const TIDYING: std::time::Duration = std::time::Duration::from_secs(10);

/// A thread for what blocks ends after so long without work. They take turns, and each keeps memory of its own: those that a
/// burst of calls left behind would never end.
const IDLE: std::time::Duration = std::time::Duration::from_millis(10);

/// Runs a verb until it is done, or until patience ends after Ctrl-C. Dropping it is safe at any instant.
fn on_runtime(
    patience: Patience,
    verb: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    // Directory work happens on blocking threads; two workers keep requests going while one computes checksums.
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_keep_alive(IDLE)
        .enable_all()
        .build()?;
    let cancel = CancellationToken::new();
    let done = runtime.block_on(async {
        tokio::select! {
            biased;
            done = verb(cancel.clone()) => done,
            () = end_of(patience, &cancel) => Ok(Exit::Interrupted),
        }
    });
    // Nothing is waited for: what a thread still does to a temporary file, nobody will see. Its threads end with the process:
    // to let go of one that is just ending can crash within glibc (a race in `pthread_detach`), when all work is done.
    std::mem::forget(runtime);
    baler_engine::end_programs();
    match done {
        Ok(exit) if cancel.is_cancelled() => Ok(exit.max(Exit::Interrupted)),
        Err(error) if cancel.is_cancelled() && failure::exit(&error) != Exit::Internal => {
            failure::print(&error);
            Ok(Exit::Interrupted)
        }
        done => done,
    }
}

#[expect(clippy::disallowed_methods, reason = "the user's patience is real time")]
async fn end_of(patience: Patience, cancel: &CancellationToken) {
    cancel.cancelled().await;
    match patience {
        Patience::None => {}
        Patience::Some => tokio::time::sleep(TIDYING).await,
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let day: jiff::civil::Date =
        text.parse().map_err(|_| "write a day as 2026-01-31 or a time as 2026-01-31T02:00:00Z".to_owned())?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|e| e.to_string())?;
    Ok(midnight.timestamp())
}

fn parse_concurrency(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n @ 1..=4096) => Ok(n),
        Ok(_) | Err(_) => Err("a number from 1 to 4096 is needed".into()),
    }
}

fn parse_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|e: baler_model::QuantityError| match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    })?;
    if size.bytes() < 64 << 20 { Err("64MiB is the least".into()) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_and_verbs_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_to_do_next_names_the_file_that_was_read() {
        let command = |args: &[&str]| Cli::parse_from(args).global.command();
        assert_eq!(command(&["baler", "run"]), "baler");
        assert_eq!(command(&["baler", "-f", "/etc/etl.toml", "run"]), "baler -f /etc/etl.toml");
        assert_eq!(command(&["baler", "-f", "it's here.toml", "run"]), r"baler -f 'it'\''s here.toml'");
    }

    #[test]
    fn a_day_is_its_first_instant_in_utc() {
        assert_eq!(parse_time("2026-01-31").unwrap().to_string(), "2026-01-31T00:00:00Z");
        assert_eq!(parse_time("2026-01-31T02:00:00+01:00").unwrap().to_string(), "2026-01-31T01:00:00Z");
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn memory_below_what_one_part_needs_is_refused() {
        assert!(parse_memory("63MiB").is_err());
        assert_eq!(parse_memory("1GiB").unwrap().bytes(), 1 << 30);
    }
}
