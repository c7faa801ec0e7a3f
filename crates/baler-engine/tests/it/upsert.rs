//! Upserts against a table that a reader of the records would make by hand.

#[cfg(feature = "dynamodb")]
mod dynamodb;
mod planned;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use baler_engine::upsert::{Order, Refused, Upsert, UpsertError, Written};
use baler_format::schema::Schema;
use baler_model::RunId;
use jiff::Timestamp;
use proptest::prelude::*;

/// One call of `write`.
#[derive(Debug, Clone)]
struct Batch {
    time: i64,
    run: &'static str,
    /// Number, key, value; a value below zero is refused by the table's constraint.
    records: Vec<(u64, i64, i64)>,
}

fn schema() -> Schema {
    "item: int64, price: int64, note: text".parse().unwrap()
}

fn records(schema: &Schema, rows: &[(u64, i64, i64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| (row.2 % 3 != 0).then(|| format!("it's {}", row.2))))),
    ];
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

/// What a row of the table holds: price, note, and its order.
type Row = (i64, Option<String>, (i64, String, u64));

/// The rule, record by record.
fn naive(table: &mut BTreeMap<i64, Row>, batch: &Batch) {
    for (number, key, value) in batch.records.iter().filter(|(_, _, value)| *value >= 0) {
        let order = (batch.time, batch.run.to_owned(), *number);
        let note = (value % 3 != 0).then(|| format!("it's {value}"));
        if table.get(key).is_none_or(|row| row.2 <= order) {
            table.insert(*key, (*value, note, order));
        }
    }
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    // Two runs whose names a database's locale would order otherwise than their bytes.
    let batch = (
        prop::sample::select(vec![-5i64, 0, 1, 2]),
        prop::sample::select(vec!["B-run", "a-run"]),
        0u64..50,
        prop::collection::vec((0i64..6, prop::sample::select(vec![-1i64, 0, 1, 2, 3, 4, 5, 6, 7])), 0..12),
    )
        .prop_map(|(time, run, first, rows)| Batch {
            time,
            run,
            records: rows.iter().zip(first..).map(|((key, value), number)| (number, *key, *value)).collect(),
        });
    // Replays and duplicates: some batches come again, anywhere.
    (prop::collection::vec(batch, 1..8), prop::collection::vec(any::<prop::sample::Index>(), 0..10)).prop_map(
        |(batches, again)| {
            let replays: Vec<Batch> = again.iter().map(|index| batches[index.index(batches.len())].clone()).collect();
            batches.into_iter().chain(replays).collect()
        },
    )
}

fn order(batch: &Batch) -> Order {
    let time = Timestamp::new(batch.time, 0).unwrap();
    Order { batch_time: time, run: RunId::try_new(batch.run).unwrap() }
}

async fn write(table: &mut dyn Upsert, schema: &Schema, batch: &Batch) -> Result<Written, UpsertError> {
    let numbers: Vec<u64> = batch.records.iter().map(|record| record.0).collect();
    table.write(&order(batch), &numbers, &records(schema, &batch.records)).await
}

fn rows_refused(refused: &[Refused]) -> Vec<usize> {
    refused.iter().map(|refused| refused.row).collect()
}
