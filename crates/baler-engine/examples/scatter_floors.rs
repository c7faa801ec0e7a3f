//! Measures what `scatter` cannot do without, each by itself, as somebody would write it by hand.
//!
//! `scatter_floors BATCH.json DIRECTORY`: the batch is `{"records":[{"itemNo":"…","price":…}, …]}`. One line of JSON comes out, in
//! seconds on the wall: parsing the batch into a struct for each record; the same upsert into SQLite, by a prepared statement in
//! one transaction, with the same columns of order and the same guard; gzip (level 6) of the result. What is made lies in the
//! directory.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool that people watch")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    item_no: String,
    price: f64,
}

#[derive(Deserialize)]
struct Batch {
    records: Vec<Record>,
}

const CREATE: &str = "CREATE TABLE items (itemNo TEXT NOT NULL, price REAL, _baler_batch_time TEXT, _baler_run TEXT, \
                      _baler_record INTEGER, PRIMARY KEY (itemNo)) STRICT";
const UPSERT: &str = "INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (itemNo) DO UPDATE SET price = excluded.price, \
    _baler_batch_time = excluded._baler_batch_time, _baler_run = excluded._baler_run, _baler_record = excluded._baler_record \
    WHERE items._baler_batch_time IS NULL OR (excluded._baler_batch_time, excluded._baler_run, excluded._baler_record) >= \
    (items._baler_batch_time, items._baler_run, items._baler_record)";

fn upsert(path: &Path, batch: &Batch) {
    let mut sql = rusqlite::Connection::open(path).unwrap();
    sql.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    sql.execute(CREATE, []).unwrap();
    let transaction = sql.transaction().unwrap();
    {
        let mut statement = transaction.prepare(UPSERT).unwrap();
        let (time, run) = ("2026-01-01T00:00:00.000000Z", "20260101T000000-00000000");
        for (number, record) in batch.records.iter().enumerate() {
            statement.execute((&record.item_no, record.price, time, run, number as i64)).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn result(batch: &Batch) -> String {
    let mut text = "{\"batchId\":\"batch\",\"records\":[\n".to_owned();
    for (index, record) in batch.records.iter().enumerate() {
        let (comma, item, price) = (if index == 0 { "" } else { ",\n" }, &record.item_no, record.price);
        write!(
            text,
            "{comma}{{\"index\":{index},\"request\":{{\"itemNo\":\"{item}\",\"price\":{price}}},\"response\":{{\"success\":true,\
             \"message\":\"Ok\"}}}}"
        )
        .unwrap();
    }
    text.push_str("\n]}\n");
    text
}

fn gzip(path: &Path, text: &str) {
    let file = std::fs::File::create(path).unwrap();
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::new(6));
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap().sync_all().unwrap();
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let made = work();
    (made, start.elapsed().as_secs_f64())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [batch, directory] = &arguments[..] else { panic!("usage: scatter_floors BATCH.json DIRECTORY") };
    let directory = Path::new(directory);
    let (batch, parse) = timed(|| serde_json::from_slice::<Batch>(&std::fs::read(batch).unwrap()).unwrap());
    let ((), upsert) = timed(|| upsert(&directory.join("floor.db"), &batch));
    let text = result(&batch);
    let ((), gzip) = timed(|| gzip(&directory.join("floor.json.gz"), &text));
    println!(
        "{{\"records\":{},\"parse\":{parse:.4},\"upsert\":{upsert:.4},\"gzip\":{gzip:.4},\"sum\":{:.4}}}",
        batch.records.len(),
        parse + upsert + gzip
    );
}
