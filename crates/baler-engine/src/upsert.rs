//! Records into a table, so that what is newest stays, however often and in whatever order they come.
//!
//! - INV-UPSERT-1: of all records of one key that were written, the row is the one whose (batch time, run, number) is greatest;
//!   runs compare byte by byte. Replays, duplicates and chunks out of order never change that.
//! - INV-UPSERT-2: a record that the table refuses is told by its row and reason; those beside it are written.
//! - INV-UPSERT-3: one [`Upsert::write`] is one transaction: a crash leaves all of its records or none; of DynamoDB the same goes
//!   for each hundred of them.
//!
//! The order stands in three columns of each row: `_baler_batch_time`, `_baler_run`, `_baler_record`. The number is there because
//! the chunks of one batch are written in any order: without it the last of them would win, not the last record. A row where
//! they are null was not written by Baler and is older than everything.

#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod values;

use arrow_array::{Array, RecordBatch};
use async_trait::async_trait;
use baler_format::schema::{Column, Schema, Type};
use baler_model::{Kind, RunId};
use jiff::Timestamp;

#[cfg(feature = "dynamodb")]
pub use dynamodb::DynamoTable;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresTable, PostgresUrl};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteTable;

/// The columns that hold the order of a row.
pub const BOOKKEEPING: [&str; 3] = ["_baler_batch_time", "_baler_run", "_baler_record"];

/// A table that takes records.
#[async_trait]
pub trait Upsert: Send {
    /// Sees to it that the table has the columns of the schema and those of the order, creating it where that is asked for.
    ///
    /// Errors: no such table; columns that it lacks; a key that it does not keep unique; columns that cannot be a key.
    async fn ensure_table(&mut self, schema: &Schema) -> Result<(), UpsertError>;

    /// Writes records of the schema in one transaction; DynamoDB's hold a hundred.
    ///
    /// `numbers` has one for each record, ascending, unique in the run. Errors: nothing was written that another call may not write again; what a record causes is
    /// none but in [`Written::refused`].
    async fn write(&mut self, order: &Order, numbers: &[u64], records: &RecordBatch) -> Result<Written, UpsertError>;
}

/// Which table, and what makes two records one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The table's name; `schema.table` where the database has schemas.
    pub table: String,
    /// The columns of the key; at least one.
    pub key: Vec<String>,
    /// What happens where there is no such table.
    pub absent: Absent,
}

/// What happens where there is no such table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is created from the schema of the records.
    Created,
    /// It is an error.
    Refused,
}

/// When the records of a batch are from, and which run brought them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The batch's time; parts of a microsecond do not count.
    pub batch_time: Timestamp,
    /// The run.
    pub run: RunId,
}

/// What became of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Records that the table took, or that gave way to newer ones.
    pub taken: u64,
    /// Records that it did not take, in their order.
    pub refused: Vec<Refused>,
}

/// A record that the table did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its row in the batch, from 0.
    pub row: usize,
    /// Why, in words.
    pub reason: String,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum UpsertError {
    /// The table does not exist.
    #[error("the table `{0}` does not exist")]
    NoTable(String),
    /// The table lacks columns.
    #[error("the table `{table}` lacks the columns {}", quoted(columns))]
    NoColumns {
        /// The table.
        table: String,
        /// What it lacks.
        columns: Vec<String>,
    },
    /// The key is not unique in the table.
    #[error("the table `{table}` has no primary key or unique constraint over {}", quoted(key))]
    NoKey {
        /// The table.
        table: String,
        /// The columns.
        key: Vec<String>,
    },
    /// Columns of the table are of types that cannot take what they would be sent, or would lose some of it unseen.
    #[error("the table `{table}`: {what}")]
    Types {
        /// The table.
        table: String,
        /// Which columns, and how.
        what: String,
    },
    /// The key or the schema cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The database cannot be reached, or lets nobody in.
    #[error("the database `{database}` cannot be opened")]
    Unopened {
        /// Its name, without secrets.
        database: String,
        /// Whether the same call may succeed later.
        is_transient: bool,
        /// What to do.
        hint: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database failed, or refused something that no record is to blame for.
    #[error("the database `{database}` failed")]
    Database {
        /// Its name, without secrets.
        database: String,
        /// Whether the same call may succeed later.
        is_transient: bool,
        /// What to do.
        hint: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl UpsertError {
    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoTable(_) | Self::NoColumns { .. } | Self::NoKey { .. } | Self::Types { .. } | Self::Usage(_) => {
                Kind::Invalid
            }
            Self::Unopened { is_transient, .. } | Self::Database { is_transient, .. } => match is_transient {
                true => Kind::Transient,
                false => Kind::Invalid,
            },
        }
    }

    /// Returns the remedy, if one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoTable(_) => Some("create it, or have it created from the records".to_owned()),
            Self::NoColumns { table, columns } => {
                Some(columns.iter().map(|column| format!("ALTER TABLE {table} ADD COLUMN \"{column}\" …;")).collect())
            }
            Self::NoKey { table, key } => {
                let key: Vec<String> = key.iter().map(|name| identifier(name)).collect();
                Some(format!("CREATE UNIQUE INDEX ON {table} ({});", key.join(", ")))
            }
            Self::Types { table, .. } => Some(format!(
                "change the column's type (`ALTER TABLE {table} ALTER COLUMN … TYPE …;`), or declare the column as the table \
                 has it: `schema = {{ columns = {{ price = \"decimal(10,2)\" }} }}`"
            )),
            Self::Unopened { hint, .. } | Self::Database { hint, .. } => Some((*hint).to_owned()),
            Self::Usage(_) => None,
        }
    }
}

impl Target {
    /// Checks the key against a schema. Errors: columns that are not there, or cannot be compared; names that are the order's.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), UpsertError> {
        if self.key.is_empty() {
            return Err(UpsertError::Usage("an upsert needs a key".to_owned()));
        }
        for (n, name) in self.key.iter().enumerate() {
            let kind = schema.column(name).map(|column| &column.kind);
            match kind {
                None => return Err(UpsertError::Usage(format!("the key `{name}` is no column of the records"))),
                Some(Type::List(_) | Type::Struct(_)) => {
                    return Err(UpsertError::Usage(format!(
                        "the key `{name}` is a list or struct: those do not compare"
                    )));
                }
                Some(_) if self.key[..n].contains(name) => {
                    return Err(UpsertError::Usage(format!("the key has `{name}` twice")));
                }
                Some(_) => {}
            }
        }
        // Databases fold letters; two columns of one name would be one.
        let mut names: Vec<String> = schema.columns().iter().map(|column| column.name.to_lowercase()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(UpsertError::Usage(format!("two columns differ from `{}` in letter case only", pair[0])));
        }
        match names.iter().find(|name| BOOKKEEPING.contains(&name.as_str())) {
            Some(name) => Err(UpsertError::Usage(format!("the column `{name}` has a name that is kept for the order"))),
            None => Ok(()),
        }
    }

    fn is_key(&self, column: &Column) -> bool {
        self.key.contains(&column.name)
    }

    /// The table's name as SQL has it.
    fn table_name(&self) -> String {
        self.table.split('.').map(identifier).collect::<Vec<_>>().join(".")
    }

    fn key_names(&self) -> String {
        self.key.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", ")
    }
}

/// A name as SQL has it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Columns as an SQL list, the order's behind them.
fn column_list(schema: &Schema) -> Vec<String> {
    let names = schema.columns().iter().map(|column| column.name.as_str()).chain(BOOKKEEPING);
    names.map(identifier).collect()
}

/// What is behind `INSERT … ON CONFLICT (key) DO`: newer rows stay. `bytewise` makes text compare byte by byte.
fn conflict_clause(target: &Target, schema: &Schema, bytewise: &str) -> String {
    let table = target.table_name();
    let is_value = |column: &&Column| !target.is_key(column);
    let names = schema.columns().iter().filter(is_value).map(|column| column.name.as_str()).chain(BOOKKEEPING);
    let sets: Vec<String> = names.map(identifier).map(|name| format!("{name} = excluded.{name}")).collect();
    let order = |row: &str| {
        let [time, run, record] = BOOKKEEPING.map(|name| format!("{row}.{}", identifier(name)));
        format!("({time}, {run}{bytewise}, {record})")
    };
    format!(
        "ON CONFLICT ({}) DO UPDATE SET {} WHERE {table}.{} IS NULL OR {} >= {}",
        target.key_names(),
        sets.join(", "),
        identifier(BOOKKEEPING[0]),
        order("excluded"),
        order(&table),
    )
}

/// Refuses records whose key is null; the rows that are left stay in their order.
fn null_keys(target: &Target, schema: &Schema, records: &RecordBatch) -> Vec<Refused> {
    let mut refused: Vec<Refused> = Vec::new();
    for (column, values) in schema.columns().iter().zip(records.columns()).filter(|(column, _)| target.is_key(column)) {
        let nulls = (0..values.len()).filter(|row| values.is_null(*row));
        refused.extend(nulls.map(|row| Refused { row, reason: format!("the key `{}` is null", column.name) }));
    }
    refused.sort_by_key(|refused| refused.row);
    refused.dedup_by_key(|refused| refused.row);
    refused
}

/// Errors: the batch is not what the table was prepared for.
fn check_batch(schema: &Schema, numbers: &[u64], records: &RecordBatch) -> Result<(), UpsertError> {
    if *records.schema() != *schema.to_arrow() {
        return Err(UpsertError::Usage("the records have not the schema that the table was prepared for".to_owned()));
    }
    let is_ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    if numbers.len() != records.num_rows()
        || !is_ascending
        || numbers.last().is_some_and(|n| i64::try_from(*n).is_err())
    {
        return Err(UpsertError::Usage("each record has a number, greater than the one before".to_owned()));
    }
    Ok(())
}
