//! `baler init`: a commented `baler.toml` that works as it is.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use clap::ValueEnum;

use super::Global;
use crate::exit::Exit;
use crate::failure::UsageError;
use crate::ui;

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// The job that the file is for
    #[arg(value_enum, default_value_t = Job::Combine)]
    job: Job,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// The jobs that this build has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Job {
    /// Many small objects into few large ones
    Combine,
    /// Records into typed, partitioned objects
    Convert,
    /// Records checked, upserted into a table, and answered
    Scatter,
}

impl Init {
    pub(super) fn execute(&self, global: &Global) -> anyhow::Result<Exit> {
        let shown = global.file.display();
        let (text, try_it) = match self.job {
            Job::Combine => (COMBINE, TRY_COMBINE),
            Job::Convert => (CONVERT, TRY_CONVERT),
            Job::Scatter => (SCATTER, TRY_SCATTER),
        };
        let text = text.replacen("STORES", STORES, 1);
        let mut options = OpenOptions::new();
        match self.force {
            true => options.write(true).create(true).truncate(true),
            false => options.write(true).create_new(true),
        };
        let written = options.open(&global.file).and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let hint = "`--force` replaces it; `--file PATH` writes another";
                return Err(UsageError::new(format!("`{shown}` is there already"), hint).into());
            }
            written => written.with_context(|| format!("`{shown}` cannot be written"))?,
        }
        if !global.quiet {
            ui::talk(&format!("wrote {shown}\n{try_it}"));
        }
        Ok(Exit::Success)
    }
}

/// Stands in each file.
const STORES: &str = r#"# Where Baler keeps its ledger, the durable record of what was done. Default: ./.baler beside this file.
# state = "lake:_baler"

[stores]
# A directory, relative to this file. On S3: "s3://my-bucket/prefix", or a table with settings:
#   lake = { url = "s3://my-bucket", region = "eu-west-2", endpoint = "http://127.0.0.1:9000" }
# Region and credentials are found as the AWS CLI finds them. ${VAR} and ${VAR:-default} come from the environment.
lake = "./data"
"#;

const TRY_COMBINE: &str = r#"try it:
  mkdir -p data/inbox/2026-01-31
  echo '{"id":1}' > data/inbox/2026-01-31/a.jsonl
  echo '{"id":2}' > data/inbox/2026-01-31/b.jsonl
  baler plan     # what a run would do
  baler run      # do it
  cat data/daily/2026-01-31_000.jsonl
"#;

const TRY_CONVERT: &str = r#"try it:
  mkdir -p data/inbox
  printf 'id,price\n1,2.50\n2,\n' > data/inbox/2026-01-31.csv
  baler preview events   # the first records as they would come out
  baler run              # do it
  cat data/events/year=2026/month=01/part.jsonl
"#;

const TRY_SCATTER: &str = r#"try it:
  mkdir -p data/inbox
  echo '{"records":[{"itemNo":"a","price":5},{"itemNo":"b"}]}' > data/inbox/1.json
  baler plan     # what a run would do
  baler run      # do it
  cat data/outbox/1.json data/outbox/1.summary.json
"#;

const SCATTER: &str = r#"# Baler takes the records of each object in chunks, in parallel, and gathers one result with an answer for each of them.
# `baler check` validates this file, `baler plan` shows what a run would do, `baler run` does it, `baler quarantine prices`
# shows the records that failed. `baler schema` prints every key with its meaning, for editors.
version = 1

STORES
[connections]
# A file of SQLite, made where there is none. PostgreSQL: { postgres = { env = "ITEMS_URL" } }
items = { sqlite = "./items.db" }

[flows.prices]
do = "scatter"

# Which objects it takes; each is a batch, such as inbox/1.json. Formats are told by the suffix: .json .jsonl .csv .parquet
from = "lake:inbox/{batch}.json"

# Where a JSON document holds its records, and how many of them are worked at together.
split = { records = "records", chunk = 1000 }

# What each record goes through; one that fails is answered by its reason, set aside, and goes no further.
# each = { json_schema = "price.schema.json" }
# each = { program = ["python3", "price.py"], timeout = "30s" }
# each = { http = "http://127.0.0.1:8080/prices", batch = 100, concurrency = 4 }

# The table that takes the others; of records of one key the newest stays, by the time of its batch.
upsert = { into = "items", table = "items", key = ["itemNo"], create = true }

# The columns; default: inferred from a sample of the first run, and kept.
schema = { columns = { itemNo = "text", price = "float64" } }

# The result: an answer for each record, in order; beside it {batch}.summary.json. A line each: end it in .jsonl
to = "lake:outbox/{batch}.json"

# What becomes of the sources once their result is published and confirmed: "keep" (default), "delete", "archive".
# sources = { after_commit = "archive", archive_to = "lake:old" }
"#;

const CONVERT: &str = r#"# Baler converts the objects that land in a store into typed, partitioned ones, each record accounted for.
# `baler check` validates this file, `baler plan` shows what a run would do, `baler preview events` the first records,
# `baler run` does it. `baler schema` prints every key with its meaning, for editors.
version = 1

STORES
[flows.events]
do = "convert"

# Which objects it takes: the pattern matches the whole key, such as inbox/2026-01-31.csv. Format and codec are told by the
# suffix: .jsonl .json .csv .parquet .arrow, with .gz .zst .br .bz2 .lz4 .sz behind.
# {day:%Y-%m-%d} is a time: each object holds that day.
from = "lake:inbox/{day:%Y-%m-%d}.csv"

# What comes out: one object a month, built anew when a day of it appears or changes. hive: year=2026/month=01/part.jsonl.
# Several kinds of outputs of one read: [[flows.events.to]] tables, each with `path` or `layout`.
to = { layout = "hive", prefix = "lake:events", partition = "month", format = "jsonl" }

# The columns; default: inferred from a sample of the first run, and kept.
# schema = { columns = { id = "int64 not null", price = "decimal(9,2)" } }

# When objects have other columns than those: "fail" (default), "quarantine", "widen".
# on_drift = "widen"

# What is done to records in between.
# scrub = { trim = true, null_values = ["N/A"], rename = { id = "order" }, dedupe = { key = ["id"], keep = "last" } }
# Or, in a build with SQL, over the records of each output:
# sql = "SELECT id, price FROM input WHERE price > 0"

# Records that cannot be taken are set aside; more of them than this fail their group.
# max_quarantined = "1%"

# Columns that tell where a record came from.
# provenance = { key = "_key", line = "_line" }
"#;

const COMBINE: &str = r#"# Baler combines the many small objects that land in a store into few large ones, each record accounted for.
# `baler check` validates this file, `baler plan` shows what a run would do, `baler run` does it.
# `baler schema` prints every key with its meaning, for editors.
version = 1

STORES
[flows.events]
do = "combine"

# Which objects it takes: the pattern matches the whole key, such as inbox/2026-01-31/host1.jsonl.
# {name} is one or more characters without `/`; {day:%Y-%m-%d} a time; {n:int} digits; * and ** wildcards.
from = "lake:inbox/{day:%Y-%m-%d}/{name}.jsonl"

# What an output is called. The names used here make the groups: one group per {day}.
# {index:03} numbers the outputs of a group, so that late objects get an output of their own.
to = "lake:daily/{day:%Y-%m-%d}_{index:03}.jsonl"

# Leave today's objects for tomorrow:
# where = ["day < today"]

# Order within an output; default: by key.
# order_by = ["name"]

# How many objects make one output; objects younger than `settle` wait for the next run.
# batch = { max_objects = 10_000, max_bytes = "1GiB", min_objects = 2, settle = "15m" }

# What becomes of the sources once their output is published and confirmed: "keep" (default), "delete", "archive".
# sources = { after_commit = "delete", delay = "7d" }
# sources = { after_commit = "archive", archive_to = "lake:old" }

# Decode compressed objects and parse JSON lines first; a damaged one fails its group and no other.
# check = "decode"

# Write {to}.manifest beside each output, for Redshift's COPY.
# redshift_manifest = true
"#;
