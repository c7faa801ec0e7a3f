//! The tables that Athena and Glue see in what a flow writes: one for each kind of outputs and each directory that holds
//! them, partitioned by the pieces `name=value` of its paths.

use std::collections::{BTreeMap, BTreeSet};

use baler_format::schema::Schema;
use baler_model::PartitionSize;
use baler_model::config::{ConvertConfig, ConvertTarget, Operation};
use serde_json::Value;

use super::ddl::{self, Partition, PartitionKind, Table, TimeUnit, java_pattern};
use super::{columns, job, kinds, plan};
use crate::env::Secrets;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::LedgerState;
use crate::plan::{Again, Ask};

/// A table, as both catalogs want it.
#[derive(Debug, Clone)]
pub struct Defined {
    /// Its name.
    pub name: String,
    /// `CREATE EXTERNAL TABLE` for Athena.
    pub athena: String,
    /// The `TableInput` of Glue.
    pub glue: Value,
}

/// What the tables are called and where they lie.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The database.
    pub database: &'a str,
    /// Where the objects lie, where that is not where the flow writes them: `s3://bucket/prefix`.
    pub location: Option<&'a str>,
}

/// Defines the tables of a flow. Kinds of outputs that Athena cannot read come back as reasons.
///
/// Columns are those of the last committed run, else those that a run would have now.
/// Cost: a GET of the last plan; where there is none, a plan. Errors: a flow that does not convert, or has no outputs yet.
pub async fn define(
    flow: &Flow,
    state: &LedgerState,
    asked: Asked<'_>,
) -> Result<(Vec<Defined>, Vec<String>), EngineError> {
    let unfit = |detail: String, hint: &str| EngineError::Unfit {
        store: flow.name().to_owned(),
        role: "for tables",
        detail,
        hint: hint.to_owned(),
    };
    let Operation::Convert(options) = &flow.config.operation else {
        return Err(unfit("it does not convert".to_owned(), "name a flow with `do = \"convert\"`"));
    };
    let url = &flow.target.info().url;
    let base = match asked.location {
        Some(location) => location.trim_end_matches('/').to_owned(),
        None if url.starts_with("s3://") => url.trim_end_matches('/').to_owned(),
        None => {
            let hint = "say by `--location s3://bucket/prefix` where they will lie";
            return Err(unfit(format!("Athena reads from S3, and outputs go to `{url}`"), hint));
        }
    };
    let mut schemas = columns::of_last_run(flow, state).await?;
    let mut keys: BTreeSet<String> = state.objects().keys().map(ToString::to_string).collect();
    if schemas.is_empty() {
        let ask = Ask { again: Again::Nothing, ..Ask::default() };
        let planned = crate::plan::plan(flow, state, ask).await?;
        if let baler_model::ledger::OperationOptions::Convert(options) = planned.plan.header.operation {
            schemas = options.schemas;
        }
        let outputs = planned.plan.tasks.iter().flat_map(|task| &task.convert).flat_map(|convert| &convert.outputs);
        keys.extend(outputs.map(|output| output.key.to_string()));
    }
    let Some(planned) = schemas.first() else {
        return Err(unfit("nothing was converted yet, and nothing is there".to_owned(), "`baler plan` tells more"));
    };
    let written = written(options, planned).map_err(|detail| unfit(detail, "`baler check` tells more"))?;
    let (mut tables, mut reasons) = (Vec::new(), Vec::new());
    for target in &options.targets {
        match of_target(flow, target, &written, &keys, &base, asked.database) {
            Ok(defined) => tables.extend(defined),
            Err(reason) => reasons.push(format!("`{}`: {reason}", target.template.as_str())),
        }
    }
    Ok((tables, reasons))
}

/// The columns as they are written.
fn written(options: &ConvertConfig, planned: &baler_model::ledger::PlannedSchema) -> Result<Schema, String> {
    /// Definitions show no value: any salt will do.
    #[derive(Debug)]
    struct AnySalt;
    impl Secrets for AnySalt {
        fn secret(&self, _name: &str) -> Option<String> {
            Some("any".to_owned())
        }
    }
    let schema = planned.columns.parse::<Schema>().map_err(|error| error.to_string())?;
    job::written(&options.scrub, &options.provenance, &schema, options.sql.as_deref(), &AnySalt)
}

/// A directory of a template.
enum Piece<'t> {
    /// `name=value`, the value being a placeholder with its format.
    Partition { name: &'t str, word: &'t str, format: Option<&'t str> },
    /// Anything else, which stands for so many directories.
    Other { directories: usize },
}

fn of_target(
    flow: &Flow,
    target: &ConvertTarget,
    written: &Schema,
    keys: &BTreeSet<String>,
    base: &str,
    database: &str,
) -> Result<Vec<Defined>, String> {
    if target.max_bytes.is_some() && !target.template.names_runs() {
        let detail =
            "a partition is several objects, which its manifest names: Athena reads directories, earlier builds too";
        return Err(detail.to_owned());
    }
    let (format, compression) = kinds::target_kind(&plan::planned_target(target))?;
    let pieces = pieces(target.template.as_str());
    let first = pieces.iter().position(|piece| matches!(piece, Piece::Partition { .. })).unwrap_or(pieces.len());
    if pieces[first..].iter().any(|piece| matches!(piece, Piece::Other { .. })) {
        return Err("directories stand behind its partitions".to_owned());
    }
    let above: usize = pieces[..first]
        .iter()
        .map(|piece| match piece {
            Piece::Other { directories } => *directories,
            Piece::Partition { .. } => 1,
        })
        .sum();
    let partitions = &pieces[first..];
    // Keys of this kind of outputs, by the directory that holds them; of each the values of its partitions.
    let mut directories: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let prefix = target.template.literal_prefix();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        let parts: Vec<&str> = key.split('/').collect();
        if parts.len() != above + partitions.len() + 1 {
            continue;
        }
        let value = |(part, piece): (&&str, &Piece<'_>)| match piece {
            Piece::Partition { name, .. } => part.strip_prefix(*name)?.strip_prefix('=').map(str::to_owned),
            Piece::Other { .. } => None,
        };
        let values: Option<Vec<String>> = parts[above..].iter().zip(partitions).map(value).collect();
        if let Some(values) = values {
            directories.entry(parts[..above].join("/")).or_default().push(values);
        }
    }
    if directories.is_empty() {
        return Err("no output of it is there yet".to_owned());
    }
    let several = directories.len() > 1;
    let mut tables = Vec::new();
    for (directory, values) in directories {
        let location = format!("{base}/{directory}/");
        let mut template = location.trim_end_matches('/').to_owned();
        let mut projected = Vec::new();
        for (number, piece) in partitions.iter().enumerate() {
            let Piece::Partition { name, word, format } = piece else { continue };
            let least = values.iter().filter_map(|values| values.get(number)).min().cloned().unwrap_or_default();
            projected.push(Partition { name: (*name).to_owned(), kind: kind(target, word, *format, least)? });
            template.push_str(&format!("/{name}=${{{name}}}"));
        }
        let name = table_name(flow, target, &directory, several);
        let table = Table {
            database,
            name: &name,
            columns: written,
            template: (!projected.is_empty()).then_some(template),
            partitions: projected,
            location,
            format: &format,
            codec: compression.codec(),
        };
        let said = |error: ddl::DdlError| format!("{error} ({})", error.hint());
        let (athena, glue) = (ddl::athena(&table).map_err(said)?, ddl::glue(&table).map_err(said)?);
        tables.push(Defined { name, athena, glue });
    }
    Ok(tables)
}

/// The directories of a template; slashes within braces divide directories of keys, not of the template.
fn pieces(template: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in template.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            '/' if depth == 0 => {
                pieces.push(piece(&template[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces
}

fn piece(text: &str) -> Piece<'_> {
    let partition = text.split_once('=').and_then(|(name, value)| {
        let inside = value.strip_prefix('{')?.strip_suffix('}')?;
        let plain = !name.is_empty() && !name.contains(['{', '}']) && !inside.contains(['{', '}', '/']);
        let (word, format) = match inside.split_once(':') {
            Some((word, format)) => (word, Some(format)),
            None => (inside, None),
        };
        plain.then_some(Piece::Partition { name, word, format })
    });
    partition.unwrap_or(Piece::Other { directories: 1 + text.matches('/').count() })
}

/// Which values a partition has, from the placeholder that its value is.
fn kind(target: &ConvertTarget, word: &str, format: Option<&str>, least: String) -> Result<PartitionKind, String> {
    let (Some(format), "partition", Some(size)) = (format, word, target.partition) else {
        return Ok(PartitionKind::Text);
    };
    let number = |least: i64, greatest: i64, digits: u8| PartitionKind::Int { least, greatest, step: 1, digits };
    Ok(match format {
        "%Y" if size != PartitionSize::Year => number(least.parse().unwrap_or(1970), 2100, 4),
        "%m" => number(1, 12, 2),
        "%d" => number(1, 31, 2),
        "%H" => number(0, 23, 2),
        "epoch" => match size {
            PartitionSize::Hour | PartitionSize::Day => {
                let step = if size == PartitionSize::Hour { 3_600 } else { 86_400 };
                let least = least.parse().map_err(|_| format!("`{least}` is no second"))?;
                // Until 2100.
                PartitionKind::Int {
                    least,
                    greatest: 4_102_444_800 / step * step,
                    step: step.unsigned_abs(),
                    digits: 0,
                }
            }
            PartitionSize::Month | PartitionSize::Year => PartitionKind::Text,
        },
        format => match java_pattern(format) {
            Some(pattern) => {
                let unit = match size {
                    PartitionSize::Hour => TimeUnit::Hour,
                    PartitionSize::Day => TimeUnit::Day,
                    PartitionSize::Month => TimeUnit::Month,
                    PartitionSize::Year => TimeUnit::Year,
                };
                PartitionKind::Time { unit, pattern, first: least }
            }
            None => PartitionKind::Text,
        },
    })
}

/// The flow, and what tells its tables apart; in letters that catalogs take.
fn table_name(flow: &Flow, target: &ConvertTarget, directory: &str, several: bool) -> String {
    let mut name = flow.name().to_owned();
    let more = matches!(&flow.config.operation, Operation::Convert(options) if options.targets.len() > 1);
    if more {
        let size = target.partition.map_or("all", PartitionSize::name);
        name = format!("{name}_{}_{size}", target.format.name());
    }
    if several {
        let last: Vec<&str> = directory.rsplit('/').take(2).collect();
        name = format!("{name}_{}", last.into_iter().rev().collect::<Vec<&str>>().join("_"));
    }
    name.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
