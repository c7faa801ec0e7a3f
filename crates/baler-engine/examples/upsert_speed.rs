//! Measures upserts against what somebody would write by hand for the same rows.
//!
//! `cargo run --release -p baler-engine --example upsert_speed -- [rows] [repeats]`: seconds on the wall, medians of the repeats,
//! in which both sides take turns. PostgreSQL is one that tests start (`baler_testkit::postgres`); its files are not synced. By hand:
//! for SQLite a prepared statement in one transaction; for PostgreSQL the library's binary COPY into a temporary table and one
//! `INSERT … ON CONFLICT DO UPDATE`, without an order and without looking for keys that stand twice. Each is measured into an
//! empty table and again over the same rows.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool that people watch")]

use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use baler_engine::upsert::{Absent, Order, PostgresTable, SqliteTable, Target, Upsert};
use baler_format::schema::Schema;
use baler_model::RunId;
use baler_testkit::postgres::Postgres;
use futures::pin_mut;
use jiff::Timestamp;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

fn rows(schema: &Schema, count: usize) -> RecordBatch {
    let n = |row: usize| (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..count).map(|row| row as i64 * 7_919 % count as i64))),
        Arc::new(Float64Array::from_iter_values((0..count).map(|row| n(row) as f64 / 100.0))),
        Arc::new(StringArray::from_iter_values((0..count).map(|row| format!("a product of kind {}", n(row) % 1_000)))),
        Arc::new(Int64Array::from_iter_values((0..count).map(|row| n(row) as i64))),
    ];
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

struct Columns<'a> {
    item: &'a Int64Array,
    price: &'a Float64Array,
    name: &'a StringArray,
    stock: &'a Int64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        Self {
            item: batch.column(0).as_primitive::<Int64Type>(),
            price: batch.column(1).as_primitive::<Float64Type>(),
            name: batch.column(2).as_string(),
            stock: batch.column(3).as_primitive::<Int64Type>(),
        }
    }
}

const CREATE: &str = "(item bigint PRIMARY KEY, price double precision, name text, stock bigint)";
const SET: &str =
    "ON CONFLICT (item) DO UPDATE SET price = excluded.price, name = excluded.name, stock = excluded.stock";

fn sqlite_by_hand(path: &std::path::Path, batch: &RecordBatch) {
    let mut sql = rusqlite::Connection::open(path).unwrap();
    sql.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    sql.execute(&format!("CREATE TABLE IF NOT EXISTS items {CREATE}"), []).unwrap();
    let columns = Columns::of(batch);
    let transaction = sql.transaction().unwrap();
    let mut statement = transaction.prepare(&format!("INSERT INTO items VALUES (?1, ?2, ?3, ?4) {SET}")).unwrap();
    for row in 0..batch.num_rows() {
        let values =
            (columns.item.value(row), columns.price.value(row), columns.name.value(row), columns.stock.value(row));
        statement.execute(values).unwrap();
    }
    drop(statement);
    transaction.commit().unwrap();
}

async fn connect(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn postgres_by_hand(client: &mut Client, batch: &RecordBatch) {
    let columns = Columns::of(batch);
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("CREATE TEMPORARY TABLE given (LIKE by_hand) ON COMMIT DROP").await.unwrap();
    let sink = transaction.copy_in("COPY given FROM STDIN (FORMAT binary)").await.unwrap();
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT8, Type::FLOAT8, Type::TEXT, Type::INT8]);
    pin_mut!(writer);
    for row in 0..batch.num_rows() {
        let (item, price) = (columns.item.value(row), columns.price.value(row));
        writer.as_mut().write(&[&item, &price, &columns.name.value(row), &columns.stock.value(row)]).await.unwrap();
    }
    writer.finish().await.unwrap();
    transaction.batch_execute(&format!("INSERT INTO by_hand SELECT * FROM given {SET}")).await.unwrap();
    transaction.commit().await.unwrap();
}

fn target() -> Target {
    Target { table: "items".to_owned(), key: vec!["item".to_owned()], absent: Absent::Created }
}

async fn upsert(table: &mut dyn Upsert, schema: &Schema, batch: &RecordBatch) {
    table.ensure_table(schema).await.unwrap();
    let order = Order { batch_time: Timestamp::UNIX_EPOCH, run: RunId::try_new("r").unwrap() };
    let numbers: Vec<u64> = (0..batch.num_rows() as u64).collect();
    let written = table.write(&order, &numbers, batch).await.unwrap();
    assert_eq!((written.taken, written.refused.len()), (numbers.len() as u64, 0));
}

/// What both sides took in each turn, over an empty table and then over the same rows. Units: seconds.
type Turns = [Vec<[f64; 2]>; 2];

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Prints the medians of the sides and of the ratios of their pairs, and each ratio.
fn tell(name: &str, turns: &Turns) {
    for (over, turns) in ["an empty table", "the same rows"].iter().zip(turns) {
        let ratios = turns.iter().map(|[ours, by_hand]| by_hand / ours);
        let each: Vec<String> = ratios.clone().map(|ratio| format!("{ratio:.3}")).collect();
        let (ours, by_hand) = (median(turns.iter().map(|turn| turn[0])), median(turns.iter().map(|turn| turn[1])));
        println!(
            "{name:<11} into {over:<15} ours {ours:6.3} s, by hand {by_hand:6.3} s: {:.3} of its speed: {}",
            median(ratios),
            each.join(" ")
        );
    }
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<usize>().unwrap());
    let (count, repeats) = (words.next().unwrap_or(200_000), words.next().unwrap_or(3));
    let schema: Schema = "item: int64, price: float64, name: text, stock: int64".parse().unwrap();
    let batch = rows(&schema, count);
    let mut turns = Turns::default();
    for _ in 0..repeats {
        let dir = tempfile::TempDir::new().unwrap();
        for round in &mut turns {
            let start = Instant::now();
            upsert(&mut SqliteTable::open(&dir.path().join("ours.db"), target()).unwrap(), &schema, &batch).await;
            let took = start.elapsed().as_secs_f64();
            let start = Instant::now();
            sqlite_by_hand(&dir.path().join("by_hand.db"), &batch);
            round.push([took, start.elapsed().as_secs_f64()]);
        }
    }
    tell("SQLite", &turns);
    let Some(server) = Postgres::start() else { return };
    let mut by_hand = connect(&server).await;
    let mut turns = Turns::default();
    for _ in 0..repeats {
        let create = format!("DROP TABLE IF EXISTS items, by_hand; CREATE TABLE by_hand {CREATE}");
        by_hand.batch_execute(&create).await.unwrap();
        let mut ours = PostgresTable::new(connect(&server).await, "items", target());
        for round in &mut turns {
            let start = Instant::now();
            upsert(&mut ours, &schema, &batch).await;
            let took = start.elapsed().as_secs_f64();
            let start = Instant::now();
            postgres_by_hand(&mut by_hand, &batch).await;
            round.push([took, start.elapsed().as_secs_f64()]);
        }
    }
    tell("PostgreSQL", &turns);
}
