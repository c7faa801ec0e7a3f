//! A table of PostgreSQL.
//!
//! Records go by COPY into a temporary table of the session and from there in one statement into the target, all in one
//! transaction. Where COPY or that statement fails for a record, halves of the records are tried behind savepoints until the
//! record is found; then all that are left are tried once more, for what a refused record had hidden. A crash leaves what the
//! transaction had committed. Constraints that are checked at the commit only (`DEFERRED`) fail the whole call.
//!
//! A session that ended, or in which something failed that may pass, is not used again: the next call makes another and prepares
//! it as the first. What became of a commit whose answer was lost does not matter: who writes the same again changes nothing.

mod copy;
mod errors;
mod session;
mod types;

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::pin;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use baler_format::schema::{Column, Schema, Type};
use baler_model::Kind;
use bytes::{Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement, Transaction};

pub use session::PostgresUrl;

use super::{
    Absent, BOOKKEEPING, Order, Refused, Target, Upsert, UpsertError, Written, check_batch, column_list,
    conflict_clause, identifier, null_keys,
};
use errors::{failed, is_of_record, words};
use types::Found;

/// Writes to one table, in a session of its own.
pub struct PostgresTable {
    database: String,
    client: Client,
    /// Where another session comes from; nothing where one was handed in.
    url: Option<PostgresUrl>,
    /// Whether the session is to be left.
    is_doubtful: bool,
    target: Target,
    prepared: Option<Prepared>,
}

struct Prepared {
    schema: Schema,
    copy: Statement,
    insert: Statement,
}

/// The temporary table.
const INCOMING: &str = "pg_temp._baler_incoming";
/// So many bytes are sent at once.
const BLOCK: usize = 256 << 10;
/// Bytes of a name that PostgreSQL keeps; it cuts longer ones.
const NAME: usize = 63;

impl PostgresTable {
    /// Connects. Errors: nobody is there, or lets us in.
    pub async fn open(url: PostgresUrl, target: Target) -> Result<Self, UpsertError> {
        let table = Self::new(url.connect().await?, url.name(), target);
        Ok(Self { url: Some(url), ..table })
    }

    /// Takes a session that nobody else uses, whose connection is being driven; `database` is its name for errors. Where it is
    /// lost, so is the table.
    pub fn new(client: Client, database: impl Into<String>, target: Target) -> Self {
        Self { database: database.into(), client, url: None, is_doubtful: false, target, prepared: None }
    }

    fn failed(&self, error: Error) -> UpsertError {
        failed(&self.database, error)
    }

    /// Makes another session where this one is lost or doubtful.
    async fn renew(&mut self) -> Result<(), UpsertError> {
        let (Some(url), Some(prepared)) = (&self.url, &self.prepared) else { return Ok(()) };
        if !self.is_doubtful && !self.client.is_closed() {
            return Ok(());
        }
        let schema = prepared.schema.clone();
        // Until it is prepared too, so that nothing of the old session is used in it.
        self.is_doubtful = true;
        self.client = url.connect().await?;
        self.prepare(&schema).await?;
        self.is_doubtful = false;
        Ok(())
    }
}

#[async_trait]
impl Upsert for PostgresTable {
    async fn ensure_table(&mut self, schema: &Schema) -> Result<(), UpsertError> {
        self.prepare(schema).await
    }

    async fn write(&mut self, order: &Order, numbers: &[u64], records: &RecordBatch) -> Result<Written, UpsertError> {
        self.renew().await?;
        let written = self.write_now(order, numbers, records).await;
        self.is_doubtful |= written.as_ref().is_err_and(|error| error.kind() == Kind::Transient);
        written
    }
}

impl PostgresTable {
    /// Sees to the session's settings and to the table, and prepares what writing needs.
    async fn prepare(&mut self, schema: &Schema) -> Result<(), UpsertError> {
        self.target.check(schema)?;
        self.client.batch_execute(session::SETTINGS).await.map_err(|error| self.failed(error))?;
        if let Some(column) =
            schema.columns().iter().find(|column| column.name.len() > NAME || column.name.contains('\0'))
        {
            let what = format!("the column `{}` has no name that PostgreSQL takes: {NAME} bytes at most", column.name);
            return Err(UpsertError::Usage(what));
        }
        let mut found = self.table_columns().await?;
        if found.is_empty() {
            if self.target.absent == Absent::Refused {
                return Err(UpsertError::NoTable(self.target.table.clone()));
            }
            match self.client.batch_execute(&create_statement(&self.target, schema)).await {
                // Another process created it meanwhile.
                Err(error)
                    if matches!(error.code(), Some(&SqlState::DUPLICATE_TABLE | &SqlState::UNIQUE_VIOLATION)) => {}
                result => result.map_err(|error| self.failed(error))?,
            }
            found = self.table_columns().await?;
        }
        let names = schema.columns().iter().map(|column| column.name.as_str()).chain(BOOKKEEPING);
        let lost: Vec<String> = names.filter(|name| !found.contains_key(*name)).map(str::to_owned).collect();
        if !lost.is_empty() {
            return Err(UpsertError::NoColumns { table: self.target.table.clone(), columns: lost });
        }
        let faults = types::faults(schema, &found);
        if !faults.is_empty() {
            return Err(UpsertError::Types { table: self.target.table.clone(), what: faults.join("; ") });
        }
        if !self.is_key_unique().await? {
            return Err(UpsertError::NoKey { table: self.target.table.clone(), key: self.target.key.clone() });
        }
        let columns = schema.columns().iter().enumerate();
        let columns: String = columns.map(|(n, column)| format!("c{n} {}, ", copy::kind(&column.kind))).collect();
        let incoming = format!(
            "DROP TABLE IF EXISTS {INCOMING}; CREATE TEMPORARY TABLE _baler_incoming ({columns}n bigint) ON COMMIT DELETE ROWS"
        );
        self.client.batch_execute(&incoming).await.map_err(|error| self.failed(error))?;
        let copy = format!("COPY {INCOMING} FROM STDIN (FORMAT binary)");
        let copy = self.client.prepare(&copy).await.map_err(|error| self.failed(error))?;
        let insert = insert_statement(&self.target, schema, &found);
        let insert = self.client.prepare(&insert).await.map_err(|error| match error.code() {
            Some(&SqlState::DATATYPE_MISMATCH | &SqlState::CANNOT_COERCE) => {
                UpsertError::Types { table: self.target.table.clone(), what: words(&error) }
            }
            _ => self.failed(error),
        })?;
        self.prepared = Some(Prepared { schema: schema.clone(), copy, insert });
        Ok(())
    }

    async fn write_now(
        &mut self,
        order: &Order,
        numbers: &[u64],
        records: &RecordBatch,
    ) -> Result<Written, UpsertError> {
        let Some(prepared) = &self.prepared else {
            return Err(UpsertError::Usage("the table was not prepared".to_owned()));
        };
        check_batch(&prepared.schema, numbers, records)?;
        let transaction = self.client.transaction().await.map_err(|error| failed(&self.database, error))?;
        let result = async {
            let mut transaction = transaction;
            let mut refused = copy_in(&mut transaction, prepared, &self.target, numbers, records).await?;
            insert(transaction, prepared, order, numbers, &mut refused).await?;
            Ok(refused)
        };
        let refused: BTreeMap<usize, String> = result.await.map_err(|error| failed(&self.database, error))?;
        Ok(Written {
            taken: (numbers.len() - refused.len()) as u64,
            refused: refused.into_iter().map(|(row, reason)| Refused { row, reason }).collect(),
        })
    }

    /// The table's columns with their types, of domains those behind them; none where there is no table.
    async fn table_columns(&self) -> Result<BTreeMap<String, Found>, UpsertError> {
        let query = "WITH RECURSIVE found (name, type, modifier) AS (SELECT attname::text, atttypid, atttypmod FROM pg_attribute \
                     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                     UNION ALL SELECT name, typbasetype, typtypmod FROM found JOIN pg_type ON oid = type WHERE typtype = 'd') \
                     SELECT name, format_type(type, -1), format_type(type, modifier) FROM found JOIN pg_type ON oid = type \
                     WHERE typtype <> 'd'";
        let rows = self.client.query(query, &[&self.target.table_name()]).await;
        let rows = rows.map_err(|error| self.failed(error))?;
        Ok(rows.iter().map(|row| (row.get(0), Found { cast: row.get(1), kind: row.get(2) })).collect())
    }

    /// Whether a unique index is over the key and nothing else; preparing a statement does not find that out.
    async fn is_key_unique(&self) -> Result<bool, UpsertError> {
        let query = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid \
                     AND indimmediate AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = cardinality($2::text[]) \
                     AND $2::text[] <@ ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid \
                     AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])))";
        let row = self.client.query_one(query, &[&self.target.table_name(), &self.target.key]).await;
        row.map(|row| row.get(0)).map_err(|error| self.failed(error))
    }
}

/// The statement that creates a table for records of a schema.
fn create_statement(target: &Target, schema: &Schema) -> String {
    let column = |column: &Column| {
        let kind = match column.kind {
            Type::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
            _ => copy::kind(&column.kind).to_owned(),
        };
        let null = if column.nullable && !target.is_key(column) { "" } else { " NOT NULL" };
        format!("{} {kind}{null}", identifier(&column.name))
    };
    let mut lines: Vec<String> = schema.columns().iter().map(column).collect();
    let kinds = ["timestamptz", "text COLLATE \"C\"", "bigint"];
    lines.extend(BOOKKEEPING.iter().zip(kinds).map(|(name, kind)| format!("{} {kind}", identifier(name))));
    lines.push(format!("PRIMARY KEY ({})", target.key_names()));
    format!("CREATE TABLE {} ({})", target.table_name(), lines.join(", "))
}

/// Takes the newest record of each key among those with numbers `[$3, $4)` that are not in `$5`.
fn insert_statement(target: &Target, schema: &Schema, found: &BTreeMap<String, Found>) -> String {
    let value = |(n, column): (usize, &Column)| {
        let cast = found.get(&column.name).map_or("text", |found| found.cast.as_str());
        let is_text = ["text", "character varying", "bpchar"].contains(&cast);
        // PostgreSQL assigns no text to other types by itself. It is cast to the type without its length, and assigned to that
        // with it: a cast to that would cut.
        if column.kind == Type::Text && !is_text { format!("c{n}::{cast}") } else { format!("c{n}") }
    };
    let values: Vec<String> = schema.columns().iter().enumerate().map(value).collect();
    let place = |name: &String| schema.columns().iter().position(|column| column.name == *name);
    let key: Vec<String> = target.key.iter().filter_map(place).map(|n| format!("c{n}")).collect();
    let key = key.join(", ");
    format!(
        "INSERT INTO {} ({}) SELECT {}, $1::text::timestamptz, $2::text, n FROM (SELECT DISTINCT ON ({key}) * FROM {INCOMING} \
         WHERE n >= $3 AND n < $4 AND n <> ALL ($5::bigint[]) ORDER BY {key}, n DESC) newest ORDER BY {key} {}",
        target.table_name(),
        column_list(schema).join(", "),
        values.join(", "),
        conflict_clause(target, schema, " COLLATE \"C\"")
    )
}

/// Sends the records; returns those that PostgreSQL has no values for.
async fn copy_in(
    transaction: &mut Transaction<'_>,
    prepared: &Prepared,
    target: &Target,
    numbers: &[u64],
    records: &RecordBatch,
) -> Result<BTreeMap<usize, String>, Error> {
    let nulls = null_keys(target, &prepared.schema, records);
    let mut refused: BTreeMap<usize, String> = nulls.into_iter().map(|null| (null.row, null.reason)).collect();
    let mut rows = copy::Rows::new(&prepared.schema, records);
    let mut ranges: Vec<_> = std::iter::once(0..numbers.len()).collect();
    while let Some(range) = ranges.pop().filter(|range| !range.is_empty()) {
        let attempt = transaction.savepoint("attempt").await?;
        match copy_range(&attempt, prepared, numbers, &mut rows, range.clone(), &mut refused).await {
            Ok(()) => attempt.commit().await?,
            Err(error) if is_of_record(&error) => {
                attempt.rollback().await?;
                blame(range, &error, &mut ranges, &mut refused);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

async fn copy_range(
    transaction: &Transaction<'_>,
    prepared: &Prepared,
    numbers: &[u64],
    rows: &mut copy::Rows<'_>,
    range: Range<usize>,
    refused: &mut BTreeMap<usize, String>,
) -> Result<(), Error> {
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(&prepared.copy).await?);
    let mut block = BytesMut::with_capacity(BLOCK + (BLOCK >> 2));
    copy::begin(&mut block);
    for row in range {
        if refused.contains_key(&row) {
            continue;
        }
        if let Err(reason) = rows.push(&mut block, row, numbers[row] as i64) {
            refused.insert(row, reason);
        }
        if block.len() >= BLOCK {
            sink.send(block.split().freeze()).await?;
            block.reserve(BLOCK + (BLOCK >> 2));
        }
    }
    copy::end(&mut block);
    sink.send(block.freeze()).await?;
    sink.as_mut().finish().await?;
    Ok(())
}

/// Refuses the one row of a range, or has its halves tried, the first of them first.
fn blame(range: Range<usize>, error: &Error, ranges: &mut Vec<Range<usize>>, refused: &mut BTreeMap<usize, String>) {
    if range.len() == 1 {
        refused.insert(range.start, words(error));
    } else {
        let middle = range.start + range.len() / 2;
        ranges.push(middle..range.end);
        ranges.push(range.start..middle);
    }
}

/// Moves the records into the target, finds those that it refuses, and commits.
async fn insert(
    mut transaction: Transaction<'_>,
    prepared: &Prepared,
    order: &Order,
    numbers: &[u64],
    refused: &mut BTreeMap<usize, String>,
) -> Result<(), Error> {
    let batch_time = format!("{:.6}", order.batch_time);
    loop {
        let known = refused.len();
        let mut ranges: Vec<_> = std::iter::once(0..numbers.len()).collect();
        while let Some(range) = ranges.pop().filter(|range| !range.is_empty()) {
            let out: Vec<i64> = refused.range(range.clone()).map(|(row, _)| numbers[*row] as i64).collect();
            let (from, to) = (numbers[range.start] as i64, numbers[range.end - 1] as i64 + 1);
            let attempt = transaction.savepoint("attempt").await?;
            match attempt.execute(&prepared.insert, &[&batch_time, &order.run.as_str(), &from, &to, &out]).await {
                Ok(_) => attempt.commit().await?,
                Err(error) if is_of_record(&error) => {
                    attempt.rollback().await?;
                    blame(range, &error, &mut ranges, refused);
                }
                Err(error) => return Err(error),
            }
        }
        if refused.len() == known {
            return transaction.commit().await;
        }
    }
}
