//! Table definitions over what `convert` writes: DDL for Athena, a `TableInput` for Glue. Pure text, nothing is called.
//!
//! Partitions are projected: Athena computes them from the table's properties, so that nobody registers them. What a reader
//! would get wrong is said in the comments of the columns and of the table, which the catalog keeps.
//!
//! | | Parquet | JSON lines | CSV |
//! |---|---|---|---|
//! | int64, float64, bool | bigint, double, boolean | the same | string |
//! | text | string | string | string |
//! | date, decimal, timestamp | date, decimal, timestamp | string, as they are written | string |
//! | list, struct | array, struct | array, struct | none in CSV |
//!
//! Source: the Athena user guide (`CREATE TABLE`, "Supported types for partition projection", "Use compression in Athena",
//! the pages of the JSON and CSV SerDes) and the Glue API (`CreateTable`).

mod error;
mod partition;
mod storage;
mod types;

use std::collections::BTreeSet;

use baler_format::codec::Codec;
use baler_format::schema::Schema;
use baler_format::{Format, schema::Column};
use serde_json::{Value, json};

pub use error::DdlError;
pub use partition::{Partition, PartitionKind, TimeUnit, java_pattern};
use storage::Storage;
use types::{Quote, hive_type};

/// A table over objects.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    /// The database that it stands in.
    pub database: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The columns of the objects, as they are written.
    pub columns: &'a Schema,
    /// The columns that the objects' keys hold, in the order of the keys.
    pub partitions: Vec<Partition>,
    /// Where the objects lie: `s3://bucket/prefix/`.
    pub location: String,
    /// The directory of one partition, `${name}` for its value: `s3://bucket/prefix/day=${day}/`. Nothing where there are no
    /// partitions.
    pub template: Option<String>,
    /// How records stand in the objects.
    pub format: &'a Format,
    /// How the objects are compressed, for Parquet within themselves.
    pub codec: Codec,
}

/// A column as a catalog has it.
struct Member {
    name: String,
    ddl: String,
    glue: String,
    comment: Option<String>,
}

/// Everything that both forms say.
struct Definition {
    columns: Vec<Member>,
    partitions: Vec<Member>,
    storage: Storage,
    comment: Option<String>,
    location: String,
    properties: Vec<(String, String)>,
}

/// Writes `CREATE EXTERNAL TABLE` for Athena, with a semicolon and a line end.
///
/// Errors: what Athena cannot read, or could read as something else.
pub fn athena(table: &Table<'_>) -> Result<String, DdlError> {
    let Definition { columns, partitions, storage, comment, location, properties } = define(table)?;
    let mut out = format!("CREATE EXTERNAL TABLE `{}`.`{}` (\n", table.database, table.name);
    push_members(&mut out, &columns);
    out.push_str(")\n");
    if let Some(comment) = &comment {
        push_line(&mut out, "COMMENT ", &literal(comment));
    }
    if !partitions.is_empty() {
        out.push_str("PARTITIONED BY (\n");
        push_members(&mut out, &partitions);
        out.push_str(")\n");
    }
    push_line(&mut out, "ROW FORMAT SERDE ", &literal(storage.serde));
    if !storage.parameters.is_empty() {
        out.push_str("WITH SERDEPROPERTIES (\n");
        push_properties(&mut out, &storage.parameters);
        out.push_str(")\n");
    }
    push_line(&mut out, "STORED AS INPUTFORMAT ", &literal(storage.input));
    push_line(&mut out, "OUTPUTFORMAT ", &literal(storage.output));
    push_line(&mut out, "LOCATION ", &literal(&location));
    out.push_str("TBLPROPERTIES (\n");
    push_properties(&mut out, &properties);
    out.push_str(");\n");
    Ok(out)
}

/// Writes the `TableInput` of Glue's `CreateTable`, for `aws glue create-table --database-name … --table-input file://…`.
///
/// Errors: as [`athena`].
pub fn glue(table: &Table<'_>) -> Result<Value, DdlError> {
    let Definition { columns, partitions, storage, comment, location, properties } = define(table)?;
    let members = |members: &[Member]| -> Value {
        let member = |member: &Member| match &member.comment {
            None => json!({ "Name": member.name, "Type": member.glue }),
            Some(comment) => json!({ "Name": member.name, "Type": member.glue, "Comment": comment }),
        };
        members.iter().map(member).collect()
    };
    let pairs = |pairs: Vec<(String, String)>| -> Value {
        Value::Object(pairs.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
    };
    let mut input = json!({
        "Name": table.name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": pairs([vec![("EXTERNAL".to_owned(), "TRUE".to_owned())], properties].concat()),
        "PartitionKeys": members(&partitions),
        "StorageDescriptor": {
            "Columns": members(&columns),
            "Location": location,
            "InputFormat": storage.input,
            "OutputFormat": storage.output,
            "Compressed": table.codec != Codec::None,
            "SerdeInfo": { "SerializationLibrary": storage.serde, "Parameters": pairs(storage.parameters) },
        },
    });
    if let (Some(comment), Some(object)) = (comment, input.as_object_mut()) {
        object.insert("Description".to_owned(), Value::String(comment));
    }
    Ok(input)
}

fn define(table: &Table<'_>) -> Result<Definition, DdlError> {
    let storage = Storage::of(table)?;
    check_names(table)?;
    let location = directory(&table.location)?;
    let mut columns = Vec::new();
    for column in table.columns.columns() {
        columns.push(member(column, table.format)?);
    }
    let partitions = table.partitions.iter().map(|partition| Member {
        name: partition.name.clone(),
        ddl: partition.kind.hive_type().to_owned(),
        glue: partition.kind.hive_type().to_owned(),
        comment: partition.kind.comment(),
    });
    let mut properties = storage.properties.clone();
    properties.extend(partition::properties(table)?);
    let comment = storage.comment.clone();
    Ok(Definition { columns, partitions: partitions.collect(), storage, comment, location, properties })
}

fn member(column: &Column, format: &Format) -> Result<Member, DdlError> {
    let of = |quote| hive_type(&column.kind, format, quote).map_err(|what| DdlError::column(&column.name, what));
    let (ddl, glue) = (of(Quote::Backticks)?, of(Quote::None)?);
    Ok(Member { name: column.name.clone(), ddl, glue, comment: types::comment(&column.kind, format) })
}

/// Refuses names that the catalog cannot tell apart or hold.
fn check_names(table: &Table<'_>) -> Result<(), DdlError> {
    let names = table.columns.columns().iter().map(|column| column.name.as_str());
    let names: Vec<&str> = names.chain(table.partitions.iter().map(|partition| partition.name.as_str())).collect();
    if table.columns.columns().is_empty() {
        return Err(DdlError::Columns { what: "the table has no columns".to_owned() });
    }
    for name in [table.database, table.name].into_iter().chain(names.iter().copied()) {
        // Quotes cannot be escaped within a name, and comments and types of Glue are lines.
        let is_odd = name.is_empty() || name.chars().count() > 255 || name.contains(['`', '\\']);
        if is_odd || name.chars().any(char::is_control) {
            return Err(DdlError::Name { name: name.to_owned() });
        }
    }
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(name.to_lowercase())) {
        Some(name) => Err(DdlError::SameName { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Checks an address and ends it with a slash.
fn directory(address: &str) -> Result<String, DdlError> {
    if !address.starts_with("s3://") || address.chars().any(char::is_control) {
        return Err(DdlError::Location { location: address.to_owned() });
    }
    let slash = if address.ends_with('/') { "" } else { "/" };
    Ok(format!("{address}{slash}"))
}

fn push_members(out: &mut String, members: &[Member]) {
    for (n, member) in members.iter().enumerate() {
        let comment = member.comment.as_deref().map(|comment| format!(" COMMENT {}", literal(comment)));
        let end = if n + 1 < members.len() { "," } else { "" };
        push_line(out, "", &format!("  `{}` {}{}{end}", member.name, member.ddl, comment.unwrap_or_default()));
    }
}

fn push_properties(out: &mut String, properties: &[(String, String)]) {
    for (n, (key, value)) in properties.iter().enumerate() {
        let end = if n + 1 < properties.len() { "," } else { "" };
        push_line(out, "", &format!("  {} = {}{end}", literal(key), literal(value)));
    }
}

fn push_line(out: &mut String, word: &str, rest: &str) {
    out.extend([word, rest, "\n"]);
}

/// Quotes a text as Hive does.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests;
