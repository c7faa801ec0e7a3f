//! A table of a SQLite file.
//!
//! Decimals, dates and times are text, as CSV has them, so that nothing is rounded; lists and structs are JSON. A record that a
//! constraint refuses fails its own statement only: the transaction goes on. A crash leaves what SQLite's journal undoes.
//!
//! The one schema of a file is `main`: a table may be named with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use baler_format::schema::{Schema, Type};
use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, TransactionBehavior};

use super::values::{Typed, Values, columns};
use super::{
    Absent, BOOKKEEPING, Order, Refused, Target, Upsert, UpsertError, Written, check_batch, column_list,
    conflict_clause, identifier, null_keys,
};

/// Writes to one table of a SQLite file.
pub struct SqliteTable {
    database: String,
    connection: Arc<Mutex<Connection>>,
    target: Arc<Target>,
    schema: Option<Arc<Schema>>,
}

/// Others may hold the file so long.
const BUSY: Duration = Duration::from_secs(30);

impl SqliteTable {
    /// Opens a file, which is created where there is none. It blocks, while others hold the file.
    ///
    /// Errors: it cannot be opened; a table in a schema that it has not.
    pub fn open(path: &Path, mut target: Target) -> Result<Self, UpsertError> {
        // Without its schema, so that every statement names the same table.
        target.table = match target.table.split_once('.') {
            None => target.table,
            Some((schema, table)) if schema.eq_ignore_ascii_case("main") && !table.contains('.') => table.to_owned(),
            Some(_) => {
                return Err(UpsertError::Usage(format!(
                    "the table `{}` is in no schema of SQLite: name it without, or with `main`",
                    target.table
                )));
            }
        };
        let database = path.display().to_string();
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY)?;
            // Readers go on while records are written.
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            Ok(connection)
        };
        let connection = open().map_err(|error: rusqlite::Error| UpsertError::Unopened {
            database: database.clone(),
            is_transient: is_transient(&error),
            hint: hint(&error),
            source: Box::new(error),
        })?;
        Ok(Self { database, connection: Arc::new(Mutex::new(connection)), target: Arc::new(target), schema: None })
    }

    /// Runs SQL where it may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, UpsertError> {
        let connection = Arc::clone(&self.connection);
        let ended = tokio::task::spawn_blocking(move || work(&mut connection.lock())).await;
        match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Sql(error))) => Err(of_database(&self.database, error)),
            Ok(Err(Failure::Upsert(error))) => Err(error),
            Err(error) => Err(UpsertError::Database {
                database: self.database.clone(),
                is_transient: false,
                hint: "this is a bug in Baler; please report it",
                source: Box::new(error),
            }),
        }
    }
}

enum Failure {
    Sql(rusqlite::Error),
    Upsert(UpsertError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<UpsertError> for Failure {
    fn from(error: UpsertError) -> Self {
        Self::Upsert(error)
    }
}

fn of_database(database: &str, error: rusqlite::Error) -> UpsertError {
    UpsertError::Database {
        database: database.to_owned(),
        is_transient: is_transient(&error),
        hint: hint(&error),
        source: Box::new(error),
    }
}

/// Whether others hold the file, or the disk may have room again.
fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure | ErrorCode::DiskFull)
    )
}

/// What to do about an error. Source: SQLite, "Result and Error Codes".
fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has held the file for longer than 30 s; `baler run` goes on when it has let go"
        }
        Some(ErrorCode::DiskFull) => "the disk is full: make room; `baler run` goes on",
        Some(ErrorCode::SystemIoFailure) => {
            "the disk does not read or write as it should; a network's disk is no place for SQLite"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            "let the user that runs Baler write the file, and make files in its directory"
        }
        Some(ErrorCode::CannotOpen) => {
            "see that the directory exists, and that the user that runs Baler may write in it"
        }
        Some(ErrorCode::NotADatabase) => "the file is none of SQLite: let the connection name another, or move it away",
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged: `sqlite3 FILE '.recover'` saves what can be read",
        Some(ErrorCode::OutOfMemory) => "let `split.chunk` be smaller, or give Baler more memory",
        Some(ErrorCode::ConstraintViolation) => {
            "a constraint that is checked at the end of the transaction refuses records of the batch: make it immediate, so \
             that it tells which"
        }
        _ => "the table, or a trigger on it, is not as the flow needs it: correct what SQLite names",
    }
}

#[async_trait]
impl Upsert for SqliteTable {
    async fn ensure_table(&mut self, schema: &Schema) -> Result<(), UpsertError> {
        self.target.check(schema)?;
        let (target, wanted) = (Arc::clone(&self.target), Arc::new(schema.clone()));
        self.schema = Some(Arc::clone(&wanted));
        self.run(move |connection| ensure(connection, &target, &wanted)).await
    }

    async fn write(&mut self, order: &Order, numbers: &[u64], records: &RecordBatch) -> Result<Written, UpsertError> {
        let Some(schema) = self.schema.clone() else {
            return Err(UpsertError::Usage("the table was not prepared".to_owned()));
        };
        check_batch(&schema, numbers, records)?;
        let target = Arc::clone(&self.target);
        let (order, numbers, records) = (order.clone(), numbers.to_vec(), records.clone());
        self.run(move |connection| write(connection, &target, &schema, &order, &numbers, &records)).await
    }
}

fn ensure(connection: &mut Connection, target: &Target, schema: &Schema) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: Vec<String> = transaction
        .prepare("SELECT lower(name) FROM pragma_table_info(?1)")?
        .query_map([&target.table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        if target.absent == Absent::Refused {
            return Err(UpsertError::NoTable(target.table.clone()).into());
        }
        transaction.execute(&create_statement(target, schema), [])?;
    } else {
        let names = schema.columns().iter().map(|column| column.name.as_str()).chain(BOOKKEEPING);
        let lost: Vec<String> = names.filter(|name| !found.contains(&name.to_lowercase())).map(str::to_owned).collect();
        if !lost.is_empty() {
            return Err(UpsertError::NoColumns { table: target.table.clone(), columns: lost }.into());
        }
        // Preparing finds out whether the key is unique.
        if let Err(error) = transaction.prepare(&upsert_statement(target, schema)) {
            return Err(match error.to_string().contains("ON CONFLICT clause does not match") {
                true => UpsertError::NoKey { table: target.table.clone(), key: target.key.clone() }.into(),
                false => error.into(),
            });
        }
    }
    transaction.commit()?;
    Ok(())
}

fn create_statement(target: &Target, schema: &Schema) -> String {
    let column = |column: &baler_format::schema::Column| {
        let kind = match column.kind {
            Type::Int64 | Type::Bool => "INTEGER",
            Type::Float64 => "REAL",
            Type::Text
            | Type::Decimal { .. }
            | Type::Date
            | Type::Timestamp { .. }
            | Type::List(_)
            | Type::Struct(_) => "TEXT",
        };
        let null = if column.nullable && !target.is_key(column) { "" } else { " NOT NULL" };
        format!("{} {kind}{null}", identifier(&column.name))
    };
    let mut lines: Vec<String> = schema.columns().iter().map(column).collect();
    let kinds = ["TEXT", "TEXT", "INTEGER"];
    lines.extend(BOOKKEEPING.iter().zip(kinds).map(|(name, kind)| format!("{} {kind}", identifier(name))));
    lines.push(format!("PRIMARY KEY ({})", target.key_names()));
    format!("CREATE TABLE {} ({}) STRICT", target.table_name(), lines.join(", "))
}

fn upsert_statement(target: &Target, schema: &Schema) -> String {
    let names = column_list(schema);
    let marks: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({}) {}",
        target.table_name(),
        names.join(", "),
        marks.join(", "),
        conflict_clause(target, schema, "")
    )
}

fn write(
    connection: &mut Connection,
    target: &Target,
    schema: &Schema,
    order: &Order,
    numbers: &[u64],
    records: &RecordBatch,
) -> Result<Written, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // In text that compares as the times do; microseconds, as everywhere.
    let batch_time = format!("{:.6}", order.batch_time);
    let mut refused = Vec::new();
    {
        let mut statement = transaction.prepare(&upsert_statement(target, schema))?;
        let columns = columns(schema, records);
        let first = columns.len() + 1;
        statement.raw_bind_parameter(first, &batch_time)?;
        statement.raw_bind_parameter(first + 1, order.run.as_str())?;
        let mut without_key = null_keys(target, schema, records).into_iter().peekable();
        for (row, number) in numbers.iter().enumerate() {
            if let Some(null) = without_key.next_if(|refused| refused.row == row) {
                refused.push(null);
                continue;
            }
            if let Err(reason) = bind(&mut statement, &columns, row)? {
                refused.push(Refused { row, reason });
                continue;
            }
            statement.raw_bind_parameter(first + 2, *number as i64)?;
            match statement.raw_execute() {
                Ok(_) => {}
                // A trigger may have rolled back everything: then nothing was written.
                Err(error) if is_of_record(&error) && !transaction.is_autocommit() => {
                    refused.push(Refused { row, reason: error.to_string() });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    transaction.commit()?;
    Ok(Written { taken: (numbers.len() - refused.len()) as u64, refused })
}

/// Binds a row; the inner error says why the row cannot be written.
fn bind(statement: &mut Statement<'_>, columns: &[Values<'_>], row: usize) -> rusqlite::Result<Result<(), String>> {
    for (n, column) in columns.iter().enumerate() {
        let value = match &column.typed {
            _ if column.is_null(row) => ToSqlOutput::Borrowed(ValueRef::Null),
            Typed::Int(array) => ToSqlOutput::Borrowed(ValueRef::Integer(array.value(row))),
            Typed::Bool(array) => ToSqlOutput::Borrowed(ValueRef::Integer(array.value(row).into())),
            // SQLite would take it for null.
            Typed::Float(array) if array.value(row).is_nan() => {
                return Ok(Err(column.fault("SQLite has no number that is none (NaN)")));
            }
            Typed::Float(array) => ToSqlOutput::Borrowed(ValueRef::Real(array.value(row))),
            Typed::Text(array) => ToSqlOutput::Borrowed(ValueRef::Text(array.value(row).as_bytes())),
            Typed::Decimal(..) | Typed::Date(_) | Typed::Timestamp(..) | Typed::Nested => {
                let mut text = String::new();
                if let Err(reason) = column.push_text(&mut text, row) {
                    return Ok(Err(reason));
                }
                ToSqlOutput::Owned(Value::Text(text))
            }
        };
        statement.raw_bind_parameter(n + 1, value)?;
    }
    Ok(Ok(()))
}

/// Whether an error is of the record that was written: a constraint, a type, a size.
fn is_of_record(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}
