//! DataFusion's errors in Baler's words: what is wrong, and what to do.

use arrow_schema::ArrowError;
use baler_model::Kind;
use baler_model::did_you_mean;
use baler_model::ledger::Failure;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use super::parse::INPUT;
use crate::error::TaskError;

/// Columns that are listed where none is close to the one that is unknown.
const LISTED: usize = 20;

/// An error while a query is read or planned.
pub(super) fn planning(error: &DataFusionError) -> Failure {
    let root = root(error);
    let (text, hint) = match root {
        DataFusionError::SQL(error, _) => {
            let text = match &**error {
                ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
                ParserError::RecursionLimitExceeded => "it nests too deeply".to_owned(),
            };
            (format!("`sql` cannot be read: {}", lower(&text)), None)
        }
        DataFusionError::SchemaError(error, _) => match &**error {
            SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
            SchemaError::AmbiguousReference { field } => (
                format!("several tables have a column `{}`", field.name),
                Some("say which: `t.column`, with a name for each table (`FROM input AS t`)".to_owned()),
            ),
            SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => (
                format!("two columns have the name `{name}`"),
                Some(format!("give one of them another: `AS {name}_2`")),
            ),
        },
        other => said(&other.strip_backtrace()),
    };
    Failure { error: text, hint: Some(hint.unwrap_or_else(|| "correct `sql`".to_owned())) }
}

/// An error while a query runs.
pub(super) fn running(error: &DataFusionError) -> TaskError {
    const REMEDY: &str = "`TRY_CAST(a AS …)` gives null for what cannot be cast, `NULLIF(b, 0)` for a divisor of zero; or leave such records out by `WHERE`";
    let root = root(error);
    let (kind, text, hint) = match root {
        DataFusionError::ArrowError(error, _) => match &**error {
            ArrowError::DivideByZero => {
                (Kind::Data, "a division by zero".to_owned(), "guard the divisor: `a / NULLIF(b, 0)` gives null")
            }
            ArrowError::ArithmeticOverflow(text) => {
                (Kind::Data, lower(text), "cast to a wider type first: `CAST(a AS DECIMAL(38, 0))`, or to `DOUBLE`")
            }
            ArrowError::CastError(text) | ArrowError::ParseError(text) => {
                (Kind::Data, lower(text), "`TRY_CAST(a AS …)` gives null for what cannot be cast")
            }
            ArrowError::IoError(text, _) => (Kind::Transient, lower(text), SPACE),
            other => (Kind::Data, lower(&other.to_string()), REMEDY),
        },
        DataFusionError::ResourcesExhausted(text) if text.contains("disk") => {
            (Kind::Transient, first_line(text), SPACE)
        }
        DataFusionError::ResourcesExhausted(text) => (
            Kind::Data,
            format!("the query needs more memory than it may take: {}", first_line(text)),
            "give more `--memory`, or make smaller partitions; what joins or groups by many values cannot always spill",
        ),
        DataFusionError::IoError(error) => (Kind::Transient, error.to_string(), SPACE),
        other => (Kind::Data, said(&other.strip_backtrace()).0, REMEDY),
    };
    TaskError { kind, failure: Failure { error: format!("`sql`: {text}"), hint: Some(hint.to_owned()) } }
}

const SPACE: &str = "what does not fit into memory goes to the system's temporary directory: free space there, or let `TMPDIR` name another";

/// The error within contexts, collections and shared errors.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, root),
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::ExternalError(inner) => inner.downcast_ref::<DataFusionError>().map_or(error, root),
            _ => error,
        },
        DataFusionError::External(inner) => inner.downcast_ref::<DataFusionError>().map_or(error, root),
        _ => error,
    }
}

fn unknown_column(field: &Column, valid: &[Column]) -> (String, Option<String>) {
    let known: Vec<&str> = valid.iter().map(|column| column.name.as_str()).collect();
    let folded = known.iter().find(|name| name.eq_ignore_ascii_case(&field.name)).copied();
    let hint = match folded.or_else(|| did_you_mean(&field.name, known.iter().copied())) {
        Some(name) => format!("did you mean `{name}`? Names of columns are taken as they are written"),
        None if known.is_empty() => "no column can be named here".to_owned(),
        None => {
            let listed: Vec<String> = known.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
            let more = if known.len() > LISTED { ", …" } else { "" };
            format!("known here: {}{more}", listed.join(", "))
        }
    };
    let of = field.relation.as_ref().map(|table| table.table()).filter(|table| *table != INPUT);
    let of = of.map(|table| format!(" in `{table}`")).unwrap_or_default();
    (format!("there is no column `{}`{of}", field.name), Some(hint))
}

/// An error as DataFusion writes it: `Kind: what is wrong`, then lines that help.
fn said(text: &str) -> (String, Option<String>) {
    const KINDS: [&str; 7] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "External error: ",
        "Internal error: ",
        "This feature is not implemented: ",
        "Schema error: ",
    ];
    let text = KINDS.iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lower(lines.next().unwrap_or_default().trim_end_matches('.'));
    let rest = lines.next().filter(|line| line.starts_with("Did you mean")).map(lower);
    (first, rest)
}

fn first_line(text: &str) -> String {
    lower(text.lines().next().unwrap_or_default().trim())
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        // A word in capitals is a name, or SQL.
        Some(first) if !chars.as_str().starts_with(|c: char| c.is_uppercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        Some(_) | None => text.to_owned(),
    }
}
